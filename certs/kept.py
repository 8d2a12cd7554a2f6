"""Chains that outlive the process: a start must not ask every carrier's host at once.

Only chains under which a signature has verified are kept, and none that its host has forbidden to
store. They are no more believed than those of the host: every verification validates the path.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from zhenxian.certs.chain import Chain, parse_chain
from zhenxian.certs.files import read_file
from zhenxian.core.errors import ConfigError, ParseError

FORMAT: Final = 1
MAX_FILE: Final = 256 * 1024 * 1024  # octets; a chain has some four thousand


class KeptChain(Struct, frozen=True, kw_only=True):
    """One chain, and how long it may be used; times are epoch seconds.

    Attributes:
        x5u: where it was served.
        stale_until: while its host cannot be reached.
    """

    x5u: str
    chain: Chain
    etag: str | None
    stale: bool
    fresh_until: int
    stale_until: int


class _Written(Struct, frozen=True, kw_only=True):
    x5u: str
    pem: str
    etag: str | None
    stale: bool
    fresh_until: int
    stale_until: int


class _File(Struct, frozen=True):
    format: int
    chains: list[_Written]


def write_chains(path: Path, chains: Iterable[KeptChain]) -> None:
    """Replace the file. Raises OSError."""
    written = (
        _Written(
            x5u=one.x5u,
            pem=b"".join(
                certificate.public_bytes(Encoding.PEM) for certificate in one.chain.certificates
            ).decode(),
            etag=one.etag,
            stale=one.stale,
            fresh_until=one.fresh_until,
            stale_until=one.stale_until,
        )
        for one in chains
    )
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            # One by one: all in one piece would keep the interpreter from calls meanwhile.
            file.write(b'{"format":%d,"chains":[' % FORMAT)
            for number, one in enumerate(written):
                file.write(b"," * bool(number) + msgspec.json.encode(one))
            file.write(b"]}")
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except OSError:
        with suppress(OSError):
            Path(name).unlink()
        raise


def read_chains(path: Path) -> list[KeptChain]:
    """The chains of the file, none where there is no file.

    Raises:
        ConfigError: it cannot be read as what `write_chains` wrote.
    """
    if not path.exists():
        return []
    try:
        file = msgspec.json.decode(read_file(path, MAX_FILE), type=_File)
        if file.format != FORMAT:
            raise ConfigError(f"{path}: format {file.format} is not known")
        return [
            KeptChain(
                x5u=one.x5u,
                chain=parse_chain(one.pem.encode()),
                etag=one.etag,
                stale=one.stale,
                fresh_until=one.fresh_until,
                stale_until=one.stale_until,
            )
            for one in file.chains
        ]
    except (msgspec.MsgspecError, ParseError) as error:
        raise ConfigError(f"{path}: {error}") from None
