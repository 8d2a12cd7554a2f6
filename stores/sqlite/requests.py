"""Idempotency keys, and how far named imports came: what a registry file knows of requests."""

from __future__ import annotations

from collections.abc import Iterable

from zhenxian.stores.sqlite.file import RegistryFile


def done(book: RegistryFile, requests: Iterable[bytes]) -> bool:
    """True when any of the requests (digests, as of Commit.request) was committed before."""
    return any(book.connection.all("SELECT 1 FROM requests WHERE id = ?", one) for one in requests)


def reached(book: RegistryFile, name: str) -> int:
    """The last line committed of a file that is imported under the name; 0 for none."""
    first, after = f"{name}\n", f"{name}\x0b"
    ((line,),) = book.connection.all(
        "SELECT max(line) FROM imports WHERE id > ? AND id < ?", first, after
    )
    return line or 0
