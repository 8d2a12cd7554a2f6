"""kill -9 while the registry is written: what was acknowledged is there, and nothing half done."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from running import until

from zhenxian.registry.journal import put
from zhenxian.registry.model import Kind, Subject
from zhenxian.stores.sqlite.file import RegistryFile

ROWS = 400_000


def run(config, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "zhenxian", "registry", *arguments, "-c", str(config)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def prepared(tmp_path):
    """Settings with a registry of one subject, and a file of numbers to import."""
    config = tmp_path / "zhenxian.toml"
    config.write_text('data = "state"\n')
    data = tmp_path / "state"
    data.mkdir()
    with closing(RegistryFile(data / "registry.db", writer=True)) as book:
        book.write([put(Subject(id="a"))], author="a", reason="r", now=1)
    numbers = tmp_path / "numbers.csv"
    with numbers.open("w") as out:
        out.write("first,subject,verification\n")
        out.writelines(f"{8613000000000 + i * 7},a,verified\n" for i in range(ROWS))
    return config, data / "registry.db", numbers


def whole(path):
    """Rows registered, after a look at the whole file."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        rows = db.execute("SELECT count(*) FROM holdings").fetchone()[0]
        # Each row is of a commit that is in the journal, and no commit is without its rows.
        versions = {row[0] for row in db.execute("SELECT DISTINCT version FROM holdings")}
        commits = {row[0] for row in db.execute("SELECT seq FROM journal WHERE seq > 1")}
        assert versions == commits
    return rows


def rows_of(path):
    try:
        with closing(sqlite3.connect(path)) as db:
            return db.execute("SELECT count(*) FROM holdings").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def position(pid, file):
    """How far a process has read a file."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if entry.readlink() == file:
                told = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
                return int(told.split()[1])
    return 0


def test_an_import_that_is_killed_is_resumed(prepared):
    config, path, numbers = prepared
    arguments = ("import", "holdings", str(numbers), "--reason", "test", "--json")
    process = run(config, *arguments)
    until(lambda: rows_of(path) > 0)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = whole(path)
    assert 0 < kept < ROWS
    # Again without saying so is refused; what is kept is told.
    again = run(config, *arguments)
    assert b"--resume" in again.communicate()[1]
    assert again.returncode == 3
    rest = run(config, *arguments, "--resume")
    report = json.loads(rest.communicate()[0])
    assert (report["changed"], report["unchanged"]) == (ROWS - kept, 0)
    assert whole(path) == ROWS


def test_all_or_nothing_that_is_killed_leaves_nothing(prepared):
    config, path, numbers = prepared
    mode = ("--mode", "all-or-nothing")
    process = run(config, "import", "holdings", str(numbers), "--reason", "test", *mode)
    until(lambda: position(process.pid, numbers) > numbers.stat().st_size // 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert whole(path) == 0


WRITER = """
import itertools, sys
from pathlib import Path
from zhenxian.registry.journal import put
from zhenxian.registry.model import Subject
from zhenxian.stores.sqlite.file import RegistryFile
book = RegistryFile(Path(sys.argv[1]), writer=True)
for number in itertools.count():
    names = [f"s{number}-{part}" for part in range(3)]
    book.write([put(Subject(id=name)) for name in names], author="a", reason="r", now=1)
    print(number, flush=True)
"""


@pytest.mark.parametrize("after", [0.3, 0.7])
def test_every_acknowledged_write_survives_a_kill(tmp_path, after):
    path = tmp_path / "registry.db"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "0\n"
    time.sleep(after)
    os.kill(process.pid, signal.SIGKILL)
    told = process.communicate()[0].split()
    acknowledged = int(told[-1]) if told else 0
    with closing(RegistryFile(path)) as book:
        last, _ = book.last()
        assert last >= acknowledged + 1
        for number in range(last):
            for part in range(3):
                assert book.get(Kind.SUBJECT, f"s{number}-{part}")[0] == number + 1
        assert book.get(Kind.SUBJECT, f"s{last}-0") is None
