"""A cap on calls a minute of suspected callers: by HTTP, both dialects, and SIP; off by default."""

from __future__ import annotations

import json
import time

import pytest
from found import finding
from sips import invite

from zhenxian.analytics.model import KeyKind, Measure, State
from zhenxian.api.calls.fastpath import _STATUS
from zhenxian.api.calls.messages import SIGNING
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE

CAP = 3


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def suspect(desk, state=State.SUSPECTED, **more):
    now = int(time.time())
    found = finding(
        KeyKind.ACCESS, "bank-trunk", state=state, measure=Measure.ROTATION, since=now,
        until=now + 10_000, **more,
    )  # fmt: skip
    desk.service.keeper.conduct._findings.adopt(found)


def body(**more):
    request = {
        "attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "origid": BANK_ORIGID, "access": "bank-trunk",
    } | more  # fmt: skip
    return {"signingRequest": request}


def signed(desk, count, **more):
    return [desk.call(SIGNING, body(**more))[0] for _ in range(count)]


def test_nobody_has_a_cap_unless_one_is_set(desk):
    suspect(desk)
    assert signed(desk, 20) == [200] * 20


def test_a_suspected_caller_has_one_where_it_is_set(desk_with):
    desk = desk_with(displays={"cap": CAP})
    assert signed(desk, 5) == [200] * 5  # nothing stands against it
    answers = []
    for _ in range(CAP + 2):
        suspect(desk)  # again: it makes too few calls to stay so
        answers += signed(desk, 1)
    assert answers == [200] * CAP + [429] * 2
    (line, *_) = [line for line in desk.logged() if line.get("reason") == "CALLS_CAPPED"]
    assert line["event"] == "signing"


def test_who_is_labelled_only_has_none_and_a_pool_is_refused_as_one(desk_with):
    desk = desk_with(displays={"cap": 1})
    suspect(desk, lowers=False)
    assert signed(desk, 4) == [200] * 4
    suspect(desk, state=State.POOLED)
    assert signed(desk, 2) == [403] * 2


def test_it_says_why_and_when_to_try_again(desk_with):
    desk = desk_with(displays={"cap": 1})
    suspect(desk)
    assert desk.http("POST", SIGNING, json=body()).status_code == 200
    refused = desk.http("POST", SIGNING, json=body())
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    told = refused.json()["requestError"]["policyException"]
    assert told["messageId"] == "POL4290"
    assert told["variables"][0] == "CALLS_CAPPED"
    other = body(requestId="1", dest={"tn": CALLEE})
    refused = desk.http("POST", SIGNING, json=other)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "60")
    assert refused.json()["error"].startswith("CALLS_CAPPED")
    assert b"retry-after: 60\r\n" in _STATUS[429]


def test_by_sip_it_is_480_with_retry_after(desk_with):
    desk = desk_with(displays={"cap": 1})
    suspect(desk)
    answers = []
    for turn in range(2):
        asked = invite(call_id=f"c{turn}@a.example")
        answer = desk.http(
            "POST", "/sip/v1/originating?access=bank-trunk", content=asked,
            headers={"content-type": "message/sip", "accept": "application/json"},
        )  # fmt: skip
        answers.append(json.loads(answer.text))
    assert answers[0]["action"] == "continue"
    assert (answers[1]["action"], answers[1]["code"]) == ("reject", 480)
    assert answers[1]["reason"] == "CALLS_CAPPED"
    assert "Retry-After: 60" in answers[1]["headers"]


def test_a_call_for_help_has_no_cap(desk_with):
    desk = desk_with(displays={"cap": 1})
    suspect(desk)
    assert signed(desk, 3, dest={"tn": ["110"]}) == [200] * 3


OTHER = "8675588880002"  # the bank's, too


def test_a_call_that_shows_two_numbers_takes_one_place(desk_with):
    desk = desk_with(displays={"cap": CAP})
    actions = []
    for turn in range(CAP + 1):
        suspect(desk)
        asked = invite(
            f"P-Asserted-Identity: <sip:+{BANK}@a.example>",
            caller=f"<sip:+{OTHER}@a.example>", call_id=f"two{turn}@a.example",
        )  # fmt: skip
        answer = desk.http(
            "POST", "/sip/v1/originating?access=bank-trunk", content=asked,
            headers={"content-type": "message/sip", "accept": "application/json"},
        )  # fmt: skip
        actions.append(answer.json()["action"])
    assert actions == ["continue"] * CAP + ["reject"]


def test_a_call_for_help_takes_no_place(desk_with):
    desk = desk_with(displays={"cap": 1})
    suspect(desk)
    assert signed(desk, 3, dest={"tn": ["110"]}) == [200] * 3
    suspect(desk)
    assert signed(desk, 1) == [200]


@pytest.mark.parametrize("claimed", ["refuse", "C"])
def test_what_proves_nothing_takes_no_place(desk_with, claimed):
    desk = desk_with(displays={"cap": 1}, signer={"claimed_diversions": claimed})
    suspect(desk)
    asked = body(ppt="div", div={"tn": BANK}, identity="a.b.c;info=<http://x/y>")
    for _ in range(3):
        status, told = desk.call(SIGNING, asked)
        assert (status, told["requestError"]["policyException"]["variables"][0]) == (
            403,
            "DIVERSION_UNPROVEN",
        )
        suspect(desk)
    assert signed(desk, 2) == [200, 429]
