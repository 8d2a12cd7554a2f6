"""Numbers and ranges as the integers that registry files store (see stores.sqlite.schema)."""

from __future__ import annotations

from typing import Final

from zhenxian.core.tn import MAX_TN_LENGTH, TN, TNRange

LENGTH: Final = 10**15  # what a digit more adds to a number's integer
INTEGER: Final = 2**63 - 1  # SQLite's greatest


def number_key(tn: str) -> int:
    """A number of digits as the integer it is stored as."""
    return len(tn) * LENGTH + int(tn)


def number_of(key: int) -> TN:
    """The number that number_key made the integer of."""
    length, digits = divmod(key, LENGTH)
    return TN(str(digits).zfill(length))


def range_of(lo: int, size: int) -> TNRange:
    """A range from its stored form."""
    first = number_of(lo)
    return TNRange(first, number_of(lo + size) if size else first)


def where(key: str) -> tuple[int, int, int] | None:
    """Class, lo and size of a number or range as a record's key; None when it is none."""
    first, dash, last = key.partition("-")
    if not (first.isdecimal() and key.isascii() and len(first) <= MAX_TN_LENGTH):
        return None
    lo = number_key(first)
    if not dash:
        return 0, lo, 0
    if not last.isdecimal() or len(last) != len(first):
        return None
    size = number_key(last) - lo
    return (size.bit_length(), lo, size) if size > 0 else None
