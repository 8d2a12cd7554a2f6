"""The journal on Redis: keys, scripts, and what is read from them.

All keys of the registry have one hash tag, so a Cluster gives them one slot and a script may
touch them together.

| key                         | holds                                                            |
|-----------------------------|------------------------------------------------------------------|
| {zx}:id                     | random id of the journal, made with its first commit             |
| {zx}:head                   | digest of all commits                                            |
| {zx}:journal                | stream, id seq-0: c (commit), p (head before it), n (nonce)      |
| {zx}:bytes                  | octets appended since the last checkpoint                        |
| {zx}:checkpoint             | hash: name, seq, head, chunks, size, digest of the checkpoint    |
| {zx}:checkpoint:<name>:<n>  | zlib of a piece of its file                                      |
| {zx}:checkpoints            | names and lengths of checkpoints begun                           |
| {zx}:nodes                  | hash: node to JSON (node, seen, cursor, version, key)            |
| {zx}:compare:<round>        | hash: " as-of" to "commit moment"; node to "release digest"       |
| {zx}:acks:<order>           | hash: "digest:node" to JSON [token, key]                         |
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import zlib
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from zhenxian.core.errors import ConfigError, StoreUnavailableError
from zhenxian.stores.fleet.entry import Entry, Mark, UnreadableError
from zhenxian.stores.fleet.link import Client, FleetOptions, GarbledError, Link, understood

_CHUNK: Final = 4 * 1024 * 1024  # octets of a checkpoint's file in one value
_UPLOAD_SECONDS: Final = 3_600  # a checkpoint that is not published by then is forgotten
_OLD_SECONDS: Final = 600  # a checkpoint that was replaced is still there for who reads it
_LOCK_MS: Final = 600_000  # milliseconds one node has for making a checkpoint
_AS_OF: Final = " as-of"  # no node is called so
MAX_RANGE: Final = 256  # commits read at a time

_STATE: Final = """
local last, first = 0, 0
if redis.call('EXISTS', KEYS[3]) == 1 then
  local info = redis.call('XINFO', 'STREAM', KEYS[3])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then last = string.match(info[i + 1], '^%d+') end
    if info[i] == 'first-entry' and info[i + 1] then
      first = string.match(info[i + 1][1], '^%d+')
    end
  end
end
local mark = redis.call('HMGET', KEYS[4], 'seq', 'size')
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', tostring(last),
  tostring(first), mark[1] or '0', mark[2] or '0', redis.call('GET', KEYS[5]) or '0'}
"""
# Asked twice, it answers as if asked once: the commit with our nonce is ours.
_APPEND: Final = """
local id = redis.call('GET', KEYS[1])
if not id then
  if ARGV[2] ~= '1' or redis.call('EXISTS', KEYS[3]) == 1 then return 'gone' end
elseif id ~= ARGV[1] then
  return 'foreign'
end
local seq = ARGV[3] .. '-0'
local there = redis.call('XRANGE', KEYS[3], seq, seq)
if there[1] then
  for i = 1, #there[1][2], 2 do
    if there[1][2][i] == 'n' and there[1][2][i + 1] == ARGV[6] then
      redis.call('INCRBY', KEYS[5], 0)
      return 'ok'
    end
  end
  return 'lost'
end
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[4] then return 'lost' end
redis.call('XADD', KEYS[3], seq, 'c', ARGV[7], 'p', ARGV[4], 'n', ARGV[6])
if not id then redis.call('SET', KEYS[1], ARGV[1]) end
redis.call('SET', KEYS[2], ARGV[5])
redis.call('INCRBY', KEYS[5], #ARGV[7])
return 'ok'
"""
_PUBLISH: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'lost' end
local seq = tonumber(ARGV[2])
local following = redis.call('XRANGE', KEYS[3], string.format('%.0f-0', seq + 1), '+', 'COUNT', 1)
local head = redis.call('GET', KEYS[2])
if following[1] then
  head = nil
  for i = 1, #following[1][2], 2 do
    if following[1][2][i] == 'p' then head = following[1][2][i + 1] end
  end
end
if head ~= ARGV[3] then return 'lost' end
redis.call('HSET', KEYS[4], unpack(ARGV, 5))
redis.call('XTRIM', KEYS[3], 'MINID', string.format('%.0f-0', math.max(1, seq + 1 - ARGV[4])))
redis.call('SET', KEYS[5], 0)
return 'ok'
"""
_RESEED: Final = """
if redis.call('EXISTS', KEYS[1], KEYS[3]) > 0 then return 'there' end
redis.call('XADD', KEYS[3], ARGV[2] .. '-0', 'n', 'reseeded')
redis.call('XTRIM', KEYS[3], 'MAXLEN', 0)
redis.call('SET', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], ARGV[3])
redis.call('HSET', KEYS[4], unpack(ARGV, 5))
redis.call('SET', KEYS[5], 0)
return 'ok'
"""


_OUTCOMES: Final = (b"ok", b"lost", b"foreign", b"gone")


class State(Struct, frozen=True, kw_only=True):
    """What Redis holds.

    Attributes:
        journal: empty when there is none.
        last: the last commit ever appended. first: the first still in the stream; 0 when empty.
        checkpoint: the commit the checkpoint stands at; 0 without one. size: octets of its file.
        grown: octets appended since.
    """

    journal: str
    head: bytes
    last: int
    first: int
    checkpoint: int
    size: int
    grown: int


class Appended(Struct, frozen=True):
    """What became of an append.

    Attributes:
        outcome: "ok", "lost" (somebody was faster), "foreign" or "gone".
        replicas: how many confirmed it; None when nobody asked.
    """

    outcome: str
    replicas: int | None


class NodeEntry(Struct, frozen=True, kw_only=True):
    """What a node says of itself. `seen` in seconds since the epoch; key: its public JWK."""

    node: str
    seen: int
    cursor: int
    version: str
    key: str


@understood
class Journal:
    """The journal of one fleet. Every method raises one of link.UNREACHABLE."""

    def __init__(self, link: Link, options: FleetOptions) -> None:
        self._link = link
        self._options = options
        self._prefix = "{" + options.tag + "}:"
        self._keys = [
            self._prefix + name for name in ("id", "head", "journal", "checkpoint", "bytes")
        ]

    async def state(self) -> State:
        """What Redis holds, in one question."""
        client = await self._link.client()
        found = await _eval(client, _STATE, self._keys)
        journal, head, *numbers = found
        last, first, checkpoint, size, grown = (int(number) for number in numbers)
        return State(
            journal=journal.decode(),
            head=head,
            last=last,
            first=first,
            checkpoint=checkpoint,
            size=size,
            grown=grown,
        )

    async def range(self, first: int) -> list[Entry]:
        """Some commits from `first` on that are in the stream."""
        client: Any = await self._link.client()
        rows = await client.xrange(self._keys[2], f"{first}-0", "+", count=MAX_RANGE)
        return [_entry(*row) for row in rows]

    async def listen(self, after: int, seconds: float) -> tuple[list[Entry], bool]:
        """Commits after one, as soon as there are any; True with them when there may be more."""
        client: Any = await self._link.client()
        found = await client.xread(
            {self._keys[2]: f"{after}-0"}, count=MAX_RANGE, block=max(1, int(seconds * 1000))
        )
        rows = found[0][1] if found else []
        return [_entry(*row) for row in rows], len(rows) >= MAX_RANGE

    async def append(self, mark: Mark, entry: Entry, *, new: str) -> Appended:
        """Append a commit if nothing but what the mark names was appended before.

        Args:
            new: id for the journal, should there be none yet; empty when there must be one.
        """
        client: Any = await self._link.client()
        options = self._options
        pipe = client.pipeline(transaction=False)
        pipe.eval(
            _APPEND,
            len(self._keys),
            *self._keys,
            new or mark.journal,
            int(bool(new)),
            entry.seq,
            mark.head,
            entry.head,
            entry.nonce,
            entry.body,
        )
        if options.wait_replicas:
            pipe.execute_command("WAIT", options.wait_replicas, options.wait_ms)
        outcome, *waited = await pipe.execute(raise_on_error=False)
        for answer in (outcome, *waited):
            if isinstance(answer, Exception):
                raise answer
        if outcome not in _OUTCOMES or not all(type(count) is int for count in waited):
            raise GarbledError
        return Appended(outcome.decode(), waited[0] if waited else None)

    async def confirmed(self) -> int:
        """How many replicas have all that was appended up to now."""
        client: Any = await self._link.client()
        pipe = client.pipeline(transaction=False)
        pipe.incrby(self._keys[4], 0)
        pipe.execute_command("WAIT", self._options.wait_replicas, self._options.wait_ms)
        return int((await pipe.execute())[1])

    async def examine(self) -> list[str]:
        """What speaks against trusting this Redis with a registry; empty when it may not be asked.

        Raises:
            ConfigError: it forgets, and nobody said that it may.
        """
        client: Any = await self._link.client()
        try:
            found = await client.config_get("appendonly", "save", "maxmemory-policy")
        except ResponseError as error:
            return [f"whether Redis keeps its data on disk cannot be asked: {error}"]
        text = {_text(name): _text(value) for name, value in found.items()}
        faults = []
        if text.get("appendonly") == "no" and not text.get("save"):
            faults.append("Redis keeps nothing on disk (appendonly no, save empty)")
        if text.get("maxmemory-policy", "").startswith("allkeys"):
            faults.append(
                f"Redis may evict the registry (maxmemory-policy {text['maxmemory-policy']})"
            )
        if faults and not self._options.allow_volatile:
            raise ConfigError(
                f"{'; '.join(faults)}: what it loses, the fleet loses. Set appendonly yes and"
                " maxmemory-policy noeviction there, or set allow_volatile here if that is meant"
            )
        if not faults and text.get("appendonly") == "no":
            faults.append("Redis saves now and then only: set appendonly yes")
        if text.get("maxmemory-policy", "").startswith("volatile"):
            faults.append(
                "Redis may evict which tokens were seen (maxmemory-policy"
                f" {text['maxmemory-policy']}): set maxmemory-policy noeviction"
            )
        return faults

    # Nodes ----------------------------------------------------------------------------------------

    async def greet(self, entry: NodeEntry) -> NodeEntry | None:
        """Say that a node is here; what was said under its name before."""
        client: Any = await self._link.client()
        pipe = client.pipeline(transaction=False)
        key = self._prefix + "nodes"
        pipe.hget(key, entry.node)
        pipe.hset(key, entry.node, msgspec.json.encode(entry))
        before, _ = await pipe.execute()
        return _node(before) if before is not None else None

    async def clocks(self) -> tuple[float, list[NodeEntry]]:
        """Redis' own time, and what the nodes said of themselves."""
        client: Any = await self._link.client()
        pipe = client.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(self._prefix + "nodes")
        moment, found = await pipe.execute(raise_on_error=False)
        if isinstance(moment, Exception):
            raise moment
        # What strangers may have put in the nodes' place says nothing of any clock.
        bodies = found.values() if isinstance(found, dict) else ()
        entries = [_node(body) for body in bodies]
        seconds, microseconds = moment
        return seconds + microseconds / 1e6, [entry for entry in entries if entry is not None]

    async def nodes(self) -> list[NodeEntry]:
        """What the nodes said of themselves, also those that are gone."""
        client: Any = await self._link.client()
        found = await client.hgetall(self._prefix + "nodes")
        entries = [_node(body) for body in found.values()]
        return sorted((e for e in entries if e is not None), key=lambda entry: entry.node)

    async def comparison(self, number: int, seq: int, now: int) -> tuple[int, int, dict[str, str]]:
        """A round of comparing: as of which commit and moment, and what nodes have said.

        Args:
            seq, now: what it is if this node is the first to ask.
        """
        client: Any = await self._link.client()
        key = f"{self._prefix}compare:{number}"
        pipe = client.pipeline(transaction=False)
        pipe.hsetnx(key, _AS_OF, f"{seq} {now}")
        pipe.expire(key, max(60, int(10 * self._options.compare_every)))
        pipe.hgetall(key)
        *_, found = await pipe.execute()
        told = {_text(name): _text(value) for name, value in found.items()}
        as_of, _, moment = told.pop(_AS_OF, "").partition(" ")
        if not (as_of.isdecimal() and moment.isdecimal()):
            raise StoreUnavailableError("what nodes compare by cannot be read")
        return int(as_of), int(moment), told

    async def compare(self, number: int, node: str, text: str) -> None:
        """Say what a node's copy is, in a round."""
        client: Any = await self._link.client()
        await client.hset(f"{self._prefix}compare:{number}", node, text)

    async def acknowledge(self, order: str, digest: str, node: str, token: str, key: str) -> None:
        """Publish a node's acknowledgement of an order as the digest names it."""
        client: Any = await self._link.client()
        await client.hset(
            f"{self._prefix}acks:{order}",
            f"{digest}:{node}",
            msgspec.json.encode([token, key]),
        )

    async def acknowledgements(self, order: str, digest: str) -> list[tuple[str, str, str]]:
        """Node, token and key of the acknowledgements of an order as the digest names it."""
        client: Any = await self._link.client()
        found = await client.hgetall(f"{self._prefix}acks:{order}")
        listed = []
        for field, body in found.items():
            stated, _, node = _text(field).partition(":")
            if stated == digest:
                token, key = msgspec.json.decode(body, type=tuple[str, str])
                listed.append((node, token, key))
        return sorted(listed)

    # Checkpoints ----------------------------------------------------------------------------------

    async def lock(self) -> bool:
        """Be the one who makes a checkpoint."""
        client: Any = await self._link.client()
        return bool(await client.set(self._prefix + "checkpointing", "1", nx=True, px=_LOCK_MS))

    async def unlock(self) -> None:
        """Let others make one."""
        client: Any = await self._link.client()
        await client.delete(self._prefix + "checkpointing")

    async def publish(self, image: Path, mark: Mark, *, reseed: bool = False) -> bool:
        """Store a checkpoint and trim the stream below it; False when it does not belong here.

        Args:
            reseed: there is no journal: this is to be it.
        """
        client: Any = await self._link.client()
        name = f"{mark.seq}-{secrets.token_hex(4)}"
        digest, size, count = hashlib.sha256(), 0, 0
        with image.open("rb") as file:
            while piece := await asyncio.to_thread(file.read, _CHUNK):
                digest.update(piece)
                body = await asyncio.to_thread(zlib.compress, piece, 1)
                await client.set(self._chunk(name, count), body, ex=_UPLOAD_SECONDS)
                size, count = size + len(piece), count + 1
        await client.sadd(self._prefix + "checkpoints", f"{name}|{count}")
        for number in range(count):
            if not await client.persist(self._chunk(name, number)):
                raise StoreUnavailableError("Redis lost a piece of the checkpoint")
        fields: list[Any] = ["name", name, "seq", mark.seq, "head", mark.head, "chunks", count]
        fields += ["size", size, "digest", digest.digest()]
        outcome = await _eval(
            client,
            _RESEED if reseed else _PUBLISH,
            self._keys,
            mark.journal,
            mark.seq,
            mark.head,
            self._options.keep_commits,
            *fields,
        )
        accepted = bool(outcome == b"ok")
        await self._sweep(client, name if accepted else None)
        return accepted

    async def _sweep(self, client: Any, keep: str | None) -> None:
        """Forget, soon, the checkpoints that are not in use."""
        if keep is None:
            current = await client.hget(self._keys[3], "name")
            keep = _text(current) if current is not None else ""
        listed = self._prefix + "checkpoints"
        for member in await client.smembers(listed):
            name, _, count = _text(member).partition("|")
            if name == keep:
                continue
            for number in range(int(count)):
                await client.expire(self._chunk(name, number), _OLD_SECONDS)
            await client.srem(listed, member)

    async def fetch(self, target: Path) -> Mark | None:
        """Load the checkpoint into a new file; None when there is none.

        Raises:
            UnreadableError: it was replaced meanwhile, or is damaged.
        """
        client: Any = await self._link.client()
        found = await client.hgetall(self._keys[3])
        journal = await client.get(self._keys[0])
        if not found or journal is None:
            return None
        name, digest = _text(found[b"name"]), hashlib.sha256()
        with target.open("wb") as file:
            for number in range(int(found[b"chunks"])):
                body = await client.get(self._chunk(name, number))
                if body is None:
                    raise UnreadableError(f"piece {number} of the checkpoint is missing")
                piece = await asyncio.to_thread(_unpacked, body)
                digest.update(piece)
                await asyncio.to_thread(file.write, piece)
        if digest.digest() != found[b"digest"]:
            raise UnreadableError("the checkpoint is damaged: its digest does not match")
        return Mark(_text(journal), int(found[b"seq"]), found[b"head"])

    def _chunk(self, name: str, number: int) -> str:
        return f"{self._keys[3]}:{name}:{number}"


async def _eval(client: Client, script: str, keys: list[str], *values: Any) -> Any:
    asked: Any = client
    return await asked.eval(script, len(keys), *keys, *values)


def _entry(identity: bytes, fields: dict[bytes, bytes]) -> Entry:
    seq, _, part = identity.partition(b"-")
    if part != b"0" or not {b"c", b"p", b"n"} <= fields.keys():
        raise UnreadableError(
            f"the stream holds {_text(identity)}, which is no commit of this service"
        )
    return Entry(int(seq), fields[b"p"], fields[b"n"], fields[b"c"])


def _unpacked(body: bytes) -> bytes:
    try:
        stream = zlib.decompressobj()
        piece = stream.decompress(body, _CHUNK)
    except zlib.error:
        piece, stream = b"", zlib.decompressobj()
    if not stream.eof:
        raise UnreadableError("the checkpoint is damaged: a piece cannot be unpacked")
    return piece


def _node(body: bytes) -> NodeEntry | None:
    try:
        return msgspec.json.decode(body, type=NodeEntry)
    except msgspec.MsgspecError:
        return None


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
