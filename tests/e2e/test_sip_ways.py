"""The short way of INVITEs over HTTP and their route give the same octets, whatever is asked.

A query that has more than the two parameters goes to the route. Both ways are asked one after the
other about each call, as forks of it: signing again would give another signature, so that answers
are equal only where both ways took the call for the same one, of the same asker and access.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections import Counter

import pytest
from running import Service, Wire, raw
from sips import invite

from zhenxian.api.auth import Role, add_key
from zhenxian.simulation.demo import BANK, CALLEE, COURIER, SHOP
from zhenxian.sip.message import MAX_MESSAGE

ORIGINATING, TERMINATING = "/sip/v1/originating", "/sip/v1/terminating"
REQUESTS = 150
_CLOSE = b"connection: close\r\n"
NUMBERS = (BANK, SHOP, COURIER, "110", "anonymous", "12", "86" * 9)
QUERIES = (
    "", "access=bank-trunk", "access=call-centre-trunk", "source=192.0.2.7", "access=",
    "access=bank-trunk&source=192.0.2.7", "source=2001:db8::1&access=x", "access=%62ank-trunk",
    "access=a&access=bank-trunk", "source=" + "1" * 64, "source=" + "1" * 65,
    "access=" + "a" * 128, "access=" + "a" * 129, "other=1", "access", "access=b+c", "&",
)  # fmt: skip
ACCEPTS = (
    (), ("accept: application/json",), ("accept: text/plain",), ("accept: */*",), ("accept:",),
    ("accept: text/plain;q=0.1, application/json",), ("accept: image/png",),
    ("accept: image/png", "accept: application/json"), ("accept: application/json;q=0",),
)  # fmt: skip
TYPES = (
    ("content-type: message/sip",), (), ("content-type: Message/SIP; charset=utf-8",),
    ("content-type: application/octet-stream",), ("content-type: application/json",),
    ("content-type: \xe9",),
)  # fmt: skip
OTHERS = (
    (), ("x-requestid: 7",), ("connection: close",), ("expect: 100-continue",), ("x-a: b",) * 120,
    ("accept-encoding: gzip",), ("origin: http://elsewhere.example",),
)  # fmt: skip
LINES = (
    "Privacy: id", f"P-Asserted-Identity: <tel:+{BANK}>", "Identity: nonsense", "Date: yesterday",
    "Identity: a.b.c;info=<https://a.example/b>;alg=ES256", "X-Trunk: bank-trunk", "y: a, b",
    f"Diversion: <sip:+{SHOP}@a.example>", "X: " + "é" * 40, "P-Attestation-Indicator: A",
)  # fmt: skip


def _often(dice, usual, values, share=0.7):
    return usual if dice.random() < share else dice.choice(values)


def _message(dice):
    lines = dice.sample(LINES, dice.choice((0, 0, 1, 2)))
    shown = f'"A" <sip:+{_often(dice, BANK, NUMBERS)}@a.example>'
    called = f"<sip:+{_often(dice, CALLEE, NUMBERS)}@b.example>"
    tag = ";tag=7" if dice.random() < 0.1 else ""
    made = invite(*lines, caller=shown, called=called + tag, body="b" * dice.choice((0, 9, 5000)))
    broken = dice.random()
    if broken < 0.1:
        at = dice.randrange(len(made))
        return made[:at] + bytes([dice.randrange(256)]) + made[at + 1 :]
    if broken < 0.15:
        return made[: dice.randrange(len(made))]
    return made.ljust(70_000, b"b") if broken < 0.17 else made


def _identity(service):
    """A token of the bank for the callee."""
    with Wire(service) as wire:
        body = invite()
        fields = ("accept: application/json", f"content-length: {len(body)}", *_key(service))
        wire.send(raw(f"{ORIGINATING}?access=bank-trunk", body, *fields))
        status, _, answer = wire.answer()
    assert status == 200, answer
    return next(line for line in json.loads(answer)["headers"] if line.startswith("Identity"))


def _key(service):
    return (f"authorization: Bearer {service.key}",) if service.key else ()


def _octets(service, request):
    """The answers to a request, and to the same once more if the connection is kept."""
    seen = []
    with socket.create_connection(("127.0.0.1", service.port), 20) as wire:
        for _ in range(2):
            wire.sendall(request)
            answer = _one(wire)
            seen.append(answer)
            if b"connection: close" in answer:
                break
    return seen


def _one(wire):
    octets = b""
    while True:
        head, found, body = octets.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: ([0-9]+)", head)
        if found and head.startswith(b"HTTP/1.1 100"):
            octets = body
            continue
        if found and length is not None and len(body) >= int(length[1]):
            return octets
        more = wire.recv(65_536)
        assert more, octets
        octets += more


@pytest.fixture(scope="module", params=["anonymous", "keys"])
def asked(request, tmp_path_factory):
    """A running service, and whoever may ask it."""
    folder = tmp_path_factory.mktemp(request.param)
    more, keys = {}, ()
    if request.param == "keys":
        file = folder / "keys.toml"
        more = {"auth__keys": file}
        keys = (add_key(file, "sbc", [Role.PROXY]), add_key(file, "desk", [Role.AUDITOR]))
    running = Service(
        folder / "service", verifier__repeat_seconds=30, sip__access_header="X-Trunk", **more
    )
    running.key = keys[0] if keys else None
    running.others = [(), *((f"authorization: Bearer {key}",) for key in (*keys[1:], "zx_a_b"))]
    yield running.start()
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


def test_both_ways_give_the_same_octets(asked):
    dice, statuses = random.Random(14), Counter()
    identity = _identity(asked)
    for _ in range(REQUESTS):
        path = dice.choice((ORIGINATING, TERMINATING))
        query = _often(dice, "access=bank-trunk", QUERIES, 0.5)
        signed = path == TERMINATING and dice.random() < 0.4
        body = invite(identity) if signed else _message(dice)
        fields = [
            *_often(dice, ACCEPTS[0], ACCEPTS), *_often(dice, TYPES[0], TYPES),
            *_often(dice, OTHERS[0], OTHERS), *_often(dice, _key(asked), asked.others, 0.8),
            f"content-length: {len(body)}",
        ]  # fmt: skip
        targets = [
            f"{path}?{query}" if query else path,
            f"{path}?{query}&way=asgi" if query else f"{path}?way=asgi",
        ]
        dice.shuffle(targets)
        one, other = (_octets(asked, raw(target, body, *fields)) for target in targets)
        if len(body) > MAX_MESSAGE:
            # It comes in parts, and an answer that begins before the last of them says that the
            # connection ends: which it is depends on the machine, either way.
            one, other = ([each[0].replace(_CLOSE, b"")] for each in (one, other))
        assert one == other, (targets, fields, body)
        statuses[one[0][9:12]] += 1
    assert statuses[b"200"] > REQUESTS / 3
    assert {b"400", b"406", b"415", b"422"} <= set(statuses), statuses
    assert not asked.key or {b"401", b"403"} <= set(statuses), statuses
