"""A fleet's Redis that lost commits, as REST shows it; the embedded engine has none to lose."""

from __future__ import annotations

import json
import time

import pytest
import redis as client

from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE
from zhenxian.stores.fleet.registry import FleetRegistry

WHY = {"reason": "looked at"}


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def _signed(desk) -> str:
    """What the bank's call is signed with, or refused for."""
    asked = {"orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time())}
    asked |= {"attest": "A", "origid": BANK_ORIGID, "access": "bank-trunk"}
    status, answer = desk.call("/stir/v1/signing", {"signingRequest": asked})
    return answer["signingResponse"]["attest"] if status == 200 else json.dumps(answer)


def test_nothing_is_lost_unless_redis_loses_it(desk):
    nothing = {"count": 0, "commits": [], "held": [], "beyond": False}
    assert desk.http("GET", "/v1/losses").json() == nothing
    answer = desk.http("DELETE", "/v1/losses", params=WHY)
    assert (answer.status_code, answer.json()) == (200, nothing)
    assert desk.http("DELETE", "/v1/losses").status_code == 422
    if not isinstance(desk.service.registry, FleetRegistry):
        return
    server = client.Redis(port=int(desk.service.settings.fleet.url.split(":")[2].split("/")[0]))
    assert _signed(desk) == "A"
    keys = list(server.scan_iter("{" + desk.service.settings.fleet.name + "}:*"))
    kept = {key: server.dump(key) for key in keys}
    subject = desk.http("GET", "/v1/subjects/bank").json()
    subject = {"name": subject["name"], "kind": subject["kind"], "state": "suspended"}
    answer = desk.http("PUT", "/v1/subjects/bank", params=WHY, json=subject)
    assert answer.status_code == 200, answer.text
    for key, value in kept.items():
        server.restore(key, 0, value, replace=True)
    desk._loop.run_until_complete(desk.service.registry.sync())
    assert desk.http("GET", "/v1/subjects/bank").json()["state"] == "active"  # so Redis has it
    assert "suspended" in _signed(desk)
    ready = desk.http("GET", "/readyz")
    assert any("Redis lost 1 commit(s)" in text for text in ready.json()["remarks"]), ready.text
    lost = desk.http("GET", "/v1/losses").json()
    assert lost["held"] == [{"kind": "subject", "key": "bank"}]
    assert lost["commits"][0]["changed"] == lost["held"]
    assert desk.http("DELETE", "/v1/losses", params=WHY).json() == lost
    assert _signed(desk) == "A"
    assert "remarks" not in desk.http("GET", "/readyz").json()
