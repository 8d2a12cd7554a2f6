"""Customers of a shared access: each is judged by itself, and who is none of them with the rest."""

from __future__ import annotations

import time
from random import Random

import pytest
from pools import unanswered
from streams import CODES, calls, number, pool, somebody

from zhenxian.analytics import Key, KeyKind
from zhenxian.api.calls.messages import SIGNING
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


TRUNK, HOST = Key(KeyKind.ACCESS, "bank-trunk"), Key(KeyKind.SUBJECT, "bank")


def customer(name):
    return Key(KeyKind.ACCESS, f"bank-trunk/{name}")


def sign(desk, **more):
    request = {
        "attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "origid": BANK_ORIGID, "access": "bank-trunk",
    } | more  # fmt: skip
    return desk.call(SIGNING, {"signingRequest": request})


def registered(desk, name, **members):
    answer = desk.http(
        "PUT", f"/v1/customers/{name}?reason=contract", json={"access": "bank-trunk", **members}
    )
    assert answer.status_code in (200, 201), answer.text


def seen(desk, key):
    return desk.http("GET", f"/v1/displays/{key}").json()["calls"]


@pytest.fixture
def shared(desk):
    registered(desk, "bakery", names=["t17"])
    registered(desk, "clinic", numbers=[BANK])
    return desk


def test_the_calls_of_a_customer_named_by_id_or_name_count_for_it_alone(shared):
    assert sign(shared, customer="bakery")[0] == 200
    assert sign(shared, customer="t17")[0] == 200
    assert seen(shared, customer("bakery")) == 2
    assert [seen(shared, one) for one in (TRUNK, HOST, customer("clinic"))] == [0, 0, 0]


def test_in_the_other_dialect_too(shared):
    request = {
        "orig": {"tn": BANK}, "dest": {"tn": CALLEE}, "iat": int(time.time()), "requestId": "1",
        "profileId": "bank-trunk", "customer": "t17",
    }  # fmt: skip
    assert shared.call(SIGNING, {"signingRequest": request})[0] == 200
    assert seen(shared, customer("bakery")) == 1


def test_a_customer_is_known_by_its_numbers_where_the_request_names_none(shared):
    assert sign(shared)[0] == 200
    assert seen(shared, customer("clinic")) == 1


def test_names_that_nobody_has_count_together_with_the_rest_of_the_access(shared):
    for turn in range(6):
        assert sign(shared, customer=f"fresh-{turn}")[0] == 200
    assert [seen(shared, one) for one in (TRUNK, HOST)] == [6, 6]
    assert seen(shared, customer("fresh-1")) == 0
    assert seen(shared, customer("clinic")) == 0  # although the display is its own


def test_an_access_without_customers_is_one_caller_whatever_is_named(desk):
    assert sign(desk, customer="bakery")[0] == 200
    assert [seen(desk, one) for one in (TRUNK, HOST)] == [1, 1]


def test_many_honest_customers_behind_one_trunk_are_no_pool_and_a_pool_among_them_is_found(shared):
    conduct, random = shared.service.keeper.conduct, Random(7)
    now = int(time.time())
    for turn in range(40):
        key = customer(f"c{turn}")
        display = number(random.choice(CODES), 1_000 + turn)
        pairs = [(display, somebody(random)) for _ in range(8)]
        unanswered(conduct, calls((key,), pairs, start=now - 100, every=1))
    assert conduct.finding(TRUNK, now) is None
    unanswered(
        conduct, calls((customer("bakery"),), pool(Random(3), 150), start=now - 150, every=1)
    )
    status, answer = sign(shared, customer="t17")
    assert status == 403
    assert answer["requestError"]["policyException"]["variables"][0] == "POOLED_DISPLAY"
    assert sign(shared)[0] == sign(shared, customer="other")[0] == 200


def test_the_end_of_a_call_is_told_of_the_customer(shared):
    over = {"access": "bank-trunk", "orig": BANK, "dest": CALLEE, "answered": True, "seconds": 9}
    for call, taken in ((over, 1), (over | {"customer": "t17"}, 1), (over | {"customer": "?"}, 2)):
        answer = shared.http("POST", "/v1/displays/ended", json=[call])
        assert answer.json() == {"taken": taken}


def test_a_customer_that_is_not_there_any_more_is_the_rest_from_the_next_call_on(shared):
    sign(shared, customer="bakery")
    assert shared.http("DELETE", "/v1/customers/bakery?reason=left").status_code == 204
    sign(shared, customer="bakery")
    assert [seen(shared, customer("bakery")), seen(shared, TRUNK)] == [1, 1]


@pytest.mark.parametrize(
    ("name", "members", "why"),
    [
        ("other", {"names": ["t17"]}, "names two customers"),
        ("other", {"numbers": [BANK]}, "is of two customers"),
        ("t17", {}, "names two customers"),
    ],
)
def test_no_call_can_be_of_two_customers(shared, name, members, why):
    body = {"access": "bank-trunk", **members}
    answer = shared.http("PUT", f"/v1/customers/{name}?reason=contract", json=body)
    assert answer.status_code == 409
    assert why in answer.json()["detail"]


@pytest.mark.parametrize("members", [{"access": "nobody"}, {"numbers": ["1-2-3"]}, {"access": ""}])
def test_a_customer_of_nothing_is_refused(shared, members):
    body = {"access": "bank-trunk", **members}
    answer = shared.http("PUT", "/v1/customers/other?reason=contract", json=body)
    assert answer.status_code == 422


def test_an_access_with_customers_does_not_end_before_them(shared):
    answer = shared.http("DELETE", "/v1/accesses/bank-trunk?reason=left")
    assert answer.status_code == 409
    assert "still has customer" in answer.json()["detail"]


def test_customers_come_and_go_as_csv(shared):
    sheet = "id,access,names,numbers\nnew,bank-trunk,t1 t2,8675588880002-8675588880005\n"
    answer = shared.http(
        "POST", "/v1/imports/customers?reason=contract", content=sheet.encode(),
        headers={"content-type": "text/csv"},
    )  # fmt: skip
    assert answer.json()["changed"] == 1, answer.text
    told = shared.http("GET", "/v1/exports/customers").text
    assert "new,bank-trunk,t1 t2,8675588880002-8675588880005" in told


def test_a_customer_may_be_exempt_and_so_is_one_of_an_exempt_access(shared):
    conduct, now = shared.service.keeper.conduct, int(time.time())
    for name in ("bakery", "clinic"):
        pairs = pool(Random(name), 150)
        unanswered(conduct, calls((customer(name),), pairs, start=now - 150, every=1))
    exemption = {"kind": "access", "reason": "dispatch", "since": now - 1, "until": now + 1_000}
    for target, spared in (("bank-trunk/bakery", (200, 403)), ("bank-trunk", (200, 200))):
        answer = shared.http(
            "PUT", f"/v1/exemptions/{target.replace('/', '-')}?reason=why",
            json=exemption | {"target": target},
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert (sign(shared, customer="bakery")[0], sign(shared)[0]) == spared
    unknown = exemption | {"target": "bank-trunk/nobody"}
    assert shared.http("PUT", "/v1/exemptions/e?reason=why", json=unknown).status_code == 422


@pytest.mark.parametrize("numbers", ["8675588880150-8675588880299", "8675588880050-8675588880199"])
def test_a_customer_that_grows_takes_none_of_its_neighbours_numbers(desk, numbers):
    registered(desk, "bakery", numbers=["8675588880100-8675588880199"])
    registered(desk, "clinic", numbers=["8675588880200-8675588880299"])
    registered(desk, "school", numbers=["8675588880000-8675588880099"])
    who = "clinic" if numbers.endswith("299") else "school"
    answer = desk.http(
        "PUT",
        f"/v1/customers/{who}?reason=more",
        json={"access": "bank-trunk", "numbers": [numbers]},
    )
    assert answer.status_code == 409
    assert "bakery" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("route", "members"),
    [("customers", {"access": "bank-trunk"}), ("declarations", {"subject": "bank"})],
)
def test_a_record_of_as_many_ranges_as_it_may_have_is_taken(desk, route, members):
    numbers = [f"867558{index:05}00-867558{index:05}49" for index in range(10_000)]
    answer = desk.http("PUT", f"/v1/{route}/wide?reason=all", json={**members, "numbers": numbers})
    assert answer.status_code in (200, 201), answer.text[:300]
    assert desk.http("GET", f"/v1/{route}/wide").json()["numbers"] == numbers
