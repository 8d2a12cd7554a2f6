"""Forwarded INVITEs: a div for who passes on what it received, nothing for who only says so."""

from __future__ import annotations

import time

import pytest
from found import finding

from zhenxian.analytics.model import KeyKind, Measure, State
from zhenxian.passport.identity import parse_identity_header
from zhenxian.simulation.demo import BANK, CALLEE, COURIER, SHOP

FORWARD = f"sip:+{CALLEE}@b.example"
TO = f"<sip:+{BANK}@a.example>"
CALLER = "12155550100"  # calls BANK, whose trunk forwards to CALLEE
CALL = {"caller": f"<sip:+{CALLER}@x.example>", "uri": FORWARD, "called": TO}
SPOOFED = CALL | {"caller": f"<sip:+{COURIER}@x.example>"}
CLAIMS = [
    (f"Diversion: <sip:+{BANK}@a.example>;reason=unconditional",),
    (
        f"History-Info: <sip:+{BANK}@a.example>;index=1,"
        f" <sip:+{CALLEE}@b.example;cause=302>;index=1.1;mp=1",
    ),
    (f"History-Info: <sip:+{BANK}@a.example?Reason=SIP%3Bcause%3D302>;index=1",),
]


@pytest.fixture
def forwarder(line_of):
    return line_of()


@pytest.fixture
def received(line_of):
    """The token that the forwarder's call came with."""
    gateway = line_of(trunk=None)
    reply = gateway.ask(**CALL | {"uri": f"sip:+{BANK}@a.example"})
    return f"Identity: {reply['Identity']}"


@pytest.mark.parametrize("claim", [(), *CLAIMS])
def test_who_passes_on_what_it_received_gets_a_div(forwarder, received, claim):
    reply = forwarder.ask(received, *claim, **CALL)
    assert reply.code == 302, reply.fields
    token = parse_identity_header(reply["Identity"])
    assert token.ppt == "div"
    passport = token.passport()
    assert (passport.orig, tuple(passport.dest.tn)) == (CALLER, (CALLEE,))


@pytest.mark.parametrize("claim", CLAIMS)
def test_who_only_says_so_shows_the_number_of_another(forwarder, claim):
    reply = forwarder.ask(*claim, **SPOOFED)
    assert reply.code == 403
    assert "DISPLAY_OF_ANOTHER" in reply["Reason"]


def test_a_token_of_somebody_else_proves_nothing(line_of, received):
    reply = line_of(trunk="call-centre-trunk").ask(received, **SPOOFED)
    assert reply.code == 403


@pytest.mark.parametrize("called", [TO, f"<sip:+{CALLEE}@b.example>"])
def test_the_diverted_call_verifies(forwarder, received, called):
    div = f"Identity: {forwarder.ask(received, **CALL)['Identity']}"
    reply = forwarder.ask(received, div, signing=False, **CALL | {"called": called})
    assert reply["P-Asserted-Identity"] == f"<tel:+{CALLER};verstat=TN-Validation-Passed>"


def test_a_forwarders_own_call_is_signed_as_any_other(forwarder, received):
    """What it received is of another caller: its own number is signed for To."""
    own = {"caller": f"<sip:+{BANK}@a.example>", "called": f"<sip:+{SHOP}@b.example>"}
    token = parse_identity_header(forwarder.ask(received, **CALL | own)["Identity"])
    assert (token.ppt, tuple(token.passport().dest.tn)) == ("shaken", (SHOP,))


def test_a_call_for_help_is_signed_at_once(forwarder, received):
    to = {"uri": "urn:service:sos", "called": "<sip:110@b.example>"}
    reply = forwarder.ask(received, **CALL | to)
    assert reply.code == 302


def test_phones_that_ring_together_each_get_a_div_of_their_own(forwarder, received):
    one = {"call_id": "ring@a.example", "tag": "t1"}
    for number in (CALLEE, SHOP):
        token = parse_identity_header(
            forwarder.ask(received, **CALL | one | {"uri": f"sip:+{number}@b.example"})["Identity"]
        )
        assert (token.ppt, tuple(token.passport().dest.tn)) == ("div", (number,))


def test_a_diverted_call_takes_one_place_under_a_cap(line_of):
    forwarder, gateway = line_of(displays={"cap": 2}), line_of(trunk=None)
    conduct, now = forwarder.desk.service.keeper.conduct, int(time.time())
    answers = []
    for _ in range(3):
        suspected = finding(
            KeyKind.ACCESS, "bank-trunk", state=State.SUSPECTED, measure=Measure.ROTATION,
            since=now, until=now + 10_000,
        )  # fmt: skip
        conduct._findings.adopt(suspected)
        identity = gateway.ask(**CALL | {"uri": f"sip:+{BANK}@a.example"})["Identity"]
        answers.append(forwarder.ask(f"Identity: {identity}", **CALL).code)
    assert answers == [302, 302, 480]


@pytest.mark.parametrize("beside", [(), CLAIMS[0]])
@pytest.mark.parametrize("identity", ["received", "Identity: unreadable"])
def test_what_proves_nothing_is_counted_once(forwarder, received, beside, identity, monkeypatch):
    """A caller whose calls counted twice would look less like a pool, or more."""
    counted = []
    side = forwarder.desk.service.pipeline.signing
    monkeypatch.setattr(side.conduct, "observe", counted.append)
    own = {"caller": f"<sip:+{BANK}@a.example>", "called": f"<sip:+{SHOP}@b.example>"}
    header = received if identity == "received" else identity
    token = parse_identity_header(forwarder.ask(header, *beside, **CALL | own)["Identity"])
    assert (token.ppt, len(counted)) == ("shaken", 1)
