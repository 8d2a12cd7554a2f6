"""Structured logs: one JSON object a line on standard error, numbers hashed unless configured.

Every line has time (RFC 3339), level and event; a call's has what became of it beside, all others
a message.

Call records are gathered and written together, a few times a second, because a write to a pipe
costs as much as the rest of the answer.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import msgspec
from msgspec import Struct

_FLUSH_AT: Final = 256  # records; more are written at once
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NUMBER: Final = re.compile(
    r"""[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}  # an origid
      | [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+  # an instant
      | [0-9]{1,3}(?:\.[0-9]{1,3}){3}(?::[0-9]{1,5})?(?![0-9])  # an address and its port
      | (?<=[a-z\]]):[0-9]{1,5}(?=[\s/,;)]|\Z)  # a port
      | (?:line|entry|row|commit|pid|port|octet)\ [0-9]+
      | [0-9]+\ (?=(?:m?s|seconds|octets|bytes|rows|lines|characters|records|commits|calls)\b)
      | (?<![0-9a-f])(?P<number>[0-9]{5,15})(?![0-9a-f])  # and not part of a hash""",
    re.VERBOSE,
)
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode
_lines: Final = msgspec.json.Encoder(enc_hook=str).encode_lines


class Pseudonym:
    """A keyed hash of telephone numbers for logs.

    The same number reads the same; only the holder of the data folder could try numbers against
    it.
    """

    def __init__(self, key: bytes, *, clear: bool) -> None:
        self._keyed = hashlib.blake2b(key=key, digest_size=8)
        self._clear = clear

    def __call__(self, number: str) -> str:
        """The number as it is logged."""
        if self._clear:
            return str(number)
        digest = self._keyed.copy()
        digest.update(number.encode())
        return digest.hexdigest()

    def text(self, text: str) -> str:
        """A text that may name numbers, with each as it is logged.

        What is no telephone number stays: ports, instants, counts of something.
        """
        return _NUMBER.sub(lambda found: self(found[0]) if found["number"] else found[0], text)


class CallRecord(Struct, frozen=True, gc=False, omit_defaults=True, tag_field="level", tag="info"):
    """What is logged of one request to the per-call routes.

    Attributes:
        time: with its zone; see `instant`.
        us: microseconds from complete request to answer.
        repeated: how it is known that the question was asked before; None for a first one.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    time: datetime
    event: str
    reason: str
    request_id: str
    us: int = 0
    status: int = 200
    attest: str | None = None
    verstat: str | None = None
    orig: str | None = None
    dest: tuple[str, ...] = ()
    access: str | None = None
    spc: str | None = None
    failed: str | None = None
    labels: tuple[str, ...] = ()
    parameter: str | None = None
    repeated: str | None = None


def instant(seconds: float) -> datetime:
    """Seconds since the epoch as all lines tell time."""
    return datetime.fromtimestamp(seconds, UTC)


class CallLog:
    """Gathers call records; `flush` writes them."""

    def __init__(self, level: str, write: Callable[[bytes], object] | None = None) -> None:
        self.enabled = _LEVELS[level] <= _LEVELS["info"]
        self._write = write or sys.stderr.buffer.write
        self._records: list[CallRecord] = []

    def add(self, record: CallRecord) -> None:
        """Take one record; written by the next flush, or now when many are waiting."""
        self._records.append(record)
        if len(self._records) >= _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered. A log that cannot be written does not stop calls."""
        if not self._records:
            return
        records, self._records = self._records, []
        try:
            self._write(_lines(records))
            sys.stderr.flush()
        except (OSError, ValueError):
            return


class JsonFormatter(logging.Formatter):
    """Log records of the service and its libraries as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": instant(record.created),
            "level": record.levelname.lower(),
            "event": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encode(entry).decode()


def configure_logging(level: str) -> None:
    """Send everything logged to standard error as JSON, of which the exit status says nothing."""
    atexit.register(_let_go)
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"


def _let_go() -> None:
    """What cannot be written is lost: the interpreter would end with status 120 for it."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)


def announce(text: str) -> None:
    """Write to standard error what the service has to say at its start.

    People at a terminal read it as it is; elsewhere it is part of the log, and written as that.
    Where the log cannot be written, as its disk is full or whoever reads it has gone, calls are
    answered all the same.
    """
    if not sys.stderr.isatty():
        told = {"name": "zhenxian", "levelno": logging.INFO, "levelname": "INFO"}
        records = (logging.makeLogRecord(told | {"msg": line}) for line in text.splitlines())
        text = "".join(f"{JsonFormatter().format(record)}\n" for record in records)
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
