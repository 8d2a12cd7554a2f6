"""Telephone numbers and the identities of a call, canonical (RFC 8224 sections 8.3 and 8.5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Self

import phonenumbers
from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason

MAX_TN_LENGTH: Final = 15  # digits; E.164 and the TelephoneNumber type of RFC 8226 section 9
MAX_LONG: Final = 16  # digits of a number with a portability prefix, where a setting permits that
MAX_URI_LENGTH: Final = 512  # characters; longer ones are refused before any matching
_MAX_WRITTEN: Final = 64  # characters of a number with its separators, before they are dropped

_new = str.__new__
_CANONICAL = re.compile(r"[0-9*#]{1,15}\Z")


def _one_of(words: list[str]) -> str:
    """A pattern of words, none of which begins another, that tries each beginning once."""
    if words == [""]:
        return ""
    tails: dict[str, list[str]] = {}
    for word in words:
        tails.setdefault(word[0], []).append(word[1:])
    return f"(?:{'|'.join(head + _one_of(rest) for head, rest in tails.items())})"


# What is canonical for certain; a 0 behind the country code is looked at twice, because
# +44 (0)20… and +86 (0)755… are often written so.
_TRUNK_0: Final = _one_of([str(code) for code in phonenumbers.COUNTRY_CODE_TO_REGION_CODE]) + "0"
_GLOBAL = re.compile(rf"(?:(?=[1-9]{{4}})|(?!{_TRUNK_0}))[1-9*#][0-9*#]{{0,14}}\Z")
_DIALLED = re.compile(r"[0-9]{1,20}\Z")  # an international prefix of up to five digits included
_VISUAL_SEPARATORS: Final = str.maketrans("", "", "-.() ")

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:[!#-;=?-~]+\Z")


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
    def long(cls, digits: str) -> Self:
        """Take a number of 16 digits, which E.164 does not know: one with a portability prefix.

        Raises:
            ParseError: TN_INVALID (438).
        """
        if len(digits) != MAX_LONG or not (digits.isascii() and digits.isdecimal()):
            raise ParseError(Reason.TN_INVALID, "tn", f"{shown(digits)} is not {MAX_LONG} digits")
        return _new(cls, digits)

    @classmethod
    def parse(cls, text: str, country: str | None = None, where: str = "tn") -> TN:
        """Canonicalise a number (RFC 8224 section 8.3).

        Visual separators (RFC 3966 section 5.1.1) and a leading "+" go; any other character that
        is no digit, * or # is refused, not dropped, because "1-800-FLOWERS" minus its letters is
        the number of somebody else. With a country, a number without "+" is read as dialled
        there: national and international prefixes go, and what is then valid in a numbering plan
        gains its country code. All others stay as they are: short codes (110, 10086, 95588) and
        special services (*86) have no global form. But no E.164 number begins with 0: what does
        is a number as somewhere dialled, and refused where nobody says where.

        A canonical foreign number looks like a national one in some plans (13105551234 is a
        number of Los Angeles, and a mobile number dialled in China): with a country, numbers of
        other countries need their "+" or international prefix.

        Args:
            text: the number as written or dialled.
            country: ISO 3166 alpha-2 code, upper case, whose numbering plan reads numbers
                without "+"; None when all numbers are global already.
            where: named in the error.

        Raises:
            ParseError: TN_INVALID (438), TN_NATIONAL.
        """
        if country is None and _GLOBAL.match(text) is not None:
            return str.__new__(cls, text)
        if text[:1] == "+":  # a country code follows, whatever the country
            digits = text[1:]
            if digits.isdecimal() and _GLOBAL.match(digits) is not None:
                return str.__new__(cls, digits)
        return _canonical(text, country, where)


@lru_cache(maxsize=65536)
def _canonical(text: str, country: str | None, where: str) -> TN:
    bare = undressed(text)
    digits = bare.removeprefix("+")
    if bare is digits and country is not None:
        national = national_number(bare, country)
        if national is not None:
            return national
    if _CANONICAL.match(digits) is None or (bare is not digits and not digits.isdecimal()):
        raise ParseError(
            Reason.TN_INVALID,
            where,
            f"{shown(text)} is not a telephone number of 1 to {MAX_TN_LENGTH} digits",
        )
    if digits.startswith("0") and (bare is not digits or not _short_code(bare, country)):
        if bare is not digits:
            why = "after + stands a country code, and none begins with 0"
        elif country is None:
            why = (
                "no number with country code begins with 0; the setting numbers.country names"
                " where national numbers are of, in signing and verifying"
            )
        else:
            why = f"it is no number of {country} (the setting numbers.country)"
        raise ParseError(Reason.TN_NATIONAL, where, f"{shown(text)}: {why}")
    return _without_trunk_prefix(digits)


def _without_trunk_prefix(digits: str) -> TN:
    """A number as +86 (0)755… has it, without the 0 that is dialled inside of its country only."""
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    for end in (1, 2, 3):  # no country code begins another
        if digits[end : end + 1] == "0" and digits.isdecimal() and int(digits[:end]) in codes:
            return national_number(f"+{digits}", None) or TN(digits)
    return TN(digits)


def undressed(text: str) -> str:
    """A number as written, without visual separators (RFC 3966 section 5.1.1)."""
    return text.translate(_VISUAL_SEPARATORS) if len(text) <= _MAX_WRITTEN else text


def national_number(digits: str, country: str | None) -> TN | None:
    """The global number that is dialled so in a country; None when its plan has none."""
    if _DIALLED.match(digits, digits.startswith("+")) is None:
        return None
    try:
        number = phonenumbers.parse(digits, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(number):
        return None
    return TN(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)[1:])


def _short_code(digits: str, country: str | None) -> bool:
    """True for a short code of the country, such as Australia's 000."""
    metadata = phonenumbers.PhoneMetadata.short_metadata_for_region(country) if country else None
    codes = metadata.short_code if metadata is not None else None
    if codes is None or codes.national_number_pattern is None:
        return False
    return re.fullmatch(codes.national_number_pattern, digits) is not None


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

    Tokens hold URIs as their signer wrote them; core.reading makes the canonical form.

    Raises:
        ParseError: URI_INVALID (438).
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Take the text as it is."""
        if len(text) > MAX_URI_LENGTH or _ABSOLUTE_URI.match(text) is None:
            raise ParseError(Reason.URI_INVALID, "uri", f"{shown(text)} is not a URI")
        return str.__new__(cls, text)


class Private(URI):
    """A URI without a public number: local to one network, or withheld.

    An extension, a number local to a domain, ANONYMOUS: it is no public telephone number, so no
    holding, order or binding can be about it.
    """

    __slots__ = ()


ANONYMOUS: Final = Private("sip:anonymous@anonymous.invalid")  # RFC 3323 section 4.1.1.3
