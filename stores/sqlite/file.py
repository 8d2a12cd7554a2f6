"""The registry as a file: current records, past versions, and the journal of commits.

One SQLite file in WAL mode serves both engines: the embedded one writes it, a node of a fleet
keeps its local copy in it. What is acknowledged survives a crash; a commit is whole or absent.
"""

from __future__ import annotations

import heapq
import itertools
import sqlite3
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from zhenxian.core.errors import ConfigError, ParseError, StoreUnavailableError
from zhenxian.core.tn import TN, TNRange
from zhenxian.registry.journal import Change, Commit, KeyReusedError, Version, dumps, loads
from zhenxian.registry.model import (
    Access,
    Binding,
    CalleeRefusal,
    Clearing,
    Exemption,
    Holding,
    Kind,
    Order,
    Record,
    Reseller,
    Subject,
    Use,
    Verification,
    Who,
    clearing_id,
)
from zhenxian.registry.orders import OrderIndex
from zhenxian.registry.rules import FOREVER, check, displays, parties
from zhenxian.stores.private import make_private
from zhenxian.stores.sqlite import refusals
from zhenxian.stores.sqlite.numbers import INTEGER, number_key, number_of, range_of, where
from zhenxian.stores.sqlite.schema import migrate

_BUSY_MS: Final = 5_000  # milliseconds a writer waits for another process's write
_READ_BUSY_MS: Final = 100  # milliseconds a call may wait
_CACHE_KIB: Final = 65_536  # page cache of one connection
_MMAP: Final = 2**31 - 1  # octets; SQLite's own limit
_KEEP_REQUESTS: Final = 7 * 86_400  # seconds an idempotency key is remembered
_FORGET_EVERY: Final = 3_600  # seconds; finding old ones reads them all
MANY: Final = 1_000  # changes of one commit above which their keys are not listed one by one

_HOLDING: Final = (
    "h.lo, h.size, h.version, o.subject, h.title, h.evidence, h.verified_on"
    " FROM {} JOIN owners o ON o.id = h.owner"
)
_COVERING: Final = (
    "SELECT " + _HOLDING.format("classes c CROSS JOIN holdings h") + " WHERE h.class = c.class"
    " AND h.lo BETWEEN ?1 - ((1 << c.class) - 1) AND ?1 AND h.lo + h.size >= ?1"
    " ORDER BY c.class, h.size"
)
# In one statement: each costs three calls of the system, as much as finding the row. The number by
# itself comes first, and SQLite stops there when it is held.
_MOST_SPECIFIC: Final = (
    "SELECT " + _HOLDING.format("holdings h") + " WHERE h.class = 0 AND h.lo = ?1 AND h.size = 0"  # noqa: S608
    " UNION ALL SELECT * FROM ("
    + _COVERING.replace("h.class = c.class", "c.class > 0 AND h.class = c.class")
    + " LIMIT 1) LIMIT 1"
)
_HELD: Final = (
    "SELECT h.lo, h.size FROM (SELECT 0 AS run UNION ALL SELECT run FROM runs) r"
    " CROSS JOIN holdings h WHERE h.run = r.run"
    " AND h.owner = (SELECT id FROM owners WHERE subject = ?) LIMIT 1"
)
_PAGE: Final = (
    "SELECT "
    + _HOLDING.format("holdings h")
    + " WHERE (h.class, h.lo, h.size) > (?, ?, ?){} ORDER BY h.class, h.lo, h.size"
)
_TOUCHED = msgspec.msgpack.Decoder(list[tuple[Kind, str]] | None)


class Page(Struct, frozen=True):
    """Some records with their versions, and where the next page begins; None at the end."""

    rows: tuple[tuple[int, Record], ...]
    following: str | None


_MAX_LENT: Final = 64  # bindings of one display read for a call; nearly always the first decides


class Book:
    """One connection to a registry file. Used by one thread.

    Every method raises StoreUnavailableError when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, writer: bool = False, synchronous: str = "FULL") -> None:
        """Raises ConfigError for a file of a newer release."""
        self.path = path
        make_private(path)
        try:
            self._db = sqlite3.connect(
                path,
                isolation_level=None,
                timeout=(_BUSY_MS if writer else _READ_BUSY_MS) / 1000,
                check_same_thread=False,
                cached_statements=256,
            )
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        try:
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={synchronous}")
            self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
            self._db.execute(f"PRAGMA mmap_size={_MMAP}")
            self._db.execute("PRAGMA temp_store=MEMORY")
            migrate(self._db)
        except sqlite3.Error as error:
            self._db.close()
            raise StoreUnavailableError(f"{path}: {error}") from None
        except ConfigError:
            self._db.close()
            raise
        self._title = lru_cache(4096)(self._read_title)
        self._orders: tuple[int, OrderIndex] = (-1, OrderIndex(()))
        self._forgot = 0  # when old idempotency keys were last removed

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    # Reading ------------------------------------------------------------------------------------

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return int(self._one("PRAGMA data_version")[0])

    def last(self) -> tuple[int, int]:
        """Seq and time of the last commit; zeros before the first."""
        row = self._one("SELECT seq, time FROM journal ORDER BY seq DESC LIMIT 1")
        return (row[0], row[1]) if row is not None else (0, 0)

    def touched(self, after: int) -> list[tuple[Kind, str]] | None:
        """What the commits after `after` changed; None when it is too much to list."""
        found: list[tuple[Kind, str]] = []
        for (blob,) in self._all("SELECT touched FROM journal WHERE seq > ? ORDER BY seq", after):
            part = _TOUCHED.decode(blob) if blob is not None else None
            if part is None or len(found) > MANY:
                return None
            found.extend(part)
        return found

    def get(self, kind: Kind, key: str) -> tuple[int, Record] | None:
        """A record and its version."""
        if kind is Kind.HOLDING:
            place = where(key)
            if place is None:
                return None
            row = self._one(
                "SELECT " + _HOLDING.format("holdings h")
                + " WHERE h.class = ? AND h.lo = ? AND h.size = ?",
                *place,
            )  # fmt: skip
            return (row[2], self._holding(row)) if row is not None else None
        if kind is Kind.REFUSAL:
            return refusals.get(self, key)
        if kind is Kind.BINDING:
            row = self._one("SELECT version, body FROM bindings WHERE id = ?", key)
        else:
            row = self._one(
                "SELECT version, body FROM records WHERE kind = ? AND key = ?", kind.value, key
            )
        return (row[0], self._loads(kind, row[1])) if row is not None else None

    def covering(self, tn: TN) -> Holding | None:
        """The most specific holding that covers the number."""
        if not tn.isdecimal():
            return None
        row = self._one(_MOST_SPECIFIC, number_key(tn))
        return self._holding(row) if row is not None else None

    def levels(self, tn: TN) -> list[tuple[int, Holding]]:
        """All holdings that cover the number, the most specific first, with their versions."""
        if not tn.isdecimal():
            return []
        return [(row[2], self._holding(row)) for row in self._all(_COVERING, number_key(tn))]

    def touching(self, numbers: TNRange) -> Iterator[Holding]:
        """The holdings that overlap the range, and neither lies within the other."""
        for end in (numbers.first, numbers.last):
            for _, held in self.levels(end):
                if not held.numbers.covers(numbers) and not numbers.covers(held.numbers):
                    yield held

    def subject_of(self, document: str) -> Subject | None:
        """The subject with that identity."""
        row = self._one("SELECT subject FROM documents WHERE hash = ?", document)
        found = self.get(Kind.SUBJECT, row[0]) if row is not None else None
        return found[1] if found is not None and isinstance(found[1], Subject) else None

    def access_of(self, origid: str) -> Access | None:
        """The access that has or had the origid, as it is, or last was."""
        row = self._one("SELECT access FROM origids WHERE origid = ?", origid)
        if row is None:
            return None
        found = self.get(Kind.ACCESS, row[0])
        if found is not None:
            return found[1] if isinstance(found[1], Access) else None
        past = self._one(
            "SELECT body FROM records_past WHERE kind = 'access' AND key = ?"
            " ORDER BY version DESC LIMIT 1",
            row[0],
        )
        access = self._loads(Kind.ACCESS, past[0]) if past is not None else None
        return access if isinstance(access, Access) else None

    def children(self, reseller: str) -> list[str]:
        """The resellers that have their numbers from it."""
        rows = self._all("SELECT reseller FROM children WHERE parent = ?", reseller)
        return [row[0] for row in rows]

    def uses(self, kind: Kind, key: str) -> str | None:
        """Something that rests on a subject or reseller, in words; None when nothing does."""
        if kind is Kind.SUBJECT:
            row = self._one(
                _HELD,
                key,
            )
            if row is not None:
                return f"holding {_span(row[0], row[1])}"
            row = self._one("SELECT access FROM access_subjects WHERE subject = ? LIMIT 1", key)
            return f"access {row[0]}" if row is not None else None
        row = self._one("SELECT reseller FROM children WHERE parent = ? LIMIT 1", key)
        if row is not None:
            return f"reseller {row[0]} below it"
        # Titles outlive their holdings: a reseller that ever passed on a number is closed instead.
        row = self._one("SELECT 1 FROM titles WHERE reseller = ? LIMIT 1", key)
        return "holdings on record; set its state to closed" if row is not None else None

    def bound(
        self, display: TN, among: Iterable[str], since: int, until: int, but: str
    ) -> Binding | None:
        """See registry.rules.View."""
        wanted = tuple(among)
        places = f" AND party IN ({','.join('?' * len(wanted))})" if wanted else ""
        row = self._one(
            f"SELECT id FROM ways WHERE display = ?{places} AND until > ? AND since < ?"  # noqa: S608
            " AND id <> ? LIMIT 1",
            number_key(display),
            *wanted,
            since,
            until,
            but,
        )
        found = self.get(Kind.BINDING, row[0]) if row is not None else None
        return found[1] if found is not None and isinstance(found[1], Binding) else None

    def binding(
        self, caller: TN, display: TN, callee: TN, extension: str, now: float
    ) -> Binding | None:
        """An active binding that permits the display."""
        if not display.isdecimal():
            return None
        for kind, body in self._all(
            "SELECT 'binding', b.body FROM ways w JOIN bindings b ON b.id = w.id WHERE"
            " w.display = ? AND w.party IN (?, ?) AND w.until > ? AND w.since <= ?",
            number_key(display),
            str(caller),
            str(callee),
            now,
            now,
        ):
            found = self._loads(Kind(kind), body)
            if (
                isinstance(found, Binding)
                and found.active(now)
                and found.permits(caller, display, callee, extension)
            ):
                return found
        return None

    def shown(self, display: TN, callee: TN, now: float) -> Binding | None:
        """An active binding that shows the display to the callee, whoever calls.

        The display may be lent to be shown to that callee, or to anybody (AX, AXE). Of several the
        one that says least of who calls (`Binding.caller`).
        """
        if not display.isdecimal():
            return None
        shown = None
        for (body,) in self._all(
            "SELECT b.body FROM ways w JOIN bindings b ON b.id = w.id WHERE w.display = ?"
            " AND (w.party = ? OR w.party BETWEEN '=' AND '=~') AND w.until > ? AND w.since <= ?"
            " LIMIT ?",
            number_key(display),
            str(callee),
            now,
            now,
            _MAX_LENT,
        ):
            found = self._loads(Kind.BINDING, body)
            if isinstance(found, Binding) and found.active(now) and found.shows(display, callee):
                if found.caller(display, callee) is None:
                    return found
                shown = shown or found
        return shown

    def lent(self, display: TN, since: int, until: int) -> int:
        """How many bindings with the display as their x are in force at some time of these."""
        del until  # later bindings count too: they all take their place on X
        row = self._one(
            "SELECT count(*) FROM bindings WHERE x = ? AND until > ?", number_key(display), since
        )
        return int(row[0])

    def stopped(self, who: Who) -> Order | None:
        """An order in force, or to come, that covers any of these."""
        return self.order_index().find(who, FOREVER)

    def order_index(self) -> OrderIndex:
        """The orders that are not lifted."""
        version = self._one("SELECT value FROM meta WHERE name = 'orders'")
        stamp = version[0] if version is not None else 0
        if self._orders[0] != stamp:
            rows = self._all("SELECT body FROM records WHERE kind = 'order'")
            orders = (self._loads(Kind.ORDER, body) for (body,) in rows)
            index = OrderIndex(o for o in orders if isinstance(o, Order) and o.lifted is None)
            self._orders = (stamp, index)
        return self._orders[1]

    def last_number(self, issuer: str) -> int:
        """The highest number of the issuer's instructions; 0 when there is none."""
        row = self._one("SELECT number FROM issuers WHERE issuer = ?", issuer)
        return int(row[0]) if row is not None else 0

    def exempted(self, kind: str, target: str) -> list[Exemption]:
        """The exemptions of that conduct on record, whenever they are in force."""
        rows = self._all(
            "SELECT r.body FROM exempted e JOIN records r ON r.kind = 'exemption' AND r.key = e.id"
            " WHERE e.kind = ? AND e.target = ?",
            kind,
            target,
        )
        found = (self._loads(Kind.EXEMPTION, body) for (body,) in rows)
        return [exemption for exemption in found if isinstance(exemption, Exemption)]

    def clearings(self, since: int, but: Container[str] = ()) -> list[Clearing]:
        """The clearings from a time on, the earliest first, without those of some ids."""
        rows = self._all(
            "SELECT key, body FROM records WHERE kind = 'clearing' AND key >= ? ORDER BY key",
            clearing_id(since),
        )
        found = (self._loads(Kind.CLEARING, body) for key, body in rows if key not in but)
        return [clearing for clearing in found if isinstance(clearing, Clearing)]

    def refusals(self, callee: TN) -> list[CalleeRefusal]:
        """The callee's refusals on record, whenever they are in force."""
        return refusals.covering(self, callee)

    def page(
        self, kind: Kind, *, after: str = "", limit: int = 100, subject: str | None = None
    ) -> Page:
        """Records in the order of their keys (holdings: singles first, then by size class).

        Args:
            after: `following` of the page before.
            subject: only this subject's holdings, accesses or exemptions.
        """
        if kind is Kind.HOLDING:
            return self._holdings_page(after, limit, subject)
        if kind is Kind.REFUSAL:
            found, following = refusals.page(self, after, limit)
            return Page(tuple(found), following)
        if kind is Kind.BINDING:
            rows = self._all(
                "SELECT id, version, body FROM bindings WHERE id > ? ORDER BY id LIMIT ?",
                after,
                limit + 1,
            )
        elif kind is Kind.ACCESS and subject is not None:
            rows = self._all(
                "SELECT r.key, r.version, r.body FROM access_subjects s JOIN records r ON"
                " r.kind = 'access' AND r.key = s.access WHERE s.subject = ? AND s.access > ?"
                " ORDER BY s.access LIMIT ?",
                subject,
                after,
                limit + 1,
            )
        elif kind is Kind.EXEMPTION and subject is not None:
            rows = self._all(
                "SELECT r.key, r.version, r.body FROM exempted e JOIN records r ON"
                " r.kind = 'exemption' AND r.key = e.id WHERE e.kind = 'subject' AND e.target = ?"
                " AND e.id > ? ORDER BY e.id LIMIT ?",
                subject,
                after,
                limit + 1,
            )
        else:
            rows = self._all(
                "SELECT key, version, body FROM records WHERE kind = ? AND key > ? ORDER BY key"
                " LIMIT ?",
                kind.value,
                after,
                limit + 1,
            )
        part = rows[:limit]
        return Page(
            tuple((version, self._loads(kind, body)) for _, version, body in part),
            part[-1][0] if len(rows) > limit else None,
        )

    def _holdings_page(self, after: str, limit: int, subject: str | None) -> Page:
        try:
            place = [int(part) for part in after.split(".")] if after else [-1, 0, 0]
            class_, lo, size = place
            if max(place) > INTEGER:
                raise ValueError(after)  # noqa: TRY301
        except ValueError:
            raise ConfigError("after: not the end of a page of holdings") from None
        rows = (
            self._all(_PAGE.format("") + " LIMIT ?", class_, lo, size, limit + 1)
            if subject is None
            else self._held(subject, (class_, lo, size), limit + 1)
        )
        part = rows[:limit]
        last = part[-1] if len(rows) > limit else None
        return Page(
            tuple((row[2], self._holding(row)) for row in part),
            f"{last[1].bit_length()}.{last[0]}.{last[1]}" if last is not None else None,
        )

    def _held(self, subject: str, after: tuple[int, int, int], limit: int) -> list[tuple[Any, ...]]:
        """Some holdings of a subject; each run has its own in order, and is read as far as used."""
        owner = self._one("SELECT id FROM owners WHERE subject = ?", subject)
        if owner is None:
            return []
        statement = _PAGE.format(" AND h.run = ? AND h.owner = ?")
        try:
            runs = [(0,), *self._all("SELECT run FROM runs")]
            parts = [self._db.execute(statement, (*after, run, owner[0])) for (run,) in runs]
            merged = heapq.merge(*parts, key=lambda row: (row[1].bit_length(), row[0], row[1]))
            return list(itertools.islice(merged, limit))
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def holdings(self) -> Iterator[tuple[int, Holding]]:
        """All holdings with their versions, streamed."""
        after = ""
        while True:
            page = self.page(Kind.HOLDING, after=after, limit=10_000)
            for version, record in page.rows:
                if isinstance(record, Holding):
                    yield version, record
            if page.following is None:
                return
            after = page.following

    # History ------------------------------------------------------------------------------------

    def history(self, kind: Kind, key: str) -> tuple[Version, ...]:
        """All versions of a record, the oldest first."""
        spans: list[tuple[int, int | None, Record]] = []
        if kind is Kind.HOLDING:
            place = where(key)
            rows = self._past_holdings(
                "h.class = ? AND h.lo = ? AND h.size = ?", *(place or (-1, 0, 0))
            )
            spans += [(row[2], row[7], self._holding(row)) for row in rows]
        elif kind is Kind.REFUSAL:
            spans += refusals.past(self, key)
        elif kind is Kind.BINDING:
            for version, ended, body in self._all(
                "SELECT version, ended, body FROM bindings_past WHERE id = ? ORDER BY version", key
            ):
                spans.append((version, ended, self._loads(kind, body)))
        else:
            for version, ended, body in self._all(
                "SELECT version, ended, body FROM records_past WHERE kind = ? AND key = ?"
                " ORDER BY version",
                kind.value,
                key,
            ):
                spans.append((version, ended, self._loads(kind, body)))
        current = self.get(kind, key)
        if current is not None:
            spans.append((current[0], None, current[1]))
        versions: list[Version] = []
        for index, (version, ended, record) in enumerate(spans):
            versions.append(self._version(version, record))
            following = spans[index + 1][0] if index + 1 < len(spans) else None
            if ended is not None and ended != following:
                versions.append(self._version(ended, None))
        return tuple(versions)

    def at(self, kind: Kind, key: str, time: int) -> Version | None:
        """The version of a record that was in force at an instant; None when there was none."""
        found: Version | None = None
        for version in self.history(kind, key):
            if version.time <= time:
                found = version
        return found if found is not None and found.value is not None else None

    def held_at(self, tn: TN, time: int) -> Version | None:
        """Who held a number at an instant: the most specific holding in force then."""
        if not tn.isdecimal():
            return None
        seq = self.seq_at(time)
        n = number_key(tn)
        found = self._past_holdings(
            "h.lo BETWEEN ?1 - ((1 << h.class) - 1) AND ?1 AND h.lo + h.size >= ?1"
            " AND h.class IN (SELECT class FROM classes) AND h.version <= ?2 AND h.ended > ?2",
            n,
            seq,
        )
        found += [row for row in self._all(_COVERING, n) if row[2] <= seq]
        if not found:
            return None
        row = min(found, key=lambda r: r[1])
        return self._version(row[2], self._holding(row))

    def seq_at(self, time: int) -> int:
        """The last commit not later than an instant."""
        row = self._one(
            "SELECT seq FROM journal WHERE time <= ? ORDER BY time DESC, seq DESC LIMIT 1", time
        )
        return int(row[0]) if row is not None else 0

    def commits(self, after: int, limit: int) -> list[dict[str, Any]]:
        """What was committed after a seq: number, time, author, reason and what was touched."""
        rows = self._all(
            "SELECT seq, time, author, reason, touched FROM journal WHERE seq > ? ORDER BY seq"
            " LIMIT ?",
            after,
            limit,
        )
        return [
            {
                "seq": seq,
                "time": time,
                "author": author,
                "reason": reason,
                "changed": [
                    {"kind": kind.value, "key": key}
                    for kind, key in (_TOUCHED.decode(touched) if touched else None) or ()
                ],
                "many": touched is None,
            }
            for seq, time, author, reason, touched in rows
        ]

    def _version(self, version: int, record: Record | None) -> Version:
        row = self._one("SELECT time, author, reason FROM journal WHERE seq = ?", version)
        return Version(version, row[0], row[1], row[2], record)

    def _past_holdings(self, condition: str, *values: object) -> list[tuple[Any, ...]]:
        return self._all(
            "SELECT h.lo, h.size, h.version, o.subject, h.title, h.evidence, h.verified_on, h.ended"  # noqa: S608
            f" FROM holdings_past h JOIN owners o ON o.id = h.owner WHERE {condition}"
            " ORDER BY h.version",
            *values,
        )

    # Writing ------------------------------------------------------------------------------------

    def write(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        now: int,
        request: bytes = b"",
        fingerprint: bytes = b"",
        dry_run: bool = False,
    ) -> Commit:
        """Check changes, one after the other, and commit them all, or none.

        With a request digest that was committed before, that commit's number comes back and
        nothing is written.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check.
        """
        with self.transaction(commit=not dry_run):
            if request:
                row = self._one("SELECT fingerprint, seq, time FROM requests WHERE id = ?", request)
                if row is not None:
                    if row[0] != fingerprint:
                        raise KeyReusedError("this idempotency key was used for another request")
                    return Commit(row[1], row[2], author, reason, (), request, fingerprint)
            seq, time = self.last()
            seq, time = seq + 1, max(now, time)
            if len({(change.kind, change.key) for change in changes}) != len(changes):
                raise ConfigError("one request changes each record once")
            checked = []
            for change in changes:
                accepted = check(change, self, now)
                self.apply_change(accepted, seq)
                checked.append(accepted)
            commit = Commit(seq, time, author, reason, tuple(checked), request, fingerprint)
            self.record(commit)
        return commit

    def apply(self, commit: Commit) -> bool:
        """Take over a commit of somebody else, who checked it; False when it is here already.

        Raises:
            ValueError: commits between are missing.
        """
        with self.transaction():
            seq, _ = self.last()
            if commit.seq <= seq:
                return False
            if commit.seq != seq + 1:
                raise ValueError(f"commit {commit.seq} after {seq}")
            for change in commit.changes:
                self.apply_change(change, commit.seq)
            self.record(commit)
        return True

    def purge(self, now: int, limit: int = 10_000) -> int:
        """Put ended bindings to the past, and forget old idempotency keys; how many bindings."""
        ended = self._all("SELECT id FROM bindings WHERE until <= ? LIMIT ?", now, limit)
        forget = abs(now - self._forgot) >= _FORGET_EVERY
        if not ended and not forget:
            return 0
        with self.transaction():
            for (key,) in ended:
                found = self.get(Kind.BINDING, key)
                if found is not None and isinstance(found[1], Binding):
                    self._drop_binding(found[0], found[1], None)
            if forget:
                self._run("DELETE FROM requests WHERE time < ?", now - _KEEP_REQUESTS)
        if forget:
            self._forgot = now
        return len(ended)

    def meta(self, name: str) -> Any:
        """A value of the file's own; None when there is none."""
        row = self._one("SELECT value FROM meta WHERE name = ?", name)
        return row[0] if row is not None else None

    def set_meta(self, name: str, value: object) -> None:
        """Keep a value of the file's own."""
        self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)

    def acknowledge(self, order: str, node: str, token: str, key: str) -> None:
        """Keep a node's acknowledgement of an order."""
        self._run(
            "INSERT OR REPLACE INTO acknowledgements VALUES (?, ?, ?, ?)", order, node, token, key
        )

    def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, token and key of the acknowledgements of an order."""
        return [
            (row[0], row[1], row[2])
            for row in self._all(
                'SELECT node, token, key FROM acknowledgements WHERE "order" = ? ORDER BY node',
                order,
            )
        ]

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[None]:
        """One transaction: committed at the end, or rolled back, also by an exception."""
        self._run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rollback()
            raise
        if not commit:
            self._rollback()
            return
        try:
            self._run("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        self._title.cache_clear()
        self._orders = (-1, OrderIndex(()))
        if self._db.in_transaction:
            self._run("ROLLBACK")

    def record(self, commit: Commit, *, many: bool = False) -> None:
        """Enter a commit in the journal; `many` leaves out which keys it changed."""
        touched = (
            msgspec.msgpack.encode([(c.kind.value, c.key) for c in commit.changes])
            if len(commit.changes) <= MANY and not many
            else None
        )
        self._run(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?)",
            commit.seq,
            commit.time,
            commit.author,
            commit.reason,
            touched,
        )
        if commit.request:
            self._run(
                "INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?)",
                commit.request,
                commit.fingerprint,
                commit.seq,
                commit.time,
            )

    def apply_change(self, change: Change, seq: int) -> None:
        """Do a change that was checked, inside a transaction."""
        kind, key, value = change.kind, change.key, change.value
        if kind is Kind.HOLDING:
            self._apply_holding(key, value, seq)
            return
        if kind is Kind.REFUSAL:
            refusals.apply(self, key, value, seq)
            return
        if kind is Kind.BINDING:
            found = self.get(kind, key)
            if found is not None and isinstance(found[1], Binding):
                self._drop_binding(found[0], found[1], seq)
            if isinstance(value, Binding):
                self._put_binding(value, seq)
            return
        self._run(
            "INSERT INTO records_past SELECT kind, key, version, ?, body FROM records"
            " WHERE kind = ? AND key = ?",
            seq,
            kind.value,
            key,
        )
        before = self.get(kind, key)
        self._unlink(before[1] if before is not None else None)
        if value is None:
            self._run("DELETE FROM records WHERE kind = ? AND key = ?", kind.value, key)
        else:
            self._run(
                "INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?)",
                kind.value,
                key,
                seq,
                dumps(value),
            )
            self._link(value, seq)

    def _link(self, value: Record, seq: int) -> None:
        if isinstance(value, Subject) and value.document:
            self._run("INSERT OR REPLACE INTO documents VALUES (?, ?)", value.document, value.id)
        elif isinstance(value, Access):
            for origid in (value.origid, *value.former):
                self._run("INSERT OR REPLACE INTO origids VALUES (?, ?)", origid, value.id)
            self._run(
                "INSERT OR REPLACE INTO access_subjects VALUES (?, ?)", value.subject, value.id
            )
        elif isinstance(value, Reseller) and value.parent:
            self._run("INSERT OR REPLACE INTO children VALUES (?, ?)", value.parent, value.id)
        elif isinstance(value, Exemption):
            self._run(
                "INSERT OR REPLACE INTO exempted VALUES (?, ?, ?)",
                value.kind.value,
                value.target,
                value.id,
            )
        elif isinstance(value, Order):
            self._run("INSERT OR REPLACE INTO issuers VALUES (?, ?)", value.issuer, value.number)
            self.set_meta("orders", seq)
            self._orders = (-1, OrderIndex(()))

    def _unlink(self, value: Record | None) -> None:
        """Take back what _link made; origids stay, so that old calls can be traced."""
        if isinstance(value, Subject) and value.document:
            self._run("DELETE FROM documents WHERE hash = ?", value.document)
        elif isinstance(value, Access):
            self._run(
                "DELETE FROM access_subjects WHERE subject = ? AND access = ?",
                value.subject,
                value.id,
            )
        elif isinstance(value, Reseller) and value.parent:
            self._run(
                "DELETE FROM children WHERE parent = ? AND reseller = ?", value.parent, value.id
            )
        elif isinstance(value, Exemption):
            self._run(
                "DELETE FROM exempted WHERE kind = ? AND target = ? AND id = ?",
                value.kind.value,
                value.target,
                value.id,
            )

    def _apply_holding(self, key: str, value: Record | None, seq: int) -> None:
        place = where(key)
        if place is None:
            raise ValueError(f"holding {key}")
        self._run(
            "INSERT INTO holdings_past SELECT class, lo, size, version, ?, owner, title, evidence,"
            " verified_on FROM holdings WHERE class = ? AND lo = ? AND size = ?",
            seq,
            *place,
        )
        if not isinstance(value, Holding):
            self._run("DELETE FROM holdings WHERE class = ? AND lo = ? AND size = ?", *place)
            return
        self._run("INSERT OR IGNORE INTO classes VALUES (?)", place[0])
        self._run(
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
        self._run("INSERT OR IGNORE INTO owners (subject) VALUES (?)", subject)
        return int(self._one("SELECT id FROM owners WHERE subject = ?", subject)[0])

    def title_id(self, holding: Holding) -> int:
        """The number that stands for what many holdings share; made when missing."""
        values = (
            holding.verification.value,
            holding.use.value,
            " ".join(holding.spcs),
            holding.reseller,
        )
        self._run(
            "INSERT OR IGNORE INTO titles (verification, use, spcs, reseller) VALUES (?, ?, ?, ?)",
            *values,
        )
        row = self._one(
            "SELECT id FROM titles WHERE (verification, use, spcs, reseller) = (?, ?, ?, ?)",
            *values,
        )
        return int(row[0])

    def import_line(self, name: str) -> int:
        """The last line of an import that is committed; 0 for none."""
        row = self._one("SELECT line FROM imports WHERE id = ?", name)
        return int(row[0]) if row is not None else 0

    def set_import_line(self, name: str, line: int) -> None:
        """Note how far an import came, in the transaction of its rows."""
        self._run("INSERT OR REPLACE INTO imports VALUES (?, ?)", name, line)

    def _put_binding(self, binding: Binding, seq: int) -> None:
        until = FOREVER if binding.until is None else binding.until
        self._run(
            "INSERT INTO bindings VALUES (?, ?, ?, ?, ?)",
            binding.id,
            seq,
            until,
            number_key(binding.x),
            dumps(binding),
        )
        for display in displays(binding):
            for party in parties(binding):
                self._run(
                    "INSERT OR REPLACE INTO ways VALUES (?, ?, ?, ?, ?)",
                    number_key(display),
                    party,
                    until,
                    binding.id,
                    binding.since,
                )

    def _drop_binding(self, version: int, binding: Binding, ended: int | None) -> None:
        """Take a binding out of force; without `ended` it ended by its own time."""
        until = FOREVER if binding.until is None else binding.until
        self._run(
            "INSERT OR REPLACE INTO bindings_past VALUES (?, ?, ?, ?)",
            binding.id,
            version,
            ended,
            dumps(binding),
        )
        self._run("DELETE FROM bindings WHERE id = ?", binding.id)
        for display in displays(binding):
            for party in parties(binding):
                self._run(
                    "DELETE FROM ways WHERE (display, party, until, id) = (?, ?, ?, ?)",
                    number_key(display),
                    party,
                    until,
                    binding.id,
                )

    # The file -----------------------------------------------------------------------------------

    def _read_title(self, title: int) -> tuple[Verification, Use, tuple[str, ...], str]:
        row = self._one("SELECT verification, use, spcs, reseller FROM titles WHERE id = ?", title)
        return Verification(row[0]), Use(row[1]), tuple(row[2].split()), row[3]

    def _holding(self, row: Sequence[Any]) -> Holding:
        verification, use, spcs, reseller = self._title(row[4])
        return Holding(
            range_of(row[0], row[1]),
            row[3],
            verification,
            use,
            spcs,
            reseller,
            row[5] or "",
            row[6] or 0,
        )

    def _loads(self, kind: Kind, body: bytes) -> Record:
        try:
            return loads(kind, body)
        except (msgspec.MsgspecError, ParseError) as error:
            raise StoreUnavailableError(
                f"{self.path.name}: a damaged {kind.value}: {error}"
            ) from None

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run a statement of a module that knows the tables."""
        return self._all(statement, *values)

    def query_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row."""
        try:
            self._db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def _one(self, statement: str, *values: object) -> Any:
        try:
            return self._db.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def _run(self, statement: str, *values: object) -> None:
        try:
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None


def _span(lo: int, size: int) -> str:
    first = number_of(lo)
    return str(first) if size == 0 else f"{first}-{number_of(lo + size)}"
