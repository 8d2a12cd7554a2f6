"""Origids of calls in one process: given, sent to the fleet, found again, and forgotten in time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.service.role_settings import Signer
from zhenxian.signer.origids import Given, Origids
from zhenxian.stores.ending import FAREWELL, within
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.origids.file import OrigidFile
from zhenxian.stores.origids.fleet import FleetOrigids

FILE: Final = "origids.db"  # in the data folder
_SEND_EVERY: Final = 0.2  # seconds
_DAY: Final = 86_400


class OrigidKeeper:
    """What remembers whose the origids of calls were, also after a setting ended giving them."""

    def __init__(
        self,
        data: Path,
        node: str,
        settings: Signer,
        fleet: FleetOptions | None,
        clock: Callable[[], float],
    ) -> None:
        """Raises ConfigError: the file is to be written, and cannot be."""
        self._clock = clock
        self._keep = settings.origid_days * _DAY
        self._file: OrigidFile | None = None
        path = data / FILE
        if settings.origid == "call" or path.exists():
            try:
                self._file = OrigidFile(path, node)
            except StoreUnavailableError as error:
                raise ConfigError(f"origids of calls cannot be kept: {error}") from None
        self._shared = FleetOrigids(fleet, self._file, self._keep) if fleet is not None else None
        self.origids: Origids | None = self._file if settings.origid == "call" else None

    async def given_for(self, origid: str) -> Given | None:
        """What an origid was given for, here or in the fleet. Raises StoreUnavailableError."""
        given = self._file.find(origid) if self._file is not None else None
        if given is None and self._shared is not None:
            return await self._shared.find(origid)
        return given

    def unsent(self) -> int:
        """How many the fleet does not know yet; 0 when that is not known."""
        with contextlib.suppress(StoreUnavailableError):
            if self._file is not None and self._shared is not None:
                return self._file.waiting()
        return 0

    @property
    def problem(self) -> str | None:
        """Why origids of calls are not given, or do not reach the fleet; None when they do."""
        if self._file is not None and self._file.problem is not None:
            return f"those of accesses are signed: {self._file.problem}"
        if self._shared is not None and self._shared.problem is not None:
            return f"origids of calls are not sent to the fleet: {self._shared.problem}"
        return None

    def mend(self) -> None:
        """After origids could not be given: see whether they can be again."""
        if self._file is not None:
            self._file.mend()

    def forget(self, now: int) -> None:
        """Remove some of what is older than is to be kept."""
        if self._file is not None:
            with contextlib.suppress(StoreUnavailableError):  # the next call finds out, and says so
                self._file.forget(now - self._keep)

    async def run(self) -> None:
        """Send what was given to the fleet, until cancelled."""
        while self._shared is not None:
            await self._shared.send(int(self._clock()))
            await asyncio.sleep(_SEND_EVERY)

    async def close(self) -> None:
        """Send the last ones, if Redis takes them, and close the file."""
        if self._shared is not None:
            await within(FAREWELL, self._shared.send(int(self._clock())))
            await self._shared.close()
        if self._file is not None:
            self._file.close()
