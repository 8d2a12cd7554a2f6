"""What a running service looks at again and again: files, lists, stores, and its log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
from typing import Final

from zhenxian.certs.files import Looks
from zhenxian.core.errors import ConfigError, StoreBusyError, StoreUnavailableError
from zhenxian.service.problems import remarks
from zhenxian.service.service import Service
from zhenxian.service.sorted import SortedKeeper
from zhenxian.service.tls import ListenerCertificate
from zhenxian.stores.clock import LateClock, since_boot
from zhenxian.stores.ending import ended
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.replay.file import SqliteReplayStore
from zhenxian.stores.sqlite.registry import EmbeddedRegistry

WATCH_EVERY: Final = 1.0  # seconds between two looks at files that may have changed
USED_EVERY: Final = 3600.0  # seconds between two notes of which lists are in use
FLUSH_EVERY: Final = 0.2  # seconds between two writes of call records, and of counts of calls

_SECONDS = re.compile(r"\b\d+ s\b")  # what changes with each look, and is no news

_logger = logging.getLogger("zhenxian")


class Watcher:
    """Keeps a service as its files and the fleet are. For one event loop."""

    def __init__(self, service: Service, tls: ListenerCertificate | None = None) -> None:
        """Args: tls is the listeners' own certificate, where they have one."""
        self._service = service
        self._tls = tls
        self._looks = Looks()
        self._tasks: list[asyncio.Task[None]] = []
        self._now = asyncio.Event()
        self._used_at = 0.0
        wall = service.clock
        self._late = LateClock(wall, since_boot if wall is time.time else wall)
        self._remarked: frozenset[str] = frozenset()

    async def run(self) -> None:
        """Take over what changes on disk, fetch what is due, and write the log, until cancelled."""
        service = self._service
        works = [self._write_log(), self._fetch_lists(), service.origids.run()]
        works += [service.chains.run(), SortedKeeper(service.registry).run()]
        if isinstance(service.registry, FleetRegistry):
            works.append(service.registry.follow())
        if service.keeper is not None:
            works.append(service.keeper.run())
        async with asyncio.TaskGroup() as tasks:
            self._tasks = [tasks.create_task(work) for work in works]
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._now.wait(), WATCH_EVERY)
                told = self._now.is_set()
                self._now.clear()
                await self.refresh(at_once=told)
                if told:
                    _logger.info("looked at all files anew; settings are read at the start only")

    async def end(self, running: asyncio.Task[None]) -> None:
        """Cancel `run`, and whatever it started. Raises what it failed with."""
        await ended([running, *self._tasks])
        if not running.cancelled():
            running.result()

    def look_at_once(self) -> None:
        """Take over all files as they are now, without a second look."""
        self._now.set()

    async def refresh(self, *, at_once: bool = True) -> None:
        """Look at everything that may have changed: keys, holdings, trust, lists.

        Args:
            at_once: take over what changed; otherwise what the look before has seen, too. A file
                that is being written may be empty or half, and read as if it were whole.
        """
        service, report = self._service, self._service.reported.report

        def whole(name: str, seen: object) -> bool:
            return self._looks.still(name, seen) or at_once

        service.repository.refresh_due()
        if service.keys is not None:
            settled = whole("signing key", service.keys.stamps())
            if settled and service.keys.reload_if_changed(service.clock()):
                _logger.info("a new signing certificate is in use: %s", service.keys.current.x5u)
            report("signing key", service.keys.problem)
        await self._refresh_registry()
        if service.replays is not None:
            await service.replays.mend()
        if isinstance(service.seen, SqliteReplayStore):
            service.seen.mend()
        service.origids.mend()
        report("disk", await asyncio.to_thread(service.disk.look))
        if whole("API keys", service.authenticator.stamps()):
            service.authenticator.refresh()
        report("API keys", service.authenticator.problem)
        if self._tls is not None:
            if whole("TLS certificate", self._tls.stamps()) and self._tls.reload_if_changed():
                _logger.info("a new TLS certificate is in use")
            report("TLS certificate", self._tls.problem)
        service.trust.roots_whole = whole("trust", service.trust.root_files())
        await service.trust.refresh()

    async def _refresh_registry(self) -> None:
        service = self._service
        try:
            service.registry.refresh()
            late = self._late.now()
            if late is not None and not service.registry.clock_doubts():
                service.origids.forget(late)
                with contextlib.suppress(StoreBusyError):  # the next look does it
                    await service.registry.with_writer(lambda file: file.purge(late))
            own = None
            if isinstance(service.registry, EmbeddedRegistry):
                await service.registry.mend()
                own = service.registry.problem
            service.reported.report("registry", own)
        except StoreUnavailableError as error:
            service.reported.report("registry", str(error))

    async def _write_log(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            self._service.log.flush()
            self._service.metrics.flush()

    async def _fetch_lists(self) -> None:
        service, name = self._service, "folder of revocation lists"
        while True:
            now = service.clock()
            if not 0 <= now - self._used_at < USED_EVERY:
                self._used_at = now
                service.lists.used(service.repository.proven(), int(now))
            try:
                await service.trust.crls.refresh_due(int(now), self._late.now() or 0)
                service.reported.report(name, None)
            except ConfigError as error:
                service.reported.report(name, str(error))
            self._remark()
            await asyncio.sleep(WATCH_EVERY)

    def _remark(self) -> None:
        """Log the remarks that are new."""
        found = {_SECONDS.sub("", text): text for text in remarks(self._service)}
        for of, text in found.items():
            if of not in self._remarked:
                _logger.warning("%s", self._service.pseudonym.text(text))
        self._remarked = frozenset(found)
