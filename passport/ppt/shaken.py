"""The "shaken" PASSporT: how far the signer vouches, and for which origin (RFC 8588)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason

MAX_CRN_LENGTH: Final = 256  # characters; a call reason is read at a glance (RFC 9795)
MAX_ORIGID_LENGTH: Final = 128  # characters; RFC 8588 section 5 recommends a UUID of 36


class Attestation(StrEnum):
    """Full, partial and gateway attestation (RFC 8588 section 4)."""

    A = "A"
    B = "B"
    C = "C"

    def at_most(self, ceiling: Attestation) -> Attestation:
        """Return the weaker of the two: A is stronger than B, B than C."""
        return max(self, ceiling, key=lambda level: level.value)


class Shaken(Struct, frozen=True, gc=False):
    """The claims attest and origid, and crn where the caller states why it calls (RFC 9795)."""

    attest: Attestation
    origid: str
    crn: str | None = None

    def claims(self) -> dict[str, Any]:
        """Return the claims as they stand in the payload."""
        if self.crn is None:
            return {"attest": self.attest.value, "origid": self.origid}
        return {"attest": self.attest.value, "crn": self.crn, "origid": self.origid}


_LEVELS: Final = {level.value: level for level in Attestation}


def parse_attest(value: object, where: str = "attest") -> Attestation:
    """Read an attestation level. Raises ParseError ATTEST_INVALID (438)."""
    level = _LEVELS.get(value) if isinstance(value, str) else None
    if level is None:
        raise ParseError(Reason.ATTEST_INVALID, where, f"{shown(value)} is not A, B or C")
    return level


def parse_origid(value: object, where: str = "origid") -> str:
    """Read an origination identifier: opaque, printable, bounded. Raises ParseError (438)."""
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_ORIGID_LENGTH
        or not value.isprintable()
    ):
        raise ParseError(
            Reason.CLAIM_INVALID,
            where,
            f"{shown(value)} is not 1 to {MAX_ORIGID_LENGTH} printable characters",
        )
    return value


def parse_crn(value: object, where: str = "crn") -> str:
    """Read a call reason: printable text, bounded (RFC 9795). Raises ParseError (438)."""
    if (
        not isinstance(value, str)
        or not 0 < len(value) <= MAX_CRN_LENGTH
        or not value.isprintable()
    ):
        raise ParseError(
            Reason.CLAIM_INVALID,
            where,
            f"{shown(value)} is not 1 to {MAX_CRN_LENGTH} printable characters",
        )
    return value


class ShakenType:
    """A token with ppt "shaken"; full form only (RFC 8588 section 3)."""

    ppt: str | None = "shaken"
    names: frozenset[str] = frozenset({"attest", "crn", "origid"})
    compact = False

    def parse(self, claims: Mapping[str, Any]) -> Shaken:
        """Read attest, origid and crn.

        Raises:
            ParseError: CLAIM_MISSING, CLAIM_INVALID, ATTEST_INVALID (438).
        """
        for name in ("attest", "origid"):
            if name not in claims:
                raise ParseError(Reason.CLAIM_MISSING, f"payload.{name}", f"no {name} claim")
        return Shaken(
            parse_attest(claims["attest"], "payload.attest"),
            parse_origid(claims["origid"], "payload.origid"),
            parse_crn(claims["crn"], "payload.crn") if "crn" in claims else None,
        )


TYPE = ShakenType()
