"""Comparing: two services or two loops in alternation, pair by pair, medians at the end.

A machine that others use too slows both sides alike only within a short time, so that what is
reported is the ratio of neighbours, never of two averages taken minutes apart.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

from bench import load
from bench.load import Route, Run
from bench.machine import BenchError, Cores, output, pinned

SPARE: Final = 1.5  # prepared requests per expected one
FIRST_RATE: Final = 12_000  # requests a second assumed before the warm-up has shown the rate
WARM_UP_SECONDS: Final = 2
PAUSE: Final = 3.0  # seconds before a rejected run is repeated: others may be done by then


class Figure(Struct, frozen=True):
    """What is promised: the name of a ratio, and the least it is to be; None for no promise."""

    key: str
    title: str
    goal: float | None


class Comparison(Struct, frozen=True):
    """The outcome of one comparison; `ratios` are ours over theirs, one a round.

    Attributes:
        cpu_ratios: the same per second of processor time that the services used, which other
            processes on the core disturb less.
        warnings: what a reader should know before trusting the figures.
    """

    key: str
    title: str
    peer: str
    goal: float | None
    ours_per_second: float
    peer_per_second: float
    ratios: tuple[float, ...]
    cpu_ratios: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()
    rounds: tuple[object, ...] = ()

    @property
    def ratio(self) -> float:
        """The median of the pairwise ratios."""
        return median(self.ratios)

    @property
    def reached(self) -> bool:
        """Whether the median meets the goal."""
        return self.goal is None or self.ratio >= self.goal


class Contender(Struct, frozen=True):
    """A service's route, and who writes its requests: a file, and how many are wanted."""

    route: Route
    prepare: Callable[[Path, int], None]


class Driver:
    """Runs the load against contenders and keeps count of how fast each one is."""

    def __init__(
        self,
        folder: Path,
        cores: Cores,
        *,
        seconds: int,
        connections: int,
        tell: Callable[[str], None],
    ) -> None:
        self._folder = folder
        self._cores = cores
        self._seconds = seconds
        self._connections = connections
        self._tell = tell
        self._rates: dict[tuple[str, str], float] = {}

    def warm_up(self, contender: Contender) -> None:
        """Fill caches and learn the rate. Raises BenchError when answers are wrong."""
        for _ in range(load.ATTEMPTS):
            run = self._run(contender, WARM_UP_SECONDS)
            if run.rejected is None or run.rejected.startswith(("other", "the prepared")):
                return
        raise BenchError(f"{contender.route.service.name}: {run.rejected}")

    def once(self, contender: Contender) -> tuple[Run, list[Run]]:
        """One run that counts, and the rejected ones before it.

        A run that other processes disturbed is repeated; when all were disturbed, the least
        disturbed one is taken, still marked.

        Raises:
            BenchError: wrong answers, socket errors or exhausted requests every time.
        """
        rejected: list[Run] = []
        for _ in range(load.ATTEMPTS):
            run = self._run(contender, self._seconds)
            if run.rejected is None:
                return run, rejected
            self._tell(f"{run.service}: run again, {run.rejected}")
            rejected.append(run)
            time.sleep(PAUSE)
        disturbed = [r for r in rejected if r.rejected and r.rejected.startswith("other")]
        if not disturbed:
            raise BenchError(f"{contender.route.service.name}: {rejected[-1].rejected}")
        calmest = min(disturbed, key=lambda r: r.others)
        rejected.remove(calmest)
        return calmest, rejected

    def _run(self, contender: Contender, seconds: int) -> Run:
        route = contender.route
        key = (route.service.name, route.path)
        count = int(self._rates.get(key, FIRST_RATE) * seconds * SPARE) + 4 * self._connections
        bodies = self._folder / "bodies.txt"
        contender.prepare(bodies, 20_000 if route.cycle else count)
        run = load.run(
            route,
            bodies,
            self._folder / "load.lua",
            seconds=seconds,
            connections=self._connections,
            cores=self._cores,
        )
        self._rates[key] = max(run.per_second, self._rates.get(key, 0.0))
        return run


def compare_services(
    figure: Figure,
    driver: Driver,
    ours: Contender,
    peer: Contender,
    *,
    rounds: int,
    advance: Callable[[], None],
) -> Comparison:
    """Alternate both: ours first in one round, theirs first in the next."""
    for contender in (ours, peer):
        driver.warm_up(contender)
        advance()
    pairs: list[tuple[Run, Run]] = []
    details: list[object] = []
    for number in range(rounds):
        order = (ours, peer) if number % 2 == 0 else (peer, ours)
        runs: dict[bool, Run] = {}
        for contender in order:
            run, rejected = driver.once(contender)
            runs[contender is ours] = run
            details += [*rejected, run]
            advance()
        pairs.append((runs[True], runs[False]))
    return Comparison(
        figure.key,
        figure.title,
        peer.route.service.name,
        figure.goal,
        median(o.per_second for o, _ in pairs),
        median(p.per_second for _, p in pairs),
        tuple(_ratio(o, p) for o, p in pairs),
        tuple(o.per_cpu_second / p.per_cpu_second for o, p in pairs),
        _warnings(pairs),
        tuple(details),
    )


def _ratio(ours: Run, theirs: Run) -> float:
    """By the clock; per second of processor time where one of the two was disturbed."""
    if ours.rejected is None and theirs.rejected is None:
        return ours.per_second / theirs.per_second
    return ours.per_cpu_second / theirs.per_cpu_second


def _warnings(pairs: Sequence[tuple[Run, Run]]) -> tuple[str, ...]:
    runs = [run for pair in pairs for run in pair]
    warnings = []
    disturbed = sum(run.rejected is not None for run in runs)
    if disturbed:
        warnings.append(
            f"{disturbed} of {len(runs)} runs shared the core with other processes; the machine"
            " was not calm; their pairs are compared per second of processor time"
        )
    limited = {run.service for run in runs if run.generator_busy > load.MAX_GENERATOR}
    warnings += [
        f"the load generator may have been the limit of {name}" for name in sorted(limited)
    ]
    idle = {run.service for run in runs if run.server_busy + run.others < 0.85}
    warnings += [
        f"{name} did not use its core fully: more --connections may raise its figure"
        for name in sorted(idle)
    ]
    return tuple(warnings)


class Speed(Struct, frozen=True):
    """Operations a second."""

    sign: float
    verify: float


_OPERATIONS = re.compile(r"^\+R\d+:(\d+):256:([\d.]+)$", re.MULTILINE)


def openssl_speed(core: int, seconds: int) -> Speed:
    """`openssl speed ecdsap256` of Debian's OpenSSL. Raises BenchError."""
    command = ["openssl", "speed", "-seconds", str(seconds), "-mr", "ecdsap256"]
    text = output(pinned(core, command), 4 * seconds + 30, errors_too=True)
    found = _OPERATIONS.findall(text)
    if len(found) != 2:
        raise BenchError(f"openssl speed printed something unknown:\n{text[-800:]}")
    return Speed(*(int(count) / float(time) for count, time in found))


def compare_in_process(
    figures: tuple[Figure, Figure],
    ours: Callable[[], Speed],
    limit: Callable[[], Speed],
    *,
    rounds: int,
    advance: Callable[[], None],
) -> tuple[Comparison, Comparison]:
    """Alternate our signing and verifying loops with the limit's."""
    own: list[Speed] = []
    limits: list[Speed] = []
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which == 0:
                own.append(ours())
            else:
                limits.append(limit())
            advance()
    signing, verifying = figures
    sign = [(o.sign, s.sign) for o, s in zip(own, limits, strict=True)]
    verify = [(o.verify, s.verify) for o, s in zip(own, limits, strict=True)]
    return _against_limit(signing, sign), _against_limit(verifying, verify)


def _against_limit(figure: Figure, pairs: list[tuple[float, float]]) -> Comparison:
    return Comparison(
        figure.key,
        figure.title,
        "openssl speed",
        figure.goal,
        median(ours for ours, _ in pairs),
        median(limit for _, limit in pairs),
        tuple(ours / limit for ours, limit in pairs),
        rounds=tuple({"ours": ours, "openssl": limit} for ours, limit in pairs),
    )
