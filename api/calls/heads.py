"""Heads of calls that a connection has sent before.

A proxy sends the same head with every call, but for the length of the body. What it meant is kept
with its octets, so that it is not parsed again. Only the parse is kept: who may do what is asked
anew for every call (api/calls/service.py), and a head that was refused is not kept. A head is found
by the hash that the interpreter keys anew in each process (SipHash, PEP 456), and then compared
octet by octet, so that none can be made that passes for another.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from zhenxian.api.calls.messages import Headers

MAX_HEADS: Final = 8  # of a connection; a head for each length of a body that is usual
MAX_OCTETS: Final = 1024  # of a head that is kept


class Head(Struct, frozen=True):
    """What a head meant: of a POST to a per-call route in HTTP/1.1 that the short way takes.

    Attributes:
        url, fields: as the parser told them, for the ASGI way where the call must wait.
        length: octets of the body.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    path: str
    url: bytes
    fields: list[tuple[bytes, bytes]]
    headers: Headers
    length: int
    keep_alive: bool


class Heads:
    """The heads of one connection, by their octets up to the empty line and with it."""

    __slots__ = ("_keys", "_known")

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self._keys: object = None

    def get(self, octets: bytes, keys: object) -> Head | None:
        """What these octets meant before; nothing once other keys are in force.

        Args:
            keys: changes with them.
        """
        if keys is not self._keys:
            self._known.clear()
            self._keys = keys
        return self._known.get(octets)

    def keep(self, octets: bytes, head: Head) -> None:
        """Remember a head, unless it is large or names its call: that one does not come again."""
        if len(octets) > MAX_OCTETS or head.headers.request_id or head.headers.trace_id:
            return
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        self._known[octets] = head

    def clear(self) -> None:
        """Forget all: the parser has read something else since."""
        self._known.clear()
