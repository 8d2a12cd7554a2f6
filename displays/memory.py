"""Which keys are remembered: bounded, fair to the known under a flood of new ones.

Half of the places are for keys with few calls, of which the oldest go first; so a flood of new keys
evicts its own. The other half keeps those with more calls; room is made there by whoever has fewest
of some that are looked at, silent ones and those against whom nothing stands first.

An access and its subject are mostly one: as long as each call of the one is a call of the other,
one track serves both, under the access's key. The first call that tells them apart gives the
subject a track of its own, with what was counted so far.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Final

from displays.model import Key
from displays.track import Track

_PROBES: Final = 8  # keys that are compared to find the one to forget


class Memory:
    """The tracks by key.

    Attributes:
        fresh: with few calls, oldest first. known: the others, in the order they were looked at.
    """

    def __init__(
        self, max_keys: int, established: int, window: int, stands: Callable[[Key, int], bool]
    ) -> None:
        """Args: see Policy. stands: whether something stands against a key at a time."""
        self._places = max_keys // 2
        self._established = established
        self._window = window
        self._stands = stands
        self.fresh: dict[Key, Track] = {}
        self.known: dict[Key, Track] = {}
        self._with: dict[Key, Key] = {}  # subject to the access whose track serves both
        self._touched: list[tuple[Key, Track]] = []

    def __len__(self) -> int:
        return len(self.fresh) + len(self.known)

    def get(self, key: Key) -> Track | None:
        """The track that counts for a key, its own or its access's."""
        track = self.own(key)
        if track is None:
            access = self._with.get(key)
            if access is not None:
                track = self.own(access)
        return track

    def own(self, key: Key) -> Track | None:
        """The track under this very key."""
        return self.known.get(key) or self.fresh.get(key)

    def one(self, key: Key, at: int, generation: int) -> Track:
        """The track of a key that is not among the known; made when there is none."""
        fresh = self.fresh
        track = fresh.get(key)
        if track is not None:
            if track.calls >= self._established and self._room(track, at):
                del fresh[key]
                self.known[key] = track
            return track
        access = self._with.get(key)
        if access is not None:
            self.part(access)
            return self.own(key) or self.one(key, at, generation)
        self._sweep(at)
        if len(fresh) >= self._places:
            self._remove(fresh, next(iter(fresh)))
        track = fresh[key] = Track.begin(key.kind, at, generation)
        return track

    def both(self, access: Key, subject: Key, at: int, generation: int) -> Track | None:
        """The track that serves an access and a subject; None when each has its own."""
        track = self.own(access)
        if track is None:
            other = self._with.get(subject)
            if other is not None:
                self.part(other)
            elif self.own(subject) is None:
                track = self.one(access, at, generation)
                track.also = subject
                self._with[subject] = access
            return track
        if track.also == subject:
            return track if access in self.known else self.one(access, at, generation)
        if track.also is not None:
            self.part(access)
        if subject in self._with:
            self.part(self._with[subject])
        return None

    def part(self, access: Key) -> None:
        """Give the subject a track of its own, as if it had had one from the beginning."""
        for tracks in (self.known, self.fresh):
            track = tracks.get(access)
            if track is None or track.also is None:
                continue
            subject, track.also = track.also, None
            del self._with[subject]
            if len(tracks) < self._places:
                own = tracks[subject] = deepcopy(track)
                own.touched = False
                self.touch(subject, own)
            track.touched = False
            self.touch(access, track)

    def touch(self, key: Key, track: Track) -> None:
        """Have a key saved that has changed."""
        if track.touched:
            return
        track.touched = True
        self._touched.append((key, track))
        if len(self._touched) > 4 * self._places:  # nobody takes them; tracks forgotten must go
            self._touched = [one for one in self._touched if self.own(one[0]) is one[1]]

    def take_touched(self, most: int) -> list[tuple[Key, Track | None]]:
        """Keys that changed since they were last taken, with what is kept of them if anything."""
        taken, self._touched = self._touched[:most], self._touched[most:]
        found: list[tuple[Key, Track | None]] = []
        for key, track in taken:
            track.touched = False
            found.append((key, track if self.own(key) is track else None))
        return found

    @property
    def untaken(self) -> int:
        """How many `take_touched` has still to give."""
        return len(self._touched)

    def restore(self, key: Key, track: Track) -> None:
        """Take over a track unless something is known of its key."""
        track.touched = False
        tracks = self.known if track.calls >= self._established else self.fresh
        if len(tracks) >= self._places or self.get(key) is not None:
            return
        tracks[key] = track
        if track.also is not None:
            if self.get(track.also) is None:
                self._with[track.also] = key
            else:
                track.also = None

    def forget(self, key: Key) -> None:
        """Forget one key; a subject stays when its access goes, and the other way round."""
        access = self._with.pop(key, None)
        if access is not None:
            track = self.own(access)
            if track is not None:
                track.also = None
                self.touch(access, track)
        for tracks in (self.fresh, self.known):
            track = tracks.pop(key, None)
            if track is None:
                continue
            self.touch(key, track)
            if track.also is not None:
                subject, track.also = track.also, None
                del self._with[subject]
                own = tracks[subject] = deepcopy(track)
                own.touched = False
                self.touch(subject, own)

    def _remove(self, tracks: dict[Key, Track], key: Key) -> None:
        track = tracks.pop(key)
        if track.also is not None:
            self._with.pop(track.also, None)

    def _sweep(self, at: int) -> None:
        """Forget one key that has been silent for a window, of those that came first."""
        for keys in (self.fresh, self.known):
            oldest = next(iter(keys), None)
            if oldest is None:
                continue
            track = keys[oldest]
            if at - track.last >= self._window and not self._accused(oldest, track, at):
                self._remove(keys, oldest)
            elif keys is self.known:
                del keys[oldest]
                keys[oldest] = track

    def _accused(self, key: Key, track: Track, at: int) -> bool:
        also = track.also
        return self._stands(key, at) or (also is not None and self._stands(also, at))

    def _room(self, newcomer: Track, at: int) -> bool:
        """Make room among the known, unless all that were looked at are worth more."""
        known = self.known
        if len(known) < self._places:
            return True
        least, fewest = None, newcomer.calls
        for _ in range(_PROBES):
            key = next(iter(known))
            track = known.pop(key)
            known[key] = track
            calls = 0 if at - track.last >= self._window else track.calls
            if calls < fewest and not self._accused(key, track, at):
                least, fewest = key, calls
        if least is None:
            return False
        self._remove(known, least)
        return True
