"""Whose the origids of calls were, in a file that is only added to."""

from __future__ import annotations

import sqlite3
import uuid

import pytest

from zhenxian.core.errors import StoreUnavailableError
from zhenxian.signer.origids import Given
from zhenxian.stores.origids.file import OrigidFile

STABLE = "b0000000-0000-4000-8000-000000000001"


@pytest.fixture
def file(tmp_path):
    opened = OrigidFile(tmp_path / "origids.db", "north")
    yield opened
    opened.close()


def test_each_is_another_and_is_found(file):
    given = [file.give("trunk", STABLE, 100 + n) for n in range(50)]
    assert len(set(given)) == 50
    for number, origid in enumerate(given):
        assert uuid.UUID(origid).version == 4
        assert file.find(origid) == Given("trunk", STABLE, 100 + number, "north")
        assert file.find(origid.upper()) == file.find(origid)
    assert file.find(STABLE) is None
    assert file.find("no uuid") is None


def test_workers_share_the_file_and_it_stays(tmp_path):
    one, other = (OrigidFile(tmp_path / "origids.db") for _ in range(2))
    given = one.give("trunk", STABLE, 100)
    assert other.find(given).access == "trunk"
    one.close()
    other.close()
    again = OrigidFile(tmp_path / "origids.db")
    assert again.find(given).access == "trunk"
    assert (tmp_path / "origids.db").stat().st_mode & 0o077 == 0
    again.close()


def test_what_is_old_is_forgotten_a_part_at_a_time(file, monkeypatch):
    monkeypatch.setattr("zhenxian.stores.origids.file._FORGET", 10)
    given = [file.give("trunk", STABLE, 100 + n) for n in range(30)]
    file.forget(100)
    assert all(map(file.find, given))
    file.forget(125)
    assert [file.find(one) is None for one in given] == [True] * 10 + [False] * 20
    file.forget(125)
    file.forget(125)
    file.forget(125)
    assert [file.find(one) is None for one in given] == [True] * 25 + [False] * 5
    # Places are not given again, or what comes next would pass for sent.
    file.sent(file.unsent(100))
    file.forget(1_000)
    assert file.find(given[-1]) is None
    file.give("trunk", STABLE, 2_000)
    assert len(file.unsent(10)) == 1


def test_what_was_not_sent_is_told_until_it_was(file):
    given = [file.give("trunk", STABLE, 100 + n) for n in range(5)]
    first = file.unsent(3)
    assert [(one.origid, one.given.at) for one in first] == list(
        zip(given[:3], (100, 101, 102), strict=True)
    )
    assert file.unsent(3) == first
    assert file.waiting() == 5
    file.sent(first)
    assert [one.origid for one in file.unsent(10)] == given[3:]
    file.sent(file.unsent(10))
    file.sent(first)  # another worker, which was slower
    assert file.unsent(10) == []
    assert file.waiting() == 0


def test_what_cannot_be_remembered_is_not_given(tmp_path, caplog):
    file = OrigidFile(tmp_path / "origids.db")
    blocker = sqlite3.connect(tmp_path / "origids.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    for _ in range(2):
        assert file.give("trunk", STABLE, 100) is None
    assert caplog.text.count("origids of accesses are signed") == 1
    blocker.execute("ROLLBACK")
    blocker.close()
    assert file.give("trunk", STABLE, 100) is not None
    assert file.problem is None
    file.close()
    (tmp_path / "junk").write_bytes(b"junk" * 1_000)
    with pytest.raises(StoreUnavailableError):
        OrigidFile(tmp_path / "junk")
