"""Running the service: listeners, worker processes, graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
import uvloop
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead

from zhenxian.api.transport.handshake import Handshakes
from zhenxian.api.transport.wire import WireProtocol
from zhenxian.certs.files import wait_until_still
from zhenxian.core.errors import ConfigError, ZhenxianError
from zhenxian.service.build import applications, build
from zhenxian.service.data_folder import lock_data_folder
from zhenxian.service.listeners import protocols
from zhenxian.service.problems import problems
from zhenxian.service.settings import Settings, listener_address, loopback, loopback_host
from zhenxian.service.sip import SipListeners, bind_sip, close_all
from zhenxian.service.threads import ready_threads
from zhenxian.service.tls import ListenerCertificate
from zhenxian.service.watch import Watcher
from zhenxian.telemetry.logs import configure_logging

_BACKLOG: Final = 2048  # connections the kernel holds while a worker is busy
_LOOK_EVERY: Final = 0.2  # seconds between two looks whether all workers live
_GRACE: Final = 5  # seconds beyond the graceful stop before a worker is killed
_ORPHAN_GRACE: Final = 3.0  # seconds for a worker without supervisor: the next waits for its lock
_SWITCH: Final = 0.0001  # seconds that a thread may keep the interpreter from the event loop
_COLLECT: Final = (50_000, 20, 50)  # allocations, and younger collections, between collections
_RESTART_AFTER: Final = 1.0  # seconds before a worker that died is replaced
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


def bind(listener: str) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    host, port = listener_address(listener)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise ConfigError(f"cannot listen on {listener}: {error.strerror}") from None
    bound.set_inheritable(True)
    return bound


def quieten_collector() -> None:
    """Have the collector of cycles pass over what is there for good, and look less often.

    A call leaves few cycles, and memory is given back by counting references; but a full
    collection walks all that conduct and caches hold, and calls wait meanwhile.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)


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
    loop.add_signal_handler(signal.SIGHUP, stop if _from_terminal() else watcher.look_at_once)
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
        await asyncio.gather(*(server.serve(sockets=[bound]) for server, bound in servers))
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


def run(
    settings: Settings, ready: Callable[[], None] | None = None, *, until_eof: bool = False
) -> int:
    """Bind, serve, return the process's exit status: one process, or a supervisor of workers.

    Args:
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
        if until_eof:
            _end_with_input(settings.server.shutdown_seconds + _GRACE + _GRACE)
        return _run(settings, ready, lock)
    finally:
        os.close(lock)


def _run(settings: Settings, ready: Callable[[], None] | None, lock: int) -> int:
    calls_socket = bind(settings.server.calls)
    admin_socket = bind(settings.server.admin) if settings.server.admin is not None else None
    sip: list[list[socket.socket]] = []
    try:
        sip = bind_sip(settings, settings.server.workers)
        if settings.server.workers == 1:
            uvloop.run(serve(settings, calls_socket, admin_socket, sip_sockets=sip[0], ready=ready))
            return 0
        return _supervise(settings, calls_socket, admin_socket, ready, lock, sip)
    finally:
        close_all(sip)
        calls_socket.close()
        if admin_socket is not None:
            admin_socket.close()


def _supervise(
    settings: Settings,
    calls_socket: socket.socket,
    admin_socket: socket.socket | None,
    ready: Callable[[], None] | None,
    lock: int,
    sip: Sequence[Sequence[socket.socket]],
) -> int:
    """Start the workers, replace those that die, stop them together.

    Each worker holds the lock of the data folder, too, and the end of a pipe whose other end is
    here: it is told to stop by the kernel when this process ends, however it does.

    Workers are processes of their own, not forks: a library that was used before a fork may hold
    threads and locks, and prometheus_client reads its folder when it is imported.
    """
    asyncio.run(_tried(settings))  # what is bad is told once, here, and not by every worker
    folder = tempfile.mkdtemp(prefix="zhenxian-metrics-")
    sockets = [bound.fileno() for bound in (calls_socket, admin_socket) if bound is not None]
    dumped = settings.model_dump(mode="json")
    orders = [
        WorkerOrders(dumped, sockets, folder, [bound.fileno() for bound in own]) for own in sip
    ]
    workers: list[subprocess.Popen[bytes]] = []
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    def look(*_: object) -> None:
        for worker in workers:
            worker.send_signal(signal.SIGHUP)

    for number in _STOPS:
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, stop if _from_terminal() else look)
    try:
        workers.extend(_start_worker(each, lock) for each in orders)
        if ready is not None:
            ready()
        while not stopping:
            time.sleep(_LOOK_EVERY)
            for index, worker in enumerate(workers):
                if worker.poll() is not None and not stopping:
                    _logger.error("worker %d ended (%d)", worker.pid, worker.returncode)
                    mark_process_dead(worker.pid, folder)  # type: ignore[no-untyped-call]
                    time.sleep(_RESTART_AFTER)
                    workers[index] = _start_worker(orders[index], lock)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(settings.server.shutdown_seconds + _GRACE)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


async def _tried(settings: Settings) -> None:
    """See that a worker could start. Raises ConfigError."""
    service = build(settings)
    try:
        await service.start()
    finally:
        await service.close()


class WorkerOrders(NamedTuple):
    """What a worker is told by the first line of its standard input."""

    settings: dict[str, Any]
    sockets: list[int]
    metrics_folder: str
    sip_sockets: list[int]


def _start_worker(orders: WorkerOrders, lock: int) -> subprocess.Popen[bytes]:
    # What is ignored here is so there: until a worker handles it, a hang-up would end it.
    handler = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = subprocess.Popen(
        [sys.executable, "-m", "zhenxian.service.worker"],
        stdin=subprocess.PIPE,
        pass_fds=[*orders.sockets, *orders.sip_sockets, lock],
        start_new_session=True,
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": orders.metrics_folder},
    )
    signal.signal(signal.SIGHUP, handler)
    if worker.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it has ended already, and is replaced
            worker.stdin.write(json.dumps(orders).encode() + b"\n")
            worker.stdin.flush()
    return worker


def work() -> int:
    """A worker's life, as told on standard input. Returns its exit status."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 1  # whoever started this process has ended
    orders = WorkerOrders(*json.loads(line))
    settings = Settings(**orders.settings)
    configure_logging(settings.log.level)
    _end_with_input(_ORPHAN_GRACE)
    # It may replace another while a file is being written, and has none read before.
    wait_until_still([path for path in (settings.auth.keys, settings.trust.roots) if path])
    sockets = [socket.socket(fileno=number) for number in orders.sockets]
    admin = sockets[1] if len(sockets) > 1 else None
    try:
        uvloop.run(
            serve(
                settings,
                sockets[0],
                admin,
                sip_sockets=[socket.socket(fileno=number) for number in orders.sip_sockets],
                metrics_folder=orders.metrics_folder,
            )
        )
    except ZhenxianError as error:
        _logger.critical("%s", error)
        return 1
    return 0


def _from_terminal() -> bool:
    """True for a service that somebody started by hand: a hang-up says that they are gone."""
    return sys.stdin is not None and sys.stdin.isatty()


def _end_with_input(grace: float) -> None:
    """Stop this process gracefully when standard input ends, and `grace` seconds later anyhow.

    In a thread: it also ends a process whose loop is busy.
    """

    def follow() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=follow, name="end-with-input", daemon=True).start()


def default_settings_file() -> Path | None:
    """zhenxian.toml in the working directory, if there is one."""
    path = Path("zhenxian.toml")
    return path if path.is_file() else None
