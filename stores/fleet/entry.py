"""A commit as it travels through the journal on Redis, and how far a replica has come.

Each commit carries the digest of all before it, so two histories that have the same numbers are
told apart.
"""

from __future__ import annotations

import hashlib
import zlib
from typing import Final

import msgspec
from msgspec import Struct

from zhenxian.core.errors import ParseError, ZhenxianError
from zhenxian.registry.journal import Commit, dump_commit, load_commit

MAX_BODY: Final = 64 * 1024 * 1024  # octets of one commit; 10,000 changes have some 2 MiB
_LEVEL: Final = 1  # zlib; more costs more time than it saves


class GapError(ZhenxianError):
    """Commits between are missing."""


class DivergedError(ZhenxianError):
    """The commits that follow do not follow from what is here."""


class UnreadableError(ZhenxianError):
    """A commit or checkpoint that this release cannot read."""


class Mark(Struct, frozen=True):
    """How far a replica is.

    Attributes:
        journal: random id of the journal; empty when the replica belongs to none.
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
