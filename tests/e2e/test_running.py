"""A service that runs for long: stops gracefully, takes over what changes, survives what fails."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import threading
import time
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from running import (
    OwnPki,
    Service,
    Wire,
    dumps,
    free_port,
    metric,
    raw,
    replace,
    signed,
    signing,
    sockets,
    taken,
    tls_context,
    tls_files,
    until,
    verdict,
    verification,
)

from zhenxian.api.auth import Role, add_certificate, add_key
from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.api.calls.requests import Dialect
from zhenxian.registry.model import State, Subject
from zhenxian.simulation.demo import BANK, CENTRE_ORIGID, COURIER, register
from zhenxian.stores.sqlite.file import RegistryFile

UNKNOWN = "8675511112222"
REPEATED = 30  # seconds for which a question is the same, asked again
UNKNOWN_HOLDING = f"/v1/holdings/{UNKNOWN}?reason=test"


def _request(path, body):
    return raw(path, body, "content-type: application/json", f"content-length: {len(body)}")


# Stopping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["", "?way=asgi"])
def test_a_call_that_is_half_sent_is_answered_before_the_end(serve, way):
    service = serve()
    request = _request(SIGNING + way, dumps(signing(BANK)))
    with Wire(service) as wire, Wire(service) as idle:
        wire.send(request[:-20])
        idle.send(_request(SIGNING, b"{}"))
        assert idle.answer()[0] == 400
        service.terminate()
        assert idle.closed(4)
        with pytest.raises(ConnectionRefusedError):
            until(lambda: Wire(service).__exit__())
        wire.send(request[-20:])
        status, fields, body = wire.answer()
        assert (status, fields["connection"]) == (200, "close")
        assert b'"identity"' in body
    assert service.wait() == 0


def test_verifications_that_wait_for_certificates_are_answered_before_the_end(serve, host):
    service = serve(server__shutdown_seconds=300)
    host.delay = 1.0
    x5u = host.publish("slow.pem", service.world.pki.carriers["1001"].chain.read_bytes())

    def request():
        return _request(
            VERIFICATION, dumps(verification(BANK, service.token("1001", BANK, x5u=x5u)))
        )

    with Wire(service) as waiting, Wire(service) as half:
        later = request()
        waiting.send(request())
        half.send(later[:-20])
        until(lambda: host.asked)
        until(lambda: taken(service.port))
        service.terminate()
        until(lambda: "Shutting down" in service.logged())
        half.send(later[-20:])
        for wire in (waiting, half):
            status, fields, body = wire.answer()
            assert (status, fields["connection"]) == (200, "close")
            assert b"TN-Validation-Passed" in body or b"REPLAYED" in body
    assert service.wait() == 0  # and does not wait for as long as it may
    assert host.asked == ["/slow.pem"]


def test_a_call_that_never_ends_does_not_hold_up_the_end_for_ever(serve):
    service = serve(server__shutdown_seconds=1)
    with Wire(service) as wire:
        wire.send(_request(SIGNING, dumps(signing(BANK)))[:-20])
        until(lambda: taken(service.port))
        service.terminate()
        assert service.wait() == 0


def test_interrupt_stops_too_and_workers_with_it(serve):
    service = serve(server__workers=2)
    workers = until(lambda: len(service.workers()) == 2 and service.workers())
    os.kill(service.pid, signal.SIGINT)
    assert service.wait() == 0
    for pid in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# What changes on disk ---------------------------------------------------------------------------


def test_a_new_key_is_taken_over_without_losing_a_signature(serve):
    made = []
    service = serve(alter=lambda world: made.append(OwnPki(world)))
    key, _, chain = made[0].issue("1001")
    files = service.world.pki.carriers["1001"]
    answers = []
    stop = threading.Event()

    def sign_on():
        with service.client() as client:
            while not stop.is_set():
                answer = client.post(SIGNING, json=signing(UNKNOWN, origid=CENTRE_ORIGID))
                if answer.status_code != 200:
                    answers.append((answer.text, "", ""))
                    continue
                identity = answer.json()["signingResponse"]["identity"]
                judged = verdict(client, UNKNOWN, identity)
                answers.append((judged["reason"], identity, judged.get("spc")))

    thread = threading.Thread(target=sign_on)
    thread.start()
    try:
        until(lambda: len(answers) > 50)
        old = answers[0][1].partition("info=<")[2].partition(">")[0]
        replace(files.key, key)
        time.sleep(1.2)  # the pair does not fit for longer than the service takes to look
        replace(files.chain, chain, 0o644)
        new = until(lambda: next((a[1] for a in answers[-5:] if old not in a[1]), None))
        time.sleep(0.3)
    finally:
        stop.set()
        thread.join()
    assert {reason for reason, _, _ in answers} == {"VERIFIED"}
    assert {spc for _, _, spc in answers} == {"1001"}
    fresh = new.partition("info=<")[2].partition(">")[0]
    with service.client() as client:
        assert client.get(fresh).content == chain
        assert client.get(old).status_code == 200
        assert client.get("/readyz").json() == {"status": "ok", "problems": []}


def test_a_chain_that_cannot_be_published_is_not_signed_with(serve):
    """For example because the disk is full: the pair before it signs on, and it is told."""
    made = []
    service = serve(alter=lambda world: made.append(OwnPki(world)))
    published = service.world.published
    key, _, chain = made[0].issue("1001")
    files = service.world.pki.carriers["1001"]

    def x5u(client):
        return signed(client, BANK)["identity"].partition("info=<")[2].partition(">")[0]

    with service.client() as client:
        old = x5u(client)
        aside = published.rename(published.with_name("aside"))
        published.write_bytes(b"")
        replace(files.key, key)
        replace(files.chain, chain, 0o644)
        problems = until(lambda: client.get("/readyz").json()["problems"])
        assert "signing key" in problems[0]
        assert x5u(client) == old
        published.unlink()
        aside.rename(published)
        until(lambda: client.get("/readyz").status_code == 200)
        new = x5u(client)
        assert new != old
        assert client.get(new).content == chain
        assert client.get(old).status_code == 200


def test_what_another_process_commits_counts_for_the_next_call(serve):
    service = serve()
    data = service.folder / "state"
    subject = Subject(id="bank", name="Sample Bank", state=State.SUSPENDED)
    with service.client() as client:
        assert signed(client, BANK)["decision"] == "HELD_AND_VERIFIED"
        register(data, [subject], int(time.time()))
        answer = client.post(SIGNING, json=signing(BANK))
        assert answer.status_code == 403
        assert "SUBJECT_SUSPENDED" in answer.text
        register(data, [Subject(id="bank", name="Sample Bank")], int(time.time()))
        assert signed(client, BANK)["decision"] == "HELD_AND_VERIFIED"


@pytest.mark.parametrize("name", ["pki/root.pem", "pki/sti-pa.pem"])
def test_a_file_that_is_away_is_told_until_it_is_back(serve, name):
    service = serve()
    path = service.folder / name
    with service.client() as client:
        aside = path.rename(path.with_name("aside"))
        answer = until(lambda: (a := client.get("/readyz")).status_code == 503 and a)
        assert name.rpartition("/")[2] in answer.json()["problems"][0]
        identity = signed(client, BANK)["identity"]
        assert verdict(client, BANK, identity)["verstat"] == "TN-Validation-Passed"
        aside.rename(path)
        until(lambda: client.get("/readyz").status_code == 200)


def test_without_trust_list_it_is_not_ready_and_says_why(serve):
    def forget(world):
        kept = [
            line for line in world.config.read_text().splitlines() if not line.startswith("roots")
        ]
        world.config.write_text("\n".join(kept))

    service = serve(alter=forget)
    with service.client() as client:
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["verifying: the trust list is empty (trust.roots)"]
        judged = verdict(client, BANK, signed(client, BANK)["identity"])
        assert judged["verstat"] != "TN-Validation-Passed"


# Several workers --------------------------------------------------------------------------------


def _each_worker(service, ask):
    """Ask until both workers have answered thrice; what each said, by its run."""
    said: dict[str, list[object]] = {}
    deadline = time.monotonic() + 60
    while len(said) < 2 or min(map(len, said.values())) < 3:
        assert time.monotonic() < deadline, said.keys()
        clients = [service.client() for _ in range(8)]
        for client in clients:
            answer = ask(client)
            run = answer.headers["x-requestid"].partition("-")[0]
            said.setdefault(run, []).append(answer)
        for client in clients:
            client.close()
    return said


def _signed_by_all(service):
    with service.client() as client:
        return metric(client.get("/metrics").text, "zhenxian_signings_total", attest="A")


def test_two_workers_are_one_service(serve):
    made = []
    service = serve(
        alter=lambda world: made.append(OwnPki(world)),
        server__workers=2,
        verifier__repeat_seconds=REPEATED,  # a busy machine takes its time
    )
    until(lambda: len(service.workers()) == 2)

    # Counts are summed over the workers, whichever is asked.
    said = _each_worker(service, lambda client: client.post(SIGNING, json=signing(BANK)))
    total = sum(map(len, said.values()))
    until(lambda: _signed_by_all(service) == total)  # they tell each other a few times a second
    for _ in range(6):
        with service.client() as client:
            text = client.get("/metrics").text
        assert metric(text, "zhenxian_signings_total", attest="A") == total

    # A token is seen once, in all workers together.
    identity = service.token("2002", COURIER)
    replayed = _each_worker(
        service, lambda client: client.post(VERIFICATION, json=verification(COURIER, identity))
    )
    verstats = [
        answer.json()["verificationResponse"]["reason"]
        for answers in replayed.values()
        for answer in answers
    ]
    assert verstats.count("VERIFIED") == 1
    assert set(verstats) == {"VERIFIED", "REPLAYED"}

    # What a client sends again is answered as the first was, whichever worker it reaches.
    def repeats():
        with service.client() as client:
            text = client.get("/metrics").text
        return metric(text, "zhenxian_repeats_total", by="request")

    sent = {"x-requestid": "0-z9hG4bK776asdhds-314159"}

    def again_and_again():
        repeated = verification(COURIER, service.token("2002", COURIER))
        began, found, before = time.monotonic(), [], repeats()
        for _ in range(12):
            with service.client() as client:
                answer = client.post(VERIFICATION, json=repeated, headers=sent)
                found.append(answer.json()["verificationResponse"])
        return time.monotonic() - began < REPEATED and (found, repeats() - before)

    answers, counted = until(again_and_again)
    assert {answer["verstat"] for answer in answers} == {"TN-Validation-Passed"}
    assert [answer.pop("notes", None) is None for answer in answers] == [True] + [False] * 11
    assert all(answer == answers[0] for answer in answers)
    assert counted == 11

    # A holding that one worker was given is in force in the other.
    with service.client() as client:
        row = {"subject": "bank", "verification": "verified"}
        assert client.put(UNKNOWN_HOLDING, json=row).status_code == 200
    held = _each_worker(service, lambda client: client.post(SIGNING, json=signing(UNKNOWN)))
    for answers in held.values():
        for answer in answers:
            assert answer.json()["signingResponse"]["decision"] == "HELD_AND_VERIFIED"

    # A list dropped into the folder revokes in every worker.
    def ask(client):
        token = service.token("2002", COURIER)
        return client.post(VERIFICATION, json=verification(COURIER, token, callId=token[-99:]))

    for answers in _each_worker(service, ask).values():
        assert "CERT_REVOKED" not in answers[0].text
    made[0].revoke("2002")
    revoked = ("TN-Validation-Failed", "CERT_REVOKED", 437)

    def everywhere():
        return {
            tuple(answer.json()["verificationResponse"].get(name) for name in
                  ("verstat", "reason", "reasoncode"))
            for answers in _each_worker(service, ask).values()
            for answer in answers
        } == {revoked}  # fmt: skip

    until(everywhere)

    # A worker that is killed is replaced, and calls go on meanwhile.
    before = service.workers()
    listening = len(sockets(service.port, "0A"))
    os.kill(before[0], signal.SIGKILL)
    # It takes what comes until its last thread has ended.
    until(lambda: len(sockets(service.port, "0A")) < listening)
    for _ in range(20):
        with service.client() as client:
            assert client.post(SIGNING, json=signing(BANK)).status_code == 200
    until(lambda: len(set(service.workers()) - {before[0]}) == 2)
    again = _each_worker(service, lambda client: client.post(SIGNING, json=signing(BANK)))
    assert len(again.keys() - said.keys()) == 1
    assert f"worker {before[0]} ended (-9)" in service.logged()
    until(lambda: _signed_by_all(service) >= total + 20)


# Listeners and credentials ----------------------------------------------------------------------


def test_an_admin_listener_takes_administration_from_the_calls_listener(serve):
    port = free_port()
    service = serve(server__admin=f"127.0.0.1:{port}")
    base = f"http://127.0.0.1:{port}"
    with service.client() as client:
        for path in ("/v1/holdings", "/v1/accesses", "/metrics", "/docs", "/openapi.json"):
            assert httpx.get(service.base + path).status_code == 404, path
            assert client.get(base + path).status_code == 200, path
        assert client.get("/readyz").status_code == 200
        assert client.get(base + "/readyz").status_code == 200
        assert signed(client, BANK)["attest"] == "A"
        assert httpx.post(base + SIGNING, json=signing(BANK)).status_code == 404
        paths = client.get(base + "/openapi.json").json()["paths"]
        assert {SIGNING, VERIFICATION, "/v1/holdings"} <= paths.keys()
        row = {"subject": "bank", "verification": "verified"}
        assert client.put(base + UNKNOWN_HOLDING, json=row).status_code == 200
        assert signed(client, UNKNOWN)["decision"] == "HELD_AND_VERIFIED"


def test_credentials_are_asked_for_in_the_words_of_the_dialect(serve):
    keys = {}

    def make(world):
        path = world.config.parent / "keys.toml"
        keys["sbc"] = add_key(path, "sbc", [Role.PROXY])
        keys["3gpp"] = add_key(path, "ims", [Role.PROXY], Dialect.THREEGPP)
        keys["clerk"] = add_key(path, "clerk", [Role.REGISTRAR])

    service = serve(alter=make, auth__keys="keys.toml")
    atis, threegpp = signing(BANK), signing(BANK, requestId="9")
    with service.client() as client:
        for way in ("", "?way=asgi"):
            path = SIGNING + way
            for fields in ({}, {"authorization": "Bearer zx_0_0"}, {"x-api-key": "nonsense"}):
                answer = client.post(path, json=atis, headers=fields)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
                error = answer.json()["requestError"]["policyException"]
                assert error["messageId"] == "POL4010"
                assert client.post(path, json=threegpp, headers=fields).json().keys() == {"error"}
            clerk = {"authorization": f"Bearer {keys['clerk']}"}
            answer = client.post(path, json=atis, headers=clerk)
            assert answer.status_code == 403
            assert answer.json()["requestError"]["policyException"]["messageId"] == "POL4031"
            assert client.post(path, json=threegpp, headers=clerk).json().keys() == {"error"}
            good = client.post(path, json=atis, headers={"x-api-key": keys["sbc"]})
            assert "identity" in good.json()["signingResponse"]
            # A key can speak for its client's dialect, whatever the body looks like.
            for body, status in ((atis, 200), ({}, 400)):
                answer = client.post(path, json=body, headers={"x-api-key": keys["3gpp"]})
                assert answer.status_code == status
                said = answer.json()
                assert "error" in said or "identityHeader" in said["signingResponse"]
        # The clerk writes holdings, the proxy does not, nobody without a role reads metrics.
        assert client.get("/v1/holdings", headers=clerk).status_code == 200
        assert client.get("/v1/holdings", headers={"x-api-key": keys["sbc"]}).status_code == 403
        assert client.get("/metrics").status_code == 401
        assert client.get("/metrics", headers=clerk).status_code == 403
        assert client.get("/healthz").status_code == 200
        # A new key opens without a restart.
        late = add_key(service.folder / "keys.toml", "late", [Role.OPERATOR])
        until(lambda: client.get("/metrics", headers={"x-api-key": late}).status_code == 200)
    for key in keys.values():
        assert key not in service.logged()


def test_client_certificates_open_the_calls_and_nothing_else(serve):
    service = serve(
        alter=lambda world: tls_files(world.config.parent),
        tls=True,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        server__tls_client_ca="tls-ca.pem",
    )
    with_certificate = ssl.create_default_context(cafile=service.folder / "tls-ca.pem")
    with_certificate.load_cert_chain(service.folder / "client.pem", service.folder / "client.key")
    without = ssl.create_default_context(cafile=service.folder / "tls-ca.pem")
    with service.client(verify=with_certificate) as client:
        answer = client.post(SIGNING, json=signing(BANK))
        assert answer.status_code == 200
        identity = answer.json()["signingResponse"]["identity"]
        assert f"info=<https://127.0.0.1:{service.port}/" in identity
        assert client.get("/v1/holdings").status_code == 403
        assert client.get("/metrics").status_code == 403
    with service.client(verify=without) as client, pytest.raises(httpx.TransportError):
        client.post(SIGNING, json=signing(BANK))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{service.listener}/healthz", trust_env=False)


@pytest.mark.parametrize("apart", [False, True], ids=["one listener", "two listeners"])
def test_client_certificates_have_names_and_roles(serve, tmp_path, apart):
    """Through real connections, on both listeners and both ways in; taken over while it runs."""
    keys = tmp_path / "keys.toml"
    admin = {"server__admin": f"127.0.0.1:{free_port()}"} if apart else {}

    def alter(world):
        tls_files(world.config.parent)
        pem = (world.config.parent / "client.pem").read_bytes()
        add_certificate(keys, "sbc", [Role.PROXY], certificate=pem)
        name = x509.load_pem_x509_certificate(
            (world.config.parent / "registrar.pem").read_bytes()
        ).subject.rfc4514_string()
        roles = [Role.REGISTRAR, Role.AUDITOR]
        add_certificate(keys, "office", roles, distinguished_name=name)

    service = serve(
        alter=alter,
        tls=True,
        auth__keys=keys,
        server__tls_cert="server.pem",
        server__tls_key="server.key",
        server__tls_client_ca="tls-ca.pem",
        **admin,
    )
    desk = f"https://{admin['server__admin']}" if apart else service.base

    def statuses(who):
        with service.client(verify=tls_context(service, who)) as client:
            # Content-Length and chunked: the short way and the ASGI way.
            plain = client.post(SIGNING, json=signing(BANK)).status_code
            client.headers["x-requestid"] = "7"
            odd = client.get(SIGNING).status_code
            listed = client.get(f"{desk}/v1/holdings").status_code
            made = client.put(f"{desk}/v1/subjects/{who}?reason=x", json={})
            return plain, odd, listed, made.status_code

    assert statuses("client") == (200, 405, 403, 403)
    assert statuses("registrar") == (403, 403, 200, 200)
    assert statuses("stranger") == (401, 401, 401, 401)
    with service.client(verify=tls_context(service, "registrar")) as client:
        last = client.get(f"{desk}/v1/subjects/registrar/history").json()["versions"][-1]
        assert last["author"].startswith("office (cert-")
        pem = (service.folder / "stranger.pem").read_bytes()
        add_certificate(keys, "guest", [Role.PROXY], certificate=pem)
        until(lambda: statuses("stranger")[0] == 200)
        # A key that is presented is judged by itself.
        wrong = client.get(f"{desk}/v1/holdings", headers={"x-api-key": "zx_a_b"})
        assert wrong.status_code == 401


# Refusing to start ------------------------------------------------------------------------------


def _chmod(name):
    return lambda world: (world.config.parent / name).chmod(0o644)


def _tls_readable(world):
    tls_files(world.config.parent)
    _chmod("server.key")(world)


def _write(name, text):
    return lambda world: (world.config.parent / name).write_text(text)


def _newer(world):
    book = RegistryFile(world.config.parent / "state" / "registry.db", writer=True)
    book.connection.run("PRAGMA user_version = 99")
    book.close()


REFUSED = {
    "reachable by everybody": (
        {"server__calls": "0.0.0.0:0"},
        None,
        ["server.calls = 0.0.0.0:0", "auth.keys", "127.0.0.1"],
    ),
    "administration reachable by everybody": (
        {"server__admin": "[::]:0"},
        None,
        ["server.admin = [::]:0"],
    ),
    "readable signing key": ({}, _chmod("pki/1001.key.pem"), ["0644", "chmod 600"]),
    "readable TLS key": (
        {"server__tls_cert": "server.pem", "server__tls_key": "server.key"},
        _tls_readable,
        ["server.tls_key is readable by others: chmod 600"],
    ),
    "broken trust list": ({}, _write("pki/root.pem", "nonsense"), ["root.pem"]),
    "missing trust list": ({"trust__roots": "none.pem"}, None, ["none.pem", "No such file"]),
    "broken issuers": (
        {},
        _write("orders/issuers.toml", "[[issuer]]\nname = 'x'\n"),
        ["issuers.toml", "entry 1", "key"],
    ),
    "a registry of a newer release": ({}, _newer, ["registry file has form 99"]),
    "no registry": ({}, _write("state/registry.db", "nonsense" * 99), ["registry.db"]),
    "key of another chain": (
        {"signer__key": "pki/2002.key.pem"},
        None,
        ["is not the key of the first certificate"],
    ),
    "unknown setting": ({"server__colour": "red"}, None, ["server.colour"]),
    "two workers, no registry": (
        {"server__workers": 2},
        _write("state/registry.db", "nonsense" * 99),
        ["registry.db"],
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_it_does_not_start_and_says_why(tmp_path, why):
    settings, alter, says = REFUSED[why]
    service = Service(tmp_path / "service", alter=alter, **settings)
    assert service.launch().wait(60) == 3
    logged = service.logged()
    for text in says:
        assert text in logged
    assert "Traceback" not in logged


def test_an_address_in_use_is_told(serve, tmp_path):
    running = serve()
    second = Service(tmp_path / "second", server__calls=running.listener)
    assert second.launch().wait(60) == 3
    assert f"cannot listen on {running.listener}" in second.logged()


# Certificate hosts ------------------------------------------------------------------------------


def test_a_host_that_does_not_answer_costs_one_wait(serve, host):
    service = serve(fetch__seconds=0.5)
    host.delay = 10
    x5u = host.publish("silent.pem", b"")
    with service.client() as client:
        began = time.monotonic()
        first = verdict(client, BANK, service.token("1001", BANK, x5u=x5u))
        took = time.monotonic() - began
        assert (first["verstat"], first["reasoncode"]) == ("No-TN-Validation", 436)
        assert first["reason"] == "CERT_UNREACHABLE"
        assert 0.4 < took < host.delay
        second = verdict(client, BANK, service.token("1001", BANK, x5u=x5u))
        assert (second["verstat"], second["reasoncode"]) == ("No-TN-Validation", 436)
        # Nobody else waits for it.
        assert signed(client, BANK)["attest"] == "A"
    assert host.asked == ["/silent.pem"]


def test_a_host_that_is_not_there(serve):
    service = serve()
    x5u = f"http://127.0.0.1:{free_port()}/gone.pem"
    with service.client() as client:
        for _ in range(2):
            judged = verdict(client, BANK, service.token("1001", BANK, x5u=x5u))
            assert (judged["verstat"], judged["reasoncode"]) == ("No-TN-Validation", 436)


def test_chains_are_kept_when_their_host_goes_away(serve, host):
    service = serve()
    host.caching = "max-age=1"
    x5u = host.publish("kept.pem", service.world.pki.carriers["2002"].chain.read_bytes())
    with service.client() as client:
        judged = verdict(client, COURIER, service.token("2002", COURIER, x5u=x5u))
        assert judged["verstat"] == "TN-Validation-Passed"
        host.stop()
        time.sleep(2)
        other = "0e000000-0000-4000-8000-0000000000ee"
        token = service.token("2002", COURIER, x5u=x5u, origid=other)
        assert verdict(client, COURIER, token)["verstat"] == "TN-Validation-Passed"


# What is logged ---------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_every_line_of_the_log_has_one_shape(serve, workers):
    """Also the first, which says that calls are taken."""
    service = serve(server__workers=workers, own_process=True)
    with service.client() as client:
        signed(client, BANK)
    until(lambda: '"event":"signing"' in service.logged(), 20)
    service.stop()
    lines = [json.loads(line) for line in service.logged().splitlines()]
    for line in lines:
        assert datetime.fromisoformat(line["time"]).tzinfo is not None
        assert line["level"]
        assert line["event"]
    assert any(f"serves calls on {service.listener}" in line.get("message", "") for line in lines)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("log", ["a full disk", "who reads it has gone"])
def test_a_log_that_cannot_be_written_ends_no_service(tmp_path, log, workers, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # what is left at the end is written then
    service = Service(tmp_path / "service", own_process=True, server__workers=workers)
    service.log, service.logged = Path("/dev/full"), lambda: log
    if log != "a full disk":
        service.log = tmp_path / "pipe"
        os.mkfifo(service.log)
        reader = os.open(service.log, os.O_RDONLY | os.O_NONBLOCK)
        service.launch()  # who opens a pipe to write needs somebody to read
        os.close(reader)
        service.launch = lambda: service._process
    try:
        service.start()
        with service.client() as client:
            for _ in range(3):
                signed(client, BANK)
            params = {"reason": "a"}
            assert client.put("/v1/subjects/q", json={}, params=params).status_code == 200
            assert client.get("/readyz").status_code == 200
    finally:
        assert service.stop() == 0


@pytest.mark.parametrize("clear", [False, True])
def test_numbers_are_logged_only_when_wanted(serve, clear):
    service = serve(log__clear_numbers=clear, log__level="debug")
    numbers = {BANK, COURIER, "8613800138000", UNKNOWN, "8617100001234"}
    with service.client() as client:
        for orig in numbers:
            client.post(SIGNING, json=signing(orig))
            client.post(VERIFICATION, json=verification(orig))
            client.post(VERIFICATION, json=verification(orig, "nonsense"))
            client.post(VERIFICATION, json=verification(orig, service.token("2002", BANK)))
            client.post(SIGNING, json=signing(orig, iat=1))
            client.post(SIGNING, json=signing(orig + "x"))
            client.post(SIGNING, json={"signingRequest": {orig: 1}})
            client.post(SIGNING, content=f'{{"signingRequest": {orig}x')
            client.post(SIGNING, json=signing(orig), headers={"accept": f"text/{orig}"})
            client.get(f"/v1/numbers/{orig}")
            client.delete(f"/v1/holdings/{orig}?reason=x")
            client.put(f"/v1/holdings/{orig}?reason=x", json={"subject": "x"})
    service.stop()
    logged = service.logged()
    found = {number for number in numbers if number in logged}
    assert found == (numbers if clear else set())
    for files in service.world.pki.carriers.values():
        for line in files.key.read_text().splitlines()[1:-1]:
            assert line not in logged
    assert "PRIVATE KEY" not in logged


def test_the_folder_is_for_its_owner_only(serve):
    service = serve(server__workers=2)
    state = service.folder / "state"
    with service.client() as client:
        verdict(client, BANK, signed(client, BANK)["identity"])
    found = {}
    for path in (state, *state.rglob("*")):
        with contextlib.suppress(FileNotFoundError):  # what SQLite puts beside comes and goes
            found[path] = path.stat().st_mode & 0o077
    assert {"replay.sqlite", "registry.db", "conduct.db"} <= {path.name for path in found}
    assert set(found.values()) == {0}
    shutil.rmtree(state / "published")
    with service.client() as client:
        assert signed(client, BANK)["attest"] == "A"
