"""One connection to a registry file: statements, transactions, and errors in our own words.

One SQLite file in WAL mode serves both engines: the embedded one writes it, a node of a fleet
keeps its replica in it. What is acknowledged survives a crash; a commit is whole or absent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from zhenxian.core.errors import (
    ConfigError,
    ParseError,
    StoreBusyError,
    StoreFullError,
    StoreUnavailableError,
)
from zhenxian.registry.journal import loads
from zhenxian.registry.model import Kind, Record
from zhenxian.stores.opening import at_once, check_writable, is_busy, opening
from zhenxian.stores.private import make_private
from zhenxian.stores.sqlite.schema import migrate

_BUSY_MS: Final = 5_000  # milliseconds a writer waits for another process's write
_READ_BUSY_MS: Final = 100  # milliseconds a call may wait
_CACHE_KIB: Final = 65_536  # page cache of one connection
_MMAP: Final = 2**31 - 1  # octets; SQLite's own limit


class Connection:
    """One connection to a registry file. Used by one thread.

    Every method raises StoreUnavailableError when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, writer: bool = False, synchronous: str = "FULL") -> None:
        """Raises ConfigError for a file of a newer release."""
        self.path = path
        self._on_rollback: list[Callable[[], object]] = []
        make_private(path)
        try:
            self.db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as error:
            raise StoreUnavailableError(f"{path}: {error}") from None
        try:
            with opening(self.db, _BUSY_MS if writer else _READ_BUSY_MS):
                self.db.execute(f"PRAGMA synchronous={synchronous}")
                self.db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                self.db.execute(f"PRAGMA mmap_size={_MMAP}")
                self.db.execute("PRAGMA temp_store=MEMORY")
                migrate(self.db)
            if writer:
                check_writable(self.db, "DELETE FROM meta WHERE 0")
        except sqlite3.Error as error:
            self.db.close()
            raise StoreUnavailableError(f"{path}: {error}") from None
        except ConfigError:
            self.db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def data_version(self) -> int:
        """Changes when another connection has committed."""
        return int(self.one("PRAGMA data_version")[0])

    def one(self, statement: str, *values: object) -> Any:
        """The first row; None when there is none."""
        try:
            return self.db.execute(statement, values).fetchone()
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows."""
        try:
            return self.db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def run(self, statement: str, *values: object) -> None:
        """Run a statement that answers nothing."""
        try:
            self.db.execute(statement, values)
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def run_many(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row."""
        try:
            self.db.executemany(statement, rows)
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def failure(self, error: sqlite3.Error) -> StoreUnavailableError:
        """What SQLite says, with the name of the file."""
        kind = StoreUnavailableError
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            kind = StoreFullError
        elif is_busy(error):
            kind = StoreBusyError
        return kind(f"{self.path.name}: {error}")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Wait for no other process's write within this: StoreBusyError says that there is one."""
        try:
            with at_once(self.db):
                yield
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def loads(self, kind: Kind, body: bytes) -> Record:
        """A record as registry.journal.dumps wrote it."""
        try:
            return loads(kind, body)
        except (msgspec.MsgspecError, ParseError) as error:
            raise StoreUnavailableError(
                f"{self.path.name}: a damaged {kind.value}: {error}"
            ) from None

    def on_rollback(self, forget: Callable[[], object]) -> None:
        """Have what was remembered of the file forgotten when a transaction comes to nothing."""
        self._on_rollback.append(forget)

    @contextmanager
    def transaction(self, *, commit: bool = True) -> Iterator[None]:
        """One transaction: committed at the end, or rolled back, also by an exception."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._rollback()
            raise
        if not commit:
            self._rollback()
            return
        try:
            self.run("COMMIT")
        except BaseException:
            self._rollback()
            raise

    def _rollback(self) -> None:
        for forget in self._on_rollback:
            forget()
        if self.db.in_transaction:
            self.run("ROLLBACK")

    def meta(self, name: str) -> Any:
        """A value of the file's own; None when there is none."""
        row = self.one("SELECT value FROM meta WHERE name = ?", name)
        return row[0] if row is not None else None

    def set_meta(self, name: str, value: object) -> None:
        """Keep a value of the file's own."""
        self.run("INSERT OR REPLACE INTO meta VALUES (?, ?)", name, value)
