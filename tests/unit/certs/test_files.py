"""Files that may change while they are read."""

from __future__ import annotations

import os
import time

import pytest

from zhenxian.certs.files import Looks, folder_stamp, read_file, stamp, wait_until_still
from zhenxian.core.errors import ConfigError


def test_a_regular_file_is_read_whole(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_file(path, 100) == b"x" * 100
    with pytest.raises(ConfigError, match="larger than 99 bytes"):
        read_file(path, 99)
    seen = []
    read_file(path, 100, seen.append)
    assert seen[0].st_size == 100


@pytest.mark.parametrize("kind", ["pipe", "folder", "device", "away", "socket"])
def test_nothing_else_is_read_nor_waited_for(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "socket":
        os.mknod(path, 0o140600)
    began = time.monotonic()
    with pytest.raises(ConfigError, match=str(path)):
        read_file(path, 1000)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("write", [b"", b"longer than before", b"other"])
def test_what_changes_while_it_is_read_is_not_taken(tmp_path, write):
    path = tmp_path / "file"
    path.write_bytes(b"first")
    with pytest.raises(ConfigError, match="changed while it was read"):
        read_file(path, 1000, lambda _: (time.sleep(0.02), path.write_bytes(write)))


def test_stamps_tell_every_change(tmp_path):
    path = tmp_path / "file"
    assert stamp(path) is None
    assert folder_stamp(None) == ()
    seen = {(stamp(path), folder_stamp(tmp_path))}

    def changed():
        time.sleep(0.01)
        before = len(seen)
        seen.add((stamp(path), folder_stamp(tmp_path)))
        return len(seen) == before + 1

    path.write_bytes(b"one")
    assert changed()
    path.write_bytes(b"two")
    assert changed()
    path.chmod(0o600)
    assert changed()
    os.utime(path, ns=(0, path.stat().st_mtime_ns))
    assert changed()
    fresh = tmp_path / "fresh"
    fresh.write_bytes(b"two")
    assert changed()
    fresh.replace(path)
    assert changed()
    assert not changed()


def test_two_looks_see_the_same():
    looks = Looks()
    assert [looks.still("a", seen) for seen in (1, 1, 2, 3, 3, 3)] == [
        False, True, False, False, True, True,
    ]  # fmt: skip
    assert not looks.still("b", 3)


def test_a_start_waits_for_files_that_were_just_written(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"")
    now, slept = [path.stat().st_mtime_ns + 300_000_000], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += round(seconds * 1e9)

    monkeypatch.setattr(time, "time_ns", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    wait_until_still([path, tmp_path / "away"])
    assert slept == [pytest.approx(0.7)]
    for written in (time.time() - 3600, time.time() + 3600):  # long ago, or by another's clock
        os.utime(path, (written, written))
        wait_until_still([path])
    assert len(slept) == 1
