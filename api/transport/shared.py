"""What the connections of a listener have in common."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from zhenxian.api.auth import Peer
from zhenxian.api.transport.connections import Connections
from zhenxian.api.transport.hosts import Hosts
from zhenxian.core.reasons import Reason


class Shared(Struct, frozen=True):
    """What the connections of a listener have in common.

    Attributes:
        refusal: writes the answer for a reason: its variables, request target, method.
        hosts: the names that are answered by; None for any.
        certified: True for a client certificate that opens something.
    """

    connections: Connections
    refusal: Callable[[Reason, tuple[str, ...], bytes, bytes], bytes]
    hosts: Hosts | None = None
    certified: Callable[[Peer], bool] = lambda _: True
