"""Write what the release before leaves behind: a data folder, and a fleet's Redis and replicas.

Run by that release, from its own folder, with its own libraries:

    git worktree add /tmp/before 24fe2d7 && cd /tmp/before && scripts/setup dev
    .venv/bin/python <here>/tests/release/make.py <here>/tests/release

Writes 24fe2d7.json.gz: files and values of Redis (as DUMP gives them) in base64, and what that
release itself reads from them. Keys in it sign nothing but these tests.
"""

# ruff: noqa: TID251, E402 -- the modules of that release

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import msgspec

sys.path[:0] = [str(Path.cwd()), str(Path.cwd() / "tests"), str(Path.cwd() / "tests" / "fleet")]

from cryptography.hazmat.primitives.asymmetric import ec
from displays import Conduct
from gateway.conduct import ConductKeeper, load_policy, salt_of
from gateway.logs import pseudonym_key
from passport.tn import TN, TNRange
from redis_server import RedisServer
from stores.book import Book
from stores.conductfile import ConductFile
from stores.nodekey import NodeKey
from stores.redislink import FleetOptions
from streams import ACCESS, NOON, calls, fed, pool

from passport.jws import SigningKey
from registry.journal import Change, put
from registry.model import (
    Access,
    Binding,
    BindingModel,
    CalleeRefusal,
    Clearing,
    ConductKind,
    ConductMeasure,
    Exemption,
    Holding,
    Kind,
    Reseller,
    Scope,
    State,
    Subject,
    TargetKind,
    Use,
    Verification,
    clearing_id,
)
from registry.orders import Action, Instruction, lifted, order_of, sign_instruction
from stores.fleet import FleetRegistry

RELEASE = "24fe2d7"
SOLD = "862161000500"
CALLEE = "8613700000001"
STOPPED = "8613000000000-8613000000009"
ORIGID = "10000000-0000-4000-8000-00000000000"  # and a digit
EVER = 2**33  # seconds since the epoch; nothing ends before
ISSUER = SigningKey(ec.generate_private_key(ec.SECP256R1()))
YEAR = 365 * 86_400  # seconds; the most that an exemption may last
START = NOON - 86_400


def numbers(first: str, last: str | None = None) -> TNRange:
    return TNRange(TN(first), TN(last or first))


def held(first: str, last: str | None, subject: str, **more: object) -> Change:
    more.setdefault("verification", Verification.VERIFIED)
    return put(Holding(numbers(first, last), subject, **more))


def instruction(action: Action, order: str, number: int, kind: TargetKind, target: str, at: int):
    stated = Instruction(action, order, "regulator", number, f"file {number}", kind, target, at, at)
    return stated, sign_instruction(stated, ISSUER, "k1")


def ordered(order: str, number: int, kind: TargetKind, target: str, at: int):
    return order_of(*instruction(Action.STOP, order, number, kind, target, at))


def commits() -> list[tuple[str, list[Change]]]:
    """Reason and changes of each commit; every kind of record, put, changed and ended."""
    at = START
    shop = ordered("o-shop", 1, TargetKind.SUBJECT, "shop", at)
    lift = instruction(Action.LIFT, "o-shop", 3, TargetKind.SUBJECT, "shop", at + 60)
    return [
        (
            "subjects and who passes numbers on",
            [
                put(Subject("bank", name="Bank", document_kind="uscc", document="d" * 64)),
                put(Subject("shop", name="商店")),
                put(Subject("platform")),
                put(Subject("gone")),
                put(Reseller("mvno", "MVNO", "mvno")),
                put(Reseller("centre", "Call centre", "call-centre", "mvno")),
            ],
        ),
        (
            "holdings",
            [
                held("862161000000", "862161000999", "bank", reseller="centre", evidence="A-1"),
                held(SOLD, None, "shop", verified_on=20_000),
                held("8617000000001", None, "platform", use=Use.PRIVACY),
                held("95588", None, "bank", use=Use.DO_NOT_ORIGINATE, spcs=("1001",)),
                held("862161001000", None, "gone"),
            ],
        ),
        (
            "accesses",
            [
                put(Access("t-1", f"{ORIGID}1", "bank")),
                put(Access("a-1", f"{ORIGID}2", "shop", sims=("1", "2"))),
            ],
        ),
        (
            "bindings",
            [
                put(
                    Binding(
                        "b-1",
                        "platform",
                        BindingModel.AXB,
                        TN("8617000000001"),
                        TN("8613800000001"),
                        at,
                        TN("8613900000001"),
                        until=EVER,
                    )
                )
            ],
        ),
        ("an order", [put(shop)]),
        ("another", [put(ordered("o-range", 2, TargetKind.RANGE, STOPPED, at))]),
        (
            "exempted",
            [
                put(Exemption("e-1", ConductKind.SUBJECT, "bank", "hotline", at, at + YEAR)),
                put(Exemption("e-2", ConductKind.ACCESS, "t-1", "dispatch", at, at + YEAR)),
            ],
        ),
        (
            "cleared",
            [
                put(
                    Clearing(
                        clearing_id(at),
                        ConductKind.SUBJECT,
                        "shop",
                        at,
                        "auditor",
                        "objection upheld",
                        "pooled",
                        at - 60,
                        (ConductMeasure.SPREAD,),
                        "many displays",
                    )
                )
            ],
        ),
        (
            "refusals",
            [
                put(CalleeRefusal(numbers(CALLEE), at, None, (Scope.MARKETING,), "hotline")),
                put(CalleeRefusal(numbers("862188880000", "862188889999"), at)),
            ],
        ),
        ("sold", [put(Holding(numbers(SOLD), "bank", Verification.VERIFIED), expected=2)]),
        ("closed", [put(Reseller("mvno", "MVNO", "mvno", state=State.SUSPENDED))]),
        (
            "given back",
            [Change(Kind.HOLDING, "862161001000", None), Change(Kind.SUBJECT, "gone", None)],
        ),
        ("rotated", [put(Access("t-1", f"{ORIGID}3", "bank", former=(f"{ORIGID}1",)))]),
        ("lifted", [put(lifted(shop, *lift))]),
        ("refused no more", [Change(Kind.REFUSAL, CALLEE, None)]),
    ]


def request(place: int) -> dict[str, bytes]:
    return {"request": bytes([place]) * 32, "fingerprint": b"f%d" % place}


def plain(value: object) -> object:
    return msgspec.to_builtins(value, enc_hook=str)


def content(book: Book) -> dict[str, object]:
    """All that the release reads from a file."""
    found: dict[str, object] = {"last": list(book.last()), "commits": book.commits(0, 100)}
    keys = {(kind["kind"], kind["key"]) for one in found["commits"] for kind in one["changed"]}
    found["records"] = {
        kind.value: [[version, plain(record)] for version, record in book.page(kind).rows]
        for kind in Kind
    }
    found["history"] = {
        f"{kind} {key}": [plain(version) for version in book.history(Kind(kind), key)]
        for kind, key in sorted(keys)
    }
    return found


def data_folder(folder: Path) -> dict[str, object]:
    """A data folder as the embedded engine leaves it."""
    folder.mkdir()
    book = Book(folder / "registry.db", writer=True)
    for place, (reason, changes) in enumerate(commits(), 1):
        book.write(changes, author="maker", reason=reason, now=START + 60 * place, **request(place))
    read = content(book)
    book.close()
    NodeKey.load_or_create(folder / "node.key", "before")
    pseudonym_key(folder / "log.key")
    policy = load_policy(None, salt=salt_of(pseudonym_key(folder / "identity.key")))
    conduct = Conduct(policy, show=str, fleet=False, boot=START * 1_000)
    keeper = ConductKeeper(
        conduct, ConductFile(folder / "conduct.db"), None, lambda: NOON + 600, None
    )
    fed(conduct, calls(ACCESS, pool(Random(1), 200)))
    asyncio.run(keeper.close())
    return read


async def fleet(folder: Path, url: str) -> dict[str, object]:
    """A fleet: node a has everything; node b stopped before the stream was trimmed."""
    options = FleetOptions(url, checkpoint_commits=10**6, keep_commits=1, version=RELEASE)
    nodes = {
        name: FleetRegistry(
            folder / f"{name}.db", options, NodeKey.load_or_create(folder / f"{name}.key", name)
        )
        for name in ("a", "b")
    }
    for node in nodes.values():
        await node.start()
    listed = commits()
    for place, (reason, changes) in enumerate(listed, 1):
        node = nodes["a"]
        now = START + 60 * place
        await node.write(changes, author="maker", reason=reason, now=now, **request(place))
        if place == 3:
            await nodes["b"]._settle()
            await nodes["b"].aclose()
        if place == 10:
            assert await node.checkpoint()
    await node._attend()
    read = content(node.book)
    read["acknowledged"] = sorted(name for name, _, _ in await node.acknowledgements("o-range"))
    await node.aclose()
    return read


def flat(path: Path) -> None:
    """Everything of a database in its one file."""
    db = sqlite3.connect(path)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def files(folder: Path) -> dict[str, str]:
    for path in folder.glob("*.db"):
        flat(path)
    return {
        path.name: base64.b64encode(path.read_bytes()).decode()
        for path in sorted(folder.iterdir())
        if path.suffix in (".db", ".key")
    }


def dumped(port: int) -> dict[str, str]:
    import redis  # noqa: PLC0415

    client = redis.Redis(port=port)
    return {
        key.decode(): base64.b64encode(client.dump(key)).decode()
        for key in sorted(client.keys("*"))
    }


def main(target: Path) -> None:
    head = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip()
    if head != RELEASE:
        raise SystemExit(f"run it from release {RELEASE}, not from {head}")
    scratch = Path(tempfile.mkdtemp())
    (scratch / "fleet").mkdir()
    server = RedisServer(scratch / "redis")
    try:
        made = {
            "release": RELEASE,
            "made": int(time.time()),
            "issuer": ISSUER.verifying_key.public_pem.decode(),
            "data": {"read": data_folder(scratch / "data"), "files": files(scratch / "data")},
            "fleet": {"read": asyncio.run(fleet(scratch / "fleet", server.url))},
        }
        made["fleet"] |= {"files": files(scratch / "fleet"), "redis": dumped(server.port)}
    finally:
        server.stop()
        shutil.rmtree(scratch)
    body = gzip.compress(json.dumps(made).encode(), 9, mtime=0)
    (target / f"{RELEASE}.json.gz").write_bytes(body)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
