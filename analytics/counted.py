"""One call as it is counted, and the end of one: hashes and areas, no numbers."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta, Struct

from zhenxian.analytics.areas import NO_AREA
from zhenxian.analytics.model import Key

MASK_32: Final = (1 << 32) - 1


def pair_hash(display: int, partner: int) -> int:
    """32 bits of a display together with a callee or an origid, all three hashes of 32 bits."""
    return (display * 3 + partner) & MASK_32


class CountedCall(Struct, frozen=True, gc=False):
    """One call.

    Attributes:
        at: seconds since the epoch.
        keys: whose it is.
        bound: a live privacy binding permits the display.
        display: hash of the display, or of the own number where a binding hides it; None where
            that is not known.
        pair: hash of display and callee; None when the callee is no number.
        redialled: the same display called the same callee lately.
        display_area, callee_area: cells (analytics.areas); NO_AREA for none.
        link: hash of display and origid; None without origid.
        vouched: as of an Observation.
    """

    # By position: one is made for each call, and by name that takes a third longer.
    at: int
    keys: tuple[Key, ...]
    bound: bool
    display: int | None = None
    pair: int | None = None
    redialled: bool = False
    display_area: int = NO_AREA
    callee_area: int = NO_AREA
    link: int | None = None
    vouched: bool = False


class Contact(Struct, frozen=True, array_like=True, gc=False):
    """What the end of a call says of whether display and callee know each other.

    Attributes:
        pair: hash of display and callee. answered: somebody answered.
        seconds: of talk; None where that is not reported.
        display: its hash; -1 from a node of the release before.
    """

    pair: Annotated[int, Meta(ge=-1, lt=1 << 32)]
    answered: bool
    seconds: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    display: Annotated[int, Meta(ge=-1, lt=1 << 32)] = -1
