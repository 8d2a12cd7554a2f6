"""Idempotency keys, and how far named imports came: what a registry file knows of requests."""

from __future__ import annotations

from collections.abc import Iterable

from zhenxian.stores.sqlite.file import RegistryFile


def done(file: RegistryFile, requests: Iterable[bytes]) -> bool:
    """True when any of the requests (digests, as of Commit.request) was committed before."""
    return any(file.connection.all("SELECT 1 FROM requests WHERE id = ?", one) for one in requests)


def reached(file: RegistryFile, name: str) -> int:
    """The last line committed of a file that is imported under the name; 0 for none."""
    first, after = f"{name}\n", f"{name}\x0b"
    ((line,),) = file.connection.all(
        "SELECT max(line) FROM imports WHERE id > ? AND id < ?", first, after
    )
    return line or 0
