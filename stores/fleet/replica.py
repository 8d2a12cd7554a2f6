"""A fleet node's local copy: the same file as the embedded engine's, and where it comes from.

Each commit carries the digest of all before it, so two histories that have the same numbers are
told apart. A checkpoint is an image: a registry file with the records, their past versions and
the commits these rest on. It leaves out bindings that have ended, and what belongs to one node.
"""

from __future__ import annotations

import hashlib
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from zhenxian.core.errors import ConfigError, ParseError, StoreUnavailableError, ZhenxianError
from zhenxian.registry.journal import Change, Commit, dump_commit, dumps, load_commit, loads
from zhenxian.registry.model import Kind, Order
from zhenxian.stores.private import make_private
from zhenxian.stores.sqlite.file import Book
from zhenxian.stores.sqlite.schema import migrate

MAX_BODY: Final = 64 * 1024 * 1024  # octets of one commit; 10,000 changes have some 2 MiB
_MAX_REFUSED: Final = 1_000  # orders kept that may count one day; whoever forges gets no more
_LEVEL: Final = 1  # zlib; more costs more time than it saves

# An order as it came, the order as it is here, and why it is refused.
Vet: TypeAlias = Callable[[Order, Order | None], str | None]

_PRIVATE: Final = ("bindings_past", "imports", "acknowledgements", "meta")
_LOCAL_IDS: Final = ("owners", "titles", "holdings", "holdings_past")
_VERSIONS: Final = (
    "SELECT max(seq) FROM source.journal UNION SELECT version FROM source.records"
    " UNION SELECT version FROM source.records_past UNION SELECT ended FROM source.records_past"
    " UNION SELECT version FROM source.holdings UNION SELECT version FROM source.holdings_past"
    " UNION SELECT ended FROM source.holdings_past UNION SELECT version FROM source.bindings"
    " UNION SELECT version FROM source.refusals UNION SELECT version FROM source.refusals_past"
    " UNION SELECT ended FROM source.refusals_past UNION SELECT seq FROM source.requests"
)
_JOINED: Final = (
    " FROM image.{0} h CROSS JOIN image.owners io ON io.id = h.owner"
    " CROSS JOIN main.owners o ON o.subject = io.subject"
    " CROSS JOIN image.titles it ON it.id = h.title CROSS JOIN main.titles t ON"
    " (t.verification, t.use, t.spcs, t.reseller)"
    " = (it.verification, it.use, it.spcs, it.reseller)"
)


class GapError(ZhenxianError):
    """Commits between are missing."""


class DivergedError(ZhenxianError):
    """The commits that follow do not follow from what is here."""


class UnreadableError(ZhenxianError):
    """A commit or checkpoint that this release cannot read."""


class Mark(Struct, frozen=True):
    """How far a copy is.

    Attributes:
        journal: random id of the journal; empty when the copy belongs to none.
        seq: the last commit. head: digest of all commits up to it.
    """

    journal: str = ""
    seq: int = 0
    head: bytes = b""


class Entry(Struct, frozen=True):
    """A commit as it travels.

    Attributes:
        parent: head before it. nonce: tells apart two writers with equal changes.
        body: zlib of dump_commit.
    """

    seq: int
    parent: bytes
    nonce: bytes
    body: bytes

    @property
    def head(self) -> bytes:
        """Digest of this commit and all before."""
        size = len(self.parent).to_bytes(1, "big") + len(self.nonce).to_bytes(1, "big")
        return hashlib.sha256(size + self.parent + self.nonce + self.body).digest()[:16]

    def commit(self) -> Commit:
        """What is in it. Raises UnreadableError."""
        try:
            stream = zlib.decompressobj()
            body = stream.decompress(self.body, MAX_BODY)
            if not stream.eof:
                raise UnreadableError(f"commit {self.seq} is cut off or too large")
            commit = load_commit(body)
        except (zlib.error, msgspec.MsgspecError, ParseError, ValueError, TypeError) as error:
            raise UnreadableError(
                f"commit {self.seq} cannot be read; was it written by a newer release? ({error})"
            ) from None
        if commit.seq != self.seq:
            raise UnreadableError(f"commit {self.seq} calls itself {commit.seq}")
        return commit


def entry_of(commit: Commit, parent: bytes, nonce: bytes) -> Entry:
    """A commit made ready to travel."""
    return Entry(commit.seq, parent, nonce, zlib.compress(dump_commit(commit), _LEVEL))


def kept_orders(book: Book) -> tuple[Order, ...]:
    """Orders known to a copy that the journal lost; they stay in force there."""
    blob = book.meta("fleet.kept")
    if blob is None:
        return ()
    found = (loads(Kind.ORDER, body) for body in msgspec.msgpack.decode(blob, type=list[bytes]))
    return tuple(order for order in found if isinstance(order, Order))


class FleetBook(Book):
    """A Book that only takes over commits. `write` is for trying: it never commits."""

    _taking_over = False

    def write(self, changes: Sequence[Change], **kwargs: Any) -> Commit:
        """See Book.write. Raises RuntimeError without dry_run: the journal is on Redis."""
        if not kwargs.get("dry_run"):
            raise RuntimeError("a fleet's copy is written through FleetRegistry.write")
        self._taking_over = True
        try:
            return super().write(changes, **kwargs)
        finally:
            self._taking_over = False

    def record(self, commit: Commit, *, many: bool = False) -> None:
        """See Book.record. Raises RuntimeError for a commit that is not the journal's."""
        if not self._taking_over:
            raise RuntimeError("a fleet's copy is written through FleetRegistry.write")
        super().record(commit, many=many)

    def mark(self) -> Mark:
        """How far the copy is."""
        row = self._one(
            "SELECT (SELECT max(seq) FROM journal),"
            " (SELECT value FROM meta WHERE name = 'fleet.journal'),"
            " (SELECT value FROM meta WHERE name = 'fleet.head')"
        )
        return Mark(row[1] or "", row[0] or 0, row[2] or b"")

    def belong(self, journal: str, head: bytes = b"") -> None:
        """Note whose commits these are."""
        with self.transaction():
            self.set_meta("fleet.journal", journal)
            self.set_meta("fleet.head", head)

    def try_out(self, changes: Sequence[Change], **kwargs: Any) -> tuple[Mark, Commit]:
        """See Book.write with dry_run, and the mark that its answer rests on."""
        mark = self.mark()
        commit = self.write(changes, dry_run=True, **kwargs)
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
        self._taking_over = True
        try:
            return self._follow(journal, entries, vet)
        finally:
            self._taking_over = False

    def _follow(
        self, journal: str, entries: Iterable[Entry], vet: Vet | None
    ) -> tuple[list[Order], list[str]]:
        orders: list[Order] = []
        refusals: list[str] = []
        with self.transaction():
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
                    value = change.value
                    if isinstance(value, Order):
                        why = self._refusal(value, vet)
                        if why is not None:
                            refusals.append(f"commit {seq + 1}, order {value.id}: {why}")
                            self._refuse(commit.seq, value)
                            continue
                        orders.append(value)
                        self._no_longer_kept(value.id)
                    self.apply_change(change, commit.seq)
                self.record(commit)
                seq, head = entry.seq, entry.head
            if seq != mark.seq:
                self.set_meta("fleet.head", head)
        return orders, refusals

    def check_orders(self, vet: Vet | None) -> None:
        """See that every order is one. Raises UnreadableError, which names the first that is not.

        A checkpoint comes from whoever can write to Redis.
        """
        if vet is None:
            return
        after: str | None = ""
        while after is not None:
            page = self.page(Kind.ORDER, after=after)
            for _, order in page.rows:
                why = vet(order, None) if isinstance(order, Order) else None
                if why is not None:
                    raise UnreadableError(f"the checkpoint's order {order.key}: {why}")
            after = page.following

    def _refusal(self, order: Order, vet: Vet | None) -> str | None:
        if vet is None:
            return None
        found = self.get(Kind.ORDER, order.id)
        before = found[1] if found is not None else None
        return vet(order, before if isinstance(before, Order) else None)

    # Orders that were refused ---------------------------------------------------------------------

    def refused(self) -> list[tuple[int, Order]]:
        """Orders of the journal that do not count here, each with its commit, in their order."""
        try:
            rows = _refused(self.meta("fleet.refused"))
            found = [(seq, loads(Kind.ORDER, body)) for seq, body in rows]
        except (msgspec.MsgspecError, ParseError) as error:
            raise UnreadableError(f"the list of refused orders cannot be read: {error}") from None
        return [(seq, order) for seq, order in found if isinstance(order, Order)]

    def _refuse(self, seq: int, order: Order) -> None:
        self._set_refused([*self.refused(), (seq, order)])

    def _set_refused(self, rows: Iterable[tuple[int, Order]]) -> None:
        listed = [(seq, dumps(order)) for seq, order in rows][-_MAX_REFUSED:]
        self.set_meta("fleet.refused", msgspec.msgpack.encode(listed))

    def reconsider(self, vet: Vet | None, epoch: str) -> list[str]:
        """Let refused orders count that `vet` takes by now; a sentence on each of the others.

        Their issuer may have been missing on this node only.

        Args:
            epoch: as take_over's.
        """
        if not self.refused():
            return []
        left: list[tuple[int, Order]] = []
        told: list[str] = []
        with self.transaction():
            refused = self.refused()
            for seq, order in refused:
                why = self._refusal(order, vet)
                if why is None:
                    self.apply_change(Change(Kind.ORDER, order.id, order), seq)
                    self._no_longer_kept(order.id)
                else:
                    left.append((seq, order))
                    told.append(f"commit {seq}, order {order.id}: {why}")
            if len(left) < len(refused):
                self._set_refused(left)
                self.set_meta("orders", epoch)
                self.set_meta("fleet.epoch", epoch)
        return told

    # Orders that Redis lost -----------------------------------------------------------------------

    def _no_longer_kept(self, order: str) -> None:
        kept = kept_orders(self)
        if any(one.id == order for one in kept):
            self._keep([one for one in kept if one.id != order])

    def _keep(self, orders: Iterable[Order]) -> None:
        self.set_meta("fleet.kept", msgspec.msgpack.encode([dumps(order) for order in orders]))

    def own_orders(self, node: str) -> list[tuple[Order, str | None]]:
        """All orders, with the token by which this node acknowledged each, if it did."""
        found: list[tuple[Order, str | None]] = []
        rows = self._all(
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

    # Checkpoints ----------------------------------------------------------------------------------

    def set_aside(self, path: Path) -> None:
        """Keep a copy of the file as it is. Raises StoreUnavailableError."""
        make_private(path)
        self._run("VACUUM INTO ?", str(path))

    def take_over(self, image: Path, expected: Mark, epoch: str, *, diverged: bool) -> bool:
        """Become what the image holds, in one transaction; False when somebody else did so.

        Args:
            image: a FleetBook file, closed.
            expected: where the copy must still be.
            epoch: anything new; it tells other connections that nothing they kept holds.
            diverged: nothing here is part of the image's history. Otherwise it is, and what the
                image leaves out (bindings that have ended) is kept.
        """
        self._run("ATTACH ? AS image", str(image))
        try:
            with self.transaction():
                if self.mark() != expected:
                    return False
                self._keep_lost_orders()
                self._copy_image(diverged=diverged)
                # Never a number: whatever number was read before is out of date.
                self.set_meta("orders", epoch)
                self.set_meta("fleet.epoch", epoch)
        finally:
            self._run("DETACH image")
        return True

    def _keep_lost_orders(self) -> None:
        lost = [
            loads(Kind.ORDER, body)
            for (body,) in self._all(
                "SELECT body FROM main.records WHERE kind = 'order' AND key NOT IN"
                " (SELECT key FROM image.records WHERE kind = 'order')"
            )
        ]
        back = {key for (key,) in self._all("SELECT key FROM image.records WHERE kind = 'order'")}
        kept = {order.id: order for order in kept_orders(self) if order.id not in back}
        for order in lost:
            if isinstance(order, Order) and order.lifted is None:
                kept[order.id] = order
        self._keep(kept.values())

    def _copy_image(self, *, diverged: bool) -> None:
        run = self._run
        if diverged:
            run("DELETE FROM main.bindings_past")
            run("DELETE FROM main.journal")
            run("DELETE FROM main.imports")
        else:
            # Gone from the image: ended by its time, or by a commit at the image's last at latest.
            run(
                "INSERT OR IGNORE INTO main.bindings_past SELECT b.id, b.version,"
                " CASE WHEN b.until > l.time THEN l.seq END, b.body FROM main.bindings b,"
                " (SELECT seq, time FROM image.journal ORDER BY seq DESC LIMIT 1) l"
                " WHERE b.id NOT IN (SELECT id FROM image.bindings)"
            )
        run("INSERT OR IGNORE INTO main.journal SELECT * FROM image.journal ORDER BY seq")
        for table in _tables(self._db):
            if table in (*_PRIVATE, *_LOCAL_IDS, "journal"):
                continue
            run(f"DELETE FROM main.{table}")  # noqa: S608
            run(f"INSERT INTO main.{table} SELECT * FROM image.{table}")  # noqa: S608
        # Numbers of owners and titles are this file's own, and connections remember them.
        run("INSERT OR IGNORE INTO main.owners (subject) SELECT subject FROM image.owners")
        run(
            "INSERT OR IGNORE INTO main.titles (verification, use, spcs, reseller)"
            " SELECT verification, use, spcs, reseller FROM image.titles"
        )
        run("DELETE FROM main.holdings")
        run(
            "INSERT INTO main.holdings SELECT h.class, h.lo, h.size, h.version, o.id, t.id,"
            " h.evidence, h.verified_on, h.run" + _JOINED.format("holdings")
        )
        run("DELETE FROM main.holdings_past")
        run(
            "INSERT INTO main.holdings_past SELECT h.class, h.lo, h.size, h.version, h.ended,"
            " o.id, t.id, h.evidence, h.verified_on" + _JOINED.format("holdings_past")
        )
        run("DELETE FROM main.meta WHERE name = 'fleet.refused'")
        for name in ("fleet.journal", "fleet.head", "fleet.refused"):
            run(
                "INSERT OR REPLACE INTO main.meta SELECT name, value FROM image.meta"
                " WHERE name = ?",
                name,
            )


def make_image(source: Path, target: Path, now: int) -> Mark:
    """Write a checkpoint of a copy to a new file; the mark it stands at.

    Args:
        now: seconds since the epoch; bindings that ended before are left out.

    Raises:
        StoreUnavailableError: a file cannot be read or written.
    """
    Book(target, synchronous="OFF").close()
    try:
        db = sqlite3.connect(target, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=OFF")
            db.execute("ATTACH ? AS source", (str(source),))
            db.execute("BEGIN")
            for table in _tables(db):
                if table in _PRIVATE:
                    continue
                if table == "journal":
                    db.execute(
                        "INSERT INTO main.journal SELECT seq, time, author, reason, NULL FROM"
                        " source.journal WHERE seq IN (" + _VERSIONS + ") ORDER BY seq"
                    )
                elif table in ("bindings", "ways"):
                    db.execute(
                        f"INSERT INTO main.{table} SELECT * FROM source.{table} WHERE until > ?",  # noqa: S608
                        (now,),
                    )
                else:
                    db.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}")  # noqa: S608
            db.execute(
                "INSERT INTO main.meta SELECT name, value FROM source.meta WHERE name IN"
                " ('orders', 'fleet.journal', 'fleet.head', 'fleet.refused')"
            )
            blob = db.execute("SELECT value FROM meta WHERE name = 'fleet.refused'").fetchone()
            for seq, _ in _refused(blob[0] if blob is not None else None):
                db.execute(
                    "INSERT OR IGNORE INTO main.journal SELECT seq, time, author, reason, NULL"
                    " FROM source.journal WHERE seq = ?",
                    (seq,),
                )
            db.execute("COMMIT")
            db.execute("DETACH source")
            meta = dict(db.execute("SELECT name, value FROM meta"))
            seq = db.execute("SELECT max(seq) FROM journal").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error as error:
        raise StoreUnavailableError(f"{target.name}: {error}") from None
    return Mark(meta.get("fleet.journal", ""), seq or 0, meta.get("fleet.head", b""))


def _refused(blob: bytes | None) -> list[tuple[int, bytes]]:
    """Raises msgspec.MsgspecError."""
    return [] if blob is None else msgspec.msgpack.decode(blob, type=list[tuple[int, bytes]])


def check_image(path: Path) -> None:
    """Bring an image to this release's form, and see that it is a registry and nothing else.

    Raises:
        UnreadableError: it is not, or a newer release made it.
    """
    try:
        db = sqlite3.connect(path, isolation_level=None)
        try:
            db.execute("PRAGMA trusted_schema=OFF")
            migrate(db)
            fresh = sqlite3.connect(":memory:", isolation_level=None)
            try:
                migrate(fresh)
                if _schema(db) != _schema(fresh):
                    raise UnreadableError("the checkpoint is not a registry file")
            finally:
                fresh.close()
        finally:
            db.close()
    except (sqlite3.Error, ConfigError) as error:
        raise UnreadableError(f"the checkpoint cannot be read: {error}") from None


def _schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return sorted(
        (kind, name, sql or "")
        for kind, name, sql in db.execute("SELECT type, name, sql FROM sqlite_master")
        if not name.startswith("sqlite_")
    )


def _tables(db: sqlite3.Connection) -> list[str]:
    rows = db.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    )
    return [name for (name,) in rows]
