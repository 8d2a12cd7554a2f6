"""What conduct is saved as, and sent to other nodes as: MessagePack of one version.

What others made is read with every bound checked: what is out of them would end the task that
counts it.
"""

from __future__ import annotations

from array import array
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from zhenxian.analytics.areas import CELLS
from zhenxian.analytics.counted import Contact, CountedCall
from zhenxian.analytics.counts import KeyCounts
from zhenxian.analytics.linkage import Mark
from zhenxian.analytics.locality import cells
from zhenxian.analytics.model import Finding, Key, Time
from zhenxian.core.errors import ZhenxianError

FORMAT: Final = 4  # of deltas
_DELTAS: Final = frozenset({3, FORMAT})  # the release before sent no seconds of talk
_COUNTS: Final = 4  # of counts
_RENAMED: Final = 3  # counts whose members had other names
_REDIALLED: Final = -2  # stands for a pair of which the call was dialled again
_NONE: Final = -1  # stands for a hash that there is not
_FINDINGS: Final = frozenset({2, 3, FORMAT})  # a new version must not forget who was found

# What msgspec raises for what cannot be read: for text that is not UTF-8 something of its own.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError)

_Place: TypeAlias = Annotated[int, Meta(ge=0)]
_Hash: TypeAlias = Annotated[int, Meta(ge=-1, lt=1 << 32)]
_Pair: TypeAlias = Annotated[int, Meta(ge=_REDIALLED, lt=1 << 32)]
_Mark: TypeAlias = Annotated[int, Meta(ge=-1, lt=1 << 56)]
_Cell: TypeAlias = Annotated[int, Meta(ge=-1, lt=CELLS)]
_Mask: TypeAlias = Annotated[int, Meta(ge=0, lt=1 << 16)]
_Level: TypeAlias = Annotated[int, Meta(ge=0, le=20)]

_Event: TypeAlias = tuple[Time, list[_Place], bool, _Hash, _Pair, _Cell, _Cell, _Hash]
_OLD_NAMES: Final = {"here": "display_area", "whole": "as_one_signer"}
_OLD_HALF_NAMES: Final = {"bound": "privacy_calls", "lent": "privacy_calls_found"}


class ConductFormatError(ZhenxianError):
    """A delta that this version cannot read; nothing of it was taken."""


class Delta(Struct, array_like=True, kw_only=True):
    """What one node observed and found since the delta before.

    Attributes:
        sequence: when the node started, and number since. keys: named by their places in it.
        events: calls, as `event_of` writes them; marks: of each. ended: calls that are over.
        linkage: marks of callers that were found; a release before leaves them.
        vouched: places of those among the events whose displays are vouched for.

    The rest is of nodes among which keys are parted, and a release before leaves it; `whose`,
    `direct` and `back` are of what goes to one node alone:
        whose: of each event, which of its keys are counted there, one bit each; empty where all
            are. direct: it is numbered apart from what goes to all.
        back: key, display and pair of displays that were called back.
        runs: as of analytics.sim_box.Run. shown: whose a display is. told: as of
            analytics.heard.Told. peers: complaints and calls of the keys counted at the sender.
        passed: calls of callers who may make only so many. levels: how far the sender thins the
            calls of a key.
    """

    version: int
    salt: int
    sequence: tuple[int, int]
    keys: list[Key]
    events: list[_Event]
    ended: list[tuple[_Place, Time, Contact | None]]
    findings: list[Finding]
    cleared: list[Key]
    marks: list[_Mark]
    linkage: list[Mark] = []
    vouched: list[_Place] = []
    whose: list[_Mask] = []
    direct: bool = False
    back: list[tuple[_Place, _Hash, _Hash]] = []
    runs: list[tuple[_Place, Time, Time]] = []
    shown: list[tuple[_Place, _Hash]] = []
    told: list[tuple[_Place, Time, Time, _Mask, Time]] = []
    peers: tuple[Time, float] | None = None
    passed: list[tuple[_Place, Time]] = []
    levels: list[tuple[_Place, _Level]] = []


class Kept(Struct, array_like=True, kw_only=True):
    """The counts of one key. `half` is the length of half a window, in seconds."""

    version: int
    salt: int
    half: int
    key: Key
    counts: KeyCounts


class _KeptAs(Struct, array_like=True, kw_only=True):
    """The same, the counts not read yet: how depends on the version."""

    version: int
    salt: int
    half: int
    key: Key
    counts: msgspec.Raw


class Saved(Struct, frozen=True):
    """What is to be kept of one key.

    Attributes:
        content: None when nothing is any more. here: it is new at this node; else another one told
            more of it.
    """

    key: str
    content: bytes | None
    here: bool = True


def event_of(call: CountedCall, places: list[int]) -> _Event:
    """A call as it stands in a delta.

    Args:
        places: of its keys, among those of the delta.
    """
    pair = _REDIALLED if call.redialled else _number(call.pair)
    return (
        call.at, places, call.bound, _number(call.display), pair,
        call.display_area, call.callee_area, _number(call.link),
    )  # fmt: skip


def call_of(event: _Event, keys: tuple[Key, ...], *, vouched: bool = False) -> CountedCall:
    """What `event_of` wrote, for these keys."""
    at, _, bound, display, pair, display_area, callee_area, link = event
    return CountedCall(
        at=at,
        keys=keys,
        bound=bound,
        display=_hash(display),
        pair=_hash(pair),
        redialled=pair == _REDIALLED,
        display_area=display_area,
        callee_area=callee_area,
        link=_hash(link),
        vouched=vouched,
    )


def _number(value: int | None) -> int:
    return _NONE if value is None else value


def _hash(number: int) -> int | None:
    return None if number < 0 else number


def _written(value: object) -> object:
    if isinstance(value, array):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} is not saved")


def _read(kind: type, value: Any) -> object:
    if kind is array:
        return cells(value)
    raise NotImplementedError(f"{kind.__name__} is not saved")


_ENCODER: Final = msgspec.msgpack.Encoder(enc_hook=_written)
_DELTA: Final = msgspec.msgpack.Decoder(Delta)
_KEPT: Final = msgspec.msgpack.Decoder(_KeptAs)
_KEY_COUNTS: Final = msgspec.msgpack.Decoder(KeyCounts, dec_hook=_read)
_FINDING: Final = msgspec.msgpack.Decoder(tuple[int, Finding])
_LINKAGE: Final = msgspec.msgpack.Decoder(tuple[str, Mark])
_LINKAGE_FORMAT: Final = "mark 1"  # no release takes it for a finding's


def write_delta(delta: Delta) -> bytes:
    """A delta as it is sent."""
    return _ENCODER.encode(delta)


def write_finding(found: Finding) -> bytes:
    """A finding as it is saved."""
    return _ENCODER.encode((FORMAT, found))


def write_mark(mark: Mark) -> bytes:
    """A mark of a caller that was found, as it is saved beside the findings."""
    return _ENCODER.encode((_LINKAGE_FORMAT, mark))


def read_mark(content: bytes) -> Mark | None:
    """What `write_mark` wrote; None for anything else."""
    try:
        version, mark = _LINKAGE.decode(content)
    except UNREADABLE:
        return None
    return mark if version == _LINKAGE_FORMAT else None


def read_delta(content: bytes, salt: int) -> Delta:
    """What `write_delta` wrote. Raises ConductFormatError: not a delta of this version and salt."""
    try:
        read = _DELTA.decode(content)
    except UNREADABLE as error:
        raise ConductFormatError(f"delta: {error}") from None
    if read.version not in _DELTAS or read.salt != salt:
        raise ConductFormatError("delta: of another version or salt")
    if any(place >= len(read.keys) for _, places, *_ in read.events for place in places):
        raise ConductFormatError("delta: names keys that it lacks")
    named = (read.ended, read.back, read.runs, read.shown, read.told, read.passed, read.levels)
    if any(place >= len(read.keys) for some in named for place, *_ in some):
        raise ConductFormatError("delta: names keys that it lacks")
    if read.whose and len(read.whose) != len(read.events):
        raise ConductFormatError("delta: does not say whose each call is")
    if any(place >= len(read.events) for place in read.vouched):
        raise ConductFormatError("delta: vouches for calls that it lacks")
    if len(read.marks) != len(read.events):
        raise ConductFormatError("delta: without a mark for each call")
    return read


def read_finding(content: bytes) -> Finding | None:
    """A finding that was saved; None for what cannot be read."""
    try:
        version, found = _FINDING.decode(content)
    except UNREADABLE:
        return None
    return found if version in _FINDINGS else None


def write_counts(salt: int, half: int, key: Key, counts: KeyCounts) -> bytes:
    """Counts as they are saved."""
    return _ENCODER.encode(Kept(version=_COUNTS, salt=salt, half=half, key=key, counts=counts))


def read_counts(content: bytes, salt: int, half: int) -> Kept | None:
    """Counts that were saved; None for what cannot be read or is of another salt or window."""
    try:
        kept = _KEPT.decode(content)
    except UNREADABLE:
        return None
    if (kept.salt, kept.half) != (salt, half):
        return None
    try:
        if kept.version == _COUNTS:
            return Kept(
                version=_COUNTS,
                salt=salt,
                half=half,
                key=kept.key,
                counts=_KEY_COUNTS.decode(kept.counts),
            )
        if kept.version == _RENAMED:
            old = msgspec.msgpack.decode(kept.counts, type=dict[str, Any])
            return Kept(
                version=_COUNTS,
                salt=salt,
                half=half,
                key=kept.key,
                counts=msgspec.convert(_renamed(old), KeyCounts, dec_hook=_read),
            )
    except UNREADABLE:
        pass
    return None


def _renamed(old: dict[str, Any]) -> dict[str, Any]:
    """Counts of the release before, with the names of today."""
    counts = {_OLD_NAMES.get(name, name): value for name, value in old.items()}
    for name in ("now", "old"):
        half = counts.get(name)
        if half is not None:
            counts[name] = {_OLD_HALF_NAMES.get(key, key): value for key, value in half.items()}
    if counts.get("as_one_signer") is not None:
        counts["as_one_signer"] = _renamed(counts["as_one_signer"])
    return counts
