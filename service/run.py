"""Running the service: what it may listen on, its sockets, its lock, and who serves.

A process that becomes the supervisor of workers imports nothing of what they do: they wait for it.
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import NoReturn

from zhenxian.core.errors import ConfigError
from zhenxian.service.data_folder import lock_data_folder
from zhenxian.service.settings import Settings, loopback, loopback_host
from zhenxian.service.sockets import bind, bind_sip, close_all, descriptors
from zhenxian.service.supervisor import (
    GRACE,
    OWN_SOCKETS,
    Plan,
    end_with_input,
    hand_over,
)
from zhenxian.service.tls import listener_certificate
from zhenxian.telemetry.logs import announce, configure_logging


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
    listener_certificate(settings)


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
    descriptors()
    configure_logging(settings.log.level)
    # Before the address: workers whose supervisor was killed let go of both at their end.
    lock = lock_data_folder(settings.data, settings.server.calls)
    try:
        if settings.server.workers > 1:
            _supervised(settings, lock, text, until_eof=until_eof)
        if until_eof:
            end_with_input(settings.server.shutdown_seconds + GRACE + GRACE)
        return _run(settings, text)
    finally:
        os.close(lock)


def _run(settings: Settings, text: str) -> int:
    def ready() -> None:
        announce(text)

    from zhenxian.service.serving import run_alone  # noqa: PLC0415, see above

    calls_socket = bind(settings.server.calls)
    admin_socket = bind(settings.server.admin) if settings.server.admin is not None else None
    sip: list[list[socket.socket]] = []
    try:
        sip = bind_sip(settings)
        run_alone(settings, calls_socket, admin_socket, sip_sockets=sip[0], ready=ready)
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


def default_settings_file() -> Path | None:
    """zhenxian.toml in the working directory, if there is one."""
    path = Path("zhenxian.toml")
    return path if path.is_file() else None
