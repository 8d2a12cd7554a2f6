"""Unsigned calls over the real service: rules, labels, health requests, orders."""

from __future__ import annotations

import json
import time

import pytest
from running import metric, until, verdict

from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.model import TargetKind
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.simulation.demo import BANK, CALLEE, COURIER, REGULATOR

RULES = [
    {"country": "CN", "action": "label"},
    {"country": "US", "action": "fail"},
    {"spc": "1001", "action": "fail"},
]
CONTACT = {"redress__organisation": "North", "redress__email": "redress@north.example"}


@pytest.fixture
def service(serve):
    return serve(verifier__country="CN", verifier__unsigned=json.dumps(RULES), **CONTACT)


def _instruct(service, client, action, number):
    now = int(time.time())
    instruction = Instruction(
        action=action,
        order="o1",
        issuer=REGULATOR,
        number=number,
        reference="ref",
        kind=TargetKind.NUMBER,
        target=COURIER,
        since=now,
        iat=now,
    )
    key = SigningKey.from_pem(service.world.regulator.read_bytes())
    token = sign_instruction(instruction, key, REGULATOR)
    answer = client.post("/v1/orders", json={"token": token}, params={"reason": "test"})
    assert answer.status_code in (200, 201), answer.text


def test_rules_labels_health_and_orders(service):
    with service.client() as client:
        failed = verdict(client, BANK, None)
        assert (failed["verstat"], failed["reason"]) == (
            "TN-Validation-Failed",
            "SIGNATURE_MISSING",
        )
        assert failed["reasondesc"] == "not signed; the number is held at 1001"
        junk = verdict(client, BANK, "nonsense;info=<https://x.example/>")
        assert junk["reason"] == "SIGNATURE_MISSING"
        labelled = verdict(client, "8613700137000", None)
        assert (labelled["verstat"], labelled["labels"]) == ("No-TN-Validation", ["unsigned"])
        nowhere = service.token("1001", BANK, x5u="http://127.0.0.1:1/none.pem")
        unverified = verdict(client, BANK, nowhere)
        assert (unverified["verstat"], unverified["reason"]) == (
            "No-TN-Validation",
            "CERT_UNREACHABLE",
        )
        assert unverified["labels"] == ["unverified"]
        assert verdict(client, BANK, service.token("1001", BANK))["verstat"] == (
            "TN-Validation-Passed"
        )
        health = {
            "time": int(time.time()), "to": {"tn": ["7777777777"]}, "from": {"tn": "9999999999"},
        }  # fmt: skip
        answer = client.post(VERIFICATION, json={"verificationRequest": health})
        told = answer.json()["verificationResponse"]
        assert (answer.status_code, told["verstat"]) == (200, "No-TN-Validation")
        assert "labels" not in told

        _instruct(service, client, Action.STOP, 1)
        stopped = until(
            lambda: (told := verdict(client, COURIER, None))["reason"] == "DISPLAY_ORDERED" and told
        )
        assert stopped["verstat"] == "TN-Validation-Failed"
        # Nobody is known to have called, so nobody is given the contact, and no 608 (RFC 8688).
        assert stopped["sipResponse"] == {"code": 603, "phrase": "Decline"}
        threegpp = client.post(
            VERIFICATION,
            json={
                "verificationRequest": {
                    "from": {"tn": COURIER}, "to": {"tn": CALLEE}, "time": int(time.time()),
                }
            },
        ).json()["verificationResponse"]  # fmt: skip
        assert threegpp["verstatValue"] == "TN-Validation-Failed"
        assert threegpp["sipResponse"]["code"] == 603
        _instruct(service, client, Action.LIFT, 2)
        until(lambda: verdict(client, COURIER, None)["reason"] != "DISPLAY_ORDERED")

        text = client.get("/metrics").text
        assert metric(text, "zhenxian_labels_total", label="unsigned") >= 1
        assert metric(text, "zhenxian_labels_total", label="unverified") == 1
        assert metric(text, "zhenxian_verifications_total", reason="SIGNATURE_MISSING") >= 2
