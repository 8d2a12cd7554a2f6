"""Forwarded calls with tokens that secsipidx signs, against the service as it runs.

secsipidx checks no div token, so that this goes one way.
"""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from e2e.running import Service

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.passport.identity import parse_identity_header
from zhenxian.simulation.demo import BANK, CALLEE, COURIER, NORTH, SHOP, SOUTH

pytestmark = pytest.mark.interop
ORIGID = "123e4567-e89b-12d3-a456-426655440000"
PASSED, FAILED = "TN-Validation-Passed", "TN-Validation-Failed"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    assert running.stop() == 0
    assert "Traceback" not in running.logged()


class Peer:
    """secsipidx as the carrier of who calls, and as one that forwards."""

    def __init__(self, program, service):
        self.program, self.service = program, service

    def _run(self, *arguments):
        done = subprocess.run(
            [self.program, *arguments], capture_output=True, timeout=30, check=True, text=True
        )
        return done.stdout.strip()

    def calls(self, orig, dest, spc=SOUTH):
        key = str(self.service.world.pki.carriers[spc].key)
        return self._run(
            "-sign-full", "-orig-tn", orig, "-dest-tn", dest, "-attest", "A",
            "-orig-id", ORIGID, "-x5u", self.service.x5u(spc), "-k", key,
        )  # fmt: skip

    def diverts(self, orig, diverting, dest, spc, ppt="div", **more):
        x5u = self.service.x5u(spc)
        header = {"alg": "ES256", "ppt": ppt, "typ": "passport", "x5u": x5u}
        claims = {
            "dest": {"tn": [dest]},
            "div": {"tn": diverting},
            "iat": int(time.time()),
            "orig": {"tn": orig},
        }
        token = self._run(
            "-sign", "-header", json.dumps(header), "-payload", json.dumps(claims | more),
            "-k", str(self.service.world.pki.carriers[spc].key),
        )  # fmt: skip
        return f'{token};info=<{x5u}>;alg=ES256;ppt="{ppt}"'


@pytest.fixture
def peer(secsipidx, service):
    return Peer(secsipidx, service)


def sign(service, *identities, **more):
    members = {
        "ppt": "div",
        "orig": {"tn": COURIER},
        "dest": {"tn": [CALLEE]},
        "div": {"tn": BANK},
        "iat": int(time.time()),
        "access": "bank-trunk",
        "identity": list(identities),
    }
    with service.client() as client:
        answer = client.post(SIGNING, json={"signingRequest": members | more})
    return answer.status_code, answer.json()


def verify(service, *identities, orig=COURIER, dest=CALLEE, to=BANK):
    members = {
        "from": {"tn": orig},
        "to": {"tn": [to]},
        "dest": {"tn": [dest]},
        "time": int(time.time()),
        "identity": list(identities),
    }
    with service.client() as client:
        answer = client.post(VERIFICATION, json={"verificationRequest": members})
    assert answer.status_code == 200, answer.text
    return answer.json()["verificationResponse"]


def test_we_divert_what_the_peer_signed(peer, service):
    received = peer.calls(COURIER, BANK)
    status, answer = sign(service, received)
    assert status == 200, answer
    header = answer["signingResponse"]["identity"]
    assert parse_identity_header(header).ppt == "div"
    told = verify(service, received, header)
    assert (told["verstat"], told["attest"], told["origid"]) == (PASSED, "A", ORIGID)
    assert told["divResult"] == [{"div": {"tn": BANK}, "verstatValue": PASSED}]
    assert verify(service, received, header)["reason"] == "REPLAYED"


def test_we_verify_what_the_peer_diverts(peer, service):
    """COURIER, to BANK, to SHOP, to CALLEE; in no order, the peer's and ours."""
    received = peer.calls(COURIER, BANK)
    first = peer.diverts(COURIER, BANK, SHOP, NORTH)
    more = {"div": {"tn": SHOP}, "access": "call-centre-trunk"}
    status, answer = sign(service, first, received, **more)
    assert status == 200, answer
    told = verify(service, first, answer["signingResponse"]["identity"], received)
    assert told["verstat"] == PASSED
    assert {one["div"]["tn"] for one in told["divResult"]} == {BANK, SHOP}


def test_we_verify_the_peers_div_o(peer, service):
    token = peer.calls(COURIER, BANK).partition(";")[0]
    header = peer.diverts(COURIER, BANK, CALLEE, NORTH, "div-o", opt=token)
    assert verify(service, header)["verstat"] == PASSED


def test_what_the_peer_may_not_divert(peer, service):
    received = peer.calls(COURIER, BANK)
    told = verify(service, received, peer.diverts(COURIER, BANK, CALLEE, SOUTH))
    assert (told["verstat"], told["reason"]) == (FAILED, "SPC_NOT_HOLDER")
    told = verify(service, received, peer.diverts(SHOP, BANK, CALLEE, NORTH))
    assert (told["verstat"], told["reason"]) == (FAILED, "DIV_CHAIN_BROKEN")
    status, answer = sign(service, peer.calls(COURIER, SHOP))
    assert status == 403
    assert "DISPLAY_OF_ANOTHER" in json.dumps(answer)


def test_a_robot_with_a_call_of_yesterday_and_one_with_nothing(peer, service):
    """One genuine call to the robot's own number, shown to a hundred others."""
    received = peer.calls(COURIER, SHOP)
    more = {"div": {"tn": SHOP}, "access": "call-centre-trunk"}
    given = [
        sign(service, received, **more, dest={"tn": [f"86138001391{number:02d}"]})[0]
        for number in range(100)
    ]
    assert given.count(200) == 8
    assert set(given) == {200, 403}
    for number in range(20):
        callee = {"tn": [f"86138001392{number:02d}"]}
        status, answer = sign(service, **more, dest=callee)
        assert (status, "DISPLAY_OF_ANOTHER" in json.dumps(answer)) == (403, True)
