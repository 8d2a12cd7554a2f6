"""Uploads to files without a name: bounded in size and number, and who is slow makes way."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final

from fastapi import HTTPException, Request

PLACES: Final = 4  # at once; each takes up to max_import octets of the disk
PATIENCE: Final = 10.0  # seconds for which nobody has to make way
FAST: Final = 65_536  # octets a second above which nobody has to
_BUFFER: Final = 1_048_576  # octets gathered before the disk is asked


class Upload:
    """One upload, which holds a place until its import has ended."""

    def __init__(self) -> None:
        self.gone = False
        self._size = 0
        self._began = asyncio.get_running_loop().time()
        self._task: asyncio.Task[str] | None = None

    def rate(self) -> float | None:
        """Octets a second; None for one that need not make way."""
        lasted = asyncio.get_running_loop().time() - self._began
        if self._task is None or lasted < PATIENCE:
            return None
        return self._size / lasted if lasted else None

    def make_way(self) -> None:
        """End it for another's sake."""
        self.gone = True
        if self._task is not None:
            self._task.cancel()

    async def spool(self, request: Request, file: IO[bytes], limit: int) -> str:
        """Put the body into the file, and go back to its begin; its SHA-256 in hex.

        Raises:
            HTTPException: 413, it is larger; 408, it was slow, and another came.
        """
        task = self._task = asyncio.ensure_future(self._spool(request, file, limit))
        try:
            return await task
        except asyncio.CancelledError:
            if not self.gone:
                task.cancel()
                raise
            raise HTTPException(
                408, "the upload was slow and made way for another; nothing was changed"
            ) from None
        finally:
            self._task = None

    async def _spool(self, request: Request, file: IO[bytes], limit: int) -> str:
        buffer, digest = bytearray(), hashlib.sha256()
        async for part in request.stream():
            self._size += len(part)
            if self._size > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes")
            digest.update(part)
            buffer += part
            if len(buffer) >= _BUFFER:
                await asyncio.to_thread(file.write, bytes(buffer))
                buffer.clear()
        await asyncio.to_thread(file.write, bytes(buffer))
        file.seek(0)
        return digest.hexdigest()


class Uploads:
    """The uploads that are under way."""

    def __init__(self) -> None:
        self._all: list[Upload] = []

    @contextmanager
    def place(self) -> Iterator[Upload]:
        """A place for one more. Raises HTTPException, 503, when none is free or slow."""
        if len(self._all) >= PLACES:
            slow = [
                (rate, n) for n, one in enumerate(self._all) if (rate := one.rate()) is not None
            ]
            if not slow or min(slow)[0] >= FAST:
                raise HTTPException(503, f"{PLACES} imports are under way; try again later")
            self._all.pop(min(slow)[1]).make_way()
        upload = Upload()
        self._all.append(upload)
        try:
            yield upload
        finally:
            if upload in self._all:
                self._all.remove(upload)
