"""Ports of the loopback address for servers that tests start."""

from __future__ import annotations

import itertools
import os
import re
import socket
from typing import Final

# Below those that the kernel gives to connections, so that none takes one before its server does;
# some for each process of a parallel run; and with room for Redis Cluster's buses, 10,000 above.
_FIRST: Final = 10_000
_EACH: Final = 2_500
_worker = int(re.sub(r"\D", "", os.environ.get("PYTEST_XDIST_WORKER", "")) or 0)
_mine = range(_FIRST + _EACH * (_worker % 4), _FIRST + _EACH * (_worker % 4 + 1))
# Runs beside each other begin elsewhere.
_next = itertools.cycle([*_mine[os.getpid() * 97 % _EACH :], *_mine[: os.getpid() * 97 % _EACH]])


def free_port() -> int:
    """One that nobody listens on now, and that this process has not given for long."""
    for port in itertools.islice(_next, _EACH):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError("no port is free")
