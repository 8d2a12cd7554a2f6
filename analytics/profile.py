"""What the registry knows of a caller, by which more or less evidence is asked of it.

It never speaks against anybody by itself: it moves the chance with which an honest caller may be
found by talk, tenfold at most, and that chance is stated for each.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from msgspec import Struct

from zhenxian.analytics.thresholds import DAY

_SCATTERED: Final = 20  # single numbers, from which on they are no office's
_TOGETHER: Final = 10.0  # numbers a range, from which on they were given out as one
_YOUNG: Final = 90 * DAY
_OLD: Final = 180 * DAY
_MANY: Final = 5  # numbers of a person


class Care(IntEnum):
    """How much evidence is asked: what is larger asks ten times as much."""

    DOUBTFUL = -1
    USUAL = 0
    SOLID = 1


class Profile(Struct, frozen=True, kw_only=True):
    """What is registered of a subject.

    Attributes:
        person: it is one, and no enterprise.
        numbers, spans: that it holds, and the ranges or single numbers that these are.
        verified: when the youngest verification was, in seconds since the epoch; 0 for never.
        resold: it has numbers through a reseller.
    """

    person: bool
    numbers: int
    spans: int
    verified: int
    resold: bool

    def care(self, now: int) -> Care:
        """How much evidence is asked of it."""
        if self.person and self.numbers > _MANY:
            return Care.DOUBTFUL
        each = self.numbers / max(self.spans, 1)
        age = now - self.verified if self.verified else 0
        if self.resold and self.spans >= _SCATTERED and each < 2 and age < _YOUNG:
            return Care.DOUBTFUL
        if not self.person and not self.resold and each >= _TOGETHER and age >= _OLD:
            return Care.SOLID
        return Care.USUAL
