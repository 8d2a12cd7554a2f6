"""Tests write to memory where there is plenty, and leave nothing there."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent.parent / "scripts/in-memory"


@pytest.mark.parametrize("where", ["", "no"])
@pytest.mark.parametrize("status", [0, 3])
def test_the_command_has_its_status_and_leaves_nothing_where_it_passed(tmp_path, where, status):
    told = tmp_path / "told"
    ended = subprocess.run(
        [SCRIPT, "sh", "-c", f'echo "$TMPDIR" > {told}; exit {status}'],
        env={**os.environ, "TMPDIR": str(tmp_path), "IN_MEMORY": where},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == status
    folder = Path(told.read_text().strip())
    if folder == tmp_path:  # on the disk, as asked for, or since there is no room
        assert ended.stderr == ""
        return
    assert where != "no"
    assert folder.exists() is (status != 0) is (str(folder) in ended.stderr)
    if status:
        folder.rmdir()
