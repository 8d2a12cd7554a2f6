"""The engines that keep a registry, behind one face, so that one suite asks them all.

An engine for that suite has: write (as RegistryFile.write), purge(now), restart(), refresh(),
`calls` (the registry as calls ask it), `book` (for questions of the past) and close().
"""

from __future__ import annotations

import asyncio
import secrets

from zhenxian.registry.journal import dump_commit, load_commit
from zhenxian.stores.fleet.link import FleetOptions
from zhenxian.stores.fleet.registry import FleetRegistry
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.view import RegistryView

KEPT = 5  # answers in memory; few, so that old ones have to go


class Embedded:
    """One file; one connection writes, another one answers calls."""

    def __init__(self, folder):
        self.path = folder / "registry.db"
        self._open()

    def _open(self):
        self.writer = RegistryFile(self.path, writer=True, synchronous="OFF")
        self.records = self.writer
        self.calls = RegistryView(self.path, limit=KEPT)

    def write(self, changes, **how):
        return self.writer.write(changes, **how)

    def purge(self, now):
        self.writer.purge(now)

    def refresh(self):
        self.calls.refresh()

    def restart(self):
        self.close()
        self._open()

    def close(self):
        self.writer.close()
        self.calls.close()


class Copy(Embedded):
    """As a node of a fleet: what another one committed is taken over, and only that is asked."""

    def _open(self):
        self.writer = RegistryFile(self.path, writer=True, synchronous="OFF")
        copy = self.path.with_name("copy.db")
        self.records = RegistryFile(copy, writer=True, synchronous="OFF")
        self.calls = RegistryView(copy, limit=KEPT)

    def write(self, changes, **how):
        commit = super().write(changes, **how)
        if not how.get("dry_run"):
            self.records.apply(load_commit(dump_commit(commit)))
        return commit

    def purge(self, now):
        """Nodes do so when they please; here, only the copy does."""
        self.records.purge(now)

    def close(self):
        super().close()
        self.records.close()


class Fleet:
    """Two nodes on a real Redis: one is written through, the other one is asked."""

    def __init__(self, folder, url):
        self._folder = folder
        self._options = FleetOptions(url=url, tag=f"zx{secrets.token_hex(4)}", timeout=10.0)
        self._loop = asyncio.new_event_loop()
        self._open()

    def _open(self):
        self._writer, self.calls = (
            FleetRegistry(self._folder / f"{name}.db", self._options, limit=KEPT)
            for name in ("a", "b")
        )
        self.records = self.calls.records
        for node in (self._writer, self.calls):
            self._run(node.start())

    def _run(self, work):
        return self._loop.run_until_complete(work)

    def write(self, changes, **how):
        commit = self._run(self._writer.write(changes, **how))
        self._run(self.calls.sync())
        return commit

    def purge(self, now):
        """Nodes do so when they please; here, only one does."""
        self._run(self.calls.with_writer(lambda book: book.purge(now)))

    def refresh(self):
        self.calls.refresh()

    def restart(self):
        self._close()
        self._open()

    def _close(self):
        for node in (self._writer, self.calls):
            self._run(node.aclose())

    def close(self):
        self._close()
        self._loop.close()


ENGINES = {"embedded": Embedded, "copy": Copy}
