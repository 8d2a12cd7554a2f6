"""How many calls a minute a suspected caller may make, where the operator says so.

Over any minute, exactly, of what this process knows: calls that other workers and nodes let through
are known a second later. Bounded: a caller costs as many instants as calls it may make, and who was
not heard of for longest is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final

from zhenxian.analytics.model import Key

MINUTE: Final = 60  # seconds; whoever was over the cap may call again after so many at most
MAX_CALLERS: Final = 10_000


class Cap:
    """Calls of the last minute, of callers who may make only so many."""

    def __init__(self, limit: int) -> None:
        """Args: limit: calls a minute; 0 for any number."""
        self.limit = limit
        self._calls: OrderedDict[Key, deque[int]] = OrderedDict()

    def admits(self, key: Key, now: int, *, count: bool = True) -> bool:
        """Tell whether one more call is within the cap, and count it if it is and is to be."""
        if not self.limit:
            return True
        calls = self._calls.get(key)
        if calls is None:
            if not count:
                return True
            calls = self._begin(key)
        else:
            self._calls.move_to_end(key)
            while calls and not 0 <= now - calls[0] < MINUTE:  # or of a clock that was ahead
                calls.popleft()
        if len(calls) >= self.limit:
            return False
        if count:
            calls.append(now)
        return True

    def watches(self, key: Key) -> bool:
        """Tell whether the calls of a caller are counted: it was suspected here."""
        return key in self._calls

    def elsewhere(self, key: Key, at: int) -> None:
        """Another process let a call through; of callers who never came here, nothing."""
        calls = self._calls.get(key)
        if calls is not None and len(calls) < 2 * self.limit:
            calls.append(at)

    def _begin(self, key: Key) -> deque[int]:
        if len(self._calls) >= MAX_CALLERS:
            self._calls.popitem(last=False)
        calls = self._calls[key] = deque()
        return calls
