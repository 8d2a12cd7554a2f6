"""The measures: each reads one key's counts and says how near they come to a pool.

Each measure is a list of conditions that must all hold. Its strength is that of the weakest: the
figure over its threshold, or the threshold over the figure where a pool stays below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, log
from typing import Final, TypeAlias

from msgspec.structs import replace

from zhenxian.analytics.counts import SLOT, SLOTS, KeyCounts
from zhenxian.analytics.departure import departure
from zhenxian.analytics.locality import AreaCounts, Bounds
from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.possible import UNPROVEN, Judge, judged
from zhenxian.analytics.proof import evident, proven, spoken_for, talk_score, weighed
from zhenxian.analytics.rotation import rotation
from zhenxian.analytics.thresholds import HOUR, Policy
from zhenxian.analytics.view import Conditions, View, recurring

_SLOTS_AN_HOUR: Final = HOUR // SLOT
_ALL_FIGURES: Final = -1.0  # no strength is below, so that no measure stops early


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
    found = Conditions()
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
    found = Conditions()
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
    long_way, short_way = Conditions(), Conditions()
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
    found = Conditions()
    found.figures["calls in the last hour"] = sum(counts.begun(_SLOTS_AN_HOUR))
    found.figures["displays"] = view.displays.distinct
    _sustained(view, found, counts.begun, limit / _SLOTS_AN_HOUR)
    found.thresholds["calls in the last hour"] = limit
    return weighed(found.assessment(Measure.RATE), counts, view.policy, refuses=None)


def concurrency(view: View) -> Assessment:
    """More calls at a time than people hold, for an hour, where ends of calls are reported."""
    counts = view.counts
    if counts.active < 0:
        return Assessment(measure=Measure.CONCURRENCY, strength=0.0, figures={}, thresholds={})
    found = Conditions()
    found.figures["calls at a time"] = max(counts.most(_SLOTS_AN_HOUR), default=0)
    limit: float = view.policy.rate.concurrent
    if view.switch:
        displays = found.figures["displays"] = view.displays.distinct
        limit = max(limit, view.policy.rate.concurrent_each * displays)
    found.thresholds["calls at a time"] = limit
    # Calls whose end nobody tells are no calls in progress.
    found.needs("share of ends told", view.ends_reported, view.policy.rate.ends_told)
    _sustained(view, found, counts.most, limit)
    return weighed(found.assessment(Measure.CONCURRENCY), counts, view.policy, refuses=None)


def _sustained(
    view: View, found: Conditions, counts: Callable[[int], list[int]], limit: float
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


def strangers(view: View) -> Assessment:
    """More strangers a day than the holder of such a number has reason to call."""
    policy, counts = view.policy.strangers, view.counts
    found = Conditions()
    displays = view.displays.distinct
    talk, level = counts.talk, log(1 / view.policy.talk.label)
    against = talk is not None and talk.timed >= policy.talk and talk.score >= level
    honest = talk is not None and talk.timed >= policy.talk and talk.score < 0
    if view.policy.structure_alone or view.arealess * 2 > view.calls:
        return Assessment(measure=Measure.STRANGERS, strength=0.0, figures={}, thresholds={})
    recurring = view.recurring
    other = policy.persistent if recurring >= policy.retried else policy.other
    limit = policy.mobile if counts.personal or against else other
    called = view.calls * (1 - recurring)
    if counts.person and counts.personal:
        # One person makes the calls of all of them, however many there are.
        found.least("strangers a person and day", called, limit)
    else:
        found.least("strangers a number and day", called / max(displays, 1.0), limit)
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


def origids(view: View) -> Assessment:
    """A carrier whose displays come with an origid of their own each time.

    No finding by itself: it says that the carrier's calls are looked at as those of one signer, and
    stands beside what they show.
    """
    policy = view.policy.origids
    again, moved = view.seen_again
    found = Conditions()
    found.figures["calls"] = view.calls
    found.needs("displays seen again", again, policy.repeated_displays)
    found.least("share with a new origid", moved / again if again else 0.0, policy.moved)
    return found.assessment(Measure.ORIGIDS)


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
    found = Conditions()
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
    """An agent calls as many strangers as advisers do; talk says which it is.

    Where that is not reported, only far more are a suspicion.
    """
    policy = view.policy.bindings
    if view.policy.structure_alone:
        return assessment
    many = view.calls >= policy.refused_calls
    if not many and talk_score(view.counts) is None:
        return replace(assessment, strength=0.0)
    sure = many and view.recurring <= policy.refused_recurring
    refuses = view.policy.talk.refuse if sure else None
    return weighed(assessment, view.counts, view.policy, refuses=refuses)


def calls_strangers(counts: KeyCounts, policy: Policy) -> bool:
    """Tell cheaply whether somebody calls people all over the country, and nobody twice.

    Who calls a single city does so all the more: there a business calls some of them again.
    """
    limits, now, old = policy.handover, counts.now, counts.old
    calls = now.calls if old is None else now.calls + old.calls
    if calls < limits.watched_calls:
        return False
    displays = now.displays
    if displays is not None and (displays.bits or len(displays.exact) > limits.most_displays):
        return False
    known, matches, reach = now.known, now.matches, now.reach
    if old is not None:
        known += old.known
        matches += old.matches
        reach |= old.reach
    anywhere = matches <= limits.matching * known and reach.bit_count() * 2 >= limits.reach_areas
    if not anywhere and policy.structure_alone:
        return False
    limit = limits.recurring if anywhere else limits.recurring_local
    return recurring(counts, policy) <= max(limit, 1 / (calls + 1))


def handover(view: View) -> Assessment:
    """Several who call strangers, of whom each begins when another one falls silent."""
    policy, counts = view.policy.handover, view.counts
    found = Conditions()
    found.figures["callers tied"] = counts.tied
    if counts.tied < 2 and counts.tie <= 0:
        return Assessment(
            measure=Measure.HANDOVER, strength=0.0, figures=found.figures, thresholds={}
        )
    found.needs("calls", view.calls, policy.least_calls)
    found.least("log-likelihood ratio", counts.tie, log(1 / policy.false_alarm))
    anywhere = view.policy.structure_alone or (
        view.matching <= policy.matching and view.reach >= policy.reach_areas
    )
    if found.strength > view.enough:
        found.limit("displays", view.displays.distinct, policy.most_displays)
        if anywhere:
            found.most("matching", view.matching, policy.matching)
            found.least("areas of callees", view.reach, policy.reach_areas)
        limit = policy.recurring if anywhere else policy.recurring_local
        found.most("recurring", view.recurring, max(limit, 1 / (view.calls + 1)))
    refuses = view.policy.talk.label if anywhere else None
    return weighed(found.assessment(Measure.HANDOVER), counts, view.policy, refuses=refuses)


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


Judges: TypeAlias = Callable[[View, Mapping[Measure, Judge]], list[Assessment]]
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
    counts: KeyCounts,
    policy: Policy,
    bounds: Bounds,
    enough: float = _ALL_FIGURES,
    judged: Judges = judged,
) -> tuple[Assessment, ...]:
    """All measures that are on and apply to the key.

    Args:
        enough: strengths that are not above are only bounds, and figures may be missing there.
        judged: which measures are worked out.
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
