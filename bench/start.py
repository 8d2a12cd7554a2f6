"""How soon a service that is started answers its first call, and what memory its processes take.

    python -m bench.start --rounds 5

Started on all cores, as `zhenxian serve` with a registry of 10,000 holdings, which is more than
the demonstration has; a call is sent again and again from the first moment on, until one is
signed. Then calls of both kinds are made, so that caches and counts are in use, and each process's
resident set is read. Once for one process, once for two workers with their supervisor. Writes
build/bench-start.json; --update-docs puts it into the page.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from bench import services
from bench.machine import BenchError, Service, post, resident
from bench.table import Line, Measurement
from bench.world import World, make_world
from zhenxian.api.calls.messages import SIGNING, VERIFICATION

FIRST: Final = 1.5  # seconds to the first answered call, at most
WORKER: Final = 160.0  # MiB
SUPERVISOR: Final = 40.0
_ASK_EVERY: Final = 0.005  # seconds
_READY_WITHIN: Final = 30.0
_MIB: Final = 1024 * 1024
EACH: Final = (
    "Seconds by the clock from the start of the process to the answer of the first signing, asked"
    " for every 5 ms; files of the data folder but the registry's are made meanwhile.",
    "Processor time: of all processes until then.",
    "Memory: resident set by the kernel, shared pages of libraries included, after calls of both"
    " kinds; of workers the largest.",
)


class Started(Struct, frozen=True, kw_only=True):
    """One start.

    Attributes:
        processes: that answer calls.
        first: seconds until the first call was answered. cpu: seconds of processor until then.
        parent: MiB of the process that was started. workers: MiB of those it started.
    """

    processes: int
    first: float
    cpu: float
    parent: float
    workers: tuple[float, ...]


class _Asking:
    """Asks for a signature until there is one."""

    def __init__(self, world: World) -> None:
        self._body = services.signing_body(next(world.calls()), int(time.time()))
        self._began = 0.0
        self.first: float | None = None

    def begin(self, *_: object) -> None:
        self._began = time.perf_counter()

    def __call__(self, port: int) -> bool:
        while time.perf_counter() < self._began + _READY_WITHIN:
            try:
                status, _ = post(port, SIGNING, self._body, "application/json")
            except BenchError:  # nobody listens yet
                status = 0
            if status == 200:
                self.first = time.perf_counter() - self._began
                return True
            time.sleep(_ASK_EVERY)
        return False


def started(world: World, folder: Path, workers: int, calls: int) -> Started:
    """Start once, ask, look. Raises BenchError when a call is answered wrongly."""
    folder.mkdir()
    asking = _Asking(world)
    environment = {"ZHENXIAN_SERVER__WORKERS": str(workers)}
    with services.start_ours(
        world, None, folder, environment=environment, before=asking.begin, ready=asking
    ) as service:
        used = service.cpu_seconds()
        _use(service, world, calls)
        parent, *others = (resident(pid) / _MIB for pid in service.pids())
    if asking.first is None:
        raise BenchError("the first call was not answered")
    return Started(
        processes=workers, first=asking.first, cpu=used, parent=parent, workers=tuple(others)
    )


def _use(service: Service, world: World, calls: int) -> None:
    """Make so many calls of both kinds; each on a connection of its own reaches some worker."""
    now = int(time.time())
    for call, token in world.tokens(calls, now):
        for path, body, good in (
            (SIGNING, services.signing_body(call, now), b";info=<"),
            (VERIFICATION, services.verification_body(call, token, now), b"TN-Validation-Passed"),
        ):
            _, answer = post(service.port, path, body, "application/json")
            if good not in answer:
                raise BenchError(f"a wrong answer: {answer[:500]!r}")


def lines(found: Sequence[Started]) -> list[Line]:
    """The rows of the table."""
    made = []
    for processes in sorted({one.processes for one in found}):
        these = [one for one in found if one.processes == processes]
        who = "one process" if processes == 1 else f"{processes} workers"
        made.append(
            Line(
                figure=f"first call answered, {who}: seconds",
                found=tuple(one.first for one in these),
                goal=FIRST,
                beside=f"{min(one.cpu for one in these):.2f} s of processor time at least",
            )
        )
        parents = tuple(one.parent for one in these)
        if processes == 1:
            name = "memory of one process, with the command line: MiB"
            made.append(Line(figure=name, found=parents, goal=WORKER))
        else:
            largest = tuple(max(one.workers) for one in these)
            made.append(Line(figure="memory of a worker: MiB", found=largest, goal=WORKER))
            name = "memory of the supervisor: MiB"
            made.append(Line(figure=name, found=parents, goal=SUPERVISOR))
    return made


def _measure(given: argparse.Namespace) -> tuple[Sequence[Line], str, Any]:
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        with make_world(folder / "world") as world:
            found = [
                started(world, folder / f"{turn}-{workers}", workers, given.calls)
                for turn in range(given.rounds)
                for workers in (1, 2)
            ]
    how = f"{given.rounds} starts of each, {2 * given.calls:,} calls after each"
    return lines(found), how, found


MEASUREMENT: Final = Measurement(
    name="start", title="start, and memory of the processes", each=EACH, measure=_measure
)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1_000, help="of each kind, before memory")
    return MEASUREMENT.run(parser)


if __name__ == "__main__":
    raise SystemExit(main())
