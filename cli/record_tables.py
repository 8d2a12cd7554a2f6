"""Records and their versions, as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table

from zhenxian.cli.common import console, print_json
from zhenxian.registry.members import COLUMNS, MEMBERS
from zhenxian.registry.meta import Form
from zhenxian.registry.model import NAMES, Kind

_INSTANTS: Final = {"signed_at"} | {
    member.name
    for kind in (*NAMES, Kind.ORDER)
    for member in MEMBERS[kind]
    if member.form is Form.TIME
}


def print_rows(which: str, kind: Kind, rows: list[dict[str, Any]]) -> None:
    """A table of the columns that say something."""
    names = [name for name in COLUMNS[kind] if any(row.get(name) for row in rows)]
    table = table_of(*names, "version")
    for row in rows:
        add_row(table, [_cell(name, row.get(name)) for name in (*names, "version")])
    if rows:
        console.print(table)
    else:
        console.print(f"no {which}")


def print_record(row: dict[str, Any], *, as_json: bool) -> None:
    """A record, or what else has members: those that say something."""
    if as_json:
        print_json(row)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in row.items():
        if value not in (None, "", []):
            table.add_row(name, _text(name, value))
    console.print(table)


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What a version changed."""
    if not before:
        return "made"
    return ", ".join(
        f"{name} {_text(name, before.get(name)) or 'nothing'} > {_text(name, value) or 'nothing'}"
        for name, value in now.items()
        if before.get(name) != value
    )


def why(row: dict[str, Any]) -> str:
    """A commit's reason, and of which file it is."""
    made = row.get("imported")
    if not made:
        return str(row["reason"])
    told = [made["file"] or "a file", *([made["digest"]] if made["digest"] else [])]
    return f"{row['reason']} (import: {made['count']} {made['kind']}, of {', '.join(told)})"


def table_of(*names: str) -> Table:
    """A table of these columns."""
    table = Table(show_lines=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def add_row(table: Table, values: Iterable[Any]) -> None:
    """Add a row to it."""
    table.add_row(*(_text("", value) for value in values))


def _cell(name: str, value: Any) -> Any:
    return moment(value) if name in _INSTANTS and isinstance(value, int) else value


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in _INSTANTS and isinstance(value, int):
        return f"{value} ({moment(value)})"
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def moment(seconds: int) -> str:
    """Seconds since the epoch, for people."""
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s after 1970"
