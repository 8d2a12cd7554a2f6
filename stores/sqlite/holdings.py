"""Holdings in a registry file: by size class and first number (see stores.sqlite.schema)."""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

from zhenxian.core.tn import MAX_TN_LENGTH, TN, TNRange
from zhenxian.registry.model import Holding, Kind, Record, Use, Verification
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.numbers import number_key, range_of, where
from zhenxian.stores.sqlite.table import (
    FIRST_PLACE,
    Page,
    Place,
    Span,
    Table,
    following_place,
    place_after,
)

_COLUMNS: Final = (
    "h.lo, h.size, h.version, o.subject, h.title, h.evidence, h.verified_on"
    " FROM {} JOIN owners o ON o.id = h.owner"
)
_COVERING: Final = (
    "SELECT " + _COLUMNS.format("classes c CROSS JOIN holdings h") + " WHERE h.class = c.class"
    " AND h.lo BETWEEN ?1 - ((1 << c.class) - 1) AND ?1 AND h.lo + h.size >= ?1"
    " ORDER BY c.class, h.size"
)
# In one statement: each costs three calls of the system, as much as finding the row. The number by
# itself comes first, and SQLite stops there when it is held.
_MOST_SPECIFIC: Final = (
    "SELECT " + _COLUMNS.format("holdings h") + " WHERE h.class = 0 AND h.lo = ?1 AND h.size = 0"  # noqa: S608
    " UNION ALL SELECT * FROM ("
    + _COVERING.replace("h.class = c.class", "c.class > 0 AND h.class = c.class")
    + " LIMIT 1) LIMIT 1"
)
_GET: Final = (
    "SELECT " + _COLUMNS.format("holdings h") + " WHERE h.class = ? AND h.lo = ? AND h.size = ?"
)
_HELD: Final = (
    "SELECT h.lo, h.size FROM (SELECT 0 AS run UNION ALL SELECT run FROM runs) r"
    " CROSS JOIN holdings h WHERE h.run = r.run"
    " AND h.owner = (SELECT id FROM owners WHERE subject = ?) LIMIT 1"
)
_PAGE: Final = (
    "SELECT "
    + _COLUMNS.format("holdings h")
    + " WHERE (h.class, h.lo, h.size) > (?, ?, ?){} ORDER BY h.class, h.lo, h.size"
)
_BETWEEN: Final = (
    "SELECT " + _COLUMNS.format("classes c CROSS JOIN holdings h") + " WHERE h.class = c.class"
    " AND h.lo BETWEEN ? AND ? ORDER BY c.class, h.lo"
)
_PAST: Final = (
    "SELECT h.lo, h.size, h.version, o.subject, h.title, h.evidence, h.verified_on, h.ended"
    " FROM holdings_past h JOIN owners o ON o.id = h.owner WHERE {} ORDER BY h.version"
)
_OWNERS: Final = 65_536  # names of owners that are remembered where they are asked for alone


class HoldingTable(Table):
    """Who holds which numbers.

    Attributes:
        title: what many holdings share, by its number. owner: a subject by its number.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(Kind.HOLDING, connection)
        self.title = lru_cache(4096)(self._read_title)
        self.owner = lru_cache(_OWNERS)(self._read_owner)
        connection.on_rollback(self.title.cache_clear)
        connection.on_rollback(self.owner.cache_clear)

    def get(self, key: str) -> tuple[int, Holding] | None:
        """See Table; the key is a number or range."""
        place = where(key)
        row = self._connection.one(_GET, *place) if place is not None else None
        return (row[2], self._holding(row)) if row is not None else None

    def covering(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        if not tn.isdecimal():
            return None
        row = self._connection.one(_MOST_SPECIFIC, number_key(tn))
        return self._holding(row) if row is not None else None

    def levels(self, tn: TN) -> list[tuple[int, Holding]]:
        """All holdings that cover the number, the most specific first, with their versions."""
        if not tn.isdecimal():
            return []
        rows = self._connection.all(_COVERING, number_key(tn))
        return [(row[2], self._holding(row)) for row in rows]

    def touching(self, numbers: TNRange) -> Iterator[Holding]:
        """The holdings that overlap the range, and neither lies within the other."""
        for end in (numbers.first, numbers.last):
            for _, held in self.levels(end):
                if not held.numbers.covers(numbers) and not numbers.covers(held.numbers):
                    yield held

    def around(self, numbers: TNRange) -> Holding | None:
        """The most specific holding of more numbers that has all of these."""
        for _, held in self.levels(numbers.first):
            if held.numbers.covers(numbers) and held.numbers != numbers:
                return held
        return None

    def first_of(self, subject: str) -> TNRange | None:
        """Some number or range that the subject holds; None when it holds none."""
        row = self._connection.one(_HELD, subject)
        return range_of(row[0], row[1]) if row is not None else None

    def at_least(self, count: int) -> bool:
        """True when there are so many holdings."""
        row = self._connection.one("SELECT count(*) FROM (SELECT 1 FROM holdings LIMIT ?)", count)
        return int(row[0]) >= count

    def passed_on_by(self, reseller: str) -> bool:
        """True when the reseller ever passed on a number."""
        row = self._connection.one("SELECT 1 FROM titles WHERE reseller = ? LIMIT 1", reseller)
        return row is not None

    def page(self, after: str, limit: int, subject: str | None = None) -> Page:
        """See Table; single numbers first, then ranges by size class."""
        place = place_after(after, "holdings")
        rows = (
            self._connection.all(_PAGE.format("") + " LIMIT ?", *place, limit + 1)
            if subject is None
            else self._held(subject, place, limit + 1)
        )
        held = tuple((row[2], self._holding(row)) for row in rows[:limit])
        return Page(held, following_place(rows, limit))

    def _held(self, subject: str, after: Place, limit: int) -> list[tuple[Any, ...]]:
        """Some holdings of a subject; each run has its own in order, and is read as far as used."""
        connection = self._connection
        owner = connection.one("SELECT id FROM owners WHERE subject = ?", subject)
        if owner is None:
            return []
        statement = _PAGE.format(" AND h.run = ? AND h.owner = ?")
        try:
            runs = [(0,), *connection.all("SELECT run FROM runs")]
            parts = [connection.db.execute(statement, (*after, run, owner[0])) for (run,) in runs]
            merged = heapq.merge(*parts, key=lambda row: (row[1].bit_length(), row[0], row[1]))
            return list(itertools.islice(merged, limit))
        except sqlite3.Error as error:
            raise connection.failure(error) from None

    def many(self, code: str, most: int) -> list[tuple[str, str, int]]:
        """Subject, codes of carriers, and numbers, of who holds more than `most`.

        Args:
            code: that the numbers begin with.
        """
        spans = []
        for length in range(len(code) + 1, MAX_TN_LENGTH + 1):
            rest = length - len(code)
            spans += [number_key(code + "0" * rest), number_key(code + "9" * rest)]
        within = " OR ".join(["h.lo BETWEEN ? AND ?"] * (len(spans) // 2))
        return self._connection.all(
            "SELECT o.subject, t.spcs, sum(h.size + 1) FROM holdings h JOIN owners o ON"  # noqa: S608
            " o.id = h.owner JOIN titles t ON t.id = h.title"
            f" WHERE {within} GROUP BY h.owner, t.spcs HAVING sum(h.size + 1) > ?",
            *spans,
            most,
        )

    def of_few_digits(self, code: str, most: int) -> Iterator[Holding]:
        """The holdings of numbers that begin with a country code and have at most so many digits.

        To be read to its end before anything else is asked.
        """
        connection = self._connection
        try:
            for length in range(len(code) + 1, most + 1):
                rest = length - len(code)
                ends = number_key(code + "0" * rest), number_key(code + "9" * rest)
                for row in connection.db.execute(_BETWEEN, ends):
                    yield self._holding(row)
        except sqlite3.Error as error:
            raise connection.failure(error) from None

    def past(self, key: str) -> list[Span]:
        """See Table."""
        statement = _PAST.format("h.class = ? AND h.lo = ? AND h.size = ?")
        rows = self._connection.all(statement, *(where(key) or FIRST_PLACE))
        return [(row[2], row[7], self._holding(row)) for row in rows]

    def held_at(self, tn: TN, seq: int) -> tuple[int, Holding] | None:
        """The most specific holding of a number that was in force after a commit, its version."""
        if not tn.isdecimal():
            return None
        number = number_key(tn)
        found = self._connection.all(
            _PAST.format(
                "h.lo BETWEEN ?1 - ((1 << h.class) - 1) AND ?1 AND h.lo + h.size >= ?1"
                " AND h.class IN (SELECT class FROM classes) AND h.version <= ?2 AND h.ended > ?2"
            ),
            number,
            seq,
        )
        found += [row for row in self._connection.all(_COVERING, number) if row[2] <= seq]
        if not found:
            return None
        row = min(found, key=lambda row: row[1])
        return row[2], self._holding(row)

    def apply(self, key: str, value: Record | None, seq: int) -> None:
        """See Table. Raises ValueError for a key that is no number or range."""
        place = where(key)
        if place is None:
            raise ValueError(f"holding {key}")
        run = self._connection.run
        run(
            "INSERT INTO holdings_past SELECT class, lo, size, version, ?, owner, title, evidence,"
            " verified_on FROM holdings WHERE class = ? AND lo = ? AND size = ?",
            seq,
            *place,
        )
        if not isinstance(value, Holding):
            run("DELETE FROM holdings WHERE class = ? AND lo = ? AND size = ?", *place)
            return
        run("INSERT OR IGNORE INTO classes VALUES (?)", place[0])
        run(
            "INSERT OR REPLACE INTO holdings VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            *place,
            seq,
            self.owner_id(value.subject),
            self.title_id(value),
            value.evidence or None,
            value.verified_on or None,
        )

    def owner_id(self, subject: str) -> int:
        """The number that stands for a subject in the table of holdings; made when missing."""
        self._connection.run("INSERT OR IGNORE INTO owners (subject) VALUES (?)", subject)
        row = self._connection.one("SELECT id FROM owners WHERE subject = ?", subject)
        return int(row[0])

    def title_id(self, holding: Holding) -> int:
        """The number that stands for what many holdings share; made when missing."""
        values = (
            holding.verification.value,
            holding.use.value,
            " ".join(holding.spcs),
            holding.reseller,
        )
        self._connection.run(
            "INSERT OR IGNORE INTO titles (verification, use, spcs, reseller) VALUES (?, ?, ?, ?)",
            *values,
        )
        row = self._connection.one(
            "SELECT id FROM titles WHERE (verification, use, spcs, reseller) = (?, ?, ?, ?)",
            *values,
        )
        return int(row[0])

    def _read_title(self, title: int) -> tuple[Verification, Use, tuple[str, ...], str]:
        row = self._connection.one(
            "SELECT verification, use, spcs, reseller FROM titles WHERE id = ?", title
        )
        return Verification(row[0]), Use(row[1]), tuple(row[2].split()), row[3]

    def _read_owner(self, owner: int) -> str:
        return str(self._connection.one("SELECT subject FROM owners WHERE id = ?", owner)[0])

    def _holding(self, row: Sequence[Any]) -> Holding:
        verification, use, spcs, reseller = self.title(row[4])
        return Holding(
            numbers=range_of(row[0], row[1]),
            subject=row[3],
            verification=verification,
            use=use,
            spcs=spcs,
            reseller=reseller,
            evidence=row[5] or "",
            verified_on=row[6] or 0,
        )
