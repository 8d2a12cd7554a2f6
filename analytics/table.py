"""Which keys are remembered: bounded, fair to the known under a flood of new ones.

Half of the places are for keys with few calls, of which the oldest go first; so a flood of new keys
evicts its own. The other half keeps those with more calls; room is made there by whoever has fewest
of some that are looked at, silent ones and those against whom nothing stands first.

An access and its subject are mostly one: as long as each call of the one is a call of the other,
one track serves both, under the access's key. The first call that tells them apart gives the
subject a track of its own, with what was counted so far.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Final

from zhenxian.analytics.counts import Track
from zhenxian.analytics.model import Key, KeyKind

_PROBES: Final = 8  # keys that are compared to find the one to forget
_ACCESS: Final = KeyKind.ACCESS
_SUBJECT: Final = KeyKind.SUBJECT


class Memory:
    """The tracks by key.

    Attributes:
        tracks: all of them. fresh: those with few calls, oldest first. known: the others, in the
            order they were looked at.
    """

    def __init__(
        self, max_keys: int, established: int, window: int, stands: Callable[[Key, int], bool]
    ) -> None:
        """Args: see Policy. stands: whether something stands against a key at a time."""
        self._places = max_keys // 2
        self._established = established
        self._window = window
        self._half = window // 2
        self._stands = stands
        self.tracks: dict[Key, Track] = {}
        # Not plain ones, in which what left at the front is passed over at each look.
        self.fresh: OrderedDict[Key, None] = OrderedDict()
        self.known: OrderedDict[Key, None] = OrderedDict()
        self._with: dict[Key, Key] = {}  # subject to the access whose track serves both
        self._touched: list[tuple[Key, Track]] = []

    def __len__(self) -> int:
        return len(self.tracks)

    def get(self, key: Key) -> Track | None:
        """The track that counts for a key, its own or its access's."""
        track = self.tracks.get(key)
        if track is None:
            access = self._with.get(key)
            if access is not None:
                track = self.tracks.get(access)
        return track

    def settled(self, key: Key, keys: tuple[Key, ...], at: int) -> Track:
        """The track of a key that is not among the known; made when there is none.

        Args:
            keys: all of the call. An access that is new, like its subject, shares its track.
        """
        track = self.tracks.get(key)
        if track is not None:
            if track.fresh and track.seen >= self._established and self._room(track, at):
                del self.fresh[key]
                self.known[key] = None
                track.fresh = False
            return track
        access = self._with.get(key)
        if access is not None:
            self.part(access)
            return self.tracks.get(key) or self._begin(key, at)
        track = self._begin(key, at)
        if key.kind is _ACCESS and len(keys) > 1 and keys[1].kind is _SUBJECT:
            subject = keys[1]
            other = self._with.get(subject)
            if other is not None:
                self.part(other)
            elif subject not in self.tracks:
                track.also = subject
                self._with[subject] = key
        return track

    def _begin(self, key: Key, at: int) -> Track:
        self._sweep(at)
        fresh = self.fresh
        if len(fresh) >= self._places:
            self._remove(next(iter(fresh)))
        track = self.tracks[key] = Track.begin(key.kind, at, self._half)
        fresh[key] = None
        return track

    def part(self, access: Key) -> None:
        """Give the subject a track of its own, as if it had had one from the beginning."""
        track = self.tracks.get(access)
        if track is None or track.also is None:
            return
        self._own(track)
        track.touched = False
        self.touch(access, track)

    def _own(self, track: Track) -> None:
        """Copy a track that serves two to the subject, if there is room."""
        subject, track.also = track.also, None
        if subject is None:
            return
        del self._with[subject]
        order = self.fresh if track.fresh else self.known
        if len(order) < self._places:
            own = self.tracks[subject] = deepcopy(track)
            order[subject] = None
            own.touched = False
            self.touch(subject, own)

    def touch(self, key: Key, track: Track) -> None:
        """Have a key saved that has changed."""
        if track.touched:
            return
        track.touched = True
        self._touched.append((key, track))
        if len(self._touched) > 4 * self._places:  # nobody takes them; tracks forgotten must go
            tracks = self.tracks
            self._touched = [one for one in self._touched if tracks.get(one[0]) is one[1]]

    def take_touched(self, most: int) -> list[tuple[Key, Track | None]]:
        """Keys that changed since they were last taken, with what is kept of them if anything."""
        taken, self._touched = self._touched[:most], self._touched[most:]
        found: list[tuple[Key, Track | None]] = []
        for key, track in taken:
            track.touched = False
            found.append((key, track if self.tracks.get(key) is track else None))
        return found

    @property
    def untaken(self) -> int:
        """How many `take_touched` has still to give."""
        return len(self._touched)

    def restore(self, key: Key, track: Track) -> None:
        """Take over a track unless something is known of its key."""
        track.touched = False
        track.fresh = track.seen < self._established
        order = self.fresh if track.fresh else self.known
        if len(order) >= self._places or self.get(key) is not None:
            return
        self.tracks[key] = track
        order[key] = None
        if track.also is not None:
            if self.get(track.also) is None:
                self._with[track.also] = key
            else:
                track.also = None

    def forget(self, key: Key) -> None:
        """Forget one key; a subject stays when its access goes, and the other way round."""
        access = self._with.pop(key, None)
        if access is not None:
            track = self.tracks.get(access)
            if track is not None:
                track.also = None
                self.touch(access, track)
        track = self.tracks.pop(key, None)
        if track is not None:
            del (self.fresh if track.fresh else self.known)[key]
            self.touch(key, track)
            self._own(track)

    def _remove(self, key: Key) -> None:
        track = self.tracks.pop(key)
        del (self.fresh if track.fresh else self.known)[key]
        if track.also is not None:
            self._with.pop(track.also, None)

    def _sweep(self, at: int) -> None:
        """Forget one key that has been silent for a window, of those that came first."""
        for order in (self.fresh, self.known):
            oldest = next(iter(order), None)
            if oldest is None:
                continue
            track = self.tracks[oldest]
            if at - track.last >= self._window and not self._accused(oldest, track, at):
                self._remove(oldest)
            elif order is self.known:
                order.move_to_end(oldest)

    def _accused(self, key: Key, track: Track, at: int) -> bool:
        also = track.also
        return self._stands(key, at) or (also is not None and self._stands(also, at))

    def _room(self, newcomer: Track, at: int) -> bool:
        """Make room among the known, unless all that were looked at are worth more."""
        known = self.known
        if len(known) < self._places:
            return True
        least, fewest = None, newcomer.seen
        for _ in range(_PROBES):
            key = next(iter(known))
            known.move_to_end(key)
            track = self.tracks[key]
            calls = 0 if at - track.last >= self._window else track.seen
            if calls < fewest and not self._accused(key, track, at):
                least, fewest = key, calls
        if least is None:
            return False
        self._remove(least)
        return True
