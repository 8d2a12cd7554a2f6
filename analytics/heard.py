"""What nodes tell each other of the keys that they count, where others have to know.

Who stands in a found reseller's or carrier's place is judged by its own calls (`known`,
`resembles`), which two nodes count. And who spoofs a well-known signer must not mark its numbers.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.analytics.model import Key
from zhenxian.analytics.thresholds import HOUR

KNOWN, RESEMBLES, WELL_KNOWN, SPEAKS_AGAINST = 1, 2, 4, 8
_MOST: Final = 65_536  # keys; about 20 MB when full
_AGAIN: Final = HOUR  # until it is told anew, for nodes that came later


class Told(Struct, frozen=True, gc=False):
    """What is told of one key.

    Attributes:
        first, last: its first and latest call, in seconds since the epoch. bits: what it is.
        began: when the node began to count such keys, if it may have called before that; else 0.
    """

    first: int
    last: int
    bits: int
    began: int = 0


class Heard:
    """What was told of others' keys, and what is to be told of those that are counted here."""

    def __init__(self) -> None:
        self._of: OrderedDict[Key, Told] = OrderedDict()
        self._sent: OrderedDict[Key, Told] = OrderedDict()
        self._unsent: dict[Key, Told] = {}

    def get(self, key: Key) -> Told | None:
        """What was told of a key; None for nothing."""
        return self._of.get(key)

    def hear(self, key: Key, told: Told) -> None:
        """Take over what another node tells; who counts it longer knows its first call."""
        before = self._of.get(key)
        if before is not None and before.first < told.first:
            told = replace(told, first=before.first, began=before.began)
        _put(self._of, key, told)

    def forget(self, key: Key) -> None:
        """Know nothing of a key: it begins anew."""
        self._of.pop(key, None)

    def tell(self, key: Key, told: Told) -> None:
        """Have others know it, unless they do."""
        before = self._sent.get(key)
        if before is None and not told.bits:
            return
        if before is None or before.bits != told.bits or told.last - before.last >= _AGAIN:
            _put(self._sent, key, told)
            self._unsent[key] = told
            if len(self._unsent) > _MOST:
                del self._unsent[next(iter(self._unsent))]

    def take(self) -> dict[Key, Told]:
        """What is to be told now."""
        unsent, self._unsent = self._unsent, {}
        return unsent

    def anew(self) -> None:
        """Tell everything once more, as it comes up: others have come.

        Also what is no longer so, which those who were told before would go on to believe.
        """
        sent, self._sent = self._sent, OrderedDict()
        for key, told in sent.items():
            if told.bits:
                self._sent[key] = replace(told, last=told.last - _AGAIN)

    def expire(self, oldest: int) -> None:
        """Forget keys of which nobody told anything since then."""
        while self._of and next(iter(self._of.values())).last < oldest:
            self._of.popitem(last=False)


def _put(told: OrderedDict[Key, Told], key: Key, one: Told) -> None:
    told[key] = one
    told.move_to_end(key)
    if len(told) > _MOST:
        told.popitem(last=False)
