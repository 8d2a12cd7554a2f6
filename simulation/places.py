"""Where made-up callers and callees live, in China, the United States and Germany."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Final, TypeAlias

from msgspec import Struct

from zhenxian.core.tn import TN
from zhenxian.simulation.areas import cities

_US_AREAS: Final = (
    "212 718 213 310 312 773 713 281 602 480 215 210 619 858 214 972 408 650"
    " 512 904 415 614 317 206 303 202 615 405 617 915 313 503 702 901 502 410"
    " 414 505 520 559 916 816 404 402 719 919 305 510 612 918 504 813 316 714"
    " 216 808 951 361 606 859 412 513 907 801 207 802 603 304 843"
)
_DE_AREAS: Final = (
    "30 40 89 221 69 711 211 341 231 201 421 351 511 911 203 234 202 521 228 251 621 721 821 611"
    " 2161 209 531 391 241 431 451 381 361 6131 681 841 941 931 761 7071 731 541 441 571 551 561"
)
_FIXED_SHARE: Final = 0.08  # of people in China who are called on a fixed line
_FIXED_DIGITS: Final = "24678"  # with which fixed lines begin

# The first number of each beginning, how many there are and in how many bits these are drawn; how
# many beginnings, and in how many bits one of them is drawn.
Beginnings: TypeAlias = tuple[tuple[tuple[int, int, int], ...], int, int]


class Place(Struct, frozen=True, kw_only=True):
    """One city or region.

    Attributes:
        mobile: beginnings of its mobile numbers, or of any where a country has no others.
        fixed: beginning of its fixed lines.
        digits: of a mobile and of a fixed number, country code included.
        mobiles, fixeds: the numbers that begin so.
    """

    name: str
    mobile: tuple[str, ...]
    fixed: str
    digits: tuple[int, int]
    mobiles: Beginnings
    fixeds: Beginnings

    def mobile_number(self, random: Random) -> TN:
        """Any mobile number of the place."""
        return number(_any_of(random, self.mobiles))

    def fixed_number(self, random: Random) -> TN:
        """Any fixed-line number of the place."""
        return number(_any_of(random, self.fixeds))

    def person(self, random: Random) -> TN:
        """Somebody who lives there."""
        return number(self.person_drawn(random))

    def person_drawn(self, random: Random) -> int:
        """The same as it is drawn, for `number`: most of many who are drawn are never called."""
        return _any_of(random, self.fixeds if random.random() < _FIXED_SHARE else self.mobiles)

    def block(self, random: Random, count: int) -> list[TN]:
        """Fixed-line numbers in a row."""
        room = 10 ** (self.digits[1] - len(self.fixed) - 1)
        first = random.randrange(max(1, room - count))
        start = random.choice(_FIXED_DIGITS)
        width = self.digits[1] - len(self.fixed) - 1
        return [TN(f"{self.fixed}{start}{first + one:0{width}d}") for one in range(count)]


def number(drawn: int) -> TN:
    """A number that was drawn."""
    return str.__new__(TN, drawn)  # digits of a number that is not too long, for certain


def _beginnings(prefixes: Iterable[str], digits: int) -> Beginnings:
    made = []
    for prefix in prefixes:
        room = 10 ** (digits - len(prefix))
        made.append((int(prefix) * room, room, room.bit_length()))
    return tuple(made), len(made), len(made).bit_length()


def _any_of(random: Random, beginnings: Beginnings) -> int:
    """`prefix = random.choice(prefixes)`, then `random.randrange` over the digits that follow.

    In place, with the very draws that these make, because most of a caller's making is this.
    """
    every, count, bits = beginnings
    getrandbits = random.getrandbits
    which = getrandbits(bits)
    while which >= count:
        which = getrandbits(bits)
    first, room, bits = every[which]
    rest = getrandbits(bits)
    while rest >= room:
        rest = getrandbits(bits)
    return first + rest


def place(name: str, mobile: tuple[str, ...], fixed: str, digits: tuple[int, int]) -> Place:
    """One with the numbers that begin so."""
    fixeds = _beginnings((fixed + digit for digit in _FIXED_DIGITS), digits[1])
    return Place(
        name=name, mobile=mobile, fixed=fixed, digits=digits,
        mobiles=_beginnings(mobile, digits[0]), fixeds=fixeds,
    )  # fmt: skip


class Places(Struct, frozen=True):
    """A country's places, drawn by weight; the largest first."""

    all: tuple[Place, ...]
    _cumulated: tuple[float, ...]

    def draw(self, random: Random) -> Place:
        """A place, as often as it has people."""
        weights = self._cumulated
        return self.all[bisect(weights, random.random() * weights[-1], 0, len(weights) - 1)]

    def several(self, random: Random, count: int) -> list[Place]:
        """Distinct places, drawn by weight; all when there are not so many."""
        found: dict[str, Place] = {}
        while len(found) < min(count, len(self.all)):
            one = self.draw(random)
            found[one.name] = one
        return list(found.values())

    def anybody(self, random: Random) -> TN:
        """Somebody somewhere."""
        return number(self.anybody_drawn(random))

    def anybody_drawn(self, random: Random) -> int:
        """The same as it is drawn, for `number`."""
        return self.draw(random).person_drawn(random)


@lru_cache(maxsize=3)
def places(country: str) -> Places:
    """The places of "CN", "US" or "DE"."""
    if country == "CN":
        every = cities().all
        found = [
            place(city.name, city.mobile, city.fixed, (13, len(city.fixed) + city.fixed_digits))
            for city in every
        ]
        return _weighted(found, [float(city.weight) for city in every])
    if country == "US":
        areas = tuple(dict.fromkeys(_US_AREAS.split()))
        found = [place(area, (f"1{area}",), f"1{area}", (11, 11)) for area in areas]
    else:
        areas = tuple(_DE_AREAS.split())
        found = [place(area, (f"49{area}",), f"49{area}", (12, 12)) for area in areas]
    return _weighted(found, [1 / (3 + index) for index in range(len(found))])


def _weighted(found: list[Place], weights: list[float]) -> Places:
    return Places(tuple(found), tuple(accumulate(weights)))
