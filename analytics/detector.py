"""How displays behave over time: calls go in, findings come out. In memory, bounded, one process.

The hot path has two calls. `Conduct.finding` is one look into a table and may be asked for each
call. `Conduct.observe` counts a call for each of its keys, once for an access and its only subject;
a key is judged anew only after its calls have grown by an eighth. Nothing here reads a clock, and
nobody's truth but the calls'.

Nodes of a fleet send each other what they observed (`take_delta`, `merge`), so that each counts
all calls; what is between two deliveries is the lag. Counts and sketches do not depend on the
order in which deliveries come; the sequential test and the order of displays do, slightly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from zhenxian.analytics.codec import (
    FORMAT,
    Delta,
    Event,
    Kept,
    Met,
    Saved,
    read_counts,
    read_delta,
    read_finding,
    write,
)
from zhenxian.analytics.counts import MAX_SAMPLES, REDIALLED, SLOT, SLOTS, Bounds, Track
from zhenxian.analytics.hashing import Hashing
from zhenxian.analytics.measures import assess, calls_strangers, mints
from zhenxian.analytics.model import (
    Assessment,
    Finding,
    Key,
    KeyKind,
    Measure,
    Observation,
    Picture,
    Sample,
    State,
)
from zhenxian.analytics.recent import Lately
from zhenxian.analytics.sim_box import Handovers
from zhenxian.analytics.table import Memory
from zhenxian.analytics.thresholds import HOUR, Policy
from zhenxian.core.tn import TN

_MASK_32: Final = (1 << 32) - 1
_MOST_STEP: Final = 256  # calls until a key is judged again, at most
_MAX_NODES: Final = 1_024
_QUIET: Final = 16  # calls of a single display, before which none is kept as a sample
_RING: Final = SLOT * SLOTS  # seconds
_AGENT: Final = KeyKind.AGENT
_CALLERS: Final = (KeyKind.ACCESS, KeyKind.SUBJECT, KeyKind.SIGNER)
_LENT_STEP: Final = 16  # bound calls of agents found until a platform is judged again
_DELTA_CALLS: Final = 1_000
# Of tokens, and of pairs of display and callee, counted lately: 10 to 15 MB each when full.
_MAX_MARKS: Final = 65_536
_MAX_DIALLED: Final = 65_536
_VERIFIED: Final = 1 << 32


class Conduct:
    """The conduct of all keys.

    Not safe for threads; one event loop uses it. Memory: at most `policy.max_keys` keys of at most
    `analytics.counts.MAX_OCTETS`, and `policy.max_backlog` calls where a fleet is served.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        show: Callable[[str], str] = str,
        fleet: bool = False,
        boot: int = 0,
    ) -> None:
        """Know nothing yet.

        Args:
            show: how numbers stand in samples: clear, or hashed by the caller's function.
            fleet: keep what is observed for `take_delta`.
            boot: larger at each start of the node, such as its time; orders its deltas.
        """
        self.policy = Policy() if policy is None else policy
        self._bounds = Bounds(self.policy.locality)
        self._half = self.policy.window // 2
        self._hashing = Hashing(self.policy.salt)
        self._number = self._hashing.number
        self._callee = self._hashing.number_once
        self._text = self._hashing.text
        self._show = show
        rate = self.policy.rate
        self._busy = self.policy.keep * min(rate.per_display, rate.per_key) * SLOT / HOUR
        self._far = 2 * self.policy.window  # a clock further back than that was wrong before
        self._memory = Memory(
            self.policy.max_keys, self.policy.established, self.policy.window, self._stands
        )
        self._handovers = {kind: Handovers(self.policy.handover) for kind in _CALLERS}
        self._findings: dict[Key, Finding] = {}
        self._backlog: list[tuple[Event, int]] | None = [] if fleet else None
        self._marks = Lately(_MAX_MARKS)
        self._dialled = Lately(_MAX_DIALLED, self.policy.redial)
        self._ended: list[tuple[Key, int, Met | None]] = []
        self._changed: dict[Key, Finding] = {}
        self._cleared: dict[Key, None] = {}
        self._clearings: dict[Key, int] = {}  # when each key was last cleared
        self._sequence = (boot, 0)
        self._taken: dict[str, tuple[int, int]] = {}
        self._unsaved: dict[Key, Finding | None] = {}
        self.flagged = False  # somebody was found pooled since `take_findings`
        self.lost = 0  # calls that other nodes will not learn of, because nobody took them in time

    def __len__(self) -> int:
        """How many keys are remembered; an access and its only subject are one."""
        return len(self._memory)

    # -- the hot path

    def finding(self, key: Key, now: int) -> Finding | None:
        """What stands against a key at this time; None for nothing."""
        found = self._findings.get(key)
        if found is None or now >= found.until:
            return None
        return found

    def observe(self, observation: Observation) -> None:
        """Count one call, once."""
        mark = observation.mark
        if mark >= 0 and self._marks.again(mark):
            return  # who sends each INVITE twice must not look like one who calls again
        at, bound = observation.at, observation.bound
        shown = pair = here = there = link = -1
        # A bound display is no choice of the caller, who is judged as if the own number was shown.
        number = observation.behind if bound else observation.display
        if number is not None:
            shown, here = self._number(number)
            callee = observation.callee
            if callee is not None:
                called, there = self._callee(callee)
                pair = shown * 3 + called & _MASK_32
            origid = observation.origid
            if origid is not None:
                link = shown * 3 + self._text(origid) & _MASK_32
            # One service may sign and verify the same call.
            dialled = pair if link < 0 else pair | _VERIFIED
            if not bound and pair >= 0 and self._dialled.again(dialled, at):
                pair = REDIALLED
        event = (at, observation.keys, bound, shown, pair, here, there, link)
        backlog = self._backlog
        if backlog is not None:
            if len(backlog) < self.policy.max_backlog:
                backlog.append((event, mark))
            else:
                self.lost += 1
        self._count(event, observation)

    def _count(self, event: Event, observation: Observation | None) -> None:
        at, keys, bound, shown, pair, here, there, link = event
        memory = self._memory
        tracks = memory.tracks
        together = None
        lent = bound and self._lent(keys, at)
        for key in keys:
            if key is together:
                continue  # counted with its access
            track = tracks.get(key)
            if track is None or track.fresh:
                track = memory.settled(key, keys, at)
                if self._clearings:
                    self._begun_after(key, track)
            also = track.also
            if also is not None:
                together = keys[1] if len(keys) > 1 else None
                if also is not together and also != together:
                    memory.part(key)
                    together = None
            if not track.touched:
                memory.touch(key, track)
            if at > track.last:
                track.last = at
                if at >= track.turns_at:
                    track.turn(at, self._half)
            elif at < track.last - _RING:
                if at < track.last - self._far:
                    track.last = at
                    track.turn(at, self._half)
                if observation is not None:  # others' calls may only come late
                    track.back(at)
            if bound:
                if not track.agent:
                    self._lend(key, track, lent=lent)
                    continue
                # One service, or fleet, may sign and verify the same call.
                if shown < 0 or (pair >= 0 and self._dialled.again(pair, at)):
                    continue
            half = track.now
            counts: Track | None = track
            if track.carrier:
                if link < 0:
                    continue
                track.count_origid(shown, link)
                counts = track.of_whole(shown)
            if counts is not None:
                counts.count(at, shown, pair, here, there, self._bounds)
                if track.stranger and self._handovers[key.kind].call(key, at):
                    track.due = half.calls
            calls = half.calls
            if calls >= track.due:
                track.due = calls + min(max(4, calls >> 3), _MOST_STEP)
                if observation is not None and (half.turns or calls >= _QUIET):
                    self._sample(track, observation)
                self._due(key, track)

    def _begun_after(self, key: Key, track: Track) -> None:
        """Have a track that a clearing left nothing of begin after it.

        Its first call may have come in the same second, or by a clock that is behind; when the
        clearing is learnt of once more, as after a restart, it must not be taken for older.
        """
        clearings, also = self._clearings, track.also
        at = clearings.get(key, -1)
        if also is not None:
            at = max(at, clearings.get(also, -1))
        track.first = max(track.first, at + 1)

    def _lend(self, key: Key, track: Track, *, lent: bool) -> None:
        """Count a bound call for the platform, which is judged by what its agents do."""
        half = track.now
        half.bound += 1
        if lent:
            half.lent += 1
            if half.lent % _LENT_STEP == 0:
                self._due(key, track)

    def _lent(self, keys: tuple[Key, ...], at: int) -> bool:
        """Tell whether a bound call is made by an agent against whom something stands."""
        agent = keys[-1] if keys else None
        if agent is None or agent.kind is not _AGENT:
            return False
        found = self.finding(agent, at)
        return found is not None and found.state is State.POOLED

    def _sample(self, track: Track, observation: Observation) -> None:
        callee = observation.callee
        shown = None if callee is None else self._show(callee)
        sample = (observation.at, self._show(observation.display), shown)
        track.samples = [*track.samples, sample][-MAX_SAMPLES:]

    # -- judging

    def _due(self, key: Key, track: Track) -> None:
        """Judge a key, and the subject that shares its track, if it is worth it."""
        if track.carrier:
            track.minting = mints(track, self.policy)
            if track.whole is not None:
                track.whole.rated()
        else:
            track.rated()
            if not track.agent:
                self._tied(key, track)
        worth = self._worth(track)
        if worth or key in self._findings:
            self._judge(key, track, track.last)
        also = track.also
        if also is not None and (worth or also in self._findings):
            self._judge(also, track, track.last)

    def _tied(self, key: Key, track: Track) -> None:
        """Note whether it calls strangers, and what ties it to others who do."""
        if Measure.HANDOVER not in self.policy.measures:
            return
        if track.stranger:
            track.tie, track.tied = self._handovers[key.kind].standing(key)
        track.stranger = calls_strangers(track, self.policy)

    def _worth(self, track: Track) -> bool:
        """Tell cheaply whether a measure could find anything; most keys are nowhere near."""
        if track.carrier:
            return True
        policy = self.policy
        keep = policy.keep
        calls = track.calls
        if track.agent and calls >= keep * policy.bindings.least_calls:
            return True
        if track.score >= keep * self._bounds.upper or track.tied > 1 or track.lent:
            return True
        if track.areas is not None and calls >= policy.spread.least_calls:
            return True
        if track.left:
            return True
        # In turn: displays change, but far less often than lines that hunt.
        if calls >= policy.rotation.least_calls and 0 < track.turn_count * 4 < calls * 3:
            return True
        if not track.ring:
            return False
        busy, most = max(track.begun(SLOTS)), max(track.peaks)
        return busy >= self._busy or most >= keep * policy.rate.concurrent

    def _judge(self, key: Key, track: Track, at: int) -> None:
        policy = self.policy
        found = self._findings.get(key)
        if found is not None and at >= found.until:
            self._drop(key)
            found = None
            track.score = 0.0
        assessments = assess(track, policy, self._bounds, policy.keep)
        # RFC 8588 section 10 recommends an origid for each call: by itself it is nothing to find.
        acts = [one for one in assessments if one.measure is not Measure.ORIGIDS]
        best = max(acts, key=lambda one: one.strength, default=None)
        strength = best.strength if best is not None else 0.0
        if best is not None and strength >= 1:
            self._find(key, track, best, assessments, State.POOLED, at)
        elif found is None:
            if best is not None and strength >= policy.suspect:
                self._find(key, track, best, assessments, State.SUSPECTED, at)
        elif found.state is State.POOLED:
            # What brought it here must show again; anything else would be another finding.
            same = [one for one in acts if one.measure is found.measure]
            if same and same[0].strength > policy.keep:
                self._find(key, track, same[0], assessments, State.POOLED, at)
            elif found.until > at + policy.pooled_for:
                self._set(replace(found, until=at + policy.pooled_for))  # the clock was ahead
        elif best is not None and strength > policy.keep:
            self._find(key, track, best, assessments, State.SUSPECTED, at)
        else:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        """Nothing stands against a key any more."""
        if self._findings.pop(key, None) is not None:
            self._unsaved[key] = None

    def _find(
        self,
        key: Key,
        track: Track,
        best: Assessment,
        assessments: tuple[Assessment, ...],
        state: State,
        at: int,
    ) -> None:
        policy = self.policy
        before = self._findings.get(key)
        same = before is not None and before.state is state
        known = before.measures if same and before is not None and state is State.POOLED else ()
        self._set(
            Finding(
                key,
                state,
                best.measure,
                best.strength,
                best.figures,
                best.thresholds,
                policy.window,
                tuple(Sample(*sample) for sample in track.samples),
                min(before.since, at) if before is not None and same else at,
                at + (policy.pooled_for if state is State.POOLED else policy.suspected_for),
                tuple(
                    one.measure
                    for one in assessments
                    if one is not best
                    and (
                        one.strength >= 1
                        or (one.measure in known and one.strength > policy.keep)
                        or (track.minting and one.measure is Measure.ORIGIDS)
                    )
                ),
            )
        )

    def _set(self, found: Finding) -> None:
        findings = self._findings
        if found.measures == (Measure.ORIGIDS,):
            return  # saved, or told, by an earlier release
        if found.key not in findings and len(findings) >= self.policy.max_keys:
            # The one that would end first; suspected ones before pooled ones.
            self._drop(min(findings, key=lambda key: (findings[key].state, findings[key].until)))
        before = findings.get(found.key)
        findings[found.key] = self._unsaved[found.key] = found
        if found.state is State.POOLED and (
            before is None
            or before.state is not State.POOLED
            or not set(found.measures) <= set(before.measures)  # it may lead to more
        ):
            self.flagged = True
        if self._backlog is not None:
            self._changed[found.key] = found

    # -- what can be asked for and told

    def picture(self, key: Key, now: int) -> Picture:
        """All figures of a key, whether or not they amount to anything."""
        found = self.finding(key, now)
        state = found.state if found is not None else State.WATCHING
        track = self._memory.get(key)
        if track is None or now - track.last >= self.policy.window:
            return Picture(key, state, 0, 0, 0, (), found)
        bound = track.now.bound + (track.old.bound if track.old is not None else 0)
        measures = assess(track, self.policy, self._bounds)
        return Picture(key, state, track.calls + bound, track.first, track.last, measures, found)

    def met(self, display: TN, callee: TN, *, answered: bool) -> Met:
        """What the end of a call says of whether the two know each other, for `ended`."""
        shown, called = self._number(display)[0], self._callee(callee)[0]
        return shown * 3 + called & _MASK_32, answered

    def ended(self, key: Key, at: int, met: Met | None = None) -> None:
        """One call of the key is over. Without such reports concurrency is not judged.

        Where nine in ten reports tell who had called whom and whether it was answered, only calls
        that were answered make people know each other; else each attempt does.

        Reports count from the key's first one; before it, nothing is known of calls in progress.
        Each key of the call is to be told; where an access and its subject are one, the access's
        report counts.
        """
        if self._backlog is not None and len(self._ended) < self.policy.max_backlog:
            self._ended.append((key, at, met))
        self._end(key, at, met)

    def _end(self, key: Key, at: int, met: Met | None) -> None:
        track = self._memory.tracks.get(key)
        if track is not None and track.carrier:
            track = track.whole
        if track is not None:
            track.ended(at)
            if met is not None:
                track.met(*met)

    def clear(self, key: Key) -> None:
        """Forget a key and what stood against it, here and with the next delta everywhere.

        For a registrar who found an objection right. The same conduct is found again.
        """
        self._forget(key)
        if self._backlog is not None:
            self._changed.pop(key, None)
            self._cleared[key] = None

    def cleared(self, key: Key, at: int) -> None:
        """Take over a clearing made at that time, here or elsewhere, just now or long ago.

        What was counted and found up to then is forgotten, and taken over from nobody any more.
        What is only of later stays. The others are not told.

        Args:
            at: seconds since the epoch.
        """
        self._clearings[key] = at = max(at, self._clearings.get(key, at))
        found, track = self._findings.get(key), self._memory.get(key)
        if (found is not None and self.confirmed(found) <= at) or (
            track is not None and track.first <= at
        ):
            self._forget(key)
            self._changed.pop(key, None)

    def confirmed(self, found: Finding) -> int:
        """When a finding was last confirmed, in seconds since the epoch."""
        policy = self.policy
        pooled = found.state is State.POOLED
        return found.until - (policy.pooled_for if pooled else policy.suspected_for)

    @property
    def clearings_for(self) -> int:
        """Seconds for which a clearing matters: what it forgot is over by itself then."""
        policy = self.policy
        return max(policy.pooled_for, policy.suspected_for) + policy.window

    def _forget(self, key: Key) -> None:
        self._drop(key)
        self._memory.forget(key)
        handovers = self._handovers.get(key.kind)
        if handovers is not None:
            handovers.forget(key)

    def _stands(self, key: Key, at: int) -> bool:
        """Tell whether something stands against a key; forget what ended a window ago.

        Kept that long, so that a clock that leaps ahead and back clears nobody for good.
        """
        found = self._findings.get(key)
        if found is None:
            return False
        if at < found.until + self.policy.window:
            return True
        self._drop(key)
        return False

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
        if self._backlog is None:
            raise RuntimeError("this Conduct keeps nothing for a fleet; make it with fleet=True")
        if not (self._backlog or self._ended or self._changed or self._cleared):
            return None
        calls, self._backlog = self._backlog[:most], self._backlog[most:]
        over, self._ended = self._ended[:most], self._ended[most:]
        places: dict[Key, int] = {}
        events = []
        for (at, keys, bound, shown, pair, here, there, link), _ in calls:
            named = [places.setdefault(key, len(places)) for key in keys]
            events.append((at, named, bound, shown, pair, here, there, link))
        ended = [(places.setdefault(key, len(places)), at, met) for key, at, met in over]
        boot, number = self._sequence
        self._sequence = (boot, number + 1)
        delta = write(
            Delta(
                FORMAT,
                self._hashing.fingerprint,
                self._sequence,
                list(places),
                events,
                ended,
                list(self._changed.values()),
                list(self._cleared),
                [mark for _, mark in calls],
            )
        )
        self._changed, self._cleared = {}, {}
        return delta

    def merge(self, node: str, delta: bytes) -> bool:
        """Count what another node observed, and take over what it found.

        A key that is pooled there is pooled here. Deltas of one node are taken in their order; one
        that comes again, or late, is left alone.

        Returns:
            Whether it was taken.

        Raises:
            ConductFormatError: not a delta of this version and salt.
        """
        read = read_delta(delta, self._hashing.fingerprint)
        if read.sequence <= self._taken.get(node, (-1, -1)):
            return False
        self._taken.pop(node, None)
        self._taken[node] = read.sequence
        if len(self._taken) > _MAX_NODES:
            del self._taken[next(iter(self._taken))]
        keys = read.keys
        clearings = self._clearings
        for key in read.cleared:
            if key not in clearings:  # else what began since stays, however late this comes
                self._forget(key)
        for (at, places, bound, *rest), mark in zip(read.events, read.marks, strict=True):
            if mark >= 0 and self._marks.again(mark):
                continue
            shown, pair, here, there, link = rest
            named = tuple(keys[place] for place in places)
            if clearings:
                named = tuple(key for key in named if at > clearings.get(key, -1))
            self._count((at, named, bound, shown, pair, here, there, link), None)
        for place, at, met in read.ended:
            self._end(keys[place], at, met)
        for found in read.findings:
            self._adopt(found)
        return True

    def _adopt(self, found: Finding) -> None:
        """Take over a finding unless a worse or longer one stands, or it was cleared since."""
        if self.confirmed(found) <= self._clearings.get(found.key, -1):
            return
        mine = self._findings.get(found.key)
        if mine is None or (found.state, found.until) > (mine.state, mine.until):
            backlog, self._backlog = self._backlog, None  # it is known to the others already
            self._set(found)
            self._backlog = backlog

    def take_touched(self, most: int) -> list[Saved]:
        """Keys whose counts changed since they were last taken, the longest waiting first.

        Args:
            most: keys at a time. One takes about 20 microseconds, in which nothing else runs.
        """
        salt, half = self._hashing.fingerprint, self._half
        return [
            Saved(str(key), None if track is None else write(Kept(FORMAT, salt, half, key, track)))
            for key, track in self._memory.take_touched(most)
        ]

    @property
    def untaken(self) -> int:
        """How many keys `take_touched` has still to give."""
        return self._memory.untaken

    def take_findings(self) -> list[Saved]:
        """Findings that are new, changed or over since they were last taken."""
        unsaved, self._unsaved = self._unsaved, {}
        self.flagged = False
        return [
            Saved(str(key), write((FORMAT, found)) if found is not None else None)
            for key, found in unsaved.items()
        ]

    def expire(self, now: int) -> None:
        """Forget findings that ended a window ago, of keys that nobody hears of any more."""
        for key in list(self._findings):
            self._stands(key, now)
        for key in [one for one, at in self._clearings.items() if now - at > self.clearings_for]:
            del self._clearings[key]

    def standing(self, now: int) -> list[Finding]:
        """What stands against anybody at this time."""
        return [found for found in self._findings.values() if now < found.until]

    def restore(self, counts: Iterable[bytes], findings: Iterable[bytes]) -> int:
        """Take over what was saved: findings always, counts of keys of which nothing is known.

        Counts made with another salt or window are left, since they say nothing any more.

        Returns:
            How many could not be read, and were left.
        """
        unread = 0
        for content in findings:
            found = read_finding(content)
            if found is None:
                unread += 1
            else:
                self._adopt(found)
        for content in counts:
            kept = read_counts(content, self._hashing.fingerprint, self._half)
            if kept is None:
                unread += 1
            else:
                self._memory.restore(kept.key, kept.track)
        return unread
