"""Questions of the last moment with their answers: in memory, and as stores of others keep them."""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from zhenxian.verifier.replay import REPLAY, Question, Sighted, Sighting, again, mark

MAX_OCTETS: Final = 64 * 1024 * 1024  # of questions and answers; the oldest go first
MAX_ANSWER: Final = 8_192  # octets of an answer that is kept outside of this process

_EACH: Final = 512  # octets that an entry takes beside its texts
_NOBODY: Final = bytes(16)
_FORM: Final = b"\x02"  # of a packed question; what older releases wrote has another length
_HEAD: Final = struct.Struct(">c16s16sQ")


class _Entry(Struct, frozen=True):
    question: Question
    answer: bytes
    octets: int


class Recent:
    """Questions by token, in memory, for as long as they may be asked again."""

    def __init__(self, window: float, limit: int = MAX_OCTETS) -> None:
        """`window` in seconds; 0 keeps nothing."""
        self.window = window
        self._limit = limit
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, key: bytes, question: Question, answer: bytes) -> None:
        """Remember the question that a token was first seen with."""
        if self.window <= 0:
            return
        octets = _EACH + len(answer) + _length(question.request) + _length(question.call)
        before = self._entries.pop(key, None)
        self._octets += octets - (before.octets if before is not None else 0)
        self._entries[key] = _Entry(question, answer, octets)
        oldest = question.at - self.window
        while self._entries:
            first = next(iter(self._entries))
            entry = self._entries[first]
            if entry.question.at > oldest and self._octets <= self._limit:
                return
            del self._entries[first]
            self._octets -= entry.octets

    def again(self, key: bytes, question: Question | None) -> Sighted:
        """What a question about a token is that was seen: a replay, unless it is asked again."""
        entry = self._entries.get(key)
        if entry is None:
            return REPLAY
        return again(entry.question, entry.answer, question, self.window)


def _length(member: tuple[bytes, ...] | bytes | None) -> int:
    return sum(map(len, member)) if isinstance(member, tuple) else 16


def marked(sighting: Sighting) -> Sighting:
    """The sighting with its question as it is kept outside of this process: of a fixed size."""
    question = sighting.question
    if question is None:
        return sighting
    call, request = question.call, question.request
    return replace(
        sighting,
        question=Question(
            question.at,
            mark(call) if isinstance(call, tuple) else call,
            mark(request) if isinstance(request, tuple) else request,
        ),
    )


def packed(sighting: Sighting) -> bytes:
    """What is kept of a token that is new; its sighting is `marked`."""
    question = sighting.question
    if question is None:
        return b""
    call, request = question.call, question.request
    if isinstance(call, tuple) or isinstance(request, tuple):
        raise TypeError("a question is marked before it is packed")
    head = _HEAD.pack(_FORM, call or _NOBODY, request or _NOBODY, int(question.at * 1000))
    # Without its answer a request that is sent again is answered anew.
    return head + sighting.answer if len(sighting.answer) <= MAX_ANSWER else head


def unpacked(value: bytes) -> tuple[Question, bytes] | None:
    """Question and answer of a token that was seen; None when nothing would tell a repetition."""
    if len(value) < _HEAD.size or value[:1] != _FORM:
        return None
    _, call, request, at = _HEAD.unpack_from(value)
    question = Question(
        at / 1000,
        call if call != _NOBODY else None,
        request if request != _NOBODY else None,
    )
    return question, value[_HEAD.size :]


def seen_with(value: bytes, question: Question | None, window: float) -> Sighted:
    """As Recent.again, of a packed question."""
    before = unpacked(value)
    return again(*before, question, window) if before is not None else REPLAY
