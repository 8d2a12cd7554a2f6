"""Forked services are processes like others, and nothing of them stays."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import forks
import pytest
from running import Service, alive, environment, until

TESTS = Path(__file__).parent.parent
_ASKING = """
import sys, tempfile, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/e2e"]
import forks
from running import Service
from pathlib import Path
running = Service(Path(sys.argv[2]) / "service").start()
(server,) = forks._started.values()
print(server.process.pid, running.pid, flush=True)
time.sleep(60)
"""


def test_a_command_has_its_own_environment_folder_output_and_status(tmp_path):
    (tmp_path / "zhenxian.toml").write_text("nonsense = 1\n")
    refused = forks.run(["serve"], environment(), tmp_path)
    assert refused.returncode == 3
    assert "nonsense" in refused.stderr
    assert refused.stdout == ""
    misspelt = forks.run(["serve"], environment(log__level="loud"))
    assert (misspelt.returncode, misspelt.stdout) == (3, "")
    assert "log.level" in misspelt.stderr
    told = forks.run(["--version"], environment())
    assert (told.returncode, told.stderr) == (0, "")
    alone = [sys.executable, "-m", "zhenxian", "--version"]
    assert told.stdout == subprocess.check_output(alone, text=True)
    assert forks.run(["nothing"], environment()).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_signal_is_told_and_the_process_waits_to_be_asked(tmp_path, number):
    service = Service(tmp_path / "service").start()
    process = service._process
    assert isinstance(process, forks.Forked)
    assert process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.01)
    os.kill(service.pid, number)
    until(lambda: not alive(service.pid))
    assert Path(f"/proc/{service.pid}").exists()  # nobody else has the number before it is told
    assert process.wait(5) == -number
    assert process.poll() == -number
    until(lambda: not Path(f"/proc/{service.pid}").exists())
    process.kill()  # which is nobody any more


def test_it_holds_nothing_of_who_forked_it_nor_of_others(tmp_path):
    """But for the signal that Python ignores, handled as in any process of Python."""
    both = [Service(tmp_path / name).start() for name in "ab"]
    by_hand = Service(tmp_path / "c", own_process=True).start()
    try:

        def kinds(service):
            held = []
            for file in Path(f"/proc/{service.pid}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # closed since it was listed
                    held.append(str(file.readlink()))
            return sorted(name.partition("[")[0].partition("/")[0] for name in held)

        def signals(service):
            lines = Path(f"/proc/{service.pid}/status").read_text().splitlines()
            return [line for line in lines if line.startswith("Sig")]

        until(lambda: kinds(both[0]) == kinds(both[1]) == kinds(by_hand))
        assert signals(both[0]) == signals(by_hand)
        assert os.getsid(both[0].pid) == os.getsid(by_hand.pid)
        assert os.getpriority(os.PRIO_PROCESS, both[0].pid) == os.getpriority(os.PRIO_PROCESS, 0)
    finally:
        assert [service.stop() for service in (*both, by_hand)] == [0, 0, 0]


@pytest.mark.parametrize("killed", ["who asked", "who forks"])
def test_it_does_not_outlive_who_asked_for_it(tmp_path, killed):
    command = [sys.executable, "-c", _ASKING, str(TESTS), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as asking:
        try:
            server, service = map(int, asking.stdout.readline().split())
            assert alive(server)
            assert alive(service)
            os.kill(asking.pid if killed == "who asked" else server, signal.SIGKILL)
            until(lambda: not alive(server) and not alive(service))
        finally:
            asking.kill()
