"""What is known of conduct, in a file: for a restart, and between the workers of one machine.

Apart from the registry's file: it is written all the time, may be deleted, and is no record.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from zhenxian.analytics.codec import Saved
from zhenxian.analytics.shares import Member
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores.clock import since_boot
from zhenxian.stores.opening import opening
from zhenxian.stores.private import make_private

DELTAS_FOR: Final = 120  # seconds that a delta waits for the other workers
_SETTLED_FROM: Final = 4 * 1024 * 1024  # octets that were written beside the file
_MOST_SLOTS: Final = 256
_BUSY_MS: Final = 100  # milliseconds to wait for another worker's write
_FORM: Final = 1  # of the tables; a file of another form is begun anew
_TABLES: Final = """
CREATE TABLE counts (key TEXT PRIMARY KEY, saved INTEGER NOT NULL, content BLOB NOT NULL)
    WITHOUT ROWID;
CREATE INDEX counts_saved ON counts (saved);
CREATE TABLE findings (key TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE deltas (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, node TEXT NOT NULL, at INTEGER NOT NULL,
    content BLOB NOT NULL);
"""


class Exchange(Protocol):
    """How nodes that count the same callers send each other what they saw.

    Every method raises StoreUnavailableError when the others cannot be reached; what was to be
    sent was not sent then.
    """

    async def send(self, deltas: Sequence[bytes], findings: Sequence[Saved], now: int) -> None:
        """Give deltas, and findings that are new or over, to the others."""
        ...

    async def receive(self, now: int) -> list[tuple[str, bytes]]:
        """What others gave since the last time, as (node, delta), in order."""
        ...

    async def standing(self) -> list[bytes]:
        """Findings of the others that deltas may not have brought: at first, and after a gap."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@runtime_checkable
class PartedExchange(Exchange, Protocol):
    """An Exchange of nodes among which keys are parted."""

    @property
    def name(self) -> str:
        """By which this node is reached."""
        ...

    @property
    def members(self) -> tuple[Member, ...]:
        """Who was heard of lately, by the latest `receive`."""
        ...

    @property
    def mixed(self) -> bool:
        """Somebody was heard lately who is none of them: a node of the release before."""
        ...

    async def deliver(self, parcels: Sequence[tuple[str, bytes]]) -> None:
        """Give deltas to the one member that each is for, by its name."""
        ...

    async def ask(self, question: str) -> bytes | None:
        """Ask all others; the first answer.

        None once all of them said that they know nothing, or when two seconds have passed.
        """
        ...

    def asked(self) -> list[tuple[str, str]]:
        """What others asked since the last time: where the answer goes, and the question."""
        ...

    async def answer(self, place: str, content: bytes | None) -> None:
        """Answer one of them; None: nothing is known here."""
        ...


class ConductFile:
    """Counts and findings by key, and the deltas of workers. For one event loop.

    Writes survive the end of the process; a power cut may take the latest.

    Attributes:
        unlocked: why no process may find out that it saves for all; None when one may.
    """

    def __init__(self, path: Path) -> None:
        """Raises StoreUnavailableError when the file cannot be opened."""
        self.path = path
        try:
            make_private(path)
            self._db = sqlite3.connect(path, isolation_level=None)
            with opening(self._db, _BUSY_MS):
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.execute("PRAGMA wal_autocheckpoint=0")  # calls would wait: see settle
                self._db.execute("PRAGMA journal_size_limit=0")  # what was settled takes no place
                self._begin()
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        self._lock: int | None = None
        self.unlocked: str | None = None
        self._slot: tuple[int, int] | None = None
        self._heard = self._last_delta()

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            form = self._db.execute("PRAGMA user_version").fetchone()[0]
            if form != _FORM:
                for name in ("counts", "findings", "deltas"):
                    self._db.execute(f"DROP TABLE IF EXISTS {name}")
                for statement in _TABLES.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {_FORM}")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def leads(self) -> bool:
        """True in one process of those that have the file open: it saves the counts for all."""
        if self._lock is None:
            path = self.path.with_suffix(".lock")
            try:
                self._lock = _locked(path)
                self.unlocked = None
            except OSError as error:
                self.unlocked = f"conduct is not saved: {path.name}: {error.strerror}"
        return self._lock is not None

    def slot(self) -> int:
        """A number that no other process has at the same time; who starts anew takes a free one.

        By it a process counts the keys again that it counted before.
        """
        if self._slot is None:
            for number in range(_MOST_SLOTS):
                lock = None
                with suppress(OSError):
                    lock = _locked(self.path.with_suffix(f".{number}.lock"))
                if lock is not None:
                    self._slot = (number, lock)
                    break
            else:
                return _MOST_SLOTS
        return self._slot[0]

    def save(self, counts: Iterable[Saved], findings: Iterable[Saved], now: int) -> None:
        """Write what changed; all of it, or nothing.

        Args:
            now: seconds since the epoch.

        Raises:
            StoreUnavailableError: nothing was written.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._put("counts", counts, now)
                self._put("findings", findings, None)
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def trim(self, keep: int) -> None:
        """Leave so many keys; those saved longest ago go first. Raises StoreUnavailableError."""
        try:
            self._db.execute(
                "DELETE FROM counts WHERE key IN"
                " (SELECT key FROM counts ORDER BY saved DESC LIMIT -1 OFFSET ?)",
                (keep,),
            )
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def _put(self, table: str, saved: Iterable[Saved], now: int | None) -> None:
        values = "?, ?, ?" if now is not None else "?, ?"
        for one in saved:
            if one.content is None:
                self._db.execute(f"DELETE FROM {table} WHERE key = ?", (one.key,))  # noqa: S608
                continue
            row = (one.key, now, one.content) if now is not None else (one.key, one.content)
            self._db.execute(f"INSERT OR REPLACE INTO {table} VALUES ({values})", row)  # noqa: S608

    async def settle(self) -> None:
        """Bring what was written lately into the file itself, which waits for the disk."""
        if self.unsettled >= _SETTLED_FROM and self.leads():
            await asyncio.to_thread(_settle, self.path)

    @property
    def unsettled(self) -> int:
        """Octets of what was written beside the file."""
        try:
            return Path(f"{self.path}-wal").stat().st_size
        except OSError:
            return 0

    def load(self, since: int, most: int) -> tuple[list[bytes], list[bytes]]:
        """Counts saved from `since` on, the latest `most` of them, and all findings.

        Raises:
            StoreUnavailableError: the file cannot be read.
        """
        try:
            counts = self._db.execute(
                "SELECT content FROM counts WHERE saved >= ? ORDER BY saved DESC LIMIT ?",
                (since, most),
            ).fetchall()
            findings = self._db.execute("SELECT content FROM findings").fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None
        return [row[0] for row in counts], [row[0] for row in findings]

    def give(self, node: str, delta: bytes) -> None:
        """Leave a delta for the other workers. Raises StoreUnavailableError.

        Old ones go by the seconds since boot: a clock that is ahead would take from the others
        what they have not read.
        """
        now = int(since_boot())
        try:
            self._db.execute(
                "INSERT INTO deltas (node, at, content) VALUES (?, ?, ?)", (node, now, delta)
            )
            self._db.execute(  # later ones are of before the machine started
                "DELETE FROM deltas WHERE at < ? OR at > ?", (now - DELTAS_FOR, now + DELTAS_FOR)
            )
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None

    def take(self, node: str) -> list[tuple[str, bytes]]:
        """What other workers left since the last time. Raises StoreUnavailableError."""
        try:
            rows = self._db.execute(
                "SELECT seq, node, content FROM deltas WHERE seq > ? ORDER BY seq", (self._heard,)
            ).fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None
        if rows:
            self._heard = rows[-1][0]
        return [(row[1], row[2]) for row in rows if row[1] != node]

    def _last_delta(self) -> int:
        try:
            row = self._db.execute("SELECT max(seq) FROM deltas").fetchone()
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self.path.name}: {error}") from None
        return row[0] or 0

    def close(self) -> None:
        """Close the file and let another worker lead."""
        self._db.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._slot is not None:
            os.close(self._slot[1])
            self._slot = None


def _locked(path: Path) -> int | None:
    """The descriptor of a file that only this process has locked; None where another one has.

    Raises:
        OSError: there is no such file, and none can be made.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


def _settle(path: Path) -> None:
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(PASSIVE)")


class WorkerExchange:
    """An Exchange of the workers of one machine, through their file."""

    def __init__(self, file: ConductFile, node: str) -> None:
        self._file = file
        self._node = node

    async def send(self, deltas: Sequence[bytes], findings: Sequence[Saved], now: int) -> None:
        """See Exchange. Findings are in the file already."""
        del findings, now
        for delta in deltas:
            self._file.give(self._node, delta)

    async def receive(self, now: int) -> list[tuple[str, bytes]]:
        """See Exchange."""
        del now
        return self._file.take(self._node)

    async def standing(self) -> list[bytes]:
        """None: the file was read at the start."""
        return []

    async def close(self) -> None:
        """Nothing: the file is its owner's."""
