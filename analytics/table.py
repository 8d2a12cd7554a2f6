"""Which keys are remembered: bounded, fair to the known under a flood of new ones.

Half of the places are for keys with few calls, of which the oldest go first; so a flood of new keys
evicts its own. The other half keeps those with more calls; room is made there by whoever has fewest
of some that are looked at, silent ones and those against whom nothing stands first.

An access and its subject are mostly one: as long as each call of the one is a call of the other,
the same counts serve both, under the access's key. The first call that tells them apart gives the
subject its own, with what was counted so far.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from copy import deepcopy
from typing import Final

from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.model import Key, KeyKind

_PROBES: Final = 8  # keys that are compared to find the one to forget
_ACCESS: Final = KeyKind.ACCESS
_SUBJECT: Final = KeyKind.SUBJECT


class KeyTable:
    """The counts by key.

    Attributes:
        by_key: all of them. fresh: those with few calls, oldest first. known: the others, in the
            order they were looked at.
    """

    def __init__(
        self,
        max_keys: int,
        established: int,
        window: int,
        remembered: int,
        stands: Callable[[Key, int], bool],
    ) -> None:
        """Args: see Policy. stands: whether something stands against a key at a time."""
        self._places = max_keys // 2
        self._established = established
        self._window = window
        self._remembered = remembered
        self._half = window // 2
        self._stands = stands
        self.by_key: dict[Key, KeyCounts] = {}
        # Not plain ones, in which what left at the front is passed over at each look.
        self.fresh: OrderedDict[Key, None] = OrderedDict()
        self.known: OrderedDict[Key, None] = OrderedDict()
        self._with: dict[Key, Key] = {}  # subject to the access whose counts serve both
        self._touched: list[tuple[Key, KeyCounts]] = []

    def __len__(self) -> int:
        return len(self.by_key)

    def get(self, key: Key) -> KeyCounts | None:
        """The counts of a key: its own or its access's."""
        counts = self.by_key.get(key)
        if counts is None:
            access = self._with.get(key)
            if access is not None:
                counts = self.by_key.get(access)
        return counts

    def settled(self, key: Key, keys: tuple[Key, ...], at: int) -> KeyCounts:
        """The counts of a key that is not among the known; made when there are none.

        Args:
            keys: all of the call. An access that is new, like its subject, shares its counts.
        """
        counts = self.by_key.get(key)
        if counts is not None:
            if counts.fresh and counts.seen >= self._established and self._room(counts, at):
                del self.fresh[key]
                self.known[key] = None
                counts.fresh = False
            return counts
        access = self._with.get(key)
        if access is not None:
            self.part(access)
            return self.by_key.get(key) or self._begin(key, at)
        counts = self._begin(key, at)
        if key.kind is _ACCESS and len(keys) > 1 and keys[1].kind is _SUBJECT:
            subject = keys[1]
            other = self._with.get(subject)
            if other is not None:
                self.part(other)
            elif subject not in self.by_key:
                counts.also = subject
                self._with[subject] = key
        return counts

    def _begin(self, key: Key, at: int) -> KeyCounts:
        self._sweep(at)
        fresh = self.fresh
        if len(fresh) >= self._places:
            self._remove(next(iter(fresh)))
        counts = self.by_key[key] = KeyCounts.begin(key.kind, at, self._half)
        fresh[key] = None
        return counts

    def part(self, access: Key) -> None:
        """Give the subject counts of its own, as if it had had them from the beginning."""
        counts = self.by_key.get(access)
        if counts is None or counts.also is None:
            return
        self._own(counts)
        counts.touched = False
        self.touch(access, counts)

    def _own(self, counts: KeyCounts) -> None:
        """Copy counts that serve two to the subject, if there is room."""
        subject, counts.also = counts.also, None
        if subject is None:
            return
        del self._with[subject]
        order = self.fresh if counts.fresh else self.known
        if len(order) < self._places:
            own = self.by_key[subject] = deepcopy(counts)
            order[subject] = None
            own.touched = False
            self.touch(subject, own)

    def touch(self, key: Key, counts: KeyCounts) -> None:
        """Have a key saved that has changed."""
        if counts.touched:
            return
        counts.touched = True
        self._touched.append((key, counts))
        if len(self._touched) > 4 * self._places:  # nobody takes them; by_key forgotten must go
            by_key = self.by_key
            self._touched = [one for one in self._touched if by_key.get(one[0]) is one[1]]

    def take_touched(self, most: int) -> list[tuple[Key, KeyCounts | None]]:
        """Keys that changed since they were last taken, with what is kept of them if anything."""
        taken, self._touched = self._touched[:most], self._touched[most:]
        found: list[tuple[Key, KeyCounts | None]] = []
        for key, counts in taken:
            counts.touched = False
            found.append((key, counts if self.by_key.get(key) is counts else None))
        return found

    @property
    def untaken(self) -> int:
        """How many `take_touched` has still to give."""
        return len(self._touched)

    def restore(self, key: Key, counts: KeyCounts) -> None:
        """Take over counts unless something is known of its key."""
        counts.touched = False
        counts.fresh = counts.seen < self._established
        order = self.fresh if counts.fresh else self.known
        if len(order) >= self._places or self.get(key) is not None:
            return
        self.by_key[key] = counts
        order[key] = None
        if counts.also is not None:
            if self.get(counts.also) is None:
                self._with[counts.also] = key
            else:
                counts.also = None

    def forget(self, key: Key) -> None:
        """Forget one key; a subject stays when its access goes, and the other way round."""
        access = self._with.pop(key, None)
        if access is not None:
            counts = self.by_key.get(access)
            if counts is not None:
                counts.also = None
                self.touch(access, counts)
        counts = self.by_key.pop(key, None)
        if counts is not None:
            del (self.fresh if counts.fresh else self.known)[key]
            self.touch(key, counts)
            self._own(counts)

    def _remove(self, key: Key) -> None:
        counts = self.by_key.pop(key)
        del (self.fresh if counts.fresh else self.known)[key]
        if counts.also is not None:
            self._with.pop(counts.also, None)

    def _sweep(self, at: int) -> None:
        """Forget one key that has been silent for a window, of those that came first."""
        for order in (self.fresh, self.known):
            oldest = next(iter(order), None)
            if oldest is None:
                continue
            counts = self.by_key[oldest]
            remembered = counts.contacts is not None or counts.past is not None
            silent = self._remembered if remembered else self._window
            if at - counts.last >= silent and not self._accused(oldest, counts, at):
                self._remove(oldest)
            elif order is self.known:
                order.move_to_end(oldest)

    def _accused(self, key: Key, counts: KeyCounts, at: int) -> bool:
        also = counts.also
        return self._stands(key, at) or (also is not None and self._stands(also, at))

    def _room(self, newcomer: KeyCounts, at: int) -> bool:
        """Make room among the known, unless all that were looked at are worth more."""
        known = self.known
        if len(known) < self._places:
            return True
        least, fewest = None, newcomer.seen
        for _ in range(_PROBES):
            key = next(iter(known))
            known.move_to_end(key)
            counts = self.by_key[key]
            calls = 0 if at - counts.last >= self._window else counts.seen
            if calls < fewest and not self._accused(key, counts, at):
                least, fewest = key, calls
        if least is None:
            return False
        self._remove(least)
        return True
