"""Server transactions of INVITE (RFC 3261 section 17.2): what is sent again is answered alike.

A transaction that got its final response keeps it until ACK, and sends it again over UDP; after
ACK it takes further ones in for a while, and is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeAlias

from zhenxian.sip.fields import Via
from zhenxian.sip.message import SipRequest

T1: Final = 0.5  # seconds, RFC 3261 section 17.1.1.1
T2: Final = 4.0
T4: Final = 5.0
COMPLETED: Final = 64 * T1  # timer H: how long an ACK is waited for
MAGIC: Final = "z9hG4bK"
MAX_TRANSACTIONS: Final = 131_072  # a minute of the goal's rate; the oldest goes first

Key: TypeAlias = tuple[str, ...]


def key_of(request: SipRequest, host: str) -> Key:
    """What tells a transaction (section 17.2.3); ACK and CANCEL have the INVITE's.

    Args:
        host: where the request came from: nobody can take part in the transaction of another.
    """
    via = request.via
    known = key_by_branch(via, host)
    if known is not None:
        return known
    number = str(request.number)
    return host, request.uri, request.from_tag, request.call_id, number, via.host, via.branch


def key_by_branch(via: Via, host: str) -> Key | None:
    """The same where the branch alone tells it; None for a client of RFC 2543."""
    if via.branch.startswith(MAGIC) and len(via.branch) > len(MAGIC):
        return host, via.branch, via.host, str(via.port)
    return None


class Transaction:
    """One INVITE.

    Attributes:
        mark: of its octets: a client that starts anew may use a branch again for another call.
        answer: the final response; None as long as there is none, empty after its ACK.
        again: seconds until it is sent again; 0 where the transport is reliable or ACK came.
    """

    __slots__ = ("again", "answer", "due", "ends", "mark", "number", "reply", "tag")

    def __init__(self, tag: str, reply: Callable[[bytes], None], number: int, mark: int) -> None:
        self.tag = tag
        self.reply = reply
        self.number = number
        self.mark = mark
        self.answer: bytes | None = None
        self.again = 0.0
        self.due = 0.0
        self.ends = 0.0


class Transactions:
    """All of a process, by key."""

    def __init__(self, timer: Callable[[], float], limit: int = MAX_TRANSACTIONS) -> None:
        self._timer = timer
        self._limit = limit
        self._open: OrderedDict[Key, Transaction] = OrderedDict()
        self._unacknowledged: dict[Key, Transaction] = {}

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: Key) -> Transaction | None:
        """The transaction, if it is not over."""
        found = self._open.get(key)
        if found is not None and found.answer is not None and found.ends < self._timer():
            del self._open[key]
            self._unacknowledged.pop(key, None)
            return None
        return found

    def begin(self, key: Key, transaction: Transaction) -> None:
        """Take a new one; beyond the bound the oldest is forgotten."""
        self._open[key] = transaction
        self._open.move_to_end(key)
        self._unacknowledged.pop(key, None)  # of an earlier one by the same key
        if len(self._open) > self._limit:
            old, _ = self._open.popitem(last=False)
            self._unacknowledged.pop(old, None)

    def complete(
        self, key: Key, transaction: Transaction, answer: bytes, *, reliable: bool
    ) -> None:
        """Send the final response, and see that it arrives."""
        now = self._timer()
        transaction.answer = answer
        transaction.ends = now + COMPLETED
        if not reliable:
            transaction.again = T1
            transaction.due = now + T1
            self._unacknowledged[key] = transaction
        transaction.reply(answer)

    def acknowledged(self, key: Key) -> None:
        """ACK: the response arrived."""
        found = self._open.get(key)
        if found is not None and found.answer is not None:
            self._unacknowledged.pop(key, None)
            found.answer = b""  # an INVITE that comes yet is taken in, and not answered
            found.again = 0.0
            found.ends = min(found.ends, self._timer() + T4)

    def tend(self) -> None:
        """Send again what nobody acknowledged, and forget what is over. To be called often."""
        now = self._timer()
        over = []
        for key, transaction in self._unacknowledged.items():
            if transaction.ends < now:
                over.append(key)
            elif transaction.due <= now and transaction.answer:
                transaction.again = min(2 * transaction.again, T2)
                transaction.due = now + transaction.again
                transaction.reply(transaction.answer)
        for key in over:
            del self._unacknowledged[key]
        while self._open:
            key, oldest = next(iter(self._open.items()))
            if oldest.answer is None or oldest.ends >= now:
                break
            del self._open[key]
            self._unacknowledged.pop(key, None)
