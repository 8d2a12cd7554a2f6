"""What is remembered of an address that revocation lists are fetched from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from zhenxian.certs.crl import Named

FORGET_SECONDS: Final = 30 * 86_400  # after a certificate last named it
FORGET_SILENT_SECONDS: Final = 86_400  # likewise, of one that never gave a list
_MAX_KEYS: Final = 16  # of CAs that may sign the list at one address; the last that named it


class Source(Struct, kw_only=True):
    """Where a fetched list comes from; times are epoch seconds, 0 for never.

    Attributes:
        gave: when it last gave a list. used: when a certificate was last known to name it.
        secured: what it gave came over https all the way.
        keys: as of Named, of all that named it.
    """

    url: str
    etag: str | None = None
    due: int = 0
    gave: int = 0
    used: int = 0
    authority: str = ""
    delegated: bool = False
    secured: bool = True
    keys: tuple[str, ...] = ()

    @property
    def forgotten_at(self) -> int:
        """When it is forgotten, should no certificate name it until then."""
        return self.used + (FORGET_SECONDS if self.gave else FORGET_SILENT_SECONDS)


def add_keys(source: Source, keys: Iterable[str]) -> bool:
    """Note who may sign the list at an address; True when somebody is new."""
    new = [key for key in dict.fromkeys(keys) if key not in source.keys]
    source.keys = (*source.keys, *new)[-_MAX_KEYS:]
    return bool(new)


def outranks(named: Named, source: Source) -> bool:
    """True when an STI-CA's certificate names what only a delegate's did so far."""
    return source.delegated and not named.delegated
