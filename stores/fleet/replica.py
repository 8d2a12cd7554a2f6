"""A fleet node's replica of the registry: the same file as the embedded engine's.

A replica has a file and only takes over commits of the journal: what somebody proposes is tried on
it and never kept (`try_out`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.registry.journal import Change, Commit, Proposal, dumps, loads
from zhenxian.registry.model import Kind, Order
from zhenxian.registry.node_key import NodeKey
from zhenxian.registry.stricter import NONE_LOST, Losses
from zhenxian.stores.clock import ClockGuard
from zhenxian.stores.fleet.entry import DivergedError, Entry, GapError, Mark, UnreadableError
from zhenxian.stores.fleet.image import copy_image, refused_orders
from zhenxian.stores.fleet.losses import (
    keep_losses,
    losses_of,
    read_losses,
    settle,
    still_strict,
)
from zhenxian.stores.opening import alone
from zhenxian.stores.private import make_private
from zhenxian.stores.sqlite.file import RegistryFile

_MAX_REFUSED: Final = 1_000  # orders kept that may count one day; whoever forges gets no more

# An order as it came, the order as it is here, and why it is refused.
Vet: TypeAlias = Callable[[Order, Order | None], str | None]


def kept_orders(file: RegistryFile) -> tuple[Order, ...]:
    """Orders known to a replica that the journal lost; they stay in force there."""
    blob = file.meta("fleet.kept")
    if blob is None:
        return ()
    found = (loads(Kind.ORDER, body) for body in msgspec.msgpack.decode(blob, type=list[bytes]))
    return tuple(order for order in found if isinstance(order, Order))


class Replica:
    """The writing connection to a node's replica. Used by one thread.

    Every method raises StoreUnavailableError when the file cannot be read or written.
    """

    def __init__(self, path: Path, *, synchronous: str) -> None:
        """Raises ConfigError for a file of a newer release."""
        self._path = path
        self._file = RegistryFile(path, writer=True, synchronous=synchronous)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def mark(self) -> Mark:
        """How far the replica is."""
        row = self._file.connection.one(
            "SELECT (SELECT max(seq) FROM journal),"
            " (SELECT value FROM meta WHERE name = 'fleet.journal'),"
            " (SELECT value FROM meta WHERE name = 'fleet.head')"
        )
        return Mark(row[1] or "", row[0] or 0, row[2] or b"")

    def belong_to(self, journal: str, head: bytes) -> None:
        """Note whose commits these are."""
        with self._file.transaction():
            self._belong_to(journal, head)

    def begin(self, journal: str) -> None:
        """Give an empty replica to a journal."""
        with self._file.transaction():  # another process of this file may be about the same
            mark = self.mark()
            if mark.seq == 0 and mark.journal != journal:
                self._belong_to(journal, b"")

    def _belong_to(self, journal: str, head: bytes) -> None:
        self._file.set_meta("fleet.journal", journal)
        self._file.set_meta("fleet.head", head)

    # Commits ------------------------------------------------------------------------------------

    def try_out(self, proposal: Proposal) -> tuple[Mark, Commit]:
        """What a proposal would be committed as, and the mark that this answer rests on.

        Raises:
            RegistryConflictError, VersionConflictError, ConfigError: see registry.rules.check.
            DivergedError: another process took over commits meanwhile.
        """
        mark = self.mark()
        commit = self._file.write(
            proposal.changes,
            author=proposal.author,
            reason=proposal.reason,
            now=proposal.now,
            request=proposal.request,
            fingerprint=proposal.fingerprint,
            nested=proposal.nested,
            dry_run=True,
        )
        if commit.seq == mark.seq + 1 or commit.seq <= mark.seq:
            return mark, commit
        raise DivergedError("another process took over commits meanwhile")

    def follow(
        self, journal: str, entries: Iterable[Entry], vet: Vet | None = None
    ) -> tuple[list[Order], list[str]]:
        """Take over commits, all or none; those that are here already are passed over.

        Returns:
            The orders among them, and a sentence on each that `vet` refused: such an order, or
            lifting, does not count here.

        Raises:
            GapError, DivergedError, UnreadableError: nothing was taken over.
        """
        orders: list[Order] = []
        refusals: list[str] = []
        changed: list[tuple[Kind, str]] = []
        with self._file.transaction():
            mark = self.mark()
            if not journal or mark.journal != journal:
                raise DivergedError("the copy belongs to another journal")
            seq, head = mark.seq, mark.head
            for entry in entries:
                if entry.seq <= seq:
                    continue
                if entry.seq != seq + 1:
                    raise GapError(f"commit {entry.seq} follows {seq}")
                if entry.parent != head:
                    raise DivergedError(f"commit {entry.seq} does not follow from commit {seq}")
                commit = entry.commit()
                for change in commit.changes:
                    self._take(change, commit.seq, vet, orders, refusals)
                self._file.record(commit)
                seq, head = entry.seq, entry.head
                changed += [(change.kind, change.key) for change in commit.changes]
            if seq != mark.seq:
                self._file.set_meta("fleet.head", head)
                if settle(self._file, changed):
                    self._begin_epoch(secrets.token_hex(8))
        return orders, refusals

    def _take(
        self, change: Change, seq: int, vet: Vet | None, orders: list[Order], refusals: list[str]
    ) -> None:
        value = change.value
        if isinstance(value, Order):
            why = self._refusal(value, vet)
            if why is not None:
                refusals.append(f"commit {seq}, order {value.id}: {why}")
                self._set_refused([*self.refused(), (seq, value)])
                return
            orders.append(value)
            self._no_longer_kept(value.id)
        self._file.apply_change(change, seq)

    def check_orders(self, vet: Vet | None) -> None:
        """See that every order is one. Raises UnreadableError, which names the first that is not.

        A checkpoint comes from whoever can write to Redis.
        """
        if vet is None:
            return
        after: str | None = ""
        while after is not None:
            page = self._file.page(Kind.ORDER, after=after)
            for _, order in page.rows:
                why = vet(order, None) if isinstance(order, Order) else None
                if why is not None:
                    raise UnreadableError(f"the checkpoint's order {order.key}: {why}")
            after = page.following

    def _refusal(self, order: Order, vet: Vet | None) -> str | None:
        if vet is None:
            return None
        found = self._file.get(Kind.ORDER, order.id)
        before = found[1] if found is not None else None
        return vet(order, before if isinstance(before, Order) else None)

    # Orders that were refused ---------------------------------------------------------------------

    def refused(self) -> list[tuple[int, Order]]:
        """Orders of the journal that do not count here, each with its commit, in their order."""
        try:
            rows = refused_orders(self._file.meta("fleet.refused"))
            found = [(seq, loads(Kind.ORDER, body)) for seq, body in rows]
        except (msgspec.MsgspecError, ParseError) as error:
            raise UnreadableError(f"the list of refused orders cannot be read: {error}") from None
        return [(seq, order) for seq, order in found if isinstance(order, Order)]

    def _set_refused(self, rows: Iterable[tuple[int, Order]]) -> None:
        listed = [(seq, dumps(order)) for seq, order in rows][-_MAX_REFUSED:]
        self._file.set_meta("fleet.refused", msgspec.msgpack.encode(listed))

    def reconsider(self, vet: Vet | None, epoch: str) -> list[str]:
        """Let refused orders count that `vet` takes by now; a sentence on each of the others.

        Their issuer may have been missing on this node only.

        Args:
            epoch: as make_anew's.
        """
        if not self.refused():
            return []
        left: list[tuple[int, Order]] = []
        reasons: list[str] = []
        with self._file.transaction():
            refused = self.refused()
            for seq, order in refused:
                why = self._refusal(order, vet)
                if why is None:
                    self._file.apply_change(Change(Kind.ORDER, order.id, order), seq)
                    self._no_longer_kept(order.id)
                else:
                    left.append((seq, order))
                    reasons.append(f"commit {seq}, order {order.id}: {why}")
            if len(left) < len(refused):
                self._set_refused(left)
                self._begin_epoch(epoch)
        return reasons

    def _begin_epoch(self, epoch: str) -> None:
        # Never a number: whatever number was read before is out of date.
        self._file.set_meta("orders", epoch)
        self._file.set_meta("fleet.epoch", epoch)

    # Orders that Redis lost -----------------------------------------------------------------------

    def _no_longer_kept(self, order: str) -> None:
        kept = kept_orders(self._file)
        if any(one.id == order for one in kept):
            self._keep([one for one in kept if one.id != order])

    def _keep(self, orders: Iterable[Order]) -> None:
        bodies = [dumps(order) for order in orders]
        self._file.set_meta("fleet.kept", msgspec.msgpack.encode(bodies))

    # Commits that Redis lost ----------------------------------------------------------------------

    def acknowledge_losses(self) -> Losses:
        """Somebody has looked: hold nothing any more. What was held."""
        with self._file.transaction():
            losses = read_losses(self._file)
            if losses != NONE_LOST:
                keep_losses(self._file, NONE_LOST)
                self._begin_epoch(secrets.token_hex(8))
        return losses

    # What is this node's own ----------------------------------------------------------------------

    def sign(self, orders: Iterable[Order], node: NodeKey, since: int) -> list[tuple[Order, str]]:
        """Sign and keep this node's acknowledgement of orders; each with its token.

        Args:
            since: milliseconds since the epoch from which they are in force here.
        """
        seq, _ = self._file.last()
        signed = []
        for order in orders:
            token = node.acknowledge(order, since, seq)
            self._file.acknowledge(order.id, node.name, token, node.jwk)
            signed.append((order, token))
        return signed

    def own_orders(self, node: str) -> list[tuple[Order, str | None]]:
        """All orders, with the token by which this node acknowledged each, if it did."""
        found: list[tuple[Order, str | None]] = []
        rows = self._file.connection.all(
            "SELECT r.body, a.token FROM records r LEFT JOIN acknowledgements a"
            ' ON a."order" = r.key AND a.node = ? WHERE r.kind = ?',
            node,
            Kind.ORDER.value,
        )
        for body, token in rows:
            order = loads(Kind.ORDER, body)
            if isinstance(order, Order):
                found.append((order, token))
        return found

    def set_import_line(self, name: str, line: int) -> None:
        """See RegistryFile."""
        self._file.set_import_line(name, line)

    def accept_clock(self, guard: ClockGuard) -> None:
        """See ClockGuard.accept."""
        guard.accept(self._file)

    def purge(self, now: int) -> int:
        """See RegistryFile."""
        return self._file.purge(now)

    # Checkpoints ----------------------------------------------------------------------------------

    def set_aside(self, path: Path) -> None:
        """Keep a copy of the file as it is."""
        make_private(path)
        self._file.connection.run("VACUUM INTO ?", str(path))

    def make_anew(
        self,
        image: Path,
        expected: Mark,
        epoch: str,
        *,
        aside: Path | None,
        diverged: bool,
        lost: bool,
    ) -> bool:
        """Keep a copy where one is asked for, then take over an image, as one process of several.

        Args:
            image: a replica's file, closed.
            expected: where the replica must still be.
            epoch: anything new; it tells other connections that nothing they kept holds.
            aside: where the file is kept as it was.
            diverged: nothing here is part of the image's history. Otherwise it is, and what the
                image leaves out (bindings that have ended) is kept.
            lost: the image is of an earlier state of the same journal, or of what followed that.

        Returns:
            False when another process of the file has done so, or it has gone on meanwhile.
        """
        try:
            with alone(self._path.with_suffix(".lock")):
                if self.mark() != expected:
                    return False
                if aside is not None:
                    self.set_aside(aside)
                return self._take_over(image, expected, epoch, diverged=diverged, lost=lost)
        except OSError as error:
            raise StoreUnavailableError(f"{self._path}: {error.strerror}") from None

    def _take_over(
        self, image: Path, expected: Mark, epoch: str, *, diverged: bool, lost: bool
    ) -> bool:
        """Become what the image holds, in one transaction; False when the file has gone on."""
        connection = self._file.connection
        connection.run("ATTACH ? AS image", str(image))
        try:
            with connection.transaction():
                if self.mark() != expected:
                    return False
                self._keep_lost_orders()
                losses = losses_of(self._file, expected) if lost else read_losses(self._file)
                copy_image(connection, diverged=diverged)
                held = still_strict(self._file, losses.held)
                keep_losses(self._file, replace(losses, held=held))
                self._begin_epoch(epoch)
        finally:
            connection.run("DETACH image")
        return True

    def _keep_lost_orders(self) -> None:
        connection = self._file.connection
        lost = [
            loads(Kind.ORDER, body)
            for (body,) in connection.all(
                "SELECT body FROM main.records WHERE kind = 'order' AND key NOT IN"
                " (SELECT key FROM image.records WHERE kind = 'order')"
            )
        ]
        rows = connection.all("SELECT key FROM image.records WHERE kind = 'order'")
        back = {key for (key,) in rows}
        kept = {order.id: order for order in kept_orders(self._file) if order.id not in back}
        for order in lost:
            if isinstance(order, Order) and order.lifted is None:
                kept[order.id] = order
        self._keep(kept.values())
