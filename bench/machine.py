"""The machine that is measured on: its tools, its cores, the processes that run on them.

Linux only: cores and their use are read from /proc.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib.metadata
import itertools
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from cryptography.hazmat.backends.openssl import backend
from msgspec import Struct

from zhenxian.passport.es256 import Choice, available

LOOPBACK: Final = "127.0.0.1"
PACKAGES: Final = {
    "secsipidx": "secsipidx",
    "wrk": "wrk",
    "openssl": "openssl",
    "taskset": "util-linux",
}
START_SECONDS: Final = 30.0  # a service that does not answer by then will not
STOP_SECONDS: Final = 15.0  # after that a service is killed
LAST_WORDS: Final = 1500  # characters of a log that an error quotes
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PORTS: Final = range(30_000, 32_700)
# Processes beside each other begin elsewhere.
_ports: Final = itertools.islice(itertools.cycle(_PORTS), os.getpid() * 97 % len(_PORTS), None)


class BenchError(Exception):
    """The measurement cannot be made; the text says why and what to do."""


class Cores(Struct, frozen=True):
    """The core services run on, and the core the load comes from."""

    server: int
    load: int


def missing_tools() -> str | None:
    """The command that installs what is missing, or None."""
    packages = sorted({p for tool, p in PACKAGES.items() if shutil.which(tool) is None})
    return f"sudo apt-get install -y {' '.join(packages)}" if packages else None


def choose_cores() -> Cores:
    """Two cores of those this process may use. Raises BenchError when there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise BenchError(
            "two CPU cores are needed: one for the service, one for the load generator"
        )
    return Cores(server=usable[-1], load=usable[0])


def pinned(core: int, command: Sequence[str]) -> list[str]:
    """The command, to be run on that core alone."""
    return ["taskset", "--cpu-list", str(core), *command]


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on now.

    None that the kernel gives to connections: one of them could take it before its server does,
    or while the server is being restarted. Raises BenchError when there is none.
    """
    for port in itertools.islice(_ports, len(_PORTS)):
        with contextlib.suppress(OSError), socket.create_server((LOOPBACK, port)):
            return port
    raise BenchError("no port is free")


def listens(port: int) -> bool:
    """True when somebody takes connections to that port of the loopback address."""
    with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), 1):
        return True
    return False


class Service:
    """A server process on one core, or on any. Stopped by its own pid, its children by theirs."""

    def __init__(
        self,
        name: str,
        port: int,
        *,
        core: int | None,
        command: Sequence[str],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.name = name
        self.port = port
        self._command = list(command) if core is None else pinned(core, command)
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    def start(self, log: Path, ready: Callable[[], bool]) -> Self:
        """Start, and wait until `ready`.

        Standard output is thrown away; standard error, where ours logs calls, goes to the file.

        Raises:
            BenchError: it ended, or was not ready in time; holds the end of its log.
        """
        self._log = log
        with log.open("wb") as errors:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=log.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if ready():
                return self
            time.sleep(0.05)
        self.stop()
        raise BenchError(
            f"{self.name} did not start: {' '.join(self._command)}\n{self._last_words()}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        ended = self._process is not None and self._process.poll() is not None
        self.stop()
        if ended and isinstance(error, BenchError):
            raise BenchError(f"{error}\n{self.name} ended by itself:\n{self._last_words()}")

    @property
    def pid(self) -> int:
        """Process id."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def stop(self) -> None:
        """Ask it to end, then make it end."""
        if self._process is None or self._process.poll() is not None:
            return
        family = _descendants(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_SECONDS)
        for pid, started in family:
            if _started(pid) == started:
                os.kill(pid, signal.SIGKILL)

    def _last_words(self) -> str:
        if self._log is None:
            return ""
        return self._log.read_text("utf-8", "replace")[-LAST_WORDS:].strip()

    def cpu_seconds(self) -> float:
        """Processor time used so far by the process and its children."""
        return sum(_cpu_seconds(pid) for pid in self.pids())

    def pids(self) -> list[int]:
        """Its own, then those of its descendants."""
        return [self.pid, *(pid for pid, _ in _descendants(self.pid))]


def resident(pid: int) -> int:
    """Octets of a process that are in memory now. Raises BenchError when it is gone."""
    try:
        text = Path(f"/proc/{pid}/statm").read_text("ascii")
    except OSError as error:
        raise BenchError(f"process {pid}: {error}") from None
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def _started(pid: int) -> str | None:
    fields = _stat(pid)
    return fields[19] if fields else None


def _cpu_seconds(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / _TICKS if fields else 0.0


def _descendants(pid: int) -> list[tuple[int, str | None]]:
    """Pids with their start times, so that a pid given to another process is not mistaken."""
    found: list[tuple[int, str | None]] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            names = children.read_text("ascii").split()
        except OSError:
            continue
        for name in names:
            found.append((int(name), _started(int(name))))
            found.extend(_descendants(int(name)))
    return found


class CoreUse(Struct, frozen=True):
    """What a core has done since the machine started, seconds."""

    busy: float
    stolen: float

    @classmethod
    def read(cls, core: int) -> CoreUse:
        """Now. Time in interrupts is left out: on loopback it is the service's own traffic."""
        for line in Path("/proc/stat").read_text("ascii").splitlines():
            fields = line.split()
            if fields[0] == f"cpu{core}":
                user, nice, system, _idle, _iowait, _irq, _softirq, steal = map(int, fields[1:9])
                return cls((user + nice + system) / _TICKS, steal / _TICKS)
        raise BenchError(f"core {core} is not in /proc/stat")


def answers(port: int, path: str, expected: int) -> bool:
    """True when GET of the path on loopback answers with that status."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == expected
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def post(port: int, path: str, body: bytes, kind: str) -> tuple[int, bytes]:
    """POST on loopback: status and body. Raises BenchError when there is no answer."""
    return send(port, "POST", path, body, kind)


def send(
    port: int, method: str, path: str, body: bytes, kind: str, timeout: float = 10
) -> tuple[int, bytes]:
    """A request on loopback: status and body. Raises BenchError when there is no answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Content-Type": kind})
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{method} {path} to port {port}: {error}") from None
    finally:
        connection.close()


def output(
    command: Sequence[str],
    seconds: float = 60,
    *,
    good: tuple[int, ...] = (0,),
    errors_too: bool = False,
) -> str:
    """Standard output of a command, on request with standard error. Raises BenchError."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(command)}: {error}") from None
    if done.returncode not in good:
        said = (done.stdout + done.stderr)[-1500:]
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}\n{said}")
    return done.stdout + done.stderr if errors_too else done.stdout


def processor() -> str:
    """The processor's name."""
    name = re.search(
        r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
    )
    return name[1] if name else platform.processor()


def facts(cores: Cores) -> dict[str, object]:
    """Processor, kernel and versions, for whoever compares two runs."""
    packages = ["cryptography", "pyjwt", "fastapi", "uvicorn", "uvloop", "httptools", "msgspec"]
    packages += ["awscrt"] if available(Choice.AWS_LC) else []
    return {
        "cpu": processor(),
        "cpus": os.cpu_count(),
        "server_core": cores.server,
        "load_core": cores.load,
        "load_average": os.getloadavg(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "cryptography_openssl": backend.openssl_version_text(),
        "openssl": output(["openssl", "version"]).strip(),
        "secsipidx": output(["secsipidx", "-version"], good=(0, 1), errors_too=True).strip(),
        "wrk": output(["wrk", "-v"], good=(0, 1), errors_too=True)
        .splitlines()[0]
        .partition(" Copyright")[0],
    }
