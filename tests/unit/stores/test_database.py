"""Files that several processes open, or make, at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from functools import partial

import pytest

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.stores import database
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.origids.file import OrigidFile
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.sqlite.file import RegistryFile

OPENED = {
    "registry": lambda path: RegistryFile(path, writer=True),
    "registry that is read": RegistryFile,
    "conduct": ConductFile,
    "replays": SqliteReplayStore,
    "origids": OrigidFile,
}


def connection_of(opened):
    names = ("_db", "_connection", "connection")
    found = next(getattr(opened, name) for name in names if hasattr(opened, name))
    return getattr(found, "db", found)


class Refused(sqlite3.Connection):
    """One that meets another process which turns the new file to WAL in the same moment."""

    met = 0

    def execute(self, statement, *values):
        if "journal_mode" in statement and not self.met:
            self.met = 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        return super().execute(statement, *values)


@pytest.fixture
def other(tmp_path):
    """Somebody who looks at the new file just now."""
    connection = sqlite3.connect(
        tmp_path / "file.db", isolation_level=None, check_same_thread=False
    )
    connection.execute("CREATE TABLE other (one INTEGER)")
    connection.execute("BEGIN")
    connection.execute("SELECT * FROM other").fetchall()
    yield connection
    connection.close()


@pytest.mark.parametrize("kind", OPENED)
def test_of_those_who_make_a_file_at_the_same_moment_none_is_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Refused))
    opened = OPENED[kind](tmp_path / "file.db")
    db = connection_of(opened)
    assert db.met
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    opened.close()


@pytest.mark.parametrize("kind", OPENED)
def test_who_opens_a_file_waits_longer_than_a_call_may(kind, tmp_path, other):
    leaving = threading.Timer(0.4, lambda: other.execute("ROLLBACK"))
    leaving.start()
    OPENED[kind](tmp_path / "file.db").close()
    leaving.join()


@pytest.mark.parametrize("kind", OPENED)
def test_who_opens_a_file_does_not_wait_for_ever(kind, tmp_path, other, monkeypatch):
    monkeypatch.setattr(database, "_OPENING", 0.1)
    with pytest.raises(StoreUnavailableError, match="locked"):
        OPENED[kind](tmp_path / "file.db")


@pytest.mark.parametrize("kind", OPENED)
def test_once_it_is_open_a_call_waits_as_long_as_it_may(kind, tmp_path, other):
    other.execute("ROLLBACK")
    opened = OPENED[kind](tmp_path / "file.db")
    patience = 5_000 if kind == "registry" else 100
    assert connection_of(opened).execute("PRAGMA busy_timeout").fetchone() == (patience,)
    opened.close()
