"""One key's counts over the whole window, and the conditions that a measure asks of them."""

from __future__ import annotations

from math import log
from typing import Final

from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.locality import Bounds
from zhenxian.analytics.model import Assessment, Measure
from zhenxian.analytics.sketch import Distinct, Union, recurrence, union
from zhenxian.analytics.thresholds import Policy

_REACH_BITS: Final = 64
_STRONGEST: Final = 10.0  # strength says no more above
_NEAR: Final = 1e-9


class Conditions:
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
        self._same_display: float | None = None

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
    def same_display(self) -> float:
        """Probability that two calls, drawn anew, show the same display; for few of them."""
        if self._same_display is None:
            self._same_display = _same_display(self.counts)
        return self._same_display

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
        return _REACH_BITS * log(_REACH_BITS / (_REACH_BITS - ones))

    @property
    def seen_again(self) -> tuple[int, int]:
        """Calls of a signer or SPC that showed a display seen before; those in new company."""
        again = moved = 0
        for half in (self.counts.now, self.counts.old):
            if half is not None and half.origins is not None:
                again += half.origins.again
                moved += half.moved
        return again, moved

    def strangers(self, conditions: Conditions, recurring: float) -> None:
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


def answers_reported(counts: KeyCounts, policy: Policy) -> bool:
    """Tell whether it is known which calls were answered."""
    now, old = counts.now, counts.old
    begun, answers = now.begun, now.answers
    if old is not None:
        begun += old.begun
        answers += old.answers
    return begun > 0 and answers >= policy.rate.ends_told * begun


def recurring(counts: KeyCounts, policy: Policy) -> float:
    """Share of calls that repeat a pair of display and callee; of answered ones, where known.

    Of calls that nobody answered, those to people who had not answered before count as well.
    """
    now, old = counts.now, counts.old
    if answers_reported(counts, policy):
        return recurrence(now.contacts, old.contacts if old is not None else None)
    return recurrence(now.pairs, old.pairs if old is not None else None)


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
