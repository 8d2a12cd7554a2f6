"""The fleet engine: a journal on Redis, and a full copy of the registry on every node.

Calls are answered from the copy alone. A background task follows the journal; a write is tried
on the copy, then appended to the journal by compare-and-append, then taken over like any other
commit. What can go wrong, and what then happens:

- Redis is away, paused or loading: reading goes on; `current` turns False after `lag_limit`;
  writes are refused. When it answers again, what was missed is read from the stream.
- The stream no longer reaches back to the copy (a checkpoint trimmed it): the copy is rebuilt
  from checkpoint and stream in a file beside it and replaced in one transaction.
- Redis lost acknowledged commits (an old backup, a failover to a replica that lagged), shown by
  the journal's numbers and the digest that every commit carries: the copy is set aside as
  `<name>.lost-<seconds>.db` and rebuilt as Redis has it. Orders that only the copy knew stay in
  force here, and `problems` names them, until the journal has them again.
- Redis holds no journal, or another one: nothing is replaced; `reseed` gives Redis this copy,
  `take_over_foreign` takes what Redis has.

The stream is bounded by checkpoints: after so many commits or octets one node stores an image of
its copy and trims the stream. Ended bindings are not in the image; their history is in the files
of the nodes that saw them.

Several processes of one machine share one file: each follows, and the first takes over.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from msgspec import Struct
from redis.exceptions import ResponseError

from zhenxian.core.errors import ConfigError, StoreUnavailableError, ZhenxianError
from zhenxian.registry.journal import Change, Commit, RegistryConflictError, VersionConflictError
from zhenxian.registry.model import Kind, Order, Who
from zhenxian.registry.node_key import NodeKey
from zhenxian.registry.orders import OrderFault, OrderIndex, order_digest
from zhenxian.stores.fleet.journal import MAX_RANGE, Appended, Journal, NodeEntry, State
from zhenxian.stores.fleet.link import UNREACHABLE, FleetOptions, Link, refused, told, unwritable
from zhenxian.stores.fleet.replica import (
    DivergedError,
    Entry,
    FleetBook,
    GapError,
    Mark,
    UnreadableError,
    Vet,
    check_image,
    entry_of,
    kept_orders,
    make_image,
)
from zhenxian.stores.private import bound_aside
from zhenxian.stores.sqlite.file import Book
from zhenxian.stores.sqlite.view import MAX_KEPT, LocalRegistry

_ATTEMPTS: Final = 20  # times a write that was overtaken is tried again
_RESENDS: Final = 3  # times an append whose answer was lost is asked again
_RESYNCS: Final = 3  # times a resync that was overtaken is begun again
_GREET_EVERY: Final = 1.0  # seconds between two signs of life of a node
_PAUSE: Final = 0.5  # seconds, at most, before Redis is tried again
_LONG_PAUSE: Final = 2.0  # likewise, when somebody must do something first
_TWIN_SECONDS: Final = 10  # a node of the same name with another key that was seen since then

_HARMLESS: Final = ("twin", "orders", "writing", "checkpoint")  # troubles that no call feels

_Value = TypeVar("_Value")
_logger = logging.getLogger(__name__)


class _Asked(Struct, frozen=True):
    """What a write was asked; as Book.write."""

    changes: Sequence[Change]
    author: str
    reason: str
    now: int
    request: bytes
    fingerprint: bytes


class FleetRegistry(LocalRegistry):
    """The registry of a fleet, as one process of one node sees it; for one event loop.

    `start` once, then `follow` as a task. Without it writes still work, each catching up first.
    """

    def __init__(
        self,
        path: Path,
        options: FleetOptions,
        node: NodeKey | None = None,
        *,
        limit: int = MAX_KEPT,
        vet: Vet | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the copy; nothing is connected yet.

        Args:
            node: signs acknowledgements of orders; without it none are made.
            vet: see FleetBook.follow: refuses orders that came by the journal.

        Raises:
            ConfigError: an option that cannot be, or a file of a newer release.
            StoreUnavailableError: the file cannot be opened.
        """
        if options.lag_limit <= 0 or options.timeout <= 0:
            raise ConfigError("lag_limit and timeout of the fleet are seconds above 0")
        if options.wait_replicas and options.wait_ms / 1000 >= options.timeout:
            raise ConfigError("the fleet's timeout must be longer than wait_ms")
        self._options = options
        self._link = Link(options)
        self._journal = Journal(self._link, options)
        self._node = node
        self._vet = vet
        self._clock = clock
        self._path = path
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="registry")
        # Durable enough: what a power cut takes is read again from the stream.
        self._writer = FleetBook(path, writer=True, synchronous="NORMAL")
        # Apart from the writer: a long question does not keep an order waiting.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="registry-reader")
        self._reader = Book(path)
        super().__init__(path, limit=limit)
        self._epoch = self._book.meta("fleet.epoch")
        self._kept: tuple[Order, ...] = kept_orders(self._writer)
        self._kept_index = OrderIndex(self._kept)
        self._settling = asyncio.Lock()
        self._appending = asyncio.Lock()
        self._whole_at = float("-inf")  # when the copy was last known to have everything
        self._behind = True
        self._examined = False
        self._troubles: dict[str, str] = {}
        self._owed: dict[str, tuple[Order, str]] = {}
        self._owed_loaded = False
        self._greeted = float("-inf")
        self._checkpointing: asyncio.Task[None] | None = None

    # What calls ask ---------------------------------------------------------------------------

    @property
    def current(self) -> bool:
        """False when a commit older than `lag_limit` seconds may be missing here."""
        return (
            not self._behind
            and "journal" not in self._troubles
            and self._clock() - self._whole_at <= self._options.lag_limit
        )

    @property
    def lag(self) -> float:
        """Seconds for which commits may be missing here; infinite before the first ones."""
        return self._clock() - self._whole_at

    def whole_since(self, moment: float) -> bool:
        """See LocalRegistry: what was committed before that moment, on whichever node, is here."""
        return not self._behind and self._whole_at >= moment

    def problems(self) -> list[str]:
        """What an operator should know, one sentence each; empty when all is well."""
        return [*self.faults(), *self.remarks()]

    def faults(self) -> list[str]:
        """Of these, what keeps calls from being answered as they should."""
        listed = [text for name, text in self._troubles.items() if name not in _HARMLESS]
        if not self.current and "journal" not in self._troubles:
            silent = self.lag
            listed.append(
                "the registry here has not caught up with Redis since start"
                if silent == float("inf")
                else f"the registry here may lack commits of the last {silent:.0f} s"
                f" (limit {self._options.lag_limit:g} s)"
            )
        return listed

    def remarks(self) -> list[str]:
        """The others: they concern writes, acknowledgements, or what others put into Redis."""
        listed = [text for name, text in self._troubles.items() if name in _HARMLESS]
        if self._kept:
            names = ", ".join(order.id for order in self._kept[:10])
            listed.append(
                f"{len(self._kept)} order(s) that Redis lost stay in force on this node only:"
                f" {names}; have them given again"
            )
        return listed

    def turn(self) -> bool:
        """Take over what was committed; True when there was something."""
        if not super().turn():
            return False
        epoch = self._book.meta("fleet.epoch")
        if epoch != self._epoch:
            self._epoch = epoch
            self._forget()
        if self._kept or epoch is not None:
            self._kept = kept_orders(self._book)
            self._kept_index = OrderIndex(self._kept)
        return True

    def order(self, who: Who, now: int) -> Order | None:
        """An order in force that covers any of these; the oldest of several."""
        found = super().order(who, now)
        if not self._kept:
            return found
        kept = self._kept_index.find(who, now)
        both = [order for order in (found, kept) if order is not None]
        return min(both, key=lambda order: (order.since, order.id)) if both else None

    # Life -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Reach Redis and catch up, if it can be reached; otherwise the copy serves as it is.

        Raises:
            ConfigError: Redis refuses the credentials, or keeps nothing on disk.
        """
        await self._reconsider(())
        try:
            await self._settle()
            await self._attend()
        except StoreUnavailableError as error:
            _logger.warning("the fleet's Redis: %s", error)
        except UNREACHABLE as error:
            await self._failed(error)
            text = refused(error)
            if text is not None:
                raise ConfigError(text) from None
            _logger.warning("Redis cannot be reached: %s", told(error))

    async def follow(self) -> None:
        """Take over commits as they come, for ever; every failure is told and tried again."""
        while True:
            try:
                await self._settle()
                await self._attend()
                await self._listen()
            except UNREACHABLE as error:
                await self._failed(error)
            except (ZhenxianError, ValueError) as error:
                # A commit that cannot be taken over, or a file that cannot be written.
                if "journal" not in self._troubles:
                    self._tell("following", f"the registry cannot be followed: {error}")
                self._behind = True
            _end_if_cancelled()
            pause = _LONG_PAUSE if "journal" in self._troubles else _PAUSE
            await asyncio.sleep(pause * random.random())  # noqa: S311 -- spreads nodes in time

    async def _listen(self) -> None:
        """Take over commits while they follow from one another."""
        options = self._options
        wait = min(1.0, options.lag_limit / 3, options.timeout / 2)
        while True:
            mark = await self.with_writer(_mark)
            entries, more = await self._journal.listen(mark.seq, wait)
            heard = self._clock()
            _end_if_cancelled()
            if entries and mark.journal:
                try:
                    await self._absorb(mark.journal, entries)
                except (GapError, DivergedError):
                    self._behind = True
                    await self._settle()
                else:
                    self._behind = more
                    if not more:
                        self._whole(heard)
            else:
                # Silence is also what a journal that went back, or away, sounds like.
                await self._settle()
            if self._clock() - self._greeted >= _GREET_EVERY:
                await self._attend()

    async def _attend(self) -> None:
        """What is done now and then: a sign of life, acknowledgements owed, checkpoints."""
        self._greeted = self._clock()
        await self._link.confirm()
        node = self._node
        try:
            if node is not None:
                now = int(time.time())
                before = await self._journal.greet(
                    NodeEntry(node.name, now, self.seq, self._options.version, node.jwk)
                )
                twin = (
                    before is not None
                    and before.key != node.jwk
                    and now - before.seen < _TWIN_SECONDS
                )
                self._tell(
                    "twin",
                    f"another node calls itself {node.name}: give each its own name"
                    if twin
                    else None,
                )
                await self._acknowledge_owed(node)
            self._tell("writing", None)
        except ResponseError as error:
            text = unwritable(error)
            if text is None and "WRONGTYPE" in str(error):
                text = "a key of this fleet holds something else in Redis; delete it there"
            if text is None:
                raise
            self._tell("writing", text)  # the copy is as current as before
        self._tend_checkpoint()

    async def aclose(self) -> None:
        """Close the connections; then the rest as `close`. End `follow` before."""
        if self._checkpointing is not None:
            self._checkpointing.cancel()
            await asyncio.gather(self._checkpointing, return_exceptions=True)
        await self._link.close()
        self.close()

    def close(self) -> None:
        """Finish the write under way and close the file; connections die with the process."""
        self._writing.shutdown()
        self._reading.shutdown()
        self._writer.close()
        self._reader.close()
        super().close()

    # Reading and writing ----------------------------------------------------------------------

    async def with_writer(self, work: Callable[[FleetBook], _Value]) -> _Value:
        """Do something with the writing connection, in its thread."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writing, work, self._writer)

    async def read(self, work: Callable[[Book], _Value]) -> _Value:
        """Ask something that may take long, away from the calls."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reading, work, self._reader)

    async def write(
        self,
        changes: Sequence[Change],
        *,
        author: str,
        reason: str,
        now: int,
        request: bytes = b"",
        fingerprint: bytes = b"",
        dry_run: bool = False,
    ) -> Commit:
        """See Book.write. Acknowledged means in the journal on Redis, and in force here.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check; the
                answer rests on all commits up to now.
            StoreUnavailableError: not acknowledged; the text says when it may stand all the same.
        """
        asked = _Asked(changes, author, reason, now, request, fingerprint)
        async with self._appending:
            try:
                return await self._write(asked, dry_run=dry_run)
            except UNREACHABLE as error:
                await self._failed(error)
                self._refuse(error)

    async def _write(self, asked: _Asked, *, dry_run: bool) -> Commit:
        fresh = not self.current or dry_run
        if fresh:
            await self._settle()
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.random() * 0.005 * min(attempt, 10))  # noqa: S311
            try:
                mark, commit = await self._try_out(asked)
            except (RegistryConflictError, VersionConflictError, ConfigError):
                if fresh:
                    raise
                await self._settle()  # perhaps it is the copy that is out of date
                fresh = True
                continue
            except DivergedError:
                continue
            if dry_run:
                return commit
            if commit.seq <= mark.seq:
                await self._await_replicas(commit.seq)
                return commit
            if len(commit.changes) == 0 and asked.changes:
                continue  # another process of this machine has just taken over that very request
            if not mark.journal or mark.seq == 0:
                await self._settle()  # the first commit makes the journal, if none is there
                mark = await self.with_writer(_mark)
                if mark.seq:
                    continue
            entry = entry_of(commit, mark.head, secrets.token_bytes(16))
            new = "" if mark.seq or mark.journal else secrets.token_hex(16)
            done = await self._append(mark, entry, new)
            if done.outcome == "ok":
                await self._own(new or mark.journal, entry)
                self._check_replicas(done.replicas, commit.seq)
                return commit
            await self._settle()
            fresh = True
        raise StoreUnavailableError(
            f"other writers were faster {_ATTEMPTS} times; nothing was changed, try again"
        )

    async def _try_out(self, asked: _Asked) -> tuple[Mark, Commit]:
        return await self.with_writer(
            lambda book: book.try_out(
                asked.changes,
                author=asked.author,
                reason=asked.reason,
                now=asked.now,
                request=asked.request,
                fingerprint=asked.fingerprint,
            )
        )

    async def _append(self, mark: Mark, entry: Entry, new: str) -> Appended:
        """Append, asking again when the answer was lost: the nonce tells our own commit."""
        unsure = False
        for attempt in range(_RESENDS):
            if attempt:
                await self._link.lost()
                await asyncio.sleep(_PAUSE * random.random())  # noqa: S311 -- spreads nodes in time
            try:
                return await self._journal.append(mark, entry, new=new)
            except UNREACHABLE as error:
                failure = error
                # An answer, though not the one hoped for, says that this question did nothing.
                unsure = unsure or not isinstance(error, ResponseError)
                if unwritable(error) is not None:
                    break
        if not unsure:
            raise failure
        await self._failed(failure)
        raise StoreUnavailableError(
            f"Redis did not answer ({told(failure)}): whether the change was made is not known."
            " Ask again with the same idempotency key to learn it"
        ) from None

    async def _own(self, journal: str, entry: Entry) -> None:
        """Take over a commit of ours, with what came between."""
        try:
            if entry.seq == 1:
                await self.with_writer(lambda book: _begin(book, journal))
            try:
                await self._absorb(journal, [entry])
            except (GapError, DivergedError):
                await self._settle()
        except (*UNREACHABLE, StoreUnavailableError) as error:
            raise StoreUnavailableError(
                f"the change is commit {entry.seq} of the journal, but this node could not take it"
                f" over yet: {told(error)}"
            ) from None

    def _check_replicas(self, confirmed: int | None, seq: int) -> None:
        options = self._options
        if confirmed is not None and confirmed < options.wait_replicas:
            raise StoreUnavailableError(
                f"the change is commit {seq} of the journal, but {confirmed} of"
                f" {options.wait_replicas} replicas confirmed it within {options.wait_ms} ms: a"
                " failover now may lose it. Ask again with the same idempotency key to learn"
                " whether it stands"
            )

    async def _await_replicas(self, seq: int) -> None:
        if self._options.wait_replicas:
            self._check_replicas(await self._journal.confirmed(), seq)

    def _refuse(self, error: BaseException) -> NoReturn:
        text = unwritable(error)
        if text is not None:
            self._tell("writing", text)
            raise StoreUnavailableError(f"nothing was changed: {text}") from None
        text = refused(error) or f"Redis cannot be reached ({told(error)})"
        raise StoreUnavailableError(f"nothing was changed: {text}") from None

    # Orders -----------------------------------------------------------------------------------

    async def acknowledgements(self, order: str) -> list[tuple[str, str, str]]:
        """Node, acknowledgement and the node's key (JWK) for an order as it now is.

        Raises:
            StoreUnavailableError: Redis cannot be asked.
        """
        found = await self.read(lambda book: book.get(Kind.ORDER, order))
        if found is None or not isinstance(found[1], Order):
            return []
        try:
            return await self._journal.acknowledgements(order, order_digest(found[1]))
        except UNREACHABLE as error:
            await self._failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({told(error)})") from None

    async def nodes(self) -> list[dict[str, Any]]:
        """The nodes that ever took part: node, seen, cursor, version, key.

        Raises:
            StoreUnavailableError: Redis cannot be asked.
        """
        try:
            found = await self._journal.nodes()
        except UNREACHABLE as error:
            await self._failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({told(error)})") from None
        return [
            {
                "node": entry.node,
                "seen": entry.seen,
                "cursor": entry.cursor,
                "version": entry.version,
                "key": entry.key,
            }
            for entry in found
        ]

    async def _sign(self, orders: Sequence[Order]) -> None:
        """Acknowledge orders that are in force here from now on."""
        node = self._node
        if node is None or not orders:
            return
        since = time.time_ns() // 1_000_000
        latest = {order.id: order for order in orders}

        def work(book: FleetBook) -> list[tuple[Order, str]]:
            seq, _ = book.last()
            signed = []
            for order in latest.values():
                token = node.acknowledge(order, since, seq)
                book.acknowledge(order.id, node.name, token, node.jwk)
                signed.append((order, token))
            return signed

        for order, token in await self.with_writer(work):
            self._owed[order.id] = (order, token)
        try:
            await self._acknowledge_owed(node)
        except UNREACHABLE as error:
            # Owed: it goes out with the next sign of life.
            _logger.warning("an acknowledgement waits for Redis: %s", told(error))

    async def _acknowledge_owed(self, node: NodeKey) -> None:
        if not self._owed_loaded:
            # What an earlier run signed, and Redis may not have: said again, it is the same.
            unsigned = []
            for order, token in await self.with_writer(lambda book: book.own_orders(node.name)):
                if token is None:
                    unsigned.append(order)
                else:
                    self._owed.setdefault(order.id, (order, token))
            self._owed_loaded = True
            await self._sign(unsigned)
        for name, (order, token) in list(self._owed.items()):
            await self._journal.acknowledge(
                order.id, order_digest(order), node.name, token, node.jwk
            )
            if self._owed.get(name) == (order, token):
                del self._owed[name]

    # Following --------------------------------------------------------------------------------

    async def _absorb(self, journal: str, entries: Sequence[Entry]) -> None:
        """Take over commits. Raises GapError or DivergedError when they do not follow."""
        orders, refusals = await self.with_writer(
            lambda book: book.follow(journal, entries, self._vet)
        )
        self.turn()
        if refusals:
            await self._reconsider(refusals)
        self._tell("following", None)
        await self._sign(orders)

    async def _reconsider(self, fresh: Sequence[str]) -> None:
        """Judge the orders anew that were refused here, and tell which still are.

        Those of an issuer that nobody here knows are told for as long as that is so; others, which
        nobody may ever have signed, when they come (`fresh`).
        """
        epoch = secrets.token_hex(8)
        left = await self.with_writer(lambda book: book.reconsider(self._vet, epoch))
        self.turn()
        told = [text for text in left if OrderFault.UNKNOWN_ISSUER.value in text]
        told += [text for text in fresh if text not in told]
        self._tell(
            "orders",
            f"orders in the journal are refused here: {'; '.join(told)}; if their issuer is missing"
            " in registry.issuers, add it and restart this node"
            if told
            else None,
        )

    async def _settle(self) -> None:
        """Compare the copy with the journal and bring it to where that is.

        Raises:
            StoreUnavailableError: it cannot be, and problems says why.
            ConfigError: Redis keeps nothing on disk.
        """
        async with self._settling:
            if not self._examined:
                await self._examine()
            for _ in range(_RESYNCS):
                try:
                    await self._catch_up()
                except (GapError, DivergedError) as error:
                    await self._rebuild(error)
                else:
                    return
            raise StoreUnavailableError("the copy was overtaken while it was being rebuilt")

    async def _examine(self) -> None:
        try:
            for warning in await self._journal.examine():
                _logger.warning("%s", warning)
        except ConfigError as error:
            self._tell("journal", str(error))
            raise
        self._tell("journal", None)
        self._examined = True

    async def _catch_up(self) -> None:
        """Read what follows, until there is no more."""
        while True:
            asked = self._clock()
            state = await self._journal.state()
            self._tell("reach", None)
            mark = await self.with_writer(_mark)
            mark = await self._belong(mark, state)
            if state.last < mark.seq:
                raise DivergedError(f"Redis ends at commit {state.last}, this node at {mark.seq}")
            if state.last == mark.seq:
                if state.head != mark.head:
                    raise DivergedError(f"Redis has another commit {mark.seq} than this node")
                self._behind = False
                self._tell("journal", None)
                self._tell("following", None)
                self._whole(asked)
                return
            # A few that are on their way are what lag_limit allows for; many are a known lack.
            self._behind = self._behind or state.last - mark.seq > MAX_RANGE
            entries = await self._journal.range(mark.seq + 1)
            if not entries or entries[0].seq > mark.seq + 1:
                raise GapError(f"commits after {mark.seq} are no longer in the stream")
            await self._absorb(mark.journal, entries)

    async def _belong(self, mark: Mark, state: State) -> Mark:
        """See that copy and Redis speak of one journal; the mark, of that journal."""
        if mark.seq == 0 and mark.journal != state.journal and (state.journal or not state.last):
            await self.with_writer(lambda book: _begin(book, state.journal))
            return Mark(state.journal)
        if state.last and not state.journal:
            self._stop("Redis holds a stream of commits without the journal's id: keys were lost")
        if mark.journal == state.journal:
            if mark.journal or mark.seq == 0:
                return mark
            self._stop(
                f"this node's copy has {mark.seq} commits of no fleet, and Redis has no journal;"
                " `zhenxian fleet seed` gives Redis this copy"
            )
        if not state.journal:
            self._stop(
                f"Redis holds no journal, and this node has {mark.seq} commits: Redis lost its"
                " data. Restore it from its own backup, or run `zhenxian fleet seed` on the node"
                " that has most"
            )
        if not self._options.take_over_foreign:
            self._stop(
                f"Redis holds another journal than this node's copy of {mark.seq} commits: it is"
                " another fleet's, or was begun anew. Correct the URL, or set take_over_foreign"
                " to replace the copy"
            )
        raise DivergedError("Redis holds another journal")

    def _stop(self, text: str) -> NoReturn:
        self._tell("journal", text)
        raise StoreUnavailableError(text)

    async def _rebuild(self, why: ZhenxianError) -> None:
        """Make the copy anew from checkpoint and stream."""
        diverged = isinstance(why, DivergedError)
        self._behind = True
        self._tell("rebuild", f"the registry here is being rebuilt: {why}")
        expected = await self.with_writer(_mark)
        folder = Path(tempfile.mkdtemp(prefix=".fleet-", dir=self._path.parent))
        try:
            image = folder / "image.db"
            await self._build(image)
            if diverged and expected.seq:
                aside = self._path.with_name(f"{self._path.stem}.lost-{time.time_ns()}.db")
                await self.with_writer(lambda book: book.set_aside(aside))
                _logger.error("Redis lost commits; the copy before is kept as %s", aside.name)
                for name in bound_aside(aside.parent, f"{self._path.stem}.lost-*.db"):
                    _logger.warning("%s, a copy kept before, was removed", name)
            epoch = secrets.token_hex(8)
            await self.with_writer(
                lambda book: book.take_over(image, expected, epoch, diverged=diverged)
            )
        except UnreadableError as error:
            self._stop(f"the registry here cannot be rebuilt ({why}): {error}")
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        self.turn()
        self._owed_loaded = False
        self._tell("rebuild", None)
        for order in self._kept:
            _logger.error("order %s was lost by Redis; it stays in force here", order.id)

    async def _build(self, image: Path) -> None:
        """Write the registry as Redis has it to a new file. Raises UnreadableError."""
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1, thread_name_prefix="rebuild") as thread:

            async def run(work: Callable[[], _Value]) -> _Value:
                return await loop.run_in_executor(thread, work)

            mark = await self._journal.fetch(image)
            if mark is not None:
                await run(lambda: check_image(image))
            book = await run(lambda: FleetBook(image, writer=True, synchronous="OFF"))
            try:
                state = await self._journal.state()
                if mark is None:
                    mark = Mark(state.journal)
                start = mark
                await run(lambda: book.check_orders(self._vet))
                await run(lambda: book.reconsider(self._vet, ""))
                await run(lambda: book.belong(start.journal, start.head))
                seq = start.seq
                while seq < state.last:
                    entries = await self._journal.range(seq + 1)
                    if not entries or entries[0].seq > seq + 1:
                        raise UnreadableError(
                            f"neither the stream nor a checkpoint has commit {seq + 1}"
                        )
                    await run(partial(book.follow, start.journal, entries, self._vet))
                    seq = entries[-1].seq
            except (GapError, DivergedError) as error:
                raise UnreadableError(
                    f"stream and checkpoint contradict each other: {error}"
                ) from None
            finally:
                await run(book.close)

    def _whole(self, moment: float) -> None:
        self._whole_at = max(self._whole_at, moment)

    async def _failed(self, error: BaseException) -> None:
        """Remember that Redis did not answer as asked, and look for it anew."""
        if unwritable(error) is not None:
            return
        self._tell("reach", refused(error) or f"Redis cannot be reached: {told(error)}")
        self._examined = False  # what answers next may be another server
        await self._link.lost()

    def _tell(self, name: str, text: str | None) -> None:
        """Remember a trouble for problems, and log it when it is new."""
        if text is None:
            if self._troubles.pop(name, None) is not None:
                _logger.info("solved: %s", name)
        elif self._troubles.get(name) != text:
            self._troubles[name] = text
            _logger.warning("%s", text)

    # Checkpoints ------------------------------------------------------------------------------

    def _tend_checkpoint(self) -> None:
        if self._checkpointing is None or self._checkpointing.done():
            self._checkpointing = asyncio.get_running_loop().create_task(self._consider())

    async def _consider(self) -> None:
        """Make a checkpoint when the stream has grown enough."""
        options = self._options
        try:
            state = await self._journal.state()
            grown = state.last - state.checkpoint >= options.checkpoint_commits
            if grown or state.grown >= max(options.checkpoint_bytes, state.size):
                await self.checkpoint()
            self._tell("checkpoint", None)
        except UNREACHABLE as error:
            self._tell("checkpoint", f"no checkpoint could be stored: {told(error)}")
        except ZhenxianError as error:
            self._tell("checkpoint", f"no checkpoint could be stored: {error}")

    async def checkpoint(self) -> bool:
        """Store an image of the copy and trim the stream; False when another node is at it.

        Raises:
            StoreUnavailableError: no disk for the image, or what Redis says (or UNREACHABLE).
        """
        if not await self._journal.lock():
            return False
        try:
            return await self._publish(reseed=False)
        finally:
            await self._journal.unlock()

    async def reseed(self) -> None:
        """Give a Redis that holds no journal this node's copy, and go on from there.

        Raises:
            StoreUnavailableError: Redis holds a journal, or cannot be reached.
        """
        try:
            mark = await self.with_writer(_mark)
            if not mark.journal:
                journal = secrets.token_hex(16)
                await self.with_writer(lambda book: book.belong(journal, secrets.token_bytes(16)))
            if not await self._publish(reseed=True):
                raise StoreUnavailableError("Redis holds a journal; it is not replaced")
        except UNREACHABLE as error:
            await self._failed(error)
            raise StoreUnavailableError(f"Redis cannot be reached ({told(error)})") from None
        await self._settle()

    async def _publish(self, *, reseed: bool) -> bool:
        folder = Path(tempfile.mkdtemp(prefix=".fleet-", dir=self._path.parent))
        try:
            image = folder / "image.db"
            mark = await asyncio.to_thread(make_image, self._path, image, int(time.time()))
            return await self._journal.publish(image, mark, reseed=reseed)
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _end_if_cancelled() -> None:
    """Python 3.11's asyncio.wait_for, which the client uses, now and then swallows it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _mark(book: FleetBook) -> Mark:
    return book.mark()


def _begin(book: FleetBook, journal: str) -> None:
    """Give an empty copy to a journal."""
    mark = book.mark()
    if mark.seq == 0 and mark.journal != journal:
        book.belong(journal)
