"""The keeper of conduct: what calls tell is saved and exchanged in the background.

A finding that somebody is pooled is on disk before any call is answered by it, so that no restart
takes it back. Counts follow within half a minute, which is what a crash can lose.

What a registrar clears is a record of the registry. Each process applies it when it learns of it,
and tells nothing that it found before it knows what was cleared while it was cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import time
import tomllib
from collections.abc import Callable, Container
from pathlib import Path
from typing import Final, Protocol

import msgspec

from zhenxian.analytics.codec import UNREADABLE, ConductFormatError, Saved
from zhenxian.analytics.detector import Detector
from zhenxian.analytics.model import Key, Observation, Picture, State
from zhenxian.analytics.shares import Member
from zhenxian.analytics.thresholds import Policy
from zhenxian.certs.files import octets_of
from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.passport.words import fault
from zhenxian.registry.model import MOST_AHEAD, Clearing, clearing_id
from zhenxian.stores.analytics.complaints import HeardComplaints
from zhenxian.stores.analytics.file import ConductFile, Exchange, PartedExchange
from zhenxian.stores.analytics.holders import HeldNumbers
from zhenxian.stores.ending import FAREWELL, within
from zhenxian.stores.sqlite.view import RegistryView

EVERY: Final = 0.5  # seconds between two looks: what one node saw, the others count a second later
SAVED_WITHIN: Final = 30  # seconds until changed counts are on disk
_LOOKS: Final = int(SAVED_WITHIN / EVERY) - 10  # a look takes time, too
_LEAST: Final = 50  # keys saved at each look, if so many changed
_SLICE: Final = 10  # of them in one go: a millisecond, for which calls wait
_EXPIRE_EVERY: Final = 60.0  # seconds
_STRANGE_FOR: Final = 120.0  # seconds; a node that was mended comes back under another name
_MOST_DELTAS: Final = 100  # waiting to be sent; the rest waits in the Detector, which is bounded
_UNINFORMED_FOR: Final = 30.0  # seconds; a registry that stays behind is no reason to count alone

_logger = logging.getLogger("zhenxian")


def load_policy(path: Path | None, **own: object) -> Policy:
    """Thresholds from a TOML file with the members of analytics.thresholds.Policy, all optional.

    Args:
        own: members that the file does not decide, such as the salt.

    Raises:
        ConfigError: the file cannot be read, or names what there is not.
    """
    read: dict[str, object] = {}
    if path is not None:
        try:
            read = tomllib.loads(octets_of(path).decode())
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise ConfigError(f"{path}: {error}") from None
        for name in own.keys() & read.keys():
            raise ConfigError(f"{path}: {name} is not decided here")
    try:
        return msgspec.convert({**read, **own}, Policy)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {fault(error)}") from None


def salt_of(identity_key: bytes) -> int:
    """What hashes of numbers are salted with: the same on all nodes that share the registry."""
    digest = hashlib.blake2b(key=identity_key[:64], person=b"displays", digest_size=7).digest()
    return int.from_bytes(digest, "big")


class Clearings(Protocol):
    """What a registry knows of clearings; a stores.sqlite.view.RegistryView."""

    @property
    def clearings_stamp(self) -> int:
        """Changes when there may be some that were not there before."""
        ...

    def clearings(self, since: int, but: Container[str]) -> list[Clearing]:
        """Those from a time on, without those of some ids. Raises StoreUnavailableError."""
        ...

    def whole_since(self, moment: float) -> bool:
        """True when none from before that moment (of time.monotonic) is missing here."""
        ...


class DeferredObservations:
    """What calls ask and tell of conduct: noted at once, counted when they are answered.

    An analytics.model.DisplayConduct. No call waits until it is counted, and calls that are
    answered together do not see each other.
    """

    def __init__(self, conduct: Detector) -> None:
        self._conduct = conduct
        self._uncounted: list[Observation] = []
        self.finding = conduct.finding
        self.known = conduct.known
        self.resembles = conduct.resembles
        self.admits = conduct.admits
        self.observe = self._uncounted.append

    def count(self) -> None:
        """Count what was noted."""
        noted = self._uncounted.copy()
        self._uncounted.clear()
        for one in noted:
            try:
                self._conduct.observe(one)
            except Exception:  # the others answered beside it count all the same
                _logger.exception("a call is not counted")


class AnalyticsSync:
    """Saves and exchanges one process's Detector, and applies what registrars clear."""

    def __init__(
        self,
        conduct: Detector,
        file: ConductFile,
        exchange: Exchange | None,
        clock: Callable[[], float],
        clearings: Clearings | None = None,
        registry: RegistryView | None = None,
        doubts: Callable[[], list[str]] = list,
    ) -> None:
        """Take what is to be kept.

        Args:
            registry: who holds which numbers, and what callees complained of.
            doubts: of the clock, as RegistryStore.clock_doubts; while there are any, nothing is
                forgotten for its age.
        """
        self.conduct = conduct
        self.calls = DeferredObservations(conduct)
        self._clearings = clearings
        self._applied: set[str] = set()  # ids of clearings
        self._held = HeldNumbers(conduct, registry) if registry is not None else None
        self._heard = HeardComplaints(conduct, registry) if registry is not None else None
        self._stamp = -1
        self._apart: float | None = None  # when the others could last not be reached
        self._unheard: str | None = None
        self._file = file
        self._exchange = exchange
        self._clock = clock
        self._doubts = doubts
        self._findings: dict[str, Saved] = {}  # still to be saved
        self._unsent: dict[str, Saved] = {}  # still to be sent to the others
        self._counts: list[Saved] = []
        self._deltas: list[bytes] = []
        self._parcels: list[tuple[str, bytes]] = []
        self._members: tuple[tuple[Member, ...], bool] = ((), False)
        self._paced = 0.0
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

        A file that cannot be read is a problem, and is tried again each minute; counting begins
        anew.
        """
        # What was found before it could be read is still to be saved.
        self._take_findings()
        self._take(self.conduct.take_marks())
        policy = self.conduct.policy
        try:
            counts, findings = self._file.load(
                int(self._clock()) - policy.remembered, policy.max_keys
            )
        except StoreUnavailableError as error:
            self._unread = f"conduct cannot be read, and who was found is forgotten: {error}"
            return
        self._unread = None
        self.conduct.restore(counts, findings)
        self.conduct.take_findings()  # they are in the file
        self.conduct.take_marks()
        self._applied = set()  # it may have been killed before the file said so
        self._apply()

    def catch_up(self) -> None:
        """Before a batch of calls: count those before, and apply what was cleared."""
        self.calls.count()
        if self._clearings is not None and self._clearings.clearings_stamp != self._stamp:
            self._apply()
        self.keep()

    def keep(self) -> None:
        """Before answers go out: whoever was found pooled is on disk."""
        if self.conduct.flagged:
            self._take_findings()
            self._save([])

    def problems(self) -> list[str]:
        """What keeps conduct from being saved or exchanged, one sentence each."""
        known = (
            self._fault,
            self._unread,
            self._unheard,
            self._file_problem,
            self._file.unlocked,
            self._exchange_problem,
        )
        found = [text for text in known if text is not None]
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
            except Exception:  # a fault here must not keep calls from being answered
                if self._fault is None:
                    _logger.exception("conduct is not saved or exchanged")
                self._fault = "conduct is not saved or exchanged: an error that the log tells"
            await asyncio.sleep(EVERY)

    async def look(self) -> None:
        """Save and exchange once. Never raises for what cannot be reached; see `problems`."""
        self.calls.count()
        now = self._clock()
        if now - self._expired >= _EXPIRE_EVERY or now < self._expired:
            self._expired = now
            if self._unread is not None:
                self.restore()
            self._forget(int(now))
            self._strangers = {
                name: heard for name, heard in self._strangers.items() if heard > now - _STRANGE_FOR
            }
            self._trim()
        if self._unheard is not None:
            self._apply()
        if self._held is not None:
            with contextlib.suppress(StoreUnavailableError):  # what was not read is read next time
                await self._held.look(int(now))
        if self._heard is not None:
            with contextlib.suppress(StoreUnavailableError):
                await self._heard.look(int(now))
        self._take(self.conduct.take_marks())
        self.catch_up()
        self._take_findings()
        self._save([])
        if self._saves():
            # As many each time until none is left: a share of the rest would never come to its end.
            untaken = self.conduct.untaken
            self._pace = max(self._pace if untaken else 0, _LEAST, -(-untaken // _LOOKS))
            left = self._pace
            # What cannot be written stays where it is bounded, and is not written in one go later.
            while left > 0 and self.conduct.untaken and self._file_problem is None:
                self._save(self.conduct.take_touched(_SLICE))
                left -= _SLICE
                await asyncio.sleep(0)  # calls go first
        if self._exchange is not None:
            await self._swap(self._exchange, int(now))
        await self._file.settle()

    def _forget(self, now: int) -> None:
        """What ended long ago, by a clock that nobody doubts."""
        try:
            doubted = bool(self._doubts())
        except StoreUnavailableError:
            doubted = True
        if doubted:
            return
        self.conduct.expire(now)
        oldest = clearing_id(now - self.conduct.clearings_for)
        self._applied = {name for name in self._applied if name >= oldest}

    def _saves(self) -> bool:
        """True when counts are saved by this process: of those it counts alone, or leads."""
        return self.conduct.saves_own or self._file.leads()

    def _trim(self) -> None:
        if self._file.leads():
            with contextlib.suppress(StoreUnavailableError):  # saving says so, and a minute is soon
                self._file.trim(self.conduct.policy.max_keys)

    def clear(self, clearing: Clearing) -> None:
        """Apply a clearing that was committed here, and tell the others."""
        self.catch_up()
        self.conduct.clear(_whose(clearing))  # also what was confirmed while it was committed
        self._take_findings()
        self._save([])

    def _apply(self) -> None:
        """Apply the clearings on record that were not applied yet."""
        if self._clearings is None:
            return
        now = int(self._clock())
        self._stamp = self._clearings.clearings_stamp
        try:
            found = self._clearings.clearings(now - self.conduct.clearings_for, self._applied)
        except StoreUnavailableError as error:
            self._unheard = f"what was cleared cannot be read, and may still stand: {error}"
            return
        self._unheard = None
        for clearing in found:
            self.conduct.cleared(_whose(clearing), min(clearing.at, now + MOST_AHEAD))
            self._applied.add(clearing.id)

    def _informed(self) -> bool:
        """True when what was cleared while this node was cut off is known here.

        What it found goes to others only then: they would take it for found since.
        """
        if self._apart is None or self._clearings is None:
            return True
        if self._clearings.whole_since(self._apart):
            self._apart = None
            return True
        return time.monotonic() - self._apart > _UNINFORMED_FOR

    def _take_findings(self) -> None:
        self._take(self.conduct.take_findings())

    def _take(self, unsaved: list[Saved]) -> None:
        for saved in unsaved:
            self._findings[saved.key] = saved
            if self._exchange is not None and (saved.here or saved.key in self._unsent):
                self._unsent[saved.key] = saved  # of others only what goes beyond one's own

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
        if not self._informed():
            return
        try:
            # First: what cannot be sent yet is not put into a delta, from which nothing is cleared.
            received = await exchange.receive(now)
            self.catch_up()
            await self._merge(received, now)  # at once: it is not received again
            standing = await exchange.standing()
        except StoreUnavailableError as error:
            await self._cut_off(error)
            return
        if standing:
            self.conduct.restore([], standing)
        parted = exchange if isinstance(exchange, PartedExchange) else None
        if parted is not None:
            await self._part(parted)
        while len(self._deltas) < _MOST_DELTAS:
            seen = self.conduct.take_delta()
            if seen is None:
                break
            self._deltas.append(seen)
            await asyncio.sleep(0)  # calls go first
        unsent, self._unsent = self._unsent, {}  # what is found meanwhile is sent next time
        try:
            await exchange.send(self._deltas, list(unsent.values()), now)
            self._deltas, unsent = [], {}
            if parted is not None:
                await parted.deliver(self._parcels)
                self._parcels = []
                await self._answer(parted, now)
        except StoreUnavailableError as error:
            await self._cut_off(error)
            return
        finally:
            self._unsent = unsent | self._unsent
        self._exchange_problem = None

    async def _merge(self, received: list[tuple[str, bytes]], now: int) -> None:
        """Count what others saw. What cannot be read, or counted, costs itself only."""
        for node, delta in received:
            try:
                self.conduct.merge(node, delta)
                self._strangers.pop(node, None)
            except ConductFormatError:
                self._strangers[node] = now
            except Exception:
                if node not in self._strangers:
                    _logger.exception("what another node counted is left out")
                self._strangers[node] = now
            await asyncio.sleep(0)  # calls go first

    async def _part(self, exchange: PartedExchange) -> None:
        """Count what falls to this node among those that live, and sort the rest for the others."""
        conduct, members = self.conduct, (exchange.members, exchange.mixed)
        if members != self._members:
            conduct.among(exchange.name, members[0], mixed=members[1])
            self._members = members
        began = time.monotonic()
        conduct.pace(began - self._paced)
        self._paced = began
        if self._parcels:
            return  # they could not be sent yet; the rest waits in the Detector
        for _ in range(_MOST_DELTAS):
            if not conduct.sort():
                break
            await asyncio.sleep(0)  # calls go first
        for parcel in iter(conduct.take_parcel, None):
            self._parcels.append(parcel)
            await asyncio.sleep(0)

    async def _answer(self, exchange: PartedExchange, now: int) -> None:
        """Tell others what they asked of keys that are counted here."""
        for place, question in exchange.asked():
            picture: bytes | None = None
            with contextlib.suppress(ConfigError):
                key = Key.parse(question)
                if self.conduct.answers(key):
                    picture = msgspec.msgpack.encode(self.conduct.picture(key, now))
            await exchange.answer(place, picture)

    async def picture(self, key: Key, now: int) -> Picture:
        """All figures of a key, from who counts it; what is known here when nobody answers."""
        exchange = self._exchange
        here = self.conduct.picture(key, now)
        if not (self.conduct.parted and isinstance(exchange, PartedExchange)):
            return here
        if self.conduct.answers(key):
            return here
        try:
            told = await exchange.ask(str(key))
            found = msgspec.msgpack.decode(told, type=Picture) if told is not None else None
        except (StoreUnavailableError, *UNREADABLE):
            found = None
        return here if found is None or found.key != key else found

    async def _cut_off(self, error: StoreUnavailableError) -> None:
        self._exchange_problem = f"conduct is counted by this node alone: {error}"
        self._apart = time.monotonic()
        self._members = ((), False)
        self.conduct.cut_off()
        for _ in iter(self.conduct.count_late, False):
            await asyncio.sleep(0)  # calls go first

    async def close(self) -> None:
        """Tell the others what there is time for, save everything, and let go."""
        self.calls.count()
        if self._exchange is not None:
            await within(FAREWELL, self._leave(self._exchange))
        self._take_findings()
        self._take(self.conduct.take_marks())
        counts = self.conduct.take_touched(1 << 62) if self._saves() else []
        self._save(counts)
        self._trim()
        self._file.close()

    async def _leave(self, exchange: Exchange) -> None:
        try:
            await self.look()
        finally:
            await exchange.close()


def _whose(clearing: Clearing) -> Key:
    return Key(clearing.kind, clearing.target)
