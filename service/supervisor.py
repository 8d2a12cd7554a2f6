"""The supervisor of worker processes: it starts them, replaces those that die, stops them together.

It takes the place of the process that read the settings (`hand_over`): its pid, sockets and lock.
It imports nothing of the service, so that it stays as small as an interpreter is. Workers are
processes of their own, not forks: a library that was used before a fork may hold threads and locks,
and prometheus_client reads its folder when it is imported.

Each worker holds the lock of the data folder, too, and the end of a pipe whose other end is here:
it is told to stop by the kernel when this process ends, however it does.

Where the kernel can spread connections over sockets of one address (SO_REUSEPORT on Linux), each
worker has a listening socket of its own for calls, which nobody holds but the worker: while one
is away, new connections go to the others.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from zhenxian.telemetry.logs import announce, configure_logging

READY: Final = b"+"  # from a worker that takes calls
FAILED: Final = b"!"  # and the sentences of an error, from one that cannot start

OWN_SOCKETS: Final = sys.platform == "linux"  # elsewhere the kernel need not spread connections
EXIT_FAILED: Final = 3  # it could not be done: configuration, files, network
_LOOK_EVERY: Final = 0.2  # seconds between two looks whether all workers live
GRACE: Final = 5  # seconds beyond the graceful stop before a process is ended
_RESTART_AFTER: Final = 1.0  # seconds before a worker that died is replaced
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)
_MODULE: Final = "zhenxian.service.supervisor"

_logger = logging.getLogger("zhenxian")


class WorkerOrders(NamedTuple):
    """What a worker is told by the first line of its standard input.

    Attributes:
        sockets: descriptors: for calls, for administration if that is apart.
        told: the descriptor of a pipe that waits for READY or FAILED; None when it replaces
            another, and what it cannot start with is logged.
    """

    settings: dict[str, Any]
    sockets: list[int]
    metrics_folder: str
    sip_sockets: list[int]
    told: int | None


class Plan(NamedTuple):
    """What the supervisor is told.

    Attributes:
        settings: as JSON has them.
        calls: descriptor of the socket for calls: listening, or merely bound where each worker
            has a socket of its own.
        admin: of that for administration.
        sip: of each worker's for SIP.
        lock: of the data folder's lock.
        stop_seconds: a worker has for its graceful stop.
        follow: whether to stop when standard input ends.
        text: printed to standard error when calls are taken.
    """

    settings: dict[str, Any]
    calls: int
    admin: int | None
    sip: list[list[int]]
    lock: int
    stop_seconds: int
    follow: bool
    text: str


def hand_over(plan: Plan) -> NoReturn:
    """Become the supervisor: this process, without what it has imported."""
    written = os.memfd_create("plan") if hasattr(os, "memfd_create") else _unnamed()
    with os.fdopen(written, "wb", closefd=False) as file:
        file.write(json.dumps(plan).encode())
    os.lseek(written, 0, os.SEEK_SET)
    kept = [plan.calls, plan.admin, plan.lock, written, *(n for each in plan.sip for n in each)]
    for number in kept:
        if number is not None:
            os.set_inheritable(number, True)
    with contextlib.suppress(OSError):  # a log that cannot be written
        sys.stdout.flush()
        sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", _MODULE, str(written)])  # noqa: S606


def _unnamed() -> int:
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def end_with_input(grace: float) -> None:
    """Stop this process gracefully when standard input ends, and `grace` seconds later anyhow.

    In a thread: it also ends a process whose loop is busy.
    """

    def follow() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=follow, name="end-with-input", daemon=True).start()


def from_terminal() -> bool:
    """True for a service that somebody started by hand: a hang-up says that they are gone."""
    return sys.stdin is not None and sys.stdin.isatty()


def beside(bound: socket.socket) -> socket.socket:
    """Another socket of the same address, which does not listen yet. Raises OSError."""
    made = socket.socket(bound.family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(bound.getsockname())
    except OSError:
        made.close()
        raise
    return made


class Supervisor:
    """Workers, and what they need."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._calls = socket.socket(fileno=plan.calls)
        self._folder = tempfile.mkdtemp(prefix="zhenxian-metrics-")
        self._workers: list[subprocess.Popen[bytes]] = []
        self._stopping = False

    def run(self) -> int:
        """Until SIGINT or SIGTERM. Returns the exit status."""
        for number in _STOPS:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._stop if from_terminal() else self._look)
        try:
            status = self._start()
            while status == 0 and not self._stopping:
                time.sleep(_LOOK_EVERY)
                self._replace()
            return status
        finally:
            self._end()

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _look(self, *_: object) -> None:
        for worker in self._workers:
            worker.send_signal(signal.SIGHUP)

    def _start(self) -> int:
        """Start all workers; what they cannot start with is told once. Returns the exit status.

        One that is killed meanwhile, and so tells nothing, is replaced as others are.
        """
        waiting = []
        for index in range(len(self._plan.sip)):
            told, tells = os.pipe()
            waiting.append(told)
            self._workers.append(self._worker(index, tells))
            os.close(tells)
        ready, announced, status = False, False, 0
        while waiting and not self._stopping and status == 0:
            for told in select.select(waiting, [], [], _LOOK_EVERY)[0]:
                said = _read(told)
                waiting.remove(told)
                os.close(told)
                if said == READY:
                    ready = True
                elif said and status == 0:  # others, which tell the same, may come with it
                    status = _cannot_start(said)
            if ready and not announced and status == 0:
                announced = True
                announce(self._plan.text)
        for told in waiting:
            os.close(told)
        if not (announced or status or self._stopping):
            return 1  # all of them ended without a word
        return status

    def _worker(self, index: int, told: int | None = None) -> subprocess.Popen[bytes]:
        plan = self._plan
        calls = beside(self._calls) if OWN_SOCKETS else self._calls
        sockets = [calls.fileno(), *([] if plan.admin is None else [plan.admin])]
        orders = WorkerOrders(plan.settings, sockets, self._folder, plan.sip[index], told)
        try:
            return _begun(orders, plan.lock)
        finally:
            if calls is not self._calls:
                calls.close()  # it is the worker's alone: what waits there ends with the worker

    def _replace(self) -> None:
        """Start another in the place of each worker that ended."""
        for index, worker in enumerate(self._workers):
            if worker.poll() is not None and not self._stopping:
                _logger.error("worker %d ended (%d)", worker.pid, worker.returncode)
                time.sleep(_RESTART_AFTER)
                if self._stopping:
                    return
                try:
                    self._workers[index] = self._worker(index)
                except OSError as error:  # the next look tries again
                    _logger.error("no worker can be started: %s", error.strerror)  # noqa: TRY400

    def _end(self) -> None:
        for worker in self._workers:
            worker.terminate()
        end = time.monotonic() + self._plan.stop_seconds + GRACE  # of all of them together
        for worker in self._workers:
            try:
                worker.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _begun(orders: WorkerOrders, lock: int) -> subprocess.Popen[bytes]:
    passed = [*orders.sockets, *orders.sip_sockets, lock]
    # What is blocked here is so there: until a worker handles it, a hang-up would end it. One that
    # comes meanwhile is for all workers, and not lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        worker = subprocess.Popen(
            [sys.executable, "-m", "zhenxian.service.worker"],
            stdin=subprocess.PIPE,
            pass_fds=passed if orders.told is None else [*passed, orders.told],
            start_new_session=True,
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": orders.metrics_folder},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if worker.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and is replaced
            worker.stdin.write(json.dumps(orders).encode() + b"\n")
            worker.stdin.flush()
    return worker


def _read(told: int) -> bytes:
    """What a worker told: READY, or all until it closed its end."""
    said = b""
    while said != READY and (part := os.read(told, 65_536)):
        said += part
    return said


def _cannot_start(said: bytes) -> int:
    """Tell what a worker cannot start with, as the command line tells errors."""
    for line in said.removeprefix(FAILED).decode(errors="replace").splitlines():
        sys.stderr.write(f"zhenxian: {line}\n")
    return EXIT_FAILED if said.startswith(FAILED) else 1


def main(given: Sequence[str]) -> int:
    """Supervise as the plan in the open file of that descriptor tells."""
    with os.fdopen(int(given[1]), "rb") as file:
        plan = Plan(*json.load(file))
    configure_logging(plan.settings["log"]["level"])
    if plan.follow:
        end_with_input(plan.stop_seconds + GRACE + GRACE)
    return Supervisor(plan).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv))
