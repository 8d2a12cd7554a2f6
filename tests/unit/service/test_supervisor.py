"""The supervisor of workers, as far as it shows without real ones."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys

import pytest

from zhenxian.service import supervisor
from zhenxian.service.supervisor import Plan, Supervisor


class Worker:
    """A process that has ended."""

    pid = 4_000_000
    returncode = -9

    def __init__(self, *_, **__):
        self.stdin = io.BytesIO()

    def poll(self):
        return self.returncode


@pytest.fixture
def supervising(monkeypatch):
    """One whose only worker has ended, of three to start; its signals are this process's."""
    read, write = os.pipe()
    monkeypatch.setattr(supervisor, "OWN_SOCKETS", False)
    monkeypatch.setattr(supervisor, "_RESTART_AFTER", 0.0)
    monkeypatch.setattr(supervisor.socket, "socket", lambda fileno: os.fdopen(fileno, "rb"))
    plan = Plan({}, read, None, [[], [], []], write, 1, follow=False, text="ready\n")
    one = Supervisor(plan)
    one._workers = [Worker()]
    yield one
    one._calls.close()
    os.close(write)


def test_a_hang_up_while_a_worker_is_replaced_is_not_lost(supervising, monkeypatch):
    told = []
    before = signal.signal(signal.SIGHUP, lambda *_: told.append(len(told)))

    class Hung(Worker):
        def __init__(self, *_, **__):
            super().__init__()
            os.kill(os.getpid(), signal.SIGHUP)

    monkeypatch.setattr(subprocess, "Popen", Hung)
    try:
        supervising._replace()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert isinstance(supervising._workers[0], Hung)
    assert told == [0]
    assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_no_worker_is_started_once_it_stops(supervising, monkeypatch):
    monkeypatch.setattr(supervisor.time, "sleep", supervising._stop)
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    supervising._replace()


@pytest.mark.parametrize(
    ("told", "status", "said"),
    [
        ([b"!no key", b"!no key", b"!no key"], 3, "zhenxian: no key\n"),
        ([b"+", b"!no key", b"!no key"], 3, "zhenxian: no key\n"),
        ([b"!no key", b"+", b"+"], 3, "zhenxian: no key\n"),
        ([b"+", b"+", b"+"], 0, "ready\n"),
        ([b"+", b"", b"+"], 0, "ready\n"),
        ([b"", b"", b""], 1, ""),
    ],
)
def test_workers_that_tell_at_the_same_moment_are_told_once(
    supervising, monkeypatch, capsys, told, status, said
):
    words = iter(told)

    class Telling(Worker):
        def __init__(self, *_, pass_fds, **__):
            super().__init__()
            os.write(pass_fds[-1], next(words))

    monkeypatch.setattr(subprocess, "Popen", Telling)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert supervising._start() == status
    assert capsys.readouterr().err == said
