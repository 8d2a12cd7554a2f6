"""Numbers and origids as 32 bits, the same on all nodes with the operator's salt, and nowhere else.

Whoever does not know the salt cannot choose values that count as one, nor values that fall into one
place of a sketch.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

from zhenxian.analytics.areas import MOBILE_FROM, MOBILE_PLACES, cell, mobile_cells
from zhenxian.core.tn import TN

_MASK_32: Final = (1 << 32) - 1
_CACHED: Final = 65_536  # displays and origids; about 15 MB each when full


class Hashing:
    """With one salt.

    Attributes:
        known: what `number` tells of numbers asked for lately, to be looked at before it is called.
        text: 32 bits of any text; keeps those asked for lately.
        fingerprint: tells salts apart without giving them away.
    """

    def __init__(self, salt: int) -> None:
        octets = blake2b(str(salt).encode(), digest_size=16, person=b"displays").digest()
        self._factor = int.from_bytes(octets[:8], "big") | 1
        self._key = octets
        self._mobiles = mobile_cells()
        self.fingerprint = self._text("fingerprint")
        self.known: dict[TN, tuple[int, int]] = {}
        self.text = lru_cache(_CACHED)(self._text)

    def number(self, tn: TN) -> tuple[int, int]:
        """Hash and area (see analytics.areas.cell) of a number; kept for a while."""
        # Of the type of its keys lru_cache makes a tuple for each question.
        known = self.known
        found = known.get(tn)
        if found is None:
            if len(known) >= _CACHED:
                known.clear()
            found = known[tn] = self.number_once(tn)
        return found

    def number_once(self, tn: TN) -> tuple[int, int]:
        """As `number`, for those who will not come again."""
        try:
            value = int(tn)
        except ValueError:  # * and #
            return self._text(tn), cell(tn)
        # Multiply-shift with a secret odd factor: of two values chosen without it, 2 in 2**32
        # factors make one (Dietzfelbinger et al., 1997). Numbers have up to 15 digits.
        mixed = value * self._factor >> 32 & _MASK_32
        # A round of the finaliser of MurmurHash3, so that numbers in a row land anywhere.
        mixed = (mixed ^ mixed >> 16) * 0x85EB_CA6B & _MASK_32
        mixed ^= mixed >> 13
        place = value // 10_000 - MOBILE_FROM  # of a mobile number's 13 digits the first nine
        if 0 <= place < MOBILE_PLACES:
            return mixed, self._mobiles[place]
        return mixed, cell(tn)

    def _text(self, text: str) -> int:
        return int.from_bytes(blake2b(text.encode(), digest_size=4, key=self._key).digest(), "big")
