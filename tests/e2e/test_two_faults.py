"""Two faults at once, and how the service stops in them."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import forks
import httpx
import pytest
from fleet.redis_server import RedisServer
from running import (
    OwnPki,
    Service,
    environment,
    signed,
    signing,
    sockets,
    tls_files,
    until,
    verdict,
    verification,
)

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.simulation.demo import BANK

OWN_PROCESS = True  # how a process stops, and what is left of it, is what this is about

GRACE = 5.0  # seconds beyond server.shutdown_seconds in which the service ends, whatever hangs
BUSY = 10.0  # seconds that this machine may be late by
ROWS = "first,subject\n" + "".join(f"86756{n:08},bank\n" for n in range(9_000))

# Read by every process of Python at its start: a clock that is ahead by as much as a file says.
_AHEAD = """
import os, time

def ahead(clock, factor):
    def told():
        with open(os.environ["AHEAD"]) as file:
            return clock() + int(file.read()) * factor
    return told

time.time, time.time_ns = ahead(time.time, 1), ahead(time.time_ns, 10**9)
"""

# `zhenxian serve` in which a call of the system does not come back: it hangs for ten minutes.
_HANGING = """
import os, runpy, socket, sys, time
what = sys.argv.pop(1)

def hang(*_, **__):
    print("it hangs", file=sys.stderr, flush=True)
    time.sleep(600)

if what == "names":
    socket.getaddrinfo = hang
else:
    os.statvfs = hang
runpy.run_module("zhenxian", run_name="__main__", alter_sys=True)
"""


def stopped_within(service, seconds):
    """Stop it; that it takes no longer. Its exit status."""
    began = time.monotonic()
    service.terminate()
    try:
        status = service._process.wait(seconds + BUSY)
    finally:
        service._process.kill()
        service._process.wait()
    assert time.monotonic() - began < seconds + BUSY
    return status


def launched(service, *by):
    service.launched_by = [*by, sys.executable, "-m", "zhenxian"]
    return service.start()


def imported(client, rows=ROWS):
    return client.post(
        "/v1/imports/holdings",
        params={"reason": "a"},
        content=rows,
        headers={"content-type": "text/csv"},
    )


# A name server or a disk that does not answer ----------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_while_a_name_server_does_not_answer(tmp_path, workers):
    service = Service(tmp_path / "service", server__workers=workers, server__shutdown_seconds=1)
    service.launched_by = [sys.executable, "-c", _HANGING, "names"]
    service.start()
    with service.client(timeout=30) as client:
        token = service.token("1001", BANK, x5u="https://sti.example.com/c.pem")
        answer = verdict(client, BANK, token)
        assert (answer["verstat"], answer["reason"]) == ("No-TN-Validation", "CERT_UNREACHABLE")
    assert stopped_within(service, 1 + GRACE) == 0
    assert "Traceback" not in service.logged()


def test_it_ends_while_a_disk_does_not_answer(tmp_path):
    """A thread that hangs there cannot be ended but with the process."""
    service = Service(tmp_path / "service", server__shutdown_seconds=1)
    service.launched_by = [sys.executable, "-c", _HANGING, "disk"]
    service.start()
    until(lambda: "it hangs" in service.logged())
    assert stopped_within(service, 1 + GRACE) == 1
    assert "took more than" in service.logged()


def test_workers_that_do_not_answer_have_one_time_together(serve):
    service = serve(server__workers=4, server__shutdown_seconds=1)
    workers = until(lambda: len(service.workers()) == 4 and service.workers())
    for worker in workers:
        os.kill(worker, signal.SIGSTOP)
    assert stopped_within(service, 1 + GRACE) == 0
    for worker in workers:
        with pytest.raises(ProcessLookupError):
            os.kill(worker, 0)


# A data folder that takes nothing, and a worker that dies ----------------------------------------


class Folder:
    """The data folder of a running service in a mount namespace: it can become read-only."""

    def __init__(self, service):
        self.service = service
        self.path = service.folder / "state"

    @property
    def by(self):
        more = [] if os.geteuid() == 0 else ["--map-root-user"]
        return ["unshare", "--mount", *more]

    def _there(self, words):
        pid = self.service.pid
        user = (
            [] if os.geteuid() == 0 else [f"--user=/proc/{pid}/ns/user", "--preserve-credentials"]
        )
        subprocess.run(
            ["nsenter", *user, f"--mount=/proc/{pid}/ns/mnt", "sh", "-ec", words, "sh", self.path],
            check=True,
        )

    def close(self):
        self._there(
            'mount --bind "$1" "$1"; n=0\n'
            # It is busy while a probe is written.
            'until mount -o remount,bind,ro "$1"; do n=$((n+1)); [ $n -lt 50 ]; sleep 0.1; done'
        )

    def open(self):
        self._there('umount -l "$1"')  # a probe may be under way


@pytest.mark.parametrize("workers", [1, 2])
def test_a_data_folder_that_becomes_read_only_while_it_runs(tmp_path, workers):
    service = Service(tmp_path / "service", server__workers=workers)
    folder = Folder(service)
    launched(service, *folder.by)
    try:
        with service.client(timeout=60) as client:
            assert imported(client).json()["changed"] == 9_000
            until(lambda: len(sockets(service.port, "0A")) == workers)
            folder.close()
            problems = until(lambda: client.get("/readyz").json()["problems"])
            assert "disk: the data folder takes nothing (Read-only file system)" in problems[0]
            for rows in (ROWS[:100].rpartition("\n")[0], ROWS):
                answer = imported(client, rows)
                assert answer.status_code == 503, answer.text
                assert "takes no upload (Read-only file system)" in answer.json()["detail"]
            assert client.get("/v1/exports/holdings").status_code in (200, 503)
            assert signed(client, BANK)["attest"] == "A"
            if workers == 2:
                ended = service.workers()[0]
                os.kill(ended, signal.SIGKILL)
                until(lambda: f"worker {ended} ended" in service.logged())
            folder.open()
        with service.client(timeout=60) as client:
            until(lambda: ready(client))
            until(lambda: len(service.workers()) == workers or workers == 1)
            assert imported(client).json()["unchanged"] == 9_000
            token = signed(client, BANK)["identity"]
            assert verdict(client, BANK, token)["verstat"] == "TN-Validation-Passed"
            folder.close()
    finally:
        stopped_within(service, 10 + GRACE)
    assert "Traceback" not in service.logged()


def ready(client):
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False  # the worker that has this connection has ended


def test_a_registry_that_is_moved_away_while_it_runs(serve):
    """No new file takes its place, into which an import would go, and be lost."""
    service = serve()
    with service.client(timeout=60) as client:
        assert imported(client).status_code == 200
        file = service.folder / "state" / "registry.db"
        moved = file.rename(file.with_suffix(".away"))
        for answer in (client.get("/v1/exports/holdings"), imported(client)):
            assert answer.status_code == 503, answer.text
            assert "registry.db is not there" in answer.text or answer.request.method == "GET"
        assert imported(client, "first,subject\n8675699999999,bank\n").status_code == 503
        assert not file.exists()
        until(lambda: "registry.db" in " ".join(client.get("/readyz").json()["problems"]))
        moved.rename(file)
        until(lambda: ready(client))
        assert len(client.get("/v1/exports/holdings").text.splitlines()) > 9_000


def test_an_export_that_is_cut_off_in_its_middle(serve):
    """The client is not told its end, and the log in one sentence what became of it."""
    service = serve()
    long = ROWS.replace("subject", "subject,evidence").replace(",bank", f",bank,{'e' * 200}")
    with service.client(timeout=60) as client:
        assert imported(client, long).json()["changed"] == 9_000
    with socket.socket() as reading:
        reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # much of it has to wait
        reading.settimeout(30)
        reading.connect(("127.0.0.1", service.port))
        reading.sendall(b"GET /v1/exports/holdings HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
        assert reading.recv(1_024).startswith(b"HTTP/1.1 200")
        (apart,) = until(service.workers, 20)
        os.kill(apart, signal.SIGKILL)
        end = b""
        while part := reading.recv(65_536):
            end = (end + part)[-7:]
        assert end != b"\r\n0\r\n\r\n"
    until(lambda: "the export was cut off, and so was its answer" in service.logged(), 20)
    with service.client() as client:
        assert ready(client)
    assert "Traceback" not in service.logged()


def test_files_that_others_can_read_are_a_remark(serve):
    service = serve()
    file = service.folder / "state" / "node.key"
    with service.client() as client:
        file.chmod(0o644)
        remarks = until(lambda: client.get("/readyz").json().get("remarks"))
        assert "node.key: chmod 600" in " ".join(remarks)
        file.chmod(0o600)
        until(lambda: "remarks" not in client.get("/readyz").json())


# Redis away, and more ----------------------------------------------------------------------------


@pytest.fixture
def redis(tmp_path):
    server = RedisServer(tmp_path / "redis")
    yield server
    server.stop()


def node(tmp_path, redis, **settings):
    """A node of a fleet, seeded; not started."""
    service = Service(
        tmp_path / "node",
        registry__node="a",
        fleet__url=redis.url,
        fleet__lag_limit=1,
        fleet__timeout=0.5,
        **settings,
    )
    seeding = ["fleet", "seed", "-c", service.world.config]
    seeded = forks.run(seeding, environment(**service.settings))
    assert seeded.returncode == 0, seeded.stderr
    return service


def attest(client):
    answer = client.post(SIGNING, json=signing(BANK)).json()
    return answer.get("signingResponse", {}).get("attest")


def put(client):
    return client.put("/v1/subjects/x", json={"name": "x"}, params={"reason": "a"})


@pytest.mark.redis
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("first", ["redis", "disk"])
def test_redis_is_away_while_the_folder_takes_nothing(tmp_path, redis, workers, first):
    """Whichever comes back first, the node says what is left, and is whole in the end."""
    service = node(tmp_path, redis, server__workers=workers)
    folder = Folder(service)
    launched(service, *folder.by)
    try:
        with service.client() as client:
            until(lambda: attest(client) == "A")
            # One that only starts could not, and would end the start of all.
            until(lambda: len(sockets(service.port, "0A")) == workers)
            redis.pause()
            folder.close()
            said = until(lambda: both(client))
            until(lambda: attest(client) == "B")
            assert put(client).status_code == 503
            assert imported(client).status_code == 503
            token = service.token("1001", BANK)
            assert verdict(client, BANK, token)["verstat"] == "No-TN-Validation", said
            back = {"redis": redis.resume, "disk": folder.open}
            other = {"redis": "disk:", "disk": "registry:"}[first]
            back.pop(first)()
            until(lambda: {one.split(" ")[0] for one in told(client)} <= {other, "replays:"})
            back.popitem()[1]()
            until(lambda: ready(client) and attest(client) == "A")
            until(lambda: put(client).status_code == 200)  # half a second is Redis' time
            redis.pause()
            folder.close()
    finally:
        stopped_within(service, 10 + GRACE)
    assert "Traceback" not in service.logged()


@pytest.mark.redis
@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_while_it_starts_against_a_silent_redis(tmp_path, redis, workers):
    """It does not wait for an answer that it would have waited a minute for."""
    service = node(tmp_path, redis, server__workers=workers, server__shutdown_seconds=60)
    redis.pause()
    service.settings["fleet__timeout"] = 60
    service.launch()
    try:
        until(lambda: asking(redis.port) >= workers, 60)
        assert stopped_within(service, 10) == 0
    finally:
        redis.resume()
    assert "Traceback" not in service.logged()


def asking(port):
    """How many connections to a port there are."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


class WallClock:
    """The clock of a service's processes, but not that of anybody else."""

    def __init__(self, folder):
        self._file = folder / "ahead"
        self.set(0)
        (folder / "sitecustomize.py").write_text(_AHEAD)
        self.by = ["env", f"PYTHONPATH={folder}", f"AHEAD={self._file}"]

    def set(self, ahead):
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(ahead))
        fresh.replace(self._file)


@pytest.mark.redis
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("ahead", [7_200, -7_200])
def test_the_clock_jumps_while_redis_is_away(tmp_path, redis, workers, ahead):
    """Nothing is dated by it, nor thrown away, whichever is mended first, nor after a restart."""
    service = node(tmp_path, redis, server__workers=workers)
    clock = WallClock(tmp_path)
    launched(service, *clock.by)
    try:
        with service.client() as client:
            until(lambda: attest(client) == "A", 30)
            until(lambda: bound(client) == 200, 30)
            redis.pause()
            clock.set(ahead)
            until(lambda: put(client).status_code == 503, 30)
            redis.resume()
            until(lambda: "clock" in put(client).text, 30)
            assert put(client).status_code == 503
            redis.pause()
        service.stop()
        launched(service, *clock.by)
        with service.client() as client:
            until(lambda: "clock" in put(client).text, 30)  # also without Redis
            clock.set(0)
            until(lambda: "clock" not in put(client).text, 30)
            assert put(client).status_code == 503
            redis.resume()
            until(lambda: put(client).status_code == 200, 30)
            until(lambda: attest(client) == "A", 30)
            assert client.get("/v1/bindings/soon-over").status_code == 200
    finally:
        redis.resume()
        stopped_within(service, 10 + GRACE)
    assert "Traceback" not in service.logged()


def bound(client):
    """A binding that ends within the time by which the clock jumps."""
    now = int(time.time())
    members = {"platform": "platform", "model": "axb", "x": "700100020001999", "a": "8613000000001",
               "b": "8613000000002", "since": now, "until": now + 3_600}  # fmt: skip
    answer = client.put("/v1/bindings/soon-over", json=members, params={"reason": "a"})
    return answer.status_code


def told(client):
    return client.get("/readyz").json()["problems"]


def both(client):
    problems = " ".join(told(client))
    return problems if "Redis cannot be reached" in problems and "takes nothing" in problems else ""


# Other pairs -------------------------------------------------------------------------------------


def test_workers_die_while_hang_ups_come(serve):
    service = serve(server__workers=2)
    until(lambda: len(service.workers()) == 2)
    ended = threading.Event()

    def hang_up():
        while not ended.wait(0.01):
            os.kill(service.pid, signal.SIGHUP)

    task = threading.Thread(target=hang_up)
    task.start()
    try:
        for _ in range(3):
            worker = service.workers()[0]
            os.kill(worker, signal.SIGKILL)
            until(lambda one=worker: f"worker {one} ended (-9)" in service.logged())
            until(lambda: len(service.workers()) == 2)
    finally:
        ended.set()
        task.join()
    with service.client() as client:
        until(lambda: ready(client))
        assert signed(client, BANK)["attest"] == "A"
    assert service.logged().count("ended (-9)") == 3  # none was ended by a hang-up
    assert "(-1)" not in service.logged()
    assert stopped_within(service, 10 + GRACE) == 0


def test_a_revocation_counts_while_certificate_hosts_hang(serve, host):
    """Each token names another address of hosts that do not answer; then it is told to stop."""
    made = []
    service = serve(
        alter=lambda world: made.append(OwnPki(world)),
        server__shutdown_seconds=1,
        fetch__seconds=20,
    )
    host.delay = 30.0
    left = []

    def ask(which):
        with service.client(timeout=60) as client, contextlib.suppress(httpx.TransportError):
            for number in itertools.count():
                x5u = f"{host.base}/{which}-{number}.pem"
                body = verification(BANK, service.token("1001", BANK, x5u=x5u))
                answer = client.post(VERIFICATION, json=body)
                if answer.status_code != 200:
                    left.append((answer.status_code, answer.headers.get("retry-after")))
                    return

    tasks = [threading.Thread(target=ask, args=(which,)) for which in range(16)]
    with service.client() as client:
        judged = verdict(client, BANK, service.token("1001", BANK))
        assert judged["verstat"] == "TN-Validation-Passed"
        for task in tasks:
            task.start()
        until(lambda: host.asked)
        made[0].revoke("1001")
        until(
            lambda: verdict(client, BANK, service.token("1001", BANK))["reason"] == "CERT_REVOKED",
            20,
        )
        assert ready(client)
    try:
        assert stopped_within(service, 1 + GRACE) == 0
    finally:
        host.delay = 0.0
        for task in tasks:
            task.join()
    assert set(left) == {(503, "1")}


def test_descriptors_run_out_by_slow_handshakes_while_redis_is_away(tmp_path, redis):
    """Redis is reached again, and callers are served, without a restart."""
    tls_files(tmp_path)
    service = node(
        tmp_path,
        redis,
        tls=True,
        descriptors=400,
        server__tls_cert=tmp_path / "server.pem",
        server__tls_key=tmp_path / "server.key",
    )
    service.start()
    slow = []
    try:
        context = ssl.create_default_context(cafile=tmp_path / "tls-ca.pem")
        with service.client(verify=context) as client:
            until(lambda: attest(client) == "A")
            redis.kill()
            for _ in range(600):
                one = socket.create_connection(("127.0.0.1", service.port), 10)
                one.sendall(b"\x16\x03\x01")  # a handshake that begins
                slow.append(one)
            until(lambda: attest(client) == "B")
            redis.start()
            until(lambda: attest(client) == "A")
            assert len(list(Path(f"/proc/{service.pid}/fd").iterdir())) < 400
    finally:
        stopped_within(service, 10 + GRACE)
        for one in slow:
            one.close()
    assert "Traceback" not in service.logged()
