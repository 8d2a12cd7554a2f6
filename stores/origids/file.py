"""Which access each call's origid stands for: a file of its own that is only added to.

One SQLite file for all workers of a node. What is given is in it before it is signed; a power cut
may lose the last second. In a fleet stores.origids.fleet sends what was added on to Redis.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.signer.origids import Given
from zhenxian.stores.opening import at_once, opening
from zhenxian.stores.private import make_private

_BUSY_MS: Final = 100  # milliseconds a call may wait for another worker's write
_PROBE: Final = (
    "CREATE TABLE IF NOT EXISTS probe (content BLOB)",
    "INSERT OR REPLACE INTO probe (rowid, content) VALUES (1, zeroblob(65536))",
    "INSERT OR REPLACE INTO probe (rowid, content) VALUES (1, NULL)",
)
_FORGET: Final = 2_000  # rows removed at once, so that no call waits long
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS given (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, origid BLOB NOT NULL, access TEXT NOT NULL,
    stable TEXT NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS given_origid ON given (origid);
CREATE TABLE IF NOT EXISTS sent (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL);
"""

_logger = logging.getLogger(__name__)
_Value = TypeVar("_Value")


class Added(NamedTuple):
    """A row that was added: its place, the origid, and what it was given for."""

    seq: int
    origid: str
    given: Given


class OrigidFile:
    """A signer.origids.Origids, and what can be asked of it. Used by one thread."""

    def __init__(self, path: Path, node: str = "") -> None:
        """Raises StoreUnavailableError when the file cannot be opened."""
        self._node = node
        try:
            make_private(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            with opening(self._db, _BUSY_MS):
                self._db.execute("PRAGMA synchronous=NORMAL")
                self._db.executescript(_TABLES)
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        self._path = path
        self.problem: str | None = None

    def give(self, access: str, stable: str, at: int) -> str | None:
        """See signer.origids.Origids."""
        fresh = uuid.uuid4()
        try:
            self._run(
                lambda db: db.execute(
                    "INSERT INTO given (origid, access, stable, at) VALUES (?, ?, ?, ?)",
                    (fresh.bytes, access, stable, at),
                )
            )
        except StoreUnavailableError as error:
            if self.problem is None:
                _logger.warning("origids of accesses are signed: %s", error)
            self.problem = str(error)
            return None
        self.problem = None
        return str(fresh)

    def mend(self) -> None:
        """After one was not given: see whether the file takes something, without a call, too."""
        if self.problem is None:
            return

        def work(db: sqlite3.Connection) -> None:
            with at_once(db):  # calls wait meanwhile
                for statement in _PROBE:
                    db.execute(statement)

        with suppress(StoreUnavailableError):
            self._run(work)
            self.problem = None

    def find(self, origid: str) -> Given | None:
        """What an origid was given for. Raises StoreUnavailableError."""
        try:
            octets = uuid.UUID(origid).bytes
        except ValueError:
            return None
        row = self._run(
            lambda db: db.execute(
                "SELECT access, stable, at FROM given WHERE origid = ?", (octets,)
            ).fetchone()
        )
        return Given(row[0], row[1], row[2], self._node) if row is not None else None

    def unsent(self, limit: int) -> list[Added]:
        """What was added and not sent yet, in order. Raises StoreUnavailableError."""
        rows = self._run(
            lambda db: db.execute(
                "SELECT seq, origid, access, stable, at FROM given"
                " WHERE seq > coalesce((SELECT seq FROM sent), 0) ORDER BY seq LIMIT ?",
                (limit,),
            ).fetchall()
        )
        return [
            Added(seq, str(uuid.UUID(bytes=octets)), Given(access, stable, at, self._node))
            for seq, octets, access, stable, at in rows
        ]

    def sent(self, rows: Sequence[Added]) -> None:
        """Note how far it was sent. Raises StoreUnavailableError."""
        last = rows[-1].seq
        self._run(
            lambda db: db.execute(
                "INSERT INTO sent VALUES (1, ?1) ON CONFLICT (one) DO UPDATE"
                " SET seq = max(seq, ?1)",
                (last,),
            )
        )

    def waiting(self) -> int:
        """How many were not sent yet. Raises StoreUnavailableError."""
        row = self._run(
            lambda db: db.execute(
                "SELECT coalesce((SELECT max(seq) FROM given), 0)"
                " - coalesce((SELECT seq FROM sent), 0)"
            ).fetchone()
        )
        return max(0, int(row[0]))

    def forget(self, before: int) -> None:
        """Remove the first of what was given before that second. Raises StoreUnavailableError."""

        def work(db: sqlite3.Connection) -> None:
            first = db.execute("SELECT seq, at FROM given ORDER BY seq LIMIT 1").fetchone()
            if first is not None and first[1] < before:
                db.execute(
                    "DELETE FROM given WHERE seq < ?1 + ?2 AND at < ?3",
                    (first[0], _FORGET, before),
                )

        self._run(work)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _run(self, work: Callable[[sqlite3.Connection], _Value]) -> _Value:
        try:
            return work(self._db)
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{self._path.name}: {error}") from None
