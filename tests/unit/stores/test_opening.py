"""Workers that start at the same moment open the same files, and make them."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.stores import opening
from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.key_file import load_node_key, load_secret
from zhenxian.stores.origids.file import OrigidFile
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.sqlite.file import RegistryFile

FILES = [ConductFile, OrigidFile, SqliteReplayStore, RegistryFile]


@pytest.fixture
def read(tmp_path):
    """A file that another process reads, as it does in the midst of its own opening."""
    with closing(sqlite3.connect(tmp_path / "a.db", check_same_thread=False)) as other:
        other.execute("CREATE TABLE other (one)")
        other.execute("BEGIN")
        other.execute("SELECT * FROM other").fetchall()
        yield other


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_others_open_is_waited_for(tmp_path, read, kind):
    ends = threading.Timer(0.5, read.rollback)
    ends.start()
    opened = kind(tmp_path / "a.db")
    ends.join()
    opened.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("kind", FILES)
def test_it_is_not_waited_for_without_end(tmp_path, monkeypatch, read, kind):
    monkeypatch.setattr(opening, "_PATIENCE", 0.1)
    with pytest.raises(StoreUnavailableError, match="locked"):
        kind(tmp_path / "a.db")


def test_a_registry_that_can_only_be_read_is_opened_by_no_writer(tmp_path, monkeypatch):
    """As on a disk that takes nothing now: the connection would write nothing later, either."""
    path, connect = tmp_path / "a.db", sqlite3.connect
    RegistryFile(path, writer=True).close()
    monkeypatch.setattr(
        sqlite3, "connect", lambda file, **how: connect(f"file:{file}?mode=ro", uri=True, **how)
    )
    with pytest.raises(StoreUnavailableError, match="readonly"):
        RegistryFile(path, writer=True)
    RegistryFile(path).close()


def test_a_registry_is_opened_while_somebody_writes(tmp_path):
    path = tmp_path / "a.db"
    with closing(RegistryFile(path, writer=True)) as first, first.transaction():
        with closing(RegistryFile(path, writer=True)) as second:
            (waits,) = second.connection.one("PRAGMA busy_timeout")
            assert waits == 5_000
        RegistryFile(path).close()


@pytest.mark.parametrize(
    "load", [load_secret, lambda path: load_node_key(path, "a").thumbprint], ids=["secret", "node"]
)
def test_a_key_that_two_make_is_the_key_of_the_first(tmp_path, monkeypatch, load):
    path, link, firsts = tmp_path / "a.key", os.link, []

    def overtaken(fresh, target):
        assert not path.exists()  # it is never there in part
        monkeypatch.setattr(os, "link", link)
        firsts.append(load(path))
        link(fresh, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert [load(path)] == firsts
    assert [load(path)] == firsts
    assert [file.name for file in tmp_path.iterdir()] == ["a.key"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_secret_is_random_and_never_empty(tmp_path):
    assert len(load_secret(tmp_path / "a.key")) == 32
    assert load_secret(tmp_path / "a.key") != load_secret(tmp_path / "b.key")
    (tmp_path / "c.key").touch()
    with pytest.raises(ConfigError, match=r"c\.key is empty"):
        load_secret(tmp_path / "c.key")
    with pytest.raises(StoreUnavailableError, match=r"a\.key: No such file"):
        load_secret(tmp_path / "missing" / "a.key")
