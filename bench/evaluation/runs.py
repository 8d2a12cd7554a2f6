"""All runs of the evaluation, one after another on one core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct, field

from bench.evaluation import parts, plan
from bench.evaluation.drive import SIDES, Step, drive, steps
from bench.evaluation.score import Counts, Honest, Outcome, Scored, Unit, score
from zhenxian.analytics import Measure, Policy
from zhenxian.simulation import Call, Kind, Scenario, Truth


class Found(Struct):
    """What runs of one sort found on one side; `honest` and `calls` have one element per seed."""

    outcomes: list[Outcome] = field(default_factory=list)
    honest: list[Counts] = field(default_factory=list)
    scores: list[tuple[Kind, float]] = field(default_factory=list)

    def add(self, scored: Scored) -> None:
        """Take in one run."""
        self.outcomes += scored.outcomes
        self.honest.append(scored.honest)
        self.scores += scored.scores

    def of(self, kind: Kind) -> list[Outcome]:
        """Operators of a kind."""
        return [outcome for outcome in self.outcomes if outcome.kind is kind]

    def counted(self, unit: Unit) -> list[dict[Kind, Honest]]:
        """The honest in one unit, one element per seed."""
        return [counts[unit] for counts in self.honest]


Sides = dict[str, Found]


def _sides() -> Sides:
    return {side: Found() for side in SIDES}


class Results(Struct):
    """Everything that was driven; `calls` were, each once for each policy.

    Attributes:
        unbound: those who call through bindings, where the terminating carrier knows of none; one
            element for each of `splits[1]` that has honest callers.
    """

    splits: dict[int, Sides] = field(default_factory=lambda: {n: _sides() for n in plan.SPLITS})
    reference: Sides = field(default_factory=_sides)
    ablation: dict[Measure, Sides] = field(
        default_factory=lambda: {measure: _sides() for measure in Measure}
    )
    curve: Sides = field(default_factory=_sides)
    long: Sides = field(default_factory=_sides)
    unbound: Sides = field(default_factory=_sides)
    parts: list[dict[Kind, parts.Stopped]] = field(default_factory=list)
    whole: dict[bool, list[dict[Kind, Counter[tuple[str, str]]]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    calls: int = 0


class Work(Struct, frozen=True):
    """One piece of work."""

    name: str
    run: Callable[[Results], None]


def work(size: plan.Size) -> Iterator[Work]:
    """All pieces, in the order in which they are best done."""
    seeds = list(plan.EVALUATION)
    for number, seed in enumerate(seeds[: size.seeds]):
        yield Work(
            f"seed {seed}",
            _mix(seed, number < size.ablation, number < size.curve)
            if number < size.honest
            else _split(plan.dishonest(seed), 1),
        )
        for over in plan.SPLITS[1:] if number < size.split else ():
            yield Work(f"seed {seed}, split over {over}", _split(plan.split(seed, over), over))
    for number, seed in enumerate(seeds[: size.robots]):
        for over in plan.SPLITS if number < size.split else (1,):
            scenario = plan.robots(seed, over)
            yield Work(f"robot {seed}, split over {over}", _split(scenario, over, plan.ROBOT_CALLS))
    for seed in seeds[: size.parts]:
        yield Work(f"registry and verifier, seed {seed}", _parts(seed))
    for seed in seeds[: size.whole]:
        for exempted in (False, True):
            yield Work(f"whole service, seed {seed}", _whole(seed, exempted))
    for seed in seeds[: size.long]:
        yield Work(f"honest, three days, seed {seed}", _long(seed))


class _Drawn(Struct):
    """Calls as they are driven, and apart from them what they are scored with."""

    calls: list[Call]
    truth: list[Truth]
    made: list[Step]


def _drawn(scenario: Scenario, most: int | None = None) -> _Drawn:
    calls, truth = plan.drawn(scenario, most)
    return _Drawn(calls, truth, steps(calls))


def _into(sides: Sides, drawn: _Drawn, policy: Policy, *, strongest: bool = False) -> None:
    for name, side in drive(drawn.made, policy, strongest=strongest).items():
        sides[name].add(score(drawn.calls, drawn.truth, name, side))


def _mix(seed: int, ablation: bool, curve: bool) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        drawn = _drawn(plan.mix(seed))
        results.calls += len(drawn.calls)
        found = _sides()
        _into(found, drawn, plan.ALONE)
        for name in SIDES:
            for into in (results.splits[1], *([results.reference] if ablation else [])):
                into[name].outcomes += found[name].outcomes
                into[name].honest += found[name].honest
        if ablation:
            for measure in Measure:
                _into(results.ablation[measure], drawn, plan.without(measure))
        if curve:
            _into(results.curve, drawn, plan.SENSITIVE, strongest=True)
        lent = [call for call in drawn.calls if call.bound]
        platforms = [row for row in drawn.truth if row.kind in plan.PLATFORMS]
        _into(results.unbound, _Drawn(lent, platforms, steps(lent, bindings=False)), plan.ALONE)

    return run


def _split(scenario: Scenario, over: int, most: int | None = None) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        drawn = _drawn(scenario, most)
        results.calls += len(drawn.calls)
        found = _sides()
        _into(found, drawn, plan.ALONE)
        for name in SIDES:
            # Of the honest there are only carriers here, without their honest customers.
            results.splits[over][name].outcomes += found[name].outcomes

    return run


def _long(seed: int) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        drawn = _drawn(plan.honest(seed, 3))
        results.calls += len(drawn.calls)
        _into(results.long, drawn, plan.ALONE)

    return run


def _parts(seed: int) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        with TemporaryDirectory(prefix="zhenxian-eval-") as folder:
            found = parts.drive(seed, Path(folder) / "service")
        results.calls += sum(stopped.calls for stopped in found.values())
        results.parts.append(found)

    return run


def _whole(seed: int, exempted: bool) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        with TemporaryDirectory(prefix="zhenxian-eval-") as folder:
            found = parts.whole(seed, Path(folder) / "service", exempted=exempted)
        results.calls += sum(sum(counts.values()) for counts in found.values())
        results.whole[exempted].append(found)

    return run
