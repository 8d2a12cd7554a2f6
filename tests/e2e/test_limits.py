"""A machine that gives no more: threads, processes, memory, a data folder that takes nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from running import Service, environment, signed, until, verdict

from zhenxian.simulation.demo import BANK

OWN_PROCESS = True  # what a process is given by the machine is what this is about

# `zhenxian serve` of which, once a file is there, no thread and no process can be started, but for
# as many threads as it says: as in a container whose pids.max is reached.
_SERVE = """
import _thread, errno, os, pathlib, runpy, sys, threading
from zhenxian.service import spawn
full = pathlib.Path(sys.argv.pop(1))
start, run = _thread.start_new_thread, spawn._spawn
left = int(full.read_text() or 0) if full.exists() else 0

def started(*given):
    global left
    if full.exists():
        left -= 1
        if left < 0:
            raise RuntimeError("can't start new thread")
    return start(*given)

def forked(*given):
    if full.exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return run(*given)

_thread.start_new_thread = threading._start_new_thread = started
spawn._spawn = forked
runpy.run_module("zhenxian", run_name="__main__", alter_sys=True)
"""


def _rows(count):
    return "first,subject\n" + "".join(f"86756{n:08},bank\n" for n in range(count))


def _import(client, count):
    return client.post(
        "/v1/imports/holdings",
        params={"reason": "a"},
        content=_rows(count).encode(),
        headers={"content-type": "text/csv"},
    )


@pytest.fixture
def confined(tmp_path):
    """A service, and the file that ends its threads."""
    full = tmp_path / "full"
    service = Service(tmp_path / "service")
    service.launched_by = [sys.executable, "-c", _SERVE, str(full)]
    yield service.start(), full
    assert service.stop() == 0
    assert "Traceback" not in service.logged()


def test_no_thread_more_is_needed_once_it_runs(confined):
    service, full = confined
    with service.client() as client:
        full.touch()
        assert signed(client, BANK)["attest"] == "A"
        token = signed(client, BANK)["identity"]
        assert verdict(client, BANK, token)["verstat"] == "TN-Validation-Passed"
        named = service.token("1001", BANK, x5u="https://nowhere.invalid/c.pem")
        assert verdict(client, BANK, named)["reason"] == "CERT_UNREACHABLE"
        chain = service.x5u("1001").removeprefix(service.base)
        for path in ("/readyz", "/metrics", "/v1/holdings", "/v1/exports/holdings", chain):
            assert client.get(path).status_code == 200, path
        assert client.get("/v1/subjects/nobody").status_code == 404
        put = client.put("/v1/subjects/x", json={"name": "x"}, params={"reason": "a"})
        assert put.status_code == 200
        assert _import(client, 10).json()["changed"] == 10
        refused = _import(client, 8_000)
        assert refused.status_code == 503
        assert "no process can be started" in refused.json()["detail"]
        assert not client.get("/readyz").json()["problems"]
        full.unlink()
        assert _import(client, 8_000).json()["changed"] == 8_000 - 10


@pytest.mark.parametrize("given", [0, 5, 9, 11])
def test_a_machine_with_too_few_threads_is_told_at_the_start(tmp_path, given):
    full = tmp_path / "full"
    full.write_text(str(given))
    service = Service(tmp_path / "service")
    service.launched_by = [sys.executable, "-c", _SERVE, str(full)]
    assert service.launch().wait(60) == 3
    assert "Traceback" not in service.logged()
    assert "threads cannot be started" in service.logged()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("given", [40, 271])
def test_too_few_descriptors_are_told_at_the_start(tmp_path, workers, given):
    service = Service(tmp_path / "service", descriptors=given, server__workers=workers)
    assert service.launch().wait(60) == 3
    assert "Traceback" not in service.logged()
    assert f"{given} descriptors are too few, 272 are needed" in service.logged()


def _children(pid):
    tasks = Path(f"/proc/{pid}/task")
    return [int(one) for task in tasks.iterdir() for one in (task / "children").read_text().split()]


def test_where_memory_runs_out_an_import_ends_before_the_service(serve):
    """The kernel ends whom it is told to end first; the service goes on."""
    service = serve()
    answers = []
    with service.client(timeout=60) as client:
        task = threading.Thread(target=lambda: answers.append(_import(client, 400_000)))
        task.start()
        (child,) = until(lambda: _children(service.pid))
        score = Path(f"/proc/{child}/oom_score_adj")
        until(lambda: score.read_text().strip() == "1000")
        os.kill(child, signal.SIGKILL)
        task.join()
        assert answers[0].status_code == 503
        assert "what was committed stays" in answers[0].json()["detail"]
        assert signed(client, BANK)["attest"] == "A"
        assert _import(client, 8_000).status_code == 200


def test_a_data_folder_that_is_read_only_starts_no_service(tmp_path):
    service = Service(tmp_path / "service")
    data = tmp_path / "service" / "state"
    enter = (
        ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    )
    mounted = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
    done = subprocess.run(
        [*enter, "sh", "-c", mounted, data,
         sys.executable, "-m", "zhenxian", "serve", "-c", service.world.config],
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "cannot be written (Read-only file system)" in done.stderr
    with pytest.raises(httpx.TransportError):
        httpx.get(service.base + "/healthz", trust_env=False)
