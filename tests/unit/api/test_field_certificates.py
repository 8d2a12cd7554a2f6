"""Certificates as the field has them, over REST: trusted, noted, counted, replaced."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from cryptography import x509
from simulator import World, served
from test_calls import CALLEE, _verify

from zhenxian.api.calls.messages import VERIFICATION, Headers, Incoming
from zhenxian.certs.ca import pem

ORIG = "12155550100"


@pytest.fixture
def world():
    return World(int(time.time()))


@pytest.fixture
def carrier(world):
    return world.carrier("1234")


@pytest.fixture
def desk_of(desk_with, world, tmp_path):
    """A service that trusts the world's root, without lists, and fetches from loopback."""
    roots = tmp_path / "roots.pem"
    roots.write_bytes(pem(world.root.certificate))

    def make(profile="lenient"):
        return desk_with(
            trust={"roots": roots, "revocation": "prefer", "profile": profile},
            fetch={"allow_http_loopback": True},
        )

    return make


def _asked(carrier, x5u):
    call = carrier.call(ORIG, CALLEE, x5u=x5u, iat=int(time.time()))
    identity = call.signed()
    return json.dumps(_verify(identity, ORIG)).encode()


async def _answer(desk, body):
    headers = Headers(content_length=b"1")
    answer = await desk.service.calls.answer_waiting(Incoming(VERIFICATION, b"POST", headers, body))
    return json.loads(answer.body)["verificationResponse"]


def _departures(desk):
    return {
        (sample.labels["role"], sample.labels["code"]): sample.value
        for family in desk.service.metrics.collected().collect()
        for sample in family.samples
        if sample.name == "zhenxian_profile_departures_total"
    }


@pytest.mark.enable_socket
def test_more_key_usages_pass_with_a_note_and_are_counted_or_are_refused(desk_of, carrier):
    def more(builder):
        usages = x509.KeyUsage(True, True, True, False, False, False, False, False, False)
        builder._extensions = [
            item for item in builder._extensions if not isinstance(item.value, x509.KeyUsage)
        ]
        return builder.add_extension(usages, critical=True)

    carrier.certificate.change(more)
    with served({"/a.pem": carrier.chain_pem}) as base:
        body = _asked(carrier, f"{base}/a.pem")
        desk = desk_of()
        answer = asyncio.run(_answer(desk, body))
        assert answer["verstat"] == "TN-Validation-Passed"
        assert any("nonRepudiation" in note for note in answer["notes"])
        assert _departures(desk) == {("leaf", "KEY_USAGE_OTHERS"): 1}
        strict = asyncio.run(_answer(desk_of("strict"), body))
        assert strict["verstat"] == "TN-Validation-Failed"
        assert strict["reason"] == "CERT_PROFILE"


@pytest.mark.enable_socket
def test_a_key_replaced_at_the_same_address_fails_one_call(desk_of, carrier):
    files = {"/a.pem": carrier.chain_pem}

    async def run(base):
        desk = desk_of()
        x5u = f"{base}/a.pem"
        first = await _answer(desk, _asked(carrier, x5u))
        carrier.renew()
        files["/a.pem"] = carrier.chain_pem
        second = await _answer(desk, _asked(carrier, x5u))
        await asyncio.gather(*desk.service.repository._flights.values())
        return first, second, await _answer(desk, _asked(carrier, x5u))

    with served(files) as base:
        first, second, third = asyncio.run(run(base))
    assert first["verstat"] == "TN-Validation-Passed"
    assert second["reason"] == "SIGNATURE_INVALID"
    assert third["verstat"] == "TN-Validation-Passed"
