"""How processes end, and what they leave: workers, the demonstration, the data folder's lock."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path

import httpx
import pytest
from running import (
    START_SECONDS,
    Service,
    Wire,
    alive,
    dumps,
    environment,
    free_port,
    raw,
    signed,
    signing,
    sockets,
    taken,
    until,
    verification,
)

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.simulation.demo import BANK

OWN_PROCESS = True  # how processes start and end is what this is about


def _answers(listener: str) -> bool:
    try:
        return httpx.get(f"http://{listener}/healthz", timeout=20).status_code == 200
    except httpx.TransportError:
        return False


def _start_again(service: Service, before: Collection[int] = ()) -> None:
    """Start at once, while workers of before may still end; they could answer for the new ones."""
    assert service._process is not None
    service._process.wait()
    process = service.launch()
    until(lambda: not any(map(alive, before)))
    until(lambda: _answers(f"127.0.0.1:{service.port}"), START_SECONDS)
    assert process.poll() is None, service.logged()
    with service.client() as client:
        assert signed(client, BANK)["attest"] == "A"


# What outlives a process ------------------------------------------------------------------------


def test_carriers_that_were_verified_are_verified_after_a_restart_without_their_host(serve, host):
    service = serve()
    x5u = host.publish("carrier.pem", service.world.pki.carriers["1001"].chain.read_bytes())

    def verstat() -> str:
        body = verification(BANK, service.token("1001", BANK, x5u=x5u))
        with service.client() as client:
            answer = client.post(VERIFICATION, json=body).json()
        return str(answer["verificationResponse"]["verstat"])

    assert verstat() == "TN-Validation-Passed"
    kept = service.folder / "state" / "chains.json"
    service.stop()
    host.stop()
    assert kept.stat().st_mode & 0o777 == 0o600
    service.start()
    assert verstat() == "TN-Validation-Passed"
    service.stop()
    kept.write_bytes(b"{")
    service.start()
    assert verstat() == "No-TN-Validation"  # as after a first start
    assert "are fetched anew" in service.logged()


# Workers and their supervisor -------------------------------------------------------------------


def test_workers_end_with_their_supervisor_and_the_next_start_succeeds(serve):
    service = serve(server__workers=3)
    workers = until(lambda: len(found := service.workers()) == 3 and found)
    os.kill(service.pid, signal.SIGKILL)
    _start_again(service, workers)


def test_half_sent_requests_do_not_keep_the_next_start(serve):
    """Nor do they keep the workers: nobody's half a body is worth a node."""
    service = serve(server__workers=2)
    workers = service.workers()
    wires = [Wire(service) for _ in range(12)]
    try:
        for number, wire in enumerate(wires):
            whole = raw(SIGNING, b"{", "content-length: 100")
            wire.send(whole if number % 2 else whole[:20])
        until(lambda: taken(service.port))
        os.kill(service.pid, signal.SIGKILL)
        _start_again(service, workers)
    finally:
        for wire in wires:
            wire.__exit__()


def test_so_do_workers_that_are_only_being_started(serve):
    service = serve(server__workers=2)
    workers = service.workers()
    os.kill(workers[0], signal.SIGKILL)
    found = lambda: set(service.workers()) - set(workers)  # noqa: E731
    newest = until(found, START_SECONDS)  # has not read its orders yet
    os.kill(service.pid, signal.SIGKILL)
    until(lambda: not any(map(alive, {*workers, *newest})))
    _start_again(service)


def test_calls_in_flight_are_finished_when_the_supervisor_is_killed(serve, host):
    service = serve(server__workers=2)
    host.delay = 1.0
    x5u = host.publish("slow.pem", service.world.pki.carriers["1001"].chain.read_bytes())
    body = dumps(verification(BANK, service.token("1001", BANK, x5u=x5u)))
    with Wire(service) as wire:
        wire.send(
            raw(
                VERIFICATION,
                body,
                "content-type: application/json",
                f"content-length: {len(body)}",
            )
        )
        until(lambda: host.asked)
        os.kill(service.pid, signal.SIGKILL)
        status, _, answer = wire.answer()
    assert status == 200
    assert b"TN-Validation-Passed" in answer


def _sockets(pid: int, port: int, state: str) -> list[str]:
    """Those of one process."""
    found = sockets(port, state)
    links = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except FileNotFoundError:
            continue
    return [link[8:-1] for link in links if link.startswith("socket:[") and link[8:-1] in found]


def _asked(wire: Wire) -> int:
    body = dumps(signing(BANK))
    fields = ("content-type: application/json", f"content-length: {len(body)}")
    wire.send(raw(SIGNING, body, *fields))
    return wire.answer()[0]


def test_each_worker_listens_by_itself_and_the_supervisor_is_small(serve):
    service = serve(server__workers=3)
    workers = until(lambda: len(found := service.workers()) == 3 and found)

    def own() -> list[list[str]]:
        return [_sockets(pid, service.port, "0A") for pid in workers]

    until(lambda: all(own()), START_SECONDS)
    listening = own()
    assert [len(set(each)) for each in listening] == [1, 1, 1]  # by several descriptors
    assert len({inode for each in listening for inode in each}) == 3
    assert _sockets(service.pid, service.port, "0A") == []
    status = Path(f"/proc/{service.pid}/status").read_text()
    (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    assert int(resident) < 40 * 1024


def test_a_worker_that_dies_takes_no_connection_along_but_its_own(serve):
    service = serve(server__workers=2)
    first, second = until(lambda: len(found := service.workers()) == 2 and found)
    until(lambda: all(_sockets(pid, service.port, "0A") for pid in (first, second)), START_SECONDS)
    wires = [Wire(service) for _ in range(24)]
    try:
        assert [_asked(wire) for wire in wires] == [200] * 24
        lost = len(_sockets(first, service.port, "01"))
        kept = len(_sockets(second, service.port, "01"))
        assert lost > 0
        assert kept > 0
        os.kill(first, signal.SIGKILL)
        until(lambda: len(sockets(service.port, "0A")) == 1)  # its threads end one by one
        until(lambda: sum(not wire.closed(0.0) for wire in wires) == kept)
        alive = [wire for wire in wires if not wire.closed(0.0)]
        for number in range(40):  # while it is away
            with Wire(service) as another:
                assert _asked(another) == 200
            assert _asked(alive[number % kept]) == 200  # one that is idle for long is closed
        assert [_asked(wire) for wire in alive] == [200] * kept
        until(lambda: first not in service.workers() and len(service.workers()) == 2)
        (newest,) = set(service.workers()) - {second}
        until(lambda: _sockets(newest, service.port, "0A"), START_SECONDS)
    finally:
        for wire in wires:
            wire.__exit__()


def test_what_workers_cannot_start_with_is_told_once(tmp_path):
    service = Service(tmp_path / "service", server__workers=3, signer__key=tmp_path / "none.pem")
    assert service.launch().wait(START_SECONDS) == 3
    told = [line for line in service.logged().splitlines() if line.startswith("zhenxian: ")]
    assert len(told) == 1
    assert "none.pem" in told[0]
    assert "Traceback" not in service.logged()


# Hanging up -------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_a_hang_up_takes_files_over_at_once_and_loses_no_call(serve, workers):
    service = serve(server__workers=workers)
    before = service.workers()
    with service.client() as client:
        for _ in range(3):
            os.kill(service.pid, signal.SIGHUP)
            assert client.post(SIGNING, json=signing(BANK)).status_code == 200
        until(lambda: service.logged().count("looked at all files anew") >= workers)
        assert client.post(SIGNING, json=signing(BANK)).status_code == 200
    assert service.workers() == before
    service.terminate()
    assert service.wait() == 0


def test_a_hang_up_while_it_starts_ends_nothing(serve, tmp_path):
    service = Service(tmp_path / "service", server__workers=2)
    service.launch()
    until((service.folder / "state" / "service.lock").exists)
    try:
        for _ in range(200):
            os.kill(service.pid, signal.SIGHUP)
            time.sleep(0.05)
            if _answers(service.listener):
                break
        assert _answers(service.listener), service.logged()
        assert "ended (-1)" not in service.logged()
    finally:
        service.stop()


# One service a data folder ----------------------------------------------------------------------


def test_a_second_service_on_a_data_folder_is_refused_and_told_who_has_it(serve):
    service = serve(server__workers=2)
    refused = subprocess.run(
        [sys.executable, "-m", "zhenxian", "serve", "-c", str(service.world.config)],
        env=environment(server__calls=f"127.0.0.1:{free_port()}"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 3
    assert f"in use by another service (process {service.pid}, calls on {service.listener}" in (
        refused.stderr
    )
    assert "Traceback" not in refused.stderr
    with service.client() as client:
        assert client.get("/readyz").status_code == 200


def test_commands_that_work_beside_a_service_still_do(serve, tmp_path):
    service = serve()
    rows = tmp_path / "subjects.csv"
    rows.write_text("id,kind,name\nfresh,enterprise,Fresh\n")
    for command in (
        ["registry", "import", "subjects", str(rows), "--reason", "sample"],
        ["registry", "export", "subjects"],
        ["doctor"],
        ["sign", BANK, "8613800138000", "--access", "bank-trunk"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "zhenxian", *command, "-c", str(service.world.config)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    with service.client() as client:
        assert client.get("/v1/subjects/fresh").status_code == 200


# The demonstration ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_demonstration_ends_its_service_however_it_ends(tmp_path, number):
    listener = f"127.0.0.1:{free_port()}"
    log = (tmp_path / "log").open("w+")
    demonstration = subprocess.Popen(
        [
            *(sys.executable, "-m", "zhenxian", "demo", "--folder", str(tmp_path / "demo")),
            *("--listen", listener, "--keep-serving"),
        ],
        stdout=log,
        stderr=log,
        env=environment(),
    )
    try:
        children = Path(f"/proc/{demonstration.pid}/task/{demonstration.pid}/children")
        service = int(until(lambda: children.read_text().split())[0])

        until(lambda: _answers(listener))
        demonstration.send_signal(number)
        demonstration.wait(40)
        until(lambda: not alive(service))
        assert not _answers(listener)
    finally:
        demonstration.kill()
        demonstration.wait()
        log.close()


def test_a_clock_that_was_set_while_nothing_ran_is_found_at_the_next_start(serve):
    service = serve()
    kept = service.folder / "state" / "clock.json"

    def put(client):
        return client.put("/v1/subjects/x", json={"name": "x"}, params={"reason": "a"})

    with service.client() as client:
        assert put(client).status_code == 200
    until(kept.exists)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert service.stop() == 0
    stood = json.loads(kept.read_bytes())
    kept.write_text(json.dumps(stood | {"offset": stood["offset"] - 86_400}))
    for _ in range(2):  # another restart makes it no better
        service.start()
        with service.client() as client:
            refused = put(client)
            assert refused.status_code == 503
            assert "the clock was set ahead by 86" in refused.json()["detail"]
            assert "clock: the clock was set" in str(client.get("/readyz").json()["remarks"])
            assert signed(client, BANK)["attest"] == "A"
        assert service.stop() == 0
    service.start()
    with service.client() as client:
        accepted = client.post("/v1/clock/acceptance", params={"reason": "a"})
        assert accepted.status_code == 200
        assert put(client).status_code == 200
    assert service.stop() == 0
    service.start()
    with service.client() as client:
        assert put(client).status_code == 200
