"""The SIP listeners of a process, with the rules that its settings tell."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from zhenxian.api.transport.handshake import Handshakes
from zhenxian.core.errors import ConfigError
from zhenxian.service.listeners import shares, sip_handshakes
from zhenxian.service.problems import problems
from zhenxian.service.service import Service
from zhenxian.service.sip_rules import access_rules
from zhenxian.sip.access import networks
from zhenxian.sip.admission import Door
from zhenxian.sip.redirect import Redirector
from zhenxian.sip.responses import Carried, Redirection
from zhenxian.sip.stream import StreamProtocol
from zhenxian.sip.udp import UdpProtocol

_READY_SECONDS: Final = 1.0  # how long it is remembered whether the service is ready


class _Readiness:
    """Whether the service is ready, looked at once in a while."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._until = 0.0
        self._ready = False

    def __call__(self) -> bool:
        now = time.monotonic()
        if now >= self._until:
            self._until = now + _READY_SECONDS
            self._ready = not problems(self._service)
        return self._ready


class SipListeners:
    """The redirect service of one process."""

    def __init__(self, service: Service, context: ssl.SSLContext | None = None) -> None:
        """Args: context is what TLS listeners shake hands with."""
        settings = service.settings
        self._addresses = settings.sip.addresses()
        self._limit = shares(settings)[1]
        self._context = context
        self._book = sip_handshakes(service)
        self._handshakes: list[Handshakes] = []
        self._redirector = Redirector(
            service.sip,
            Door(
                access_rules(settings),
                allowed=networks(settings.sip.allow),
                rate=settings.sip.rate,
                digest=service.sip_digest,
            ),
            Redirection(
                go_on=settings.sip.go_on,
                moved=settings.sip.redirection,
                carried=Carried(settings.sip.carried),
            ),
            ready=_Readiness(service),
            count=service.metrics.sip,
            max_waiting=settings.server.max_waiting,
        )
        self._datagrams: list[asyncio.BaseTransport] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[StreamProtocol] = set()
        self._tending: asyncio.Task[None] | None = None

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Listen on sockets in the order of the settings."""
        loop = asyncio.get_running_loop()
        for (address, signing), bound in zip(self._addresses, sockets, strict=True):
            if address.transport == "udp":
                transport, _ = await loop.create_datagram_endpoint(
                    partial(UdpProtocol, self._redirector, signing=signing),
                    sock=bound,
                )
                self._datagrams.append(transport)
            else:
                served_by: Callable[[], asyncio.Protocol] = partial(
                    self._connection, address.transport, signing=signing
                )
                if address.transport == "tls":
                    served_by = self._after_handshakes(served_by)
                self._servers.append(await loop.create_server(served_by, sock=bound))
        self._tending = loop.create_task(self._redirector.tend())

    async def close(self) -> None:
        """Take nothing more, and let what is asked be answered."""
        for server in self._servers:
            server.close()
        for each in self._handshakes:
            each.close()
        await self._redirector.close()
        for connection in list(self._connections):
            connection.close()
        for transport in self._datagrams:
            transport.close()
        if self._tending is not None:
            self._tending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tending

    def _after_handshakes(self, served_by: Callable[[], asyncio.Protocol]) -> Handshakes:
        """TLS first, which is done behind the listener and bounded by us."""
        if self._context is None:
            raise ConfigError("tls: listeners of sip need server.tls_cert and server.tls_key")
        made = Handshakes(self._context, self._book, served_by, self._redirector.known)
        self._handshakes.append(made)
        return made

    def _connection(self, name: str, *, signing: bool) -> StreamProtocol:
        return StreamProtocol(
            self._redirector, self._connections, self._limit, signing=signing, transport=name
        )
