"""Telephone numbers and the identities of a call, canonical (RFC 8224 sections 8.3 and 8.5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Self
from urllib.parse import unquote

import phonenumbers
from msgspec import Struct

from passport.errors import ParseError, shown
from passport.reasons import Reason

MAX_TN_LENGTH: Final = 15  # digits; E.164 and the TelephoneNumber type of RFC 8226 section 9
MAX_URI_LENGTH: Final = 512  # characters; longer ones are refused before any matching
_MAX_WRITTEN: Final = 64  # characters of a number with its separators, before they are dropped

_new = str.__new__
_CANONICAL = re.compile(r"[0-9*#]{1,15}\Z")
_DIALLED = re.compile(r"[0-9]{1,20}\Z")  # an international prefix of up to five digits included
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.() ")

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!#-;=?-~]+\Z")
_SIP_URI = re.compile(
    r"(?P<scheme>sips?):"
    r"(?:(?P<user>[^@]+)@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._\-]+)"
    r"(?::[0-9]{0,5})?"
    r"(?P<params>;[^?@]*)?(?:\?[^@]*)?\Z",
    re.IGNORECASE | re.ASCII,
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(  # RFC 3261 section 25.1: alphanum and mark
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()"
)


class TN(str):
    """A telephone number in canonical form: digits (and * or # in special codes), no "+".

    `TN("12155550100")` takes canonical text only; `TN.parse` also canonicalises.

    Raises:
        ParseError: TN_INVALID (438).
    """

    __slots__ = ()

    def __new__(cls, digits: str) -> Self:
        """Take canonical digits as they are."""
        # Digits alone are told faster than by the match, which then serves * and #.
        if not (digits.isdecimal() and digits.isascii() and len(digits) <= MAX_TN_LENGTH) and (
            _CANONICAL.match(digits) is None
        ):
            raise ParseError(
                Reason.TN_INVALID,
                "tn",
                f"{shown(digits)} is not 1 to {MAX_TN_LENGTH} digits (or * #)",
            )
        return _new(cls, digits)

    @classmethod
    def parse(cls, text: str, country: str | None = None, where: str = "tn") -> TN:
        """Canonicalise a number (RFC 8224 section 8.3).

        Visual separators (RFC 3966 section 5.1.1) and a leading "+" go; any other character that
        is no digit, * or # is refused, not dropped, because "1-800-FLOWERS" minus its letters is
        the number of somebody else. With a country, a number without "+" is read as dialled
        there: national and international prefixes go, and what is then valid in a numbering plan
        gains its country code. All others stay as they are: short codes (110, 10086, 95588) and
        special services (*86) have no global form.

        A canonical foreign number looks like a national one in some plans (13105551234 is a
        number of Los Angeles, and a mobile number dialled in China): with a country, numbers of
        other countries need their "+" or international prefix.

        Args:
            text: the number as written or dialled.
            country: ISO 3166 alpha-2 code, upper case, whose numbering plan reads numbers
                without "+"; None when all numbers are global already.
            where: named in the error.

        Raises:
            ParseError: TN_INVALID (438).
        """
        if country is None and _CANONICAL.match(text) is not None:
            return str.__new__(cls, text)
        return _canonical(text, country, where)


@lru_cache(maxsize=65536)
def _canonical(text: str, country: str | None, where: str) -> TN:
    bare = text.translate(_VISUAL_SEPARATORS) if len(text) <= _MAX_WRITTEN else text
    if bare.startswith("+"):
        if bare[1:].isdecimal() and _CANONICAL.match(bare, 1) is not None:
            return TN(bare[1:])
    elif country is not None and _DIALLED.match(bare) is not None:
        national = _national(bare, country)
        if national is not None:
            return national
    if _CANONICAL.match(bare) is None:
        raise ParseError(
            Reason.TN_INVALID,
            where,
            f"{shown(text)} is not a telephone number of 1 to {MAX_TN_LENGTH} digits",
        )
    return TN(bare)


def _national(digits: str, country: str) -> TN | None:
    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return TN(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])


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
        """Tell whether every number of `other` lies within this range."""
        return other.first in self and other.last in self

    @property
    def size(self) -> int:
        """How many numbers the range holds."""
        return int(self.last) - int(self.first) + 1


class URI(str):
    """An absolute URI as an identity: ASCII, printable, compared character by character.

    Tokens hold URIs as their signer wrote them; `parse_identity` makes the canonical form.

    Raises:
        ParseError: URI_INVALID (438).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Take the text as it is."""
        if len(text) > MAX_URI_LENGTH or _ABSOLUTE_URI.match(text) is None:
            raise ParseError(Reason.URI_INVALID, "uri", f"{shown(text)} is not a URI")
        return str.__new__(cls, text)


def parse_identity(text: str, country: str | None = None, where: str = "uri") -> TN | URI:
    """Read the canonical identity in a tel, SIP or service URI (RFC 8224 sections 8.1 to 8.5).

    A tel URI names a telephone number. So does a SIP URI with user=phone or with a user part
    that begins with "+", unless the user part is no number after all: then it stays a URI
    (section 8.1). The canonical form of a SIP URI (section 8.5) is scheme:user@host in lower
    case, with password, port, parameters and headers left out and escapes of unreserved
    characters decoded. A host without user, which section 8.5 does not foresee, is kept. A number
    local to a country ("phone-context=+86", RFC 3966 section 5.1.5) is read in that country; a
    longer context is a hint at a range, not a prefix, and is not used. An address without scheme
    ("alice@example.com") is read as sip. Emergency calls are made to urn:service URIs (RFC 9027).

    Args:
        text: the URI, with or without angle brackets.
        country: as in TN.parse.
        where: named in the error.

    Raises:
        ParseError: URI_INVALID or TN_INVALID (438).
    """
    if len(text) > MAX_URI_LENGTH:
        raise ParseError(Reason.URI_INVALID, where, f"longer than {MAX_URI_LENGTH} characters")
    uri = text.strip(" \t")
    if uri.startswith("<") and uri.endswith(">"):
        uri = uri[1:-1]
    if _BROKEN_ESCAPE.search(uri) is not None:
        raise ParseError(Reason.URI_INVALID, where, f"{shown(text)} has a % that escapes nothing")
    uri = _ESCAPE.sub(_unescaped, uri)
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "tel":
        return _telephone(rest, country, where)
    if colon and scheme == "urn" and _ABSOLUTE_URI.match(uri) is not None:
        return URI(uri.lower())
    match = _SIP_URI.match(uri if colon and scheme in ("sip", "sips") else _as_sip(uri))
    if match is None:
        raise ParseError(Reason.URI_INVALID, where, f"{shown(text)} is not a SIP or tel URI")
    user = match["user"]
    address = f"{match['scheme'].lower()}:"
    if user is not None:
        user, _, _ = user.partition(":")
        parameters = (match["params"] or "").lower().split(";")
        if user.startswith(("+", "%2B", "%2b")) or "user=phone" in parameters:
            try:
                return _telephone(user, country, where)
            except ParseError:
                pass  # section 8.1: not a number after all
        address += f"{user}@"
    try:
        return URI(f"{address}{match['host']}".lower())
    except ParseError as error:
        raise ParseError(error.reason, where, error.detail) from None


def _unescaped(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0]


def _as_sip(address: str) -> str:
    """Read "alice@example.com:5060" as sip, but "mailto:alice@example.com" as what it is."""
    return f"sip:{address}" if ":" not in address.partition("@")[0] and "@" in address else address


def _telephone(subscriber: str, country: str | None, where: str) -> TN:
    """Read number and parameters (RFC 3966 section 3), as a tel URI or a SIP user part has them."""
    number, _, parameters = subscriber.partition(";")
    for parameter in parameters.lower().split(";"):
        name, _, context = parameter.partition("=")
        if name == "phone-context" and not number.startswith("+"):
            country = _country(context) or country
    return TN.parse(unquote(number, errors="replace"), country, where)


def _country(context: str) -> str | None:
    """Name the country of a phone-context that is a country code ("+86"); None otherwise."""
    code = context[1:]
    if not context.startswith("+") or not (code.isdecimal() and code.isascii() and len(code) <= 3):
        return None
    region = phonenumbers.region_code_for_country_code(int(code))
    return region if region in phonenumbers.SUPPORTED_REGIONS else None
