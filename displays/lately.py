"""Which values came lately: exact, bounded, and at the same cost however many came before."""

from __future__ import annotations


class Lately:
    """Remembers each of the latest `most` values, and up to as many before these.

    Where `period` is given, only those that came within it for certain, and none for twice as long.
    """

    __slots__ = ("_before", "_most", "_now", "_period", "_turn")

    def __init__(self, most: int, period: int | None = None) -> None:
        """Args: period: seconds."""
        self._most = most
        self._period = period
        self._turn = 0
        self._now: set[int] = set()
        self._before: set[int] = set()

    def again(self, value: int, at: int = 0) -> bool:
        """Tell whether a value came lately, and remember that it did.

        Args:
            at: seconds since the epoch; a step back of the clock shortens nothing.
        """
        if self._period is not None and (turn := at // self._period) > self._turn:
            self._before, self._now = self._now if turn == self._turn + 1 else set(), set()
            self._turn = turn
        now = self._now
        if value in now or value in self._before:
            return True
        if len(now) >= self._most:
            self._before, self._now = now, set()
            now = self._now
        now.add(value)
        return False
