"""Serving calls in this process, alone or as one of several workers, until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn
import uvloop
from fastapi import FastAPI

from zhenxian.api.transport.handshake import Handshakes
from zhenxian.api.transport.wire import WireProtocol
from zhenxian.certs.files import wait_until_still
from zhenxian.core.errors import ZhenxianError
from zhenxian.service.build import applications, build
from zhenxian.service.collector import quieten_collector
from zhenxian.service.huge_pages import into_huge_pages_beside
from zhenxian.service.listeners import protocols
from zhenxian.service.problems import problems
from zhenxian.service.settings import Settings
from zhenxian.service.sip import SipListeners
from zhenxian.service.supervisor import (
    FAILED,
    GRACE,
    READY,
    WorkerOrders,
    end_with_input,
    from_terminal,
)
from zhenxian.service.threads import end_within, no_threads, ready_threads
from zhenxian.service.tls import listener_certificate
from zhenxian.service.watch import Watcher
from zhenxian.stores.ending import unless
from zhenxian.telemetry.logs import configure_logging

_ORPHAN_GRACE: Final = 3.0  # seconds for a worker without supervisor: the next waits for its lock
_ACCEPTED: Final = 32  # connections that are taken in one turn of the event loop
_SWITCH: Final = 0.0001  # seconds that a thread may keep the interpreter from the event loop
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)

_logger = logging.getLogger("zhenxian")


class _Server(uvicorn.Server):
    """uvicorn's server, told to stop by us: several run in one process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(settings: Settings, app: FastAPI, http: type[asyncio.Protocol]) -> uvicorn.Config:
    server = settings.server
    return uvicorn.Config(
        app,
        http=http,
        ws="none",
        loop="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=server.shutdown_seconds,
        ssl_certfile=server.tls_cert,
        ssl_keyfile=server.tls_key,
        ssl_ca_certs=str(server.tls_client_ca) if server.tls_client_ca is not None else None,
        ssl_cert_reqs=ssl.CERT_REQUIRED if server.tls_client_ca is not None else ssl.CERT_NONE,
    )


def _often(bound: socket.socket) -> list[socket.socket]:
    """A listening socket as often as connections are to be taken in one turn of the event loop.

    libuv takes one for each descriptor. Where turns are long, as there are more calls than can be
    answered, those who wait to be connected would do so for many seconds.
    """
    return [bound, *(bound.dup() for _ in range(_ACCEPTED - 1))]


def _own_handshakes(config: uvicorn.Config) -> Handshakes:
    """Have TLS done behind the listener, by us, which is plain to uvicorn."""
    config.load()
    protocol, context = config.http_protocol_class, config.ssl
    if context is None or not issubclass(protocol, WireProtocol):
        raise RuntimeError("a listener of another kind")
    made = Handshakes(context, protocol.shared.connections, protocol)
    config.ssl, config.http_protocol_class = None, made  # type: ignore[assignment]
    return made


async def serve(
    settings: Settings,
    calls_socket: socket.socket,
    admin_socket: socket.socket | None,
    *,
    sip_sockets: Sequence[socket.socket] = (),
    metrics_folder: str | None = None,
    ready: Callable[[], None] | None = None,
    stopping: Callable[[], None] | None = None,
) -> None:
    """Serve in this process until SIGINT or SIGTERM; then finish the calls in flight.

    Args:
        ready: called when calls are taken. stopping: called when the stop begins.

    Raises:
        ConfigError: before anything is served.
    """
    sys.setswitchinterval(_SWITCH)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ready_threads())
    service = build(settings, metrics_folder=metrics_folder)
    try:
        service.resolver.start()
    except RuntimeError:
        raise no_threads() from None
    calls, admin = applications(service)
    for_calls, for_administration = protocols(service)
    servers = [(_Server(_config(settings, calls, for_calls)), calls_socket)]
    if admin is not None and admin_socket is not None:
        servers.append((_Server(_config(settings, admin, for_administration)), admin_socket))
    tls = listener_certificate(settings)
    watcher = Watcher(service, tls)
    handshakes: list[Handshakes] = []
    stopped = asyncio.Event()
    if tls is not None:
        for server, _ in servers:
            handshakes.append(_own_handshakes(server.config))
        tls.contexts += [each.context for each in handshakes]

    def stop() -> None:
        if stopping is not None:
            stopping()
        stopped.set()
        for server, _ in servers:
            server.should_exit = True
        for each in handshakes:
            each.close()

    for number in _STOPS:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, stop if from_terminal() else watcher.look_at_once)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a supervisor blocked it
    started = False
    try:
        started = await unless(stopped, service.start())
    finally:
        if not started:
            await service.close()
    if not started:
        return  # whoever stops a service does not wait for a Redis that is silent
    quieten_collector()
    into_huge_pages_beside()
    watching = loop.create_task(watcher.run())
    watching.add_done_callback(_watch_ended)
    for problem in problems(service):
        _logger.warning("not ready: %s", service.pseudonym.text(problem))
    sip = None
    try:
        if sip_sockets:
            sip = SipListeners(service, handshakes[0].context if handshakes else None)
            await sip.start(sip_sockets)
        if ready is not None:
            ready()
        await asyncio.gather(*(server.serve(sockets=_often(bound)) for server, bound in servers))
    finally:
        if sip is not None:
            await sip.close()
        await watcher.end(watching)
        await service.close()


def _run(
    settings: Settings,
    sockets: Sequence[socket.socket],
    sip_sockets: Sequence[socket.socket],
    *,
    ready: Callable[[], None],
    **more: Any,
) -> None:
    """Serve. Raises ConfigError, also when the machine gives fewer threads than are needed."""
    begun = False

    def told() -> None:
        nonlocal begun
        begun = True
        ready()

    calls, admin = sockets[0], sockets[1] if len(sockets) > 1 else None
    try:
        uvloop.run(serve(settings, calls, admin, sip_sockets=sip_sockets, ready=told, **more))
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        if not begun:  # otherwise it has ended well, but for the thread that the loop ends with
            raise no_threads() from None


def run_alone(
    settings: Settings,
    calls_socket: socket.socket,
    admin_socket: socket.socket | None,
    *,
    sip_sockets: Sequence[socket.socket],
    ready: Callable[[], None],
) -> None:
    """Serve as the only process. Raises ConfigError."""
    stopping = end_within(settings.server.shutdown_seconds + GRACE)
    sockets = [calls_socket, *([] if admin_socket is None else [admin_socket])]
    _run(settings, sockets, sip_sockets, ready=ready, stopping=stopping)


def _watch_ended(task: asyncio.Task[None]) -> None:
    """A watcher that fails would leave revocations unseen: better no service than that."""
    if not task.cancelled() and task.exception() is not None:
        _logger.critical("the watcher failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def work() -> int:
    """A worker's life, as told on standard input. Returns its exit status."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 1  # whoever started this process has ended
    orders = WorkerOrders(*json.loads(line))
    settings = Settings(**orders.settings)
    configure_logging(settings.log.level)
    end_with_input(_ORPHAN_GRACE)
    told = orders.told
    if told is None:
        # It replaces another, maybe while a file is being written, and has none read before.
        wait_until_still([path for path in (settings.auth.keys, settings.trust.roots) if path])
    sockets = [socket.socket(fileno=number) for number in orders.sockets]

    def tell(said: bytes) -> None:
        if told is not None:
            with contextlib.suppress(BrokenPipeError):  # who asked has ended, or waits no more
                os.write(told, said)

    try:
        _run(
            settings,
            sockets,
            [socket.socket(fileno=number) for number in orders.sip_sockets],
            metrics_folder=orders.metrics_folder,
            ready=lambda: tell(READY),
        )
    except ZhenxianError as error:
        tell(FAILED + str(error).encode())
        if told is None:
            _logger.critical("%s", error)
        return 1
    return 0
