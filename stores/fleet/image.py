"""Checkpoints as files: a registry file with the records, their past versions and their commits.

An image leaves out bindings that have ended, commits that no version rests on, and what belongs to
one node.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.stores.fleet.entry import Mark, UnreadableError
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.journal import BACK
from zhenxian.stores.sqlite.schema import migrate

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


def make_image(source: Path, target: Path, now: int) -> Mark:
    """Write a checkpoint of a replica to a new file; the mark it stands at.

    Args:
        now: seconds since the epoch; bindings that ended before are left out.

    Raises:
        StoreUnavailableError: a file cannot be read or written.
    """
    Connection(target, synchronous="OFF").close()
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
                " ('orders', 'fleet.journal', 'fleet.head', 'fleet.refused', 'journal.back')"
            )
            blob = db.execute("SELECT value FROM meta WHERE name = 'fleet.refused'").fetchone()
            for seq, _ in refused_orders(blob[0] if blob is not None else None):
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


def refused_orders(blob: bytes | None) -> list[tuple[int, bytes]]:
    """Commit and MessagePack of each refused order, as meta keeps them.

    Raises:
        msgspec.MsgspecError: they are damaged.
    """
    return [] if blob is None else msgspec.msgpack.decode(blob, type=list[tuple[int, bytes]])


def copy_image(connection: Connection, *, diverged: bool) -> None:
    """Make the main file hold what the attached `image` does, inside a transaction.

    Args:
        diverged: see Replica.take_over.
    """
    run = connection.run
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
    for table in _tables(connection.db):
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
    for name in ("fleet.journal", "fleet.head", "fleet.refused", BACK):
        run(
            "INSERT OR REPLACE INTO main.meta SELECT name, value FROM image.meta WHERE name = ?",
            name,
        )


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
