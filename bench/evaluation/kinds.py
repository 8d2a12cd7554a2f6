"""Each kind of caller by itself: what becomes of how many, on which side, at which of their calls.

A caller is drawn, driven through detectors of its own on each side, with ends of calls reported and
without, and written as one line each; the figures are of callers, never of a population.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from random import Random
from typing import Final, cast

from msgspec import Struct
from msgspec.structs import replace

from bench.evaluation.course import Asked, Course, course, driven
from zhenxian.analytics import Detector, Finding, Key, KeyKind, Measure, Observation, Policy, State
from zhenxian.core.collection import uncollected
from zhenxian.core.tn import TNRange
from zhenxian.registry.customers import Declaration
from zhenxian.registry.footprint import expected
from zhenxian.registry.model import Holding, Registry, Verification
from zhenxian.simulation.businesses import HONEST, maker
from zhenxian.simulation.dialling import BACK, Cast, Dialled, Maker, Talk
from zhenxian.simulation.rackets import DISHONEST
from zhenxian.simulation.successors import GIVEN, JUDGED_FROM, RETURNS
from zhenxian.verifier.analytics import AS_USUAL, PooledVerifying

SIGNING, VERIFYING = "signing", "verifying"
SEEN = 0.35  # of a caller's calls, by the carrier that verifies
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
_FEW: Final = 2  # thresholds, for which it is not worth while to find out which ones matter
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
    usual = Policy() if case.without or policy is None else policy
    policies = without(case.kind) if case.without else {"": usual}
    seen = Random(f"{case.kind}/{case.index}/seen")
    with uncollected():
        calls = calls_of(case)
        some = [call for call in calls if seen.random() < SEEN]
        return [
            one
            for side, part in ((SIGNING, calls), (VERIFYING, some))
            for one in _on_side(_Side(case, side, part, usual), policies)
        ]


def _on_side(side: _Side, policies: dict[str, Policy]) -> Iterator[Outcome]:
    """One line for each of some thresholds; those that make no difference are driven once."""
    usual = Policy()
    for told in (True, False):
        asked, whole = Asked(usual), None
        if len(policies) > _FEW:
            whole = side.outcome(told, "", asked.policy)
        for name, policy in policies.items():
            same = name not in (_CUSTOMERS, _DECLARATION) and not asked.differs(policy, usual)
            if whole is not None and same:
                yield replace(whole, without=name)
            else:
                yield side.outcome(told, name, policy)


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


def _held_again(before: list[Dialled], first: Dialled) -> Callable[[Detector], None]:
    """The registry tells what the earlier caller held, and that whoever comes next holds it now."""
    held = sorted({call.display for call in before if call.seat == 0})

    def tell(detector: Detector) -> None:
        detector.mark_held("s-0", held)
        detector.held([(number, f"s-{first.seat}") for number in held], int(first.at))

    return tell


class _Side:
    """A caller's calls on one side, driven through one detector after another."""

    def __init__(self, case: Case, side: str, calls: list[Dialled], policy: Policy) -> None:
        self._case, self._side, self._policy = case, side, policy
        self._calls, self._counts = calls, judged(case.kind)
        self._declared = None
        if case.kind in _DECLARED and side == SIGNING:
            self._declared = _Declared(calls)
        self._before = None
        if case.kind == _REGISTERED and side == SIGNING:
            first = next((turn for turn, call in enumerate(calls) if self._counts(call)), None)
            if first is not None:
                self._before = _held_again(calls[:first], calls[first])
        self._courses: dict[Callable[[Dialled], Observation], Course] = {}

    def outcome(self, told: bool, without: str, policy: Policy) -> Outcome:
        """What becomes of the caller where these thresholds are in force."""
        observed = _observed(self._case, self._side, without)
        along = self._courses.get(observed)
        if along is None:
            along = course(self._calls, observed, self._counts, self._policy)
            self._courses[observed] = along
        declared = self._declared if without != _DECLARATION else None
        side, case = self._side, self._case
        stood = driven(
            Detector(policy), along, lambda detector, one: _worst(detector, one, side, declared),
            # Nobody hears how a refused call ends, so that who is refused wrongly stays so.
            told=told, unheard=case.kind == _NEWCOMER, before=self._before,
        )  # fmt: skip
        by = max(stood.by, key=stood.by.__getitem__, default=None)
        calls, today = max(along.calls, 1), max(along.today, 1)
        return Outcome(
            case.name, side, told, without, along.calls, stood.first.get("labelled"),
            stood.first.get("lowered"), stood.first.get("refused"),
            stood.refused / calls, stood.lowered / calls, by.value if by is not None else "",
            along.numbers, stood.day_lowered > 0, stood.day_refused / today,
        )  # fmt: skip


def _worst(
    detector: Detector, one: Observation, side: str, declared: _Declared | None
) -> Finding | None:
    """The worst that stands against a call; of two alike that of the key that comes first."""
    keys, at = one.keys, one.at
    reseller = side == SIGNING and keys[-1] == _RESELLER
    own = keys[:1] if side == VERIFYING else keys[:-1] if reseller else keys
    worst: Finding | None = None
    for key in own:
        found = detector.finding(key, at)
        if found is not None and _worse(found, worst) and _counts(found, one, declared):
            worst = found
    if side == VERIFYING:
        carrier = detector.finding(keys[1], at)
        if carrier is not None and _worse(carrier, worst) and not detector.known(keys[0], at):
            if AS_USUAL.on(carrier) is not PooledVerifying.FAIL:  # calls are labelled only
                carrier = replace(carrier, state=State.SUSPECTED, lowers=False)
            if _worse(carrier, worst) and _counts(carrier, one, declared):
                worst = carrier
    if reseller:
        together = detector.finding(_RESELLER, at)
        if (
            together is not None
            and _worse(together, worst)
            and _counts(together, one, declared)
            # Else what is found of all together is not this one's.
            and any(detector.resembles(key, together.since) for key in own)
        ):
            worst = together
    return worst


def _worse(found: Finding, than: Finding | None) -> bool:
    return than is None or (found.state, found.lowers) > (than.state, than.lowers)


def _counts(found: Finding, one: Observation, declared: _Declared | None) -> bool:
    """Tell whether what was found matters to this call: not where it was declared, or is bound."""
    if declared is not None:
        holding = Holding(
            numbers=TNRange(one.display, one.display),
            subject="s-0",
            verification=Verification.VERIFIED,
        )
        call, registry = ("s-0", one.display, holding), cast("Registry", declared)
        if expected(found, call, registry, one.at):
            return False
    return not one.bound or found.key.kind is KeyKind.AGENT or "bindings" in found.measures
