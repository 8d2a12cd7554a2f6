"""Cities and their numbers, from the data of the `phonenumbers` library (Google's libphonenumber).

A city is one that the data names for mobile prefixes and for a fixed-line area code. Its weight
is the count of its mobile prefixes, which goes with its population.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final

import phonenumbers
from msgspec import Struct

from zhenxian.core.tn import TN

COUNTRY_CODE: Final = "86"
_MOBILE: Final = "861"
_BEIJING: Final = "8610"  # a fixed-line code that begins like a mobile prefix
_MOBILE_DIGITS: Final = 13  # with the country code
_MVNO: Final = "86170"  # the only range of resellers (虚商) whose cities the data knows
_LEAST_WEIGHT: Final = 20  # mobile prefixes; fewer are slips in the data ("天津" beside "天津市")
_FIXED_SHARE: Final = 0.08  # of callees who are called on a fixed line
_DECADES: Final = tuple(10**digits for digits in range(_MOBILE_DIGITS))


class City(Struct, frozen=True, kw_only=True):
    """One city.

    Attributes:
        name: in English, such as "Shenzhen, Guangdong".
        mobile: its mobile prefixes with country code. mvno: those of them that are resellers'.
        fixed: country and area code. fixed_digits: digits of a number after them.
        weight: ten thousands of mobile numbers.
    """

    name: str
    mobile: tuple[str, ...]
    mvno: tuple[str, ...]
    fixed: str
    fixed_digits: int
    weight: int

    @property
    def province(self) -> str:
        """The province's name; a city that is one is its own."""
        return self.name.rpartition(", ")[2]

    def mobile_number(self, random: Random) -> TN:
        """Any mobile number."""
        return _fill(random, self.mobile[int(random.random() * len(self.mobile))])

    def fixed_number(self, random: Random) -> TN:
        """Any fixed-line number that begins with 6 or 8, as most do."""
        rest = int(random.random() * _DECADES[self.fixed_digits - 1])
        first = "8" if random.random() < 0.5 else "6"
        return TN(f"{self.fixed}{first}{rest:0{self.fixed_digits - 1}d}")

    def person(self, random: Random) -> TN:
        """Somebody's number: nearly always a mobile one."""
        if random.random() < _FIXED_SHARE:
            return self.fixed_number(random)
        return self.mobile_number(random)


def _fill(random: Random, prefix: str) -> TN:
    digits = _MOBILE_DIGITS - len(prefix)
    return TN(f"{prefix}{int(random.random() * _DECADES[digits]):0{digits}d}")


def mvno_number(random: Random, city: City) -> TN:
    """A number of a reseller in the city, or elsewhere when it has none there."""
    if city.mvno:
        return _fill(random, city.mvno[int(random.random() * len(city.mvno))])
    return TN(f"86171{int(random.random() * _DECADES[8]):08d}")


class Cities(Struct, frozen=True):
    """All cities, heaviest first, drawn by weight."""

    all: tuple[City, ...]
    _cumulated: tuple[int, ...]

    def draw(self, random: Random) -> City:
        """A city, as often as it has people."""
        return random.choices(self.all, cum_weights=self._cumulated)[0]

    def several(self, random: Random, count: int) -> tuple[City, ...]:
        """Distinct cities, drawn by weight."""
        found: dict[str, City] = {}
        while len(found) < min(count, len(self.all)):
            city = self.draw(random)
            found[city.name] = city
        return tuple(found.values())

    def of_province(self, province: str) -> Cities:
        """Those of one province."""
        return _weighted([city for city in self.all if city.province == province])


def _weighted(found: list[City]) -> Cities:
    found.sort(key=lambda city: (-city.weight, city.name))
    return Cities(tuple(found), tuple(accumulate(city.weight for city in found)))


@lru_cache(maxsize=1)
def cities() -> Cities:
    """Read the library's data; takes about a second, once."""
    # Half a second to import, which commands that simulate nothing need not wait for.
    from phonenumbers.geodata import GEOCODE_DATA  # noqa: PLC0415

    names: dict[str, str] = {}
    mobile: dict[str, list[str]] = defaultdict(list)
    fixed: dict[str, str] = {}
    split = {prefix[:digits] for prefix in GEOCODE_DATA for digits in range(5, len(prefix))}
    for prefix, name in GEOCODE_DATA.items():
        chinese, english = name.get("zh"), name.get("en")
        if not prefix.startswith(COUNTRY_CODE) or chinese is None or english is None:
            continue
        if prefix.startswith(_MOBILE) and prefix != _BEIJING:
            if prefix not in split:  # else a part of it belongs to another city
                mobile[chinese].append(prefix)
                names.setdefault(chinese, english)
        elif prefix not in split:
            fixed.setdefault(prefix, chinese)
    codes: dict[str, str] = {}
    for code, area in sorted(fixed.items()):
        # A code that several cities share names the first in full: 四川省成都市、资阳市、眉山市.
        first = area.partition("、")[0]
        for city in [first] if first in mobile else [c for c in mobile if c.endswith(first)]:
            codes.setdefault(city, code)
    found = []
    for chinese, prefixes in mobile.items():
        weight = sum(10 ** max(0, 9 - len(prefix)) for prefix in prefixes)
        digits = _subscriber_digits(codes[chinese]) if chinese in codes else 0
        if digits and weight >= _LEAST_WEIGHT:
            found.append(
                City(
                    name=names[chinese],
                    mobile=tuple(sorted(prefixes)),
                    mvno=tuple(sorted(p for p in prefixes if p.startswith(_MVNO))),
                    fixed=codes[chinese],
                    fixed_digits=digits,
                    weight=weight,
                )
            )
    return _weighted(found)


def _subscriber_digits(code: str) -> int:
    """How long numbers of an area code are; 0 when the library knows no such numbers."""
    for digits in (8, 7):
        number = phonenumbers.parse(f"+{code}6{'1' * (digits - 1)}")
        if phonenumbers.is_valid_number(number):
            return digits
    return 0
