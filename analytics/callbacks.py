"""Displays that people call back: somebody who was called calls the number that was shown.

It speaks for a caller where the caller of the call back is verified and was called by that very
display before, each such pair once, and never where both displays are the caller's own: a pool can
call itself. Others call back as well, mostly to complain, so that many have to.
"""

from __future__ import annotations

from itertools import islice
from math import log
from typing import Final

from zhenxian.analytics.counted import CountedCall
from zhenxian.analytics.evidence import Contacts
from zhenxian.analytics.model import Key
from zhenxian.analytics.thresholds import CallBacks

MAX_DISPLAYS: Final = 65_536  # whose they are is remembered; some 10 MB when full
_MASK_32: Final = (1 << 32) - 1


class ShownBy:
    """Whose a display is, as hashes: of callers with many of them, the latest ones."""

    def __init__(self) -> None:
        self._now: dict[int, Key] = {}
        self._before: dict[int, Key] = {}
        self._untold: dict[int, Key] | None = None

    def note(self, display: int, key: Key) -> None:
        """A caller showed it."""
        if self._now.get(display) is key:
            return
        if self._untold is not None and self.get(display) != key:
            self._untold[display] = key
            if len(self._untold) > MAX_DISPLAYS:
                del self._untold[next(iter(self._untold))]
        now = self._now
        if display not in now and len(now) >= MAX_DISPLAYS // 2:
            self._before, self._now = now, {}
            now = self._now
        now[display] = key

    def hear(self, display: int, key: Key) -> None:
        """A caller showed it, as others say, who know it already."""
        untold, self._untold = self._untold, None
        self.note(display, key)
        self._untold = untold

    def tell(self, *, others: bool) -> None:
        """Keep for others whose displays are, all of them once more; or do so no longer."""
        self._untold = {**self._before, **self._now} if others else None

    def take(self, most: int) -> list[tuple[Key, int]]:
        """Whose displays are, so many of those to be told; the rest waits."""
        untold = self._untold
        if not untold:
            return []
        displays = list(islice(untold, most))
        return [(untold.pop(display), display) for display in displays]

    def get(self, display: int) -> Key | None:
        """Who showed it last; None when that is not remembered."""
        return self._now.get(display) or self._before.get(display)

    def called_back(self, call: CountedCall) -> tuple[Key, int] | None:
        """Whom a verified call calls back, at which display; None for nobody."""
        display, pair = call.display, call.pair
        if not call.vouched or display is None or pair is None:
            return None
        called = (pair - 3 * display) & _MASK_32  # as analytics.counted.pair_hash made it
        key = self.get(called)
        if key is None or key in call.keys or self.get(display) == key:
            return None
        return key, called


def speak_for(contacts: Contacts | None, limits: CallBacks) -> bool:
    """Tell whether so many call back as no pool's callees do; at 1 in 20 for a pool at its bound.

    A likelihood ratio of one trial for each callee remembered (Ville's inequality).
    """
    if contacts is None or len(contacts.back) < limits.least:
        return False
    callees = contacts.pairs.stored
    did = len(contacts.back)
    score = did * log(limits.business / limits.pool)
    score += (callees - did) * log((1 - limits.business) / (1 - limits.pool))
    return score >= log(1 / limits.speaks)
