"""An origid of its own for each call: signed, and traced, on each engine."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sqlite3
import time

import pytest

from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING
from zhenxian.passport.identity import parse_identity_header
from zhenxian.service.watch import Watcher
from zhenxian.signer.sign import unknown_origid
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, COURIER
from zhenxian.stores.clock import LATE

WHY = {"reason": "a test"}
PROXYS = "0f000000-0000-4000-8000-000000000009"
CALL = {"origid": "call"}


def _signed(desk, orig=BANK, origid=BANK_ORIGID, **headers):
    """The origid of a token, and its attestation."""
    members = {
        "attest": "A",
        "orig": {"tn": orig},
        "dest": {"tn": [CALLEE]},
        "iat": int(time.time()),
        "origid": origid,
    }
    status, answer = desk.call(SIGNING, {"signingRequest": members}, **headers)
    assert status == 200, answer
    identity = answer["signingResponse"]["identity"]
    extension = parse_identity_header(identity).passport().extension
    return extension.origid, extension.attest.value


def _trace(desk, origid, status=200, **headers):
    answer = desk.http("GET", f"/v1/origids/{origid}", headers=headers)
    assert answer.status_code == status, answer.text
    return answer.json()


@pytest.fixture
def configs(prepared, tmp_path):
    """Two installations of one carrier."""
    made = [tmp_path / name / "zhenxian.toml" for name in ("first", "second")]
    for config in made:
        shutil.copytree(prepared.config.parent / "state", config.parent / "state")
        config.write_text(prepared.config.read_text())
    return made


@pytest.fixture(
    params=[
        "one process",
        "two workers",
        pytest.param("two nodes", marks=[pytest.mark.redis, pytest.mark.enable_socket]),
    ]
)
def two(request, configs, desk_of):
    """Who signs, and who is asked: the same process, another worker, or another node."""
    if request.param == "one process":
        one = desk_of(configs[0], signer=CALL)
        return one, one
    if request.param == "two workers":
        return tuple(desk_of(configs[0], signer=CALL, server={"workers": 2}) for _ in range(2))
    url = request.getfixturevalue("fleet_redis").url
    fleet = {"url": url, "name": f"zx{secrets.token_hex(4)}", "timeout": 10, "lag_limit": 3600,
             "take_over_foreign": True}  # fmt: skip
    return tuple(
        desk_of(config, fleet=fleet, signer=how)
        for config, how in zip(configs, (CALL, {}), strict=True)
    )


def _sent(desk):
    """As the service does by itself behind the calls."""
    shared = desk.service.origids._shared
    if shared is not None:
        desk._loop.run_until_complete(shared.send(int(time.time())))


def test_each_call_has_an_origid_of_its_own_that_is_traced_to_its_access(two):
    signs, asked = two
    tokens = [_signed(signs) for _ in range(5)]
    assert {attest for _, attest in tokens} == {"A"}
    origids = [origid for origid, _ in tokens]
    assert len({*origids, BANK_ORIGID}) == 6
    _sent(signs)
    for origid in origids:
        told = _trace(asked, origid)
        assert (told["id"], told["subject"], told["current"]) == ("bank-trunk", "bank", False)
        assert abs(told["call"]["at"] - time.time()) < 60
        assert told["call"]["node"] == signs.service.node.name
    assert _trace(asked, BANK_ORIGID)["current"]
    assert "call" not in _trace(asked, BANK_ORIGID)
    _trace(asked, PROXYS, 404)


def test_a_call_is_traced_after_its_access_was_given_another_origid_and_ended(two):
    signs, asked = two
    origid, _ = _signed(signs)
    _sent(signs)
    for method, path in (
        ("POST", "/v1/accesses/bank-trunk/origid"),
        ("DELETE", "/v1/accesses/bank-trunk"),
    ):
        assert signs.http(method, path, params=WHY).status_code in (200, 204)
    if asked is not signs and asked._loop is not None:
        asked._loop.run_until_complete(asked.service.registry.sync())
    assert _trace(asked, origid)["id"] == "bank-trunk"


def test_of_a_call_of_no_known_access_it_is_known_what_the_proxy_named(two):
    signs, asked = two
    named, attest = _signed(signs, COURIER, PROXYS)
    assert attest == "C"
    assert named != PROXYS
    _sent(signs)
    told = _trace(asked, named)
    assert (told["id"], told["origid"], told["current"]) == (None, PROXYS, False)


def test_as_shipped_an_access_has_one_origid(desk):
    assert {_signed(desk)[0] for _ in range(3)} == {BANK_ORIGID}
    assert _signed(desk, COURIER, PROXYS)[0] == PROXYS
    assert not (desk.service.settings.data / "origids.db").exists()


def test_what_was_given_is_traced_after_the_setting_was_taken_back(configs, desk_of):
    origid, _ = _signed(desk_of(configs[0], signer=CALL))
    later = desk_of(configs[0])
    assert _signed(later)[0] == BANK_ORIGID
    assert _trace(later, origid)["id"] == "bank-trunk"


def test_what_cannot_be_remembered_is_not_signed(configs, desk_of):
    desk = desk_of(configs[0], signer=CALL)
    blocker = sqlite3.connect(desk.service.settings.data / "origids.db", isolation_level=None)
    blocker.execute("BEGIN EXCLUSIVE")
    assert _signed(desk) == (BANK_ORIGID, "A")
    blocker.execute("ROLLBACK")
    blocker.close()
    assert _signed(desk)[0] != BANK_ORIGID


def test_without_a_proxys_origid_the_carriers_own_is_remembered(configs, desk_of):
    desk = desk_of(configs[0], signer=CALL, server={"dialect": "3gpp"})
    members = {
        "orig": {"tn": COURIER}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
    }  # fmt: skip
    _, answer = desk.call(SIGNING, json.dumps({"signingRequest": members}).encode())
    identity = parse_identity_header(answer["signingResponse"]["identityHeader"])
    origid = identity.passport().extension.origid
    assert _trace(desk, origid)["origid"] == unknown_origid("1001")


def test_old_ones_are_forgotten_and_the_rest_is_not(configs, desk_of):
    clock = {"now": time.time()}
    desk = desk_of(configs[0], lambda: clock["now"], signer=CALL | {"origid_days": 1})
    old, _ = _signed(desk)
    clock["now"] += 30
    young, _ = _signed(desk)
    watcher = Watcher(desk.service)
    for seconds in (0, 86_400 - 15, LATE):  # an hour late
        clock["now"] += seconds
        _trace(desk, old)
        asyncio.run(watcher.refresh())
    _trace(desk, old, 404)
    _trace(desk, young)


def test_who_may_trace(configs, desk_of, tmp_path):
    keys = tmp_path / "keys.toml"
    names = {role: add_key(keys, role.value, [role]) for role in Role}
    desk = desk_of(configs[0], signer=CALL, auth={"keys": keys})
    origid, _ = _signed(desk, api_key=names[Role.PROXY].encode())
    for role, name in names.items():
        may = role in (Role.AUDITOR, Role.REGULATOR)
        _trace(desk, origid, 200 if may else 403, **{"x-api-key": name})
    assert desk.http("GET", f"/v1/origids/{origid}").status_code == 401
