"""Each kind of caller by itself: what becomes of how many, on which side, at which of their calls.

A caller is drawn, driven through a detector of its own on each side, and written as one line; the
figures are of callers, never of a population. Lines that are there already are not made again, so
that a long evaluation goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from random import Random

from msgspec import Struct

from zhenxian.analytics import Detector, Finding, Key, KeyKind, Observation, Policy, State
from zhenxian.core.tn import TN
from zhenxian.simulation.businesses import HONEST, maker
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Talk
from zhenxian.simulation.rackets import DISHONEST

SIGNING, VERIFYING = "signing", "verifying"
SEEN = 0.35  # of a caller's calls, by the carrier that verifies
_RINGING = 12  # seconds
UNTOLD = "untold"
COLD, WARM = "cold", "warm"
DAYS = {COLD: 2, WARM: 10}


class Case(Struct, frozen=True, order=True):
    """One caller under one condition.

    Attributes:
        kind: of simulation.businesses or .rackets. index: of the caller, which is its seed.
        phase: COLD for two days from nothing known, WARM for ten days.
        talk: a model of how long calls last, which is told when they end; "untold" for no ends.
    """

    kind: str
    index: int
    phase: str
    talk: str

    @property
    def name(self) -> str:
        """What tells it apart."""
        return f"{self.kind}|{self.index}|{self.phase}|{self.talk}"


class Outcome(Struct, frozen=True):
    """What became of a caller on one side.

    Attributes:
        case: its name. calls: that were seen there.
        labelled, lowered, refused: its call at which that first was so; None for never.
        share: of its calls that would have been refused. lowered_share: refused or lowered.
        by: the measure that stood against the most calls; empty for none.
    """

    case: str
    side: str
    calls: int
    labelled: int | None
    lowered: int | None
    refused: int | None
    share: float
    lowered_share: float
    by: str = ""


def calls_of(case: Case) -> list[Dialled]:
    """The caller's calls, and those of others to its numbers, in order of time."""
    make = maker(case.kind) if case.kind in HONEST else DISHONEST[case.kind]
    talk = Talk.MIXED if case.talk == UNTOLD else Talk(case.talk)
    return make(Cast(Random(f"{case.kind}/{case.index}"), DAYS[case.phase], talk))


def evaluated(case: Case, policy: Policy | None = None) -> list[Outcome]:
    """What becomes of one caller on both sides."""
    calls, told = calls_of(case), case.talk != UNTOLD
    seen = Random(f"{case.kind}/{case.index}/seen")
    some = [call for call in calls if seen.random() < SEEN]
    return [
        _driven(case, SIGNING, calls, _signing, told, policy),
        _driven(case, VERIFYING, some, _verifying, told, policy),
    ]


def _signing(call: Dialled) -> Observation:
    if call.seat == BACK:
        keys = (Key(KeyKind.ACCESS, f"x-{call.display}"), Key(KeyKind.SUBJECT, f"y-{call.display}"))
    else:
        keys = (
            Key(KeyKind.ACCESS, f"a-{call.seat}"),
            Key(KeyKind.SUBJECT, f"s-{call.seat}"),
        )
    if call.caller is not None:
        keys = (*keys, Key(KeyKind.AGENT, f"s-{call.seat}/{call.caller}"))
    bound = call.caller is not None
    return Observation(
        at=int(call.at),
        keys=keys,
        display=call.display,
        callee=call.callee,
        bound=bound,
        hidden_caller=call.caller,
    )


def _verifying(call: Dialled) -> Observation:
    spc = "1001" if call.seat == BACK else f"{2_001 + call.seat}"
    origid = f"x-{call.display}" if call.seat == BACK else "o"
    keys = (Key(KeyKind.SIGNER, f"{spc}/{origid}"), Key(KeyKind.SPC, spc))
    return Observation(
        at=int(call.at), keys=keys, display=call.display, callee=call.callee, origid=origid
    )


class _Watch:
    """What stood against a caller's calls."""

    def __init__(self) -> None:
        self.calls = self.refused = self.lowered = 0
        self.first: dict[str, int] = {}
        self.by: dict[str, int] = {}

    def add(self, found: Finding | None) -> None:
        """One call, and the worst that stood against it."""
        self.calls += 1
        if found is None:
            return
        self.by[found.measure.value] = self.by.get(found.measure.value, 0) + 1
        pooled = found.state is State.POOLED
        self.refused += pooled
        self.lowered += pooled or found.lowers
        self.first.setdefault("labelled", self.calls)
        if pooled or found.lowers:
            self.first.setdefault("lowered", self.calls)
        if pooled:
            self.first.setdefault("refused", self.calls)


def _driven(
    case: Case,
    side: str,
    calls: Iterable[Dialled],
    observed: Callable[[Dialled], Observation],
    told: bool,
    policy: Policy | None,
) -> Outcome:
    detector = Detector(policy)
    watch = _Watch()
    running: list[tuple[int, int, Dialled, tuple[Key, ...]]] = []
    for number, call in enumerate(calls):
        one = observed(call)
        while running and running[0][0] <= one.at:
            _end(detector, *heappop(running))
        if call.seat != BACK:
            watch.add(_worst(detector, one, side))
        detector.observe(one)
        if told and call.seat != BACK:
            heappush(running, (one.at + _RINGING + call.seconds, number, call, one.keys))
    by = max(watch.by, key=watch.by.__getitem__, default="")
    return Outcome(
        case.name, side, watch.calls, watch.first.get("labelled"), watch.first.get("lowered"),
        watch.first.get("refused"), watch.refused / max(watch.calls, 1),
        watch.lowered / max(watch.calls, 1), by,
    )  # fmt: skip


def _worst(detector: Detector, one: Observation, side: str) -> Finding | None:
    keys = one.keys if side == SIGNING else one.keys[:1]  # of an SPC alone calls are labelled only
    found = [detector.finding(key, one.at) for key in keys]
    if one.bound:
        found = [
            seen
            for seen in found
            if seen is not None and (seen.key.kind is KeyKind.AGENT or "bindings" in seen.measures)
        ]
    return max(
        (seen for seen in found if seen is not None),
        key=lambda seen: (seen.state, seen.lowers),
        default=None,
    )


def _end(detector: Detector, at: int, _: int, call: Dialled, keys: tuple[Key, ...]) -> None:
    display, callee = TN(call.display), TN(call.callee)
    contact = detector.met(display, callee, answered=call.answered, seconds=call.seconds)
    for key in keys[:2]:
        detector.ended(key, at, contact)
