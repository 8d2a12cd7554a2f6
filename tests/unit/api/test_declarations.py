"""Declared footprints and exemptions over the API: held numbers alone, on both engines."""

from __future__ import annotations

import time

import pytest
from pools import make_pool

from zhenxian.api.calls.messages import SIGNING
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

NOBODYS = "8675511112222"  # held by nobody


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def sign(desk, number=BANK):
    request = {
        "attest": "A", "orig": {"tn": number}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "origid": BANK_ORIGID, "access": "bank-trunk",
    }  # fmt: skip
    return desk.call(SIGNING, {"signingRequest": request})[0]


def declared(desk, **members):
    body = {"subject": "bank", **members}
    return desk.http("PUT", "/v1/declarations/d?reason=contract", json=body)


def test_an_exempt_caller_may_not_show_numbers_that_nobody_holds(desk):
    make_pool(desk)
    assert (sign(desk), sign(desk, NOBODYS)) == (403, 403)
    now = int(time.time())
    exemption = {
        "kind": "subject", "target": "bank", "reason": "why", "since": now - 1, "until": now + 900
    }  # fmt: skip
    answer = desk.http("PUT", "/v1/exemptions/e?reason=why", json=exemption)
    assert answer.status_code == 200, answer.text
    assert (sign(desk), sign(desk, NOBODYS)) == (200, 403)


def test_a_declared_footprint_is_expected_and_what_departs_from_it_is_not(desk):
    make_pool(desk)
    assert declared(desk, numbers=[BANK], cities=["Beijing"]).status_code == 200
    assert sign(desk) == 403  # it is of another city
    assert declared(desk, numbers=[BANK], cities=["Shenzhen"]).status_code == 200
    assert (sign(desk), sign(desk, NOBODYS)) == (200, 403)
    assert desk.http("DELETE", "/v1/declarations/d?reason=over").status_code == 204
    assert sign(desk) == 403


def test_declarations_are_listed_by_subject_and_as_csv(desk):
    declared(desk, numbers=[BANK], cities=["Shenzhen"], purpose="branches")
    (one,) = desk.http("GET", "/v1/declarations?subject=bank").json()["declarations"]
    assert (one["id"], one["purpose"], one["cities"]) == ("d", "branches", ["Shenzhen"])
    assert desk.http("GET", "/v1/declarations?subject=courier").json()["declarations"] == []
    assert f"d,bank,{BANK},Shenzhen,branches" in desk.http("GET", "/v1/exports/declarations").text


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"subject": "nobody", "purpose": "x"}, 422),
        ({}, 422),
        ({"numbers": ["x"]}, 422),
        ({"purpose": "x", "until": 1}, 422),
    ],
)
def test_a_declaration_of_nobody_or_nothing_is_refused(desk, members, status):
    assert declared(desk, **members).status_code == status


def test_a_declaration_stays_its_subjects_and_goes_before_it(desk):
    assert declared(desk, purpose="x").status_code == 200
    assert declared(desk, subject="courier", purpose="x").status_code in (409, 422)
