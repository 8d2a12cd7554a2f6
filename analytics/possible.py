"""Which measures could come to anything: bounds that cost little, asked before a key is judged.

Most keys that are judged are near nothing at all. A measure that is left out here would have a
strength of `enough` or less, and neither a suspicion nor a structure to tell of; tests hold both
ways against each other. Figures are all worked out when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import log
from typing import TYPE_CHECKING, Final, TypeAlias

from zhenxian.analytics.counts import SLOT
from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.thresholds import HOUR

if TYPE_CHECKING:
    from zhenxian.analytics.view import View

# Displays enough to be worth asking what is registered of the caller, and nothing against it.
UNPROVEN: Final = Assessment(
    measure=Measure.SPREAD, strength=0.0, figures={}, thresholds={}, suspicion=0.0, structure=1.0
)
Judge: TypeAlias = "Callable[[View], Assessment]"
Possible: TypeAlias = "Callable[[View], bool]"


def judged(view: View, apply: Mapping[Measure, Judge]) -> list[Assessment]:
    """The measures of a table that are on; less those that come to nothing, unless all are told."""
    on = view.policy.measures
    if view.enough < 0:
        return [judge(view) for measure, judge in apply.items() if measure in on]
    return [
        judge(view)
        for measure, judge in apply.items()
        if _POSSIBLE[measure](view) and measure in on
    ]


def likely(view: View, apply: Mapping[Measure, Judge]) -> list[Assessment]:
    """As `judged` leaves them out, those that are left with all of their figures."""
    on, enough = view.policy.measures, view.enough
    view.enough = view.policy.keep
    left = [judge for measure, judge in apply.items() if _POSSIBLE[measure](view) and measure in on]
    view.enough = enough
    return [judge(view) for judge in left]


def _spread(view: View) -> bool:
    policy = view.policy.spread
    return view.calls >= policy.least_calls and (
        view.policy.structure_alone or view.displays.distinct >= policy.displays
    )


def _local_presence(view: View) -> bool:
    score, upper = view.counts.score, view.bounds.upper
    return score > view.enough * upper if view.policy.structure_alone else score >= upper


def _rate(view: View) -> bool:
    counts, policy = view.counts, view.policy.rate
    limit = min(policy.per_display, policy.per_key) * min(1.0, policy.without_area)
    return bool(counts.ring) and counts.busiest >= limit * SLOT / HOUR


def _concurrency(view: View) -> bool:
    return view.counts.active >= 0


def _rotation(view: View) -> bool:
    policy = view.policy.rotation
    if view.calls < policy.least_calls:
        return False
    if view.counts.left:
        return True
    displays, changes = view.displays.distinct, view.display_changes
    few = policy.displays <= displays <= policy.most_displays
    return few and changes >= min(policy.rounds, policy.rounds_anywhere) * displays


def _handover(view: View) -> bool:
    return view.counts.tie > view.enough * log(1 / view.policy.handover.false_alarm)


def _bindings(view: View) -> bool:
    counts, policy = view.counts, view.policy.bindings
    if counts.agent:
        return view.calls >= policy.least_calls
    lent = counts.privacy_calls_found >= policy.lent_calls
    return lent or counts.privacy_calls >= policy.shared_calls


def _strangers(view: View) -> bool:
    policy = view.policy.strangers
    least = view.enough * min(policy.mobile, policy.other, policy.persistent)
    displays = 1.0 if view.counts.person else view.displays.distinct
    return view.calls > least * max(displays, 1.0)


def _origids(_: View) -> bool:
    return True  # it is told beside whatever else is found


def _own_past(view: View) -> bool:
    past = view.counts.past
    return past is not None and past.unusual is not None


_POSSIBLE: Final[dict[Measure, Possible]] = {
    Measure.SPREAD: _spread,
    Measure.LOCAL_PRESENCE: _local_presence,
    Measure.RATE: _rate,
    Measure.CONCURRENCY: _concurrency,
    Measure.ROTATION: _rotation,
    Measure.HANDOVER: _handover,
    Measure.BINDINGS: _bindings,
    Measure.STRANGERS: _strangers,
    Measure.ORIGIDS: _origids,
    Measure.OWN_PAST: _own_past,
}
