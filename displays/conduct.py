"""How displays behave over time: calls go in, findings come out. In memory, bounded, one process.

The hot path has two calls. `Conduct.finding` is one look into a table and may be asked for each
call. `Conduct.observe` counts a call for each of its keys; a key is judged anew only after its
calls have grown by an eighth. Nothing here reads a clock, and nobody's truth but the calls'.

Nodes of a fleet send each other what they observed (`take_delta`, `merge`), so that each counts
all calls; what is between two deliveries is the lag. Counts and sketches do not depend on the
order in which deliveries come; the sequential test and the order of displays do, slightly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Final, TypeAlias
from zlib import crc32

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from displays.areas import cell
from displays.measures import assess
from displays.model import (
    Assessment,
    Finding,
    Key,
    Observation,
    Picture,
    Sample,
    State,
)
from displays.policy import HOUR, Policy
from displays.track import MAX_SAMPLES, SLOT, Bounds, Track
from passport.errors import ZhenxianError
from passport.tn import TN

_FORMAT: Final = 1  # of snapshots and deltas; others are refused
_MASK_32: Final = (1 << 32) - 1
_MASK_64: Final = (1 << 64) - 1
_CACHED: Final = 65_536  # numbers and origids; about 10 MB each when full
_GOLDEN: Final = 0x9E37_79B9_7F4A_7C15  # 2**64 over the golden ratio; spreads what the salt adds
_PROBES: Final = 8  # keys that are compared to find the one to forget
_MOST_STEP: Final = 256  # calls until a key is judged again, at most
_MAX_NODES: Final = 1_024

_Event: TypeAlias = tuple[int, tuple[Key, ...], int, int, int, int, int]


class ConductFormatError(ZhenxianError):
    """A snapshot or delta that this version cannot read; nothing of it was taken."""


class _Delta(Struct, array_like=True):
    version: int
    salt: int
    sequence: tuple[int, int]
    keys: list[Key]
    events: list[tuple[int, list[int], int, int, int, int, int]]
    ended: list[tuple[int, int]]
    findings: list[Finding]
    cleared: list[Key]


class _Kept(Struct, array_like=True):
    version: int
    salt: int
    half: int
    key: Key
    track: Track


class Saved(Struct, frozen=True):
    """What is to be kept of one key; `content` is None when nothing is any more."""

    key: str
    content: bytes | None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DELTA: Final = msgspec.msgpack.Decoder(_Delta)
_KEPT: Final = msgspec.msgpack.Decoder(_Kept)
_FINDING: Final = msgspec.msgpack.Decoder(tuple[int, Finding])


class Conduct:
    """The conduct of all keys.

    Not safe for threads; one event loop uses it. Memory: at most `policy.max_keys` keys of at most
    `displays.track.MAX_OCTETS`, and `policy.max_backlog` calls where a fleet is served.
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
        self._factor = ((self.policy.salt * 2 + 1) * _GOLDEN & _MASK_64) | 1
        self._number = lru_cache(_CACHED)(self._numbered)
        self._hash = lru_cache(_CACHED)(self._hashed)
        self._show = show
        rate = self.policy.rate
        self._busy = self.policy.keep * min(rate.per_display, rate.per_key) * SLOT / HOUR
        self._far = 2 * self.policy.window  # a clock further back than that was wrong before
        self._places = self.policy.max_keys // 2
        # Those with few calls, oldest first, and the others, in the order they were last looked at.
        self._fresh: dict[Key, Track] = {}
        self._known: dict[Key, Track] = {}
        self._findings: dict[Key, Finding] = {}
        self._backlog: list[_Event] | None = [] if fleet else None
        self._ended: list[tuple[Key, int]] = []
        self._changed: dict[Key, Finding] = {}
        self._cleared: dict[Key, None] = {}
        self._sequence = (boot, 0)
        self._taken: dict[str, tuple[int, int]] = {}
        self._touched: list[tuple[Key, Track]] = []
        self._unsaved: dict[Key, Finding | None] = {}
        self.flagged = False  # somebody was found pooled since `take_findings`
        self.lost = 0  # calls that other nodes will not learn of, because nobody took them in time

    def _numbered(self, tn: TN) -> tuple[int, int]:
        """Hash and area of a number."""
        return self._hashed(tn), cell(tn)

    def _hashed(self, text: str) -> int:
        """32 bits, the same on all nodes with the salt.

        The checksum alone could be aimed at; the secret odd factor spreads what differs in it
        (multiply-shift, Dietzfelbinger et al. 1997).
        """
        mixed = (crc32(text.encode()) * self._factor & _MASK_64) >> 32
        # The finaliser of MurmurHash3, so that numbers in a row land anywhere.
        mixed = (mixed ^ mixed >> 16) * 0x85EB_CA6B & _MASK_32
        mixed = (mixed ^ mixed >> 13) * 0xC2B2_AE35 & _MASK_32
        return mixed ^ mixed >> 16

    def __len__(self) -> int:
        """How many keys are remembered."""
        return len(self._fresh) + len(self._known)

    # -- the hot path

    def finding(self, key: Key, now: int) -> Finding | None:
        """What stands against a key at this time; None for nothing."""
        found = self._findings.get(key)
        if found is None or now >= found.until:
            return None
        return found

    def observe(self, observation: Observation) -> None:
        """Count one call."""
        callee, origid = observation.callee, observation.origid
        shown = pair = here = there = link = -1
        if not observation.bound:
            shown, here = self._number(observation.display)
            if callee is not None:
                called, there = self._number(callee)
                pair = shown * 3 + called & _MASK_32
            if origid is not None:
                link = shown * 3 + self._hash(origid) & _MASK_32
        at = observation.at
        event = (at, observation.keys, shown, pair, here, there, link)
        backlog = self._backlog
        if backlog is not None:
            if len(backlog) < self.policy.max_backlog:
                backlog.append(event)
            else:
                self.lost += 1
        self._count(event, observation)

    def _count(self, event: _Event, observation: Observation | None) -> None:
        at, keys, shown, pair, here, there, link = event
        generation = at // self._half
        known = self._known
        for key in keys:
            track = known.get(key)
            if track is None:
                track = self._newcomer(key, at, generation)
            if not track.touched:
                track.touched = True
                self._touched.append((key, track))
            if track.generation != generation:
                track.turn(generation)
            if at != track.last and (at > track.last or at < track.last - self._far):
                track.last = at
            half = track.now
            if shown < 0:
                half.bound += 1
                continue
            if track.carrier:
                if link < 0:
                    continue
                track.count_origid(shown, link)
            else:
                track.count(at, shown, pair, here, there, self._bounds)
            calls = half.calls
            if calls >= track.due:
                track.due = calls + min(max(4, calls >> 3), _MOST_STEP)
                if observation is not None:
                    self._sample(track, observation)
                if key in self._findings or self._worth(track):
                    self._judge(key, track, track.last)

    def _sample(self, track: Track, observation: Observation) -> None:
        callee = observation.callee
        track.samples.append(
            (
                observation.at,
                self._show(observation.display),
                None if callee is None else self._show(callee),
            )
        )
        if len(track.samples) > MAX_SAMPLES:
            del track.samples[0]

    # -- judging

    def _worth(self, track: Track) -> bool:
        """Tell cheaply whether a measure could find anything; most keys are nowhere near."""
        if track.carrier:
            return True
        policy = self.policy
        keep = policy.keep
        if track.score >= keep * self._bounds.upper:
            return True
        calls = track.calls
        if track.areas is not None and calls >= policy.spread.least_calls:
            return True
        if len(track.left) >= keep * policy.rotation.successors:
            return True
        # In turn: displays change, but far less often than lines that hunt.
        if calls >= policy.rotation.least_calls and 0 < track.turn_count * 4 < calls * 3:
            return True
        if not track.ring:
            return False
        return max(track.ring) >= self._busy or max(track.peaks) >= keep * policy.rate.concurrent

    def _judge(self, key: Key, track: Track, at: int) -> None:
        policy = self.policy
        found = self._findings.get(key)
        if found is not None and at >= found.until:
            self._drop(key)
            found = None
            track.score = 0.0
        assessments = assess(track, policy, self._bounds, policy.keep)
        best = max(assessments, key=lambda one: one.strength, default=None)
        strength = best.strength if best is not None else 0.0
        if best is not None and strength >= 1:
            self._find(key, track, best, State.POOLED, at, at + policy.pooled_for)
        elif found is None:
            if best is not None and strength >= policy.suspect:
                self._find(key, track, best, State.SUSPECTED, at, at + policy.suspected_for)
        elif found.state is State.POOLED:
            # What brought it here must show again; anything else would be another finding.
            same = [one for one in assessments if one.measure is found.measure]
            if same and same[0].strength > policy.keep:
                self._find(key, track, same[0], State.POOLED, at, at + policy.pooled_for)
            elif found.until > at + policy.pooled_for:
                self._set(replace(found, until=at + policy.pooled_for))  # the clock was ahead
        elif best is not None and strength > policy.keep:
            self._find(key, track, best, State.SUSPECTED, at, at + policy.suspected_for)
        else:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        """Nothing stands against a key any more."""
        if self._findings.pop(key, None) is not None:
            self._unsaved[key] = None

    def _find(
        self, key: Key, track: Track, best: Assessment, state: State, at: int, until: int
    ) -> None:
        before = self._findings.get(key)
        same = before is not None and before.state is state
        self._set(
            Finding(
                key,
                state,
                best.measure,
                best.strength,
                best.figures,
                best.thresholds,
                self.policy.window,
                tuple(Sample(*sample) for sample in track.samples),
                min(before.since, at) if before is not None and same else at,
                until,
            )
        )

    def _set(self, found: Finding) -> None:
        findings = self._findings
        if found.key not in findings and len(findings) >= self.policy.max_keys:
            # The one that would end first; suspected ones before pooled ones.
            self._drop(min(findings, key=lambda key: (findings[key].state, findings[key].until)))
        before = findings.get(found.key)
        findings[found.key] = self._unsaved[found.key] = found
        if found.state is State.POOLED and (before is None or before.state is not State.POOLED):
            self.flagged = True
        if self._backlog is not None:
            self._changed[found.key] = found

    # -- what can be asked for and told

    def picture(self, key: Key, now: int) -> Picture:
        """All figures of a key, whether or not they amount to anything."""
        found = self.finding(key, now)
        state = found.state if found is not None else State.WATCHING
        track = self._known.get(key) or self._fresh.get(key)
        if track is None or now - track.last >= self.policy.window:
            return Picture(key, state, 0, 0, 0, (), found)
        bound = track.now.bound + (track.old.bound if track.old is not None else 0)
        measures = assess(track, self.policy, self._bounds)
        return Picture(key, state, track.calls + bound, track.first, track.last, measures, found)

    def ended(self, key: Key, at: int) -> None:
        """One call of the key is over. Without such reports concurrency is not judged.

        Reports count from the key's first one; before it, nothing is known of calls in progress.
        """
        if self._backlog is not None and len(self._ended) < self.policy.max_backlog:
            self._ended.append((key, at))
        self._end(key, at)

    def _end(self, key: Key, at: int) -> None:
        track = self._known.get(key) or self._fresh.get(key)
        if track is not None and not track.carrier:
            track.ended(at)

    def clear(self, key: Key) -> None:
        """Forget a key and what stood against it, here and with the next delta everywhere.

        For a registrar who found an objection right. The same conduct is found again.
        """
        self._forget(key)
        if self._backlog is not None:
            self._changed.pop(key, None)
            self._cleared[key] = None

    def _forget(self, key: Key) -> None:
        self._drop(key)
        for tracks in (self._fresh, self._known):
            track = tracks.pop(key, None)
            if track is not None and not track.touched:
                track.touched = True
                self._touched.append((key, track))

    # -- which keys are remembered

    def _newcomer(self, key: Key, at: int, generation: int) -> Track:
        """The track of a key that is not among the known."""
        fresh = self._fresh
        track = fresh.get(key)
        if track is not None:
            if track.calls >= self.policy.established and self._room(track, at):
                del fresh[key]
                self._known[key] = track
            return track
        self._sweep(at)
        if len(fresh) >= self._places:
            del fresh[next(iter(fresh))]
        track = fresh[key] = Track.begin(key.kind, at, generation)
        return track

    def _sweep(self, at: int) -> None:
        """Forget one key that has been silent for a window, of those that came first."""
        for keys in (self._fresh, self._known):
            oldest = next(iter(keys), None)
            if oldest is None:
                continue
            track = keys[oldest]
            if at - track.last >= self.policy.window and not self._stands(oldest, at):
                del keys[oldest]
            elif keys is self._known:
                del keys[oldest]
                keys[oldest] = track

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

    def _room(self, newcomer: Track, at: int) -> bool:
        """Make room among the known, unless all that were looked at are worth more."""
        known = self._known
        if len(known) < self._places:
            return True
        least, fewest = None, newcomer.calls
        for _ in range(_PROBES):
            key = next(iter(known))
            track = known.pop(key)
            known[key] = track
            calls = 0 if at - track.last >= self.policy.window else track.calls
            if calls < fewest and not self._stands(key, at):
                least, fewest = key, calls
        if least is None:
            return False
        del known[least]
        return True

    # -- fleet and restart

    def take_delta(self) -> bytes:
        """What was observed and found since the last time, for the other nodes.

        Raises:
            RuntimeError: made without `fleet`.
        """
        if self._backlog is None:
            raise RuntimeError("this Conduct keeps nothing for a fleet; make it with fleet=True")
        places: dict[Key, int] = {}
        events = [
            (at, [places.setdefault(key, len(places)) for key in keys], *rest)
            for at, keys, *rest in self._backlog
        ]
        ended = [(places.setdefault(key, len(places)), at) for key, at in self._ended]
        boot, number = self._sequence
        self._sequence = (boot, number + 1)
        delta = _ENCODER.encode(
            (
                _FORMAT,
                self._fingerprint,
                self._sequence,
                list(places),
                events,
                ended,
                list(self._changed.values()),
                list(self._cleared),
            )
        )
        self._backlog, self._ended = [], []
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
        try:
            read = _DELTA.decode(delta)
        except msgspec.MsgspecError as error:
            raise ConductFormatError(f"delta: {error}") from None
        if read.version != _FORMAT or read.salt != self._fingerprint:
            raise ConductFormatError("delta: of another version or salt")
        if any(place >= len(read.keys) for _, places, *_ in read.events for place in places):
            raise ConductFormatError("delta: names keys that it lacks")
        if any(place >= len(read.keys) for place, _ in read.ended):
            raise ConductFormatError("delta: names keys that it lacks")
        if read.sequence <= self._taken.get(node, (-1, -1)):
            return False
        self._taken.pop(node, None)
        self._taken[node] = read.sequence
        if len(self._taken) > _MAX_NODES:
            del self._taken[next(iter(self._taken))]
        keys = read.keys
        for key in read.cleared:
            self._forget(key)
        for at, places, *rest in read.events:
            shown, pair, here, there, link = rest
            named = tuple(keys[place] for place in places)
            self._count((at, named, shown, pair, here, there, link), None)
        for place, at in read.ended:
            self._end(keys[place], at)
        for found in read.findings:
            self._adopt(found)
        return True

    def _adopt(self, found: Finding) -> None:
        """Take over a finding unless a worse or longer one stands."""
        mine = self._findings.get(found.key)
        if mine is None or (found.state, found.until) > (mine.state, mine.until):
            backlog, self._backlog = self._backlog, None  # it is known to the others already
            self._set(found)
            self._backlog = backlog

    @property
    def _fingerprint(self) -> int:
        """Tells salts apart without giving them away."""
        return crc32(self._factor.to_bytes(8, "big"))

    def take_touched(self, most: int) -> list[Saved]:
        """Keys whose counts changed since they were last taken, the longest waiting first.

        Args:
            most: keys at a time. One takes about 20 microseconds, in which nothing else runs.
        """
        taken, self._touched = self._touched[:most], self._touched[most:]
        half = self._half
        saved = []
        for key, track in taken:
            track.touched = False
            here = (self._known.get(key) or self._fresh.get(key)) is track
            content = (
                _ENCODER.encode((_FORMAT, self._fingerprint, half, key, track)) if here else None
            )
            saved.append(Saved(str(key), content))
        return saved

    @property
    def untaken(self) -> int:
        """How many keys `take_touched` has still to give."""
        return len(self._touched)

    def take_findings(self) -> list[Saved]:
        """Findings that are new, changed or over since they were last taken."""
        unsaved, self._unsaved = self._unsaved, {}
        self.flagged = False
        return [
            Saved(
                str(key),
                _ENCODER.encode((_FORMAT, found)) if found is not None else None,
            )
            for key, found in unsaved.items()
        ]

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
            try:
                version, found = _FINDING.decode(content)
            except msgspec.MsgspecError:
                unread += 1
                continue
            if version == _FORMAT:
                self._adopt(found)
            else:
                unread += 1
        self._unsaved, self.flagged = {}, False
        for content in counts:
            try:
                kept = _KEPT.decode(content)
            except msgspec.MsgspecError:
                unread += 1
                continue
            if (kept.version, kept.salt, kept.half) != (_FORMAT, self._fingerprint, self._half):
                unread += 1
                continue
            key, track = kept.key, kept.track
            track.touched = False
            tracks = self._known if track.calls >= self.policy.established else self._fresh
            if len(tracks) < self._places and key not in self._known and key not in self._fresh:
                tracks[key] = track
        return unread
