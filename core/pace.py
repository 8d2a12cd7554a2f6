"""Long work in a thread, in slices with rests between: what the event loop does has its turns.

A thread that works without pause has the interpreter each time that a call lets go of it, which a
call does often. A call that meets a slice waits for its end at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias, TypeVar

SLICE: Final = 0.0005  # seconds of work
REST: Final = 0.001  # seconds of rest after it

Pause: TypeAlias = Callable[[], object]  # called often; rests when it is time

_Item = TypeVar("_Item")


class Pace:
    """A Pause of one thread's work."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        """Args: clock: seconds, as time.perf_counter. sleep: as time.sleep."""
        self._clock, self._sleep = clock, sleep
        self._until = clock() + SLICE

    def __call__(self) -> None:
        """Rest, when the slice is over."""
        if self._clock() > self._until:
            self._sleep(REST)
            self._until = self._clock() + SLICE

    def through(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items; with rests, while whoever takes them works."""
        for item in items:
            yield item
            self()
