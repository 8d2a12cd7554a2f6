"""The keeper of conduct: what calls tell is saved and exchanged in the background.

A finding that somebody is pooled is on disk before any call is answered by it, so that no restart
takes it back. Counts follow within half a minute, which is what a crash can lose.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from displays.conduct import Conduct, ConductFormatError, Saved
from displays.model import State
from displays.policy import Policy
from passport.errors import ConfigError, StoreUnavailableError
from stores.conductfile import ConductFile, Exchange

EVERY: Final = 0.5  # seconds between two looks: what one node saw, the others count a second later
SAVED_WITHIN: Final = 30  # seconds until changed counts are on disk
_LOOKS: Final = int(SAVED_WITHIN / EVERY) - 10  # a look takes time, too
_SLICE: Final = 50  # keys saved in one go, a few milliseconds
_EXPIRE_EVERY: Final = 60.0  # seconds
_STRANGE_FOR: Final = 120.0  # seconds; a node that was mended comes back under another name
_MOST_DELTAS: Final = 100  # waiting to be sent; the rest waits in Conduct, which is bounded

_logger = logging.getLogger("zhenxian")


def load_policy(path: Path | None, **own: object) -> Policy:
    """Thresholds from a TOML file with the members of displays.policy.Policy, all optional.

    Args:
        own: members that the file does not decide, such as the salt.

    Raises:
        ConfigError: the file cannot be read, or names what there is not.
    """
    told: dict[str, object] = {}
    if path is not None:
        try:
            told = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        for name in own.keys() & told.keys():
            raise ConfigError(f"{path}: {name} is not decided here")
    try:
        return msgspec.convert({**told, **own}, Policy)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None


def salt_of(identity_key: bytes) -> int:
    """What hashes of numbers are salted with: the same on all nodes that share the registry."""
    digest = hashlib.blake2b(key=identity_key[:64], person=b"displays", digest_size=7).digest()
    return int.from_bytes(digest, "big")


class ConductKeeper:
    """Saves and exchanges one process's Conduct."""

    def __init__(
        self,
        conduct: Conduct,
        file: ConductFile,
        exchange: Exchange | None,
        clock: Callable[[], float],
    ) -> None:
        self.conduct = conduct
        self._file = file
        self._exchange = exchange
        self._clock = clock
        self._findings: dict[str, Saved] = {}  # still to be saved
        self._told: dict[str, Saved] = {}  # still to be told to the others
        self._counts: list[Saved] = []
        self._deltas: list[bytes] = []
        self._pace = 0  # keys saved at each look
        self._expired = 0.0
        self._unread: str | None = None
        self._file_problem: str | None = None
        self._exchange_problem: str | None = None
        self._fault: str | None = None
        self._strangers: dict[
            str, float
        ] = {}  # nodes that cannot be read, and when they were heard

    def restore(self) -> None:
        """Take over what was saved; before the first call is answered.

        A file that cannot be read is told and tried again each minute, and counting begins anew.
        """
        self._take_findings()  # those that came before it could be read are still to be saved
        policy = self.conduct.policy
        try:
            counts, findings = self._file.load(int(self._clock()) - policy.window, policy.max_keys)
        except StoreUnavailableError as error:
            self._unread = f"conduct cannot be read, and who was found is forgotten: {error}"
            return
        self._unread = None
        self.conduct.restore(counts, findings)
        self.conduct.take_findings()  # they are in the file

    def turn(self) -> None:
        """Before and after a batch of calls: whoever was found pooled is on disk first."""
        if self.conduct.flagged:
            self._take_findings()
            self._save([])

    def problems(self) -> list[str]:
        """What keeps conduct from being saved or exchanged, one sentence each."""
        told = (self._fault, self._unread, self._file_problem, self._exchange_problem)
        found = [text for text in told if text is not None]
        since = self._clock() - _STRANGE_FOR
        strangers = sorted(name for name, heard in self._strangers.items() if heard > since)
        if strangers:
            names = ", ".join(strangers)
            found.append(
                f"conduct counted by {names} cannot be read: another release, or another"
                " registry.identity_key"
            )
        return found

    def standing(self, state: State) -> int:
        """How many keys are in a state now."""
        now = int(self._clock())
        return sum(found.state is state for found in self.conduct.standing(now))

    async def run(self) -> None:
        """Save and exchange until cancelled."""
        while True:
            try:
                await self.look()  # at once: what others tell counts from here on
                self._fault = None
            except Exception as error:  # a fault here must not keep calls from being answered
                if self._fault is None:
                    _logger.exception("conduct is not saved or exchanged")
                self._fault = f"conduct is not saved or exchanged: {type(error).__name__} (see log)"
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Save and exchange once. Never raises for what cannot be reached; see `problems`."""
        now = self._clock()
        if now - self._expired >= _EXPIRE_EVERY or now < self._expired:
            self._expired = now
            if self._unread is not None:
                self.restore()
            self.conduct.expire(int(now))
            self._strangers = {
                name: heard for name, heard in self._strangers.items() if heard > now - _STRANGE_FOR
            }
            self._trim()
        self._take_findings()
        self._save([])
        if self._file.leads():
            # As many each time until none is left: a share of the rest would never come to its end.
            untaken = self.conduct.untaken
            self._pace = max(self._pace if untaken else 0, _SLICE, -(-untaken // _LOOKS))
            left = self._pace
            # What cannot be written stays where it is bounded, and is not written in one go later.
            while left > 0 and self.conduct.untaken and self._file_problem is None:
                self._save(self.conduct.take_touched(_SLICE))
                left -= _SLICE
                await asyncio.sleep(0)  # calls go first
        if self._exchange is not None:
            await self._swap(self._exchange, int(now))

    def _trim(self) -> None:
        if self._file.leads():
            with contextlib.suppress(StoreUnavailableError):  # saving says so, and a minute is soon
                self._file.trim(self.conduct.policy.max_keys)

    def _take_findings(self) -> None:
        for saved in self.conduct.take_findings():
            self._findings[saved.key] = saved
            if self._exchange is not None:
                self._told[saved.key] = saved

    def _save(self, counts: list[Saved]) -> None:
        self._counts += counts
        if not (self._counts or self._findings):
            return
        try:
            self._file.save(self._counts, self._findings.values(), int(self._clock()))
        except StoreUnavailableError as error:
            self._file_problem = f"conduct is not saved, and a restart would forget it: {error}"
            return
        self._counts, self._findings, self._file_problem = [], {}, None

    async def _swap(self, exchange: Exchange, now: int) -> None:
        while len(self._deltas) < _MOST_DELTAS:
            delta = self.conduct.take_delta()
            if delta is None:
                break
            self._deltas.append(delta)
        told, self._told = self._told, {}  # what is found while this waits is told next time
        try:
            await exchange.send(self._deltas, list(told.values()), now)
            self._deltas, told = [], {}
            received = await exchange.receive(now)
            standing = await exchange.standing()
        except StoreUnavailableError as error:
            self._exchange_problem = f"conduct is counted by this node alone: {error}"
            return
        finally:
            self._told = told | self._told
        self._exchange_problem = None
        for node, delta in received:
            try:
                self.conduct.merge(node, delta)
                self._strangers.pop(node, None)
            except ConductFormatError:
                self._strangers[node] = now
            await asyncio.sleep(0)  # calls go first
        if standing:
            self.conduct.restore([], standing)

    async def close(self) -> None:
        """Save everything and let go."""
        if self._exchange is not None:
            await self.look()
            await self._exchange.close()
        self._take_findings()
        counts = self.conduct.take_touched(1 << 62) if self._file.leads() else []
        self._save(counts)
        self._trim()
        self._file.close()
