"""TNAuthList: what numbers a certificate may speak for (RFC 8226 section 9).

TNAuthorizationList ::= SEQUENCE SIZE (1..MAX) OF TNEntry
TNEntry ::= CHOICE { spc [0] ServiceProviderCode, range [1] TelephoneNumberRange,
one [2] TelephoneNumber }
TelephoneNumberRange ::= SEQUENCE { start TelephoneNumber, count INTEGER (2..MAX) }
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final

from cryptography import x509
from msgspec import Struct
from pyasn1.codec.der import decoder, encoder
from pyasn1.error import PyAsn1Error
from pyasn1_modules import rfc8226

from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange

OID: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.26")
MAX_ENTRIES: Final = 10_000  # entries; a list of more is served by reference, not in a certificate
MAX_LENGTH: Final = 64 * 1024  # octets of DER
_MAX_COUNT: Final = 10**15  # numbers of one range: no number has more than 15 digits
_SPC = re.compile(r"[!-~](?:[ -~]{0,62}[!-~])?\Z")


class SPC(str):
    """A service provider code."""

    __slots__ = ()


class TNAuthList(Struct, frozen=True):
    """The entries of the extension, in their order."""

    entries: tuple[SPC | TNRange | TN, ...]

    @property
    def spcs(self) -> tuple[str, ...]:
        """Service provider codes; each stands for the numbers assigned to its holder.

        As plain text: what is told and saved of a signer is made of it.
        """
        return tuple(str(entry) for entry in self.entries if isinstance(entry, SPC))

    @property
    def ranges(self) -> tuple[TNRange, ...]:
        """Ranges of numbers."""
        return tuple(entry for entry in self.entries if isinstance(entry, TNRange))

    @property
    def numbers(self) -> tuple[TN, ...]:
        """Single numbers."""
        return tuple(entry for entry in self.entries if isinstance(entry, TN))

    def covers(self, tn: TN) -> bool:
        """True when a range or single entry names the number.

        A code names none: which numbers its holder was assigned is not in the certificate.
        """
        return any(
            tn in entry if isinstance(entry, TNRange) else tn == entry
            for entry in self.entries
            if not isinstance(entry, SPC)
        )

    def encompasses(self, other: TNAuthList) -> bool:
        """True when everything `other` may speak for, this may too (RFC 9060 section 4).

        A list with a code encompasses any numbers: the assignment of numbers to codes is not in
        certificates, so that the numbers are the holder's is the issuer's to check. A code is
        encompassed by the same code only. Entries add up (RFC 9060 section 4.1): a range may be
        encompassed by several that adjoin.
        """
        codes = set(self.spcs)
        if not codes.issuperset(other.spcs):
            return False
        if codes:
            return True
        if not _special(self).issuperset(_special(other)):
            return False
        own = _spans(self)
        return all(
            _within(span, own.get(length, []))
            for length, spans in _spans(other).items()
            for span in spans
        )

    def dumps(self) -> bytes:
        """The DER of the extension's value."""
        value = rfc8226.TNAuthorizationList()
        for entry in self.entries:
            choice = rfc8226.TNEntry()
            if isinstance(entry, SPC):
                choice["spc"] = str(entry)
            elif isinstance(entry, TNRange):
                choice["range"]["start"] = str(entry.first)
                choice["range"]["count"] = entry.size
            else:
                choice["one"] = str(entry)
            value.append(choice)
        return bytes(encoder.encode(value))

    def __str__(self) -> str:
        return ", ".join(
            f"SPC {entry}"
            if isinstance(entry, SPC)
            else f"{entry.first} to {entry.last}"
            if isinstance(entry, TNRange)
            else str(entry)
            for entry in self.entries
        )


def _special(listed: TNAuthList) -> set[TN]:
    """The numbers with * or #, which no range holds."""
    return {number for number in listed.numbers if not number.isdecimal()}


def _spans(listed: TNAuthList) -> dict[int, list[tuple[int, int]]]:
    """The numbers by their length, as disjoint spans in order; adjoining ones are one.

    A list of some thousand entries is compared with one as long within milliseconds so.
    """
    ends: dict[int, list[tuple[int, int]]] = {}
    for number in listed.numbers:
        if number.isdecimal():
            ends.setdefault(len(number), []).append((int(number), int(number)))
    for entry in listed.ranges:
        ends.setdefault(len(entry.first), []).append((int(entry.first), int(entry.last)))
    return {length: _merged(spans) for length, spans in ends.items()}


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return merged


def _within(span: tuple[int, int], spans: list[tuple[int, int]]) -> bool:
    index = bisect_right(spans, span[0], key=lambda own: own[0]) - 1
    return index >= 0 and span[1] <= spans[index][1]


def _invalid(why: str) -> ParseError:
    return ParseError(Reason.TNAUTHLIST_INVALID, "TNAuthList", why)


def _octets(der: bytes) -> str:
    return f"the octets {der[:16].hex(' ')}{' …' if len(der) > 16 else ''}"


def decode_der(der: bytes, spec: Any) -> Any:
    """Decode strict DER by a schema: what is not what encoding it again gives is refused.

    Raises:
        ValueError: says why.
    """
    if len(der) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} octets")
    try:
        value, rest = decoder.decode(der, asn1Spec=spec)
        again = encoder.encode(value)
    except (PyAsn1Error, ValueError, IndexError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"{_octets(der)} stand where that belongs") from None
    if rest:
        raise ValueError(f"{len(rest)} octets ({_octets(bytes(rest))}) stand after its end")
    if again != der:
        raise ValueError(f"{_octets(der)} is not its DER encoding")
    return value


def parse_tnauthlist(der: bytes) -> TNAuthList:
    """Read the extension's value.

    A range ends at start + count - 1, and its numbers have the length of its start.

    Raises:
        ParseError: TNAUTHLIST_INVALID (437).
    """
    try:
        value = decode_der(der, rfc8226.TNAuthorizationList())
    except ValueError as error:
        raise _invalid(
            "a SEQUENCE of [0] service provider code, [1] range or [2] number, each tagged"
            f" explicitly, belongs there (RFC 8226 section 9): {error}"
        ) from None
    if not 0 < len(value) <= MAX_ENTRIES:
        raise _invalid(f"{len(value)} entries")
    try:
        return TNAuthList(tuple(_entry(entry) for entry in value))
    except ParseError as error:
        raise _invalid(error.detail) from None


def _entry(entry: Any) -> SPC | TNRange | TN:
    kind = entry.getName()
    content = entry.getComponent()
    if kind == "spc":
        if _SPC.match(str(content)) is None:
            raise _invalid(
                "a service provider code is 1 to 64 printable characters, no blank at its ends"
            )
        return SPC(str(content))
    if kind == "one":
        return TN(str(content))
    start, count = TN(str(content["start"])), int(content["count"])
    if not 2 <= count <= _MAX_COUNT or not start.isdecimal():
        raise _invalid("a range has digits only and holds two numbers or more, 10^15 at most")
    last = str(int(start) + count - 1).rjust(len(start), "0")
    return TNRange(start, TN(last))


def tnauthlist_of(certificate: x509.Certificate) -> TNAuthList | None:
    """The certificate's TNAuthList, None when it has none.

    Raises:
        ParseError: TNAUTHLIST_INVALID (437).
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(OID)
    except x509.ExtensionNotFound:
        return None
    except UNREADABLE as error:
        raise _invalid(f"the certificate's extensions cannot be read: {described(error)}") from None
    value = extension.value
    if not isinstance(value, x509.UnrecognizedExtension):
        raise _invalid("the library reads it as something else")
    return parse_tnauthlist(value.value)
