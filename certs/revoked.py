"""What a revocation list revokes, as few octets: lists of a hundred thousand entries are held."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

_GROUP: Final = "I"  # of a memoryview: four octets, in this machine's order
_FEWER: Final = 20  # times as many groups, of which a few are looked for one by one


class Revoked(Struct, frozen=True):
    """Pairs of a certificate issuer's name in its normal form and a serial number.

    The serial numbers of a group belong to all names that stand together for an issuer (RFC 5280
    section 5.3.3): each is kept once, however many names there are. A look-up goes by the serial
    number first, as a name may be in as many groups as the list has entries.

    Attributes:
        groups: the groups that each name is in, in order, each in four octets.
        serials: by their width in octets: in order, one after the other, as signed numbers, the
            highest octet first; as often as there are groups that have it.
        places: the group of each of these, in four octets; those of the same one in order. Empty
            where there is one group.
    """

    groups: dict[str, bytes]
    serials: dict[int, bytes]
    places: dict[int, bytes]

    def __contains__(self, pair: tuple[str, int]) -> bool:
        name, serial = pair
        width = _width(serial)
        own = self.groups.get(name)
        if own is None or width not in self.serials:
            return False
        first, end = _found(self.serials[width], serial.to_bytes(width, signed=True))
        if first == end or not self.places:
            return first < end
        where = memoryview(self.places[width]).cast(_GROUP)[first:end]
        theirs = memoryview(own).cast(_GROUP)
        fewer, more = (where, theirs) if len(where) < len(theirs) else (theirs, where)
        if len(fewer) * _FEWER > len(more):
            return not frozenset(fewer).isdisjoint(more)
        return any(_has(more, group) for group in fewer)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Each pair; one that is in several groups as often."""
        names: dict[int, list[str]] = {}
        for name, own in self.groups.items():
            for group in memoryview(own).cast(_GROUP):
                names.setdefault(group, []).append(name)
        for width, row in self.serials.items():
            one = bytes(len(row) // width * array(_GROUP).itemsize)
            for place, group in enumerate(memoryview(self.places.get(width, one)).cast(_GROUP)):
                octets = row[place * width : (place + 1) * width]
                serial = int.from_bytes(octets, signed=True)
                for name in names[group]:
                    yield name, serial


class Collected:
    """Entries of a list as they are read."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], int] = {}
        self._last: Sequence[str] | None = None  # of the entry before: to find them takes a while
        self._group = 0
        self._rows: dict[int, set[bytes]] = {}  # by width: serial number and group

    def add(self, names: Sequence[str], serial: int) -> None:
        """Take an entry; `names` is what the certificate's issuer is called, and stays as it is."""
        if names is not self._last:
            self._last = names
            self._group = self._groups.setdefault(tuple(names), len(self._groups))
        width = _width(serial)
        octets = serial.to_bytes(width, signed=True) + self._group.to_bytes(4)
        self._rows.setdefault(width, set()).add(octets)

    def revoked(self) -> Revoked:
        """All that were taken."""
        own: dict[str, array[int]] = {}
        for names, group in self._groups.items():
            for name in dict.fromkeys(names):
                own.setdefault(name, array(_GROUP)).append(group)
        serials: dict[int, bytes] = {}
        places: dict[int, bytes] = {}
        for width, rows in self._rows.items():
            ordered = sorted(rows)
            serials[width] = b"".join([row[:width] for row in ordered])
            if len(self._groups) > 1:
                groups = [int.from_bytes(row[width:]) for row in ordered]
                places[width] = array(_GROUP, groups).tobytes()
        return Revoked({name: groups.tobytes() for name, groups in own.items()}, serials, places)


def _found(row: bytes, sought: bytes) -> tuple[int, int]:
    """Where the octets are among those that lie in a row, in order: from the first to the end."""
    width = len(sought)

    def at(place: int) -> bytes:
        return row[place * width : (place + 1) * width]

    all_ = range(len(row) // width)
    first = bisect_left(all_, sought, key=at)
    return first, bisect_right(all_, sought, lo=first, key=at)


def _has(groups: memoryview, group: int) -> bool:
    place = bisect_left(groups, group)
    return place < len(groups) and groups[place] == group


def _width(serial: int) -> int:
    """Octets of a serial number with its sign; some CAs wrote numbers below zero."""
    return (serial.bit_length() + 8) // 8
