"""Records from and to plain rows of text, as API bodies and CSV files have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from typing import Any, Final, TypeVar

from zhenxian.analytics.model import KeyKind
from zhenxian.core.errors import ConfigError, ParseError, shown
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.ppt.shaken import parse_origid
from zhenxian.registry.customers import MAX_SPANS
from zhenxian.registry.members import COLUMNS, MEMBERS, Member
from zhenxian.registry.meta import MAX_ID, MAX_TEXT, MAX_TIME, Form
from zhenxian.registry.model import TYPES, Kind, Record, span

AS_WRITTEN: Final = Reading()

_SECONDS: Final = re.compile(r"[0-9]{1,13}\Z")
_DAY: Final = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})\Z")
_EITHER: Final = re.compile(r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}\Z")

_Choice = TypeVar("_Choice", bound=Enum)


def record_of(kind: Kind, row: Mapping[str, Any], reading: Reading = AS_WRITTEN) -> Record:
    """Read a record. Values are text or numbers; lists are lists or text with spaces.

    Args:
        reading: how numbers are read that have no country code.

    Raises:
        ConfigError: names the member and what was expected.
    """
    columns, record, readers = _READERS[kind]
    unknown = row.keys() - columns
    if unknown:
        raise ConfigError(f"{', '.join(sorted(unknown))}: no member of a {kind.value}")
    given = {name: value for name, value in row.items() if value not in (None, "", [])}
    form = _Form(given, reading)
    try:
        return record(**{name: read(form) for name, read in readers})
    except ParseError as error:
        raise ConfigError(str(error)) from None


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row that record_of reads back; empty members included."""
    names, values_of, writers = _WRITERS[type(record)]
    row = dict(zip(names, values_of(record), strict=True))
    for name, write in writers:
        row[name] = write(row[name])
    return row


def seconds_of(text: str) -> int:
    """Read a time: seconds since the epoch, or ISO 8601, or a day as 2026/5/1.

    A day alone is its first second in UTC; a time of day has its offset.

    Raises:
        ConfigError: says what is expected.
    """
    if _SECONDS.match(text):
        return int(text)
    if _EITHER.match(text):
        raise ConfigError(
            f"{shown(text)}: which is the day and which the month? Write it as 2026-05-01"
        )
    day = _DAY.match(text)
    try:
        if day is not None:
            year, month, number = map(int, day.groups())
            return int(datetime(year, month, number, tzinfo=UTC).timestamp())
        moment = datetime.fromisoformat(text) if text.isascii() else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError(
            f"{shown(text)}: seconds since the epoch, a day as 2026-05-01, or a time with its"
            " offset as 2026-05-01T08:00:00+08:00 expected"
        )
    return int(moment.timestamp())


class _Form:
    def __init__(self, row: Mapping[str, Any], reading: Reading) -> None:
        self._row = row
        self._reading = reading

    def own_id(self) -> str:
        """The record's own id, which stands in the path of its address."""
        value = self.id("id")
        if "/" in value or value in (".", ".."):
            raise ConfigError('id: no address leads to an id with "/", nor to "." and ".."')
        return value

    def id(self, name: str, *, needed: bool = True) -> str:
        value = self._row.get(name, "")
        if (not value and not needed) or (
            isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable()
        ):
            return str(value)
        raise ConfigError(f"{name}: 1 to {MAX_ID} printable characters expected")

    def text(self, name: str) -> str:
        value = self._row.get(name, "")
        if (
            not isinstance(value, str)
            or len(value) > MAX_TEXT
            or not (value.isprintable() or not value)
        ):
            raise ConfigError(f"{name}: at most {MAX_TEXT} printable characters expected")
        return value

    def said(self, name: str) -> str:
        """Text that must be there."""
        value = self.text(name)
        if not value.strip():
            raise ConfigError(f"{name}: 1 to {MAX_TEXT} printable characters expected")
        return value

    def choice(self, kind: type[_Choice], name: str, default: _Choice | None = None) -> _Choice:
        value = self._row.get(name)
        if value is None and default is not None:
            return default
        for member in kind:
            if member.value == value:
                return member
        allowed = ", ".join(str(member.value) for member in kind)
        if value is None:
            raise ConfigError(f"{name}: one of {allowed} expected")
        raise ConfigError(f"{name}: {shown(value)} is not one of {allowed}")

    def choices(self, kind: type[_Choice], name: str) -> tuple[_Choice, ...]:
        """Members in the order of their enumeration, each once."""
        words = self.words(name)
        members = {member.value: member for member in kind}
        for word in words:
            if word not in members:
                allowed = ", ".join(members)
                raise ConfigError(f"{name}: {shown(word)} is not one of {allowed}")
        return tuple(member for value, member in members.items() if value in words)

    def number(self, name: str) -> TN | None:
        value = self._row.get(name)
        if value is None:
            return None
        if not isinstance(value, str):
            raise ConfigError(f"{name}: a telephone number as text expected")
        return self.tn(value, name)

    def tn(self, text: str, name: str) -> TN:
        return self._reading.recorded(text, name)

    def needed(self, name: str) -> TN:
        number = self.number(name)
        if number is None:
            raise ConfigError(f"{name}: a telephone number expected")
        return number

    def words(self, name: str) -> tuple[str, ...]:
        value = self._row.get(name, ())
        words = tuple(value.split()) if isinstance(value, str) else tuple(value)
        for word in words:
            if (
                not isinstance(word, str)
                or not (0 < len(word) <= MAX_ID)
                or (not word.isprintable() or " " in word)
            ):
                raise ConfigError(f"{name}: words of 1 to {MAX_ID} characters expected")
        return words

    def spans(self, name: str) -> tuple[str, ...]:
        """Numbers and ranges as "first-last", each once, in their order."""
        words = self.words(name)
        if len(words) > MAX_SPANS:
            raise ConfigError(f"{name}: at most {MAX_SPANS:,} numbers and ranges expected")
        found = []
        for word in words:
            first, dash, last = word.partition("-")
            begin = self.tn(first, name)
            found.append(span(TNRange(begin, self.tn(last, name) if dash else begin)))
        return tuple(dict.fromkeys(found))

    def time(self, name: str) -> int | None:
        value = self._row.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            try:
                value = seconds_of(value)
            except ConfigError as error:
                raise ConfigError(f"{name}: {error}") from None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_TIME:
            raise ConfigError(f"{name}: seconds since the epoch expected")
        return value

    def needed_time(self, name: str) -> int:
        seconds = self.time(name)
        if seconds is None:
            raise ConfigError(f"{name}: seconds since the epoch expected")
        return seconds


def _target(form: _Form) -> str:
    kind = form.choice(KeyKind, "kind")
    text = form.text("target")
    if kind is KeyKind.SIGNER:
        spc, _, origid = text.partition("/")
        if not spc or not origid:
            raise ConfigError('target: "spc/origid" of a signer expected')
    elif kind is KeyKind.AGENT:
        platform, _, number = text.rpartition("/")
        if not platform:
            raise ConfigError('target: "platform/number" of an agent expected')
        return f"{platform}/{form.tn(number, 'target')}"
    elif kind is KeyKind.ACCESS and "/" in text and len(text) <= 2 * MAX_ID + 1:
        pass  # a customer's: "access/customer"
    elif not 0 < len(text) <= MAX_ID:
        raise ConfigError(f"target: an id of 1 to {MAX_ID} printable characters expected")
    return text


def _span(form: _Form) -> TNRange:
    first = form.needed("first")
    return TNRange(first, form.number("last") or first)


def _origid(form: _Form, name: str, *, needed: bool) -> str:
    text = form.id(name, needed=needed)
    return parse_origid(text) if text else ""


def _reader(member: Member) -> Callable[[_Form], Any]:
    """What reads one member of a form. Raises ConfigError or ParseError, as it does."""
    name, absent, needed = member.name, member.absent, member.required
    if member.choices is not None:
        choices = member.choices
        if member.is_list:
            return lambda form: form.choices(choices, name) or absent
        return lambda form: form.choice(choices, name, absent)
    if member.form is Form.ID and name == "id":
        return lambda form: form.own_id()
    readers: dict[Form, Callable[[_Form], Any]] = {
        Form.ID: lambda form: form.id(name, needed=needed),
        Form.TEXT: lambda form: form.said(name) if needed else form.text(name),
        Form.TARGET: _target,
        Form.ORIGID: lambda form: _origid(form, name, needed=needed),
        Form.ORIGIDS: lambda form: tuple(map(parse_origid, form.words(name))),
        Form.WORDS: lambda form: form.words(name),
        Form.SPANS: lambda form: form.spans(name),
        Form.NUMBER: lambda form: form.needed(name) if needed else form.number(name),
        Form.FIRST: _span,
        Form.TIME: lambda form: form.needed_time(name) if needed else _or(form.time(name), absent),
    }
    return readers[member.form]


def _or(seconds: int | None, absent: int | None) -> int | None:
    return absent if seconds is None else seconds


def _writer(member: Member) -> Callable[[Any], Any] | None:
    """What writes one member as a row has it; None where the record has it so."""
    if member.choices is not None:
        return (
            (lambda many: [one.value for one in many]) if member.is_list else attrgetter("_value_")
        )
    writers: dict[Form, Callable[[Any], Any]] = {
        Form.FIRST: lambda numbers: str(numbers.first),
        Form.LAST: lambda numbers: str(numbers.last),
        Form.NUMBER: lambda number: str(number) if number is not None else None,
    }
    if member.form is Form.TIME and member.absent == 0:
        return lambda seconds: seconds or None
    return writers.get(member.form, list if member.is_list else None)


_READERS: Final = {
    kind: (
        frozenset(columns),
        TYPES[kind],
        [
            (member.attribute, _reader(member))
            for member in MEMBERS[kind]
            if member.form is not Form.LAST  # read with the first
        ],
    )
    for kind, columns in COLUMNS.items()
}
_WRITERS: Final = {
    TYPES[kind]: (
        tuple(member.name for member in members),
        attrgetter(*(member.attribute for member in members)),
        [(member.name, write) for member in members if (write := _writer(member)) is not None],
    )
    for kind, members in MEMBERS.items()
}
