"""Running the service: listeners, worker processes, graceful stop."""

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
from pathlib import Path
from typing import Final, NoReturn

import uvicorn
import uvloop
from fastapi import FastAPI

from zhenxian.api.transport.handshake import Handshakes
from zhenxian.api.transport.wire import WireProtocol
from zhenxian.certs.files import wait_until_still
from zhenxian.core.errors import ConfigError, ZhenxianError
from zhenxian.service.build import applications, build
from zhenxian.service.collector import quieten_collector
from zhenxian.service.data_folder import lock_data_folder
from zhenxian.service.listeners import protocols
from zhenxian.service.problems import problems
from zhenxian.service.settings import Settings, listener_address, loopback, loopback_host
from zhenxian.service.sip import SipListeners, bind_sip, close_all
from zhenxian.service.supervisor import (
    FAILED,
    OWN_SOCKETS,
    READY,
    Plan,
    WorkerOrders,
    end_with_input,
    from_terminal,
    hand_over,
)
from zhenxian.service.threads import ready_threads
from zhenxian.service.tls import ListenerCertificate
from zhenxian.service.watch import Watcher
from zhenxian.telemetry.logs import configure_logging

_BACKLOG: Final = 2048  # connections the kernel holds while a worker is busy
_GRACE: Final = 5  # seconds beyond the graceful stop before the process is ended
_ORPHAN_GRACE: Final = 3.0  # seconds for a worker without supervisor: the next waits for its lock
_ACCEPTED: Final = 32  # connections that are taken in one turn of the event loop
_SWITCH: Final = 0.0001  # seconds that a thread may keep the interpreter from the event loop
_STOPS: Final = (signal.SIGINT, signal.SIGTERM)

_logger = logging.getLogger("zhenxian")


def check_exposure(settings: Settings) -> None:
    """Refuse to be reachable by others without credentials.

    Raises:
        ConfigError: says which listener, and what to set.
    """
    server = settings.server
    for name, listener in (("server.calls", server.calls), ("server.admin", server.admin)):
        if listener is None or loopback(listener):
            continue
        if settings.auth.keys is None and server.tls_client_ca is None:
            raise ConfigError(
                f"{name} = {listener} is reachable beyond this machine, and no credentials are"
                " asked for: set auth.keys (make one with `zhenxian key add`) or"
                " server.tls_client_ca, or listen on 127.0.0.1"
            )
    _check_sip_exposure(settings)
    if (server.tls_cert is None) != (server.tls_key is None):
        raise ConfigError("server.tls_cert and server.tls_key are given together or not at all")
    if server.tls_client_ca is not None and server.tls_cert is None:
        raise ConfigError("server.tls_client_ca needs server.tls_cert and server.tls_key")
    _listener_certificate(settings)


def _check_sip_exposure(settings: Settings) -> None:
    """Raises ConfigError for a listener that others could reach, and that asks nobody who it is."""
    sip, server = settings.sip, settings.server
    for address, signing in sip.addresses():
        name = f"sip.{'originating' if signing else 'terminating'}"
        told = f"{address.transport}:{address.host}:{address.port}"
        if address.transport == "tls" and server.tls_cert is None:
            raise ConfigError(f"{name} = {told} needs server.tls_cert and server.tls_key")
        certified = address.transport == "tls" and server.tls_client_ca is not None
        if not (loopback_host(address.host) or sip.allow or sip.digest or certified):
            raise ConfigError(
                f"{name} = {told} is reachable beyond this machine, and anybody might ask: set"
                " sip.allow to the addresses of the proxies or sip.digest, or listen on 127.0.0.1"
            )


def _listener_certificate(settings: Settings) -> ListenerCertificate | None:
    """What TLS is served with; None without TLS. Raises ConfigError."""
    server = settings.server
    if server.tls_cert is None or server.tls_key is None:
        return None
    return ListenerCertificate(server.tls_cert, server.tls_key)


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
) -> None:
    """Serve in this process until SIGINT or SIGTERM; then finish the calls in flight.

    Raises:
        ConfigError: before anything is served.
    """
    sys.setswitchinterval(_SWITCH)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ready_threads())
    service = build(settings, metrics_folder=metrics_folder)
    calls, admin = applications(service)
    for_calls, for_administration = protocols(service)
    servers = [(_Server(_config(settings, calls, for_calls)), calls_socket)]
    if admin is not None and admin_socket is not None:
        servers.append((_Server(_config(settings, admin, for_administration)), admin_socket))
    tls = _listener_certificate(settings)
    watcher = Watcher(service, tls)
    handshakes: list[Handshakes] = []
    if tls is not None:
        for server, _ in servers:
            handshakes.append(_own_handshakes(server.config))
        tls.contexts += [each.context for each in handshakes]

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True
        for each in handshakes:
            each.close()

    for number in _STOPS:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGHUP, stop if from_terminal() else watcher.look_at_once)
    try:
        await service.start()
    except ConfigError:
        await service.close()
        raise
    quieten_collector()
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
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        await service.close()


def _watch_ended(task: asyncio.Task[None]) -> None:
    """A watcher that fails would leave revocations unseen: better no service than that."""
    if not task.cancelled() and task.exception() is not None:
        _logger.critical("the watcher failed", exc_info=task.exception())
        os.kill(os.getpid(), signal.SIGTERM)


def run(settings: Settings, text: str = "", *, until_eof: bool = False) -> int:
    """Bind, serve, return the process's exit status.

    With several workers it does not return: this process becomes their supervisor.

    Args:
        text: printed to standard error when calls are taken.
        until_eof: stop when standard input ends, as it does with whoever holds its other end.

    Raises:
        ConfigError: for what cannot be started with.
    """
    os.umask(0o077)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there is somebody to handle it
    check_exposure(settings)
    configure_logging(settings.log.level)
    # Before the address: workers whose supervisor was killed let go of both at their end.
    lock = lock_data_folder(settings.data, settings.server.calls)
    try:
        if settings.server.workers > 1:
            _supervised(settings, lock, text, until_eof=until_eof)
        if until_eof:
            end_with_input(settings.server.shutdown_seconds + _GRACE + _GRACE)
        return _run(settings, text)
    finally:
        os.close(lock)


def _run(settings: Settings, text: str) -> int:
    def ready() -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    calls_socket = bind(settings.server.calls)
    admin_socket = bind(settings.server.admin) if settings.server.admin is not None else None
    sip: list[list[socket.socket]] = []
    try:
        sip = bind_sip(settings)
        uvloop.run(serve(settings, calls_socket, admin_socket, sip_sockets=sip[0], ready=ready))
        return 0
    finally:
        close_all(sip)
        calls_socket.close()
        if admin_socket is not None:
            admin_socket.close()


def _supervised(settings: Settings, lock: int, text: str, *, until_eof: bool) -> NoReturn:
    """Bind what workers share, and become their supervisor."""
    calls = bind(settings.server.calls)
    if OWN_SOCKETS:
        calls.close()  # nobody else has the address
        calls = bind(settings.server.calls, shared=True)
    admin = bind(settings.server.admin) if settings.server.admin is not None else None
    sip = bind_sip(settings, settings.server.workers)
    hand_over(
        Plan(
            settings=settings.model_dump(mode="json"),
            calls=calls.fileno(),
            admin=admin.fileno() if admin is not None else None,
            sip=[[bound.fileno() for bound in own] for own in sip],
            lock=lock,
            stop_seconds=settings.server.shutdown_seconds,
            follow=until_eof,
            text=text,
        )
    )


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
    admin = sockets[1] if len(sockets) > 1 else None

    def tell(said: bytes) -> None:
        if told is not None:
            with contextlib.suppress(BrokenPipeError):  # who asked has ended, or waits no more
                os.write(told, said)

    try:
        uvloop.run(
            serve(
                settings,
                sockets[0],
                admin,
                sip_sockets=[socket.socket(fileno=number) for number in orders.sip_sockets],
                metrics_folder=orders.metrics_folder,
                ready=lambda: tell(READY),
            )
        )
    except ZhenxianError as error:
        tell(FAILED + str(error).encode())
        if told is None:
            _logger.critical("%s", error)
        return 1
    return 0


def default_settings_file() -> Path | None:
    """zhenxian.toml in the working directory, if there is one."""
    path = Path("zhenxian.toml")
    return path if path.is_file() else None
