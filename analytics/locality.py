"""How displays and callees spread over areas, and the constants of the test over their matches."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Final, TypeAlias

from zhenxian.analytics.areas import CELLS
from zhenxian.analytics.thresholds import Locality

if TYPE_CHECKING:
    Cells: TypeAlias = array[int]
else:
    Cells = array  # which takes no parameter before Python 3.12

_FOUR_OCTETS: Final = "I"


def cells(counts: Iterable[int]) -> Cells:
    """A count for each area; a tenth of a list's memory once they are large.

    Raises:
        ValueError: other counts, or of other areas, than can be.
    """
    try:
        made = array(_FOUR_OCTETS, counts)
    except OverflowError:
        raise ValueError("a count is too large") from None
    if len(made) != CELLS:
        raise ValueError(f"{CELLS} counts expected")
    return made


@dataclass(slots=True)
class AreaCounts:
    """How displays and callees of first contacts spread over areas.

    Each array has a count for each cell; the `old_` ones are the part of the half window before.

    Attributes:
        calls: counted. matched: of those, display and callee of one area.
        crossed: ordered pairs of two different calls (i, j) with display i and callee j of one
            area; over calls * (calls - 1) it estimates without bias what chance would match.
        same_displays, same_callees, same_matches: unordered pairs of calls alike in that.
    """

    displays: Cells
    callees: Cells
    matches: Cells
    old_displays: Cells
    old_callees: Cells
    old_matches: Cells
    calls: int = 0
    matched: int = 0
    crossed: int = 0
    same_displays: int = 0
    same_callees: int = 0
    same_matches: int = 0

    @classmethod
    def empty(cls) -> AreaCounts:
        """Before the first call."""
        a, b, c, d, e, f = (cells([0] * CELLS) for _ in range(6))
        return cls(a, b, c, d, e, f)

    @property
    def chance(self) -> float:
        """The share of matches if callees did not depend on displays."""
        return self.crossed / (self.calls * (self.calls - 1)) if self.calls > 1 else 0.0

    def add(self, display: int, callee: int) -> None:
        """Count one call."""
        shown, called = self.displays, self.callees
        showing, calling = shown[display], called[callee]
        self.same_displays += showing
        self.same_callees += calling
        if display == callee:
            self.crossed += calling + showing
            self.same_matches += self.matches[display]
            self.matches[display] += 1
            self.matched += 1
        else:
            self.crossed += called[display] + shown[callee]
        shown[display] = showing + 1
        called[callee] = calling + 1
        self.calls += 1

    def age(self) -> None:
        """Forget the older half."""
        self.displays, self.old_displays = _aged(self.displays, self.old_displays)
        self.callees, self.old_callees = _aged(self.callees, self.old_callees)
        self.matches, self.old_matches = _aged(self.matches, self.old_matches)
        self.calls, self.matched = sum(self.displays), sum(self.matches)
        both = sum(d * c for d, c in zip(self.displays, self.callees, strict=True))
        self.crossed = both - self.matched
        self.same_displays = _pairs(self.displays)
        self.same_callees = _pairs(self.callees)
        self.same_matches = _pairs(self.matches)


def _aged(both: Cells, old: Cells) -> tuple[Cells, Cells]:
    new = cells(b - o for b, o in zip(both, old, strict=True))
    return new, new[:]


def _pairs(counts: Cells) -> int:
    return sum(count * (count - 1) for count in counts) // 2


class Bounds:
    """The sequential test's constants, worked out once.

    Attributes:
        honest, pool: lifts of the two hypotheses.
        apart: what a call without match adds: ln((1 - pool) / (1 - honest)), whatever chance is.
        upper, lower: where the test ends, Wald's approximations ln((1 - beta) / alpha) and
            ln(beta / (1 - alpha)). most: where the score stops rising.
    """

    __slots__ = ("apart", "honest", "lower", "most", "pool", "upper")

    def __init__(self, locality: Locality) -> None:
        self.honest = locality.honest_lift
        self.pool = locality.pool_lift
        self.apart = log((1 - self.pool) / (1 - self.honest))
        self.upper = log((1 - locality.miss) / locality.false_alarm)
        self.lower = log(locality.miss / (1 - locality.false_alarm))
        self.most = 2 * self.upper
