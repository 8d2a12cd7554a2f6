"""The baseline PASSporT: no ppt, no claims of its own (RFC 8225 section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BaselineType:
    """A token without ppt."""

    ppt: str | None = None
    names: frozenset[str] = frozenset()
    compact = True

    def parse(self, _claims: Mapping[str, Any], /) -> None:
        """Read nothing: baseline owns no claims."""


TYPE = BaselineType()
