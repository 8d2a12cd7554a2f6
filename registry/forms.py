"""Records from and to plain rows of text, as API bodies and CSV files have them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final, TypeVar

from msgspec.structs import fields

from zhenxian.core.errors import ConfigError, ParseError, shown
from zhenxian.core.reading import Reading
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.ppt.shaken import parse_origid
from zhenxian.registry.model import (
    Access,
    AccessKind,
    Binding,
    BindingModel,
    CalleeRefusal,
    ConductKind,
    ConductMeasure,
    Direction,
    Exemption,
    Holding,
    Kind,
    Record,
    Reseller,
    Scope,
    State,
    Subject,
    SubjectKind,
    Use,
    Verification,
)

MAX_ID: Final = 128  # characters of an id
MAX_TEXT: Final = 500  # characters of a name, evidence or reason
MAX_TIME: Final = 2**40  # seconds
AS_WRITTEN: Final = Reading()

_SECONDS: Final = re.compile(r"[0-9]{1,13}\Z")
_DAY: Final = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})\Z")
_EITHER: Final = re.compile(r"[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{2,4}\Z")

COLUMNS: Final[dict[Kind, tuple[str, ...]]] = {
    Kind.SUBJECT: ("id", "kind", "name", "document_kind", "document", "state"),
    Kind.RESELLER: ("id", "name", "role", "parent", "state"),
    Kind.HOLDING: (
        "first", "last", "subject", "verification", "use", "spcs", "reseller", "evidence",
        "verified_on",
    ),
    Kind.ACCESS: ("id", "origid", "subject", "kind", "state", "device", "sims", "former"),
    Kind.BINDING: (
        "id", "platform", "model", "x", "a", "since", "b", "y", "extension", "direction", "until",
    ),
    Kind.EXEMPTION: (
        "id", "kind", "target", "reason", "since", "until", "measures", "reference",
    ),
    Kind.REFUSAL: ("first", "last", "since", "until", "scopes", "source"),
}  # fmt: skip

_Choice = TypeVar("_Choice", bound=Enum)


def record_of(kind: Kind, row: Mapping[str, Any], reading: Reading = AS_WRITTEN) -> Record:
    """Read a record. Values are text or numbers; lists are lists or text with spaces.

    Args:
        reading: how numbers are read that have no country code.

    Raises:
        ConfigError: names the member and what was expected.
    """
    unknown = set(row) - set(COLUMNS[kind])
    if unknown:
        raise ConfigError(f"{', '.join(sorted(unknown))}: no member of a {kind.value}")
    given = {name: value for name, value in row.items() if value not in (None, "", [])}
    form = _Form(given, reading)
    try:
        return _READERS[kind](form)
    except ParseError as error:
        raise ConfigError(str(error)) from None


def row_of(record: Record) -> dict[str, Any]:
    """A record as a row that record_of reads back; empty members included."""
    if isinstance(record, Holding):
        first, last = str(record.numbers.first), str(record.numbers.last)
        return {
            "first": first,
            "last": last,
            "subject": record.subject,
            "verification": record.verification.value,
            "use": record.use.value,
            "spcs": list(record.spcs),
            "reseller": record.reseller,
            "evidence": record.evidence,
            "verified_on": record.verified_on or None,
        }
    row: dict[str, Any] = {}
    if isinstance(record, CalleeRefusal):
        row = {"first": str(record.numbers.first), "last": str(record.numbers.last)}
    for field in fields(type(record)):
        value = getattr(record, field.name)
        if isinstance(value, Enum):
            value = value.value
        elif isinstance(value, TN):
            value = str(value)
        elif isinstance(value, TNRange):
            continue
        elif isinstance(value, tuple):
            value = [part.value if isinstance(part, Enum) else part for part in value]
        row[field.name] = value
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


def _subject(form: _Form) -> Subject:
    return Subject(
        form.own_id(),
        form.choice(SubjectKind, "kind", SubjectKind.ENTERPRISE),
        form.text("name"),
        form.id("document_kind", needed=False),
        form.id("document", needed=False),
        form.choice(State, "state", State.ACTIVE),
    )


def _reseller(form: _Form) -> Reseller:
    return Reseller(
        form.own_id(),
        form.text("name"),
        form.text("role"),
        form.id("parent", needed=False),
        form.choice(State, "state", State.ACTIVE),
    )


def _holding(form: _Form) -> Holding:
    first = form.needed("first")
    return Holding(
        TNRange(first, form.number("last") or first),
        form.id("subject"),
        form.choice(Verification, "verification", Verification.UNVERIFIED),
        form.choice(Use, "use", Use.DIRECT),
        form.words("spcs"),
        form.id("reseller", needed=False),
        form.text("evidence"),
        form.time("verified_on") or 0,
    )


def _access(form: _Form) -> Access:
    return Access(
        form.own_id(),
        parse_origid(form.id("origid")),
        form.id("subject"),
        form.choice(AccessKind, "kind", AccessKind.TRUNK),
        form.choice(State, "state", State.ACTIVE),
        form.id("device", needed=False),
        form.words("sims"),
        tuple(parse_origid(word) for word in form.words("former")),
    )


def _binding(form: _Form) -> Binding:
    return Binding(
        form.own_id(),
        form.id("platform"),
        form.choice(BindingModel, "model"),
        form.needed("x"),
        form.needed("a"),
        form.needed_time("since"),
        form.number("b"),
        form.number("y"),
        form.id("extension", needed=False),
        form.choice(Direction, "direction", Direction.BOTH),
        form.time("until"),
    )


def _exemption(form: _Form) -> Exemption:
    kind = form.choice(ConductKind, "kind")
    reason = form.text("reason")
    if not reason.strip():
        raise ConfigError(f"reason: 1 to {MAX_TEXT} printable characters expected")
    return Exemption(
        form.own_id(),
        kind,
        _target(kind, form),
        reason,
        form.needed_time("since"),
        form.needed_time("until"),
        form.choices(ConductMeasure, "measures"),
        form.text("reference"),
    )


def _target(kind: ConductKind, form: _Form) -> str:
    text = form.text("target")
    if kind is ConductKind.SIGNER:
        spc, _, origid = text.partition("/")
        if not spc or not origid:
            raise ConfigError('target: "spc/origid" of a signer expected')
    elif kind is ConductKind.AGENT:
        platform, _, number = text.rpartition("/")
        if not platform:
            raise ConfigError('target: "platform/number" of an agent expected')
        return f"{platform}/{form.tn(number, 'target')}"
    elif not 0 < len(text) <= MAX_ID:
        raise ConfigError(f"target: an id of 1 to {MAX_ID} printable characters expected")
    return text


def _refusal(form: _Form) -> CalleeRefusal:
    first = form.needed("first")
    return CalleeRefusal(
        TNRange(first, form.number("last") or first),
        form.needed_time("since"),
        form.time("until"),
        form.choices(Scope, "scopes") or (Scope.MARKETING,),
        form.text("source"),
    )


_READERS: Final[dict[Kind, Callable[[_Form], Record]]] = {
    Kind.SUBJECT: _subject,
    Kind.RESELLER: _reseller,
    Kind.HOLDING: _holding,
    Kind.ACCESS: _access,
    Kind.BINDING: _binding,
    Kind.EXEMPTION: _exemption,
    Kind.REFUSAL: _refusal,
}
