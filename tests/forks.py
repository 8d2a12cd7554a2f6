"""Services that need not be started anew: forks of a process that has imported what they run.

To import the service takes a second of a core, and several hundred tests need a service that does
something, however it was started. A fork runs the same command, by the same function, with
arguments, environment, folder and output of its own, and ends as any process does. Who imports
starts no thread and runs nothing of the service, and only one test process has it.

Not for tests about what a start is: the command line, its exit status, the environment of Python,
memory, limits of a process, workers. Those start a process of their own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

_LARGEST = 200_000  # octets of a request: an environment and a few words
_PDEATHSIG = 1  # of prctl(2)
_STATUS = 8  # octets of a status
_PATIENCE = 120  # seconds for a command
_ON_INTERRUPT = signal.getsignal(signal.SIGINT)  # ignored where nobody is at a terminal
# The commands, and what they import only when it is needed, as a service of the demonstration does.
_IMPORTED = (
    "zhenxian.cli.serving",
    "zhenxian.cli.commands",
    "zhenxian.service.serving",
    "anyio._backends._asyncio",
    "phonenumbers.shortdata.region_CN",
    "pydantic.v1",
)


class Forked:
    """A running fork, with what `subprocess.Popen` has."""

    def __init__(self, args: Sequence[str], told: socket.socket) -> None:
        self.args = args
        self.returncode: int | None = None
        self._told = told
        self.pid = int(self._read())

    def _read(self) -> bytes:
        said = self._told.recv(_STATUS)
        if not said:
            raise ChildProcessError("who forks services has ended")
        return said

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            poll = select.poll()  # select() knows no descriptor beyond 1023
            poll.register(self._told, select.POLLIN)
            if not poll.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = int(self._read())
            self._told.close()  # now its process id may be another's
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class _Server:
    """Of this process, started when the first fork is wanted; it ends when this process does."""

    def __init__(self) -> None:
        self._asks, asked = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(asked.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=self._said,
            stderr=self._said,
            pass_fds=[asked.fileno()],
        )
        asked.close()

    def fork(
        self, words: Sequence[str], env: Mapping[str, str], cwd: Path, *outputs: IO[bytes]
    ) -> Forked:
        mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            request = json.dumps([list(words), dict(env), str(cwd)]).encode()
            assert len(request) < _LARGEST
            numbers = [its.fileno(), *(output.fileno() for output in outputs)]
            socket.send_fds(self._asks, [request], numbers)
        try:
            return Forked(["zhenxian", *words], mine)
        except ChildProcessError as error:
            self._said.seek(0)
            raise ChildProcessError(self._said.read().decode(errors="replace")) from error

    def end(self) -> None:
        """End it, and with it all that it forked."""
        self._asks.close()
        self.process.wait()
        self._said.close()


_started: dict[int, _Server] = {}  # by the process that it belongs to: no fork uses its parent's
_lock = threading.Lock()


def fork(
    words: Sequence[str],
    env: Mapping[str, str],
    stdout: IO[bytes],
    stderr: IO[bytes],
    cwd: Path | None = None,
) -> Forked:
    """Run `zhenxian WORDS` with this environment, and what it says in files."""
    me = os.getpid()
    with _lock:
        if me not in _started:
            _started[me] = _Server()
    return _started[me].fork(words, env, cwd or Path.cwd(), stdout, stderr)


def run(
    words: Sequence[object], env: Mapping[str, str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `zhenxian WORDS` to its end, and what it said."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        running = fork([str(word) for word in words], env, stdout, stderr, cwd)
        try:
            running.wait(_PATIENCE)
        finally:
            running.kill()
        stdout.seek(0)
        stderr.seek(0)
        said = stdout.read().decode(), stderr.read().decode()
    return subprocess.CompletedProcess(running.args, running.returncode, *said)


def end() -> None:
    """End who forks, if there is one."""
    server = _started.pop(os.getpid(), None)
    if server is not None:
        server.end()


# What follows runs in the process that forks ------------------------------------------------------


class _Running(NamedTuple):
    """A fork. It stays a zombie until who asked for it knows its status, or asks no more."""

    pid: int
    pidfd: int
    told: int


def _serve(asked: socket.socket) -> list[str] | None:
    """Fork until nobody asks any more. Returns, in each fork, the words that it is to run."""
    parent = os.getpid()
    poll = select.poll()
    poll.register(asked, select.POLLIN)
    running: dict[int, _Running] = {}  # by both descriptors
    while True:
        for number, _ in poll.poll():
            one = running.get(number)
            if number == asked.fileno():
                request, received, _, _ = socket.recv_fds(asked, _LARGEST, 3)
                if not request:
                    return None
                told, *outputs = received
                (thread,) = Path("/proc/self/task").iterdir()
                assert int(thread.name) == parent, "other threads do not outlive a fork"
                pid = os.fork()
                if pid == 0:
                    for other in (asked.detach(), told, *running):
                        os.close(other)
                    _become(parent, outputs)
                    return _told(request)
                for output in outputs:
                    os.close(output)
                one = _Running(pid, os.pidfd_open(pid), told)
                os.write(told, str(pid).encode())
                running |= {one.pidfd: one, told: one}
                poll.register(one.pidfd, select.POLLIN)
            elif one is not None and number == one.pidfd:  # it has ended
                found = os.waitid(os.P_PID, one.pid, os.WEXITED | os.WNOWAIT)
                assert found is not None
                exited = found.si_code == os.CLD_EXITED
                with contextlib.suppress(OSError):  # nobody wants to know
                    os.write(
                        one.told, str(found.si_status if exited else -found.si_status).encode()
                    )
                poll.unregister(number)
                poll.register(one.told, select.POLLIN)
            elif one is not None:  # its status was read
                poll.unregister(number)
                os.waitpid(one.pid, 0)
                del running[one.pidfd], running[number]
                os.close(one.pidfd)
                os.close(one.told)


def _become(parent: int, outputs: Sequence[int]) -> None:
    """As a process that `subprocess` starts, but for its end: it ends with who forked it."""
    ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, _ON_INTERRUPT)
    for number, output in enumerate(outputs, start=1):
        os.dup2(output, number)
        os.close(output)


def _told(request: bytes) -> list[str]:
    words, env, cwd = json.loads(request)
    os.chdir(cwd)
    sys.path[0] = cwd  # as of `python -m`
    os.environ.clear()
    os.environ.update(env)
    return words


def _main() -> None:
    """Import, fork, and in each fork be `zhenxian`, to the end of the interpreter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who asks ends it
    for name in _IMPORTED:
        importlib.import_module(name)
    sys.modules["zhenxian.analytics.areas"].mobile_cells()  # a table that is made once
    gc.collect()
    gc.freeze()
    words = _serve(socket.socket(fileno=int(sys.argv[1])))
    if words is not None:
        sys.argv = ["zhenxian", *words]
        sys.modules["zhenxian.cli"].main()


if __name__ == "__main__":
    _main()
