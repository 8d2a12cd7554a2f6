"""Two workers, a node of a fleet on a real Redis, and a nation's registry, against one alone.

    python -m bench.many --seconds 3 --rounds 3

One process alone, also with a registry as large as a nation's (bench.nation), and the fleet's node
have a core, and are asked by wrk from another, on which Redis is, too. Two workers have both cores,
and wrk one of them beside: what counts is calls a second of the service's processor time, each run
against its neighbour alone. Writes build/bench-many.json; --update-docs puts it into the page.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from msgspec import Struct

from bench import load, services
from bench.load import Run
from bench.machine import BenchError, Cores, Service, choose_cores
from bench.measure import Contender
from bench.nation import make_nation, settled
from bench.orders import redis_server
from bench.table import Line, Measurement
from bench.world import World, make_world

FIRST_RATE: Final = 20_000  # more than any core answered so far
WARM_UP: Final = 4  # seconds: until nearly every access and signer was asked about
_SECONDS: Final = 120  # for a registry to be given to Redis
_KINDS: Final[dict[str, Callable[[Service, World], Contender]]] = {
    "sign": services.our_signing,
    "verify": services.our_verifying,
}
ALONE, WORKERS, FLEET, NATION = "alone", "two workers", "a fleet's node", "a nation's registry"
GOALS: Final = {
    # processor time of a call, at most
    ("sign", WORKERS): 1.1,
    ("verify", WORKERS): 1.15,
    # calls a second of processor time, at least
    ("verify", FLEET): 0.65,
    ("sign", NATION): 0.9,
    ("verify", NATION): 0.9,
}
EACH: Final = (
    "Each service answers the same requests over HTTP, everything counted, with the replay store"
    " that goes with it: memory, the workers' file, Redis.",
    "One process, a fleet's node and a nation's registry have one core, wrk (and Redis) the other;"
    " two workers have both, wrk beside them.",
    "Ratios are of calls a second of the service's own processor time (workers with their"
    " supervisor; a node without Redis), each run against one alone in the same round.",
    "One alone, two workers, the node: one access, 10,000 numbers, one signer. A nation's registry:"
    " 10,000 accesses, 1 million holdings, random numbers, 1,000 signers.",
)


class Ratio(Struct, frozen=True):
    """Calls a second of processor time, against one process alone: one figure a round.

    Attributes:
        per_second: the median of what was answered, whoever else used the core.
    """

    kind: str
    way: str
    per_second: float
    ratios: tuple[float, ...]

    def line(self) -> Line:
        """Of the table: of workers what a call costs, of others how many calls are answered."""
        cost = self.way == WORKERS
        what = "processor time of a call" if cost else "calls a second of processor time"
        alone = self.way == ALONE
        return Line(
            figure=f"{self.kind}, {self.way}" + ("" if alone else f": {what} / one alone"),
            found=tuple(1 / ratio for ratio in self.ratios) if cost else self.ratios,
            goal=GOALS.get((self.kind, self.way)),
            least=not cost,
            beside=f"{self.per_second:,.0f} calls/s by the clock",
        )


@contextlib.contextmanager
def _way(way: str, world: World, folder: Path, core: int) -> Iterator[Service]:
    """A service of that kind."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        environment = {}
        if way == WORKERS:
            environment = {"ZHENXIAN_SERVER__WORKERS": "2"}
        elif way == FLEET:
            environment = {"ZHENXIAN_FLEET__URL": stack.enter_context(redis_server(folder))}
        started = services.start_ours(
            world,
            None if way == WORKERS else core,
            folder,
            environment=environment,
            before=_seeded if way == FLEET else None,
        )
        yield stack.enter_context(started)


def _seeded(settings: Path, environment: dict[str, str]) -> None:
    """Give the registry to Redis, from which nodes have it."""
    command = [str(Path(sys.executable).with_name("zhenxian")), "fleet", "seed", "-c"]
    done = subprocess.run(
        [*command, str(settings)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"the registry was not given to Redis: {done.stdout}{done.stderr}")


def measure(seconds: int, rounds: int, connections: int, ways: tuple[str, ...]) -> list[Ratio]:
    """All kinds of calls on all kinds of services. Raises BenchError."""
    cores = choose_cores()
    made = []
    with tempfile.TemporaryDirectory(prefix="bench-many-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        world = stack.enter_context(make_world(folder / "world"))
        worlds: dict[str, World] = dict.fromkeys((ALONE, *ways), world)
        nation = None
        if NATION in worlds:
            nation = worlds[NATION] = stack.enter_context(make_nation(folder / "nation"))
        running = {
            way: stack.enter_context(_way(way, worlds[way], folder / str(place), cores.server))
            for place, way in enumerate(worlds)
        }
        if nation is not None:
            settled(running[NATION], nation, folder / str([*worlds].index(NATION)))
        for kind, contender in _KINDS.items():
            found: dict[str, list[Run]] = {way: [] for way in running}
            for turn in range(rounds + 1):
                for way, service in running.items():
                    asked = contender(service, worlds[way])
                    run = _run(asked, folder, seconds if turn else WARM_UP, connections, cores)
                    if not turn:
                        continue  # the first warms up, and fetches certificates
                    if run.rejected is not None and "took" not in run.rejected:
                        raise BenchError(f"{way}: {run.rejected}")
                    found[way].append(run)
            alone = found[ALONE]
            for way, runs in found.items():
                ratios = (
                    b.per_cpu_second / a.per_cpu_second for a, b in zip(alone, runs, strict=True)
                )
                made.append(Ratio(kind, way, median(r.per_second for r in runs), tuple(ratios)))
    return made


def _run(contender: Contender, folder: Path, seconds: int, connections: int, cores: Cores) -> Run:
    bodies = folder / "bodies.jsonl"
    contender.prepare(bodies, FIRST_RATE * seconds)
    return load.run(
        contender.route,
        bodies,
        folder / "wrk.lua",
        seconds=seconds,
        connections=connections,
        cores=cores,
    )


def _lines(given: argparse.Namespace) -> tuple[Sequence[Line], str, Any]:
    made = measure(given.seconds, given.rounds, given.connections, tuple(given.ways.split(",")))
    how = f"{given.rounds} rounds of {given.seconds} s, {given.connections} connections"
    return [one.line() for one in made], how, made


MEASUREMENT: Final = Measurement(
    name="many",
    title="against one process alone",
    each=EACH,
    measure=_lines,
)


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--ways", default=f"{WORKERS},{FLEET},{NATION}")
    return MEASUREMENT.run(parser)


if __name__ == "__main__":
    raise SystemExit(main())
