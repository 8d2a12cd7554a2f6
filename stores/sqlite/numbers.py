"""Numbers and ranges as the integers that registry files store (see stores.sqlite.schema)."""

from __future__ import annotations

from typing import Final

from zhenxian.core.tn import MAX_TN_LENGTH, TN, TNRange

LENGTH: Final = 10**15  # what a digit more adds to a number's integer
INTEGER: Final = 2**63 - 1  # SQLite's greatest

_new: Final = str.__new__


def number_key(tn: str) -> int:
    """A number of digits as the integer it is stored as."""
    return len(tn) * LENGTH + int(tn)


def range_of(lo: int, size: int) -> TNRange:
    """A range from its stored form: what number_key made of its first, and last less first."""
    length, digits = divmod(lo, LENGTH)
    # As TN would make them, which looks whether they are digits: integers become nothing else.
    first = _new(TN, str(digits).zfill(length))
    return TNRange(first, _new(TN, str(digits + size).zfill(length)) if size else first)


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
