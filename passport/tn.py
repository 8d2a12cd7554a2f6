"""Telephone numbers and the identities of a call in canonical form (RFC 8224 sections 8.3 and 8.5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Self

import phonenumbers
from msgspec import Struct

from passport.errors import ParseError, shown
from passport.reasons import Reason

MAX_TN_LENGTH: Final = 15  # digits; E.164 and the TelephoneNumber type of RFC 8226 section 9
MAX_URI_LENGTH: Final = 512  # characters; longer ones are refused before any matching

_CANONICAL = re.compile(r"[0-9*#]{1,15}\Z")
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.() ")
_URI = re.compile(
    r"(?P<scheme>sips?|tel):"
    r"(?:(?P<user>[^@;?<>\s]+(?:;[^@<>\s]*)?)@)?"
    r"(?P<host>[^;?<>\s@]+)"
    r"(?P<params>(?:;[^?<>\s]*)?)(?:\?[^<>\s]*)?\Z",
    re.IGNORECASE | re.ASCII,
)


class TN(str):
    """A telephone number in canonical form: digits (and * or # in special codes), no "+".

    `TN("12155550100")` takes canonical text only; `TN.parse` also canonicalises.

    Raises:
        ParseError: TN_INVALID (438).
    """

    __slots__ = ()

    def __new__(cls, digits: str) -> Self:
        if _CANONICAL.match(digits) is None:
            raise ParseError(
                Reason.TN_INVALID,
                "tn",
                f"{shown(digits)} is not 1 to {MAX_TN_LENGTH} digits (or * #)",
            )
        return str.__new__(cls, digits)

    @classmethod
    def parse(cls, text: str, country: str | None = None, where: str = "tn") -> TN:
        """Canonicalise a number (RFC 8224 section 8.3).

        Visual separators and a leading "+" go. With a country, a number that is valid there in
        national form gains its country code; all others are taken as already canonical, so that
        short codes and special services (95xxx, 400, *86) stay as they are.

        Args:
            country: ISO 3166 alpha-2 code whose numbering plan reads national numbers.
            where: named in the error.

        Raises:
            ParseError: TN_INVALID (438).
        """
        if country is None and _CANONICAL.match(text) is not None:
            return str.__new__(cls, text)
        return _canonical(text, country, where)


@lru_cache(maxsize=65536)
def _canonical(text: str, country: str | None, where: str) -> TN:
    bare = text.translate(_VISUAL_SEPARATORS) if len(text) <= 64 else text
    international = bare.startswith("+")
    digits = bare[1:] if international else bare
    if _CANONICAL.match(digits) is None:
        raise ParseError(
            Reason.TN_INVALID,
            where,
            f"{shown(text)} is not a telephone number of 1 to {MAX_TN_LENGTH} digits",
        )
    if international or country is None or not digits.isdecimal():
        return TN(digits)
    try:
        national = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return TN(digits)
    if not phonenumbers.is_valid_number(national):
        return TN(digits)
    return TN(phonenumbers.format_number(national, phonenumbers.PhoneNumberFormat.E164)[1:])


class TNRange(Struct, frozen=True, order=True):
    """Numbers of equal length from `first` to `last`, both included.

    Raises:
        ParseError: TN_INVALID when the ends differ in length, hold * or #, or are inverted.
    """

    first: TN
    last: TN

    def __post_init__(self) -> None:
        a, b = self.first, self.last
        if len(a) != len(b) or not (a + b).isdecimal() or a > b:
            raise ParseError(
                Reason.TN_INVALID,
                "range",
                f"{a} to {b} is not a range of numbers of one length",
            )

    def __contains__(self, tn: TN) -> bool:
        return len(tn) == len(self.first) and self.first <= tn <= self.last

    def covers(self, other: TNRange) -> bool:
        """True when every number of `other` lies within this range."""
        return other.first in self and other.last in self

    @property
    def size(self) -> int:
        """How many numbers the range holds."""
        return int(self.last) - int(self.first) + 1


class URI(str):
    """A SIP URI in canonical form (RFC 8224 section 8.5): no parameters, lower-case host.

    Raises:
        ParseError: URI_INVALID (438).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        if not text or len(text) > MAX_URI_LENGTH or not text.isprintable() or " " in text:
            raise ParseError(Reason.URI_INVALID, "uri", f"{shown(text)} is not a URI")
        return str.__new__(cls, text)


def parse_identity(text: str, country: str | None = None, where: str = "uri") -> TN | URI:
    """The canonical identity in a tel or SIP URI (RFC 8224 sections 8.3 and 8.5).

    A tel URI, a SIP URI with user=phone, and a SIP URI whose user part is a "+" number name a
    telephone number; every other SIP URI stays a URI. An address without scheme
    ("alice@example.com") is read as sip.

    Raises:
        ParseError: URI_INVALID or TN_INVALID (438).
    """
    if len(text) > MAX_URI_LENGTH:
        raise ParseError(Reason.URI_INVALID, where, f"longer than {MAX_URI_LENGTH} characters")
    stripped = text.strip()
    if stripped.startswith("<") and stripped.endswith(">"):
        stripped = stripped[1:-1]
    scheme, colon, rest = stripped.partition(":")
    if scheme.lower() == "tel" and colon:
        return TN.parse(rest.partition(";")[0], country, where)
    if not colon or scheme.lower() not in ("sip", "sips"):
        stripped = f"sip:{stripped}"
    match = _URI.match(stripped)
    if match is None:
        raise ParseError(Reason.URI_INVALID, where, f"{shown(text)} is not a SIP or tel URI")
    user = match["user"]
    number = user.partition(";")[0].partition(":")[0] if user else ""
    parameters = match["params"].lower().split(";")
    if number and (number.startswith("+") or "user=phone" in parameters):
        return TN.parse(number, country, where)
    address = f"{match['scheme'].lower()}:"
    if user:
        address += f"{user}@"
    return URI(address + match["host"].lower())
