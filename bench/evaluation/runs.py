"""All runs of the evaluation, one after another on one core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec import Struct, field

from bench.evaluation import parts, plan
from bench.evaluation.drive import SIDES, drive, steps
from bench.evaluation.score import Honest, Outcome, Scored, score
from displays import Measure, Policy
from gateway.simulation import Call, Kind, Scenario, Truth


class Found(Struct):
    """What runs of one sort found on one side; `honest` and `calls` have one element per seed."""

    outcomes: list[Outcome] = field(default_factory=list)
    honest: list[dict[Kind, Honest]] = field(default_factory=list)
    scores: list[tuple[Kind, float]] = field(default_factory=list)

    def add(self, scored: Scored) -> None:
        """Take in one run."""
        self.outcomes += scored.outcomes
        self.honest.append(scored.honest)
        self.scores += scored.scores

    def of(self, kind: Kind) -> list[Outcome]:
        """Operators of a kind."""
        return [outcome for outcome in self.outcomes if outcome.kind is kind]


Sides = dict[str, Found]


def _sides() -> Sides:
    return {side: Found() for side in SIDES}


class Results(Struct):
    """Everything that was driven; `calls` were, each once for each policy."""

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


def _into(
    sides: Sides, calls: list[Call], truth: list[Truth], policy: Policy, **more: bool
) -> None:
    made = steps(calls, bindings=more.pop("bindings", True))
    for name, side in drive(made, policy, **more).items():
        sides[name].add(score(calls, truth, name, side))


def _mix(seed: int, ablation: bool, curve: bool) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        calls, truth = plan.drawn(plan.mix(seed))
        results.calls += len(calls)
        found = _sides()
        _into(found, calls, truth, Policy())
        for name in SIDES:
            for into in (results.splits[1], *([results.reference] if ablation else [])):
                into[name].outcomes += found[name].outcomes
                into[name].honest += found[name].honest
        if ablation:
            for measure in Measure:
                _into(results.ablation[measure], calls, truth, plan.without(measure))
        if curve:
            _into(results.curve, calls, truth, plan.SENSITIVE, strongest=True)
        couriers = {row.id for row in truth if row.kind is Kind.COURIER}
        lent = [call for call in calls if call.subject in couriers]
        _into(results.unbound, lent, truth, Policy(), bindings=False)

    return run


def _split(scenario: Scenario, over: int, most: int | None = None) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        calls, truth = plan.drawn(scenario, most)
        results.calls += len(calls)
        found = _sides()
        _into(found, calls, truth, Policy())
        for name in SIDES:
            # Of the honest there are only carriers here, without their honest customers.
            results.splits[over][name].outcomes += found[name].outcomes

    return run


def _long(seed: int) -> Callable[[Results], None]:
    def run(results: Results) -> None:
        calls, truth = plan.drawn(plan.honest(seed, 3))
        results.calls += len(calls)
        _into(results.long, calls, truth, Policy())

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
