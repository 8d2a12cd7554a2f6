"""The listeners' own certificate: replaced without a restart, for connections from then on."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Final

from zhenxian.certs.files import Stamp, read_file, stamp
from zhenxian.core.errors import ConfigError
from zhenxian.service.settings import Settings

_MAX_FILE: Final = 256 * 1024  # octets of a chain or key; real ones have less than 16 KiB


class ListenerCertificate:
    """Certificate chain and key of the TLS listeners.

    Attributes:
        contexts: what the listeners shake hands with; the new certificate is put into these.
        problem: why the files' present content is not in use; None when it is.
    """

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises ConfigError for a pair that cannot be served with."""
        self._cert = cert
        self._key = key
        self._taken = self.stamps()
        self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.contexts: list[ssl.SSLContext] = []
        self.problem: str | None = None

    def stamps(self) -> tuple[Stamp, ...]:
        """What changes when one of the files does."""
        return (stamp(self._cert), stamp(self._key))

    def reload_if_changed(self) -> bool:
        """Take a new good pair over; True when it was. Connections that stand are not touched."""
        found = self.stamps()
        if found == self._taken and self.problem is None:
            return False
        try:
            # A context that refuses half of a pair has taken the other half already.
            self._read(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *self.contexts)
        except ConfigError as error:
            self.problem = f"{error} (the certificate read before is still in use)"
            return False
        self._taken = found
        self.problem = None
        return True

    def _read(self, *contexts: ssl.SSLContext) -> None:
        """Put the pair into the contexts; the first has none to lose. Raises ConfigError."""
        chain = read_file(self._cert, _MAX_FILE)
        key = read_file(self._key, _MAX_FILE, self._private)
        # The library reads files only. One in memory is the same for every context, and is no copy
        # of the key on a disk.
        descriptor = os.memfd_create("tls")
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(chain + b"\n" + key)
            for context in contexts:
                context.load_cert_chain(f"/proc/self/fd/{descriptor}", password=_no_password)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{self._cert} and {self._key}: no certificate chain with its key in PEM: {error}"
            ) from None
        finally:
            os.close(descriptor)

    def _private(self, status: os.stat_result) -> None:
        if status.st_mode & 0o077:
            raise ConfigError(f"server.tls_key is readable by others: chmod 600 {self._key}")


def listener_certificate(settings: Settings) -> ListenerCertificate | None:
    """What TLS is served with; None without TLS. Raises ConfigError."""
    server = settings.server
    if server.tls_cert is None or server.tls_key is None:
        return None
    return ListenerCertificate(server.tls_cert, server.tls_key)


def _no_password() -> str:
    """Instead of asking at the terminal."""
    raise ValueError("the key is encrypted")
