"""Calls go through the detector as the service would drive it; what it found comes out.

Nothing here knows what a caller is: a `Call` says what carriers on its way can see, and the truth
is not among the arguments.

The originating carrier judges access and subject, knows which privacy bindings are live, and is
told when calls end. The terminating one judges the token's signer and its SPC. Whoever knows a
binding also judges the agent whom it hides. Two carriers do not share a `Detector`, so each
side has its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics import Detector, Finding, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.core.tn import TN
from zhenxian.simulation.model import Call
from zhenxian.verifier.analytics import AS_USUAL, PooledVerifying

ORIGINATING, TERMINATING = "originating", "terminating"
SIDES = (ORIGINATING, TERMINATING)


class First(Struct, frozen=True):
    """When a key was first found pooled: by the call of this index, at this time."""

    index: int
    at: int
    measure: Measure


class Side(Struct):
    """What one carrier found.

    Attributes:
        first: by key.
        under: for each call, 1 when it began while one of its keys was pooled.
        strongest: of each key, the largest strength seen of what `fails`; empty unless asked for.
        failing: like `first`, of what `fails` only.
        failed: calls that began while one of their keys was pooled by something that `fails`, and
            by what.
    """

    first: dict[Key, First]
    under: bytearray
    strongest: dict[Key, float]
    failing: dict[Key, First] = {}
    failed: dict[int, Measure] = {}


class Step(Struct, frozen=True):
    """One call as both carriers observe it, and whose calls ended before it."""

    ended: tuple[tuple[tuple[Key, ...], int, Call], ...]
    originating: Observation | None
    terminating: Observation


def originating(call: Call) -> Observation | None:
    """As the first carrier sees it; None when it came in by no access of its customers."""
    if call.access is None or call.subject is None:
        return None
    keys = (Key(KeyKind.ACCESS, call.access), Key(KeyKind.SUBJECT, call.subject))
    behind = call.caller if call.bound else None
    return Observation(
        at=call.at, keys=keys + _agent(call, behind), display=call.display, callee=call.callee,
        bound=call.bound, hidden_caller=behind,
    )  # fmt: skip


def _agent(call: Call, behind: TN | None) -> tuple[Key, ...]:
    """Who calls behind a platform's number, where the binding tells."""
    return () if behind is None else (Key(KeyKind.AGENT, f"{call.subject}/{behind}"),)


def terminating(call: Call, *, bindings: bool = True) -> Observation:
    """As the last carrier sees it, which may or may not learn of the first one's bindings."""
    keys = (Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc))
    bound = call.bound and bindings
    behind = call.caller if bound else None
    return Observation(
        at=call.at, keys=keys + _agent(call, behind), display=call.display, callee=call.callee,
        origid=call.origid, bound=bound, hidden_caller=behind,
    )  # fmt: skip


def steps(calls: Iterable[Call], *, bindings: bool = True) -> list[Step]:
    """All calls in order of time, with the ends of earlier ones between them."""
    made: list[Step] = []
    running: list[tuple[int, int, tuple[Key, ...], Call]] = []
    for index, call in enumerate(calls):
        ended = []
        while running and running[0][0] <= call.at:
            at, _, keys, over = heappop(running)
            ended.append((keys, at, over))
        first = originating(call)
        if first is not None:
            # Whoever tells that a call ended knows access and subject, not who was behind it.
            heappush(running, (call.at + call.duration, index, first.keys[:2], call))
        made.append(Step(tuple(ended), first, terminating(call, bindings=bindings)))
    return made


def drive(made: Sequence[Step], policy: Policy, *, strongest: bool = False) -> dict[str, Side]:
    """Let two carriers with this policy observe the calls; nothing is refused, only noted."""
    here, there = Detector(policy), Detector(policy)
    sides = {side: Side({}, bytearray(len(made)), {}) for side in SIDES}
    one, other = sides[ORIGINATING], sides[TERMINATING]
    for index, step in enumerate(made):
        for keys, at, over in step.ended:
            met = here.met(over.display, over.callee, answered=over.answered)
            for key in keys:
                here.ended(key, at, met)
        if step.originating is not None:
            _one(here, one, index, step.originating, strongest)
        _one(there, other, index, step.terminating, strongest)
    for conduct, side in ((here, one), (there, other)):
        _late(conduct, side, [step.terminating.at for step in made])
    return sides


def _late(conduct: Detector, side: Side, times: list[int]) -> None:
    """Keys that another key's call had found, and that made no call since."""
    for found in conduct.standing(times[-1]) if times else ():
        if found.state is State.POOLED and found.key not in side.first:
            index = max(0, bisect_right(times, found.since) - 1)
            _note(side, found, index, found.since)


def _one(
    conduct: Detector, side: Side, index: int, observation: Observation, strongest: bool
) -> None:
    at, keys = observation.at, observation.keys
    for key in keys:
        found = conduct.finding(key, at)
        if found is not None and found.state is State.POOLED:
            _note(side, found, index, at)  # it may be another key's call that had it found
            if observation.bound and not _of_bindings(found):
                continue
            side.under[index] = 1
            measure = fails(found)
            if measure is not None:
                side.failed.setdefault(index, measure)
    conduct.observe(observation)
    for key in keys:
        found = conduct.finding(key, at)
        if found is None:
            continue
        if strongest and fails(found) is not None:
            side.strongest[key] = max(side.strongest.get(key, 0.0), found.strength)
        if found.state is State.POOLED:
            _note(side, found, index, at)


def _note(side: Side, found: Finding, index: int, at: int) -> None:
    """Keep when a key was first found, and when by something that fails calls."""
    key = found.key
    if key not in side.first:
        side.first[key] = First(index, at, found.measure)
    if key not in side.failing:
        measure = fails(found)
        if measure is not None:
            side.failing[key] = First(index, at, measure)


def _of_bindings(found: Finding) -> bool:
    """Only how bindings are used speaks against a call that a binding permits."""
    return found.key.kind is KeyKind.AGENT or Measure.BINDINGS in found.measures


def fails(found: Finding) -> Measure | None:
    """The measure for which a service refuses or fails calls with its defaults; None for none.

    Most SPCs that are found are labelled only, because of who else signs there.
    """
    if found.key.kind is not KeyKind.SPC:
        return found.measure
    if AS_USUAL.on(replace(found, state=State.POOLED)) is not PooledVerifying.FAIL:
        return None
    return next((one for one in found.measures if one is not Measure.ORIGIDS), None)
