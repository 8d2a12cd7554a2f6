"""Commits that Redis lost, and what they left stricter here: kept in the replica's own file.

Redis goes back behind commits that it acknowledged when an old backup is put in its place, or when
a replica takes over that lagged. The registry is then as Redis has it; but what the lost commits
took away stays away on the nodes that had them, until they are made again or somebody has looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from zhenxian.registry.journal import dumps, loads
from zhenxian.registry.model import Holding, Kind
from zhenxian.registry.stricter import (
    NONE_LOST,
    STRICT_KINDS,
    Held,
    Losses,
    LostCommit,
    Restrictions,
    restricted,
)
from zhenxian.stores.fleet.entry import Mark
from zhenxian.stores.sqlite.connection import Connection
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.numbers import range_of

MAX_COMMITS: Final = 100  # lost commits that are told one by one
MAX_HELD: Final = 10_000  # records held; beyond that nothing earns an A until somebody has looked
_TOLD: Final = 20  # records that one lost commit is told with
_META: Final = "fleet.losses"

# The first commit that Redis does not have, or has another one for. A checkpoint leaves out commits
# that no version rests on, and which records a commit changed.
_FIRST: Final = """
SELECT min(seq) FROM (
  SELECT m.seq FROM main.journal m WHERE m.seq > (SELECT max(seq) FROM image.journal)
  UNION ALL SELECT m.seq FROM main.journal m JOIN image.journal i ON i.seq = m.seq
    WHERE (i.time, i.author, i.reason) <> (m.time, m.author, m.reason) OR i.touched <> m.touched
  UNION ALL SELECT m.version FROM main.records m JOIN image.records i
    ON (i.kind, i.key) = (m.kind, m.key) WHERE i.version = m.version AND i.body <> m.body)
"""
_RECORDS: Final = (
    "SELECT kind, key FROM main.records WHERE version >= ?1"
    " UNION SELECT kind, key FROM main.records_past WHERE ended >= ?1"
    " UNION SELECT 'binding', id FROM main.bindings WHERE version >= ?1"
    " UNION SELECT 'binding', id FROM main.bindings_past WHERE ended >= ?1"
)
_NUMBERS: Final = (
    "SELECT lo, size FROM main.{0} WHERE version >= ?1"
    " UNION SELECT lo, size FROM main.{0}_past WHERE ended >= ?1"
)


class _Kept(Struct, frozen=True, array_like=True):
    """Losses as the file has them."""

    commits: tuple[LostCommit, ...]
    count: int
    held: tuple[tuple[Kind, str, bytes | None], ...]
    beyond: bool


def read_losses(file: RegistryFile) -> Losses:
    """What is known to be lost."""
    blob = file.meta(_META)
    if blob is None:
        return NONE_LOST
    kept = msgspec.msgpack.decode(blob, type=_Kept)
    held = tuple(
        Held(kind, key, loads(kind, body) if body is not None else None)
        for kind, key, body in kept.held
    )
    return Losses(kept.commits, kept.count, held, kept.beyond)


def keep_losses(file: RegistryFile, losses: Losses) -> None:
    """Keep what is lost, inside a transaction."""
    if losses == NONE_LOST:
        file.connection.run("DELETE FROM meta WHERE name = ?", _META)
        return
    held = tuple(
        (one.kind, one.key, dumps(one.before) if one.before is not None else None)
        for one in losses.held
    )
    kept = _Kept(losses.commits, losses.count, held, losses.beyond)
    file.set_meta(_META, msgspec.msgpack.encode(kept))


def losses_of(file: RegistryFile, mark: Mark) -> Losses:
    """What the attached `image` lacks of the main file, with what had been lost before.

    `held` has all records of the lost commits; see `still_strict`.

    Args:
        mark: of the main file. Its last commit is lost in any case.
    """
    before = read_losses(file)
    connection = file.connection
    first = min(connection.one(_FIRST)[0] or mark.seq, mark.seq)
    keys = _keys(connection, first)
    if before.beyond or len(keys) + len(before.held) > MAX_HELD:
        held: tuple[Held, ...] = ()
    else:
        strict = Restrictions(before.held)
        again = {(one.kind, one.key): one for one in before.held}
        for kind, key in keys:
            found = file.get(kind, key)
            record = found[1] if found is not None else None
            again[kind, key] = Held(kind, key, strict.record(kind, key, record))
        held = tuple(again.values())
    commits = [
        LostCommit(
            seq=row["seq"],
            time=row["time"],
            author=row["author"],
            reason=row["reason"],
            changed=tuple((Kind(one["kind"]), one["key"]) for one in row["changed"][:_TOLD]),
        )
        for row in file.commits(max(first - 1, mark.seq - MAX_COMMITS), MAX_COMMITS)
    ]
    return Losses(
        (*before.commits, *commits)[-MAX_COMMITS:],
        before.count + mark.seq - first + 1,
        held,
        before.beyond or (not held and bool(keys)),
    )


def _keys(connection: Connection, first: int) -> list[tuple[Kind, str]]:
    """The records that commits from `first` on changed; at most one more than are held."""
    rows = connection.all(f"{_RECORDS} LIMIT {MAX_HELD + 1}", first)
    keys = [(Kind(kind), key) for kind, key in rows]
    for kind, table in ((Kind.HOLDING, "holdings"), (Kind.REFUSAL, "refusals")):
        rows = connection.all(f"{_NUMBERS.format(table)} LIMIT {MAX_HELD + 1}", first)
        ranges = [range_of(lo, size) for lo, size in rows]
        keys += [
            (kind, str(one.first) if one.size == 1 else f"{one.first}-{one.last}") for one in ranges
        ]
    return [(kind, key) for kind, key in keys if kind in STRICT_KINDS]


def still_strict(file: RegistryFile, held: Iterable[Held]) -> tuple[Held, ...]:
    """Those that are stricter than what the file has."""
    return tuple(one for one in held if _stricter(file, one))


def _stricter(file: RegistryFile, one: Held) -> bool:
    found = file.get(one.kind, one.key)
    now = found[1] if found is not None else None
    if now is None and isinstance(one.before, Holding):
        now = file.covering(one.before.numbers.first)  # a wider range may have the numbers
    return restricted(one.kind, one.before, now) != now


def settle(file: RegistryFile, changed: Sequence[tuple[Kind, str]]) -> bool:
    """Let go of what the journal has made as strict again, inside a transaction; True if any.

    Args:
        changed: the records that were just changed.
    """
    losses = read_losses(file)
    if not losses.held:
        return False
    touched = set(changed)
    left = tuple(
        one for one in losses.held if (one.kind, one.key) not in touched or _stricter(file, one)
    )
    if len(left) == len(losses.held):
        return False
    keep_losses(file, replace(losses, held=left))
    return True


def losses_text(losses: Losses) -> str | None:
    """What operators are told; None when nothing is lost. It names no numbers."""
    if not losses.count:
        return None
    commits = ", ".join(
        f"{one.seq} ({', '.join(sorted({kind.value for kind, _ in one.changed})) or 'many'},"
        f" by {one.author})"
        for one in losses.commits[-5:]
    )
    if losses.beyond:
        held = "they changed too many records to hold each: nothing is signed above B here"
    elif losses.held:
        names = ", ".join(
            f"{one.kind.value} {one.key}" for one in losses.held[:10] if one.kind in _NAMED
        )
        count = len(losses.held)
        held = f"{count} record(s) stay as strict here as they had been" + (
            f" ({names})" if names else ""
        )
    else:
        held = "nothing in them was stricter than what Redis has"
    return (
        f"Redis lost {losses.count} commit(s) that this node had: {commits}; {held}. See"
        " `zhenxian fleet lost`, have made again what is to stand, then say `zhenxian fleet lost"
        " --acknowledge`"
    )


_NAMED: Final = (
    Kind.SUBJECT,
    Kind.RESELLER,
    Kind.ACCESS,
    Kind.BINDING,
    Kind.EXEMPTION,
    Kind.CUSTOMER,
    Kind.DECLARATION,
)
