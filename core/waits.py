"""Waits that end at a time of the wall clock."""

from __future__ import annotations


def waits(until: float, now: float, longest: float) -> bool:
    """Whether a wait that ends at `until` lasts; over, too, where none could be as long.

    It was begun by a clock that was ahead then, and might last for a year. All in seconds.
    """
    return now < until <= now + longest
