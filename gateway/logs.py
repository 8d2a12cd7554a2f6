"""Structured logs: one JSON object a line on standard error, numbers hashed unless configured.

Call records are gathered and written together, a few times a second, because a write to a pipe
costs as much as the rest of the answer.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

_FLUSH_AT: Final = 256  # records; more are written at once
_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Pseudonym:
    """A keyed hash of telephone numbers for logs.

    The same number reads the same; only the holder of the data folder could try numbers against
    it.
    """

    def __init__(self, key: bytes, *, clear: bool) -> None:
        self._key = key
        self._clear = clear

    def __call__(self, number: str) -> str:
        """The number as it is logged."""
        if self._clear:
            return str(number)
        return hashlib.blake2b(number.encode(), key=self._key, digest_size=8).hexdigest()


def pseudonym_key(path: Path) -> bytes:
    """The key in a file of mode 0600, made on first use."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(os.urandom(32))
    return path.read_bytes()


class CallLog:
    """Gathers call records; `flush` writes them."""

    def __init__(self, level: str, write: Callable[[bytes], object] | None = None) -> None:
        self.enabled = _LEVELS[level] <= _LEVELS["info"]
        self._write = write or sys.stderr.buffer.write
        self._records: list[bytes] = []

    def add(self, record: dict[str, Any]) -> None:
        """Take one record; written by the next flush, or now when many are waiting."""
        self._records.append(_encode(record))
        if len(self._records) >= _FLUSH_AT:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered. A log that cannot be written does not stop calls."""
        if not self._records:
            return
        records, self._records = self._records, []
        try:
            self._write(b"\n".join(records) + b"\n")
            sys.stderr.flush()
        except (OSError, ValueError):
            return


class JsonFormatter(logging.Formatter):
    """Log records of the service and its libraries as JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _encode(entry).decode()


def configure_logging(level: str) -> None:
    """Send everything logged to standard error as JSON."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = name != "uvicorn.access"
