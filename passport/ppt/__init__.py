"""The PASSporT types ("ppt") that are known: one file each, one registry (RFC 8225 section 8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason
from zhenxian.passport.ppt import baseline, div, div_o, shaken


class Extension(Protocol):
    """What a PASSporT type adds to the baseline claims: a frozen value that can write itself."""

    def claims(self) -> dict[str, Any]:
        """Return the claims as they stand in the payload."""
        ...


class PassportType(Protocol):
    """How a PASSporT type is read.

    Attributes:
        ppt: the name in the header, or None for baseline.
        names: the claims the type owns; others are kept as unknown claims.
        compact: whether the compact form of the Identity header may carry it.
    """

    ppt: str | None
    names: frozenset[str]
    compact: bool

    def parse(self, claims: Mapping[str, Any], /) -> Extension | None:
        """Read the type's own claims. Raises ParseError (438)."""
        ...


TYPES: Final[dict[str | None, PassportType]] = {}


def register(passport_type: PassportType) -> None:
    """Add a type: what carries its name is read by it from now on. Once a name, at start-up."""
    if passport_type.ppt in TYPES:
        raise RuntimeError(f"ppt {passport_type.ppt} is registered twice")
    TYPES[passport_type.ppt] = passport_type


for _known in (baseline.TYPE, shaken.TYPE, div.TYPE, div_o.TYPE):
    register(_known)


def lookup(ppt: str | None) -> PassportType:
    """Find the type of that name.

    Raises:
        ParseError: PPT_UNSUPPORTED (438).
    """
    found = TYPES.get(ppt)
    if found is None:
        raise ParseError(Reason.PPT_UNSUPPORTED, "ppt", f"ppt {shown(ppt, 40)} is not supported")
    return found
