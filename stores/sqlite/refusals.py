"""Callees' refusals in a registry file: a do-not-call register of millions of numbers.

Stored like holdings, by size class and first number (see stores.sqlite.schema), in tables of their
own: most numbers that calls ask holdings for refuse nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from zhenxian.core.tn import TN
from zhenxian.registry.model import CalleeRefusal, Kind, Record, Scope
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.numbers import number_key, range_of, where
from zhenxian.stores.sqlite.table import (
    FIRST_PLACE,
    Page,
    Span,
    Table,
    following_place,
    place_after,
)

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


class RefusalTable(Table):
    """Which callees want no calls."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.REFUSAL, connection)

    def get(self, key: str) -> tuple[int, Record] | None:
        """See Table; the key is a number or range."""
        place = where(key)
        if place is None:
            return None
        row = self._connection.one(
            f"SELECT {_COLUMNS} FROM refusals WHERE class = ? AND lo = ? AND size = ?",  # noqa: S608
            *place,
        )
        return (row[2], _refusal(row)) if row is not None else None

    def covering(self, callee: TN) -> list[CalleeRefusal]:
        """The refusals on record for a number, whenever they are in force."""
        if not callee.isdecimal():
            return []
        return [_refusal(row) for row in self._connection.all(_COVERING, number_key(callee))]

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table; single numbers first, then ranges by size class."""
        del subject  # a refusal is a number's
        rows = self._connection.all(
            f"SELECT {_COLUMNS} FROM refusals WHERE (class, lo, size) > (?, ?, ?)"  # noqa: S608
            " ORDER BY class, lo, size LIMIT ?",
            *place_after(after, "refusals"),
            limit + 1,
        )
        refusals = tuple((row[2], _refusal(row)) for row in rows[:limit])
        return Page(refusals, following_place(rows, limit))

    def past(self, key: str) -> list[Span]:
        """See Table."""
        rows = self._connection.all(
            f"SELECT {_COLUMNS}, ended FROM refusals_past"  # noqa: S608
            " WHERE class = ? AND lo = ? AND size = ? ORDER BY version",
            *(where(key) or FIRST_PLACE),
        )
        return [(row[2], row[7], _refusal(row)) for row in rows]

    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """See Table. Raises ValueError for a key that is no number or range."""
        place = where(key)
        if place is None:
            raise ValueError(f"refusal {key}")
        run = self._connection.run
        run(
            "INSERT INTO refusals_past SELECT class, lo, size, version, ?, since, until, scopes,"
            " source FROM refusals WHERE class = ? AND lo = ? AND size = ?",
            seq,
            *place,
        )
        if not isinstance(value, CalleeRefusal):
            run("DELETE FROM refusals WHERE class = ? AND lo = ? AND size = ?", *place)
            return
        run("INSERT OR IGNORE INTO refusal_classes VALUES (?)", place[0])
        run(
            "INSERT OR REPLACE INTO refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *place,
            seq,
            *_rest(value),
        )

    def register(self, records: Mapping[int, CalleeRefusal], seq: int) -> tuple[int, int, set[int]]:
        """Register many new refusals at once, inside a transaction; what was there is left out.

        Args:
            records: by their place in the file; all keep the rules, and no two have one key.

        Returns:
            How many were registered, how many were registered so already, and the places of those
            that are registered otherwise.
        """
        connection = self._connection
        connection.run(_STAGE)
        connection.run("DELETE FROM temp.stage_refusals")
        connection.run_many(
            "INSERT INTO temp.stage_refusals VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (place, size.bit_length(), number_key(record.numbers.first), size, *_rest(record))
                for place, record in records.items()
                for size in (record.numbers.size - 1,)
            ],
        )
        connection.run(_SAME)
        unchanged = int(connection.one("SELECT changes()")[0])
        other = {place for (place,) in connection.all("SELECT s.place" + _OTHER)}
        connection.run(
            "DELETE FROM temp.stage_refusals WHERE place IN (SELECT s.place" + _OTHER + ")"  # noqa: S608
        )
        connection.run(
            "INSERT OR IGNORE INTO refusal_classes SELECT class FROM temp.stage_refusals"
        )
        connection.run(
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
    return CalleeRefusal(
        numbers=range_of(row[0], row[1]), since=row[3], until=row[4], scopes=scopes, source=row[6]
    )
