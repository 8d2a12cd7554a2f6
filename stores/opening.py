"""Opening a database file that other processes open at the same moment, as workers do."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PATIENCE: Final = 10.0  # seconds that an opening waits for the others'
_AGAIN: Final = 0.01  # seconds between two tries


@contextmanager
def opening(db: sqlite3.Connection, busy_ms: int) -> Iterator[None]:
    """Have a file written ahead, and wait for others while it is brought to its form.

    Args:
        busy_ms: what a statement may wait for another process's write from then on.

    Raises:
        sqlite3.Error: what SQLite says of the file.
    """
    db.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
    _write_ahead(db)
    yield
    db.execute(f"PRAGMA busy_timeout={busy_ms}")


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Wait until no other process is within this for the same file, which serves nothing else.

    To be called in a thread. Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def check_writable(db: sqlite3.Connection, nothing: str) -> None:
    """See that what was opened to write can be: SQLite opens a file for reading where it must.

    It would stay so when the disk takes something again. Nobody's write is waited for.

    Args:
        nothing: a statement that would write, and changes nothing.

    Raises:
        sqlite3.Error: it can be read only.
    """
    with at_once(db):
        try:
            db.execute(nothing)  # a transaction that is begun to write becomes one that reads
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise


@contextmanager
def at_once(db: sqlite3.Connection) -> Iterator[None]:
    """Wait for nobody's write within this. Raises sqlite3.Error."""
    (waits,) = db.execute("PRAGMA busy_timeout").fetchone()
    db.execute("PRAGMA busy_timeout=0")
    try:
        yield
    finally:
        db.execute(f"PRAGMA busy_timeout={waits}")


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another process was in the way, which says nothing about the file."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF == sqlite3.SQLITE_BUSY  # the rest says why


def _write_ahead(db: sqlite3.Connection) -> None:
    """Turn write-ahead logging on.

    SQLite does not wait here, whatever it is told: of two who read the file and want to change it,
    each would wait for the other. One of them is told that it is locked, and comes again.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
        else:
            return
        time.sleep(_AGAIN)
