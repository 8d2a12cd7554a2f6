"""The load: wrk from Debian, the same way against every service, every answer looked at."""

from __future__ import annotations

import json
import resource
import time
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from bench.machine import LOOPBACK, BenchError, Cores, CoreUse, Service, output, pinned

SPARE_SECONDS: Final = 30  # on top of a run's length before wrk is given up
MAX_DISTURBED: Final = 0.08  # share of the server's core taken by others in a run that counts
MAX_GENERATOR: Final = 0.92  # above that the generator, not the service, may be the limit
ATTEMPTS: Final = 4  # runs tried before a service is given up

# Requests are complete bodies, one a line, read one at a time so that a large file costs no
# memory. wrk asks for one request before the run to see whether it is pipelined.
_SCRIPT: Final = """\
local bodies, last, threads = nil, nil, {}
requests_left = 1
wrong = 0
function setup(thread) table.insert(threads, thread) end
function init(args) bodies = assert(io.open(%(file)s, "r")) end
function request()
  local body = bodies:read("*l")
  if not body and %(cycle)s then bodies:seek("set", 0); body = bodies:read("*l") end
  if body then last = body else requests_left = 0; body = last end
  return "POST %(path)s HTTP/1.1\\r\\nHost: %(host)s\\r\\nContent-Type: %(kind)s\\r\\n"
    .. "Content-Length: " .. #body .. "\\r\\n\\r\\n" .. body
end
function response(status, headers, body)
  if status ~= 200 or not string.find(body, %(expect)s, 1, true) then wrong = wrong + 1 end
end
function done(summary, latency, requests)
  local wrong, exhausted = 0, false
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong")
    exhausted = exhausted or thread:get("requests_left") == 0
  end
  local e = summary.errors
  io.write(string.format(
    '\\nRESULT {"requests":%%d,"microseconds":%%d,"non_2xx":%%d,"socket_errors":%%d,'
      .. '"wrong":%%d,"exhausted":%%s,"p50_us":%%d,"p99_us":%%d}\\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    wrong, tostring(exhausted), latency:percentile(50), latency:percentile(99)))
end
"""


class Route(Struct, frozen=True):
    """What is sent to a service, and what a right answer holds.

    Attributes:
        expect: text that every right answer's body holds.
        cycle: whether the requests may be sent again when the file is at its end.
    """

    service: Service
    path: str
    kind: str
    expect: str
    cycle: bool


class _Counts(Struct):
    requests: int
    microseconds: int
    non_2xx: int
    socket_errors: int
    wrong: int
    exhausted: bool
    p50_us: int
    p99_us: int


class Run(Struct, frozen=True):
    """One run. Shares are of one core's time.

    Attributes:
        rejected: why the run does not count; None when it does.
    """

    service: str
    per_second: float
    requests: int
    seconds: float
    p50_us: int
    p99_us: int
    server_busy: float
    generator_busy: float
    others: float
    rejected: str | None

    @property
    def per_cpu_second(self) -> float:
        """Requests per second of processor time that the service used."""
        return self.per_second / self.server_busy


def run(
    route: Route, bodies: Path, script: Path, *, seconds: int, connections: int, cores: Cores
) -> Run:
    """Drive one service for that long with the requests in `bodies`; `script` is written.

    Raises:
        BenchError: wrk itself failed.
    """
    script.write_text(
        _SCRIPT
        % {
            "file": json.dumps(str(bodies)),
            "cycle": "true" if route.cycle else "false",
            "path": route.path,
            "host": f"{LOOPBACK}:{route.service.port}",
            "kind": route.kind,
            "expect": json.dumps(route.expect),
        },
        "utf-8",
    )
    url = f"http://{LOOPBACK}:{route.service.port}{route.path}"
    command = ["wrk", "--threads", "1", "--connections", str(connections)]
    command += ["--duration", f"{seconds}s", "--timeout", "5s", "--script", str(script), url]
    server, core, began = route.service.cpu_seconds(), CoreUse.read(cores.server), time.monotonic()
    generator = _children_seconds()
    text = output(pinned(cores.load, command), seconds + SPARE_SECONDS)
    elapsed = time.monotonic() - began
    generator = _children_seconds() - generator
    server = route.service.cpu_seconds() - server
    core_after = CoreUse.read(cores.server)
    line = next((line for line in text.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        raise BenchError(f"wrk gave no result:\n{text[-1500:]}")
    counts = msgspec.json.decode(line.removeprefix("RESULT "), type=_Counts)
    others = max(0.0, core_after.busy - core.busy - server) + core_after.stolen - core.stolen
    return Run(
        route.service.name,
        counts.requests * 1e6 / counts.microseconds,
        counts.requests,
        counts.microseconds / 1e6,
        counts.p50_us,
        counts.p99_us,
        server / elapsed,
        generator / elapsed,
        others / elapsed,
        _rejected(counts, others / elapsed),
    )


def _rejected(counts: _Counts, others: float) -> str | None:
    if counts.non_2xx or counts.wrong:
        return f"{counts.non_2xx} answers were not 2xx, {counts.wrong} were not the right ones"
    if counts.socket_errors:
        return f"{counts.socket_errors} socket errors"
    if counts.exhausted:
        return "the prepared requests ran out"
    if others > MAX_DISTURBED:
        return f"other processes took {others:.0%} of the server's core"
    return None


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
