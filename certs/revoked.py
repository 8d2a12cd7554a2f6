"""What a revocation list revokes, as few octets: lists of a hundred thousand entries are held."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from msgspec import Struct


class Revoked(Struct, frozen=True):
    """Pairs of a certificate issuer's name in its normal form and a serial number.

    The serial numbers of a group belong to all names that stand together for an issuer (RFC 5280
    section 5.3.3): each is kept once, however many names there are.

    Attributes:
        groups: where the serial numbers of each name are.
        serials: of each group, by their width in octets: in order, one after the other, as signed
            numbers, the highest octet first.
    """

    groups: dict[str, list[int]]
    serials: list[dict[int, bytes]]

    def __contains__(self, pair: tuple[str, int]) -> bool:
        name, serial = pair
        width = _width(serial)
        sought = serial.to_bytes(width, signed=True)
        for group in self.groups.get(name, ()):
            if _holds(self.serials[group].get(width, b""), sought):
                return True
        return False

    def __len__(self) -> int:
        return sum(self._size(group) for groups in self.groups.values() for group in groups)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        for name, groups in self.groups.items():
            for group in groups:
                for width, row in self.serials[group].items():
                    for start in range(0, len(row), width):
                        yield name, int.from_bytes(row[start : start + width], signed=True)

    def _size(self, group: int) -> int:
        return sum(len(row) // width for width, row in self.serials[group].items())


class Collected:
    """Entries of a list as they are read."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], dict[int, set[bytes]]] = {}
        self._last: Sequence[str] | None = None  # of the entry before: to find them takes a while
        self._rows: dict[int, set[bytes]] = {}

    def add(self, names: Sequence[str], serial: int) -> None:
        """Take an entry; `names` is what the certificate's issuer is called, and stays as it is."""
        if names is not self._last:
            self._last, self._rows = names, self._groups.setdefault(tuple(names), {})
        width = _width(serial)
        self._rows.setdefault(width, set()).add(serial.to_bytes(width, signed=True))

    def revoked(self) -> Revoked:
        """All that were taken."""
        groups: dict[str, list[int]] = {}
        serials: list[dict[int, bytes]] = []
        for names, rows in self._groups.items():
            for name in dict.fromkeys(names):
                groups.setdefault(name, []).append(len(serials))
            serials.append({width: b"".join(sorted(row)) for width, row in rows.items()})
        return Revoked(groups, serials)


def _holds(row: bytes, sought: bytes) -> bool:
    """True when the octets are among those that lie in a row, in order."""
    width = len(sought)

    def at(place: int) -> bytes:
        return row[place * width : (place + 1) * width]

    return at(bisect_left(range(len(row) // width), sought, key=at)) == sought


def _width(serial: int) -> int:
    """Octets of a serial number with its sign; some CAs wrote numbers below zero."""
    return (serial.bit_length() + 8) // 8
