"""CSV files and API rows as one registry: precedence, refresh, crash safety, several processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest

from passport.errors import ConfigError, StoreUnavailableError
from passport.tn import TN, TNRange
from registry.model import Access, Holding, Verification
from registry.snapshot import RegistryConflictError
from stores.embedded import EmbeddedRegistry
from stores.sqlite import RegistryFile

HEADER = "first,last,subject,verification\n"
ROW = Holding(TNRange(TN("500"), TN("599")), "api", Verification.VERIFIED)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "holdings.csv"
    path.write_text(HEADER + "100,199,bank,verified\n")
    return path


@pytest.fixture
def opened(tmp_path):
    files = []

    def make() -> RegistryFile:
        files.append(RegistryFile(tmp_path / "registry.sqlite"))
        return files[-1]

    yield make
    for file in files:
        file.close()


def rewrite(path, text):
    path.write_text(text)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))


def test_both_sources_answer_and_api_rows_last(csv, opened):
    registry = EmbeddedRegistry(opened(), csv, None)
    registry.change(put=[ROW, Access("trunk", "o", "api")])
    assert registry.holding(TN("150")).subject == "bank"
    assert registry.holding(TN("550")) == ROW
    again = EmbeddedRegistry(opened(), csv, None)
    assert again.holding(TN("550")) == ROW
    assert again.access("trunk", None) == Access("trunk", "o", "api")
    again.change(drop=[ROW])
    assert again.holding(TN("550")) is None


def test_a_row_that_contradicts_is_refused_whole(csv, opened):
    registry = EmbeddedRegistry(opened(), csv, None)
    with pytest.raises(RegistryConflictError, match="bank"):
        registry.change(put=[ROW, Holding(TNRange(TN("190"), TN("250")), "thief")])
    assert registry.holding(TN("550")) is None
    assert EmbeddedRegistry(opened(), csv, None).holding(TN("550")) is None


def test_files_are_taken_over_when_they_change(csv, opened):
    registry = EmbeddedRegistry(opened(), csv, None)
    assert not registry.refresh()
    rewrite(csv, HEADER + "100,199,bank,withdrawn\n300,399,shop,verified\n")
    assert registry.refresh()
    assert registry.holding(TN("150")).verification is Verification.WITHDRAWN
    assert registry.holding(TN("350")).subject == "shop"


@pytest.mark.parametrize("text", [HEADER + "1x,,a,verified\n", "", HEADER + "500,510,b,verified\n"])
def test_a_bad_file_leaves_the_rows_before_it_in_force(csv, opened, text):
    registry = EmbeddedRegistry(opened(), csv, None)
    registry.change(put=[ROW])
    rewrite(csv, text)
    registry.refresh()
    assert registry.problem
    assert registry.holding(TN("150")).subject == "bank"
    assert registry.holding(TN("550")) == ROW
    assert not registry.refresh()
    rewrite(csv, HEADER + "100,199,new,verified\n")
    assert registry.refresh()
    assert registry.problem is None
    assert registry.holding(TN("150")).subject == "new"


def test_a_vanished_file_is_a_problem_not_an_empty_registry(csv, opened):
    registry = EmbeddedRegistry(opened(), csv, None)
    csv.unlink()
    registry.refresh()
    assert "holdings.csv" in registry.problem
    assert registry.holding(TN("150")).subject == "bank"


def test_start_refuses_what_it_cannot_read(tmp_path, opened):
    with pytest.raises(ConfigError, match=r"none\.csv"):
        EmbeddedRegistry(opened(), tmp_path / "none.csv", None)


def test_another_process_sees_api_rows_after_refresh(opened):
    one, two = (EmbeddedRegistry(opened(), None, None) for _ in range(2))
    one.change(put=[ROW])
    assert two.holding(TN("550")) is None
    assert two.refresh()
    assert two.holding(TN("550")) == ROW


def test_an_unwritable_store_refuses_and_keeps(tmp_path, opened):
    registry = EmbeddedRegistry(opened(), None, None)
    blocker = sqlite3.connect(tmp_path / "registry.sqlite", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError):
        registry.change(put=[ROW])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert registry.holding(TN("550")) is None
    registry.change(put=[ROW])
    assert registry.holding(TN("550")) == ROW


def test_kill_9_loses_no_acknowledged_row(tmp_path):
    """A child writes rows and says each one after it was acknowledged; then it is killed."""
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from passport.tn import TN, TNRange
        from registry.model import Holding
        from stores.embedded import EmbeddedRegistry
        from stores.sqlite import RegistryFile
        registry = EmbeddedRegistry(RegistryFile(Path(sys.argv[1])), None, None)
        for n in range(10_000, 99_999):
            registry.change(put=[Holding(TNRange(TN(str(n)), TN(str(n))), "s")])
            print(n, flush=True)
        """
    )
    path = tmp_path / "registry.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True
    )
    acknowledged = [child.stdout.readline().strip() for _ in range(20)]
    time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    acknowledged += child.stdout.read().split()
    child.stdout.close()
    child.wait()
    file = RegistryFile(path)
    kept = {str(row.numbers.first) for row in file.rows()[0]}
    file.close()
    assert set(acknowledged) <= kept
    assert len(kept) <= len(acknowledged) + 1
