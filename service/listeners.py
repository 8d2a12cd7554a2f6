"""The protocols of a process's listeners, with the bounds and names that its settings tell."""

from __future__ import annotations

from urllib.parse import urlsplit

from zhenxian.api.calls.fastpath import protocol_for
from zhenxian.api.transport.connections import Connections, Limits, networks
from zhenxian.api.transport.hosts import Hosts
from zhenxian.api.transport.refusals import refusal, spoken
from zhenxian.api.transport.shared import Shared
from zhenxian.api.transport.wire import WireProtocol, bound
from zhenxian.core.reasons import Reason
from zhenxian.service.service import Service
from zhenxian.service.settings import Settings, listener_address
from zhenxian.service.sip_over_http import sip_of
from zhenxian.service.sockets import descriptors


def protocols(service: Service) -> tuple[type[WireProtocol], type[WireProtocol]]:
    """That of the calls listener, and that of the admin listener."""
    settings, metrics = service.settings, service.metrics
    anonymous = service.authenticator.anonymous
    connections = Connections(_limits(settings, anonymous=anonymous), metrics.connection_refused)
    metrics.gauge("zhenxian_connections", "Open connections.", lambda: len(connections))
    metrics.gauge(
        "zhenxian_connections_strangers",
        "Open connections that have shown no credentials, where these are asked for.",
        lambda: connections.strangers,
    )
    dialect = spoken(settings.server.dialect)

    def refused(reason: Reason, variables: tuple[str, ...], url: bytes, method: bytes) -> bytes:
        metrics.error("http", reason.name)
        return refusal(reason, variables, url, method, dialect)

    shared = Shared(
        connections,
        refused,
        Hosts(_names(settings)) if anonymous else None,
        service.authenticator.certified,
    )
    return protocol_for(service.calls, shared, sip_of(service)), bound(WireProtocol, shared)


def shares(settings: Settings) -> tuple[int, int]:
    """How many connections those over HTTP may have, and those over SIP.

    Neither takes the descriptors of the other, nor those of files and stores. Over TLS, SIP may
    have as many handshakes besides.
    """
    server, sip = settings.server, settings.sip
    given = descriptors()
    ways = {address.transport for address, _ in sip.addresses()} - {"udp"}
    each = 2 if "tls" in ways else 1
    taken = min(sip.max_connections * each, given // 2) if ways else 0
    return min(server.max_connections, given - taken), taken // each


def sip_handshakes(service: Service) -> Connections:
    """The book of TLS handshakes on SIP listeners: their bounds are those of connections."""
    server, sip = service.settings.server, service.settings.sip
    limits = Limits(
        total=shares(service.settings)[1],
        strangers=server.max_strangers,
        strangers_per_address=server.max_strangers_per_address,
        proxies=networks(sip.allow),
    )
    return Connections(limits, service.metrics.connection_refused)


def _limits(settings: Settings, *, anonymous: bool) -> Limits:
    server = settings.server
    return Limits(
        total=shares(settings)[0],
        strangers=server.max_strangers,
        strangers_per_address=server.max_strangers_per_address,
        proxies=networks(server.proxies),
        anonymous=anonymous,
    )


def _names(settings: Settings) -> list[str]:
    """What we are called besides the names of this machine alone."""
    server = settings.server
    names = [listener_address(each)[0] for each in (server.calls, server.admin) if each is not None]
    names = [
        f"[{name}]" if name.count(":") > 1 and "[" not in name else name
        for name in [*names, *server.hosts]
    ]
    public = urlsplit(settings.signer.publish_base or "").hostname
    return [*names, public] if public is not None else names
