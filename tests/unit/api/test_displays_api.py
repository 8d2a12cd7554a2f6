"""Pictures, findings, ends of calls and objections over the API; and what calls are answered."""

from __future__ import annotations

import sqlite3
import time

import pytest
from pools import ACCESS, SUBJECT, make_pool

from zhenxian.analytics.model import agent
from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING
from zhenxian.passport.ppt.shaken import MAX_ORIGID_LENGTH
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, COURIER, PRIVACY, RIDER

_PLATFORM_ORIGID = "f0000000-0000-4000-8000-000000000005"


def sign(desk, **more):
    request = {
        "attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "origid": BANK_ORIGID, "access": "bank-trunk",
    } | more  # fmt: skip
    return desk.call(SIGNING, {"signingRequest": request})


def test_each_signed_call_counts_for_access_and_subject(desk):
    for _ in range(3):
        assert sign(desk)[0] == 200
    for key in ("access:bank-trunk", "subject:bank"):
        told = desk.http("GET", f"/v1/displays/{key}").json()
        assert (told["key"], told["state"], told["calls"]) == (key, "watching", 3)
        assert told["measures"]
        assert told["finding"] is None


def test_a_refused_call_counts_for_nobody(desk):
    status, _ = sign(desk, orig={"tn": COURIER})
    assert status == 403
    assert desk.http("GET", "/v1/displays/access:bank-trunk").json()["calls"] == 0


def test_a_pool_is_refused_with_its_figures_and_can_be_looked_at(desk):
    make_pool(desk)
    status, answer = sign(desk)
    assert status == 403
    assert answer["requestError"]["policyException"]["variables"][0] == "POOLED_DISPLAY"
    found = answer["finding"]
    assert (found["key"], found["state"]) == ("access:bank-trunk", "pooled")
    for name, threshold in found["thresholds"].items():
        assert name.removeprefix("<=") in found["figures"]
        assert threshold > 0
    told = desk.http("GET", "/v1/displays/access:bank-trunk").json()
    assert told["state"] == "pooled"
    assert told["finding"]["measure"] == found["measure"]
    assert told["samples"]
    assert all(len(sample["display"]) == 16 for sample in told["samples"])  # hashed
    (line,) = [line for line in desk.logged() if line["event"] == "signing"]
    assert line["reason"] == "POOLED_DISPLAY"


def on_disk(desk):
    with sqlite3.connect(desk.service.settings.data / "conduct.db") as file:
        kept = {key for (key,) in file.execute("SELECT key FROM findings")}
    file.close()
    return kept


def test_who_is_found_by_a_batch_is_on_disk_before_the_next_ones_answers_go_out(desk, monkeypatch):
    conduct = desk.service.keeper.conduct

    def found(_):
        monkeypatch.undo()
        make_pool(desk)

    monkeypatch.setattr(conduct, "observe", found)
    assert sign(desk)[0] == 200
    assert sign(desk)[0] == 403
    assert on_disk(desk) == {str(ACCESS), str(SUBJECT)}


def test_what_is_found_while_calls_are_answered_is_on_disk_before_these_answers(desk, monkeypatch):
    """As by another node's calls, while a verification waits for a certificate."""
    registry = desk.service.registry
    access = registry.access

    def found(*names):
        monkeypatch.undo()
        make_pool(desk)
        return access(*names)

    monkeypatch.setattr(registry, "access", found)
    assert sign(desk)[0] == 403
    assert on_disk(desk) == {str(ACCESS), str(SUBJECT)}


@pytest.mark.parametrize(
    ("signing", "status", "attest", "labels"),
    [
        ("lower", 200, "B", ["display-pooled"]),
        ("label", 200, "A", ["display-pooled"]),
        ("off", 200, "A", None),
    ],
)
def test_what_a_pool_leads_to_is_a_setting(desk_with, signing, status, attest, labels):
    desk = desk_with(displays={"signing": signing})
    make_pool(desk)
    given, answer = sign(desk)
    assert given == status
    assert answer["signingResponse"]["attest"] == attest
    assert answer["signingResponse"].get("labels") == labels


def test_without_any_interest_nothing_is_counted(desk_with):
    desk = desk_with(displays={"signing": "off", "verifying": "off", "carriers": "off"})
    assert desk.service.keeper is None
    assert sign(desk)[0] == 200
    assert desk.http("GET", "/v1/displays").status_code == 404


def test_samples_in_clear_where_that_is_set(desk_with):
    desk = desk_with(displays={"clear_samples": True})
    make_pool(desk)
    samples = desk.http("GET", "/v1/displays/access:bank-trunk").json()["samples"]
    assert all(sample["display"].startswith("86") for sample in samples)


def test_who_is_found_is_listed_in_pages(desk):
    assert desk.http("GET", "/v1/displays").json() == {"findings": [], "following": None}
    make_pool(desk)
    both = desk.http("GET", "/v1/displays").json()["findings"]
    assert [one["key"] for one in both] == ["access:bank-trunk", "subject:bank"]
    page = desk.http("GET", "/v1/displays", params={"limit": 1}).json()
    assert page["following"] == "access:bank-trunk"
    rest = desk.http("GET", "/v1/displays", params={"after": page["following"]}).json()
    assert [one["key"] for one in rest["findings"]] == ["subject:bank"]
    only = desk.http("GET", "/v1/displays", params={"kind": "subject", "state": "pooled"}).json()
    assert [one["key"] for one in only["findings"]] == ["subject:bank"]


def test_an_objection_that_was_right_clears_a_key(desk):
    make_pool(desk)
    for key in ("access:bank-trunk", "subject:bank"):
        gone = desk.http("DELETE", f"/v1/displays/{key}", params={"reason": "audited"})
        assert gone.status_code == 204
        again = desk.http("DELETE", f"/v1/displays/{key}", params={"reason": "audited"})
        assert again.status_code == 404
    assert sign(desk)[0] == 200


def test_calls_at_a_time_are_known_once_ends_are_told(desk):
    for _ in range(60):
        sign(desk)

    def told():
        measures = desk.http("GET", "/v1/displays/access:bank-trunk").json()["measures"]
        (one,) = [one for one in measures if one["measure"] == "concurrency"]
        return one["figures"]

    assert told() == {}
    ended = desk.http("POST", "/v1/displays/ended", json=[{"access": "bank-trunk"}])
    assert ended.json() == {"taken": 2}
    for _ in range(5):
        sign(desk)
    assert told()["calls at a time"] >= 5
    by_origid = desk.http("POST", "/v1/displays/ended", json=[{"origid": BANK_ORIGID}])
    assert by_origid.json() == {"taken": 2}
    of_signer = [{"spc": "1001", "origid": BANK_ORIGID}]
    assert desk.http("POST", "/v1/displays/ended", json=of_signer).json() == {"taken": 2}
    longest = [{"spc": "1" * 64, "origid": "o" * MAX_ORIGID_LENGTH}]
    assert desk.http("POST", "/v1/displays/ended", json=longest).json() == {"taken": 2}
    of_it = f"/v1/displays/signer:{'1' * 64}/{'o' * MAX_ORIGID_LENGTH}"
    assert desk.http("GET", of_it).json()["calls"] == 0
    over = {"access": "bank-trunk", "orig": f"+{BANK}", "dest": CALLEE, "answered": False}
    assert desk.http("POST", "/v1/displays/ended", json=[over]).json() == {"taken": 2}
    for name in ("orig", "dest", "answered"):
        half = {one: value for one, value in over.items() if one != name}
        assert desk.http("POST", "/v1/displays/ended", json=[over, half]).status_code == 422
    wrong = desk.http("POST", "/v1/displays/ended", json=[over | {"dest": "alice"}])
    assert wrong.status_code == 422
    assert "dest" in wrong.text
    nobody = desk.http("POST", "/v1/displays/ended", json=[{"access": "nobody"}])
    assert nobody.json() == {"taken": 0}


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        ("GET", "/v1/displays/bank-trunk", {}),
        ("GET", "/v1/displays/trunk:bank", {}),
        ("GET", "/v1/displays/access:", {}),
        ("GET", "/v1/displays/signer:1001", {}),
        ("GET", "/v1/displays", {"params": {"state": "odd"}}),
        ("POST", "/v1/displays/ended", {"json": [{}]}),
        ("POST", "/v1/displays/ended", {"json": [{"spc": "1001"}]}),
        ("POST", "/v1/displays/ended", {"json": []}),
        ("DELETE", "/v1/displays/access:bank-trunk", {}),
    ],
)
def test_what_cannot_be_read_is_422(desk, method, path, more):
    answer = desk.http(method, path, **more)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


MAY = {
    ("GET", "/v1/displays"): set(Role) - {Role.PLATFORM, Role.COMPLAINTS},
    ("GET", "/v1/displays/access:bank-trunk"): set(Role) - {Role.PLATFORM, Role.COMPLAINTS},
    ("POST", "/v1/displays/ended"): {Role.PROXY},
    ("DELETE", "/v1/displays/access:bank-trunk"): {Role.REGISTRAR},
}


def test_every_route_asks_for_its_role(desk_with, tmp_path):
    keys = tmp_path / "keys.toml"
    secrets = {role: add_key(keys, role.value, [role]) for role in Role}
    desk = desk_with(auth={"keys": keys})
    for (method, path), roles in MAY.items():
        more = {"params": {"reason": "r"}, "json": [{"access": "x"}]}
        assert desk.http(method, path, **more).status_code == 401
        for role, secret in secrets.items():
            answer = desk.http(method, path, headers={"x-api-key": secret}, **more)
            assert (answer.status_code != 403) is (role in roles), (method, path, role)


def test_as_many_ends_of_calls_as_one_request_may_have_are_taken(desk):
    one = {
        "access": "bank-trunk", "orig": BANK, "dest": CALLEE, "answered": True, "seconds": 64,
        "customer": "nobody",
    }  # fmt: skip
    answer = desk.http("POST", "/v1/displays/ended", json=[one] * 1_000)
    assert answer.json() == {"taken": 2_000}
    assert desk.http("POST", "/v1/displays/ended", json=[one] * 1_001).status_code == 422


def test_ends_of_calls_count_for_who_calls_behind_a_privacy_number(desk):
    call = {"access": "platform-trunk", "orig": PRIVACY, "dest": CALLEE, "answered": True}
    signed, _ = sign(
        desk,
        orig={"tn": PRIVACY},
        origid=_PLATFORM_ORIGID,
        access="platform-trunk",
        caller={"tn": RIDER},
    )
    assert signed == 200
    told = desk.http("POST", "/v1/displays/ended", json=[{**call, "seconds": 12}]).json()
    assert told == {"taken": 3}
    talk = desk.service.keeper.conduct._counting.table.get(agent("platform", RIDER)).talk
    assert (talk.answered, talk.timed) == (1, 1)
    for other in ({"dest": BANK}, {"access": "bank-trunk", "orig": BANK}):
        assert desk.http("POST", "/v1/displays/ended", json=[call | other]).json() == {"taken": 2}
