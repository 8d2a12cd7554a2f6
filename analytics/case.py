"""The name of a finding, by which its caller and whoever is asked speak of it."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b

from zhenxian.analytics.model import Key


def case_of(key: Key, at: int) -> str:
    """A case number, such as "20261129-5F0C21A9": the day (UTC) and eight hexadecimal digits.

    It tells nobody whose it is, and does not change while anything stands against the key.

    Args:
        at: when something was first found, in seconds since the epoch.
    """
    day = datetime.fromtimestamp(at, UTC).strftime("%Y%m%d")
    return f"{day}-{blake2b(f'{key}@{at}'.encode(), digest_size=4).hexdigest().upper()}"
