"""The data folder's disk, and the modes of the files on it."""

from __future__ import annotations

import pytest

from zhenxian.service.disk import Disk


@pytest.mark.parametrize("name", ["registry.db", "registry.db-wal", "replay.sqlite-shm", "log.key"])
def test_files_that_others_can_read_are_named_until_they_cannot(tmp_path, name):
    disk, file = Disk(tmp_path), tmp_path / name
    file.touch(0o600)
    (tmp_path / "roots.pem").touch(0o644)
    assert disk.look() is None
    assert disk.exposed == []
    for mode in (0o640, 0o604, 0o602):
        file.chmod(mode)
        assert disk.look() is None
        assert disk.exposed == [name]
    file.chmod(0o600)
    disk.look()
    assert disk.exposed == []
