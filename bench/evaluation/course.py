"""The course of a caller's calls through one detector, and what stood against them.

What is the same for every detector of a side is worked out once: what is observed of each call,
which calls count for the figures, and which ones end before the next one begins. A caller is driven
through up to fifty detectors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn, cast

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics import Detector, Finding, Key, Measure, Observation, Policy, State
from zhenxian.analytics.counted import Contact
from zhenxian.analytics.thresholds import HonestRepeats, HonestTalk
from zhenxian.simulation.dialling import BACK, Dialled
from zhenxian.simulation.flow import DAY

_RINGING = 12  # seconds
_EXPIRE_EVERY = 3_600  # seconds, as the service does now and then


class Asked:
    """Thresholds in force, and what anybody asked of them: measures that are on, other members.

    A drive in which nobody asked for something is the same where only that is another. Measures can
    be asked for one by one and in no other way, so that nobody learns of them unnoticed.

    Attributes:
        measures: that were asked for. members: of `repeats` and `talk` that were.
        policy: for the detector.
    """

    def __init__(self, policy: Policy) -> None:
        """Nobody has asked yet."""
        self.measures: set[Measure] = set()
        self.members: set[tuple[str, str]] = set()
        self.policy = replace(
            policy,
            measures=cast("frozenset[Measure]", _Measures(policy.measures, self.measures)),
            repeats=cast("HonestRepeats", _Members("repeats", policy.repeats, self.members)),
            talk=cast("HonestTalk", _Members("talk", policy.talk, self.members)),
        )
        # It was asked for all of them whether they make sense.
        self.measures.clear()
        self.members.clear()

    def differs(self, other: Policy, base: Policy) -> bool:
        """Tell whether a drive with other thresholds may differ from this one."""
        if replace(other, measures=base.measures, repeats=base.repeats, talk=base.talk) != base:
            return True
        if not self.measures.isdisjoint(other.measures ^ base.measures):
            return True
        return any(
            getattr(getattr(other, name), member) != getattr(getattr(base, name), member)
            for name, member in self.members
        )


class _Measures:
    def __init__(self, on: frozenset[Measure], asked: set[Measure]) -> None:
        self._on, self._asked = on, asked

    def __contains__(self, measure: Measure) -> bool:
        self._asked.add(measure)
        return measure in self._on

    def __iter__(self) -> NoReturn:
        raise TypeError("asked for all measures at once")


class _Members:
    def __init__(self, name: str, of: HonestRepeats | HonestTalk, asked: set[tuple[str, str]]):
        self._name, self._of, self._asked = name, of, asked

    def __getattr__(self, member: str) -> object:
        self._asked.add((self._name, member))
        return getattr(self._of, member)


Worst = Callable[[Detector, Observation], "Finding | None"]
Before = Callable[[Detector], None]


class End(NamedTuple):
    """What is told of a call that is over: of which one, when, for which keys."""

    number: int
    at: int
    keys: tuple[Key, ...]
    contact: Contact


class Turn(NamedTuple):
    """One call.

    Attributes:
        one: what is observed of it.
        place: among the calls that count, from 1 on; 0 for one that does not.
        expires: the detector forgets what is over, before it.
        ended: calls that ended before it.
    """

    one: Observation
    place: int
    expires: bool
    ended: tuple[End, ...]


class Course(Struct, frozen=True, kw_only=True):
    """The calls of one caller on one side, and figures that no detector changes.

    Attributes:
        calls: those that count. numbers: that these show. today: of the calls, those within 24
            hours of the first one.
    """

    turns: list[Turn]
    calls: int
    numbers: int
    today: int


def course(
    calls: Sequence[Dialled],
    observed: Callable[[Dialled], Observation],
    counts: Callable[[Dialled], bool],
    policy: Policy,
) -> Course:
    """Work out what is the same for all detectors whose policies have one salt.

    Args:
        calls: in order of time.
    """
    seen = [observed(call) for call in calls]
    ends = _ends(calls, seen, Detector(policy))
    turns: list[Turn] = []
    numbers: set[str] = set()
    place = today = first = expired = following = 0
    for call, one in zip(calls, seen, strict=True):
        at = one.at
        expires = at >= expired + _EXPIRE_EVERY
        if expires:
            expired = at
        ended = following
        while following < len(ends) and ends[following].at <= at:
            following += 1
        mine = counts(call)
        if mine:
            place += 1
            numbers.add(call.display)
            first = first or at
            today += at < first + DAY
        turns.append(Turn(one, place if mine else 0, expires, tuple(ends[ended:following])))
    return Course(turns=turns, calls=place, numbers=len(numbers), today=today)


def _ends(calls: Sequence[Dialled], seen: Sequence[Observation], detector: Detector) -> list[End]:
    """All ends in the order in which they are told; none of calls by somebody else."""
    found: list[tuple[int, int, End]] = []
    for number, (call, one) in enumerate(zip(calls, seen, strict=True)):
        if call.seat == BACK:
            continue
        over = one.at + _RINGING + call.seconds
        keys, agent = (one.keys[:-1], one.keys[-1:]) if one.bound else (one.keys, ())
        for turn, (shown, whose) in enumerate(((call.display, keys), (call.caller, agent))):
            if whose and shown is not None:  # an agent is counted by the own number
                contact = detector.met(
                    shown, call.callee, answered=call.answered, seconds=call.seconds
                )
                found.append((over, 2 * number + turn, End(number, over, whose, contact)))
    found.sort(key=lambda end: end[:2])
    return [end for *_, end in found]


class Stood(Struct):
    """What stood against a caller's calls.

    Attributes:
        refused, lowered: calls; refused ones are lowered, too. day_refused, day_lowered: of those
            within 24 hours of the first one.
        first: of the calls that count, the one at which what is named was first so.
        by: calls that a measure stood against.
    """

    refused: int = 0
    lowered: int = 0
    day_refused: int = 0
    day_lowered: int = 0
    first: dict[str, int] = {}
    by: dict[Measure, int] = {}

    def add(self, place: int, found: Finding, *, today: bool) -> bool:
        """The worst that stood against a call; whether it would have been refused."""
        self.by[found.measure] = self.by.get(found.measure, 0) + 1
        first = self.first
        if not first:
            first["labelled"] = place
        pooled = found.state is State.POOLED
        if pooled or found.lowers:
            self.lowered += 1
            self.day_lowered += today
            if "lowered" not in first:
                first["lowered"] = place
        if pooled:
            self.refused += 1
            self.day_refused += today
            if "refused" not in first:
                first["refused"] = place
        return pooled


def driven(
    detector: Detector,
    along: Course,
    worst: Worst,
    *,
    told: bool,
    unheard: bool,
    before: Before | None = None,
) -> Stood:
    """Let a detector observe all calls; nothing is refused, only noted.

    Args:
        told: ends of calls are. unheard: but of refused ones.
        before: done before the first call that counts.
    """
    observe, over, accused = detector.observe, detector.over, detector.accused
    stood, refused, today = Stood(), set[int](), along.today
    for number, (one, place, expires, ended) in enumerate(along.turns):
        if expires:
            detector.expire(one.at)
        if told:
            for call, at, keys, contact in ended:
                if call not in refused:
                    over(keys, at, contact)
        if place:
            if place == 1 and before is not None:
                before(detector)
            if not accused.isdisjoint(one.keys):
                found = worst(detector, one)
                if found is not None and stood.add(place, found, today=place <= today) and unheard:
                    refused.add(number)
        observe(one)
    return stood
