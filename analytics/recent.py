"""Which values came lately: exact, bounded, and at the same cost however many came before."""

from __future__ import annotations

from sys import maxsize


class RecentSet:
    """Remembers each of the latest `most` values, and up to as many before these.

    Where `period` is given, only those that came within it, by what clocks said of both: one that
    was wrong for a while is forgotten with what came meanwhile.
    """

    __slots__ = ("_before", "_most", "_now", "_period")

    def __init__(self, most: int, period: int = maxsize) -> None:
        """Args: period: seconds."""
        self._most = most
        self._period = period
        self._now: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def again(self, value: int, at: int = 0) -> bool:
        """Tell whether a value came lately, and remember that it did.

        Args:
            at: seconds since the epoch.
        """
        now = self._now
        came = now.get(value)
        if came is None and value in self._before:  # nearly all are new, and end here
            came = self._before[value]
        if came is not None and -self._period < at - came < self._period:
            return True
        if len(now) >= self._most:
            self._before, self._now = now, {}
            now = self._now
        now[value] = at
        return False
