"""What areas the beginnings of numbers are of, by the `phonenumbers` library, in little room.

The library has a table of tables: 287,000 beginnings, which take a second to import and 100 MiB of
each process. Here are the same in two flat columns and one text, which take 5 MiB. They are shipped
(`data/prefixes.bin`, written by `python -m scripts.reference`) for the release of the library that
the lock names; for another one they are made of it.
"""

from __future__ import annotations

import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources
from itertools import accumulate, pairwise
from typing import Final

import msgspec
import phonenumbers
from msgspec import Struct

_PACKAGE: Final = "zhenxian.analytics"
_BETWEEN: Final = "\x1f"  # a language, a name, and so on
_LINE: Final = "\n"
_CACHED: Final = 65_536  # areas


class _Packed(Struct, array_like=True):
    """As it is shipped.

    Attributes:
        release: of the library.
        steps: from each number to the next, 4 octets each, the least significant first.
        places: of each number's area among all, likewise.
        areas: their names in all languages, a line each.
    """

    release: str
    steps: bytes
    places: bytes
    areas: str


class Prefixes:
    """Names of areas by the first digits of numbers."""

    def __init__(self, packed: _Packed) -> None:
        self._numbers = array("I", accumulate(_column(packed.steps)))
        self._places = _column(packed.places)
        self._areas = packed.areas.encode()
        ends = (len(line.encode()) + 1 for line in packed.areas.split(_LINE))
        self._starts = array("I", accumulate(ends, initial=0))
        self.area = lru_cache(_CACHED)(self._area)

    def get(self, digits: str) -> Mapping[str, str] | None:
        """Names by language of the area that these very digits stand for; None for no area."""
        number = int(digits)
        at = bisect_left(self._numbers, number)
        if at == len(self._numbers) or self._numbers[at] != number:
            return None
        return self.area(self._places[at])

    def within(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The beginnings from one to another as numbers, and the places of their areas."""
        numbers = self._numbers
        among = slice(bisect_left(numbers, first), bisect_left(numbers, last + 1))
        return zip(numbers[among], self._places[among], strict=True)

    def _area(self, place: int) -> Mapping[str, str]:
        line = self._areas[self._starts[place] : self._starts[place + 1] - 1].decode()
        parts = line.split(_BETWEEN)
        return dict(zip(parts[::2], parts[1::2], strict=True))


def _column(octets: bytes) -> array[int]:
    column = array("I")
    column.frombytes(octets)
    return column


@lru_cache(maxsize=1)
def prefixes() -> Prefixes:
    """Those of the library that is installed."""
    packed = shipped()
    return Prefixes(packed if packed.release == phonenumbers.__version__ else of_library())


def shipped() -> _Packed:
    """What stands in the package."""
    data = resources.files(_PACKAGE) / "data" / "prefixes.bin"
    return msgspec.msgpack.decode(zlib.decompress(data.read_bytes()), type=_Packed)


def of_library() -> _Packed:
    """The library's table, which is imported for it."""
    from phonenumbers.geodata import GEOCODE_DATA  # noqa: PLC0415 - see the file's first lines

    numbers = sorted(map(int, GEOCODE_DATA))
    areas: dict[str, int] = {}
    places = array("I")
    for number in numbers:
        names = GEOCODE_DATA[str(number)]
        line = _BETWEEN.join(_BETWEEN.join(pair) for pair in names.items())
        places.append(areas.setdefault(line, len(areas)))
    steps = array("I", [numbers[0], *(after - before for before, after in pairwise(numbers))])
    return _Packed(phonenumbers.__version__, steps.tobytes(), places.tobytes(), _LINE.join(areas))


def written(packed: _Packed) -> bytes:
    """The file's octets."""
    return zlib.compress(msgspec.msgpack.encode(packed), 9)
