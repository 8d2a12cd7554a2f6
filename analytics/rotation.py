"""Displays taken in turn, or used up one after another: boxes of SIM cards, and who returns."""

from __future__ import annotations

from msgspec.structs import replace

from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.proof import weighed
from zhenxian.analytics.view import Conditions, View


def rotation(view: View) -> Assessment:
    """Displays taken in turn, or used up one after another."""
    worst = _in_turn(view)
    if view.counts.left:
        successors = _used_up(view)
        if successors.strength > worst.strength:
            worst = successors
    if view.policy.structure_alone:
        return worst
    worst = weighed(worst, view.counts, view.policy, refuses=view.policy.talk.label)
    if worst.strength >= 1:
        return worst
    anywhere = _in_turn_anywhere(view)
    return anywhere if (anywhere.suspicion or 0.0) >= 1 else worst


def _anywhere(view: View, found: Conditions) -> None:
    policy = view.policy.rotation
    found.most("matching", view.matching, policy.matching)
    found.least("areas of callees", view.reach, policy.reach)
    if found.strength > view.enough:
        _seldom(view, found)


def _seldom(view: View, found: Conditions) -> None:
    recurring = max(view.policy.rotation.recurring, 1 / (view.calls + 1))
    found.most("recurring", view.recurring, recurring)


def _rounds(view: View, least: float) -> Conditions:
    """A few displays, gone through so many times."""
    policy = view.policy.rotation
    found = Conditions()
    found.needs("calls", view.calls, policy.least_calls)
    displays = view.displays.distinct
    found.needs("displays", displays, policy.displays)
    found.limit("displays", displays, policy.most_displays)
    found.needs("rounds", view.display_changes / max(displays, 1.0), least)
    return found


def _kept(view: View, found: Conditions, least: float) -> None:
    """Each display is kept for some calls, and all are used alike."""
    # Chance: that two calls show the same display if each picks anew.
    same = view.same_display
    kept = 1 - view.display_changes / max(view.calls - 1, 1)
    persistence = (kept - same) / (1 - same) if same < 1 else 0.0
    found.least("persistence", max(persistence, 0.0), least)
    found.least("evenness", 1 / (same * view.displays.distinct) if same else 0.0, 0.5)


def _in_turn(view: View) -> Assessment:
    """A box of SIM cards: a few displays, each for some calls, then the next, and round again."""
    policy = view.policy.rotation
    found = _rounds(view, policy.rounds)
    if found.strength > view.enough:
        _kept(view, found, policy.persistence)
        _anywhere(view, found)
    return found.assessment(Measure.ROTATION)


def _in_turn_anywhere(view: View) -> Assessment:
    """The same wherever the callees live: persistence alone separates, and only lowers."""
    policy = view.policy.rotation
    found = _rounds(view, policy.rounds_anywhere)
    if found.strength > 0:
        _kept(view, found, policy.persistence_anywhere)
        _seldom(view, found)
    assessment = found.assessment(Measure.ROTATION)
    assessment = replace(assessment, suspicion=assessment.strength)
    return weighed(assessment, view.counts, view.policy, refuses=None)


def _used_up(view: View) -> Assessment:
    """A number until it is stopped, then the next, with no way back."""
    policy, counts = view.policy.rotation, view.counts
    found = Conditions()
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
