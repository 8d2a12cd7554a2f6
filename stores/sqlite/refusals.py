"""Callees' refusals in a registry file: a do-not-call register of millions of numbers.

Stored like holdings, by size class and first number (see stores.sqlite.schema), in tables of their
own: most numbers that calls ask holdings for refuse nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN
from zhenxian.registry.model import CalleeRefusal, Record, Scope
from zhenxian.stores.sqlite.numbers import INTEGER, number_key, range_of, where

if TYPE_CHECKING:
    from zhenxian.stores.sqlite.file import Book

_STAGE: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS stage_refusals (place INTEGER, class INTEGER, lo INTEGER,"
    " size INTEGER, since INTEGER, until INTEGER, scopes TEXT, source TEXT,"
    " PRIMARY KEY (class, lo, size)) WITHOUT ROWID"
)
_SAME: Final = (
    "DELETE FROM temp.stage_refusals WHERE EXISTS (SELECT 1 FROM refusals h WHERE"
    " h.class = stage_refusals.class AND h.lo = stage_refusals.lo"
    " AND h.size = stage_refusals.size AND h.since = stage_refusals.since"
    " AND h.until IS stage_refusals.until AND h.scopes = stage_refusals.scopes"
    " AND h.source = stage_refusals.source)"
)
_OTHER: Final = (
    " FROM temp.stage_refusals s JOIN refusals h"
    " ON h.class = s.class AND h.lo = s.lo AND h.size = s.size"
)
_COLUMNS: Final = "lo, size, version, since, until, scopes, source"
_COVERING: Final = (
    f"SELECT {_COLUMNS} FROM refusals WHERE class = 0 AND lo = ?1 UNION ALL"  # noqa: S608
    " SELECT h.lo, h.size, h.version, h.since, h.until, h.scopes, h.source FROM refusal_classes c"
    " CROSS JOIN refusals h WHERE c.class > 0 AND h.class = c.class"
    " AND h.lo BETWEEN ?1 - ((1 << c.class) - 1) AND ?1 AND h.lo + h.size >= ?1"
)


def get(book: Book, key: str) -> tuple[int, CalleeRefusal] | None:
    """A refusal and its version."""
    place = where(key)
    if place is None:
        return None
    rows = book.query(
        f"SELECT {_COLUMNS} FROM refusals WHERE class = ? AND lo = ? AND size = ?",  # noqa: S608
        *place,
    )
    return (rows[0][2], _refusal(rows[0])) if rows else None


def covering(book: Book, callee: TN) -> list[CalleeRefusal]:
    """The refusals on record for a number, whenever they are in force."""
    if not callee.isdecimal():
        return []
    return [_refusal(row) for row in book.query(_COVERING, number_key(callee))]


def page(book: Book, after: str, limit: int) -> tuple[list[tuple[int, Record]], str | None]:
    """Some refusals with their versions, singles first, and where the next page begins."""
    try:
        class_, lo, size = [int(part) for part in after.split(".")] if after else [-1, 0, 0]
        if max(class_, lo, size) > INTEGER:
            raise ValueError(after)  # noqa: TRY301
    except ValueError:
        raise ConfigError("after: not the end of a page of refusals") from None
    rows = book.query(
        f"SELECT {_COLUMNS} FROM refusals WHERE (class, lo, size) > (?, ?, ?)"  # noqa: S608
        " ORDER BY class, lo, size LIMIT ?",
        class_,
        lo,
        size,
        limit + 1,
    )
    part = rows[:limit]
    last = part[-1] if len(rows) > limit else None
    following = f"{last[1].bit_length()}.{last[0]}.{last[1]}" if last is not None else None
    return [(row[2], _refusal(row)) for row in part], following


def past(book: Book, key: str) -> list[tuple[int, int | None, Record]]:
    """The past versions of a refusal: version, the commit that ended it, what it said."""
    rows = book.query(
        f"SELECT {_COLUMNS}, ended FROM refusals_past"  # noqa: S608
        " WHERE class = ? AND lo = ? AND size = ? ORDER BY version",
        *(where(key) or (-1, 0, 0)),
    )
    return [(row[2], row[7], _refusal(row)) for row in rows]


def apply(book: Book, key: str, value: Record | None, seq: int) -> None:
    """Put or end a refusal, inside a transaction."""
    place = where(key)
    if place is None:
        raise ValueError(f"refusal {key}")
    book.query(
        "INSERT INTO refusals_past SELECT class, lo, size, version, ?, since, until, scopes, source"
        " FROM refusals WHERE class = ? AND lo = ? AND size = ?",
        seq,
        *place,
    )
    if not isinstance(value, CalleeRefusal):
        book.query("DELETE FROM refusals WHERE class = ? AND lo = ? AND size = ?", *place)
        return
    book.query("INSERT OR IGNORE INTO refusal_classes VALUES (?)", place[0])
    book.query(
        "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        *place,
        seq,
        *_rest(value),
    )


def register(
    book: Book, records: Mapping[int, CalleeRefusal], seq: int
) -> tuple[int, int, set[int]]:
    """Register many new refusals at once, inside a transaction; what was there is left out.

    Args:
        records: by their place in the file; all keep the rules, and no two have one key.

    Returns:
        How many were registered, how many were registered so already, and the places of those
        that are registered otherwise.
    """
    rows = [(place, record.numbers.size - 1, record) for place, record in records.items()]
    book.query(_STAGE)
    book.query("DELETE FROM temp.stage_refusals")
    book.query_many(
        "INSERT INTO temp.stage_refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (place, size.bit_length(), number_key(record.numbers.first), size, *_rest(record))
            for place, size, record in rows
        ],
    )
    book.query(_SAME)
    unchanged = book.query("SELECT changes()")[0][0]
    other = {place for (place,) in book.query("SELECT s.place" + _OTHER)}
    book.query(
        "DELETE FROM temp.stage_refusals WHERE place IN (SELECT s.place" + _OTHER + ")"  # noqa: S608
    )
    book.query("INSERT OR IGNORE INTO refusal_classes SELECT class FROM temp.stage_refusals")
    book.query(
        "INSERT INTO refusals SELECT class, lo, size, ?, since, until, scopes, source"
        " FROM temp.stage_refusals ORDER BY class, lo, size",
        seq,
    )
    return len(records) - unchanged - len(other), unchanged, other


def _rest(value: CalleeRefusal) -> tuple[int, int | None, str, str]:
    scopes = " ".join([scope.value for scope in value.scopes])
    return value.since, value.until, scopes, value.source


def _refusal(row: tuple[Any, ...]) -> CalleeRefusal:
    scopes = tuple(Scope(word) for word in row[5].split())
    return CalleeRefusal(range_of(row[0], row[1]), row[3], row[4], scopes, row[6])
