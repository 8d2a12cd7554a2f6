"""The trusted roots (the STI-PA's list), from disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from certs.files import read_file
from certs.reading import UNREADABLE
from passport.errors import ConfigError

MAX_FILE: Final = 4 * 1024 * 1024  # octets of one file; the US list has less than 100 KiB
_ENDINGS: Final = (".pem", ".crt", ".cer")


class TrustList(Struct, frozen=True):
    """Certificates trusted as they are. An empty list trusts nobody.

    Attributes:
        version: changes exactly when the certificates do.
    """

    roots: tuple[x509.Certificate, ...] = ()
    version: str = ""


def load_trust_list(path: Path | None, before: TrustList | None = None) -> TrustList:
    """Read a PEM bundle, or the PEM files (.pem, .crt, .cer) of a folder; empty without a path.

    Args:
        before: what was read last. A list does not become empty while the service runs: a bundle
            that is being written, and a folder that is being filled, are so for a moment.

    Raises:
        ConfigError: names the file and what is wrong with it.
    """
    if path is None:
        return TrustList()
    try:
        files = (
            sorted(file for file in path.iterdir() if file.suffix in _ENDINGS)
            if path.is_dir()
            else [path]
        )
        contents = [(file, read_file(file, MAX_FILE)) for file in files]
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
    found: dict[bytes, x509.Certificate] = {}
    for file, content in contents:
        if path != file or content.strip():
            try:
                certificates = x509.load_pem_x509_certificates(content)
            except UNREADABLE as error:
                raise ConfigError(f"{file}: not PEM certificates: {error}") from None
            for certificate in certificates:
                found[certificate.fingerprint(SHA256())] = certificate
    if not found and before is not None and before.roots:
        raise ConfigError(
            f"{path}: no certificate is in it any more; those read before stay in force until the"
            " service is restarted"
        )
    digest = hashlib.sha256(b"".join(sorted(found)))
    return TrustList(tuple(found.values()), digest.hexdigest() if found else "")
