"""Many new holdings into a registry file at once.

A row costs SQLite less to store than to be handed over one by one. So what many rows share (size,
title) is handed over once, and the rest of each, number and owner, as one integer of a JSON array
that SQL takes apart.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, TypeAlias

import msgspec

from zhenxian.stores.sqlite.connection import Connection

_BITS: Final = 62  # of an integer that JSON and SQLite take as it is
_ASKED: Final = 64  # rows that one question asks about what is registered
_FEW: Final = 8  # rows below which handing over what they share costs more than it saves

# While much is written: a commit touches pages all over the index of owners, and each is to reach
# the file once for many commits.
_CHECKPOINT: Final = 65_536  # pages of the log, a quarter of a GiB, after which they are moved
_CACHE_KIB: Final = 262_144  # page cache; taken as far as a transaction changes pages

# lo, size, owner, place in the list of titles, place in the chunk
Row: TypeAlias = tuple[int, int, int, int, int]


class Title(NamedTuple):
    """What many holdings share: the title's number, evidence, and verified_on."""

    title: int
    evidence: str | None
    verified_on: int | None


_STAGE: Final = (
    "CREATE TEMP TABLE IF NOT EXISTS stage (class INTEGER, lo INTEGER, size INTEGER,"
    " version INTEGER, owner INTEGER, title INTEGER, evidence TEXT, verified_on INTEGER,"
    " run INTEGER, PRIMARY KEY (class, lo, size)) WITHOUT ROWID"
)
_PACKED: Final = (
    "INSERT INTO {} SELECT ?1, ?2 + (value >> ?3), ?4, ?5, value & ((1 << ?3) - 1), ?6, ?7, ?8,"
    " ?9 FROM json_each(?10)"
)
_SINGLE: Final = "INSERT INTO {} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"

# The spans (pairs of first and last number) with which something registered shares numbers that
# does more than enclose them.
_WITHIN: Final = """
SELECT s.key FROM (SELECT key, value ->> 0 AS first, value ->> 1 AS last FROM json_each(?)) s
WHERE EXISTS (SELECT 1 FROM classes c CROSS JOIN holdings h WHERE h.class = c.class
    AND h.lo BETWEEN s.first - ((1 << c.class) - 1) AND s.last AND h.lo + h.size >= s.first
    AND NOT (h.lo <= s.first AND h.lo + h.size >= s.last AND h.size > s.last - s.first))
"""
# The spans that share numbers with a registered range.
_IN_RANGES: Final = """
SELECT s.key FROM (SELECT key, value ->> 0 AS first, value ->> 1 AS last FROM json_each(?)) s
WHERE EXISTS (SELECT 1 FROM classes c CROSS JOIN holdings h WHERE c.class > 0
    AND h.class = c.class AND h.lo BETWEEN s.first - ((1 << c.class) - 1) AND s.last
    AND h.lo + h.size >= s.first)
"""
# The rows (lo, size, owner) that are new, and whose narrowest enclosing range is another's.
_WITHIN_OTHERS: Final = """
SELECT s.key FROM (SELECT key, value ->> 0 AS lo, value ->> 1 AS size, value ->> 2 AS owner
    FROM json_each(?)) s
WHERE s.owner <> (SELECT h.owner FROM classes c CROSS JOIN holdings h WHERE c.class > 0
    AND h.class = c.class AND h.lo BETWEEN s.lo - ((1 << c.class) - 1) AND s.lo
    AND h.lo + h.size >= s.lo + s.size AND h.size > s.size ORDER BY c.class, h.size LIMIT 1)
AND NOT EXISTS (SELECT 1 FROM classes c CROSS JOIN holdings h
    WHERE h.class = c.class AND h.lo = s.lo AND h.size = s.size)
"""
_SAME: Final = (
    "DELETE FROM temp.stage WHERE EXISTS (SELECT 1 FROM holdings h WHERE"
    " h.class = stage.class AND h.lo = stage.lo AND h.size = stage.size"
    " AND h.owner = stage.owner AND h.title = stage.title"
    " AND h.evidence IS stage.evidence AND h.verified_on IS stage.verified_on)"
)
_OTHER: Final = (
    " FROM temp.stage s JOIN holdings h ON h.class = s.class AND h.lo = s.lo AND h.size = s.size"
)
_CROSSING: Final = """
 FROM temp.stage s CROSS JOIN classes c CROSS JOIN holdings h WHERE
    s.size > 0 AND c.class > 0 AND h.class = c.class
    AND h.lo BETWEEN s.lo + {end} - ((1 << c.class) - 1) AND s.lo + {end}
    AND h.lo + h.size >= s.lo + {end}
    AND {crossing}
"""
_IRREGULAR: Final = "SELECT s.lo, s.size" + " UNION SELECT s.lo, s.size".join(
    (
        _OTHER,
        _CROSSING.format(end="0", crossing="h.lo < s.lo AND h.lo + h.size < s.lo + s.size"),
        _CROSSING.format(end="s.size", crossing="h.lo > s.lo AND h.lo + h.size > s.lo + s.size"),
    )
)


@contextmanager
def much(connection: Connection) -> Iterator[None]:
    """Settings of a connection that writes millions of rows; undone at the end."""
    names = ("cache_size", "wal_autocheckpoint")
    before = [connection.one(f"PRAGMA {name}")[0] for name in names]
    connection.run(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.run(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            connection.run(f"PRAGMA {name} = {value}")
    connection.all("PRAGMA wal_checkpoint(TRUNCATE)")


def tangled(rows: Sequence[Row]) -> set[int]:
    """Rows (their places in the chunk) of which some are the same, cross, or lie in another's.

    More may be named than must be: all that lie within what such ones cover together.

    Args:
        rows: by lo, the larger first.
    """
    found: set[int] = set()
    begin, end, knot = 0, -1, False  # of the rows that overlap, until one begins after them all
    ends: list[int] = []
    owners: list[int] = []
    before = (-1, 0)
    for place, (lo, size, owner, _, _) in enumerate(rows):
        hi = lo + size
        if lo > end:
            if knot:
                found.update(row[4] for row in rows[begin:place])
            begin, knot = place, False
            ends.clear()
            owners.clear()
        while ends and ends[-1] < lo:
            ends.pop()
            owners.pop()
        if (lo, size) == before or (ends and (hi > ends[-1] or owner != owners[-1])):
            knot = True
        before = (lo, size)
        ends.append(hi)
        owners.append(owner)
        end = max(end, hi)
    if knot:
        found.update(row[4] for row in rows[begin:])
    return found


def within_others(connection: Connection, rows: Sequence[Row]) -> set[int]:
    """Rows (their places in the chunk) that are new and lie in a registered range of another owner.

    The most specific such range counts.

    Args:
        rows: by lo.
    """
    asked = _parts(rows)
    found = connection.all(_IN_RANGES, _spans(asked))
    some = [row for (place,) in found for row in asked[place]]
    if not some:
        return set()
    keys = msgspec.json.encode([row[:3] for row in some]).decode()
    return {some[place][4] for (place,) in connection.all(_WITHIN_OTHERS, keys)}


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[begin : begin + _ASKED] for begin in range(0, len(rows), _ASKED)]


def _spans(parts: Sequence[Sequence[Row]]) -> str:
    """First and last number of each part, as JSON."""
    spans = [(some[0][0], max([row[0] + row[1] for row in some])) for some in parts]
    return msgspec.json.encode(spans).decode()


def register(
    connection: Connection, rows: Sequence[Row], titles: Sequence[Title], seq: int, run: int = 0
) -> tuple[int, int, set[int]]:
    """Register new holdings, inside a transaction; what needs the rules is left out.

    Returns:
        How many were registered, how many were registered so already, and which (places in the
        chunk) are registered otherwise or cross what is registered.

    Args:
        rows: by lo; none is the same as another or crosses it.
        run: see stores.sqlite.schema; a new run's number is the commit's.
    """
    if not rows:
        return 0, 0, set()
    if run:
        connection.run("INSERT OR IGNORE INTO runs VALUES (?)", run)
    asked = _parts(rows)
    found = {place for (place,) in connection.all(_WITHIN, _spans(asked))}
    quiet: list[Row] = []
    busy: list[Row] = []
    for place, some in enumerate(asked):
        (busy if place in found else quiet).extend(some)
    for size in {row[1] for row in quiet}:
        connection.run("INSERT OR IGNORE INTO classes VALUES (?)", size.bit_length())
    _fill(connection, "holdings", quiet, titles, (seq, run))
    if not busy:
        return len(quiet), 0, set()
    connection.run(_STAGE)
    connection.run("DELETE FROM temp.stage")
    _fill(connection, "temp.stage", busy, titles, (seq, run))
    connection.run(_SAME)
    unchanged = int(connection.one("SELECT changes()")[0])
    irregular = set(connection.all(_IRREGULAR))
    for lo, size in irregular:
        connection.run(
            "DELETE FROM temp.stage WHERE class = ? AND lo = ? AND size = ?",
            size.bit_length(),
            lo,
            size,
        )
    connection.run("INSERT OR IGNORE INTO classes SELECT DISTINCT class FROM temp.stage")
    connection.run(
        "INSERT INTO holdings SELECT class, lo, size, version, owner, title, evidence,"
        " verified_on, run FROM temp.stage ORDER BY class, lo, size"
    )
    left = {row[4] for row in busy if row[:2] in irregular} if irregular else set()
    return len(rows) - unchanged - len(left), unchanged, left


def _fill(
    connection: Connection,
    table: str,
    rows: Sequence[Row],
    titles: Sequence[Title],
    place: tuple[int, int],
) -> None:
    seq, run = place
    single: list[tuple[int | str | None, ...]] = []
    bits = max([row[2] for row in rows], default=0).bit_length()
    for part in _near(rows, 1 << (_BITS - bits)):
        base = part[0][0]
        alike: dict[tuple[int, int], list[int]] = defaultdict(list)
        for lo, size, owner, title, _ in part:
            alike[size, title].append((lo - base << bits) | owner)
        for (size, title), packed in alike.items():
            shared = titles[title]
            if len(packed) >= _FEW:
                text = msgspec.json.encode(packed).decode()
                connection.run(
                    _PACKED.format(table),
                    size.bit_length(),
                    base,
                    bits,
                    size,
                    seq,
                    *shared,
                    run,
                    text,
                )
                continue
            for value in packed:
                lo, owner = base + (value >> bits), value & ((1 << bits) - 1)
                single.append((size.bit_length(), lo, size, seq, owner, *shared, run))
    single.sort(key=lambda row: row[:3])
    connection.run_many(_SINGLE.format(table), single)


def _near(rows: Sequence[Row], within: int) -> Iterator[Sequence[Row]]:
    """Parts of the rows that begin within so many numbers."""
    begin = 0
    while begin < len(rows):
        end = bisect_left(rows, (rows[begin][0] + within,), begin)
        yield rows[begin:end]
        begin = end
