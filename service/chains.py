"""The chains of other carriers over restarts: read at the start, written once a minute."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from zhenxian.certs.kept import KeptChain, read_chains, write_chains
from zhenxian.certs.repository import CertificateRepository
from zhenxian.core.errors import ConfigError
from zhenxian.service.reported import Problems

WRITE_EVERY: Final = 60.0  # seconds
_NAME: Final = "certificates of other carriers"

_logger = logging.getLogger("zhenxian")


class ChainKeeper:
    """Keeps the chains of a repository in a file. Workers share it: the last to write stays."""

    def __init__(self, file: Path, repository: CertificateRepository, reported: Problems) -> None:
        """Restore what an earlier process kept; a file that cannot be read is as none."""
        self._file = file
        self._repository = repository
        self._reported = reported
        self._written: list[KeptChain] = []
        try:
            repository.restore(read_chains(file))
        except ConfigError as error:
            _logger.warning("%s are fetched anew: %s", _NAME, error)

    async def run(self) -> None:
        """Write what has changed, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY)
            await asyncio.to_thread(self.write, self._repository.kept())

    def write(self, kept: list[KeptChain]) -> None:
        """Write the chains unless the file has them; failing is reported."""
        if kept == self._written or not kept:
            return
        try:
            write_chains(self._file, kept)
        except OSError as error:
            self._reported.report(_NAME, f"{self._file}: {error.strerror}")
        else:
            self._written = kept
            self._reported.report(_NAME, None)
