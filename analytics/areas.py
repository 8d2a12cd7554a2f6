"""Where a number belongs, by the data of the `phonenumbers` library (Google's libphonenumber).

China: mobile prefixes of seven digits and fixed-line area codes to a city. Other countries: what
the library knows of their area codes; most have none for mobile numbers. The table is read once, at
the first question (analytics.prefixes); nothing is ever fetched.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from zlib import crc32

from zhenxian.analytics.prefixes import prefixes
from zhenxian.core.tn import TN

CELLS: Final = 256  # areas are folded into so many cells, so that a key's counts stay small
NO_AREA: Final = -1  # of a number that belongs nowhere
LEAST_DIGITS: Final = 9  # shorter ones are service numbers (95588, 95551234, 10086, 110)
_LONGEST: Final = 9  # digits of the longest prefix in the library's table
_SHORTEST: Final = 3
_CODE: Final = 5  # digits that tell where nearly any of China's fixed lines is
_CACHED: Final = 65_536  # beginnings of numbers
_CHINA: Final = "86"
_MOBILE_DIGITS: Final = 13
_MOBILE: Final = "861"  # of China, with 13 digits; Beijing's fixed lines have 12
MOBILE_FROM: Final = 861_000_000  # their first nine digits, from and how many
MOBILE_PLACES: Final = 1_000_000
MOBILE_LAST: Final = MOBILE_PLACES - 1


@lru_cache(maxsize=_CACHED)
def _by_short(digits: str) -> str | None:
    """Name of the area that the first digits of a number lead to, none of them beyond these."""
    table = prefixes()
    for length in range(len(digits), _SHORTEST - 1, -1):
        names = table.get(digits[:length])
        if names is not None:
            return _said(digits, names)
    return None


def _by_prefix(tn: str) -> str | None:
    if len(tn) < LEAST_DIGITS or not tn.isdecimal():
        return None
    table = prefixes()
    names = table.get(tn[:_LONGEST]) or table.get(tn[: _LONGEST - 1])
    return _by_short(tn[: _LONGEST - 2]) if names is None else _said(tn, names)


def _said(digits: str, names: Mapping[str, str]) -> str:
    """The area's name as the table has it: in Chinese for China, else in English."""
    chinese = names.get("zh") if digits.startswith(_CHINA) else None
    return chinese or names.get("en") or next(iter(names.values()))


@lru_cache(maxsize=_CACHED)
def _name(said: str) -> str:
    # A code that cities share names them all, and mobile prefixes name one, with or without 市.
    return said.partition("、")[0].removesuffix("市")


@lru_cache(maxsize=_CACHED)
def _cell(name: str) -> int:
    return crc32(name.encode()) % CELLS


def area(tn: TN) -> str | None:
    """Name the area of a number; None when it has none.

    None for service numbers (95xxx, short codes), toll-free and shared-cost ones (400, 800), and
    where the library knows no area. Whether the number is assigned is not checked. Where cities
    share an area code, fixed lines go to the first that the library names. A ported mobile number
    keeps the area of its prefix.
    """
    said = _by_prefix(tn)
    return None if said is None else _name(said)


def names(tn: TN) -> frozenset[str]:
    """Everything that the area of a number is called, in small letters; nothing where it has none.

    Besides the whole name ("Shenzhen, Guangdong", "广东省深圳"), the city alone.
    """
    found: set[str] = set()
    table = prefixes()
    for length in range(min(len(tn), _LONGEST), _SHORTEST - 1, -1):
        said = table.get(tn[:length]) if len(tn) >= LEAST_DIGITS else None
        if said is not None:
            for name in said.values():
                whole = name.partition("、")[0].removesuffix("市").casefold()
                found |= {whole, whole.partition(",")[0], whole.rpartition("省")[2]}
                found.add(whole.rpartition("自治区")[2])
            break
    return frozenset(found)


@lru_cache(maxsize=1)
def mobile_cells() -> array[int]:
    """Cells of China's mobile numbers by their first nine digits, less MOBILE_FROM.

    2 MB that are read with one access, while a look-up takes half a dozen that no cache of a
    processor holds. Made once.
    """
    cells, table = array("h", [NO_AREA]) * MOBILE_PLACES, prefixes()
    known: dict[int, int] = {}  # cells by place
    for length in range(len(_MOBILE), _LONGEST + 1):  # longer ones, which say more, come later
        wide = 10 ** (_LONGEST - length)
        for number, place in table.within(MOBILE_FROM // wide, (MOBILE_FROM + MOBILE_LAST) // wide):
            if place not in known:
                known[place] = _cell(_name(_said(_MOBILE, table.area(place))))
            first = number * wide - MOBILE_FROM
            if wide == 1:  # nearly all are so, and a command waits for them
                cells[first] = known[place]
            else:
                cells[first : first + wide] = array("h", (known[place],)) * wide
    return cells


@lru_cache(maxsize=_CACHED)
def _short_cell(digits: str) -> int | None:
    """The cell that the first digits of a number lead to; None where more digits say more."""
    number, table = int(digits), prefixes()
    for more in range(1, _LONGEST - len(digits) + 1):
        wide = 10**more
        if next(table.within(number * wide, number * wide + wide - 1), None) is not None:
            return None
    said = _by_short(digits)
    return NO_AREA if said is None else _cell(_name(said))


def cell(tn: TN) -> int:
    """The area as an integer below CELLS, the same in every process; NO_AREA when there is none.

    Two of China's 340 cities share a cell with a chance of 1 in 256, which counts as a match
    whether or not the caller means it, and so cancels out of the comparison with chance.
    """
    if len(tn) < LEAST_DIGITS or not tn.isdecimal():
        return NO_AREA
    found = _short_cell(tn[:_CODE])
    if found is None:
        found = _short_cell(tn[: _LONGEST - 2])
    if found is not None:
        return found
    name = area(tn)
    return NO_AREA if name is None else _cell(name)


def is_mobile(tn: TN) -> bool:
    """Tell whether a number is a mobile one, which a person holds; known of China's alone."""
    return len(tn) == _MOBILE_DIGITS and tn.startswith(_MOBILE)
