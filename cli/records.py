"""`zhenxian registry`: the management API as commands, the same for every kind of record."""

from __future__ import annotations

import csv
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, TextIO, Union, get_args, get_origin

import typer
from msgspec.structs import fields
from rich.markup import escape
from rich.table import Table

from zhenxian.api.management.records import BODIES, MAX_BATCH, NAMES
from zhenxian.cli.client import DEFAULT_URL, Client, KeyFile, Url, segment
from zhenxian.cli.common import Json, console, errors, print_json
from zhenxian.core.errors import ConfigError
from zhenxian.registry.forms import COLUMNS
from zhenxian.registry.imports import Mode
from zhenxian.registry.model import TYPES, Kind, State

_TOLD: Final = 20  # refused rows shown to people; --json has all
_IN_PATH: Final = ("id", "first", "last")  # members that a record's path names
_BATCHES: Final = (Kind.BINDING, Kind.HOLDING, Kind.REFUSAL)
_INSTANTS: Final = ("since", "until", "verified_on", "lifted", "signed_at")
_NOT_SENT: Final = (*_IN_PATH, "version")

KINDS: Final = {name: kind for kind, name in NAMES.items()}
WHICH: Final = ", ".join(KINDS)

Which = Annotated[str, typer.Argument(help=f"One of {WHICH}.")]
Key = Annotated[
    str, typer.Argument(help="The record's id; of holdings and refusals NUMBER or FIRST-LAST.")
]
Reason = Annotated[str, typer.Option(help="Why; kept in the history.")]
Members = Annotated[
    list[str] | None,
    typer.Argument(
        help="MEMBER=VALUE, as often as needed; lists are words with spaces, instants are seconds"
        " since 1970 or RFC 3339 with its offset."
    ),
]
IfMatch = Annotated[
    int | None,
    typer.Option(help="The version that was seen: refused (412) if it is another one by now."),
]
Once = Annotated[
    str | None,
    typer.Option("--idempotency-key", help="The same request under one key is done once."),
]
After = Annotated[str, typer.Option(help="Where the page before ended (following).")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="Records of one page.")]
All = Annotated[bool, typer.Option("--all", help="Every page, not only the first.")]


def kind_of(which: str) -> Kind:
    """The kind that a plural names. Raises typer.BadParameter."""
    try:
        return KINDS[which]
    except KeyError:
        raise typer.BadParameter(f"one of {WHICH} expected") from None


def register(app: typer.Typer) -> None:
    """Add the commands."""
    members = _members()
    for command in (
        list_, show, put, add, change, end, suspend, resume, close, rotate, history, who, trace,
        changes, batch,
    ):  # fmt: skip
        epilog = members if command in (put, add, change) else None
        app.command(command.__name__.rstrip("_"), epilog=epilog)(command)


def _members() -> str:
    """What each kind of record is made of, for --help; a star marks what has no default."""
    lines = ["Members (* has no default, and must be given):"]
    for kind, body in BODIES.items():
        told = ", ".join(
            f"{name}{'*' if member.is_required() else ''}"
            for name, member in body.model_fields.items()
        )
        lines.append(f"{NAMES[kind]}: {told}")
    return "\n\n".join([*lines, "What each means: /docs of the service."])


def list_(
    which: Which,
    subject: Annotated[
        str | None, typer.Option(help="Only this subject's (holdings, accesses, exemptions).")
    ] = None,
    limit: Limit = 100,
    after: After = "",
    every: All = False,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List records, a page at a time.

    Example: zhenxian registry list holdings --subject bank --all
    """
    kind = kind_of(which)
    query = {"limit": limit} | ({"subject": subject} if subject is not None else {})
    rows: list[dict[str, Any]] = []
    following: str | None = after
    with Client(url, api_key_file) as client:
        while following is not None:
            page = client.get(f"/v1/{which}", **query, after=following)
            rows += page.get(which, [])
            following = page.get("following")
            if not every:
                break
    if as_json:
        print_json({which: rows, "following": following})
        return
    _print_rows(which, kind, rows)
    if following is not None:
        errors.print(f"more: --after {following}, or --all", markup=False)


def show(
    which: Which,
    key: Key,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show one record and its version.

    Example: zhenxian registry show holdings 8675588880000-8675588889999
    """
    kind_of(which)
    with Client(url, api_key_file) as client:
        _print_record(client.get(_path(which, key)), as_json=as_json)


def put(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put a record as a whole: members that are not given have their defaults.

    A number goes to another subject only with --if-match, which names the holding that ends.

    Example: zhenxian registry put holdings 8675588880001 subject=bank verification=verified
    "spcs=1234 5678" --reason "contract 17"
    """
    row = _row_of(kind_of(which), members)
    headers = _headers(idempotency_key, if_match)
    with Client(url, api_key_file) as client:
        _print_record(_put(client, which, key, row, reason, headers), as_json=as_json)


def add(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put a record that must not exist yet; otherwise it is refused (412) and stays as it is.

    Example: zhenxian registry add subjects bakery name=Bakery document_kind=licence
    document_number=91440300 --reason "contract 18"
    """
    row = _row_of(kind_of(which), members)
    headers = _headers(idempotency_key) | {"if-none-match": "*"}
    with Client(url, api_key_file) as client:
        _print_record(_put(client, which, key, row, reason, headers), as_json=as_json)


def change(
    which: Which,
    key: Key,
    reason: Reason,
    members: Members = None,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Change some members of a record; the others stay, and nobody else's change is undone.

    Example: zhenxian registry change bindings ride-1 until=1790000000 --reason "ride is over"
    """
    altered = _row_of(kind_of(which), members)
    if not altered:
        raise typer.BadParameter("MEMBER=VALUE expected")
    with Client(url, api_key_file) as client:
        _print_record(
            _changed(client, which, key, altered, reason, if_match=if_match), as_json=as_json
        )


def end(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """End a record, now; its history stays.

    Example: zhenxian registry end holdings 8675588880001 --reason "returned"
    """
    kind_of(which)
    headers = _headers(idempotency_key, if_match)
    with Client(url, api_key_file) as client:
        client.request("DELETE", _path(which, key), {"reason": reason}, headers=headers)
    if as_json:
        print_json({"ended": key})
    else:
        console.print(f"{which} {key}: ended", markup=False)


def suspend(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Suspend a subject, reseller or access: nothing of it signs until it is resumed.

    A subject's suspension covers all its numbers, those to come too, through any reseller.

    Example: zhenxian registry suspend subjects call-centre --reason "complaints of May"
    """
    _print_record(
        _set_state(which, key, State.SUSPENDED, reason, if_match, url, api_key_file),
        as_json=as_json,
    )


def resume(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Let a subject, reseller or access that was suspended or closed take part again.

    Example: zhenxian registry resume subjects call-centre --reason "contract 19"
    """
    _print_record(
        _set_state(which, key, State.ACTIVE, reason, if_match, url, api_key_file), as_json=as_json
    )


def close(
    which: Which,
    key: Key,
    reason: Reason,
    if_match: IfMatch = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Close a subject, reseller or access that others rest on and that therefore cannot be ended.

    Example: zhenxian registry close resellers old-mvno --reason "licence withdrawn"
    """
    _print_record(
        _set_state(which, key, State.CLOSED, reason, if_match, url, api_key_file), as_json=as_json
    )


def rotate(
    access: Annotated[str, typer.Argument(help="The access's id.")],
    reason: Reason,
    if_match: IfMatch = None,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Give an access a new origid; the old ones stay traceable and sign nothing.

    Example: zhenxian registry rotate bank-trunk --reason "yearly"
    """
    headers = _headers(idempotency_key, if_match)
    path = f"{_path('accesses', access)}/origid"
    with Client(url, api_key_file) as client:
        _print_record(
            client.request("POST", path, {"reason": reason}, headers=headers), as_json=as_json
        )


def history(
    which: Which,
    key: Key,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show all versions of a record: when, by whom, why, and what each changed.

    Example: zhenxian registry history subjects bank
    """
    kind_of(which)
    with Client(url, api_key_file) as client:
        answer = client.get(f"{_path(which, key)}/history")
    if as_json:
        print_json(answer)
        return
    table = _table("version", "when", "by", "why", "what")
    before: dict[str, Any] = {}
    for version in answer.get("versions", []):
        record = version["record"]
        now = record or {}
        what = "ended" if record is None else _difference(before, now)
        _add_row(
            table,
            (version["version"], _at(version["time"]), version["author"], version["reason"], what),
        )
        before = now
    console.print(table)


def who(
    number: Annotated[str, typer.Argument(help="A number, + or not.")],
    at: Annotated[
        str | None,
        typer.Option(
            help="An instant: RFC 3339 with its offset, or seconds since 1970. Default: now.",
            show_default=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Tell who holds a number and through which resellers; or who did when a call was signed.

    Example: zhenxian registry who 8675588880001 --at 2026-05-17T09:30:00+08:00
    """
    with Client(url, api_key_file) as client:
        query = {"at": at} if at is not None else {}
        answer = client.get(f"/v1/numbers/{segment(number.removeprefix('+'))}", **query)
    if as_json:
        print_json(answer)
        return
    when = f" at {_at(answer['at'])}" if "at" in answer else ""
    lines = [f"{answer['number']}: {answer['label']} ({answer['label_zh']})"]
    if "at" in answer:
        version = answer["holding"]
        held = [{**version["record"], "version": version["version"]}] if version else []
    else:
        held = answer["holdings"]
    if not held:
        lines.append(f"held by nobody{when}")
    for place, row in enumerate(held):
        span = row["first"] if row["first"] == row["last"] else f"{row['first']}-{row['last']}"
        chain = " > ".join(["carrier", *answer["chain"]]) if place == 0 else row["reseller"]
        lines.append(
            f"{'held' if place == 0 else 'within a range'} by {row['subject']}{when}:"
            f" {span}, {row['verification']}, {row['use']}, through {chain or 'carrier'},"
            f" version {row['version']}"
        )
    order = answer.get("order")
    if order is not None:
        lines.append(f"stopped by order {order['id']}: {order['reference']}")
    console.print("\n".join(lines), markup=False)


def trace(
    origid: Annotated[str, typer.Argument(help="The origid of a token.")],
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Tell whose an origid is or was, also one that was rotated away, or was a single call's.

    Example: zhenxian registry trace 123e4567-e89b-12d3-a456-426655440000
    """
    with Client(url, api_key_file) as client:
        row = client.get(f"/v1/origids/{segment(origid)}")
    if not as_json and "call" in row:
        call = row.pop("call")
        row |= {"signed_at": call["at"], "signed_by": call["node"]}
    _print_record(row, as_json=as_json)


def changes(
    after: Annotated[int, typer.Option(min=0, help="Only what follows this commit.")] = 0,
    limit: Limit = 100,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List what was committed, in order: number, time, author, reason and what it changed.

    Example: zhenxian registry changes --after 4711
    """
    with Client(url, api_key_file) as client:
        answer = client.get("/v1/changes", after=after, limit=limit)
    if as_json:
        print_json(answer)
        return
    table = _table("commit", "when", "by", "why", "what")
    for row in answer["changes"]:
        named = [f"{each['kind']} {each['key']}" for each in row["changed"]]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        what = "many records" if row["many"] else ", ".join(named[:3]) + more
        _add_row(table, (row["seq"], _at(row["time"]), row["author"], row["reason"], what))
    console.print(table)
    if answer["following"] is not None:
        errors.print(f"more: --after {answer['following']}")


def batch(
    which: Annotated[str, typer.Argument(help="One of bindings, holdings, refusals.")],
    file: Annotated[
        Path, typer.Argument(help="CSV with a header line, as export writes it; - for the input.")
    ],
    reason: Reason,
    mode: Annotated[
        Mode, typer.Option(help="Within one batch; all-or-nothing: one bad row, none is taken.")
    ] = Mode.ALL_OR_NOTHING,
    size: Annotated[int, typer.Option(min=1, max=MAX_BATCH, help="Rows of one batch.")] = MAX_BATCH,
    idempotency_key: Once = None,
    url: Url = DEFAULT_URL,
    api_key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Put many bindings, holdings or refusals, some thousands in each request.

    Each refused row is told with its line. For files of more than a few batches there is import.

    Example: zhenxian registry batch bindings rides.csv --reason "rides" --mode best-effort

    Exit status 1 when a row was refused.
    """
    kind = kind_of(which)
    if kind not in _BATCHES:
        raise typer.BadParameter(f"{which} have no batches: put or import them")
    accepted = 0
    rejected: list[dict[str, Any]] = []
    with Client(url, api_key_file) as client, _opened(file) as lines:
        rows = _csv_rows(kind, lines)
        for number in itertools.count():
            part = list(itertools.islice(rows, size))
            if not part:
                break
            once = f"{idempotency_key}/{number}" if idempotency_key is not None else None
            answer = client.request(
                "POST",
                f"/v1/{which}/batch",
                {"reason": reason, "mode": mode.value},
                [row for _, row in part],
                headers=_headers(once),
                lines=[line for line, _ in part],
            )
            accepted += answer.get("accepted", 0)
            rejected += [
                {"line": part[each["row"]][0], "reason": each["detail"]}
                for each in answer.get("rejected", [])
            ]
    if as_json:
        print_json({"accepted": accepted, "rejected": rejected})
    else:
        for each in rejected[:_TOLD]:
            errors.print(f"line {each['line']}: {each['reason']}", markup=False)
        console.print(f"{accepted} accepted, {len(rejected)} refused")
    raise typer.Exit(1 if rejected else 0)


# What the commands share --------------------------------------------------------------------------


def _path(which: str, key: str) -> str:
    return f"/v1/{which}/{segment(key)}"


def _headers(once: str | None, if_match: int | None = None) -> dict[str, str]:
    headers = {"idempotency-key": once} if once is not None else {}
    return headers | ({"if-match": f'"{if_match}"'} if if_match is not None else {})


def _put(
    client: Client,
    which: str,
    key: str,
    row: dict[str, Any],
    reason: str,
    headers: dict[str, str],
) -> dict[str, Any]:
    return client.request("PUT", _path(which, key), {"reason": reason}, row, headers=headers)


def _changed(
    client: Client,
    which: str,
    key: str,
    altered: dict[str, Any],
    reason: str,
    *,
    if_match: int | None,
) -> dict[str, Any]:
    """Read, alter, put: refused when somebody else wrote in between."""
    found = client.get(_path(which, key))
    seen = found["version"] if if_match is None else if_match
    row = {name: value for name, value in found.items() if name not in _NOT_SENT} | altered
    if "document_number" in altered:
        row.pop("document", None)
    return _put(client, which, key, row, reason, _headers(None, seen))


def _set_state(
    which: str,
    key: str,
    state: State,
    reason: str,
    if_match: int | None,
    url: str,
    api_key_file: Path | None,
) -> dict[str, Any]:
    kind = kind_of(which)
    if not any(field.name == "state" for field in fields(TYPES[kind])):
        raise typer.BadParameter(f"{which} have no state: end the record instead")
    with Client(url, api_key_file) as client:
        altered = {"state": state.value}
        return _changed(client, which, key, altered, reason, if_match=if_match)


def _row_of(kind: Kind, members: Iterable[str] | None) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for word in members or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{word}: MEMBER=VALUE expected")
        if name in _IN_PATH:
            raise typer.BadParameter(f"{name} is named before the members")
        row[name] = _typed(kind, name, value)
    return row


def _typed(kind: Kind, name: str, text: str) -> Any:
    """A member as the API has it; what is not understood is left for the service to refuse."""
    found = {field.name: field.type for field in fields(TYPES[kind])}.get(name, str)
    options = get_args(found) if get_origin(found) in (Union, UnionType) else (found,)
    if not text and type(None) in options:
        return None
    if any(get_origin(option) is tuple for option in options):
        return text.split()
    if int in options:
        return _number(text)
    if bool in options and text in ("true", "false"):
        return text == "true"
    return text


def _number(text: str) -> int | str:
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
        return int(moment.timestamp()) if moment.tzinfo is not None else text
    except (ValueError, OverflowError):
        return text


@contextmanager
def _opened(file: Path) -> Iterator[TextIO]:
    if str(file) == "-":
        yield sys.stdin
        return
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield lines
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: {error}") from None


def _csv_rows(kind: Kind, lines: TextIO) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with its line. Empty cells are members that are not given."""
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise ConfigError(
                    f"line {reader.line_num}: {len(reader.fieldnames or ())} columns expected"
                )
            yield (
                reader.line_num,
                {name: _typed(kind, name, value) for name, value in row.items() if value},
            )
    except csv.Error as error:
        raise ConfigError(f"line {reader.line_num}: {error}") from None


def _print_rows(which: str, kind: Kind, rows: list[dict[str, Any]]) -> None:
    """A table of the columns that say something."""
    names = [name for name in COLUMNS[kind] if any(row.get(name) for row in rows)]
    table = _table(*names, "version")
    for row in rows:
        _add_row(table, [_cell(name, row.get(name)) for name in (*names, "version")])
    if rows:
        console.print(table)
    else:
        console.print(f"no {which}")


def _print_record(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in row.items():
        if value not in (None, "", []):
            table.add_row(escape(name), escape(_text(name, value)))
    console.print(table)


def _difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    if not before:
        return "made"
    return ", ".join(
        f"{name} {_text(name, before.get(name)) or 'nothing'} > {_text(name, value) or 'nothing'}"
        for name, value in now.items()
        if before.get(name) != value
    )


def _table(*names: str) -> Table:
    table = Table(show_lines=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def _add_row(table: Table, values: Iterable[Any]) -> None:
    table.add_row(*(escape(_text("", value)) for value in values))


def _cell(name: str, value: Any) -> Any:
    return _at(value) if name in _INSTANTS and isinstance(value, int) else value


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _INSTANTS and isinstance(value, int):
        return f"{value} ({_at(value)})"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _at(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"
