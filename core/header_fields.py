"""Header field values of SIP: addresses with their parameters, dates (RFC 3261 section 25).

All of them are read from text and become frozen values; any text gives a value or a ParseError.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from typing import Final, TypeAlias

from msgspec import Struct

from zhenxian.core.errors import ParseError, shown
from zhenxian.core.reasons import Reason

WORD: Final = r"[A-Za-z0-9\-.!%*_+`'~]+"  # a token of the grammar
_QUOTED: Final = r'"(?:[^"\\]|\\.)*"'
_SPACE = re.compile(r"[ \t]*")
# The class has blanks, too: nothing before or behind it that could give some of them back.
_NAME_ADDR = re.compile(rf"(?P<name>{_QUOTED}[ \t]*|[^\"<>,;]*)<(?P<uri>[^<>]*)>", re.DOTALL)
# From and To as nearly every request has them, without what any step of reading one would change.
_USUAL = re.compile(
    r'(?P<name>(?:"[^"\\]*"|[A-Za-z0-9]+)? ?)<(?P<uri>[a-z]+:[^\s<>"]*)>'
    rf"(?:;tag=(?P<tag>{WORD}))?\Z"
)
_ADDR_SPEC = re.compile(r"(?P<uri>[^\s<>,;?\"]+)")
_PARAMETER = re.compile(
    rf"\s*;\s*(?P<name>{WORD})(?:\s*=\s*(?P<value>{_QUOTED}|[^\s;,\"<>]+))?", re.DOTALL
)
_DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{2}) "
    r"(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) "
    r"([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT\Z"
)
_MONTHS: Final = (
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"
)  # fmt: skip
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

Parameters: TypeAlias = tuple[tuple[str, str | None], ...]


def syntax(where: str, detail: str) -> ParseError:
    """What a request is refused with that does not follow the grammar."""
    return ParseError(Reason.SIP_SYNTAX, where, detail)


class Address(Struct, frozen=True):
    """A name-addr or addr-spec with its parameters.

    Attributes:
        uri: the addr-spec as it stands, without angle brackets.
        name: the display name as it stands, with its quotation marks; empty for none.
        parameters: of the header field, names in lower case; None for one without value.
    """

    uri: str
    name: str = ""
    parameters: Parameters = ()

    def parameter(self, name: str) -> str | None:
        """The value of a parameter; the empty text of one without value; None for none."""
        for known, value in self.parameters:
            if known == name:
                return value or ""
        return None


def plain(value: str) -> str:
    """A value whose octets were taken as Latin-1, as the UTF-8 that it is."""
    return (
        value if value.isascii() else value.encode("latin-1", "replace").decode("utf-8", "replace")
    )


def parse_parameters(text: str, at: int, where: str) -> tuple[Parameters, int]:
    """Parameters from a place on, names in lower case; where they end. Raises ParseError."""
    found: list[tuple[str, str | None]] = []
    while (match := _PARAMETER.match(text, at)) is not None:
        name, value = match["name"].lower(), match["value"]
        if any(name == known for known, _ in found):
            raise syntax(where, f"the parameter {shown(name)} stands twice")
        if value is not None and value.startswith('"'):
            value = unquoted(value)
        found.append((name, value))
        at = match.end()
    return tuple(found), at


def unquoted(text: str) -> str:
    """A quoted-string without its marks and escapes; any other text as it is."""
    return _ESCAPED.sub(r"\1", text[1:-1]) if text[:1] == '"' else text


def _address(text: str, at: int, where: str) -> tuple[Address, int]:
    at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # nothing matches, too
    match = _NAME_ADDR.match(text, at)
    if match is not None:
        name, uri = match["name"].rstrip(" \t"), match["uri"].strip(" \t")
    else:
        match = _ADDR_SPEC.match(text, at)
        if match is None:
            raise syntax(where, f"{shown(plain(text))} is no address")
        name, uri = "", match["uri"]
    if ":" not in uri or any(char in uri for char in ' \t\r\n"'):
        raise syntax(where, f"{shown(plain(uri))} is no URI")
    parameters, end = parse_parameters(text, match.end(), where)
    return Address(uri, name, parameters), end


def parse_address(text: str, where: str) -> Address:
    """One address, as From and To have it. Raises ParseError."""
    usual = _USUAL.match(text)
    if usual is not None:
        name, uri, tag = usual.groups()
        return Address(uri, name.rstrip(" "), (("tag", tag),) if tag is not None else ())
    found, end = _address(text, 0, where)
    if text[end:].strip(" \t"):
        raise syntax(where, f"{shown(plain(text[end:]))} stands behind the address")
    return found


def parse_addresses(values: Sequence[str], where: str) -> Iterator[Address]:
    """The addresses of header fields whose values may be lists. Raises ParseError."""
    for text in values:
        at = 0
        while True:
            found, at = _address(text, at, where)
            yield found
            rest = text[at:].lstrip(" \t")
            if not rest:
                break
            if rest[0] != ",":
                raise syntax(where, f"{shown(plain(rest))} stands behind an address")
            at = len(text) - len(rest) + 1


def parse_date(text: str) -> int:
    """Seconds since the epoch of a SIP-date, which is of GMT alone. Raises ParseError."""
    match = _DATE.match(text)
    if match is not None:
        day, month, year, hour, minute, second = match.groups()
        try:
            at = datetime(
                int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second),
                tzinfo=UTC,
            )  # fmt: skip
        except ValueError:
            match = None
        else:
            return calendar.timegm(at.timetuple())
    raise syntax("Date", f"{shown(plain(text))} is no date as SIP writes it")


def sip_date(seconds: float) -> str:
    """A Date header field value (RFC 3261 section 20.17)."""
    return _date_of(int(seconds))


@lru_cache(16)  # many calls have the same second
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)


def quoted(text: str) -> str:
    """The inside of a quoted-string (RFC 3261 section 25.1), on one line."""
    bare = "".join(char if char.isprintable() else " " for char in text)
    return bare.replace("\\", "\\\\").replace('"', '\\"')
