"""Files of the data folder are their owner's, and copies of them are few."""

from __future__ import annotations

import os

import pytest

from zhenxian.stores.analytics.file import ConductFile
from zhenxian.stores.fleet.replica import Replica
from zhenxian.stores.private import MAX_ASIDE, bound_aside
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.sqlite.file import RegistryFile


@pytest.fixture
def loose():
    """As most machines have it: what is made is readable by all."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def _modes(folder):
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_databases_are_their_owners_alone(tmp_path, loose):
    replica = Replica(tmp_path / "registry.db", synchronous="NORMAL")
    replica.set_aside(tmp_path / "aside.db")
    replays = SqliteReplayStore(tmp_path / "replay.sqlite")
    conduct = ConductFile(tmp_path / "conduct.db")
    assert len(_modes(tmp_path)) > 4
    assert set(_modes(tmp_path).values()) == {0o600}
    replays.close()
    replica.close()
    conduct.close()


def test_those_of_an_older_release_become_so(tmp_path, loose):
    book = RegistryFile(tmp_path / "registry.db", writer=True)
    for path in tmp_path.iterdir():
        path.chmod(0o644)
    other = RegistryFile(tmp_path / "registry.db")
    assert set(_modes(tmp_path).values()) == {0o600}
    other.close()
    book.close()


def test_opening_a_second_time_ends_no_lock(tmp_path):
    """POSIX locks of a process go when it closes any descriptor of the file."""
    path = tmp_path / "registry.db"
    writer = RegistryFile(path, writer=True)
    other = RegistryFile(path, writer=True)
    with writer.transaction():
        RegistryFile(path).close()
        child = os.fork()
        if child == 0:
            import sqlite3  # noqa: PLC0415

            try:
                sqlite3.connect(path, timeout=0).execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    other.close()
    writer.close()


def test_copies_set_aside_are_bounded(tmp_path):
    names = [f"a.lost-{number}.db" for number in range(100, 110)]
    for count, name in enumerate(names, 1):
        (tmp_path / name).write_bytes(b"")
        (tmp_path / "a.db").write_bytes(b"")
        bound_aside(tmp_path, "a.lost-*.db")
        assert len(list(tmp_path.glob("a.lost-*.db"))) == min(count, MAX_ASIDE)
    left = sorted(path.name for path in tmp_path.glob("a.lost-*.db"))
    assert left == [names[0], *names[-3:]]
    assert (tmp_path / "a.db").exists()
