"""Changes of the registry: what is asked, and what was committed.

A commit is all or nothing and has the next number of one sequence. The registry at any instant
is the fold of the commits up to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec
from msgspec import Struct

from zhenxian.core.errors import ZhenxianError
from zhenxian.core.tn import TN
from zhenxian.registry.model import KINDS, TYPES, Kind, Record

EXISTING: Final = -1  # of Change.expected


class Nested(str, Enum):
    """What becomes of a new holding that lies in a range of another subject."""

    TAKEN = "taken"  # who asks names that number
    REFUSED = "refused"
    COUNTED = "counted"  # and told in the commit


class RegistryConflictError(ZhenxianError):
    """A change that contradicts what is registered; the text names both. HTTP 409."""


class KeyReusedError(RegistryConflictError):
    """An idempotency key that stands for another request; nothing was written."""


class VersionConflictError(ZhenxianError):
    """The record is not at the version the writer saw. HTTP 412."""


class Imported(Struct, frozen=True):
    """Of what a commit of an import is made.

    Attributes:
        kind, count: of the rows it registered.
        file: the file's name, without its folder; empty where it is not known.
        digest: "sha-256:" and the file's in hex; empty where it is not known.
    """

    kind: Kind
    count: int
    file: str = ""
    digest: str = ""


_MARK: Final = "\x1e"  # between a commit's reason and what it imported


def plain_reason(reason: str) -> str:
    """A reason that does not read as an import's."""
    return reason.replace(_MARK, " ")


def reason_of(reason: str, imported: Imported) -> str:
    """The reason of an import's commit: the journal keeps what it imported behind it."""
    return f"{plain_reason(reason)}{_MARK}{msgspec.json.encode(imported).decode()}"


def parted(reason: str) -> tuple[str, Imported | None]:
    """A commit's reason as it was given, and what it imported."""
    text, mark, rest = reason.partition(_MARK)
    try:
        return (text, msgspec.json.decode(rest, type=Imported)) if mark else (reason, None)
    except msgspec.DecodeError:
        return reason, None


class Change(Struct, frozen=True):
    """One record put or ended.

    Attributes:
        value: the record as it is to be; None ends it.
        expected: the version the writer saw; 0 when the record must not exist yet; EXISTING when
            it must, in any version; None when any will do. Without a version that was seen a
            holding keeps its subject.
    """

    kind: Kind
    key: str
    value: Record | None
    expected: int | None = None


class Proposal(Struct, frozen=True, kw_only=True):
    """Changes that somebody asks for, before they are checked.

    Attributes:
        author, reason, request, fingerprint: as of the Commit that comes of it.
        now: seconds since the epoch.
    """

    changes: Sequence[Change]
    author: str
    reason: str
    now: int
    request: bytes = b""
    fingerprint: bytes = b""
    nested: Nested = Nested.TAKEN


class Commit(Struct, frozen=True, kw_only=True):
    """What was committed.

    Attributes:
        seq: its place in the sequence, from 1, without gaps.
        time: seconds since the epoch; never earlier than the commit before.
        author: name and id of the API key or person.
        request: digest of author and idempotency key; empty when none was given.
        fingerprint: digest of what was asked under that key.
        taken_out: how many of its holdings lie in ranges of others, where Nested.COUNTED asked.
            It is not kept.
    """

    seq: int
    time: int
    author: str
    reason: str
    changes: tuple[Change, ...]
    request: bytes = b""
    fingerprint: bytes = b""
    taken_out: int = 0


class Version(Struct, frozen=True, kw_only=True):
    """One version of a record, and who made it.

    Attributes:
        version: seq of the commit that made it.
        value: None when that commit ended the record.
        imported: of what that commit is made, if it is an import's.
    """

    version: int
    time: int
    author: str
    reason: str
    value: Record | None
    imported: Imported | None = None


def put(value: Record, expected: int | None = None) -> Change:
    """A change that puts a record."""
    return Change(KINDS[type(value)], value.key, value, expected)


def end(value: Record, expected: int | None = None) -> Change:
    """A change that ends a record."""
    return Change(KINDS[type(value)], value.key, None, expected)


_Wire: TypeAlias = tuple[int, int, str, str, bytes, bytes, list[tuple[str, str, Any]]]


def _encoded(value: Any) -> str:
    if isinstance(value, TN):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decoded(kind: type, value: Any) -> Any:
    if kind is TN and isinstance(value, str):
        return TN(value)
    raise NotImplementedError(kind.__name__)


_encoder = msgspec.msgpack.Encoder(enc_hook=_encoded)
_decoder = msgspec.msgpack.Decoder(_Wire)
_decoders: Final = {
    kind: msgspec.msgpack.Decoder(type_, dec_hook=_decoded) for kind, type_ in TYPES.items()
}


def dumps(record: Record) -> bytes:
    """A record as MessagePack; members that have their default are left out."""
    return _encoder.encode(record)


def loads(kind: Kind, body: bytes) -> Record:
    """Read what dumps wrote. Raises msgspec.DecodeError or ParseError."""
    return _decoders[kind].decode(body)


def dump_commit(commit: Commit) -> bytes:
    """A commit as MessagePack."""
    return _encoder.encode(
        (
            commit.seq,
            commit.time,
            commit.author,
            commit.reason,
            commit.request,
            commit.fingerprint,
            [(change.kind.value, change.key, change.value) for change in commit.changes],
        )
    )


def load_commit(data: bytes) -> Commit:
    """Read what dump_commit wrote. Raises msgspec.DecodeError or ParseError."""
    seq, time, author, reason, request, fingerprint, rows = _decoder.decode(data)
    changes = tuple(
        Change(
            Kind(kind),
            key,
            msgspec.convert(value, TYPES[Kind(kind)], dec_hook=_decoded)
            if value is not None
            else None,
        )
        for kind, key, value in rows
    )
    return Commit(
        seq=seq,
        time=time,
        author=author,
        reason=reason,
        changes=changes,
        request=request,
        fingerprint=fingerprint,
    )
