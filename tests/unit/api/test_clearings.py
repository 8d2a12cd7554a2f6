"""What is cleared after an objection is on record before it is answered, on either engine."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from random import Random

import pytest
from pools import ACCESS, SUBJECT, make_pool, unanswered
from streams import calls, fed, lent, number, pool, somebody
from test_displays_api import sign

from zhenxian.analytics import State
from zhenxian.api.auth import Role, add_key
from zhenxian.stores.analytics.sync import MOST_AHEAD

WHY = {"reason": "new dialler, audited"}
OF_ACCESS = f"/v1/displays/{ACCESS}"


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def clear(desk, path=OF_ACCESS, **more):
    return desk.http("DELETE", path, params=WHY, **more)


def recorded(desk):
    return desk.http("GET", "/v1/clearings").json()["clearings"]


def standing(desk):
    return {one["key"] for one in desk.http("GET", "/v1/displays").json()["findings"]}


def test_the_record_says_whose_when_who_why_and_what(desk):
    make_pool(desk)
    before = desk.http("GET", OF_ACCESS).json()["finding"]
    begun = int(time.time())
    answer = clear(desk)
    assert answer.status_code == 204
    (row,) = recorded(desk)
    assert answer.headers["location"] == f"/v1/clearings/{row['id']}"
    assert desk.http("GET", answer.headers["location"]).json() == row
    assert begun <= row["at"] <= time.time()
    assert row | {"id": "", "at": 0} == {
        "id": "", "at": 0, "key": str(ACCESS), "by": "local (local)", "reason": WHY["reason"],
        "state": "pooled", "since": before["since"], "sentence": before["sentence"],
        "measures": [before["measure"], *before.get("beside", [])],
    }  # fmt: skip
    (change,) = desk.http("GET", "/v1/changes", params={"limit": 1000}).json()["changes"][-1:]
    assert change["changed"] == [{"kind": "clearing", "key": row["id"]}]
    assert (change["author"], change["reason"]) == (row["by"], row["reason"])
    assert standing(desk) == {str(SUBJECT)}


def test_who_calls_behind_a_privacy_number_is_not_named_in_the_log(desk, caplog):
    """Numbers stand there as in every line of it."""
    behind = number("28", 1)
    random = Random(3)
    strangers = ((behind, number("10", 1), somebody(random)) for _ in range(400))
    now = int(time.time())
    fed(desk.service.keeper.conduct, lent((), strangers, start=now - 400, every=1))
    assert clear(desk, f"/v1/displays/agent:p/{behind}").status_code == 204
    assert recorded(desk)[0]["key"] == f"agent:p/{behind}"
    (line,) = [one for one in caplog.messages if "cleared by" in one]
    assert behind not in line
    assert desk.service.pseudonym(behind) in line


def test_what_is_not_cleared_is_not_on_record(desk):
    assert clear(desk).status_code == 404
    assert recorded(desk) == []
    assert desk.http("GET", "/v1/clearings/00000000001-x").status_code == 404


def test_clearings_come_in_pages(desk):
    make_pool(desk)
    for key in (ACCESS, SUBJECT):
        assert clear(desk, f"/v1/displays/{key}").status_code == 204
    page = desk.http("GET", "/v1/clearings", params={"limit": 1}).json()
    rest = desk.http("GET", "/v1/clearings", params={"after": page["following"]}).json()
    assert rest["following"] is None
    found = [*page["clearings"], *rest["clearings"]]
    assert found == recorded(desk)
    assert {row["key"] for row in found} == {str(ACCESS), str(SUBJECT)}


def test_nobody_changes_or_removes_a_clearing(desk):
    make_pool(desk)
    place = clear(desk).headers["location"]
    for method in ("PUT", "DELETE", "POST", "PATCH"):
        answer = desk.http(method, place, params=WHY, json={})
        assert answer.status_code == 405, method
    told = desk.http("POST", "/v1/imports/clearings", params=WHY, content=b"id\n")
    assert told.status_code == 404
    assert len(recorded(desk)) == 1


def test_the_same_conduct_is_found_again_and_may_be_cleared_again(desk_with):
    clock = [time.time()]
    desk = desk_with(clock=lambda: clock[0])
    make_pool(desk)
    assert clear(desk).status_code == 204
    assert clear(desk, f"/v1/displays/{SUBJECT}").status_code == 204
    assert sign(desk)[0] == 200
    conduct = desk.service.keeper.conduct
    later = int(clock[0]) + 1
    clock[0] += 200
    unanswered(conduct, calls((ACCESS, SUBJECT), pool(Random(4), 150), start=later, every=1))
    assert sign(desk, iat=int(clock[0]))[0] == 403
    assert standing(desk) == {str(ACCESS), str(SUBJECT)}
    assert clear(desk).status_code == 204
    assert [row["key"] for row in recorded(desk)].count(str(ACCESS)) == 2
    assert standing(desk) == {str(SUBJECT)}


MAY = {Role.REGISTRAR, Role.REGULATOR, Role.AUDITOR, Role.OPERATOR}


def test_who_oversees_reads_and_only_a_registrar_clears(desk_with, tmp_path):
    keys = tmp_path / "keys.toml"
    tokens = {role: {"x-api-key": add_key(keys, role.value, [role])} for role in Role}
    desk = desk_with(auth={"keys": keys})
    make_pool(desk)
    for role in set(Role) - {Role.REGISTRAR}:
        assert clear(desk, headers=tokens[role]).status_code == 403, role
    assert clear(desk).status_code == 401
    both = {str(ACCESS), str(SUBJECT)}
    conduct = desk.service.keeper.conduct
    assert {str(one.key) for one in conduct.standing(int(time.time()))} == both
    place = clear(desk, headers=tokens[Role.REGISTRAR]).headers["location"]
    for path in ("/v1/clearings", place):
        assert desk.http("GET", path).status_code == 401
        for role, headers in tokens.items():
            answer = desk.http("GET", path, headers=headers)
            assert answer.status_code == (200 if role in MAY else 403), (path, role)
    by = desk.http("GET", place, headers=tokens[Role.AUDITOR]).json()["by"]
    assert by.startswith("registrar (")


def test_the_list_is_there_where_conduct_is_not_counted_any_more(desk_with):
    desk = desk_with()
    make_pool(desk)
    assert clear(desk).status_code == 204
    off = desk_with(displays={"signing": "off", "verifying": "off", "carriers": "off"})
    assert off.service.keeper is None
    assert len(recorded(off)) == 1


@contextmanager
def unwritable(desk, request):
    """The registry's file, or Redis, takes nothing for a while."""
    if desk._loop is None:
        writer = desk.written_database()
        writer.execute("PRAGMA query_only = 1")
        yield
        writer.execute("PRAGMA query_only = 0")
        return
    server = request.getfixturevalue("fleet_redis")
    server.ask("CONFIG", "SET", "maxmemory", "100kb")
    try:
        yield
    finally:
        server.ask("CONFIG", "SET", "maxmemory", "0")


def test_what_cannot_be_put_on_record_is_not_cleared(desk, request):
    make_pool(desk)
    with unwritable(desk, request):
        answer = clear(desk)
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert "nothing was changed" in answer.text or "readonly" in answer.text
        assert standing(desk) == {str(ACCESS), str(SUBJECT)}
        assert sign(desk)[0] == 403
        assert recorded(desk) == []
    assert clear(desk).status_code == 204
    assert standing(desk) == {str(SUBJECT)}


def test_a_finding_from_a_clock_that_is_ahead_is_cleared_too(desk):
    now = int(time.time())
    conduct = desk.service.keeper.conduct
    unanswered(conduct, calls((ACCESS, SUBJECT), pool(Random(3), 150), start=now - 90, every=1))
    assert clear(desk).status_code == 204
    assert now + 30 < recorded(desk)[0]["at"] <= now + 60
    ahead = calls((SUBJECT,), pool(Random(3), 150), start=now + 10 * MOST_AHEAD, every=1)
    unanswered(conduct, ahead)
    assert clear(desk, f"/v1/displays/{SUBJECT}").status_code == 204
    assert recorded(desk)[1]["at"] <= time.time() + MOST_AHEAD
    assert standing(desk) == set()


# -- restart, and other processes of the machine


def test_a_crash_right_after_the_answer_loses_nothing(desk_with):
    """What `conduct.db` said when it was killed is from before the clearing."""
    desk = desk_with()
    make_pool(desk)
    data = desk.service.settings.data
    asyncio.run(saved(desk.service.keeper))
    before = (data / "conduct.db").read_bytes()
    assert clear(desk).status_code == 204
    desk.service.keeper._file.close()
    for name in ("conduct.db-wal", "conduct.db-shm"):
        (data / name).unlink(missing_ok=True)
    (data / "conduct.db").write_bytes(before)
    again = desk_with()
    again.service.keeper.restore()
    assert standing(again) == {str(SUBJECT)}
    assert again.http("GET", OF_ACCESS).json()["calls"] == 0
    assert again.http("GET", f"/v1/displays/{SUBJECT}").json()["calls"] == 150


async def saved(keeper):
    """All that a keeper knows is in its file itself."""
    keeper._exchange, exchange = None, keeper._exchange
    for _ in range(3):
        await keeper.look()
    keeper._exchange = exchange
    keeper._file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_a_restart_keeps_what_was_found_since(desk_with):
    clock = [time.time()]
    desk = desk_with(clock=lambda: clock[0])
    make_pool(desk)
    assert clear(desk).status_code == 204
    later = int(clock[0]) + 1
    clock[0] += 200
    conduct = desk.service.keeper.conduct
    unanswered(conduct, calls((ACCESS,), pool(Random(5), 150), start=later, every=1))
    assert conduct.finding(ACCESS, later + 150).state is State.POOLED
    asyncio.run(saved(desk.service.keeper))
    again = desk_with(clock=lambda: clock[0])
    again.service.keeper.restore()
    assert standing(again) == {str(ACCESS), str(SUBJECT)}
    assert again.http("GET", OF_ACCESS).json()["calls"] == 150
