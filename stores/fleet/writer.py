"""How a node writes: tried on the replica, then appended to the journal by compare-and-append."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import Final, NoReturn

from redis.exceptions import ResponseError

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.registry.journal import (
    Commit,
    Proposal,
    RegistryConflictError,
    VersionConflictError,
)
from zhenxian.stores.fleet.checkpoints import Checkpoints
from zhenxian.stores.fleet.entry import DivergedError, Entry, GapError, Mark, entry_of
from zhenxian.stores.fleet.follower import PAUSE, Follower
from zhenxian.stores.fleet.journal import Appended
from zhenxian.stores.fleet.link import UNREACHABLE, reason_text, refused, unwritable
from zhenxian.stores.fleet.node import FleetNode, Remark

_ATTEMPTS: Final = 20  # times a write that was overtaken is tried again
_RESENDS: Final = 3  # times an append whose answer was lost is asked again


class Writer:
    """The writes of one node, one after the other."""

    def __init__(self, node: FleetNode, follower: Follower, checkpoints: Checkpoints) -> None:
        self._node = node
        self._follower = follower
        self._checkpoints = checkpoints
        self._writing = asyncio.Lock()

    async def write(self, proposal: Proposal, *, dry_run: bool) -> Commit:
        """Commit a proposal. Acknowledged means in the journal on Redis, and in force here.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check; the
                answer rests on all commits up to now.
            StoreUnavailableError: not acknowledged; the text says when it may stand all the same.
        """
        async with self._writing:
            try:
                return await self._write(proposal, dry_run=dry_run)
            except UNREACHABLE as error:
                await self._node.failed(error)
                self._refuse(error)

    async def _write(self, proposal: Proposal, *, dry_run: bool) -> Commit:
        fresh = not self._node.current or dry_run
        if fresh:
            await self._follower.sync()
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.random() * 0.005 * min(attempt, 10))  # noqa: S311
            try:
                mark, commit = await self._node.with_writer(
                    lambda replica: replica.try_out(proposal)
                )
            except (RegistryConflictError, VersionConflictError, ConfigError):
                if fresh:
                    raise
                await self._follower.sync()  # perhaps it is the replica that is out of date
                fresh = True
                continue
            except DivergedError:
                continue
            if dry_run:
                return commit
            if commit.seq <= mark.seq:
                await self._await_replicas(commit.seq)
                return commit
            if len(commit.changes) == 0 and proposal.changes:
                continue  # another process of this machine has just taken over that very request
            if not mark.journal or mark.seq == 0:
                await self._follower.sync()  # the first commit makes the journal, if none is there
                mark = await self._node.mark()
                if mark.seq:
                    continue
            if await self._appended(mark, commit):
                return commit
            await self._follower.sync()
            fresh = True
        raise StoreUnavailableError(
            f"other writers were faster {_ATTEMPTS} times; nothing was changed, try again"
        )

    async def _appended(self, mark: Mark, commit: Commit) -> bool:
        """Append a commit and take it over; False when somebody else was faster."""
        entry = entry_of(commit, mark.head, secrets.token_bytes(16))
        new = "" if mark.seq or mark.journal else secrets.token_hex(16)
        done = await self._append(mark, entry, new)
        if done.outcome != "ok":
            return False
        await self._apply_own(new or mark.journal, entry)
        self._check_replicas(done.replicas, commit.seq)
        return True

    async def _append(self, mark: Mark, entry: Entry, new: str) -> Appended:
        """Append, asking again when the answer was lost: the nonce tells our own commit."""
        node, unsure = self._node, False
        for attempt in range(_RESENDS):
            if attempt:
                await node.link.lost()
                await asyncio.sleep(PAUSE * random.random())  # noqa: S311 -- spreads nodes in time
            try:
                return await node.journal.append(mark, entry, new=new)
            except UNREACHABLE as error:
                failure = error
                # An answer, though not the one hoped for, says that this question did nothing.
                unsure = unsure or not isinstance(error, ResponseError)
                if unwritable(error) is not None:
                    break
        if not unsure:
            raise failure
        await node.failed(failure)
        raise StoreUnavailableError(
            f"Redis did not answer ({reason_text(failure)}): whether the change was made is not"
            " known. Ask again with the same idempotency key to learn it"
        ) from None

    async def _apply_own(self, journal: str, entry: Entry) -> None:
        """Take over a commit of ours, with what came between."""
        try:
            if entry.seq == 1:
                await self._node.with_writer(lambda replica: replica.begin(journal))
            try:
                await self._follower.apply(journal, [entry])
            except (GapError, DivergedError):
                await self._follower.sync()
        except (*UNREACHABLE, StoreUnavailableError) as error:
            raise StoreUnavailableError(
                f"the change is commit {entry.seq} of the journal, but this node could not take it"
                f" over yet: {reason_text(error)}"
            ) from None

    def _check_replicas(self, confirmed: int | None, seq: int) -> None:
        options = self._node.options
        if confirmed is not None and confirmed < options.wait_replicas:
            raise StoreUnavailableError(
                f"the change is commit {seq} of the journal, but {confirmed} of"
                f" {options.wait_replicas} replicas confirmed it within {options.wait_ms} ms: a"
                " failover now may lose it. Ask again with the same idempotency key to learn"
                " whether it stands"
            )

    async def _await_replicas(self, seq: int) -> None:
        if self._node.options.wait_replicas:
            self._check_replicas(await self._node.journal.confirmed(), seq)

    def _refuse(self, error: BaseException) -> NoReturn:
        text = unwritable(error)
        if text is not None:
            self._node.remark(Remark.WRITING, text)
            raise StoreUnavailableError(f"nothing was changed: {text}") from None
        text = refused(error) or f"Redis cannot be reached ({reason_text(error)})"
        raise StoreUnavailableError(f"nothing was changed: {text}") from None

    async def reseed(self) -> None:
        """Give a Redis that holds no journal this node's replica, and go on from there.

        Raises:
            StoreUnavailableError: there is nothing to give; Redis holds a journal, or is away.
        """
        node = self._node
        try:
            mark = await node.mark()
            if not mark.seq:
                raise StoreUnavailableError(
                    "this node's registry is empty: there is nothing to give to Redis. Nodes begin"
                    " with what Redis holds, and where it holds nothing, with the first change"
                )
            if not mark.journal:
                journal, head = secrets.token_hex(16), secrets.token_bytes(16)
                await node.with_writer(lambda replica: replica.belong_to(journal, head))
            if not await self._checkpoints.publish(reseed=True):
                raise StoreUnavailableError("Redis holds a journal; it is not replaced")
        except UNREACHABLE as error:
            await node.failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({reason_text(error)})") from None
        await self._follower.sync()
