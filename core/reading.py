"""How an identity is read: one policy for signing and verifying, for numbers and URIs alike.

RFC 8224 section 8.1 leaves it to local policy which user parts are telephone numbers. Whatever a
phone would show as a number is one here, however it is written: else a number that is refused as
`tn` could be shown as a URI.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote

import phonenumbers
from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.header_fields import parse_addresses
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import (
    ANONYMOUS,
    MAX_LONG,
    MAX_TN_LENGTH,
    MAX_URI_LENGTH,
    TN,
    URI,
    Private,
    national_number,
    undressed,
)

MIN_DIGITS: Final = 7  # a user part of so many is a number; of fewer it may be an extension
_NOWHERE: Final = "anonymous.invalid"  # the host of who is withheld (RFC 3323 section 4.1.1.3)
_ABROAD: Final = "00"  # before a country code, where numbers are read as dialled

_LABEL: Final = r"[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?"
_SERVICE = re.compile(rf"urn:service:{_LABEL}(?:\.{_LABEL})*\Z", re.IGNORECASE)  # RFC 5031
_SIP_URI = re.compile(
    r"(?P<scheme>sips?):"
    r"(?:(?P<user>[^@]+)@)?"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._\-]+)"
    r"(?::[0-9]{0,5})?"
    r"(?P<params>;[^?@]*)?(?:\?[^@]*)?\Z",
    re.IGNORECASE | re.ASCII,
)
# A number and nothing else in the user part, as nearly every call has it: no step of reading a SIP
# URI changes anything about it, or looks at its host and parameters.
_USUAL = re.compile(
    rf"sips?:(\+?[0-9]{{{MIN_DIGITS},{MAX_TN_LENGTH}}})@[a-z0-9._\-]+(?::[0-9]{{0,5}})?"
    r"(?:;[a-z0-9;=._\-]*)?\Z",
    re.IGNORECASE | re.ASCII,
)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNRESERVED: Final = frozenset(  # RFC 3261 section 25.1: alphanum and mark
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!~*'()"
)
_MARKS: Final = str.maketrans("", "", "_!~' \t")  # those of RFC 3261 that no dial pad has
_AFTER_NUMBER = re.compile(r"[;:@?]")  # what ends a number in a user part, escaped or not
_BEFORE_MORE = re.compile(r"(?!^)[&=+$,/]")  # what else may stand behind a number, before more
_NO_LETTERS: Final = frozenset(  # by their category they are, but they look like nothing or a mark
    "\u115f\u1160\u3164\uffa0\u01c0\u01c1\u01c2\u01c3\ua78b\ua78c"
)
_DIGITS: Final = ("Nd", "No")  # categories; the second has 10 in a circle, which isdigit() has not
_NUMERIC_HOST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\Z")  # an address, to the URL standard
_LOCAL = re.compile(r"[0-9A-Fa-f*#]{1,32}\Z")
_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9\-]*[a-z0-9])?\.)*[a-z](?:[a-z0-9\-]*[a-z0-9])?\.?\Z")


def none_special(_: TN) -> bool:
    """Without a numbering plan: every short number is an extension."""
    return False


def none_for_help(_: TN | URI) -> bool:
    """Without a numbering plan: no number is an emergency number."""
    return False


def _no_national_form(_: str) -> str | None:
    return None


class Reading(Struct, frozen=True, kw_only=True):
    """What decides how identities are read.

    Attributes:
        country: as in TN.parse.
        hosts: the carrier's own hosts and domains, lower case; what lies below a domain is own,
            too.
        special: whether a short number is a service, emergency or registered one.
        national_form: of digits that begin with a country code, the number that has none in its
            plan ("8610086" is 10086); None for all others.
        emergency: whether who is called is an emergency number or service.
        max_coded: digits of the longest number that `national_form` reads as a nationwide one.
        long_codes: country codes whose numbers may have 16 digits, for a portability prefix.
    """

    country: str | None = None
    hosts: frozenset[str] = frozenset()
    special: Callable[[TN], bool] = none_special
    national_form: Callable[[str], str | None] = _no_national_form
    max_coded: int = 11
    long_codes: tuple[str, ...] = ()
    emergency: Callable[[TN | URI], bool] = none_for_help

    def number(self, text: str, where: str = "tn") -> TN:
        """Read a value that the request says is a telephone number.

        Raises:
            ParseError: TN_INVALID, TN_NATIONAL.
        """
        try:
            tn = TN.parse(text, self.country, where)
        except ParseError:
            found = self._long(text) or self._behind_0(text)
            if found is None:
                raise
            return found
        return self.claimed_number(tn) if len(tn) <= self.max_coded else tn

    def _behind_0(self, text: str) -> TN | None:
        """A number as dialled in the country that its plan does not know to be one.

        It is what it is with "+": behind the international prefix as it stands, behind a trunk 0
        with the country code. But a nationwide number behind an area code is that number.
        """
        digits = undressed(text)
        if self.country is None or not (digits.isascii() and digits.isdecimal()):
            return None
        rest = digits.removeprefix(_ABROAD) if digits.startswith(_ABROAD) else digits[1:]
        if not digits.startswith("0") or rest[:1] in ("", "0") or len(rest) > MAX_TN_LENGTH:
            return None
        if digits.startswith(_ABROAD):
            return self.claimed_number(TN(rest))
        code = phonenumbers.country_code_for_region(self.country)
        form = self.national_form(f"{code}{rest}")
        if form is not None and form != rest:  # 0110 is an extension, as 110 has no 0
            return TN(form)
        if MIN_DIGITS <= len(rest) <= MAX_TN_LENGTH - len(str(code)):
            return TN(f"{code}{rest}")
        return None

    def shown(self, identity: TN | URI, where: str) -> TN | URI:
        """The display that a phone shows for a caller.

        Some clients add * or # to a number, as it is dialled; the phone shows the number without
        them. A service, such as an emergency service, can be called but cannot call: its URN is
        refused.

        Raises:
            ParseError: URI_INVALID, TN_NATIONAL.
        """
        if isinstance(identity, TN):
            digits = identity.strip("*#")
            if digits == identity or not digits.isdecimal():
                return identity
            if len(digits) < MIN_DIGITS and not self._is_special(digits):
                return identity
            return self.number(digits, where)
        if identity.startswith("urn:"):
            raise ParseError(Reason.URI_INVALID, where, f"{identity} is called, and calls nobody")
        return identity

    def _long(self, text: str) -> TN | None:
        """A number of more digits than E.164 has.

        A national one behind a country code, as China's 700 numbers are then of 17 digits; or one
        with a portability prefix.
        """
        bare = undressed(text)
        digits = bare.removeprefix("+")
        if bare is digits and self.country is not None:
            digits = digits.removeprefix(_ABROAD)
        if not (digits.isascii() and digits.isdecimal() and len(digits) > MAX_TN_LENGTH):
            return None
        form = self.national_form(digits)
        if form is not None:
            return TN(form)
        if self.long_codes and len(digits) == MAX_LONG and digits.startswith(self.long_codes):
            return TN.long(digits)
        return None

    def recorded(self, text: str, where: str) -> TN:
        """Read a number of a record: with its country code, or national and beginning with 0.

        Raises:
            ParseError: TN_INVALID, TN_NATIONAL.
        """
        if undressed(text).startswith("0"):
            return self.number(text, where)
        try:
            return self.claimed_number(TN.parse(text, None, where))
        except ParseError:
            long = self._long(text)
            if long is None or len(long) > MAX_TN_LENGTH:
                raise
            return long

    def filed(self, text: str, where: str) -> TN:
        """Read a record's number, also one that an earlier release took in national form.

        Raises:
            ParseError: TN_INVALID (438).
        """
        try:
            return self.recorded(text, where)
        except ParseError as error:
            if error.reason is not Reason.TN_NATIONAL:
                raise
            return TN(undressed(text).removeprefix("+"))

    def claimed_number(self, tn: TN) -> TN:
        """A token's number, without a country code before a number that has none in its plan."""
        if len(tn) <= self.max_coded:
            form = self.national_form(tn)
            if form is not None:
                return TN(form)
        return tn

    def claimed(self, identity: TN | URI) -> TN | URI:
        """A token's identity in canonical form; one that cannot be read stays as it is.

        Signer and verifier both make the canonical form (RFC 8224 section 8.5).
        """
        if isinstance(identity, TN):
            return self.claimed_number(identity)
        try:
            return self.identity(identity)
        except ParseError:
            return identity

    def identity(self, text: str, where: str = "uri") -> TN | URI:
        """Read the canonical identity in a tel, SIP or service URI (RFC 8224 section 8).

        | a SIP or SIPS user part                                   | is                         |
        |-----------------------------------------------------------|----------------------------|
        | "anonymous", or none at anonymous.invalid                 | ANONYMOUS                  |
        | with letters                                              | a URI                      |
        | of seven digits or more                                   | that number                |
        | shorter, with + or user=phone: a special number           | that number                |
        | shorter, at one of our hosts or an address: the same      | that number                |
        | shorter, at anonymous.invalid or at no host: the same     | that number                |
        | shorter otherwise, or of more digits than a number has    | private                    |

        Digits are counted after escapes, separators, parameters and password went. A user part
        with digits that are not ASCII is refused, for a phone shows them as digits; so is one
        that mixes a number with anything else that is not ASCII, or has digits behind what ends
        a number alone (";8675588880001"). Blanks and marks that Unicode calls letters are none.

        A tel URI is a number. One that is local to a country ("phone-context=+86", RFC 3966
        section 5.1.5) is read there; to a domain of ours, here; to any other domain, it is
        private. A longer context names a range and is no prefix: such a number is refused.

        The canonical form of a SIP URI (section 8.5) is scheme:user@host in lower case, with
        password, port, parameters and headers left out and escapes of unreserved characters
        decoded. A host without user, which section 8.5 does not foresee, is kept. An address
        without scheme ("alice@example.com") is read as sip. Emergency calls are made to
        urn:service URIs (RFC 9027).

        Args:
            text: the URI, with or without angle brackets.
            where: named in the error.

        Raises:
            ParseError: URI_INVALID, TN_INVALID, TN_NATIONAL or TN_CONTEXT.
        """
        if len(text) > MAX_URI_LENGTH:
            raise ParseError(Reason.URI_INVALID, where, f"longer than {MAX_URI_LENGTH} characters")
        usual = _USUAL.match(text)
        if usual is not None:
            return self.number(usual[1], where)
        uri = text.strip(" \t")
        if uri.startswith("<") and uri.endswith(">"):
            uri = uri[1:-1]
        if _BROKEN_ESCAPE.search(uri) is not None:
            raise ParseError(
                Reason.URI_INVALID, where, f"{shown(text)} has a % that escapes nothing"
            )
        uri = _ESCAPE.sub(_unescaped, uri)
        scheme, colon, rest = uri.partition(":")
        scheme = scheme.lower()
        if colon and scheme == "tel":
            number, _, parameters = rest.partition(";")
            return self._subscriber(unquote(number, errors="replace"), parameters, where)
        if colon and scheme == "urn" and _SERVICE.match(uri) is not None:
            return URI(uri.lower())
        match = _SIP_URI.match(uri if colon and scheme in ("sip", "sips") else _as_sip(uri))
        if match is None:
            raise ParseError(Reason.URI_INVALID, where, f"{shown(text)} is not a SIP or tel URI")
        try:
            return self._sip(match, where)
        except ParseError as error:
            raise ParseError(error.reason, where, error.detail) from None

    def _sip(self, match: re.Match[str], where: str) -> TN | URI:
        host = match["host"].lower()
        nowhere = host.rstrip(".") == _NOWHERE
        user = (match["user"] or "").partition(":")[0]
        if match["user"] and not user:
            raise ParseError(Reason.URI_INVALID, where, "before the : stands nobody")
        address = f"{match['scheme']}:{user}@{host}" if user else f"{match['scheme']}:{host}"
        address = address.lower()
        if not user and nowhere:
            return ANONYMOUS
        if not user and _is_address(host):
            return URI(address)
        subscriber, _, parameters = (user or host).partition(";")
        written = unquote(subscriber, errors="replace")
        if any(not char.isascii() and unicodedata.category(char) in _DIGITS for char in written):
            raise ParseError(
                Reason.URI_INVALID, where, f"{shown(written)} has digits that are not 0 to 9"
            )
        number, end, more = _split(unicodedata.normalize("NFKC", written))
        if any(map(_is_letter, number)):
            number = _BEFORE_MORE.split(number)[0]
        bare = undressed(number.translate(_MARKS))
        digits = "".join(filter(str.isdigit, bare))
        letters = any(map(_is_letter, bare))
        if letters or not digits:
            looks = digits and not any(map(_is_letter, _split(written)[0]))  # a trade mark's TM
            mixed = len(digits) >= MIN_DIGITS and not (bare.isascii() and written.isascii())
            behind = not letters and any(map(str.isdigit, unquote(user, errors="replace")))
            if looks or mixed or behind:
                raise ParseError(
                    Reason.URI_INVALID, where, f"{shown(user)} hides a number behind something else"
                )
            if is_withheld(written):
                return Private(address) if parameters else ANONYMOUS
            return URI(address)
        if undressed(more.translate(_MARKS)).lstrip("+*#")[:1].isdigit() and not (
            end == "@" and _is_address(more)
        ):
            raise ParseError(
                Reason.TN_INVALID, where, f"{shown(written)} goes on behind {shown(end)}"
            )
        if len(digits) < MIN_DIGITS:
            if not bare.isascii() or "%" in bare:  # such as a mark that turns 68001 around
                raise ParseError(
                    Reason.TN_INVALID, where, f"{shown(user)} has more than digits in it"
                )
            labelled = bare.startswith("+") or "user=phone" in _parameters(match["params"])
            dialled = labelled and not bare.removeprefix("+").isdecimal()  # such as *67
            alone = not user or nowhere or self._own(host) or _is_numeric(host)
            if not (labelled or alone) or not (dialled or self._is_special(digits)):
                return Private(address)
        try:
            return self._subscriber(bare, parameters, where, within_sip=True)
        except ParseError:
            significant = digits.lstrip("0")
            if len(significant) > MAX_TN_LENGTH and bare.removeprefix("+").isdecimal():
                return Private(address)
            raise

    def _subscriber(
        self, number: str, parameters: str, where: str, *, within_sip: bool = False
    ) -> TN | URI:
        """Read number and parameters (RFC 3966 section 3), of a tel URI or a SIP user part."""
        contexts = [
            value
            for name, _, value in (p.partition("=") for p in _parameters(parameters))
            if name == "phone-context"
        ]
        if not contexts or number.startswith("+"):
            return self.number(number, where)
        context = unquote(contexts[0], errors="replace")
        if len(contexts) > 1:
            raise ParseError(Reason.TN_CONTEXT, where, "two phone-contexts")
        if context.startswith("+"):
            return self._in_country(number, context, where)
        if _DOMAIN.match(context) is None:
            raise ParseError(
                Reason.TN_CONTEXT, where, f"phone-context={shown(context)} is no country code"
            )
        if within_sip or self._own(context):
            return self.number(number, where)
        local = undressed(number).lower()
        if _LOCAL.match(local) is None:
            raise ParseError(Reason.TN_INVALID, where, f"{shown(number)} is no local number")
        return Private(f"tel:{local};phone-context={context.rstrip('.')}")

    def _in_country(self, number: str, context: str, where: str) -> TN:
        code = undressed(context)[1:]
        known = code.isascii() and code.isdecimal() and len(code) <= 3 and code[0] != "0"
        region = phonenumbers.region_code_for_country_code(int(code)) if known else None
        if region is None or region == "ZZ":
            raise ParseError(
                Reason.TN_CONTEXT,
                where,
                f"phone-context={shown(context)} is not exactly a country code",
            )
        bare = undressed(number)
        found = national_number(bare, region) if region != "001" else None
        if found is not None:
            return found
        form = self.national_form(f"{code}{bare}")
        if form is not None:
            return TN(form)
        ours = phonenumbers.country_code_for_region(self.country) if self.country else int(code)
        if len(bare) < MIN_DIGITS and ours == int(code):
            return self.number(bare, where)
        raise ParseError(Reason.TN_CONTEXT, where, f"{shown(number)} is no number of +{code}")

    def _own(self, host: str) -> bool:
        host = host.rstrip(".")
        while host:
            if host in self.hosts:
                return True
            host = host.partition(".")[2]
        return False

    def _is_special(self, digits: str) -> bool:
        try:
            return self.special(self.number(digits))
        except ParseError:
            return False


def diverting_of(values: Sequence[str], reading: Reading) -> tuple[TN | URI, ...]:
    """Who diverted a call last, by its Diversion header field values (RFC 5806 section 4).

    The first of them is the latest. Empty for none.

    Raises:
        ParseError: as Reading.identity.
    """
    told = [value for value in values if value.strip()]
    if not told:
        return ()
    return (reading.identity(next(parse_addresses(told, "diversion")).uri, "diversion"),)


def is_withheld(number: str) -> bool:
    """True for what clients write in place of a number that is withheld."""
    return number.strip().lower() in ("", "anonymous")


def _parameters(text: str | None) -> list[str]:
    return (text or "").lower().split(";")


def _unescaped(match: re.Match[str]) -> str:
    char = chr(int(match[1], 16))
    return char if char in _UNRESERVED else match[0]


def _split(user: str) -> tuple[str, str, str]:
    """What may be a number, what ends it there, and the rest; the last two empty without an end."""
    end = _AFTER_NUMBER.search(user)
    return (user[: end.start()], end[0], user[end.end() :]) if end is not None else (user, "", "")


def _as_sip(address: str) -> str:
    """Read "alice@example.com:5060" as sip, but "mailto:alice@example.com" as what it is."""
    return f"sip:{address}" if ":" not in address.partition("@")[0] and "@" in address else address


def _is_letter(char: str) -> bool:
    return char.isalpha() and unicodedata.category(char) != "Lm" and char not in _NO_LETTERS


def _is_numeric(host: str) -> bool:
    """True for an address, however its numbers are written: a phone shows the user part alone."""
    return host.startswith("[") or _NUMERIC_HOST.match(host.rstrip(".")) is not None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.rstrip(".").removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
