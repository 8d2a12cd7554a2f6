"""The measures: each reads one key's counts and says how near they come to a pool.

Each measure is a list of conditions that must all hold. Its strength is that of the weakest: the
figure over its threshold, or the threshold over the figure where a pool stays below.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, log
from typing import Final

from msgspec.structs import replace

from zhenxian.analytics.counts import SLOT, SLOTS, KeyCounts
from zhenxian.analytics.departure import departure
from zhenxian.analytics.locality import AreaCounts, Bounds
from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.possible import UNPROVEN, Judge, judged
from zhenxian.analytics.proof import evident, proven, spoken_for
from zhenxian.analytics.sketch import Distinct, Repeats, Union, recurrence, union
from zhenxian.analytics.thresholds import HOUR, Policy

_REACH_BITS: Final = 64
_SLOTS_AN_HOUR: Final = HOUR // SLOT
_STRONGEST: Final = 10.0  # strength says no more above
_NEAR: Final = 1e-9
_NO_POOL: Final = 0.69  # strength of what is a suspicion at most
_ALL_FIGURES: Final = -1.0  # no strength is below, so that no measure stops early


class _Conditions:
    """Collects figures and thresholds, and the weakest of them."""

    def __init__(self) -> None:
        self.strength = _STRONGEST
        self.figures: dict[str, float] = {}
        self.thresholds: dict[str, float] = {}

    def least(self, name: str, figure: float, threshold: float) -> None:
        """A pool reaches the threshold."""
        self.figures[name], self.thresholds[name] = figure, threshold
        self.strength = min(self.strength, figure / max(threshold, _NEAR))

    def most(self, name: str, figure: float, threshold: float) -> None:
        """A pool stays below it."""
        self.figures[name], self.thresholds[f"<={name}"] = figure, threshold
        self.strength = min(self.strength, threshold / max(figure, _NEAR))

    def needs(self, name: str, figure: float, threshold: float) -> None:
        """Below the threshold nothing is found at all, not even suspected."""
        self.least(name, figure, threshold)
        if figure < threshold:
            self.strength = 0.0

    def limit(self, name: str, figure: float, threshold: float) -> None:
        """Above the threshold nothing is found at all."""
        self.most(name, figure, threshold)
        if figure > threshold:
            self.strength = 0.0

    def assessment(self, measure: Measure) -> Assessment:
        """The result."""
        return Assessment(
            measure=measure,
            strength=max(0.0, self.strength),
            figures=self.figures,
            thresholds=self.thresholds,
        )


class View:
    """One key's counts over the whole window; the dearer ones are worked out when asked for.

    A strength that is not above `enough` decides nothing, so that a measure stops there.
    """

    def __init__(self, counts: KeyCounts, policy: Policy, bounds: Bounds, enough: float) -> None:
        now, old = counts.now, counts.old
        self.counts = counts
        self.enough = enough
        self.policy = policy
        self.bounds = bounds
        self.switch = counts.switch
        self.calls = counts.calls
        self.known = now.known + (old.known if old else 0)
        self.matches = now.matches + (old.matches if old else 0)
        self.arealess = now.arealess + (old.arealess if old else 0)
        self.display_changes = now.turns + (old.turns if old else 0)
        self._reach = now.reach | (old.reach if old else 0)
        self._displays: Union | None = None

    @property
    def displays(self) -> Union:
        """Distinct displays."""
        if self._displays is None:
            old = self.counts.old
            found = union(self.counts.now.displays or Distinct(), old.displays if old else None)
            # One display alone is not counted.
            self._displays = found if found.distinct or not self.calls else Union(1.0, 0.0)
        return self._displays

    @property
    def recurring(self) -> float:
        """Share of calls that repeat a pair of display and callee."""
        return recurring(self.counts, self.policy)

    @property
    def matching(self) -> float:
        """Share of calls within one area among those with both areas known."""
        return self.matches / self.known if self.known else 0.0

    @property
    def ends_reported(self) -> float:
        """Ends of calls that were reported, to calls since any was."""
        halves = [half for half in (self.counts.now, self.counts.old) if half is not None]
        begun = sum(half.begun for half in halves)
        return min(1.0, sum(half.ended for half in halves) / begun) if begun else 0.0

    @property
    def reach(self) -> float:
        """Areas of callees, by linear counting."""
        ones = min(self._reach.bit_count(), _REACH_BITS - 1)
        return -_REACH_BITS * log(1 - ones / _REACH_BITS)

    @property
    def seen_again(self) -> tuple[int, int]:
        """Calls of a signer or SPC that showed a display seen before; those in new company."""
        again = moved = 0
        for half in (self.counts.now, self.counts.old):
            if half is not None and half.origins is not None:
                again += half.origins.again
                moved += half.moved
        return again, moved

    def strangers(self, conditions: _Conditions, recurring: float) -> None:
        """Callees are never called again, which for a switch takes longer to be sure of.

        Where evidence is asked (analytics.proof), it says so better.
        """
        if not self.policy.structure_alone:
            return
        if not self.switch:
            # Of few calls a single repetition must not save a pool.
            conditions.most("recurring", self.recurring, max(recurring, 1 / (self.calls + 1)))
            return
        switch = self.policy.switch
        again, moved = self.seen_again
        conditions.least("displays seen again", again, switch.repeated_displays)
        recurred = 1 - moved / again if again else 0.0
        if answers_reported(self.counts, self.policy):
            recurred = min(recurred, self.recurring)
        conditions.most("callees of those called before", recurred, switch.recurring)


def spread(view: View) -> Assessment:
    """Many displays, of many areas or of few; evidence says what that means."""
    if view.policy.structure_alone:
        return _spread_over_areas(view, quiet=True)
    if view.enough >= 0 and not evident(view.counts, view.policy, view.enough):
        return UNPROVEN
    over_areas = _spread_over_areas(view, quiet=False)
    if over_areas.strength >= 1:
        return proven(over_areas, view.counts, view.policy, view.enough, one_city=False)
    policy = view.policy.spread
    found = _Conditions()
    found.needs("calls", view.calls, policy.least_calls)
    found.least("displays", view.displays.distinct, policy.displays)
    many = found.assessment(Measure.SPREAD)
    return proven(many, view.counts, view.policy, view.enough, one_city=True)


def _spread_over_areas(view: View, *, quiet: bool) -> Assessment:
    """Many displays of many areas, each used little, for callees anywhere, each once.

    Args:
        quiet: only displays that are used little count.
    """
    policy, areas = view.policy.spread, view.counts.areas
    found = _Conditions()
    found.needs("calls", view.calls, policy.least_calls)
    found.least("areas of displays", _displayed(areas), policy.areas)
    found.least("areas of callees", _called(areas), policy.areas)
    if found.strength > view.enough:
        displays = view.displays.distinct
        found.least("displays", displays, policy.displays)
        if quiet:
            each = view.calls / max(displays, 1.0)
            found.most("calls a display", each, policy.calls_per_display)
    if found.strength > view.enough:
        view.strangers(found, policy.recurring)
    return found.assessment(Measure.SPREAD)


def local_presence(view: View) -> Assessment:
    """Displays chosen to fit the callee: the sequential test, and what must hold beside it."""
    policy, areas = view.policy.locality, view.counts.areas
    if view.counts.score <= view.enough * view.bounds.upper:
        return Assessment(measure=Measure.LOCAL_PRESENCE, strength=0.0, figures={}, thresholds={})
    long_way, short_way = _Conditions(), _Conditions()
    calls = areas.calls if areas is not None else 0
    chance = areas.chance if areas is not None else 0.0
    matched = areas.matched / calls if areas is not None and calls else 0.0
    lift = (matched - chance) / (1 - chance) if chance < 1 else 0.0
    for found in (long_way, short_way):
        found.needs("calls", calls, policy.least_calls)
        found.least("log-likelihood ratio", max(view.counts.score, 0.0), view.bounds.upper)
        deviation = (calls * chance * (1 - chance)) ** 0.5
        found.figures |= {
            "matches": matched * calls,
            "expected": chance * calls,
            "lift": lift,
            "standard score": (matched - chance) * calls / deviation if deviation else 0.0,
            "displays": view.displays.distinct,
        }
    long_way.least("areas of matches", _matched(areas), policy.areas)
    if long_way.strength > view.enough:
        view.strangers(long_way, policy.recurring)
    if not view.policy.structure_alone:
        structure = long_way.assessment(Measure.LOCAL_PRESENCE)
        return proven(structure, view.counts, view.policy, view.enough, one_city=False)
    if not view.switch:
        return long_way.assessment(Measure.LOCAL_PRESENCE)
    switch = view.policy.switch
    short_way.needs("calls", calls, switch.fresh_calls)
    short_way.least("areas of matches", _matched(areas), switch.fresh_areas)
    short_way.limit("displays seen again a call", view.displays.repetition, 1 - switch.fresh)
    short_way.needs("lift", lift, switch.fresh_match)
    best = max(long_way, short_way, key=lambda found: found.strength)
    return best.assessment(Measure.LOCAL_PRESENCE)


def rate(view: View) -> Assessment:
    """More calls an hour than people make, for hours, to callees never called before."""
    policy, counts = view.policy.rate, view.counts
    if not counts.ring:
        return Assessment(measure=Measure.RATE, strength=0.0, figures={}, thresholds={})
    factor = policy.without_area if view.arealess * 2 > view.calls else 1.0
    per_display = policy.per_display * factor * max(view.displays.distinct, 1.0)
    limit = per_display if view.switch else min(per_display, policy.per_key * factor)
    found = _Conditions()
    found.figures["calls in the last hour"] = sum(counts.begun(_SLOTS_AN_HOUR))
    found.figures["displays"] = view.displays.distinct
    _sustained(view, found, counts.begun, limit / _SLOTS_AN_HOUR)
    found.thresholds["calls in the last hour"] = limit
    return found.assessment(Measure.RATE)


def concurrency(view: View) -> Assessment:
    """More calls at a time than people hold, for an hour, where ends of calls are reported."""
    counts = view.counts
    if counts.active < 0:
        return Assessment(measure=Measure.CONCURRENCY, strength=0.0, figures={}, thresholds={})
    found = _Conditions()
    found.figures["calls at a time"] = max(counts.most(_SLOTS_AN_HOUR), default=0)
    limit: float = view.policy.rate.concurrent
    if view.switch:
        displays = found.figures["displays"] = view.displays.distinct
        limit = max(limit, view.policy.rate.concurrent_each * displays)
    found.thresholds["calls at a time"] = limit
    # Calls whose end nobody tells are no calls in progress.
    found.needs("share of ends told", view.ends_reported, view.policy.rate.ends_told)
    _sustained(view, found, counts.most, limit)
    return found.assessment(Measure.CONCURRENCY)


def _sustained(
    view: View, found: _Conditions, counts: Callable[[int], list[int]], limit: float
) -> None:
    """The counts reach the limit in enough of the latest slots."""
    policy = view.policy.rate
    local = view.matching > policy.matching
    over = SLOTS if local else _SLOTS_AN_HOUR
    busy = sum(count >= limit for count in counts(over))
    found.least("slots", busy, policy.slots_local if local else policy.slots)
    found.figures["matching"] = view.matching
    if found.strength > view.enough:
        recurring = view.recurring
        found.most("recurring", recurring, policy.recurring)


def rotation(view: View) -> Assessment:
    """Displays taken in turn, or used up one after another."""
    in_turn, successors = _in_turn(view), _used_up(view)
    worst = max(in_turn, successors, key=lambda assessment: assessment.strength)
    if worst.strength >= 1 or view.policy.structure_alone:
        return worst
    anywhere = _in_turn_anywhere(view)
    return anywhere if (anywhere.suspicion or 0.0) >= 1 else worst


def _anywhere(view: View, found: _Conditions) -> None:
    policy = view.policy.rotation
    found.most("matching", view.matching, policy.matching)
    found.least("areas of callees", view.reach, policy.reach)
    if found.strength > view.enough:
        recurring = max(policy.recurring, 1 / (view.calls + 1))
        found.most("recurring", view.recurring, recurring)


def _in_turn(view: View) -> Assessment:
    """A box of SIM cards: a few displays, each for some calls, then the next, and round again."""
    policy = view.policy.rotation
    found = _Conditions()
    found.needs("calls", view.calls, policy.least_calls)
    displays = view.displays.distinct
    found.needs("displays", displays, policy.displays)
    found.limit("displays", displays, policy.most_displays)
    found.needs("rounds", view.display_changes / max(displays, 1.0), policy.rounds)
    if found.strength > view.enough:
        # Chance: that two calls show the same display if each picks anew.
        same = _same_display(view.counts)
        kept = 1 - view.display_changes / max(view.calls - 1, 1)
        persistence = (kept - same) / (1 - same) if same < 1 else 0.0
        found.least("persistence", max(persistence, 0.0), policy.persistence)
        found.least("evenness", 1 / (same * displays) if same else 0.0, 0.5)
        _anywhere(view, found)
    return found.assessment(Measure.ROTATION)


def _in_turn_anywhere(view: View) -> Assessment:
    """The same wherever the callees live: persistence alone separates, and only lowers."""
    policy = view.policy.rotation
    found = _Conditions()
    found.needs("calls", view.calls, policy.least_calls)
    displays = view.displays.distinct
    found.needs("displays", displays, policy.displays)
    found.limit("displays", displays, policy.most_displays)
    found.needs("rounds", view.display_changes / max(displays, 1.0), policy.rounds_anywhere)
    if found.strength > 0:
        same = _same_display(view.counts)
        kept = 1 - view.display_changes / max(view.calls - 1, 1)
        persistence = (kept - same) / (1 - same) if same < 1 else 0.0
        found.least("persistence", max(persistence, 0.0), policy.persistence_anywhere)
        found.least("evenness", 1 / (same * displays) if same else 0.0, 0.5)
        recurring = max(policy.recurring, 1 / (view.calls + 1))
        found.most("recurring", view.recurring, recurring)
    assessment = found.assessment(Measure.ROTATION)
    talk = view.counts.talk
    honest = talk is not None and talk.timed >= policy.least_calls and talk.score < 0
    suspicion = 0.0 if honest else assessment.strength
    return replace(assessment, strength=min(assessment.strength, _NO_POOL), suspicion=suspicion)


def strangers(view: View) -> Assessment:
    """More strangers a day than the holder of such a number has reason to call."""
    policy, counts = view.policy.strangers, view.counts
    found = _Conditions()
    displays = view.displays.distinct
    talk, level = counts.talk, log(1 / view.policy.talk.label)
    against = talk is not None and talk.timed >= policy.talk and talk.score >= level
    honest = talk is not None and talk.timed >= policy.talk and talk.score < 0
    if view.policy.structure_alone or view.arealess * 2 > view.calls:
        return Assessment(measure=Measure.STRANGERS, strength=0.0, figures={}, thresholds={})
    recurring = view.recurring
    other = policy.persistent if recurring >= policy.retried else policy.other
    limit = policy.mobile if counts.personal or against else other
    each = view.calls * (1 - recurring) / max(displays, 1.0)
    found.least("strangers a number and day", each, limit)
    found.limit("displays", displays, policy.most_displays)
    if not counts.personal:
        # A school that tells its parents is done within the hour; a robot goes on all day.
        lately = sum(counts.begun(SLOTS)) / max(view.calls, 1)
        found.limit("share of calls within three hours", lately, policy.within_hours)
    assessment = found.assessment(Measure.STRANGERS)
    honest = honest or spoken_for(counts.contacts)
    return replace(
        assessment,
        strength=0.0,
        suspicion=0.0 if honest else assessment.strength,
        lowers=counts.personal or against,
    )


def _used_up(view: View) -> Assessment:
    """A number until it is stopped, then the next, with no way back."""
    policy, counts = view.policy.rotation, view.counts
    found = _Conditions()
    gone = [
        left
        for left in counts.left
        if left.calls >= policy.used_up and counts.last - left.last < policy.memory
    ]
    found.needs("calls", view.calls, policy.least_calls)
    here = counts.display_area
    elsewhere = sum(left.area != here for left in gone) if here >= 0 else 0
    few = elsewhere and counts.run >= policy.elsewhere_calls
    found.figures["of them of another city than the present one"] = elsewhere
    found.least("displays used up", len(gone), 1 if few else policy.successors)
    found.needs("calls of the present display", counts.run, policy.successor_calls)
    if found.strength > view.enough:
        _anywhere(view, found)
    return found.assessment(Measure.ROTATION)


def origids(view: View) -> Assessment:
    """A carrier whose displays come with an origid of their own each time.

    No finding by itself: it says that the carrier's calls are looked at as those of one signer, and
    stands beside what they show.
    """
    policy = view.policy.origids
    again, moved = view.seen_again
    found = _Conditions()
    found.figures["calls"] = view.calls
    found.needs("displays seen again", again, policy.repeated_displays)
    found.least("share with a new origid", moved / again if again else 0.0, policy.moved)
    return found.assessment(Measure.ORIGIDS)


def answers_reported(counts: KeyCounts, policy: Policy) -> bool:
    """Tell whether it is known which calls were answered."""
    halves = [half for half in (counts.now, counts.old) if half is not None]
    begun = sum(half.begun for half in halves)
    answers = sum(half.answers for half in halves)
    return begun > 0 and answers >= policy.rate.ends_told * begun


def recurring(counts: KeyCounts, policy: Policy) -> float:
    """Share of calls that repeat a pair of display and callee; of answered ones, where known.

    Of calls that nobody answered, those to people who had not answered before count as well.
    """
    now, old = counts.now, counts.old
    if answers_reported(counts, policy):
        return recurrence(now.contacts or Repeats(), old.contacts if old is not None else None)
    return recurrence(now.pairs or Repeats(), old.pairs if old is not None else None)


def mints(counts: KeyCounts, policy: Policy) -> bool:
    """Tell cheaply whether an SPC's origids say so little that it is one signer."""
    limits = policy.origids
    again = moved = 0
    for half in (counts.now, counts.old):
        if half is not None and half.origins is not None:
            again += half.origins.again
            moved += half.moved
    least = policy.keep * limits.moved if counts.minting else limits.moved
    return again >= limits.suspicious and moved >= least * again


def bindings(view: View) -> Assessment:
    """An agent who calls strangers anywhere behind privacy numbers; a platform that lends them."""
    policy, counts = view.policy.bindings, view.counts
    found = _Conditions()
    if counts.agent:
        found.needs("calls", view.calls, policy.least_calls)
        found.most("matching", view.matching, policy.matching)
        found.least("areas of callees", view.reach, policy.reach)
        if found.strength > view.enough:
            found.most("recurring", view.recurring, policy.recurring)
        return _of_agent(found.assessment(Measure.BINDINGS), view)
    found.figures["bound calls"] = counts.privacy_calls
    found.needs("calls of agents found", counts.privacy_calls_found, policy.lent_calls)
    found.least(
        "their share of bound calls",
        counts.privacy_calls_found / max(counts.privacy_calls, 1),
        policy.lent,
    )
    assessment, talk = found.assessment(Measure.BINDINGS), counts.talk
    if talk is None or counts.privacy_calls < policy.shared_calls:
        return assessment
    # Agents of few calls each are judged together, by how their callees take them.
    assessment.figures["answered"] = talk.answered / max(talk.told, 1)
    assessment.figures["long talks"] = talk.long / max(talk.timed, 1)
    talked = talk.score / log(1 / view.policy.talk.label)
    return replace(assessment, suspicion=max(assessment.strength / view.policy.suspect, talked))


def _of_agent(assessment: Assessment, view: View) -> Assessment:
    """An agent is suspected by as many strangers as an adviser may call, and found by far more."""
    policy = view.policy.bindings
    if view.policy.structure_alone:
        return assessment
    sure = view.calls >= policy.refused_calls and view.recurring <= policy.refused_recurring
    strength = assessment.strength if sure else min(assessment.strength, _NO_POOL)
    return replace(
        assessment, strength=strength, suspicion=assessment.strength / view.policy.suspect
    )


def calls_strangers(counts: KeyCounts, policy: Policy) -> bool:
    """Tell cheaply whether somebody calls people all over the country, and nobody twice."""
    limits, now, old = policy.handover, counts.now, counts.old
    if counts.calls < limits.watched_calls:
        return False
    displays = now.displays
    if displays is not None and (displays.bits or len(displays.exact) > limits.most_displays):
        return False
    known = now.known + (old.known if old is not None else 0)
    matches = now.matches + (old.matches if old is not None else 0)
    reach = now.reach | (old.reach if old is not None else 0)
    return (
        matches <= limits.matching * known
        and reach.bit_count() * 2 >= limits.reach_areas
        and recurring(counts, policy) <= max(limits.recurring, 1 / (counts.calls + 1))
    )


def handover(view: View) -> Assessment:
    """Several who call strangers, of whom each begins when another one falls silent."""
    policy, counts = view.policy.handover, view.counts
    found = _Conditions()
    found.figures["callers tied"] = counts.tied
    if counts.tied < 2 and counts.tie <= 0:
        return Assessment(
            measure=Measure.HANDOVER, strength=0.0, figures=found.figures, thresholds={}
        )
    found.needs("calls", view.calls, policy.least_calls)
    found.least("log-likelihood ratio", counts.tie, log(1 / policy.false_alarm))
    if found.strength > view.enough:
        found.limit("displays", view.displays.distinct, policy.most_displays)
        found.most("matching", view.matching, policy.matching)
        found.least("areas of callees", view.reach, policy.reach_areas)
        found.most("recurring", view.recurring, max(policy.recurring, 1 / (view.calls + 1)))
    return found.assessment(Measure.HANDOVER)


def _same_display(counts: KeyCounts) -> float:
    """Probability that two calls, drawn anew, show the same display; exact for few displays."""
    shown: dict[int, int] = {}
    for half in (counts.now, counts.old):
        if half is not None and half.displays is not None:
            for display, calls in half.displays.exact.items():
                shown[display] = shown.get(display, 0) + calls
    if counts.now.displays is None:
        shown[counts.shown] = shown.get(counts.shown, 0) + counts.now.calls
    total = sum(shown.values())
    return sum(calls * calls for calls in shown.values()) / (total * total) if total else 0.0


def _areas(calls: int, same: int) -> float:
    """How many equally frequent areas would repeat as often (inverse Simpson, unbiased)."""
    if calls < 2:
        return float(calls)
    pairs = calls * (calls - 1) / 2
    return min(pairs / same if same else inf, float(calls))


def _displayed(areas: AreaCounts | None) -> float:
    return _areas(areas.calls, areas.same_displays) if areas is not None else 1.0


def _called(areas: AreaCounts | None) -> float:
    return _areas(areas.calls, areas.same_callees) if areas is not None else 1.0


def _matched(areas: AreaCounts | None) -> float:
    return _areas(areas.matched, areas.same_matches) if areas is not None else 1.0


_OF_CALLERS: Final[dict[Measure, Judge]] = {
    Measure.LOCAL_PRESENCE: local_presence,
    Measure.SPREAD: spread,
    Measure.ROTATION: rotation,
    Measure.RATE: rate,
    Measure.CONCURRENCY: concurrency,
    Measure.HANDOVER: handover,
    Measure.BINDINGS: bindings,
    Measure.STRANGERS: strangers,
    Measure.OWN_PAST: lambda view: departure(view.counts, view.policy),
}
_OF_CARRIERS: Final[dict[Measure, Judge]] = {Measure.ORIGIDS: origids}
_OF_AGENTS: Final[dict[Measure, Judge]] = {
    Measure.BINDINGS: bindings,
    Measure.RATE: rate,
}
# Subjects of one reseller take turns, hand over and call at one time by chance, too.
_OF_RESELLERS: Final[dict[Measure, Judge]] = {
    Measure.LOCAL_PRESENCE: local_presence,
    Measure.SPREAD: spread,
}
# Of an SPC over all its origids. Customers of one carrier take turns, hand over and call at one
# time by chance.
_OF_WHOLE: Final[dict[Measure, Judge]] = {
    Measure.LOCAL_PRESENCE: local_presence,
    Measure.SPREAD: spread,
    Measure.RATE: rate,
}


def assess(
    counts: KeyCounts, policy: Policy, bounds: Bounds, enough: float = _ALL_FIGURES
) -> tuple[Assessment, ...]:
    """All measures that are on and apply to the key.

    Args:
        enough: strengths that are not above are only bounds, and figures may be missing there.
    """
    apply = _OF_CARRIERS if counts.carrier else _OF_AGENTS if counts.agent else _OF_CALLERS
    if counts.reseller:
        apply = _OF_RESELLERS
    view = View(counts, policy, bounds, enough)
    found = judged(view, apply)
    if counts.as_one_signer is not None:
        view = View(counts.as_one_signer, policy, bounds, enough)
        found += judged(view, _OF_WHOLE)
    return tuple(found)
