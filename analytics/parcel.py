"""What is sent to one member of a fleet, until it is written; and how calls of busy keys thin out.

A key of which more calls come than tell anything new is counted by the calls of some of its
displays: of each of these all calls, so that whom it calls again is seen as it is.
"""

from __future__ import annotations

from typing import Final

from zhenxian.analytics.codec import FORMAT, Delta, event_of, write_delta
from zhenxian.analytics.counted import Contact, CountedCall
from zhenxian.analytics.model import Key

_BUSY: Final = 4_000  # calls of one key a second, beyond which every second display is left out
_MOST_LEVEL: Final = 12
_TOLD_EVERY: Final = 60  # paces
_KEPT_FOR: Final = 200  # paces, without being told


class Parcel:
    """Calls and ends of calls for one member.

    Attributes:
        events: calls, with their marks, and which of their keys are counted there.
    """

    def __init__(self) -> None:
        self.events: list[tuple[CountedCall, int, int]] = []
        self._ended: list[tuple[Key, int, Contact | None]] = []
        self._back: list[tuple[Key, int, int]] = []

    def add_ended(self, key: Key, at: int, contact: Contact | None) -> None:
        """The end of a call."""
        self._ended.append((key, at, contact))

    def add_back(self, key: Key, display: int, pair: int) -> None:
        """Somebody called a display of the key back."""
        self._back.append((key, display, pair))

    def write(self, salt: int, sequence: tuple[int, int]) -> bytes:
        """As it is sent."""
        places: dict[Key, int] = {}

        def place(key: Key) -> int:
            return places.setdefault(key, len(places))

        calls = self.events
        events = [
            event_of(call, [places.setdefault(key, len(places)) for key in call.keys])
            for call, _, _ in calls
        ]
        ended = [(place(key), at, contact) for key, at, contact in self._ended]
        back = [(place(key), display, pair) for key, display, pair in self._back]
        return write_delta(
            Delta(
                version=FORMAT,
                salt=salt,
                sequence=sequence,
                keys=list(places),
                events=events,
                ended=ended,
                findings=[],
                cleared=[],
                marks=[mark for _, mark, _ in calls],
                vouched=[number for number, (call, _, _) in enumerate(calls) if call.vouched],
                whose=[mask for _, _, mask in calls],
                direct=True,
                back=back,
            )
        )


class Thinning:
    """How far calls are thinned: those counted here, and those that others count.

    Attributes:
        here: level of each key that is counted here by a part of its calls: displays count whose
            hash has so many low bits 0.
        there: by member and key, the level and the pace at which it was told. keys: all of them.
    """

    def __init__(self) -> None:
        self.here: dict[Key, int] = {}
        self.there: dict[tuple[str, Key], tuple[int, int]] = {}
        self.keys: frozenset[Key] = frozenset()
        self._arrived: dict[Key, int] = {}
        self._changed: set[Key] = set()
        self._pace = 0

    def came(self, key: Key, calls: int) -> None:
        """So many calls of a key came from others."""
        self._arrived[key] = self._arrived.get(key, 0) + calls

    def pace(self, seconds: float) -> None:
        """Choose how much is left out from now on, by what came within so many seconds."""
        self._pace += 1
        arrived, self._arrived = self._arrived, {}
        enough = _BUSY * max(seconds, 0.1)
        for key, calls in arrived.items():
            if calls > enough:
                level = self.here.get(key, 0) + int(calls / enough).bit_length()
                self.here[key] = min(level, _MOST_LEVEL)
                self._changed.add(key)
        for key, level in list(self.here.items()):
            if arrived.get(key, 0) * 4 < enough:
                self._changed.add(key)
                if level > 1:
                    self.here[key] = level - 1
                else:
                    del self.here[key]
        if self._pace % _TOLD_EVERY == 0:
            self._changed.update(self.here)
            oldest = self._pace - _KEPT_FOR
            self.there = {one: told for one, told in self.there.items() if told[1] > oldest}
            self.keys = frozenset(key for _, key in self.there)

    def take(self) -> list[tuple[Key, int]]:
        """Levels that others are to know."""
        changed, self._changed = self._changed, set()
        return [(key, self.here.get(key, 0)) for key in changed]

    def hear(self, name: str, key: Key, level: int) -> None:
        """A member tells how far the calls of a key are to be thinned for it."""
        if level:
            self.there[name, key] = (level, self._pace)
        else:
            self.there.pop((name, key), None)
        self.keys = frozenset(key for _, key in self.there)

    def thinned(self, name: str, keys: tuple[Key, ...], mask: int, display: int | None) -> int:
        """The bits of those keys of which a member wants this display."""
        for place, key in enumerate(keys):
            told = self.there.get((name, key))
            if told is not None and mask >> place & 1 and left_out(display, told[0]):
                mask &= ~(1 << place)
        return mask

    def sampled(self, keys: tuple[Key, ...], display: int | None) -> tuple[Key, ...]:
        """Those of some keys of which this display is counted here."""
        return tuple(key for key in keys if not left_out(display, self.here.get(key, 0)))


def left_out(display: int | None, level: int) -> bool:
    """Tell whether the calls of a display are left out at a level."""
    return display is not None and bool(display & ((1 << level) - 1))
