"""Complaints of callees are put on record once, by whoever may, and count as evidence."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest
from pools import ACCESS, SUBJECT, unanswered
from streams import calls, pool

from zhenxian.api.auth import Role, add_key


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def look(desk):
    """What the keeper does twice a second."""
    run = desk._loop.run_until_complete if desk._loop is not None else asyncio.run
    run(desk.service.keeper.look())


def of(display="8675588880001", callee="8613900139000", at=None, **more):
    return {"orig": display, "dest": callee, "at": int(time.time()) if at is None else at} | more


def post(desk, body, **more):
    return desk.http("POST", "/v1/complaints", json=body, **more)


def recorded(desk):
    return desk.http("GET", "/v1/complaints").json()["complaints"]


def test_one_or_many_are_on_record_and_a_repetition_changes_nothing(desk):
    at = int(time.time()) - 60
    answer = post(desk, of(at=at, kind="fraud", id="4711"))
    assert (answer.status_code, answer.json()["taken"]) == (200, 1)
    (row,) = recorded(desk)
    assert row == {
        "id": answer.json()["ids"][0], "at": at, "orig": "8675588880001", "dest": "8613900139000",
        "kind": "fraud", "source": "local", "reference": "4711",
    }  # fmt: skip
    again = post(desk, [of(at=at, kind="fraud", id="4711"), of(at=at), of(at=at)])
    assert again.json() | {"ids": []} == {"taken": 1, "known": 2, "ids": []}
    assert len(recorded(desk)) == 2


@pytest.mark.parametrize(
    "body", [[], of(at=1), of(callee="nobody"), of(kind="noise"), {"orig": "1"}, [of(more=1)]]
)
def test_what_is_no_complaint_is_refused_and_not_on_record(desk, body):
    assert post(desk, body).status_code == 422
    assert recorded(desk) == []


def test_only_its_role_may_pass_them_on(installation, desk_of):
    keys = installation.config.parent / "keys.toml"
    feed = add_key(keys, "12321", [Role.COMPLAINTS])
    proxy = add_key(keys, "proxy", [Role.PROXY])
    auditor = add_key(keys, "auditor", [Role.AUDITOR])
    desk = desk_of(installation.config, auth={"keys": keys})

    def by(key, method="POST", **more):
        head = {"authorization": f"Bearer {key}"}
        return desk.http(method, "/v1/complaints", headers=head, **more).status_code

    assert by(proxy, json=of()) == by(auditor, json=of()) == 403
    assert by(feed, json=of()) == 200
    assert by(feed, "GET") == 403
    assert by(auditor, "GET") == 200
    assert (
        desk.http("GET", "/v1/displays", headers={"authorization": f"Bearer {feed}"}).status_code
        == 403
    )


def test_they_label_whom_the_calls_came_from_on_either_engine_and_after_a_restart(
    installation, desk_of
):
    desk = desk_of(installation.config)
    conduct = desk.service.keeper.conduct
    now = int(time.time())
    made = list(calls((ACCESS, SUBJECT), pool(Random(3), 600), start=now - 3_000, every=5))
    for one in made:
        conduct.observe(one)
    told = [of(one.display, one.callee, one.at) for one in made[100:400:10]]
    assert post(desk, told).json()["taken"] == 30
    look(desk)
    found = desk.http("GET", f"/v1/displays/{ACCESS}").json()["finding"]
    assert (found["state"], found["measure"]) == ("suspected", "complaints")
    assert found["figures"]["complaints"] == 20  # of one source, a day

    again = desk_of(installation.config)  # the counts were saved by the look
    again.service.keeper.restore()
    look(again)
    look(again)
    found = again.http("GET", f"/v1/displays/{ACCESS}").json()
    complained = [one for one in found["measures"] if one["measure"] == "complaints"]
    assert complained[0]["figures"]["complaints"] == 20


def test_a_complaint_of_a_call_that_nobody_saw_is_kept_and_counts_for_nothing(desk):
    unanswered(
        desk.service.keeper.conduct,
        calls((ACCESS, SUBJECT), pool(Random(3), 40), start=time.time() - 400, every=5),
    )
    assert (
        post(desk, [of(callee=f"86139001390{index:02}") for index in range(30)]).json()["taken"]
        == 30
    )
    look(desk)
    told = desk.http("GET", f"/v1/displays/{ACCESS}").json()
    assert not [one for one in told["measures"] if one["measure"] == "complaints"]
    assert len(recorded(desk)) == 30


def test_a_full_request_is_taken(desk):
    at = int(time.time())
    many = [of(callee=f"86139001{index:05}", at=at, id=f"{index:0128}") for index in range(1_000)]
    assert post(desk, many).json()["taken"] == 1_000
    assert post(desk, [*many, of()]).status_code == 422
