"""Everything of a caller: cleared at once; found again with its numbers; told what to do."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest
from pools import ACCESS, SUBJECT, make_pool, unanswered
from streams import calls, numbers, pool, somebody
from test_displays_api import sign

from zhenxian.analytics import Key, KeyKind, State
from zhenxian.registry.model import Kind

WHY = {"reason": "asked for"}


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def run(desk, work):
    return (desk._loop.run_until_complete if desk._loop is not None else asyncio.run)(work)


def look(desk):
    run(desk, desk.service.keeper.look())


def clear(desk, key="access:bank-trunk"):
    return desk.http("POST", "/v1/clearings", json={"key": key, "reason": "audited"})


def standing(desk):
    return {one["key"] for one in desk.http("GET", "/v1/displays").json()["findings"]}


@pytest.mark.parametrize("by", ["access:bank-trunk", "subject:bank"])
def test_one_action_clears_subject_accesses_and_origids(desk, by):
    make_pool(desk)
    assert sign(desk)[0] == 403
    assert standing(desk) == {str(ACCESS), str(SUBJECT)}
    answer = clear(desk, by)
    assert answer.status_code == 201
    told = answer.json()["clearings"]
    keys = {one["key"] for one in told}
    access = desk.service.registry.access("bank-trunk", None)
    spc = desk.service.credential().spc
    assert {str(ACCESS), str(SUBJECT), f"signer:{spc}/{access.origid}"} <= keys
    assert {one["reason"] for one in told} == {"audited"}
    assert standing(desk) == set()
    assert sign(desk)[0] == 200
    listed = {one["key"] for one in desk.http("GET", "/v1/clearings").json()["clearings"]}
    assert keys <= listed
    assert clear(desk, by).status_code == 404  # nothing stands any more


def test_it_is_refused_again_only_for_what_would_do_by_itself(desk):
    make_pool(desk)
    clear(desk)
    conduct, now = desk.service.keeper.conduct, int(time.time())
    few = list(calls((ACCESS, SUBJECT), pool(Random(5), 50), start=now + 2, every=1))
    unanswered(conduct, few)
    found = conduct.finding(ACCESS, now + 60)
    assert found is None or found.state is not State.POOLED
    more = list(calls((ACCESS, SUBJECT), pool(Random(6), 200), start=now + 60, every=1))
    unanswered(conduct, more)
    assert conduct.finding(ACCESS, now + 300).state is State.POOLED


def test_whom_it_does_not_know_is_not_cleared(desk):
    make_pool(desk)
    assert clear(desk, "subject:nobody").status_code == 404
    assert clear(desk, "nobody").status_code == 422
    assert standing(desk) == {str(ACCESS), str(SUBJECT)}


def put(desk, path, body, **more):
    answer = desk.http("PUT", path, json=body, params=WHY, **more)
    assert answer.status_code in (200, 201), answer.text
    return answer


def test_who_comes_back_with_the_numbers_is_refused_at_the_first_call(desk):
    """A found caller's numbers are registered to a straw man."""
    put(desk, "/v1/subjects/racket", {})
    put(desk, "/v1/accesses/racket-trunk", {
        "origid": "e0000000-0000-4000-8000-00000000000e", "subject": "racket"})  # fmt: skip
    random = Random(4)
    tns = [tn for _, tn in numbers(random, 80)]
    rows = [
        {"first": tn, "subject": "racket", "verification": "verified", "spcs": ["1001"]}
        for tn in tns
    ]
    answer = desk.http("POST", "/v1/holdings/batch", json=rows, params=WHY)
    assert answer.json()["accepted"] == 80, answer.text
    keys = (Key(KeyKind.ACCESS, "racket-trunk"), Key(KeyKind.SUBJECT, "racket"))
    conduct, now = desk.service.keeper.conduct, int(time.time())
    pairs = [(random.choice(tns), somebody(random)) for _ in range(250)]
    unanswered(conduct, calls(keys, pairs, start=now - 250, every=1))
    assert conduct.finding(keys[1], now).state is State.POOLED
    look(desk)

    put(desk, "/v1/subjects/straw", {})
    put(desk, "/v1/accesses/straw-trunk", {
        "origid": "f0000000-0000-4000-8000-00000000000f", "subject": "straw"})  # fmt: skip
    for tn in tns:
        tag = desk.http("GET", f"/v1/holdings/{tn}").headers["etag"]
        body = {"subject": "straw", "verification": "verified", "spcs": ["1001"]}
        put(desk, f"/v1/holdings/{tn}", body, headers={"if-match": tag})
    look(desk)
    status, told = sign(
        desk, orig={"tn": tns[3]}, access="straw-trunk",
        origid="f0000000-0000-4000-8000-00000000000f",
    )  # fmt: skip
    assert status == 403
    assert told["finding"]["measure"] == "linkage"
    assert told["finding"]["figures"]["numbers of a found caller"] >= 20


def test_who_is_refused_is_told_a_case_what_to_do_and_whom_to_call(installation, desk_of):
    desk = desk_of(installation.config, displays={"contact": "First Carrier, +86 10 10010"})
    make_pool(desk)
    status, answer = sign(desk)
    found = answer["finding"]
    assert status == 403
    assert found["case"]
    detail = answer["requestError"]["policyException"]["variables"][1]
    for text in (detail, found["whatToDo"], found["whatToDoChinese"]):
        assert found["case"] in text
        assert "First Carrier, +86 10 10010" in text
    assert found["contact"] == "First Carrier, +86 10 10010"
    listed = desk.http("GET", "/v1/displays", params={"case": found["case"]}).json()["findings"]
    assert [one["case"] for one in listed] == [found["case"]]
    assert (
        desk.http("GET", "/v1/displays", params={"case": "20200101-00000000"}).json()["findings"]
        == []
    )
    before = found["case"]
    unanswered(
        desk.service.keeper.conduct,
        calls((ACCESS, SUBJECT), pool(Random(9), 100), start=time.time(), every=1),
    )
    assert sign(desk)[1]["finding"]["case"] == before  # stays while anything stands


def test_a_person_holds_five_numbers_a_carrier(desk):
    put(desk, "/v1/subjects/somebody", {"kind": "person"})

    def hold(tn, spc="1001"):
        body = {"subject": "somebody", "verification": "verified", "spcs": [spc]}
        return desk.http("PUT", f"/v1/holdings/{tn}", json=body, params=WHY)

    assert [hold(f"861370000010{index}").status_code for index in range(5)] == [200] * 5
    refused = hold("8613700000105")
    assert refused.status_code == 409
    assert "5 are the most" in refused.json()["detail"]
    assert hold("8613700000105", "2002").status_code == 200  # another carrier's
    assert hold("12125550100").status_code == 200  # another country's
    assert hold("8613700000104").status_code == 200  # as it is
    rows = [{"first": f"86138000020{index:02}", "subject": "somebody"} for index in range(6)]
    told = desk.http("POST", "/v1/holdings/batch", json=rows, params=WHY | {"mode": "best-effort"})
    assert told.json()["accepted"] == 5
    page = desk.service.registry.records.page(Kind.HOLDING, limit=100, subject="somebody")
    assert len(page.rows) == 12
