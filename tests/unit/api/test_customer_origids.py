"""Who shares an access may have an origid of its own: signed, traced, rotated, of nobody else."""

from __future__ import annotations

import time
from random import Random

import pytest
from pools import unanswered
from streams import calls, pool

from zhenxian.analytics import Key, KeyKind
from zhenxian.api.calls.messages import SIGNING
from zhenxian.passport.identity import parse_identity_header
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

OWN, NEXT = "9c000000-0000-4000-8000-000000000001", "9c000000-0000-4000-8000-000000000002"


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


@pytest.fixture
def shared(desk):
    assert put(desk, "bakery", names=["t17"], origid=OWN).status_code in (200, 201)
    assert put(desk, "clinic").status_code in (200, 201)
    return desk


def put(desk, name, **members):
    body = {"access": "bank-trunk", **members}
    return desk.http("PUT", f"/v1/customers/{name}?reason=contract", json=body)


def signed(desk, **more):
    request = {
        "attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "origid": BANK_ORIGID, "access": "bank-trunk",
    } | more  # fmt: skip
    status, answer = desk.call(SIGNING, {"signingRequest": request})
    assert status == 200, answer
    identity = answer["signingResponse"]["identity"]
    return parse_identity_header(identity).passport().extension.origid


def trace(desk, origid):
    told = desk.http("GET", f"/v1/origids/{origid}").json()
    return told.get("id"), told.get("customer"), told.get("current")


def test_verifiers_tell_it_from_its_neighbours(shared):
    assert signed(shared, customer="t17") == signed(shared, customer="bakery") == OWN
    assert signed(shared, customer="clinic") == signed(shared) == BANK_ORIGID


def test_it_is_traced_also_when_it_was_rotated_and_when_the_customer_left(shared):
    assert trace(shared, OWN) == ("bank-trunk", "bakery", True)
    answer = put(shared, "bakery", origid=NEXT)
    assert answer.status_code == 200, answer.text
    assert signed(shared, customer="bakery") == NEXT
    assert trace(shared, OWN) == ("bank-trunk", "bakery", False)
    assert shared.http("DELETE", "/v1/customers/bakery?reason=left").status_code == 204
    assert signed(shared, customer="bakery") == BANK_ORIGID
    assert trace(shared, NEXT)[:2] == ("bank-trunk", "bakery")
    assert put(shared, "bakery", origid=OWN).status_code == 409


@pytest.mark.parametrize(
    ("path", "members", "why"),
    [
        ("customers/other", {"access": "bank-trunk", "origid": OWN}, "names two customers"),
        ("customers/other", {"access": "bank-trunk", "origid": BANK_ORIGID}, "is access"),
        ("accesses/more", {"subject": "bank", "origid": OWN}, "is customer bakery's"),
    ],
)
def test_an_origid_is_of_one_caller(shared, path, members, why):
    answer = shared.http("PUT", f"/v1/{path}?reason=contract", json=members)
    assert answer.status_code == 409
    assert why in answer.json()["detail"]


def test_what_is_no_origid_is_refused(shared):
    assert put(shared, "other", origid="a\nb").status_code == 422


def test_one_clearing_reaches_what_verifiers_found_of_it(shared):
    key, now = Key(KeyKind.ACCESS, "bank-trunk/bakery"), int(time.time())
    pairs = pool(Random(1), 150)
    unanswered(shared.service.keeper.conduct, calls((key,), pairs, start=now - 150, every=1))
    told = shared.http("POST", "/v1/clearings", json={"key": str(key), "reason": "audited"})
    assert told.status_code == 201, told.text
    cleared = [one["key"] for one in told.json()["clearings"]]
    assert cleared[0] == str(key)
    assert [one.partition("/")[2] for one in cleared[1:]] == [OWN]
