"""Pools against the real service: alone, killed, in several workers, on a fleet, over REST."""

from __future__ import annotations

import itertools
import os
import re
import signal
import time

import httpx
import pytest
from fleet.redis_server import RedisServer
from running import Service, signing, until, verdict
from test_fleet import zhenxian

from zhenxian.api.auth import Role, add_key
from zhenxian.api.calls.messages import SIGNING
from zhenxian.simulation.demo import POOL_ORIGID, SOUTH, pool_calls
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

BOX = "a2000000-0000-4000-8000-000000000008"
ACCESS, SUBJECT = "access:pool-trunk", "subject:pool-company"


def call(client, display, callee):
    """Sign one of the pool's calls: HTTP status and answer."""
    body = signing(display, access="pool-trunk", origid=POOL_ORIGID, dest={"tn": [callee]})
    answer = client.post(SIGNING, json=body)
    if answer.status_code == 200:
        told(client, display, callee, access="pool-trunk")
    return answer.status_code, answer.json()


def told(client, display, callee, **whose):
    """The proxy tells that nobody answered the call."""
    over = {**whose, "orig": display, "dest": callee, "answered": False, "seconds": 0}
    assert client.post("/v1/displays/ended", json=[over]).status_code == 200


def refused(clients, calls=None):
    """Make the pool's calls by turns until one is refused; how many it took."""
    for number, (display, callee) in enumerate(calls or pool_calls(), 1):
        status, answer = call(clients[number % len(clients)], display, callee)
        if status == 403:
            reason, _ = answer["requestError"]["policyException"]["variables"]
            assert reason == "POOLED_DISPLAY"
            assert answer["finding"]["state"] == "pooled"
            return number
    return None


def test_a_pool_fails_on_both_sides_and_its_figures_are_told(serve):
    service = serve()
    with service.client() as client:
        assert 60 < refused([client]) <= 250
        failed = None
        for number, (display, callee) in enumerate(pool_calls("8"), 1):
            token = service.token(SOUTH, display, origid=BOX, dest=callee)
            answer = verdict(client, display, token, to={"tn": [callee]})
            if answer["verstat"] != "TN-Validation-Passed":
                failed = number
                break
            told(client, display, callee, spc=SOUTH, origid=BOX)
        assert failed is not None
        assert (answer["verstat"], answer["reason"]) == ("TN-Validation-Failed", "DISPLAY_POOLED")
        assert answer["finding"]["key"] == f"signer:{SOUTH}/{BOX}"
        figures = client.get(f"/v1/displays/signer:{SOUTH}/{BOX}").json()
        assert figures["state"] == "pooled"
        # an honest caller on the same service is left alone
        assert client.post(SIGNING, json=signing("8675588880001")).status_code == 200
        gauges = client.get("/metrics").text
        (pooled,) = re.findall(r"^zhenxian_conduct_pooled (\S+)", gauges, re.MULTILINE)
        assert float(pooled) >= 3  # access, subject, signer; the SPC, of which only it is known


def test_killed_it_still_knows_who_was_refused(serve):
    service = serve()
    with service.client() as client:
        assert refused([client])
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    service.start()
    with service.client() as client:
        display, callee = next(pool_calls())
        assert call(client, display, callee)[0] == 403
        since = client.get(f"/v1/displays/{ACCESS}").json()["finding"]["since"]
        assert since <= time.time()


def test_stopped_gracefully_it_goes_on_counting_where_it_was(serve):
    service = serve()
    with service.client() as client:
        for display, callee in list(pool_calls())[:10]:
            assert call(client, display, callee)[0] == 200
    assert service.stop() == 0
    service.start()
    with service.client() as client:
        assert client.get(f"/v1/displays/{ACCESS}").json()["calls"] == 10


def test_several_workers_count_together(serve):
    service = serve(server__workers=2)
    calls = itertools.cycle(pool_calls())

    def answers(count):
        """One new connection for each call, so that both workers get some."""
        statuses = set()
        for display, callee in itertools.islice(calls, count):
            with service.client() as client:
                statuses.add(call(client, display, callee)[0])
        return statuses

    until(lambda: 403 in answers(10))
    until(lambda: answers(20) == {403})
    # what is cleared at one of them is cleared at both, from the next call on
    with service.client() as client:
        cleared(client)
    calls = pool_calls()
    assert answers(6) == {200}
    time.sleep(1.5)  # in which they exchange what they counted
    assert answers(6) == {200}


def cleared(client):
    """A registrar finds the pool's objection right."""
    for name in (ACCESS, SUBJECT):
        gone = client.delete(f"/v1/displays/{name}", params={"reason": "objection"})
        assert gone.status_code == 204
    rows = client.get("/v1/clearings").json()["clearings"]
    assert {row["key"] for row in rows} == {ACCESS, SUBJECT}
    assert all(row["reason"] == "objection" and row["state"] == "pooled" for row in rows)


def test_killed_right_after_a_clearing_it_knows_it(serve):
    service = serve()
    with service.client() as client:
        assert refused([client])
        time.sleep(1)  # so that the figures are on disk, too
        cleared(client)
    os.kill(service.pid, signal.SIGKILL)
    service.wait()
    service.start()
    with service.client() as client:
        for display, callee in list(pool_calls())[:5]:
            assert call(client, display, callee)[0] == 200
        assert client.get(f"/v1/displays/{ACCESS}").json()["calls"] == 5
        assert len(client.get("/v1/clearings").json()["clearings"]) == 2
        assert refused([client])  # the same conduct is found again


@pytest.mark.redis
def test_a_fleet_counts_together(tmp_path):
    server = RedisServer(tmp_path / "redis")
    key = tmp_path / "identity.key"
    key.write_bytes(os.urandom(32))
    key.chmod(0o600)
    how = {"fleet__url": server.url, "fleet__timeout": 10, "registry__identity_key": key}
    a = Service(tmp_path / "a", registry__node="a", **how)
    b = Service(
        tmp_path / "b",
        registry__node="b",
        alter=lambda world: [
            f.unlink() for f in (world.config.parent / "state").glob(f"{REGISTRY_FILE}*")
        ],
        **how,
    )
    assert zhenxian(a, "fleet", "seed").returncode == 0
    try:
        for service in (a, b):
            service.start()
        with a.client() as ca, b.client() as cb:
            until(lambda: cb.get("/readyz").status_code == 200)
            calls = iter(pool_calls())
            for number, (display, callee) in enumerate(calls):
                assert call((ca, cb)[number % 2], display, callee)[0] == 200
                if number == 11:  # six each: alone, neither could tell
                    break
            until(lambda: cb.get(f"/v1/displays/{ACCESS}").json()["calls"] == 12)
            assert refused([ca], calls) < 150
            display, callee = next(pool_calls())
            until(lambda: call(cb, display, callee)[0] == 403)
            assert [c.get("/readyz").status_code for c in (ca, cb)] == [200, 200]
    finally:
        for service in (a, b):
            service.stop()
            assert "Traceback" not in service.logged()
        server.stop()


def test_an_objection_is_heard_and_who_is_exempt_is_left_alone(serve, tmp_path):
    keys = tmp_path / "keys.toml"
    secret = add_key(keys, "desk", [Role.REGISTRAR, Role.PROXY])
    service = serve(auth__keys=keys)
    with httpx.Client(base_url=service.base, headers={"x-api-key": secret}) as client:
        assert refused([client])
        cleared(client)
        display, callee = next(pool_calls())
        assert call(client, display, callee)[0] == 200
        # exempt, it may go on as it did
        body = {
            "kind": "subject", "target": "pool-company", "reason": "ambulance dispatch",
            "since": int(time.time()) - 1, "until": int(time.time()) + 3_600,
        }  # fmt: skip
        made = client.put("/v1/exemptions/e1", params={"reason": "audited"}, json=body)
        assert made.status_code == 200, made.text
        assert refused([client]) is None
        figures = client.get(f"/v1/displays/{ACCESS}").json()
        assert figures["state"] == "pooled"  # it is still seen
    assert "cleared by desk: objection" in service.logged()
