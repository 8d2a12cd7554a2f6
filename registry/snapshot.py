"""An immutable registry in memory: sorted ranges by number length, found by bisection."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from passport.errors import ZhenxianError
from passport.tn import TN
from registry.model import Access, Holding, Standing


class RegistryConflictError(ZhenxianError):
    """Two rows that cannot both be true; the text names both."""


class Snapshot:
    """A registry.model.Registry over fixed rows. Building is O(n log n), lookups O(log n).

    Raises:
        RegistryConflictError: holdings that overlap, or two accesses with one id or origid.
    """

    __slots__ = ("_accesses", "_by_length", "_origids", "_suspended", "accesses", "holdings")

    def __init__(self, holdings: Iterable[Holding] = (), accesses: Iterable[Access] = ()) -> None:
        ordered = sorted(holdings, key=lambda h: (len(h.numbers.first), h.numbers.first))
        self.holdings = tuple(ordered)
        self._by_length: dict[int, tuple[list[str], list[Holding]]] = {}
        previous: Holding | None = None
        for holding in ordered:
            first = holding.numbers.first
            if previous is not None and first in previous.numbers:
                raise RegistryConflictError(
                    f"holdings {_span(previous)} of {previous.subject} and {_span(holding)} of"
                    f" {holding.subject} overlap"
                )
            firsts, rows = self._by_length.setdefault(len(first), ([], []))
            firsts.append(first)
            rows.append(holding)
            previous = holding
        self.accesses = tuple(accesses)
        self._accesses: dict[str, Access] = {}
        self._origids: dict[str, Access] = {}
        for access in self.accesses:
            for index, key in ((self._accesses, access.id), (self._origids, access.origid)):
                if index.setdefault(key, access) is not access:
                    raise RegistryConflictError(
                        f"{key} names two accesses: {index[key].id} and {access.id}"
                    )
        self._suspended = frozenset(
            access.subject for access in self.accesses if access.standing is Standing.SUSPENDED
        )

    def holding(self, tn: TN) -> Holding | None:
        """The holding that covers the number."""
        rows = self._by_length.get(len(tn))
        if rows is None:
            return None
        index = bisect_right(rows[0], tn) - 1
        if index < 0:
            return None
        found = rows[1][index]
        return found if tn in found.numbers else None

    def access(self, name: str | None, origid: str | None) -> Access | None:
        """The access of that id, else the one with that origid.

        An id that is not registered is not looked up by origid: a proxy that names the access
        is taken at its word.
        """
        if name is not None:
            return self._accesses.get(name)
        return self._origids.get(origid) if origid is not None else None

    def suspended(self, subject: str) -> bool:
        """True when one of the subject's accesses is suspended."""
        return subject in self._suspended


def _span(holding: Holding) -> str:
    first, last = holding.numbers.first, holding.numbers.last
    return first if first == last else f"{first}-{last}"
