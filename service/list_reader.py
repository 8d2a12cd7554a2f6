"""Reading revocation lists while calls are answered: a large one in a process of its own.

The library reads all entries of a list in one piece, in which no other thread has the interpreter:
8 ms for 150,000. What is read comes back as few plain values (certs.revoked).
"""

from __future__ import annotations

import hashlib
import logging
import sys
import threading
import time
from contextlib import suppress
from typing import Final

import msgspec
from msgspec.structs import replace

from zhenxian.certs.crl import RevocationList, malformed, parse_crl
from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.core.pace import Pace
from zhenxian.service.spawn import spawned_module

SMALL: Final = 65_536  # octets of a list that is read here: some 1,500 entries
_SECONDS: Final = 60.0  # for a process that reads one; the largest takes two
_KEPT: Final = 4  # large lists: one is read when it is fetched, and again when it comes into force

_logger = logging.getLogger("zhenxian")


class _Unreadable(msgspec.Struct, tag="unreadable"):
    why: str


class _Read(msgspec.Struct, tag="read"):
    found: RevocationList
    number: str  # as text: a CRL number has up to 20 octets (RFC 5280 section 5.2.3)


_decoder: Final = msgspec.msgpack.Decoder(_Unreadable | _Read)


class ListReader:
    """A certs.crl.Reader, for threads."""

    def __init__(self) -> None:
        self._kept: dict[bytes, RevocationList] = {}

    def __call__(self, data: bytes) -> RevocationList:
        """Read a list. Raises ParseError, as parse_crl does."""
        if len(data) <= SMALL:
            return _read_here(data)
        digest = hashlib.sha256(data).digest()
        found = self._kept.pop(digest, None) or read_apart(data)
        self._kept[digest] = found
        for oldest in list(self._kept)[:-_KEPT]:
            self._kept.pop(oldest, None)
        return found


def read_apart(data: bytes) -> RevocationList:
    """Read a list in another process; here, where there is none. Raises ParseError."""
    try:
        process = spawned_module("zhenxian.service.aside", (), __name__)
    except StoreUnavailableError as error:
        _logger.warning("a revocation list is read beside calls: %s", error)
        return _read_here(data)
    limit = threading.Timer(_SECONDS, process.kill)
    limit.start()
    try:
        with suppress(BrokenPipeError):  # it has ended already, as its answer will show
            process.orders.write(data)
            process.orders.close()
        answer = process.out.read()
    finally:
        limit.cancel()
        process.end()
    try:
        told = _decoder.decode(answer)
    except msgspec.DecodeError:  # it was ended, as where memory runs out
        _logger.warning("a revocation list is read beside calls: the process for it was cut off")
        return _read_here(data)
    if isinstance(told, _Unreadable):
        raise malformed(told.why)
    found: RevocationList = replace(told.found, number=int(told.number))
    return found


def _read_here(data: bytes) -> RevocationList:
    return parse_crl(data, Pace(time.perf_counter, time.sleep).through)


def main() -> int:
    """In the process: read the list on standard input. Returns the exit status."""
    answer: _Unreadable | _Read
    try:
        found = parse_crl(sys.stdin.buffer.read())
        answer = _Read(replace(found, number=0), str(found.number))
    except ParseError as error:
        answer = _Unreadable(error.detail)
    with suppress(BrokenPipeError):  # the service has ended
        sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
        sys.stdout.buffer.flush()
    return 0
