"""Where a number belongs, by the data of the `phonenumbers` library (Google's libphonenumber).

China: mobile prefixes of seven digits and fixed-line area codes to a city. Other countries: what
the library knows of their area codes; most have none for mobile numbers. The library's table is
read once, at the first question (half a second); nothing is ever fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from zlib import crc32

from passport.tn import TN

CELLS: Final = 256  # areas are folded into so many cells, so that a key's counts stay small
LEAST_DIGITS: Final = 9  # shorter ones are service numbers (95588, 95551234, 10086, 110)
_LONGEST: Final = 9  # digits of the longest prefix in the library's table
_SHORTEST: Final = 3
_CACHED: Final = 131_072  # prefixes; about 20 MB when full
_CHINA: Final = "86"


@lru_cache(maxsize=1)
def _table() -> tuple[Mapping[str, Mapping[str, str]], int]:
    # Half a second to import, which a process that judges no call need not wait for.
    from phonenumbers.geodata import GEOCODE_DATA, GEOCODE_LONGEST_PREFIX  # noqa: PLC0415

    return GEOCODE_DATA, GEOCODE_LONGEST_PREFIX


@lru_cache(maxsize=_CACHED)
def _by_prefix(digits: str) -> tuple[str | None, int]:
    """Name and cell of the area that the first digits of a number lead to."""
    table, longest = _table()
    for length in range(min(longest, len(digits)), _SHORTEST - 1, -1):
        names = table.get(digits[:length])
        if names is not None:
            name = _name(digits, names)
            return name, crc32(name.encode()) % CELLS
    return None, -1


def _name(digits: str, names: Mapping[str, str]) -> str:
    chinese = names.get("zh") if digits.startswith(_CHINA) else None
    if chinese is None:
        return names.get("en") or next(iter(names.values()))
    # A code that cities share names them all, and mobile prefixes name one, with or without 市.
    return chinese.partition("、")[0].removesuffix("市")


def area(tn: TN) -> str | None:
    """Name the area of a number; None when it has none.

    None for service numbers (95xxx, short codes), toll-free and shared-cost ones (400, 800), and
    where the library knows no area. Whether the number is assigned is not checked. Where cities
    share an area code, fixed lines go to the first that the library names. A ported mobile number
    keeps the area of its prefix.
    """
    return _by_prefix(tn[:_LONGEST])[0] if len(tn) >= LEAST_DIGITS else None


def cell(tn: TN) -> int:
    """The area as an integer below CELLS, the same in every process; -1 when there is none.

    Two of China's 340 cities share a cell with a chance of 1 in 256, which counts as a match
    whether or not the caller means it, and so cancels out of the comparison with chance.
    """
    return _by_prefix(tn[:_LONGEST])[1] if len(tn) >= LEAST_DIGITS else -1
