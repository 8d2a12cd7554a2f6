"""The sockets that a service listens on: made before any process that serves is started."""

from __future__ import annotations

import resource
import socket
from collections.abc import Sequence
from typing import Final

from zhenxian.core.errors import ConfigError
from zhenxian.service.settings import Settings, listener_address
from zhenxian.service.sip_settings import SipAddress

OTHERS: Final = 256  # descriptors for files, stores, fetches, and connections about to be refused
_LEAST: Final = OTHERS + 16  # descriptors that a process must be given

_BACKLOG: Final = 2048  # connections the kernel holds while a worker is busy
_SIP_BACKLOG: Final = 1024
# Octets of datagrams that wait while the loop is busy: some nine hundred INVITEs, since the kernel
# counts twice what it is told. More would wait until their proxies have given up.
_BUFFER: Final = 1024 * 1024


def descriptors() -> int:
    """Connections that this process may have open, after raising its limit as far as it may.

    Raises:
        ConfigError: too few to serve with: it would run out of them in the middle of its work.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return 1_000_000
    if hard < _LEAST:
        raise ConfigError(
            f"{hard} descriptors are too few, {_LEAST} are needed: raise their limit (ulimit -Hn,"
            " LimitNOFILE, --ulimit nofile)"
        )
    return hard - OTHERS


def bind(listener: str, *, shared: bool = False) -> socket.socket:
    """A listening socket; or one of several of its address, of which each listens when it may.

    Raises:
        ConfigError: the address cannot be had.
    """
    host, port = listener_address(listener)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
        if not shared:
            bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {listener}: {error.strerror}") from None
    bound.set_inheritable(True)
    return bound


def bind_sip(settings: Settings, workers: int = 1) -> list[list[socket.socket]]:
    """The sockets of each worker, in the order of `Sip.addresses`.

    Each worker has UDP sockets of its own, and the kernel gives it all that comes from one
    address: what is sent again meets the transaction that it belongs to.

    Raises:
        ConfigError: an address cannot be had.
    """
    bound: list[list[socket.socket]] = [[] for _ in range(workers)]
    try:
        for address, _ in settings.sip.addresses():
            if address.transport == "udp":
                _bind(address, socket.SOCK_DGRAM, shared=False).close()  # nobody else has it
                for each in bound:
                    each.append(_bind(address, socket.SOCK_DGRAM, shared=True))
            else:
                listening = _bind(address, socket.SOCK_STREAM, shared=False)
                for each in bound:
                    each.append(listening)
    except OSError:
        close_all(bound)
        raise
    return bound


def close_all(bound: Sequence[Sequence[socket.socket]]) -> None:
    """Close sockets, some of which are several workers'."""
    for each in bound:
        for one in each:
            one.close()


def _bind(address: SipAddress, kind: socket.SocketKind, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, kind)
    try:
        if kind is socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind is socket.SOCK_DGRAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        bound.bind((address.host, address.port))
        if kind is socket.SOCK_STREAM:
            bound.listen(_SIP_BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"cannot listen on {address.transport}:{address.host}:{address.port}: {error.strerror}"
        ) from None
    bound.setblocking(False)
    bound.set_inheritable(True)
    return bound
