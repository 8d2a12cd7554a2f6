"""Two workers, a node of a fleet on a real Redis, and a nation's registry, against one alone.

    python -m bench.many --seconds 3 --rounds 3

One process alone, also with a registry as large as a nation's (bench.nation), and the fleet's node
have a core, and are asked by wrk from another, on which Redis is, too. Two workers have both cores,
and wrk one of them beside: what counts is calls a second of the service's processor time, each run
against its neighbour alone. Writes build/bench-many.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from bench import load, services
from bench.load import Run
from bench.machine import BenchError, Cores, Service, choose_cores, post
from bench.measure import Contender
from bench.nation import Nation, make_nation
from bench.orders import redis_server
from bench.world import World, make_world
from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.service.sorted import LOOK_EVERY

FIRST_RATE: Final = 20_000  # more than any core answered so far
WARM_UP: Final = 4  # seconds: until nearly every access and signer was asked about
_SECONDS: Final = 120  # for a registry to be given to Redis
_KINDS: Final[dict[str, Callable[[Service, World], Contender]]] = {
    "sign": services.our_signing,
    "verify": services.our_verifying,
}
ALONE, WORKERS, FLEET, NATION = "alone", "two workers", "a fleet's node", "a nation's registry"
_SETTLING: Final = 60  # seconds for a large registry's holdings to be sorted


class Ratio(Struct, frozen=True):
    """Calls a second of processor time, against one process alone: one figure a round.

    Attributes:
        per_second: the median of what was answered, whoever else used the core.
    """

    kind: str
    way: str
    per_second: float
    ratios: tuple[float, ...]

    @property
    def cost(self) -> float:
        """Processor time of a call, against one process alone."""
        return 1 / median(self.ratios)


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
        if NATION in worlds:
            worlds[NATION] = stack.enter_context(make_nation(folder / "nation"))
        running = {
            way: stack.enter_context(_way(way, worlds[way], folder / str(place), cores.server))
            for place, way in enumerate(worlds)
        }
        if NATION in running:
            _settled(running[NATION], worlds[NATION], folder)
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
            alone = found.pop(ALONE)
            for way, runs in found.items():
                ratios = (
                    b.per_cpu_second / a.per_cpu_second for a, b in zip(alone, runs, strict=True)
                )
                made.append(Ratio(kind, way, median(r.per_second for r in runs), tuple(ratios)))
            per_second = median(run.per_second for run in alone)
            made.append(Ratio(kind, ALONE, per_second, (1.0,)))
    return made


def _settled(service: Service, nation: World, folder: Path) -> None:
    """Wait until the columns of the large registry are in use, and all signers known."""
    until = time.monotonic() + _SETTLING
    while not any(folder.glob("*/ours-*/data/*.sorted")):
        if time.monotonic() > until:
            raise BenchError("the holdings were not sorted")
        time.sleep(0.5)
    time.sleep(2 * LOOK_EVERY)
    if isinstance(nation, Nation):
        now = int(time.time())
        for call, token in nation.introductions(now):
            body = services.verification_body(call, token, now)
            _, answer = post(service.port, VERIFICATION, body, "application/json")
            if b'"TN-Validation-Passed"' not in answer:
                raise BenchError(f"a signer is not believed: {answer!r}")


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


def main() -> int:
    """Measure, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--ways", default=f"{WORKERS},{FLEET},{NATION}")
    given = parser.parse_args()
    try:
        made = measure(given.seconds, given.rounds, given.connections, tuple(given.ways.split(",")))
    except BenchError as error:
        sys.stderr.write(f"No measurement: {error}\n")
        return 3
    rows = [
        {
            "kind": one.kind,
            "way": one.way,
            "per_second": round(one.per_second),
            "cost": round(one.cost, 3),
            "ratios": [round(ratio, 3) for ratio in one.ratios],
        }
        for one in made
    ]
    build = Path("build")
    build.mkdir(exist_ok=True)
    (build / "bench-many.json").write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    for row in rows:
        print(json.dumps(row))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
