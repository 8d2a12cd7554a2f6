"""What conduct is saved as, and sent to other nodes as: MessagePack of one version.

What others made is read with every bound checked: what is out of them would end the task that
counts it.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from zhenxian.analytics.areas import CELLS
from zhenxian.analytics.counts import REDIALLED, Track
from zhenxian.analytics.model import Finding, Key
from zhenxian.core.errors import ZhenxianError

FORMAT: Final = 3  # of counts and deltas; others are refused
_FINDINGS: Final = frozenset({2, FORMAT})  # a new version must not forget who was found

# When, whose, bound, hashes of display and of the pair with the callee, their areas, and hash of
# display and origid; see Conduct.observe.
Event: TypeAlias = tuple[int, tuple[Key, ...], bool, int, int, int, int, int]
Met: TypeAlias = tuple[int, bool]  # hash of display and callee, and whether it was answered

_Place: TypeAlias = Annotated[int, Meta(ge=0)]
_Time: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 40)]
_Hash: TypeAlias = Annotated[int, Meta(ge=-1, lt=1 << 32)]
_Pair: TypeAlias = Annotated[int, Meta(ge=REDIALLED, lt=1 << 32)]
_Mark: TypeAlias = Annotated[int, Meta(ge=-1, lt=1 << 56)]
_Cell: TypeAlias = Annotated[int, Meta(ge=-1, lt=CELLS)]


class ConductFormatError(ZhenxianError):
    """A delta that this version cannot read; nothing of it was taken."""


class Delta(Struct, array_like=True):
    """What one node observed and found since the delta before.

    Attributes:
        sequence: when the node started, and number since. keys: named by their places in it.
        events: calls; marks: of each. ended: calls that are over.
    """

    version: int
    salt: int
    sequence: tuple[int, int]
    keys: list[Key]
    events: list[tuple[_Time, list[_Place], bool, _Hash, _Pair, _Cell, _Cell, _Hash]]
    ended: list[tuple[_Place, _Time, tuple[_Hash, bool] | None]]
    findings: list[Finding]
    cleared: list[Key]
    marks: list[_Mark]


class Kept(Struct, array_like=True):
    """The counts of one key. `half` is the length of half a window, in seconds."""

    version: int
    salt: int
    half: int
    key: Key
    track: Track


class Saved(Struct, frozen=True):
    """What is to be kept of one key; `content` is None when nothing is any more."""

    key: str
    content: bytes | None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DELTA: Final = msgspec.msgpack.Decoder(Delta)
_KEPT: Final = msgspec.msgpack.Decoder(Kept)
_FINDING: Final = msgspec.msgpack.Decoder(tuple[int, Finding])


def write(content: Any) -> bytes:
    """As octets: a Delta, a Kept, or FORMAT and a Finding."""
    return _ENCODER.encode(content)


def read_delta(content: bytes, salt: int) -> Delta:
    """What `write` wrote. Raises ConductFormatError: not a delta of this version and salt."""
    try:
        read = _DELTA.decode(content)
    except msgspec.MsgspecError as error:
        raise ConductFormatError(f"delta: {error}") from None
    if read.version != FORMAT or read.salt != salt:
        raise ConductFormatError("delta: of another version or salt")
    if any(place >= len(read.keys) for _, places, *_ in read.events for place in places):
        raise ConductFormatError("delta: names keys that it lacks")
    if any(place >= len(read.keys) for place, *_ in read.ended):
        raise ConductFormatError("delta: names keys that it lacks")
    if len(read.marks) != len(read.events):
        raise ConductFormatError("delta: without a mark for each call")
    return read


def read_finding(content: bytes) -> Finding | None:
    """A finding that was saved; None for what cannot be read."""
    try:
        version, found = _FINDING.decode(content)
    except msgspec.MsgspecError:
        return None
    return found if version in _FINDINGS else None


def read_counts(content: bytes, salt: int, half: int) -> Kept | None:
    """Counts that were saved; None for what cannot be read or is of another salt or window."""
    try:
        kept = _KEPT.decode(content)
    except msgspec.MsgspecError:
        return None
    return kept if (kept.version, kept.salt, kept.half) == (FORMAT, salt, half) else None
