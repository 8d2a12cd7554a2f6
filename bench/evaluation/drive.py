"""Calls go through the detector as the service would drive it; what it found comes out.

Nothing here knows what a caller is: a `Call` says what carriers on its way can see, and the truth
is not among the arguments.

The originating carrier judges access and subject, knows which privacy bindings are live, and is
told when calls end. The terminating one judges the token's signer and its SPC. Two carriers do not
share a `Conduct`, so each side has its own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush

from msgspec import Struct

from displays import Conduct, Key, KeyKind, Measure, Observation, Policy, State
from gateway.simulation.model import Call

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
        strongest: of each key, the largest strength seen; empty unless asked for.
    """

    first: dict[Key, First]
    under: bytearray
    strongest: dict[Key, float]


class Step(Struct, frozen=True):
    """One call as both carriers observe it, and whose calls ended before it."""

    ended: tuple[tuple[tuple[Key, ...], int], ...]
    originating: Observation | None
    terminating: Observation


def originating(call: Call) -> Observation | None:
    """As the first carrier sees it; None when it came in by no access of its customers."""
    if call.access is None or call.subject is None:
        return None
    keys = (Key(KeyKind.ACCESS, call.access), Key(KeyKind.SUBJECT, call.subject))
    return Observation(call.at, keys, call.display, call.callee, bound=call.bound)


def terminating(call: Call, *, bindings: bool = True) -> Observation:
    """As the last carrier sees it, which may or may not learn of the first one's bindings."""
    keys = (Key(KeyKind.SIGNER, f"{call.spc}/{call.origid}"), Key(KeyKind.SPC, call.spc))
    bound = call.bound and bindings
    return Observation(call.at, keys, call.display, call.callee, call.origid, bound)


def steps(calls: Iterable[Call], *, bindings: bool = True) -> list[Step]:
    """All calls in order of time, with the ends of earlier ones between them."""
    made: list[Step] = []
    running: list[tuple[int, int, tuple[Key, ...]]] = []
    for index, call in enumerate(calls):
        ended = []
        while running and running[0][0] <= call.at:
            at, _, keys = heappop(running)
            ended.append((keys, at))
        first = originating(call)
        if first is not None:
            heappush(running, (call.at + call.duration, index, first.keys))
        made.append(Step(tuple(ended), first, terminating(call, bindings=bindings)))
    return made


def drive(made: Sequence[Step], policy: Policy, *, strongest: bool = False) -> dict[str, Side]:
    """Let two carriers with this policy observe the calls; nothing is refused, only noted."""
    here, there = Conduct(policy), Conduct(policy)
    sides = {side: Side({}, bytearray(len(made)), {}) for side in SIDES}
    one, other = sides[ORIGINATING], sides[TERMINATING]
    for index, step in enumerate(made):
        for keys, at in step.ended:
            for key in keys:
                here.ended(key, at)
        if step.originating is not None:
            _one(here, one, index, step.originating, strongest)
        _one(there, other, index, step.terminating, strongest)
    for conduct, side in ((here, one), (there, other)):
        _late(conduct, side, [step.terminating.at for step in made])
    return sides


def _late(conduct: Conduct, side: Side, times: list[int]) -> None:
    """Keys that another key's call had found, and that made no call since."""
    for found in conduct.standing(times[-1]) if times else ():
        if found.state is State.POOLED and found.key not in side.first:
            index = max(0, bisect_right(times, found.since) - 1)
            side.first[found.key] = First(index, found.since, found.measure)


def _one(
    conduct: Conduct, side: Side, index: int, observation: Observation, strongest: bool
) -> None:
    at, keys = observation.at, observation.keys
    for key in keys:
        found = conduct.finding(key, at)
        if found is not None and found.state is State.POOLED:
            side.under[index] = 1
            if key not in side.first:  # another key's call had it found
                side.first[key] = First(index, at, found.measure)
    conduct.observe(observation)
    for key in keys:
        found = conduct.finding(key, at)
        if found is None:
            continue
        if strongest:
            side.strongest[key] = max(side.strongest.get(key, 0.0), found.strength)
        if found.state is State.POOLED and key not in side.first:
            side.first[key] = First(index, at, found.measure)
