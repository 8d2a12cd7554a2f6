"""Two real services on one real Redis."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time

import forks
import pytest
from fleet.redis_server import RedisServer
from running import (
    Service,
    Wire,
    dumps,
    environment,
    raw,
    signed,
    signing,
    until,
    verdict,
    verification,
)

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.registry.model import Use
from zhenxian.simulation.demo import BANK, BANK_ORIGID
from zhenxian.stores.sqlite.registry import REGISTRY_FILE
from zhenxian.verifier.replay import REPEAT_SECONDS

pytestmark = pytest.mark.redis
LAG = 1  # seconds, where Redis is taken away
# Nobody takes it away in other tests: a pause of the machine is no such thing.
PATIENT = {"fleet__lag_limit": 15, "fleet__timeout": 10}
HASTY = {"fleet__lag_limit": LAG, "fleet__timeout": 0.5}


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


def zhenxian(service, *words):
    return forks.run([*words, "-c", service.world.config], environment(**service.settings))


@pytest.fixture
def nodes(request, tmp_path, redis):
    """Node a has the demonstration's registry and seeds Redis with it; b has nothing."""
    key = tmp_path / "identity.key"
    key.write_bytes(secrets.token_bytes(32))
    key.chmod(0o600)
    how = {
        "registry__identity_key": key,
        "fleet__url": redis.url,
        **getattr(request, "param", PATIENT),
    }
    a = Service(tmp_path / "a", registry__node="a", **how)
    pki = a.world.pki
    (carrier, *_) = pki.carriers.values()
    # One carrier: the same certificates and trust.
    same = {
        "signer__key": carrier.key,
        "signer__chain": carrier.chain,
        "trust__roots": pki.root,
        "trust__crl_issuers": pki.crl_issuers,
        "trust__crl_folder": pki.crl_folder,
        "signer__origid": "call",
    }
    b = Service(
        tmp_path / "b",
        registry__node="b",
        alter=lambda world: [
            f.unlink() for f in (world.config.parent / "state").glob(f"{REGISTRY_FILE}*")
        ],
        **same,
        **how,
    )
    seeded = zhenxian(a, "fleet", "seed")
    assert seeded.returncode == 0, seeded.stderr
    again = zhenxian(a, "fleet", "seed")
    assert again.returncode == 3
    assert "is not replaced" in again.stderr
    yield a.start(), b.start()
    for service in (a, b):
        service.stop()
        assert "Traceback" not in service.logged()


def attest(client, orig=BANK):
    answer = client.post(SIGNING, json=signing(orig)).json()
    return answer.get("signingResponse", {}).get("attest") or answer


def ready(client):
    return client.get("/readyz").status_code == 200


def _in_time(ask):
    """The answers, when Redis was as quick as they need it; else those for another token."""

    def asked():
        began = time.monotonic()
        answers = ask()
        quick = time.monotonic() - began < REPEAT_SECONDS
        return quick and all(each["reason"] != "REPLAY_UNKNOWN" for each in answers) and answers

    return until(asked)


def test_two_nodes_are_one_registry(nodes, redis):
    a, b = nodes
    with a.client() as ca, b.client() as cb:
        until(lambda: ready(cb))
        # What b never had it has from Redis.
        assert signed(cb, BANK)["identity"]
        until(lambda: _explained(cb)["attest"] == "A")

        # A registrar's change on one counts on the other.
        subject = ca.get("/v1/subjects/bank").json()
        assert subject["id"] == "bank"
        path = "/v1/subjects/bank?reason=test"
        assert ca.put(path, json={**_body(subject), "state": "suspended"}).status_code == 200
        until(lambda: _explained(cb)["reason"] == "SUBJECT_SUSPENDED")
        assert ca.put(path, json={**_body(subject), "state": "active"}).status_code == 200
        until(lambda: _explained(cb)["attest"] == "A")

        # A token that one node has seen does not pass on the other as another call.
        def on_both():
            identity = signed(ca, BANK)["identity"]
            first = verdict(ca, BANK, identity, time=int(time.time()) - 600)
            return first, verdict(cb, BANK, identity)

        first, second = _in_time(on_both)
        assert first["verstat"] == "TN-Validation-Passed"
        assert first["notes"][0].endswith("but iat is fresh")
        assert second["verstat"] == "TN-Validation-Failed"

        # What a client sends again after a time-out is answered by the other as by the first.
        repeated, sent = {}, {"x-requestid": "z9hG4bK776asdhds-314159"}

        def twice():
            repeated.update(verification(BANK, signed(ca, BANK)["identity"]))
            return [
                node.post(VERIFICATION, json=repeated, headers=sent).json()["verificationResponse"]
                for node in (ca, cb)
            ]

        first, again = _in_time(twice)
        assert (first["verstat"], first.get("notes")) == ("TN-Validation-Passed", None)
        assert "the answer is that of the first" in again.pop("notes")[0]
        assert again == first
        # Whose the origid of a call is, that one node signed, the other knows.
        body = verification(BANK, signed(cb, BANK)["identity"])
        origid = ca.post(VERIFICATION, json=body).json()["verificationResponse"]["origid"]
        assert origid != BANK_ORIGID
        until(lambda: ca.get(f"/v1/origids/{origid}").status_code == 200)
        told = ca.get(f"/v1/origids/{origid}").json()
        assert (told["id"], told["current"], told["call"]["node"]) == ("bank-trunk", False, "b")

        time.sleep(REPEAT_SECONDS + 0.1)
        late = cb.post(VERIFICATION, json=repeated, headers=sent).json()["verificationResponse"]
        assert late["reason"] == "REPLAYED"
        assert redis.ask("--scan", "--pattern", "zx:seen:*").strip()


@pytest.mark.parametrize("nodes", [HASTY], indirect=True, ids=["hasty"])
def test_a_node_that_is_cut_off_signs_no_a_and_recovers_by_itself(nodes, redis):
    a, b = nodes
    with b.client() as client, a.client() as other:
        until(lambda: _explained(client)["attest"] == "A")
        identity = signed(client, BANK)["identity"]
        redis.pause()
        until(lambda: _explained(client)["attest"] == "B", LAG + 5)
        assert client.get("/readyz").status_code == 503
        # Verifying goes on: what cannot be asked about replays never passes.
        assert verdict(client, BANK, identity)["verstat"] == "No-TN-Validation"
        stale = verdict(client, BANK, identity, time=int(time.time()) - 600)
        assert stale["reason"] == "DATE_STALE"
        refused = client.put("/v1/subjects/x?reason=test", json={"name": "x"})
        assert refused.status_code == 503
        redis.resume()
        until(lambda: _explained(client)["attest"] == "A")
        until(lambda: ready(client))
        redis.kill()
        until(lambda: _explained(client)["attest"] == "B", LAG + 5)
        redis.start()
        until(lambda: _explained(client)["attest"] == "A")
        # The other node has its own time to find Redis again.
        until(lambda: other.put("/v1/subjects/y?reason=test", json={"name": "y"}).is_success)
        until(lambda: client.get("/v1/subjects/y").status_code == 200)


def test_a_redis_that_is_silent_is_not_waited_for_at_the_end(tmp_path, redis):
    service = Service(
        tmp_path / "one", fleet__url=redis.url, fleet__timeout=30, signer__origid="call"
    )
    assert zhenxian(service, "fleet", "seed").returncode == 0
    service.start()
    with service.client() as client:
        until(lambda: _explained(client)["attest"] == "A")
        redis.pause()
        assert signed(client, BANK)["attest"] == "A"  # its origid is still to be sent
    assert service.stop() == 0
    assert "Traceback" not in service.logged()


def test_an_import_into_a_running_fleet(nodes, tmp_path):
    a, b = nodes
    file = tmp_path / "numbers.csv"
    rows = [f"86755000{n:05},,bank,verified" for n in range(1_500)]
    rows[700] = "86755000xx,,bank,verified"
    rows[900] = "8675500000900,,nobody,verified"
    file.write_text("first,last,subject,verification\n" + "\n".join(rows) + "\n")
    words = ("registry", "import", "holdings", str(file), "--reason", "test", "--json")
    together = zhenxian(a, *words, "--mode", "all-or-nothing")
    assert together.returncode == 1, together.stderr
    done = zhenxian(a, *words)
    assert done.returncode == 1, done.stderr
    assert '"changed": 1498' in done.stdout
    assert '"line": 702' in done.stdout
    assert '"line": 902' in done.stdout
    assert '"changed": 0' in zhenxian(a, *words, "--dry-run").stdout
    with b.client() as client:
        until(lambda: client.get("/v1/holdings/8675500001499").status_code == 200)
        assert client.get("/v1/holdings/8675500001499").json()["use"] == Use.DIRECT.value


@pytest.mark.parametrize("workers", [1, 2])
def test_a_wrong_password_is_told_at_start(tmp_path, workers):
    server = RedisServer(tmp_path / "redis", requirepass="right")
    try:
        wrong = tmp_path / "wrong"
        wrong.write_text("wrong")
        service = Service(
            tmp_path / "a",
            fleet__url=f"redis://127.0.0.1:{server.port}/0",
            fleet__password=wrong,
            server__workers=workers,
        )
        assert service.launch().wait(60) == 3
        assert "Redis refuses the user or password" in service.logged()
        assert "wrong" not in service.logged().replace("WRONGPASS", "").replace("wrong ", "")
    finally:
        server.stop()


def _explained(client):
    answer = client.post(SIGNING, json=signing(BANK)).json()
    found = answer.get("signingResponse") or answer.get("signingError") or answer
    text = str(answer)
    attested = found.get("zhenxian", found)
    return {
        "attest": attested.get("attest"),
        "reason": "SUBJECT_SUSPENDED" if "SUBJECT_SUSPENDED" in text else text,
    }


def _body(record):
    return {name: value for name, value in record.items() if name not in ("id", "version")}


def test_calls_that_wait_for_redis_are_within_the_bound_of_waiting_ones(tmp_path, redis):
    service = Service(
        tmp_path / "one", fleet__url=redis.url, fleet__timeout=10, server__max_waiting=5
    )
    assert zhenxian(service, "fleet", "seed").returncode == 0
    service.start()
    try:
        with service.client() as client:
            until(lambda: ready(client))
            callees = [str(8613700000000 + n) for n in range(40)]
            asked = [
                verification(BANK, service.token("1001", BANK, dest=callee), to={"tn": [callee]})
                for callee in callees
            ]
            assert client.post(VERIFICATION, json=asked.pop()).status_code == 200  # the chain
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(Wire(service)) for _ in asked]
            redis.pause()
            stack.callback(redis.resume)
            os.kill(service.pid, signal.SIGSTOP)  # so that all of them come at once
            try:
                for wire, body in zip(wires, map(dumps, asked), strict=True):
                    wire.send(raw(VERIFICATION, body, f"content-length: {len(body)}"))
            finally:
                os.kill(service.pid, signal.SIGCONT)
            answers = [wire.answer() for wire in wires]
        late = [fields for status, fields, _ in answers if status == 503]
        assert late
        assert {fields["retry-after"] for fields in late} == {"1"}
        assert {status for status, _, _ in answers} == {200, 503}
    finally:
        assert service.stop() == 0
