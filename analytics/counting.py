"""Counting: a call counts for each of its keys, once for an access and its only subject.

A key is judged anew only after its calls have grown by an eighth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Final

from zhenxian.analytics.areas import NO_AREA, is_mobile
from zhenxian.analytics.callbacks import ShownBy
from zhenxian.analytics.complaints import Complaint
from zhenxian.analytics.counted import MASK_32, Contact, CountedCall, pair_hash
from zhenxian.analytics.counts import MAX_SAMPLES, SLOT, SLOTS, KeyCounts
from zhenxian.analytics.evidence import Contacts
from zhenxian.analytics.findings import Findings
from zhenxian.analytics.hashing import Hashing
from zhenxian.analytics.heard import KNOWN, RESEMBLES, SPEAKS_AGAINST, WELL_KNOWN, Heard, Told
from zhenxian.analytics.measures import calls_strangers, mints
from zhenxian.analytics.model import Key, KeyKind, Measure, Observation, State
from zhenxian.analytics.outside import WELL_KNOWN as WELL_KNOWN_CALLS
from zhenxian.analytics.outside import followed, resembles, speaks_against
from zhenxian.analytics.past import Past
from zhenxian.analytics.recent import RecentSet
from zhenxian.analytics.shares import COPIES
from zhenxian.analytics.sim_box import Handovers
from zhenxian.analytics.table import KeyTable
from zhenxian.analytics.thresholds import DAY, Policy
from zhenxian.core.tn import TN

_MOST_STEP: Final = 256  # calls until a key is judged again, at most
_QUIET: Final = 16  # calls of a single display, before which none is kept as a sample
_RING: Final = SLOT * SLOTS  # seconds
_AGENT: Final = KeyKind.AGENT
_CALLERS: Final = (KeyKind.ACCESS, KeyKind.SUBJECT, KeyKind.SIGNER)
_RESOLD: Final = (KeyKind.ACCESS, KeyKind.SUBJECT)
_KNOWN: Final = 250  # calls within the window
_SHARED_STEP: Final = 64  # calls through privacy numbers, likewise
_FOUND_STEP: Final = 16  # calls of agents found until a platform is judged again
# Of tokens, and of pairs of display and callee, counted lately: 10 to 15 MB each when full.
_BEGINNINGS: Final = 32  # of counting a share of the keys, that are remembered
_LATE: Final = 60  # seconds by which calls come late from others
_MAX_MARKS: Final = 65_536
_MAX_DIALLED: Final = 65_536
_VERIFIED: Final = 1 << 32


class Counting:
    """The counts of all keys.

    Attributes:
        table: counts by key. handovers: from one caller to the next, by kind of key.
        shown_by: whose displays are. heard: what nodes tell each other of keys.
    """

    def __init__(
        self,
        policy: Policy,
        findings: Findings,
        show: Callable[[str], str],
        *,
        calls_back: bool = True,
    ) -> None:
        """Args: show: how numbers stand in samples. calls_back: as of a Detector."""
        self.table = KeyTable(
            policy.max_keys,
            policy.established,
            policy.window,
            policy.remembered,
            findings.stands,
        )
        self.handovers = {kind: Handovers(policy.handover) for kind in _CALLERS}
        self.hashing = Hashing(policy.salt)
        self._policy = policy
        self._findings = findings
        self._show = show
        self._bounds, self._tests = findings.bounds, findings.tests
        self._half = policy.window // 2
        self._far = 2 * policy.window  # a clock further back than that was wrong before
        self._linkage = findings.outside.linkage
        self._marks = self._linkage.marks
        self._complaints = findings.outside.complaints
        self._accused, self._concerns = findings.accused, findings.outside.concerns
        self._number, self._numbers = self.hashing.number, self.hashing.known
        self._callee = self.hashing.number_once
        self._text = self.hashing.text
        self._ties = Measure.HANDOVER in policy.measures
        self._knows_past = Measure.OWN_PAST in policy.measures
        self.shown_by = ShownBy()
        self._calls_back = calls_back
        self.heard = Heard()
        self._mine: Callable[[Key], bool] | None = None
        # When it began to count keys that may have called before, and whether it does so now.
        self._began: list[int] = []
        self._begins = True
        self._peers: tuple[int, float] | None = None
        self._counted_marks = RecentSet(_MAX_MARKS)
        self._dialled = RecentSet(_MAX_DIALLED, policy.redial)

    def part(self, mine: Callable[[Key], bool] | None) -> None:
        """Count a part of the keys from now on, and tell others what they need of these.

        Args:
            mine: whether a key is counted here; None where all are.
        """
        self._mine = mine
        self._begins = True
        self.heard.anew()
        self._linkage.tell(others=mine is not None)
        self.shown_by.tell(others=mine is not None)
        for handovers in self.handovers.values():
            handovers.tell(others=mine is not None)

    def _begin(self, at: int) -> None:
        self._begins = False
        if self._mine is not None or self._began or len(self.table) <= 1:
            self._began = [*self._began[1 - _BEGINNINGS :], at - _LATE]

    def came_later(self, counts: KeyCounts | None, told: Told | None, since: int) -> bool:
        """Tell whether a caller's first call, as far as anybody knows, was not before that.

        Of who first called on the day on which this node began to count its share, because it was
        started with nothing or another one went, nobody knows that, if `since` was before.
        """
        known = [(told.first, told.began)] if told is not None else []
        if counts is not None:
            known.append((counts.first, self._unsure_from(counts.first)))
        first, began = min(known)
        return first >= since >= began

    def _unsure_from(self, first: int) -> int:
        return next((at for at in reversed(self._began) if at <= first < at + DAY), 0)

    def judges(self, key: Key) -> bool:
        """Tell whether a key is judged here: another would take it for one that never called."""
        return self._mine is None or self._mine(key)

    def again(self, mark: int) -> bool:
        """Tell whether the call with that mark was counted, and take it for counted from now on.

        Who sends each INVITE twice must not look like one who calls again.
        """
        return mark >= 0 and self._counted_marks.again(mark)

    def hashed(self, observation: Observation) -> CountedCall:
        """What is counted of a call."""
        at, bound = observation.at, observation.bound
        # A bound display is no choice of the caller, who is judged as if the own number was shown.
        number = observation.hidden_caller if bound else observation.display
        if number is None:
            return CountedCall(at, observation.keys, bound)
        display, display_area = self._numbers.get(number) or self._number(number)
        link, tripled = None, display * 3  # as pair_hash does, in place: each call passes here
        origid = observation.origid
        if origid is not None:
            link = (tripled + self._text(origid)) & MASK_32
        callee = observation.callee
        if callee is None:
            pair, callee_area, redialled = None, NO_AREA, False
        else:
            called, callee_area = self._callee(callee)
            pair = (tripled + called) & MASK_32
            # One service may sign and verify the same call.
            redialled = not bound and self._dialled.again(
                pair if link is None else pair | _VERIFIED, at
            )
        return CountedCall(
            at,
            observation.keys,
            bound,
            display,
            pair,
            redialled,
            display_area,
            callee_area,
            link,
            observation.vouched,
        )

    def contact(
        self, display: TN, callee: TN, *, answered: bool, seconds: int | None = None
    ) -> Contact:
        """What the end of a call says of whether the two know each other, and of the talk."""
        shown = self._number(display)[0]
        return Contact(pair_hash(shown, self._callee(callee)[0]), answered, seconds, shown)

    def count(
        self,
        call: CountedCall,
        observation: Observation | None,
        whose: tuple[Key, ...] | None = None,
    ) -> None:
        """Count a call for each of its keys, and judge those that are due.

        Args:
            observation: what samples are made of; None for a call of another node.
            whose: those of its keys that it is counted for; None for all.
        """
        at, keys, bound, display, pair = call.at, call.keys, call.bound, call.display, call.pair
        table = self.table
        by_key = table.by_key
        together = None
        found = bound and self._by_found_agent(keys, at)
        if call.vouched:
            self._called_back(call)
        for key in keys if whose is None else whose:
            if key is together:
                continue  # counted with its access
            counts = by_key.get(key)
            if counts is None or counts.fresh:
                counts = table.settled(key, keys, at)
                if self._begins:
                    self._begin(at)
                if self._findings.clearings:
                    self._begun_after(key, counts)
            also = counts.also
            if also is not None:
                together = keys[1] if len(keys) > 1 else None
                if also is not together and also != together:
                    table.part(key)
                    together = None
            if not counts.touched:
                table.touch(key, counts)
            if at > counts.last:
                counts.last = at
                if at >= counts.turns_at:
                    counts.roll_over(at, self._half)
            elif at < counts.last - _RING:
                self._late(counts, at, own=observation is not None)
            if bound and not counts.agent:
                self._through_privacy_number(key, counts, found=found)
                continue
            if display is None:
                continue
            # One service, or fleet, may sign and verify the same call.
            if bound and pair is not None and self._dialled.again(pair, at):
                continue
            into: KeyCounts | None = counts
            if counts.carrier:
                if call.link is None:
                    continue
                into = counts.count_origid(display, call.link)
            if into is not None:
                if call.redialled:
                    into.count_redialled(at)
                else:
                    into.count(at, display, pair, call.display_area, call.callee_area, self._bounds)
                    past = into.past
                    if past is not None and past.add(at, pair):
                        counts.due = counts.now.calls
                    contacts = into.contacts
                    if contacts is not None:
                        if self._calls_back:
                            self.shown_by.note(display, key)
                        if pair is not None and contacts.add(
                            display, pair, into.generation, self._tests
                        ):
                            self._complaints.shows(display, key)
                if counts.stranger and self.handovers[key.kind].call(key, at):
                    counts.due = counts.now.calls
            calls = counts.now.calls
            if calls >= counts.due:
                # By an eighth, and by 4 at least.
                counts.due = calls + (4 if calls < 40 else min(calls >> 3, _MOST_STEP))
                if observation is not None and (counts.now.turns or calls >= _QUIET):
                    self._sample(counts, observation)
                self._due(key, counts)
        if self._marks:
            for key in self._linkage.seen(call):
                if whose is not None and key not in whose:
                    continue
                counts = table.get(key)
                if counts is not None and not counts.fresh:
                    self._judge(key, counts)

    def _called_back(self, call: CountedCall) -> None:
        """Note that somebody called a display back, for whoever showed it."""
        back = self.shown_by.called_back(call)
        if back is not None and call.display is not None:
            key, display = back
            self.called_back(key, display, pair_hash(display, call.display))

    def called_back(self, key: Key, display: int, pair: int) -> None:
        """Somebody called a display of the key back.

        Args:
            pair: hash of the display and of who calls.
        """
        counts = self.table.get(key)
        if counts is not None:
            into = counts.as_one_signer if counts.carrier else counts
            if into is not None and into.contacts is not None:
                into.contacts.called_back(display, pair)

    def hear_shown(self, display: int, key: Key) -> None:
        """Another node says whose a display is."""
        self.shown_by.hear(display, key)
        self._complaints.shows(display, key)

    def _late(self, counts: KeyCounts, at: int, *, own: bool) -> None:
        """Take in a call from long before the latest one: a clock was ahead."""
        if at < counts.last - self._far:
            counts.last = at
            counts.roll_over(at, self._half)
        if own:  # others' calls may only come late
            counts.back(at)

    def _begun_after(self, key: Key, counts: KeyCounts) -> None:
        """Have counts that a clearing left nothing of begin after it.

        Their first call may have come in the same second, or by a clock that is behind; when the
        clearing is learnt of once more, as after a restart, they must not be taken for older.
        """
        clearings, also = self._findings.clearings, counts.also
        at = clearings.get(key, -1)
        if also is not None:
            at = max(at, clearings.get(also, -1))
        counts.first = max(counts.first, at + 1)

    def _through_privacy_number(self, key: Key, counts: KeyCounts, *, found: bool) -> None:
        """Count a bound call for the platform, which is judged by what its agents do."""
        half = counts.now
        half.privacy_calls += 1
        if found:
            half.privacy_calls_found += 1
            if half.privacy_calls_found % _FOUND_STEP == 0:
                self._due(key, counts)
        elif half.privacy_calls % _SHARED_STEP == 0:
            self._due(key, counts)

    def _by_found_agent(self, keys: tuple[Key, ...], at: int) -> bool:
        """Tell whether a bound call is made by an agent against whom something stands."""
        agent = keys[-1] if keys else None
        if agent is None or agent.kind is not _AGENT:
            return False
        found = self._findings.at(agent, at)
        return found is not None and found.state is State.POOLED

    def _sample(self, counts: KeyCounts, observation: Observation) -> None:
        callee = observation.callee
        called = None if callee is None else self._show(callee)
        counts.personal = is_mobile(observation.display)
        sample = (observation.at, self._show(observation.display), called)
        counts.samples = [*counts.samples, sample][-MAX_SAMPLES:]

    def _due(self, key: Key, counts: KeyCounts) -> None:
        """Judge a key, and the subject that shares its counts, if it is worth it."""
        if counts.carrier:
            counts.minting = mints(counts, self._policy)
            if counts.as_one_signer is not None:
                counts.as_one_signer.rated()
                counts.as_one_signer.follow()
        else:
            counts.rated()
            counts.follow()
            if not (counts.agent or counts.reseller):
                self._tied(key, counts)
                if counts.past is None and counts.ring and self._knows_past:
                    counts.past = Past.begin(counts.first, counts.last)
            if counts.contacts is None and counts.ring:
                self._complaints.shows(counts.shown, key)
        self._judge(key, counts)

    def _judge(self, key: Key, counts: KeyCounts) -> None:
        """Judge a key and the subject that shares its counts, if anything could be found."""
        findings = self._findings
        accused, concerns = self._accused, self._concerns
        worth = findings.worth(counts) or concerns(key)
        own = findings.judge(key, counts, counts.last) if worth or key in accused else None
        also = counts.also
        if also is not None and (worth or also in accused or concerns(also)):
            findings.judge(also, counts, counts.last, own)
        if self._mine is not None:
            self._tell(key, counts)
        if findings.confirmed_pooled:
            self.mark()

    def known(self, key: Key, counts: KeyCounts, at: int) -> bool:
        """Tell whether so many calls are counted that the key would be found if it were a pool."""
        return counts.calls >= _KNOWN and self._findings.at(key, at) is None

    def _tell(self, key: Key, counts: KeyCounts) -> None:
        """Have others know what they need of a key that is counted here."""
        at, bits = counts.last, 0
        if key.kind is KeyKind.SIGNER:
            bits = KNOWN * self.known(key, counts, at)
            bits |= WELL_KNOWN * (counts.week >= WELL_KNOWN_CALLS)
        elif key.kind in _RESOLD:
            bits = RESEMBLES * resembles(counts) | SPEAKS_AGAINST * speaks_against(counts)
        began = self._unsure_from(counts.first)
        self.heard.tell(key, Told(max(0, counts.first), max(0, at), bits, max(0, began)))

    def mark(self) -> None:
        """Mark those whom this node found: their numbers, and whom they call."""
        confirmed = self._findings.confirmed_pooled
        while confirmed:
            key, at = confirmed.popitem()
            if key.kind not in _CALLERS:
                continue  # a carrier's, reseller's or platform's numbers are others', too
            counts = self.table.get(key)
            if counts is None:
                self._linkage.mark(key, at, (), ())
                continue
            if counts.also is not None:
                key = counts.also
            if self._linkage.due(key, at):
                if counts.contacts is None:
                    counts.contacts = Contacts()
                callees = self._linkage.untaken(key, counts.contacts.callees)
                numbers = self._linkage.unmarked(key, counts.displays_known)
                if key.kind is KeyKind.SIGNER:
                    numbers = {one for one in numbers if not self._anothers(one, key, counts.first)}
                self._linkage.mark(key, at, numbers, callees)

    def _anothers(self, display: int, signer: Key, since: int) -> bool:
        """Tell whether a display is a well-known signer's: who spoofs it must not mark it."""
        for key in self._complaints.callers(display):
            if key.kind is not KeyKind.SIGNER or key == signer or key in self._findings:
                continue
            counts, told = self.table.get(key), self.heard.get(key)
            if counts is not None and counts.first < since and counts.week >= WELL_KNOWN_CALLS:
                return True
            if told is not None and told.first < since and told.bits & WELL_KNOWN:
                return True
        return False

    def complained(self, told: Complaint) -> int:
        """Count a complaint; against how many callers it counts."""
        outside = self._findings.outside
        accused = outside.complaints.made_by(
            told, lambda key, one: outside.called(self.table.get(key), one)
        )
        for key in accused:
            counts = self.table.get(key)
            if counts is not None and self.judges(key):
                self._judge(key, counts)
        return len(accused)

    def held(self, numbers: Iterable[tuple[TN, str]], at: int) -> None:
        """Take over who holds marked numbers now, and judge them before their first call.

        Args:
            numbers: with their subjects; empty for what nobody holds.
            at: now, in seconds since the epoch.
        """
        hashed = ((self._callee(number)[0], subject) for number, subject in numbers)
        for key in filter(self.judges, self._linkage.moved(hashed)):
            self._findings.judge(key, self.table.get(key), at)
        self.mark()

    def mark_held(self, key: Key, numbers: Iterable[TN]) -> None:
        """Add what a marked subject holds to its mark."""
        self._linkage.hold(key, (self._callee(number)[0] for number in numbers))

    def shown_again(self) -> None:
        """Find out anew which displays are whose, as after a restart."""
        for key, counts in self.table.by_key.items():
            if self._complaints.full:
                return
            whole = counts.as_one_signer if counts.carrier else counts
            if whole is not None and whole.contacts is not None:
                for display in whole.contacts.displays:
                    self._complaints.shows(display, key)

    def peers(self, now: int, others: tuple[int, float]) -> None:
        """Work out how many complaints the calls of everybody led to.

        Args:
            others: complaints and calls of the keys that other nodes count, where keys are parted.
        """
        complaints = self._complaints
        number = sum(complaints.number(key, now) for key in complaints.accused)
        calls = sum(
            followed(counts) for counts in self.table.by_key.values() if counts.contacts is not None
        )
        if self._mine is not None:  # each key is counted by two
            self._peers = (number, calls)
            number, calls = (number + others[0]) // COPIES, (calls + others[1]) / COPIES
        complaints.everybodys(number, calls)

    def take_peers(self) -> tuple[int, float] | None:
        """Complaints and calls of the keys that are counted here, to be told once a minute."""
        peers, self._peers = self._peers, None
        return peers

    def _tied(self, key: Key, counts: KeyCounts) -> None:
        """Note whether it calls strangers, and what ties it to others who do."""
        if not self._ties:
            return
        if counts.stranger:
            counts.tie, counts.tied = self.handovers[key.kind].standing(key)
        counts.stranger = calls_strangers(counts, self._policy)

    def ended(self, key: Key, at: int, contact: Contact | None) -> None:
        """One call of the key is over."""
        counts = self.table.by_key.get(key)
        if counts is not None and counts.carrier:
            # Of the displays whose calls were counted, as far as that is known.
            shown = -1 if contact is None else contact.display
            counts = counts.as_one_signer if shown < 0 or counts.looks_at(shown) else None
        if counts is not None:
            counts.ended(at)
            if contact is not None:
                counts.talked(contact, self._tests)

    def absolve(self, key: Key) -> None:
        """Forget what speaks against a key; whom its displays called stays, which speaks for it."""
        counts = self.table.get(key)
        kept = None if counts is None or counts.contacts is None else deepcopy(counts.contacts)
        talk = None if counts is None or counts.talk is None else counts.talk.absolved()
        self.forget(key)
        self.heard.forget(key)
        if counts is not None and kept is not None and key not in self.table.by_key:
            begun = KeyCounts.begin(key.kind, counts.last, self._half)
            begun.first = counts.last + 1
            begun.contacts = kept.absolved()
            begun.talk = talk
            self.table.restore(key, begun)

    def forget(self, key: Key) -> None:
        """Know nothing of a key any more."""
        self.table.forget(key)
        handovers = self.handovers.get(key.kind)
        if handovers is not None:
            handovers.forget(key)
