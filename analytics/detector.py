"""How displays behave over time: calls go in, findings come out. In memory, bounded, one process.

The hot path has two calls. `Detector.finding` is one look into a table and may be asked for each
call. `Detector.observe` counts a call. Nothing here reads a clock, and nobody's truth but the
calls'.

Three things make a detector: counting (`analytics.counting`), judging (`analytics.findings`) and
the exchange with other nodes (`analytics.exchange`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from zhenxian.analytics.cap import Cap
from zhenxian.analytics.codec import (
    Saved,
    read_counts,
    read_finding,
    read_mark,
    write_counts,
)
from zhenxian.analytics.complaints import Complaint
from zhenxian.analytics.counted import Contact, CountedCall
from zhenxian.analytics.counting import Counting
from zhenxian.analytics.exchange import Exchange
from zhenxian.analytics.findings import Findings
from zhenxian.analytics.heard import KNOWN, RESEMBLES, SPEAKS_AGAINST
from zhenxian.analytics.measures import assess
from zhenxian.analytics.model import Finding, Key, KeyKind, Observation, Picture, State
from zhenxian.analytics.outside import resembles, speaks_against
from zhenxian.analytics.possible import likely
from zhenxian.analytics.profile import Care
from zhenxian.analytics.shares import Member
from zhenxian.analytics.thresholds import HOUR, Policy
from zhenxian.core.tn import TN

_DELTA_CALLS: Final = 1_000


class Detector:
    """What is known of all keys.

    Not safe for threads; one event loop uses it. Memory: at most `policy.max_keys` keys of at most
    `analytics.counts.MAX_OCTETS`, and `policy.max_backlog` calls where a fleet is served.

    Attributes:
        finding: what stands against a key at a time (`(key, now)`); None for nothing.
        accused: keys that `finding` may tell anything of; of others there is nothing.
        admits: whether a suspected caller (`(key, now)`) may make one more call in this minute.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        show: Callable[[str], str] = str,
        fleet: bool = False,
        boot: int = 0,
        calls_back: bool = True,
    ) -> None:
        """Know nothing yet.

        Args:
            show: how numbers stand in samples: clear, or hashed by the caller's function.
            fleet: keep what is observed for `take_delta`.
            boot: larger at each start of the node, such as its time; orders its deltas.
            calls_back: calls may be vouched for, so that it counts whose display they call back.
        """
        self.policy = policy = Policy() if policy is None else policy
        self._fleet = fleet
        self._findings = Findings(policy, fleet=fleet)
        self._counting = Counting(policy, self._findings, show, calls_back=calls_back)
        self._expired = 0
        cap = Cap(policy.cap)
        self._exchange = Exchange(
            self._counting, self._findings, cap, most=policy.max_backlog, fleet=fleet, boot=boot
        )
        # Asked for each call: nothing stands between.
        self.finding = self._findings.at
        self.accused = self._findings.accused
        self.admits = cap.admits

    def __len__(self) -> int:
        """How many keys are remembered; an access and its only subject are one."""
        return len(self._counting.table)

    def known(self, key: Key, now: int) -> bool:
        """Tell whether so much is known of a key that it would be found if it were a pool."""
        counting = self._counting
        counts, told = counting.table.get(key), counting.heard.get(key)
        window = self.policy.window
        if counts is not None and now - counts.last < window and counting.known(key, counts, now):
            return True
        return (
            told is not None
            and bool(told.bits & KNOWN)
            and now - told.last < window
            and self.finding(key, now) is None
        )

    def resembles(self, key: Key, since: int) -> bool:
        """Tell whether a caller's own calls look like what its reseller was found for.

        Who called before that had a part in it, and is held to it until its calls speak for it. Who
        came later had none: its calls have to speak against it. Not so while too little is known of
        it, or when it shows a few numbers only, as people and offices do.

        Args:
            since: when the reseller was found, in seconds since the epoch.
        """
        counting = self._counting
        counts, told = counting.table.get(key), counting.heard.get(key)
        if counts is None and told is None:
            return False
        later = counting.came_later(counts, told, since)
        if told is not None and not (counts is not None and counting.judges(key)):
            return bool(told.bits & (SPEAKS_AGAINST if later else RESEMBLES))
        # What was counted before others counted it says nothing after a while.
        lately = counts is not None and self._expired - counts.last < HOUR
        if counts is None or not (lately or counting.judges(key)):
            return False
        return speaks_against(counts) if later else resembles(counts)

    def observe(self, observation: Observation) -> None:
        """Count one call, once."""
        counting = self._counting
        mark = observation.mark
        if mark >= 0 and counting.again(mark):
            return
        call = counting.hashed(observation)
        if self._fleet:
            self._exchange.observe(call, mark, observation)
        else:
            counting.count(call, observation)

    def counted(self, observation: Observation) -> CountedCall:
        """Count one call that has no mark, here alone; what was counted of it, for its end."""
        call = self._counting.hashed(observation)
        self._counting.count(call, observation)
        return call

    # -- what can be asked for and reported

    @property
    def flagged(self) -> bool:
        """Somebody was found pooled since `take_findings`."""
        return self._findings.flagged

    @property
    def lost(self) -> int:
        """Calls that other nodes will not learn of, because nobody took them in time."""
        return self._exchange.lost

    def picture(self, key: Key, now: int) -> Picture:
        """All figures of a key, whether or not they amount to anything."""
        found = self.finding(key, now)
        state = found.state if found is not None else State.WATCHING
        counts = self._counting.table.get(key)
        if counts is None or now - counts.last >= self.policy.window:
            return Picture(
                key=key, state=state, calls=0, first=0, last=0, measures=(), finding=found
            )
        measures = self._findings.outside.beside(
            key, counts, assess(counts, self.policy, self._findings.bounds), now
        )
        return Picture(
            key=key,
            state=state,
            calls=counts.seen,
            counted=1 / (1 << counts.thinned),
            first=counts.first,
            last=counts.last,
            measures=measures,
            finding=found,
        )

    def would_tell(self, key: Key, now: int) -> list[str]:
        """What would tell whether a key is a pool's, where that is open; as the picture says."""
        counts = self._counting.table.get(key)
        if counts is None or now - counts.last >= self.policy.window:
            return []
        findings = self._findings
        own = assess(counts, self.policy, findings.bounds, judged=likely)
        measures = findings.outside.beside(key, counts, own, now)
        return list(dict.fromkeys(text for one in measures for text in one.would_tell))

    def met(
        self, display: TN, callee: TN, *, answered: bool, seconds: int | None = None
    ) -> Contact:
        """What the end of a call says of display and callee, for `ended`; `seconds` of talk."""
        return self._counting.contact(display, callee, answered=answered, seconds=seconds)

    def ended(
        self, key: Key, at: int, contact: Contact | None = None, keys: tuple[Key, ...] = ()
    ) -> None:
        """One call of the key is over. Without such reports concurrency is not judged.

        Where nine in ten reports tell who had called whom and whether it was answered, only calls
        that were answered make people know each other; else each attempt does.

        Reports count from the key's first one; before it, nothing is known of calls in progress.
        Each key of the call is to be given; where an access and its subject are one, the access's
        report counts.

        Args:
            keys: all of the call, where that is known.
        """
        if self._fleet:
            self._exchange.ended(key, at, contact, keys)
        else:
            self._counting.ended(key, at, contact)

    def over(self, keys: tuple[Key, ...], at: int, contact: Contact) -> None:
        """A call that `counted` counted is over: `ended` for each of its keys, here alone."""
        ended = self._counting.ended
        for key in keys:
            ended(key, at, contact)

    # -- what others know of callers

    def complained(self, display: TN, callee: TN, at: int, source: str) -> int:
        """Somebody complained of a call; against how many keys that counts.

        Args:
            at: when the call was, in seconds since the epoch.
            source: who passed the complaint on; what it counts for is limited by source.
        """
        number = self._counting.hashing.number_once
        told = Complaint(at, number(display)[0], number(callee)[0], source)
        return self._counting.complained(told)

    @property
    def marked(self) -> bool:
        """Tell whether anybody was found within the last weeks, whose numbers are marked."""
        return bool(self._findings.outside.linkage.marks)

    @property
    def oldest_mark(self) -> int:
        """When the mark that was confirmed longest ago was; 0 when there is none."""
        marks = self._findings.outside.linkage.marks
        return min((mark.at for mark in marks.values()), default=0)

    def take_wanted(self) -> list[str]:
        """Subjects that were found, whose numbers are asked for (`mark_held`)."""
        linkage = self._findings.outside.linkage
        wanted, linkage.wanted = linkage.wanted, set()
        return [key.id for key in wanted]

    def take_asked(self) -> list[Key]:
        """Keys whose displays look like a pool's: what is registered of them helps (`profiled`)."""
        findings = self._findings
        asked, findings.asked = findings.asked, set()
        return [key for key in asked if key.kind in (KeyKind.ACCESS, KeyKind.SUBJECT)]

    def profiled(self, key: Key, care: Care, *, person: bool = False) -> None:
        """Ask more or less evidence of a key from now on; whether it is one person's."""
        counts = self._counting.table.get(key)
        if counts is not None:
            counts.care = int(care)
            counts.person = person

    def mark_held(self, subject: str, numbers: Iterable[TN]) -> None:
        """Mark numbers that a found subject holds."""
        self._counting.mark_held(Key(KeyKind.SUBJECT, subject), numbers)

    def weight(self, number: TN) -> int:
        """How many numbers of a found caller a number stands for; 0 for one that is of none."""
        return self._findings.outside.linkage.weight(self._counting.hashing.number_once(number)[0])

    def held(self, numbers: Iterable[tuple[TN, str]], now: int) -> None:
        """Numbers were registered: who holds a found caller's is found before its first call.

        Args:
            numbers: with their subjects; empty for what nobody holds any more.
        """
        self._counting.held(numbers, now)

    def clear(self, key: Key) -> None:
        """Forget what stood against a key, here and with the next delta everywhere.

        For a registrar who found an objection right. Whom its displays called stays remembered.
        It is found again only by what comes after, which has to do by itself.
        """
        self._forget(key)
        self._exchange.tell_cleared(key)

    def cleared(self, key: Key, at: int) -> None:
        """Take over a clearing made at that time, here or elsewhere, just now or long ago.

        What was counted and found up to then is forgotten, and taken over from nobody any more.
        What is only of later stays. The others do not learn of it.

        Args:
            at: seconds since the epoch.
        """
        stood = self._findings.cleared(key, at)
        self._counting.heard.forget(key)
        counts = self._counting.table.get(key)
        if stood or (counts is not None and counts.first <= self._findings.clearings[key]):
            self._forget(key)
            self._findings.withhold(key)

    def confirmed(self, found: Finding) -> int:
        """When a finding was last confirmed, in seconds since the epoch."""
        return self._findings.confirmed(found)

    @property
    def clearings_for(self) -> int:
        """Seconds for which a clearing matters: what it forgot is over by itself then."""
        return self._findings.clearings_for

    def standing(self, now: int) -> list[Finding]:
        """What stands against anybody at this time."""
        return self._findings.standing(now)

    def expire(self, now: int) -> None:
        """Forget findings that ended a window ago, of keys that nobody hears of any more."""
        self._expired = now
        self._findings.expire(now)
        self._counting.heard.expire(now - self.policy.window)
        self._counting.peers(now, self._exchange.others())
        holders = self._findings.outside.linkage.returned
        for key in filter(self._counting.judges, holders):
            self._findings.judge(key, self._counting.table.get(key), now)
        self._counting.mark()

    def _forget(self, key: Key) -> None:
        self._findings.drop(key)
        self._counting.absolve(key)

    # -- fleet and restart

    def take_delta(self, most: int = _DELTA_CALLS) -> bytes | None:
        """What was observed and found since the last time, for the other nodes.

        Args:
            most: calls at a time, because whoever counts them does nothing else meanwhile.

        Returns:
            None when there was nothing.

        Raises:
            RuntimeError: made without `fleet`.
        """
        return self._exchange.take_delta(most)

    def merge(self, node: str, delta: bytes) -> bool:
        """Count what another node observed, and take over what it found.

        A key that is pooled there is pooled here. Deltas of one node are taken in their order; one
        that comes again, or late, is left alone.

        Returns:
            Whether it was taken.

        Raises:
            ConductFormatError: not a delta of this version and salt.
        """
        return self._exchange.merge(node, delta)

    @property
    def parted(self) -> bool:
        """Other nodes count some of the keys, and this one the others."""
        return self._exchange.parted

    @property
    def saves_own(self) -> bool:
        """No other process of this machine counts what this one counts."""
        return self._exchange.apart or self._exchange.parted

    def counts(self, key: Key) -> bool:
        """Tell whether the calls of a key are counted here."""
        return self._counting.table.get(key) is not None and self._counting.judges(key)

    def answers(self, key: Key) -> bool:
        """Tell whether the figures of a key are known here, also where nobody called by it yet."""
        if self._counting.table.get(key) is None and not self._exchange.places(key):
            return False
        return self._counting.judges(key)

    def among(self, me: str, members: Sequence[Member], *, mixed: bool) -> None:
        """Count a part of the keys: those of this member among all that live.

        Args:
            me: its name. mixed: nodes of the release before listen, too.
        """
        self._exchange.among(me, members)
        self._exchange.mixed = mixed

    def cut_off(self) -> None:
        """Count all calls seen here: nobody else can be reached. `count_late` those before."""
        self._exchange.cut_off()

    def count_late(self, most: int = _DELTA_CALLS) -> bool:
        """Count calls that nobody learned of in time; whether there are more of them."""
        return self._exchange.count_late(most)

    def sort(self, most: int = _DELTA_CALLS) -> bool:
        """Sort so many calls by who counts them, for `take_parcel`; whether there are more."""
        return self._exchange.sort(most)

    def take_parcel(self) -> tuple[str, bytes] | None:
        """A delta for one member, with its name; None when all that was sorted was taken."""
        return self._exchange.take_parcel()

    def pace(self, seconds: float) -> None:
        """Choose which calls of busy keys count, by what came within so many seconds."""
        self._exchange.pace(seconds)

    def take_touched(self, most: int) -> list[Saved]:
        """Keys whose counts changed since they were last taken, the longest waiting first.

        Args:
            most: keys at a time. One takes about 20 microseconds, in which nothing else runs.
        """
        salt, half = self._counting.hashing.fingerprint, self.policy.window // 2
        return [
            Saved(str(key), None if counts is None else write_counts(salt, half, key, counts))
            for key, counts in self._counting.table.take_touched(most)
            if self._exchange.keeps(key, counts)
        ]

    @property
    def untaken(self) -> int:
        """How many keys `take_touched` has still to give."""
        return self._counting.table.untaken

    def take_findings(self) -> list[Saved]:
        """Findings that are new, changed or over since they were last taken."""
        return self._findings.take_unsaved()

    def take_marks(self) -> list[Saved]:
        """Marks of who was found that changed since they were last taken; kept as findings are."""
        return self._findings.take_unsaved_marks()

    def restore(self, counts: Iterable[bytes], findings: Iterable[bytes]) -> int:
        """Take over what was saved: findings always, counts of keys of which nothing is known.

        Counts made with another salt or window are left, since they say nothing any more.

        Returns:
            How many could not be read, and were left.
        """
        unread, restored = 0, False
        for content in findings:
            found, mark = read_finding(content), read_mark(content)
            if found is not None:
                self._findings.adopt(found)
            elif mark is not None:
                self._findings.outside.linkage.adopt(mark)
            else:
                unread += 1
        salt, half = self._counting.hashing.fingerprint, self.policy.window // 2
        for content in counts:
            kept = read_counts(content, salt, half)
            if kept is None:
                unread += 1
            else:
                self._counting.table.restore(kept.key, kept.counts)
                if kept.counts.also is not None:
                    self._exchange.learn(kept.key, kept.counts.also)
                restored = True
        if restored:
            self._counting.shown_again()
        return unread
