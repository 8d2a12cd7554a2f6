"""The trusted roots (the STI-PA's list), from disk."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from zhenxian.certs.files import read_file
from zhenxian.certs.path import unfit_anchor
from zhenxian.certs.reading import UNREADABLE, described
from zhenxian.core.errors import ConfigError

MAX_FILE: Final = 4 * 1024 * 1024  # octets of one file; the US list has less than 100 KiB
_ENDINGS: Final = (".pem", ".crt", ".cer")
_JWS: Final = re.compile(
    rb"\s*(?:[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\s*\Z|\{.*\"signatures?\")",
    re.DOTALL,
)


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
    return _listed(_read(path), path, before)


def load_roots(path: Path | None, before: TrustList | None = None) -> TrustList:
    """Read a trust list whose certificates are to be roots of paths.

    Raises:
        ConfigError: as load_trust_list, and for a certificate that cannot be a root.
    """
    read = _read(path)
    for file, certificate in read:
        unfit = unfit_anchor(certificate)
        if unfit is not None:
            subject = certificate.subject.rfc4514_string()[:200]
            raise ConfigError(f"{file}: {subject} cannot be a trusted root: {unfit}")
    return _listed(read, path, before)


def _read(path: Path | None) -> list[tuple[Path, x509.Certificate]]:
    if path is None:
        return []
    try:
        files = (
            sorted(file for file in path.iterdir() if file.suffix in _ENDINGS)
            if path.is_dir()
            else [path]
        )
        contents = [(file, read_file(file, MAX_FILE)) for file in files]
    except OSError as error:
        raise ConfigError(f"{error.filename or path}: {error.strerror}") from None
    found: list[tuple[Path, x509.Certificate]] = []
    for file, content in contents:
        if path == file and not content.strip():
            continue
        if _JWS.match(content):
            raise ConfigError(
                f"{file}: a JSON web signature, as the STI-PA signs its list, is not read yet; the"
                " certificates that it lists belong there, in PEM"
            )
        try:
            certificates = x509.load_pem_x509_certificates(content)
            for certificate in certificates:
                certificate.subject, certificate.extensions  # noqa: B018 - read now, or never
        except UNREADABLE as error:
            raise ConfigError(f"{file}: not PEM certificates: {described(error)}") from None
        found.extend((file, certificate) for certificate in certificates)
    return found


def _listed(
    read: Sequence[tuple[Path, x509.Certificate]], path: Path | None, before: TrustList | None
) -> TrustList:
    if not read and before is not None and before.roots:
        raise ConfigError(
            f"{path}: no certificate is in it any more; those read before stay in force until the"
            " service is restarted"
        )
    found = {certificate.fingerprint(SHA256()): certificate for _, certificate in read}
    digest = hashlib.sha256(b"".join(sorted(found)))
    return TrustList(tuple(found.values()), digest.hexdigest() if found else "")
