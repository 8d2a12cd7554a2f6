"""Unsigned calls through the service: settings, both dialects, health requests."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from zhenxian.api.calls.messages import VERIFICATION
from zhenxian.core.tn import TN
from zhenxian.registry.model import TargetKind
from zhenxian.simulation.demo import BANK, CALLEE

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "atis-1000082.json").read_text())
(HEALTH,) = (
    vector["input"]["body_text"]
    for vector in VECTORS["vectors"]
    if vector["name"] == "oracle-heartbeat-verification"
)
ABROAD = "14165550100"


def _rule(action, **key):
    ((name, value),) = key.items()
    return f'[[verifier.unsigned]]\n{name} = "{value}"\naction = "{action}"\n'


@pytest.fixture
def ruled(installation, desk_with):
    """A service with rules for unsigned calls."""

    def make(*rules, country="CN", more=""):
        text = installation.config.read_text().replace('country = "CN"', f'country = "{country}"')
        installation.config.write_text(text + f"[verifier]\n{more}" + "".join(rules))
        return desk_with()

    return make


def _ask(desk, orig=BANK, dialect="atis", **more):
    to = [CALLEE] if dialect == "atis" else CALLEE
    body = {"from": {"tn": orig}, "to": {"tn": to}, "time": int(time.time())}
    status, answer = desk.call(VERIFICATION, {"verificationRequest": body | more})
    assert status == 200
    told = answer["verificationResponse"]
    return told, told["verstat" if dialect == "atis" else "verstatValue"]


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
@pytest.mark.parametrize("key", [{"spc": "1001"}, {"country": "CN"}])
def test_label_and_fail_in_both_dialects(ruled, dialect, key):
    desk = ruled(_rule("label", **key))
    told, verstat = _ask(desk, dialect=dialect)
    assert (verstat, told["labels"]) == ("No-TN-Validation", ["unsigned"])
    assert told["reason"] == "NO_IDENTITY"
    assert "labels" not in _ask(desk, "+" + ABROAD, dialect)[0]


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
@pytest.mark.parametrize("key", [{"spc": "1001"}, {"country": "CN"}])
def test_fail_in_both_dialects(ruled, dialect, key):
    desk = ruled(_rule("fail", **key))
    told, verstat = _ask(desk, dialect=dialect)
    assert (verstat, told["reason"]) == ("TN-Validation-Failed", "SIGNATURE_MISSING")
    assert told["reasonHeader"] == 'STIR;cause=428;text="Use Identity Header"'
    assert told["failedCheck"] == "IDENTITY"
    if dialect == "atis":
        assert (told["reasoncode"], told["reasontext"]) == (428, "Use Identity Header")
    else:
        assert told["verifyResults"] == []
    assert _ask(desk, "+" + ABROAD, dialect)[1] == "No-TN-Validation"


def test_an_spc_goes_before_its_country(ruled):
    desk = ruled(_rule("fail", country="CN"), _rule("none", spc="1001"))
    told, verstat = _ask(desk)
    assert (verstat, "labels" in told) == ("No-TN-Validation", False)
    assert _ask(desk, "8613900139000")[1] == "TN-Validation-Failed"


@pytest.mark.parametrize("number", ["95588", "10086", "95012345", "4008123123"])
def test_numbers_without_country_code_are_of_our_country(ruled, number):
    desk = ruled(_rule("fail", country="CN"), _rule("fail", country="MM"))
    told, verstat = _ask(desk, number)
    assert verstat == "TN-Validation-Failed"
    assert told["reasondesc"] == "not signed; the number is one of CN"


def test_by_default_it_is_as_it_was(desk):
    told, verstat = _ask(desk)
    assert (verstat, told["reasoncode"]) == ("No-TN-Validation", 428)
    assert told.keys() == {
        "verstat",
        "reasoncode",
        "reasontext",
        "reasondesc",
        "canonical",
        "paiHeader",
        "reason",
        "reasonHeader",
        "failedCheck",
    }


@pytest.mark.parametrize("country", ["CN", "US"])
def test_a_health_request_is_answered_whatever_the_rules(ruled, country):
    rules = [_rule("fail", country=name) for name in ("CN", "US", "KZ", "RU")]
    desk = ruled(*rules, country=country)
    status, answer = desk.call(VERIFICATION, HEALTH.encode())
    told = answer["verificationResponse"]
    assert (status, told["verstat"], told["reasoncode"]) == (200, "No-TN-Validation", 428)
    assert "labels" not in told


def test_health_numbers_are_the_operators(ruled):
    numbers = 'health_numbers = ["+86 10 6600 0001", "861066000002"]\n'
    desk = ruled(_rule("fail", country="CN"), more=numbers)
    body = {"from": {"tn": "01066000001"}, "to": {"tn": ["861066000002"]}, "time": 1}
    _, answer = desk.call(VERIFICATION, {"verificationRequest": body})
    assert answer["verificationResponse"]["verstat"] == "No-TN-Validation"
    body["to"] = {"tn": [CALLEE]}
    _, answer = desk.call(VERIFICATION, {"verificationRequest": body})
    assert answer["verificationResponse"]["verstat"] == "TN-Validation-Failed"


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
def test_a_number_under_an_order_fails_unsigned_too(desk, dialect, monkeypatch):
    order = type("Order", (), {"id": "o", "issuer": "r", "reference": "f", "target": BANK})()
    order.kind = TargetKind.NUMBER
    monkeypatch.setattr(
        type(desk.service.registry),
        "order",
        lambda _, who, now: order if who.numbers == (TN(BANK),) else None,
    )
    told, verstat = _ask(desk, dialect=dialect)
    assert (verstat, told["reason"]) == ("TN-Validation-Failed", "DISPLAY_ORDERED")
    # No signature vouches for who would get a contact, and 608 goes with one or not at all.
    assert told["sipResponse"] == {"code": 603, "phrase": "Decline"}
    assert (told["failedCheck"], "reasonHeader" in told) == ("ORDER", False)
    assert _ask(desk, ABROAD, dialect)[1] == "No-TN-Validation"
