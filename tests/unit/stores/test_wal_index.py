"""Whether a commit is noticed before the next call, and SQLite left alone where there was none."""

import subprocess
import sys

import pytest

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.registry.journal import put
from zhenxian.registry.model import Access, Kind, Subject
from zhenxian.service.build import _around
from zhenxian.stores.fleet.view import FleetView
from zhenxian.stores.sqlite import wal_index
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.view import RegistryView
from zhenxian.stores.sqlite.wal_index import WalIndex

_ELSEWHERE = """
import sys
from pathlib import Path
from tests.unit.stores.test_wal_index import write
from zhenxian.stores.sqlite.file import RegistryFile
write(RegistryFile(Path(sys.argv[1]), writer=True), sys.argv[2])
"""


def write(file, name):
    """Commit a subject with an access."""
    changes = [put(Subject(id=name, name=name)), put(Access(id=name, origid=name, subject=name))]
    file.write(changes, author="tester", reason="", now=1)


@pytest.fixture
def writer(tmp_path):
    file = RegistryFile(tmp_path / "registry.db", writer=True)
    yield file
    file.close()


@pytest.fixture
def view(writer):
    made = RegistryView(writer.path)
    made.catch_up()
    yield made
    made.close()


def asked(view):
    """What SQLite is asked from now on."""
    statements = []
    view.records.connection.db.set_trace_callback(statements.append)
    return statements


def test_nothing_is_asked_where_nothing_was_committed(view, writer):
    statements = asked(view)
    view.catch_up()
    view.catch_up()
    assert statements == []
    write(writer, "bank")
    view.catch_up()
    assert "PRAGMA data_version" in statements


def test_each_commit_is_taken_over(view, writer):
    for number in range(50):
        name = f"bank{number}"
        assert view.access(name, None) is None
        write(writer, name)
        view.catch_up()
        assert view.access(name, None).subject == name
        assert view.seq == writer.last()[0]


def test_a_commit_of_another_process_is_taken_over(view):
    assert view.access("bank", None) is None
    for name in ("bank", "shop"):
        command = [sys.executable, "-c", _ELSEWHERE, str(view.records.path), name]
        subprocess.run(command, check=True, timeout=60)
        view.catch_up()
        assert view.access(name, None).subject == name


def test_a_commit_after_the_log_was_begun_anew_is_taken_over(view, writer):
    write(writer, "bank")
    view.catch_up()
    assert view.access("shop", None) is None
    assert writer.connection.one("PRAGMA wal_checkpoint(TRUNCATE)")[0] == 0
    write(writer, "shop")
    view.catch_up()
    assert view.access("shop", None).subject == "shop"


def test_a_commit_that_could_not_be_taken_over_is_not_forgotten(view, writer, monkeypatch):
    write(writer, "bank")

    def broken(*_):
        raise StoreUnavailableError("broken")

    with monkeypatch.context() as change:
        change.setattr(view, "refresh", broken)
        with pytest.raises(StoreUnavailableError):
            view.catch_up()
    view.catch_up()
    assert view.access("bank", None).subject == "bank"
    assert view.records.get(Kind.SUBJECT, "bank") is not None


@pytest.mark.parametrize("at", [0, 8, 12, 47, 48, 56, 95])
def test_whatever_changes_in_either_copy_is_looked_at(view, at):
    head = view._index._head
    octet = head[at]
    assert not view._index.moved()
    try:
        head[at] = bytes([octet[0] ^ 1])
        assert view._index.moved()
        assert view._index.moved()  # as long as the copies differ, or are of another format
    finally:
        head[at] = octet
    assert view._index.moved()
    assert not view._index.moved()


def test_sqlite_is_asked_each_time_where_the_index_cannot_be_seen(writer, monkeypatch, tmp_path):
    monkeypatch.setattr(wal_index, "_MAPPINGS", tmp_path / "none")
    view = RegistryView(writer.path)
    try:
        statements = asked(view)
        view.catch_up()
        view.catch_up()
        assert statements == ["PRAGMA data_version"] * 2
    finally:
        view.close()


def test_an_index_of_another_file_is_not_taken_for_this_ones(view, tmp_path):
    assert WalIndex(view.records.path)._head is not None
    (tmp_path / "other.db-shm").write_bytes(bytes(4096))
    assert WalIndex(tmp_path / "other.db")._head is None
    assert WalIndex(tmp_path / "none.db")._head is None


def test_after_the_end_sqlite_says_that_it_is_closed(writer):
    view = RegistryView(writer.path)
    view.catch_up()
    view.close()
    with pytest.raises(StoreUnavailableError):
        view.catch_up()


def test_calls_that_arrive_together_ask_nothing_where_nothing_was_committed(view, writer):
    around = _around(view, None)
    around.refresh()
    statements = asked(view)
    around.refresh()
    assert statements == []
    write(writer, "bank")
    around.refresh()
    assert view.seq == writer.last()[0]


def test_what_a_replica_reads_beside_a_commit_is_read_again_where_that_failed(writer, monkeypatch):
    view = FleetView(writer.path, limit=100)
    view.catch_up()
    write(writer, "bank")

    def failing(_):
        raise StoreUnavailableError("the disk does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(view.records, "meta", failing)
        with pytest.raises(StoreUnavailableError):
            view.catch_up()
    read = []
    meta = view.records.meta
    monkeypatch.setattr(view.records, "meta", lambda name: read.append(name) or meta(name))
    view.catch_up()
    assert "fleet.epoch" in read
    read.clear()
    view.catch_up()
    assert read == []
    view.close()
