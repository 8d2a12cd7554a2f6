"""What a connection waits for, and what stops its octets: paused reading, a deaf parser."""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Final

from uvicorn.protocols.http.flow_control import FlowControl

_LINGER_OCTETS: Final = 1_048_576  # a peer that is refused may go on sending


class Awaited(Enum):
    """What a peer has to do next."""

    FIRST = auto()  # to say anything at all
    HEAD = auto()
    BODY = auto()
    READER = auto()  # to read its answers
    IDLE = auto()


class Flow(FlowControl):
    """uvicorn's, which a running request cannot resume while the connection is full."""

    held = False

    def resume_reading(self) -> None:
        """Unless the connection is full."""
        if not self.held:
            super().resume_reading()


class Deaf:
    """In the parser's place when nothing more is read: counts what still comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = _LINGER_OCTETS

    def feed_data(self, data: bytes) -> None:
        """Close when too much comes."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.close()


def same(progress: object, before: object) -> bool:
    """Figures are compared, a head's fields are the same only when they are of one message."""
    return progress is before if isinstance(progress, list) else progress == before
