"""What the redirect service answers: signing, verifying, retransmissions, CANCEL, OPTIONS."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import pytest
from msgspec.structs import replace
from sips import Line, Reply, invite, with_chains

from zhenxian.passport.identity import parse_identity_header
from zhenxian.simulation.demo import BANK, CALLEE, COURIER
from zhenxian.sip.responses import Carried, Redirection
from zhenxian.sip.transactions import COMPLETED, T1

PASSED = f"<tel:+{BANK};verstat=TN-Validation-Passed>"


class Nothing:
    """A cache in which no chain is kept."""

    def cached(self, x5u, now):
        return None

    def keep(self, x5u):
        pass


def _signed(line, *lines, **more):
    identity = line.ask(*lines, **more)["Identity"]
    assert identity is not None
    return f"Identity: {identity}"


def test_a_signed_call_is_told_its_identity_and_the_asked_uri(line):
    reply = line.ask()
    assert (reply.code, reply.phrase) == (302, "Moved Temporarily")
    assert reply["Contact"] == f"<sip:+{CALLEE}@b.example>"
    token = parse_identity_header(reply["Identity"])
    assert token.ppt == "shaken"
    assert reply["Date"].endswith(" GMT")
    assert ";tag=" in reply["To"]
    assert reply["CSeq"] == "1 INVITE"


def test_a_date_that_is_fresh_stays(line):
    date = line.ask()["Date"]
    assert line.ask(f"Date: {date}")["Date"] is None


def test_a_spoofed_display_is_refused_with_reason_and_contact(line_of):
    reply = line_of(trunk="call-centre-trunk").ask()
    assert (reply.code, reply.phrase) == (403, "Forbidden")
    assert reply["Reason"].startswith('SIP;cause=403;text="DISPLAY_OF_ANOTHER: ')
    assert reply["Call-Info"].endswith("/stir/v1/redress/contact.jws>;purpose=jwscard")
    assert reply["Identity"] is None


@pytest.mark.parametrize(("organisation", "code"), [("North Telecom", 608), (None, 403)])
def test_608_by_setting_goes_with_its_contact_or_not_at_all(line_of, organisation, code):
    redress = {} if organisation else {"redress": {"organisation": None, "email": None}}
    line = line_of(trunk="call-centre-trunk", sip={"refused": 608}, **redress)
    reply = line.ask()
    assert reply.code == code
    assert (reply["Call-Info"] is not None) is (code == 608)


def test_a_verified_call_has_a_ready_pai_with_attestation_and_origid(line):
    reply = line.ask(_signed(line), signing=False)
    assert reply.code == 302
    assert reply["P-Asserted-Identity"] == PASSED
    assert reply["P-Attestation-Indicator"] == "A"
    assert reply["P-Origination-ID"] == "b0000000-0000-4000-8000-000000000001"
    assert reply["P-Signer-SPC"] == "1001"
    assert reply["Reason"] is None


def test_a_call_without_token_says_so_and_has_no_reason_header(line):
    reply = line.ask(signing=False)
    assert reply["P-Asserted-Identity"] == f"<tel:+{BANK};verstat=No-TN-Validation>"
    assert reply["Reason"] is None


def test_a_call_that_fails_goes_on_with_its_reason(line):
    reply = line.ask(_signed(line), signing=False, caller=f"<sip:+{COURIER}@a.example>")
    assert reply.code == 302
    assert reply["P-Asserted-Identity"] == f"<tel:+{COURIER};verstat=TN-Validation-Failed>"
    assert reply["Reason"].startswith("STIR;cause=438;")


def test_a_call_that_fails_is_rejected_by_setting(line_of):
    line = line_of(sip={"failed": "reject"})
    reply = line.ask(_signed(line), signing=False, caller=f"<sip:+{COURIER}@a.example>")
    assert (reply.code, reply.phrase) == (438, "Invalid Identity Header")
    assert reply["Reason"].startswith("STIR;cause=438;")
    assert reply["P-Asserted-Identity"] is None


def test_a_replay_is_told_from_a_fork(line):
    identity = _signed(line)
    call = {"call_id": "one@a.example", "tag": "t1"}
    assert line.ask(identity, signing=False, **call)["P-Asserted-Identity"] == PASSED
    assert line.ask(identity, signing=False, **call)["P-Asserted-Identity"] == PASSED
    copied = line.ask(identity, signing=False, call_id="one@a.example", tag="t2")
    assert copied["P-Asserted-Identity"].endswith("verstat=TN-Validation-Failed>")


def test_on_either_engine(on_either_engine, desk_of):
    desk = desk_of(on_either_engine.config)
    line = Line(with_chains(desk.service), loop=desk._loop)
    identity = _signed(line)
    call = {"call_id": "one@a.example", "tag": "t1"}
    first = line.ask(identity, signing=False, **call)
    assert first["P-Asserted-Identity"] == PASSED
    assert line.ask(identity, signing=False, **call)["P-Asserted-Identity"] == PASSED
    again = line.ask(identity, signing=False)
    assert again["P-Asserted-Identity"].endswith("verstat=TN-Validation-Failed>")
    assert again["Reason"].startswith("STIR;cause=438;")
    (repeated,) = [one for one in desk.logged() if one.get("repeated") == "call"]
    assert repeated["verstat"] == "TN-Validation-Passed"


@pytest.mark.parametrize("workers", [1, 2])
def test_invites_that_wait_for_one_certificate_go_on_together(
    on_either_engine, desk_of, monkeypatch, workers
):
    desk = desk_of(on_either_engine.config, server={"workers": workers})
    line = Line(with_chains(desk.service), loop=desk._loop)
    groups, resume = [], desk.service.sip.resume_all
    monkeypatch.setattr(
        desk.service.sip, "resume_all", lambda calls: groups.append(len(calls)) or resume(calls)
    )
    desk.service.verifier.certificates = Nothing()
    identities = [_signed(line) for _ in range(8)]
    replies = line.send(*(invite(one) for one in [*identities, identities[0]]), signing=False)
    assert groups == [9]
    told = [reply["P-Asserted-Identity"] for reply in replies]
    assert told[:8] == [PASSED] * 8
    assert told[8].endswith("verstat=TN-Validation-Failed>")  # a replay, for which no fork passes


def test_forks_are_signed_once(line):
    call = {"call_id": "one@a.example", "tag": "t1"}
    first, second = line.send(invite(**call), invite(**call))
    third = line.ask(**call)
    assert first["Identity"] == second["Identity"] == third["Identity"]
    assert len([one for one in line.desk.logged() if one["event"] == "signing"]) == 1


def test_a_forks_refusal_is_the_same(line_of):
    line = line_of(trunk="call-centre-trunk")
    call = {"call_id": "one@a.example", "tag": "t1"}
    assert [reply.code for reply in line.send(invite(**call), invite(**call))] == [403, 403]
    assert len([one for one in line.desk.logged() if one["event"] == "signing"]) == 1


@pytest.mark.parametrize("signing", [True, False])
def test_an_invite_of_a_dialog_is_not_asked_about(line, signing):
    reply = line.ask(called=f"<sip:+{CALLEE}@b.example>;tag=b9", signing=signing)
    assert reply.code == 302
    assert reply["To"] == f"<sip:+{CALLEE}@b.example>;tag=b9"
    assert reply["Identity"] is None
    assert reply["P-Asserted-Identity"] is None
    assert line.desk.logged() == []


@pytest.mark.parametrize("go_on", [302, 404, 503])
def test_go_on_is_answered_as_set(line_of, go_on):
    line = line_of(redirection=Redirection(go_on=go_on))
    reply = line.ask(called=f"<sip:+{CALLEE}@b.example>;tag=b9")
    assert reply.code == go_on
    assert (reply["Contact"] is not None) is (go_on == 302)
    assert line.ask().code == 302


def test_without_a_key_calls_go_on(line):
    side = line.desk.service.pipeline.signing
    line.desk.service.pipeline.signing = replace(side, credential=lambda: None)
    reply = line.ask()
    assert (reply.code, reply["Identity"]) == (302, None)


@pytest.mark.parametrize("carried", list(Carried))
def test_identity_is_carried_as_set(line_of, carried):
    line = line_of(redirection=Redirection(carried=carried, moved=300))
    reply = line.ask()
    assert (reply.code, reply.phrase) == (300, "Multiple Choices")
    assert (reply["Identity"] is not None) is (carried is not Carried.CONTACT)
    uri, _, embedded = reply["Contact"].removeprefix("<").removesuffix(">").partition("?")
    assert uri == f"sip:+{CALLEE}@b.example"
    fields = dict(part.split("=", 1) for part in embedded.split("&")) if embedded else {}
    assert ("Identity" in fields) is (carried is not Carried.HEADER)
    if fields:
        assert set(fields["Identity"]) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~%"
        )
        assert parse_identity_header(unquote(fields["Identity"])).ppt == "shaken"


@pytest.mark.parametrize("carried", list(Carried))
def test_a_contact_that_can_carry_nothing_loses_nothing(line_of, carried):
    line = line_of(redirection=Redirection(carried=carried))
    reply = line.ask(uri=f"tel:+{CALLEE}")
    assert (reply["Contact"], reply["Identity"] is not None) == (f"<tel:+{CALLEE}>", True)


def test_a_question_mark_in_a_user_part_begins_no_header_fields(line_of):
    line = line_of(redirection=Redirection(carried=Carried.CONTACT))
    assert "@b.example?Identity=" in line.ask(uri=f"sip:+{CALLEE};a?b@b.example")["Contact"]


def test_what_is_sent_again_is_answered_alike(line):
    request = invite()
    (first,) = line.send(request)
    (second,) = line.send(request)
    assert first.data == second.data
    assert len([one for one in line.desk.logged() if one["event"] == "signing"]) == 1


def test_what_is_sent_again_before_the_answer_gets_one(line):
    request = invite()
    replies = line.send(request, request)
    assert len(replies) == 1


def test_a_branch_of_somebody_else_is_another_transaction(line):
    request = invite(branch="z9hG4bKsame")
    (first,) = line.send(request)
    (second,) = line.send(request, host="192.0.2.2")
    assert first["To"] != second["To"]


def test_a_client_of_rfc_2543_has_transactions_too(line):
    request = invite(branch="1")
    assert line.send(request)[0].data == line.send(request)[0].data
    other = invite(branch="1")
    assert line.send(other)[0].data != line.send(request)[0].data


def _tended(line):
    start = len(line.replies)
    line.redirector.transactions.tend()
    return line.replies[start:]


def test_the_answer_is_sent_again_until_it_is_acknowledged(line):
    (first,) = line.send(invite(branch="z9hG4bKx", call_id="c@a"))
    assert _tended(line) == []
    for seconds in (T1, 2 * T1, 4 * T1):
        line.clock.now += seconds
        assert [reply.data for reply in _tended(line)] == [first.data]
    line.send(invite(method="ACK", branch="z9hG4bKx", call_id="c@a"))
    line.clock.now += 100
    assert _tended(line) == []
    assert len(line.redirector.transactions) == 0


def test_nobody_waits_for_an_acknowledgement_for_ever(line):
    line.send(invite())
    sent = 0
    for _ in range(1000):
        line.clock.now += 0.1
        sent += len(_tended(line))
    assert sent == 10  # timer G: after 0.5, 1, 2 s, then every 4 s until timer H
    assert len(line.redirector.transactions) == 0
    assert COMPLETED == 32


def test_over_a_connection_nothing_is_sent_again(line):
    line.send(invite(), reliable=True)
    line.clock.now += 1
    assert _tended(line) == []


def test_a_late_cancel_is_answered_and_changes_nothing(line):
    (answer,) = line.send(invite(branch="z9hG4bKx", call_id="c@a"))
    (reply,) = line.send(invite(method="CANCEL", branch="z9hG4bKx", call_id="c@a"))
    assert (answer.code, reply.code) == (302, 200)
    assert reply["CSeq"] == "1 CANCEL"
    assert reply["To"] == answer["To"]


def test_a_cancel_of_nothing(line):
    (reply,) = line.send(invite(method="CANCEL"))
    assert (reply.code, reply.phrase) == (481, "Call/Transaction Does Not Exist")


def test_cancel_while_certificates_are_fetched(line):
    identity = _signed(line)
    chains = line.desk.service.pipeline.verifying.repository

    async def talk():
        chains.open = asyncio.Event()
        start = len(line.replies)
        peer = line.peer(signing=False)
        line.redirector.received(invite(identity, branch="z9hG4bKx", call_id="c@a"), peer)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert line.replies[start:] == []
        peer = line.peer(signing=False)
        line.redirector.received(invite(method="CANCEL", branch="z9hG4bKx", call_id="c@a"), peer)
        told = line.replies[start:]
        assert [(reply.code, reply["CSeq"]) for reply in told] == [
            (200, "1 CANCEL"),
            (487, "1 INVITE"),
        ]
        chains.open.set()
        await line.redirector.close()
        assert len(line.replies[start:]) == 2

    asyncio.run(talk())


def _slow(line, *lines, **more):
    """Ask while the certificate host does not answer; the answer, and the seconds it took."""
    chains = line.desk.service.pipeline.verifying.repository

    async def talk():
        chains.open = asyncio.Event()
        loop = asyncio.get_running_loop()
        start, began = len(line.replies), loop.time()
        peer = line.peer(signing=False)
        line.redirector.received(invite(*lines, **more), peer)
        while len(line.replies) == start:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        took = loop.time() - began
        chains.open.set()
        await line.redirector.close()
        return line.replies[start], took

    return asyncio.run(talk())


def test_nobody_waits_for_certificates_for_long(line_of):
    line = line_of(sip={"wait_ms": 50})
    reply, took = _slow(line, _signed(line))
    assert (reply.code, took >= 0.05) == (302, True)
    assert reply["P-Asserted-Identity"] == f"<tel:+{BANK};verstat=No-TN-Validation>"


@pytest.mark.parametrize(
    "to",
    [
        {"called": "<sip:110@b.example>", "uri": "sip:110@192.0.2.9"},
        {"called": "<urn:service:sos>", "uri": "urn:service:sos.police"},
        {"uri": "urn:service:sos"},
    ],
)
def test_a_call_for_help_does_not_wait_and_is_never_refused(line_of, to):
    line = line_of(sip={"wait_ms": 30_000, "failed": "reject"})
    identity = _signed(line)
    reply, _ = _slow(line, identity, **to)
    assert reply.code == 302
    centre = line_of(trunk="call-centre-trunk", numbers={"hosts": ("b.example",)})
    assert centre.ask(**to).code == 302


def test_options_says_whether_the_service_is_ready(line_of):
    ready = [True]
    line = line_of(ready=lambda: ready[0])
    (reply,) = line.send(invite(method="OPTIONS"))
    assert (reply.code, reply["Allow"]) == (200, "INVITE, ACK, CANCEL, OPTIONS")
    ready[0] = False
    assert line.send(invite(method="OPTIONS"))[0].code == 503


@pytest.mark.parametrize(("method", "code"), [("REGISTER", 405), ("BYE", 405), ("DANCE", 501)])
def test_other_methods(line, method, code):
    assert line.send(invite(method=method))[0].code == code


def test_an_unknown_scheme_and_an_unknown_extension(line):
    assert line.ask(uri="nobody:knows").code == 416
    reply = line.ask("Require: 100rel, dance")
    assert (reply.code, reply["Unsupported"]) == (420, "dance")


def test_the_answer_goes_where_via_and_rport_say(line):
    via = "SIP/2.0/UDP 192.0.2.1:5070"
    assert line.ask(via=via, port=40_000).port == 5070
    asked = line.ask(via=f"{via};rport", port=40_000)
    assert asked.port == 40_000
    assert ";rport=40000;" in asked["Via"]
    assert asked["Via"].endswith(";received=192.0.2.1")
    assert line.ask(via="SIP/2.0/UDP 192.0.2.1", port=40_000).port == 5060
    behind = line.ask(via="SIP/2.0/UDP 10.0.0.1:5070;received=203.0.113.9", port=40_000)
    assert behind["Via"].endswith(";received=192.0.2.1")
    assert "203.0.113.9" not in behind["Via"]


def test_all_vias_come_back_as_they_were(line):
    others = ["Via: SIP/2.0/TLS one.example;branch=z9hG4bK1, SIP/2.0/UDP two;branch=z9hG4bK2"]
    reply = line.ask(*others)
    assert reply.all("Via")[1:] == [others[0].removeprefix("Via: ")]


def test_a_from_that_claims_to_be_verified_is_refused(line):
    caller = f"<sip:+{BANK};verstat=TN-Validation-Passed@a.example;user=phone>"
    reply = line.ask(caller=caller, signing=False)
    assert (reply.code, reply["Reason"][:14]) == (403, "SIP;cause=403;")
    passed = line.ask(_signed(line), caller=caller, signing=False)
    assert (passed.code, passed["P-Asserted-Identity"]) == (302, PASSED)


def test_batches_have_a_bound(line):
    replies = line.send(*(invite() for _ in range(200)))
    assert [reply.code for reply in replies] == [302] * 200


def test_transactions_have_a_bound(line):
    line.redirector.transactions._limit = 10
    line.send(*(invite() for _ in range(50)))
    assert len(line.redirector.transactions) <= 10


def test_whatever_fails_within_does_not_end_a_call(line, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("broken")

    monkeypatch.setattr(line.desk.service.pipeline, "decide", broken)
    monkeypatch.setattr(line.desk.service.pipeline, "open", broken)
    assert line.ask().code == 302
    reply = line.ask(signing=False)
    assert reply["P-Asserted-Identity"].endswith("verstat=No-TN-Validation>")


def test_thirteen_thousand_octets(line):
    body = "a=" + "x" * 13_000
    reply = line.ask(body=body)
    assert reply.code == 302
    assert isinstance(reply, Reply)
    assert isinstance(line, Line)
