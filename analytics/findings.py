"""Judging: what a key's counts amount to, what stands against whom, and until when."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from zhenxian.analytics.case import case_of
from zhenxian.analytics.codec import Saved, write_finding, write_mark
from zhenxian.analytics.counts import SLOT, KeyCounts
from zhenxian.analytics.evidence import SequentialTests
from zhenxian.analytics.linkage import Mark
from zhenxian.analytics.locality import Bounds
from zhenxian.analytics.measures import assess
from zhenxian.analytics.model import Assessment, Finding, Key, KeyKind, Measure, Sample, State
from zhenxian.analytics.outside import Outside
from zhenxian.analytics.thresholds import DAY, HOUR, Policy

_MOST_ASKED: Final = 1_000
_ORIGIDS_ALONE: Final = (Measure.ORIGIDS,)
_COMES_BACK: Final = 7 * DAY  # within which the suspicion of a reseller is the one before


class Findings:
    """What stands against whom.

    Attributes:
        bounds: of the sequential test over areas. tests: of those of talk and repeats.
        flagged: somebody was found pooled since `take_unsaved`.
        clearings: when each key was last cleared, in seconds since the epoch.
        changed: those still to be sent to the others; None where there are no others.
        changed_marks: likewise, of marks.
        outside: what is known of callers beside their own calls.
        asked: keys of which it would help to know what is registered, until somebody takes them.
        accused: keys against whom something stands, or stood until lately.
        confirmed_pooled: when keys were found pooled by this node, or once more, until it is taken.
    """

    def __init__(self, policy: Policy, *, fleet: bool) -> None:
        self.bounds = Bounds(policy.locality)
        self.tests = SequentialTests(policy.talk, policy.repeats)
        self.flagged = False
        self.clearings: dict[Key, int] = {}
        self.changed: dict[Key, Finding] | None = {} if fleet else None
        self.outside = Outside(policy)
        self.asked: set[Key] = set()
        self.confirmed_pooled: dict[Key, int] = {}
        self._policy = policy
        rate, keep = policy.rate, policy.keep
        # What `worth` asks of each key, looked up once: attributes of a Struct are slow.
        self._busy = keep * min(rate.per_display, rate.per_key) * SLOT / HOUR
        self._at_a_time = keep * rate.concurrent
        self._score = keep * self.bounds.upper
        self._of_agents = keep * policy.bindings.least_calls
        self._through_platform = policy.bindings.shared_calls
        self._spread = policy.spread.least_calls
        self._in_turn = policy.rotation.least_calls
        self._strangers = policy.strangers.mobile
        self.changed_marks: dict[Key, Mark | None] = {}
        self._standing: dict[Key, Finding] = {}
        self.accused = self._standing.keys()
        self._unsaved: dict[Key, Finding | None] = {}
        self._others: set[Key] = set()  # of those, confirmed by other nodes
        self._lapsed: dict[Key, Finding] = {}  # suspicions of resellers that did not last

    def __contains__(self, key: Key) -> bool:
        return key in self._standing

    def __len__(self) -> int:
        return len(self._standing)

    def at(self, key: Key, now: int) -> Finding | None:
        """What stands against a key at this time; None for nothing."""
        found = self._standing.get(key)
        if found is None or now >= found.until:
            return None
        return found

    def standing(self, now: int) -> list[Finding]:
        """What stands against anybody at this time."""
        return [found for found in self._standing.values() if now < found.until]

    # -- judging

    def worth(self, counts: KeyCounts) -> bool:
        """Tell cheaply whether a measure could find anything; most keys are nowhere near."""
        if counts.carrier:
            return self._worth_as_one_signer(counts.as_one_signer)
        # Over both halves, as the properties of KeyCounts work it out one by one.
        now, old = counts.now, counts.old
        calls, changes = now.calls, now.turns
        bound, of_found = now.privacy_calls, now.privacy_calls_found
        if old is not None:
            calls += old.calls
            changes += old.turns
            bound += old.privacy_calls
            of_found += old.privacy_calls_found
        if bound >= self._through_platform or (counts.agent and calls >= self._of_agents):
            return True
        many = calls >= self._spread
        if self._policy.structure_alone:
            spread = counts.score >= self._score or (many and counts.areas is not None)
        else:
            spread = many and counts.leaning
        if spread or counts.tied > 1 or of_found or counts.left:
            return True
        if calls >= self._strangers and not counts.agent:
            return True
        # In turn: displays change, but far less often than lines that hunt.
        if calls >= self._in_turn and 0 < changes * 4 < calls * 3:
            return True
        past = counts.past
        if past is not None and past.unusual is not None:
            return True
        if not counts.ring:
            return False
        return counts.busiest >= self._busy or max(counts.peaks) >= self._at_a_time

    def _worth_as_one_signer(self, whole: KeyCounts | None) -> bool:
        """Likewise of a carrier, of which its origids alone are nothing to find."""
        policy = self._policy
        if whole is None:
            return False
        least = min(policy.spread.least_calls, policy.locality.least_calls)
        many = whole.calls >= least and (policy.structure_alone or whole.leaning)
        return many or (bool(whole.ring) and whole.busiest >= self._busy)

    def judge(
        self,
        key: Key,
        counts: KeyCounts | None,
        at: int,
        own: tuple[Assessment, ...] | None = None,
    ) -> tuple[Assessment, ...]:
        """Find, confirm, or drop what stands against a key.

        Args:
            counts: None for one that made no call yet.
            own: the measures of these very counts, where another key that they serve was judged
                just now: they are most of what judging takes.

        Returns:
            The measures of its own calls, for such another key.
        """
        policy = self._policy
        found = self._standing.get(key)
        if found is not None and at >= found.until:
            self._lapse(found, at)
            found = None
            if counts is not None:
                counts.score = 0.0
                own = None
        if own is None:
            own = assess(counts, policy, self.bounds, policy.keep) if counts is not None else ()
        if len(self.asked) < _MOST_ASKED and (
            (own and any((one.structure or 0) >= 1 for one in own))
            or self._may_be_one_persons(key, counts)
        ):
            self.asked.add(key)
        assessments = self.outside.beside(key, counts, own, at)
        if not assessments and found is None:
            return own
        # RFC 8588 section 10 recommends an origid for each call: by itself it is nothing to find.
        acts = [one for one in assessments if one.measure is not Measure.ORIGIDS]
        best = max(acts, key=lambda one: one.strength, default=None)
        strength = best.strength if best is not None else 0.0
        if best is not None and strength >= 1:
            self._find(key, counts, best, assessments, State.POOLED, at)
        elif found is None:
            worst = max(acts, key=self._leads_to, default=None)
            if worst is not None and self._suspected(worst) >= 1:
                self._find(key, counts, worst, assessments, State.SUSPECTED, at)
        elif found.state is State.POOLED:
            # What brought it here must show again; anything else would be another finding.
            same = [one for one in acts if one.measure is found.measure]
            if same and same[0].strength > policy.keep:
                self._find(key, counts, same[0], assessments, State.POOLED, at)
            elif found.until > at + policy.pooled_for:
                self._set(replace(found, until=at + policy.pooled_for))  # the clock was ahead
        else:
            worst = max(acts, key=self._leads_to, default=None)
            if worst is not None and self._suspected(worst) > policy.keep / policy.suspect:
                self._find(key, counts, worst, assessments, State.SUSPECTED, at)
            else:
                self._lapse(found, at)
        return own

    def _may_be_one_persons(self, key: Key, counts: KeyCounts | None) -> bool:
        """Tell whether mobile numbers of one caller together call more than a person does."""
        return (
            key.kind in (KeyKind.ACCESS, KeyKind.SUBJECT)
            and counts is not None
            and counts.personal
            and counts.calls >= self._policy.strangers.mobile
        )

    def _suspected(self, assessment: Assessment) -> float:
        return assessment.suspected(self._policy.suspect)

    def _leads_to(self, assessment: Assessment) -> tuple[bool, float]:
        """What a suspicion leads to: lowering before labelling."""
        suspected = self._suspected(assessment)
        return suspected >= 1 and assessment.lowers, suspected

    def drop(self, key: Key) -> None:
        """Nothing stands against a key any more, nor did."""
        lapsed = self._lapsed.pop(key, None)
        if self._standing.pop(key, None) is not None or lapsed is not None:
            self._unsaved[key] = None
            self._others.discard(key)

    def _lapse(self, found: Finding, at: int) -> None:
        """What stood against a key is over; against a reseller, if it comes back, it is the same.

        Else who became its customer at night would have been there before it was suspected.
        """
        key = found.key
        if key.kind is not KeyKind.RESELLER or found.state is not State.SUSPECTED:
            self.drop(key)
            return
        del self._standing[key]
        if at < found.until:
            # As ended, so that nobody who reads what is saved takes it for standing.
            found = self._unsaved[key] = replace(found, until=at)
            self._others.discard(key)
        self._lapsed[key] = found  # and what is saved of it stays, for who starts anew

    def _find(
        self,
        key: Key,
        counts: KeyCounts | None,
        best: Assessment,
        assessments: tuple[Assessment, ...],
        state: State,
        at: int,
    ) -> None:
        policy = self._policy
        before = self._standing.get(key) or self._lapsed.get(key)
        if before is not None and at - before.until >= _COMES_BACK:
            before = None
        same = before is not None and before.state is state
        known = before.measures if same and before is not None and state is State.POOLED else ()
        self._set(
            Finding(
                key=key,
                state=state,
                measure=best.measure,
                strength=best.strength,
                figures=best.figures,
                thresholds=best.thresholds,
                window=policy.window,
                samples=tuple(Sample(*sample) for sample in counts.samples) if counts else (),
                since=min(before.since, at) if before is not None and same else at,
                until=at + self._stands_for(state, best.measure),
                beside=tuple(
                    one.measure
                    for one in assessments
                    if one is not best
                    and (
                        one.strength >= 1
                        or (one.measure in known and one.strength > policy.keep)
                        or (
                            counts is not None and counts.minting and one.measure is Measure.ORIGIDS
                        )
                    )
                ),
                lowers=best.lowers,
                case=before.case if before is not None and before.case else case_of(key, at),
            )
        )
        if state is State.POOLED:
            self.confirmed_pooled[key] = at

    def _set(self, found: Finding, *, send: bool = True) -> None:
        standing = self._standing
        if found.measures == _ORIGIDS_ALONE:
            return  # saved, or sent, by an earlier release
        self._lapsed.pop(found.key, None)
        if found.key not in standing and len(standing) >= self._policy.max_keys:
            # The one that would end first; suspected ones before pooled ones.
            self.drop(min(standing, key=lambda key: (standing[key].state, standing[key].until)))
        before = standing.get(found.key)
        standing[found.key] = self._unsaved[found.key] = found
        if found.state is State.POOLED and (
            before is None
            or before.state is not State.POOLED
            or not set(found.measures) <= set(before.measures)  # it may lead to more
        ):
            self.flagged = True
        if not send:
            self._others.add(found.key)
            return
        self._others.discard(found.key)
        if self.changed is not None:
            self.changed[found.key] = found

    # -- what comes from elsewhere, and how long it stands

    def adopt(self, found: Finding) -> None:
        """Take over a finding unless a worse or longer one stands, or it was cleared since."""
        if self.confirmed(found) <= self.clearings.get(found.key, -1):
            return
        mine = self._standing.get(found.key)
        if mine is not None and mine.case != found.case:
            # Two nodes found it at a time: all take the same name for it.
            case = min(filter(None, (mine.case, found.case)))
            if case != mine.case:
                mine = replace(mine, case=case)
                self._set(mine, send=False)
            found = replace(found, case=case)
        if mine is None or (found.state, found.until) > (mine.state, mine.until):
            self._set(found, send=False)
            if mine is None:  # what was dropped here was taken from where later nodes look
                self._others.discard(found.key)

    def confirmed(self, found: Finding) -> int:
        """When a finding was last confirmed, in seconds since the epoch."""
        return found.until - self._stands_for(found.state, found.measure)

    def _stands_for(self, state: State, measure: Measure) -> int:
        """Seconds from the last confirmation on; what is of some hours is over with them."""
        policy = self._policy
        if state is State.POOLED:
            return policy.pooled_for
        if measure is Measure.OWN_PAST:
            return min(policy.own_past.stands_for, policy.suspected_for)
        return policy.suspected_for

    @property
    def clearings_for(self) -> int:
        """Seconds for which a clearing matters: what it forgot is over by itself then.

        Marks lie longest.
        """
        policy = self._policy
        found = max(policy.pooled_for, policy.suspected_for) + policy.window
        return max(found, policy.links.remembered, policy.complained.days * DAY)

    def cleared(self, key: Key, at: int) -> bool:
        """Note a clearing; tell whether what stands against the key was confirmed before it."""
        self.clearings[key] = at = max(at, self.clearings.get(key, at))
        linked = list(self.outside.cleared(key, at))
        while linked:
            linked += self._unlink(linked.pop())
        lapsed = self._lapsed.get(key)
        if lapsed is not None and lapsed.since <= at:
            self.drop(key)
        found = self._standing.get(key)
        return found is not None and self.confirmed(found) <= at

    def _unlink(self, key: Key) -> tuple[Key, ...]:
        """What stood against a key for the numbers of another is over: that one was cleared.

        Returns:
            Those against whom its own mark stood.
        """
        found = self._standing.get(key) or self._lapsed.get(key)
        if found is None or found.measure is not Measure.LINKAGE:
            return ()
        self.drop(key)
        return self.outside.linkage.unmark(key)

    def withhold(self, key: Key) -> None:
        """Send others nothing that was found of a key."""
        if self.changed is not None:
            self.changed.pop(key, None)

    def stands(self, key: Key, at: int) -> bool:
        """Tell whether something stands against a key; forget what ended a window ago.

        Kept that long, so that a clock that leaps ahead and back clears nobody for good.
        """
        found = self._standing.get(key)
        if found is None:
            return False
        if at < found.until + self._policy.window:
            return True
        self._lapse(found, at)
        return False

    def expire(self, now: int) -> None:
        """Forget findings that ended a window ago, of keys that nobody hears of any more."""
        for key in list(self._standing):
            self.stands(key, now)
        for key, lapsed in list(self._lapsed.items()):
            if now - lapsed.until > _COMES_BACK:
                self.drop(key)
        self.outside.expire(now)
        for key in [one for one, at in self.clearings.items() if now - at > self.clearings_for]:
            del self.clearings[key]

    def take_unsaved(self) -> list[Saved]:
        """Findings that are new, changed or over since they were last taken."""
        unsaved, self._unsaved = self._unsaved, {}
        others, self._others = self._others, set()
        self.flagged = False
        return [
            Saved(str(key), write_finding(found) if found is not None else None, key not in others)
            for key, found in unsaved.items()
        ]

    def take_unsaved_marks(self) -> list[Saved]:
        """Marks of found callers that changed since they were last taken, to be kept likewise."""
        linkage = self.outside.linkage
        made_here = {key for key, here in linkage.changed.items() if here}
        here, linkage.learned = made_here | linkage.learned, set()
        changed = linkage.take_changed()
        if self.changed is not None:
            self.changed_marks.update({key: changed[key] for key in made_here})
        return [
            Saved(f"mark {key}", write_mark(mark) if mark is not None else None, key in here)
            for key, mark in changed.items()
        ]
