"""Each kind of caller by itself: what becomes of how many, on which side, at which of their calls.

A caller is drawn, driven through detectors of its own on each side, with ends of calls reported and
without, and written as one line each; the figures are of callers, never of a population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from heapq import heappop, heappush
from random import Random
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics import Detector, Finding, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.analytics.counted import Contact
from zhenxian.core.tn import TNRange
from zhenxian.registry.customers import Declaration
from zhenxian.registry.footprint import expected
from zhenxian.registry.model import Holding, Registry, Verification
from zhenxian.simulation.businesses import HONEST, maker
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Maker, Talk
from zhenxian.simulation.flow import DAY
from zhenxian.simulation.rackets import DISHONEST
from zhenxian.simulation.successors import GIVEN, JUDGED_FROM, RETURNS
from zhenxian.verifier.analytics import AS_USUAL, PooledVerifying

SIGNING, VERIFYING = "signing", "verifying"
SEEN = 0.35  # of a caller's calls, by the carrier that verifies
_RINGING = 12  # seconds
COLD, WARM = "cold", "warm"
DAYS = {COLD: 2, WARM: 10}
_NIGHT: Final = "switchboard hijacked at night"
_BY_DAY: Final = "hijacked switchboard, its own calls"
_HOSTED: Final = "pool as a customer of a host"
_HOST: Final = "host of that pool, its other customers"
_STRAW_MEN: Final = "straw men of a reseller"
_NEWCOMER: Final = "new business of that reseller"
# The calls of one kind, and those of them that count for the other one of the two.
_PARTS: Final = {_BY_DAY: _NIGHT, _HOST: _HOSTED, _NEWCOMER: _STRAW_MEN}
_REGISTERED: Final = "returns, same numbers, registered"  # the registry tells who holds them
_DECLARED: Final = ("reminders by robot, declared", "declared pool")
_CUSTOMERS, _DECLARATION = "customers", "declaration"
HONEST_KINDS: Final = (*HONEST, *GIVEN, *_PARTS)
DISHONEST_KINDS: Final = (*DISHONEST, *RETURNS)
_RESELLER: Final = Key(KeyKind.RESELLER, "r")
_EXPIRE_EVERY: Final = 3_600  # seconds, as the service does now and then
_NEVER: Final = 1e-300  # a chance that no evidence reaches


def _without() -> dict[str, Policy]:
    """Thresholds with one kind of evidence switched off in each; talk is off where it is untold."""
    policy = Policy()
    made = {
        "repeats": replace(policy, repeats=replace(policy.repeats, label=_NEVER, refuse=_NEVER)),
        "first calls": replace(
            policy, talk=replace(policy.talk, first_label=_NEVER, first_refuse=_NEVER)
        ),
    }
    for measure in Measure:
        if measure not in (Measure.ORIGIDS, Measure.RATE, Measure.CONCURRENCY):
            made[measure.value] = replace(policy, measures=policy.measures - {measure})
    return made


WITHOUT: Final = _without()


def without(kind: str) -> dict[str, Policy]:
    """What is switched off in turn for callers of a kind, each with the thresholds of that."""
    made = dict(WITHOUT) if kind in DISHONEST_KINDS else {}
    if kind in (_HOST, _HOSTED):
        made[_CUSTOMERS] = Policy()
    if kind in _DECLARED:
        made[_DECLARATION] = Policy()
    return made


class Case(Struct, frozen=True, order=True):
    """One caller under one condition.

    Attributes:
        kind: of HONEST_KINDS or DISHONEST_KINDS. index: of the caller, which is its seed.
        phase: COLD for two days from nothing known, WARM for ten days.
        talk: the model of how long calls last.
        without: drive it once more with each kind of evidence switched off.
    """

    kind: str
    index: int
    phase: str
    talk: str
    without: bool = False

    @property
    def name(self) -> str:
        """What tells it apart."""
        return f"{self.kind}|{self.index}|{self.phase}|{self.talk}{'|each' if self.without else ''}"


class Outcome(Struct, frozen=True):
    """What became of a caller on one side.

    Attributes:
        case: its name. told: whether ends of calls were, with talk.
        without: the evidence that was switched off; empty for none. calls: that were seen there.
        labelled, lowered, refused: its call at which that first was so; None for never.
        share: of its calls that would have been refused. lowered_share: refused or lowered.
        by: the measure that stood against the most calls; empty for none.
        numbers: that it showed there.
        day_lowered: a call within 24 hours of its first one was lowered or refused.
        day_share: of the calls of these hours that would have been refused.
    """

    case: str
    side: str
    told: bool
    without: str
    calls: int
    labelled: int | None
    lowered: int | None
    refused: int | None
    share: float
    lowered_share: float
    by: str = ""
    numbers: int = 0
    day_lowered: bool = False
    day_share: float = 0.0


@lru_cache(1)
def _makers() -> dict[str, Maker]:
    makers: dict[str, Maker] = {name: maker(name) for name in HONEST}
    parts = {part: DISHONEST[whole] for part, whole in _PARTS.items()}
    return makers | GIVEN | parts | DISHONEST | RETURNS


def calls_of(case: Case) -> list[Dialled]:
    """The caller's calls, and those of others to its numbers, in order of time."""
    # What is drawn does not depend on the talk, but for how long calls last.
    kind = _PARTS.get(case.kind, case.kind)
    random = Random(f"{kind}/{case.index}")
    return _makers()[case.kind](Cast(random, DAYS[case.phase], Talk(case.talk)))


def judged(kind: str) -> Callable[[Dialled], bool]:
    """Which calls count for the figures: the caller's own, and not those of whom it follows."""
    if kind in _PARTS.values():
        return lambda call: call.misused
    if kind in _PARTS:
        return lambda call: call.seat != BACK and not call.misused
    first = JUDGED_FROM if kind in GIVEN or kind in RETURNS else 0
    return lambda call: call.seat >= first


def evaluated(case: Case, policy: Policy | None = None) -> list[Outcome]:
    """What becomes of one caller on both sides, with ends of calls told and not."""
    calls = calls_of(case)
    seen = Random(f"{case.kind}/{case.index}/seen")
    some = [call for call in calls if seen.random() < SEEN]
    policies = without(case.kind) if case.without else {"": policy or Policy()}
    return [
        _driven(case, side, part, told, name, one)
        for side, part in ((SIGNING, calls), (VERIFYING, some))
        for told in (True, False)
        for name, one in policies.items()
    ]


def _observed(case: Case, side: str, without: str) -> Callable[[Dialled], Observation]:
    """How a call is counted; customers of an access are known to who signs alone."""
    if side == VERIFYING:
        return _verifying
    shared = case.kind in (_HOST, _HOSTED) and without != _CUSTOMERS
    return _of_customer if shared else _signing


class _Declared:
    """A registry of one subject, which declared all numbers that it shows."""

    def __init__(self, calls: Iterable[Dialled]) -> None:
        numbers = tuple(sorted({str(call.display) for call in calls if call.seat != BACK}))
        self._declaration = Declaration(id="d", subject="s-0", numbers=numbers)

    def declarations(self, subject: str, _: int) -> list[Declaration]:
        """See registry.model.Registry."""
        return [self._declaration] if subject == self._declaration.subject else []


@lru_cache(4_096)
def _callers(seat: int, other: str) -> tuple[Key, ...]:
    """The keys of a caller's call; `other` is whose it is where it is somebody else's.

    What a caller splits over several accesses it has from one reseller, whose key is the last one.
    """
    if seat == BACK:
        return Key(KeyKind.ACCESS, f"x-{other}"), Key(KeyKind.SUBJECT, f"y-{other}")
    return Key(KeyKind.ACCESS, f"a-{seat}"), Key(KeyKind.SUBJECT, f"s-{seat}")


@lru_cache(4_096)
def _signers(seat: int, other: str) -> tuple[Key, ...]:
    spc = "1001" if seat == BACK else f"{2_001 + seat}"
    return Key(KeyKind.SIGNER, f"{spc}/{other}"), Key(KeyKind.SPC, spc)


def _signing(call: Dialled) -> Observation:
    keys = _callers(call.seat, call.display if call.seat == BACK else "")
    if call.resold and call.seat != BACK:
        keys = (*keys, _RESELLER)
    caller = call.caller
    if caller is not None:
        keys = (*keys, Key(KeyKind.AGENT, f"s-{call.seat}/{caller}"))
    return Observation(
        at=int(call.at), keys=keys, display=call.display, callee=call.callee,
        bound=caller is not None, hidden_caller=caller,
    )  # fmt: skip


@lru_cache(4_096)
def _customers(customer: int) -> tuple[Key, ...]:
    return (Key(KeyKind.ACCESS, f"a-0/{customer}"),)


def _of_customer(call: Dialled) -> Observation:
    one = _signing(call)
    return replace(one, keys=_customers(call.customer)) if call.customer >= 0 else one


def _verifying(call: Dialled) -> Observation:
    if call.seat == BACK:
        origid = f"x-{call.display}"
    else:
        origid = "o" if call.origid < 0 else f"o-{call.origid}"
    return Observation(
        at=int(call.at), keys=_signers(call.seat, origid), display=call.display,
        callee=call.callee, origid=origid,
    )  # fmt: skip


class _Watch:
    """What stood against a caller's calls."""

    def __init__(self) -> None:
        self.calls = self.refused = self.lowered = 0
        self.day_calls = self.day_refused = self.day_lowered = 0
        self.first: dict[str, int] = {}
        self.by: dict[str, int] = {}
        self.numbers: set[str] = set()
        self._day_ends = 0

    def add(self, at: int, display: str, found: Finding | None) -> None:
        """One call, and the worst that stood against it."""
        self.calls += 1
        self.numbers.add(display)
        self._day_ends = self._day_ends or at + DAY
        today = at < self._day_ends
        self.day_calls += today
        if found is None:
            return
        self.by[found.measure.value] = self.by.get(found.measure.value, 0) + 1
        pooled = found.state is State.POOLED
        self.refused += pooled
        self.lowered += pooled or found.lowers
        self.day_refused += today and pooled
        self.day_lowered += today and (pooled or found.lowers)
        self.first.setdefault("labelled", self.calls)
        if pooled or found.lowers:
            self.first.setdefault("lowered", self.calls)
        if pooled:
            self.first.setdefault("refused", self.calls)


def _driven(
    case: Case,
    side: str,
    calls: list[Dialled],
    told: bool,
    without: str,
    policy: Policy,
) -> Outcome:
    detector = Detector(policy)
    observed = _observed(case, side, without)
    declares = case.kind in _DECLARED and side == SIGNING and without != _DECLARATION
    declared = _Declared(calls) if declares else None
    observe, finding = detector.observe, detector.finding
    watch, watched = _Watch(), judged(case.kind)
    running: list[tuple[int, int, Contact, tuple[Key, ...]]] = []
    expired = 0
    for number, call in enumerate(calls):
        one = observed(call)
        if one.at >= expired + _EXPIRE_EVERY:
            expired = one.at
            detector.expire(one.at)
        while running and running[0][0] <= one.at:
            _end(detector, *heappop(running))
        refused = False
        if watched(call):
            if case.kind == _REGISTERED and side == SIGNING and not watch.calls:
                _held_again(detector, calls[:number], call)
            clear = True
            for key in one.keys:
                if finding(key, one.at) is not None:
                    clear = False
            worst = None if clear else _worst(detector, one, side, declared)
            watch.add(one.at, call.display, worst)
            refused = worst is not None and worst.state is State.POOLED
        observe(one)
        # Nobody hears how a refused call ends, so that who is refused wrongly stays so.
        if told and call.seat != BACK and not (refused and case.kind == _NEWCOMER):
            over = one.at + _RINGING + call.seconds
            keys, agent = (one.keys[:-1], one.keys[-1:]) if one.bound else (one.keys, ())
            for turn, (shown, whose) in enumerate(((call.display, keys), (call.caller, agent))):
                if whose and shown is not None:  # an agent is counted by the own number
                    contact = detector.met(
                        shown, call.callee, answered=call.answered, seconds=call.seconds
                    )
                    heappush(running, (over, 2 * number + turn, contact, whose))
    by = max(watch.by, key=watch.by.__getitem__, default="")
    return Outcome(
        case.name, side, told, without, watch.calls, watch.first.get("labelled"),
        watch.first.get("lowered"), watch.first.get("refused"),
        watch.refused / max(watch.calls, 1), watch.lowered / max(watch.calls, 1), by,
        len(watch.numbers), watch.day_lowered > 0, watch.day_refused / max(watch.day_calls, 1),
    )  # fmt: skip


def _held_again(detector: Detector, before: list[Dialled], first: Dialled) -> None:
    """The registry tells what the earlier caller held, and that whoever comes next holds it now."""
    held = sorted({call.display for call in before if call.seat == 0})
    detector.mark_held("s-0", held)
    detector.held([(number, f"s-{first.seat}") for number in held], int(first.at))


def _worst(
    detector: Detector, one: Observation, side: str, declared: _Declared | None
) -> Finding | None:
    keys = one.keys if side == SIGNING else one.keys[:1]
    together = detector.finding(_RESELLER, one.at) if keys[-1] == _RESELLER else None
    if together is not None and not any(
        detector.resembles(key, together.since) for key in keys[:-1]
    ):
        keys = keys[:-1]  # what is found of all together is not this one's
    found = [detector.finding(key, one.at) for key in keys]
    if side == VERIFYING:
        carrier = detector.finding(one.keys[1], one.at)
        if carrier is not None and not detector.known(one.keys[0], one.at):
            fails = AS_USUAL.on(carrier) is PooledVerifying.FAIL  # else calls are labelled only
            found.append(
                carrier if fails else replace(carrier, state=State.SUSPECTED, lowers=False)
            )
    if declared is not None:
        holding = Holding(
            numbers=TNRange(one.display, one.display),
            subject="s-0",
            verification=Verification.VERIFIED,
        )
        call, registry = ("s-0", one.display, holding), cast("Registry", declared)
        found = [
            seen
            for seen in found
            if seen is not None and not expected(seen, call, registry, one.at)
        ]
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


def _end(detector: Detector, at: int, _: int, contact: Contact, keys: tuple[Key, ...]) -> None:
    for key in keys:
        detector.ended(key, at, contact)
