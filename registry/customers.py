"""Customers, who share an access, and declarations of what an enterprise's calls look like.

Two kinds of record of registry.model, in a file of their own.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from functools import lru_cache
from typing import Annotated, Final

from msgspec import Struct

from zhenxian.core.tn import TN, TNRange
from zhenxian.registry import meta

GATEWAY: Final = "unknown"  # in place of an access, where none is known
MAX_SPANS: Final = 10_000  # numbers and ranges of one record
_CACHED: Final = 256  # declarations whose numbers are in order; 160 KB each at most


class Customer(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of those who share an access: of a host, a transit carrier, an MVNO.

    A call is of the customer whom the request names by one of the names; where it names none, of
    the one whose numbers have the display. All other calls are of the access.
    """

    id: Annotated[str, meta.identifier("How other records name it.", "bakery")]
    access: Annotated[str, meta.identifier("The access that it shares.", "host-trunk")]
    names: Annotated[
        tuple[str, ...],
        meta.member("What requests name it by, beside its id: values of a header field.", ["t17"]),
    ] = ()
    numbers: Annotated[
        tuple[str, ...],
        meta.spans(
            "Displays that are its own, where a request names no customer.", "8675588880000"
        ),
    ] = ()
    reference: Annotated[str, meta.text("File number or the like.")] = ""
    origid: Annotated[
        str,
        meta.origid(
            "Its own opaque id in tokens (RFC 8588), so that verifiers tell it from its neighbours"
            " on the access; without one its calls carry the access's. A changed one keeps the one"
            " before traceable.",
            "123e4567-e89b-12d3-a456-426655440001",
        ),
    ] = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id

    @property
    def called(self) -> tuple[str, ...]:
        """Everything that a request may name it by."""
        return (self.id, *self.names)

    @property
    def spans(self) -> tuple[TNRange, ...]:
        """Its numbers."""
        return tuple(map(span_of, self.numbers))


class Declaration(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an enterprise declares of its calls: with which numbers, of which cities, what for.

    It makes nobody worse off, and covers only numbers that the subject holds.
    """

    id: Annotated[str, meta.identifier("How the registrar names it.", "bank-branches")]
    subject: Annotated[str, meta.identifier("Who declares it.", "bank")]
    numbers: Annotated[
        tuple[str, ...],
        meta.spans(
            "Its displays; empty for all numbers that it holds.", "8675588880000-8675588889999"
        ),
    ] = ()
    cities: Annotated[
        tuple[str, ...],
        meta.member(
            "Where they are: names of areas, in Chinese or English, with _ for a space; empty for"
            " anywhere.",
            ["Shenzhen"],
        ),
    ] = ()
    purpose: Annotated[str, meta.text("What it calls strangers for.", "census")] = ""
    until: Annotated[
        int | None, meta.instant("In force to before then; none: until it is ended.")
    ] = None
    reference: Annotated[str, meta.text("File number or the like.")] = ""

    @property
    def key(self) -> str:
        """Key within its kind."""
        return self.id

    def active(self, now: float) -> bool:
        """True while it is in force."""
        return self.until is None or now < self.until

    def lists(self, display: TN) -> bool:
        """True when the display is among the numbers, wherever it is of."""
        if not self.numbers:
            return True
        if not display.isdecimal():
            return False
        firsts, lasts = _ordered(self.numbers)
        place = bisect_right(firsts, _place(display)) - 1
        return place >= 0 and _place(display) <= lasts[place]


@lru_cache(_CACHED)
def _ordered(numbers: tuple[str, ...]) -> tuple[array[int], array[int]]:
    """Where numbers and ranges begin, and where they end, in order; what overlaps is one."""
    firsts, lasts = array("Q"), array("Q")
    for first, last in sorted(
        (_place(one.first), _place(one.last)) for one in map(span_of, numbers)
    ):
        if lasts and first <= lasts[-1]:
            lasts[-1] = max(lasts[-1], last)
        else:
            firsts.append(first)
            lasts.append(last)
    return firsts, lasts


def _place(number: TN) -> int:
    """A number by which longer ones follow all shorter ones."""
    return int(f"1{number}")


def span_of(text: str) -> TNRange:
    """Read "first-last", or a number alone, as a record has it."""
    first, _, last = text.partition("-")
    return TNRange(TN(first), TN(last or first))
