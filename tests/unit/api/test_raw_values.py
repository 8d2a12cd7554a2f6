"""Header field values as a proxy received them, in the JSON dialects; what is told ready made."""

from __future__ import annotations

import time

import pytest

from zhenxian.api.calls.messages import SIGNING, VERIFICATION
from zhenxian.core.header_fields import sip_date
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, COURIER


def _sign(orig=None, dest=None, **more):
    members = {
        "attest": "A",
        "orig": orig or {"tn": BANK},
        "dest": dest or {"tn": [CALLEE]},
        "iat": int(time.time()),
        "origid": BANK_ORIGID,
    }
    return {"signingRequest": members | more}


def _verify(orig=None, to=None, **more):
    members = {"from": orig or {"tn": BANK}, "to": to or {"tn": [CALLEE]}}
    return {"verificationRequest": members | more}


RAW = [
    f'"Bank" <sip:+{BANK}@a.example>;tag=3',
    f'"Bank, <sip:10086@x>" <sip:+{BANK}@a.example;user=phone>;tag=3;x="<"',
    "Bank <tel:+86-755-8888-0001>;tag=3",
    f"<sip:+{BANK}@a.example>;tag=3",
    f"<sip:bank@a.example>, <tel:+{BANK}>",
    f"<tel:+{BANK}>",
    f"sip:+{BANK}@a.example;tag=3",
]


@pytest.mark.parametrize("name", ["tn", "uri"])
@pytest.mark.parametrize("value", RAW)
def test_raw_fields_are_read(desk, name, value):
    status, answer = desk.call(SIGNING, _sign({name: value}))
    assert status == 200, answer
    assert answer["signingResponse"]["canonical"] == BANK
    assert answer["signingResponse"]["attest"] == "A"
    status, answer = desk.call(VERIFICATION, _verify({name: value}))
    told = answer["verificationResponse"]
    assert (status, told["canonical"]) == (200, BANK)
    assert told["paiHeader"] == f"<tel:+{BANK};verstat=No-TN-Validation>"


def test_raw_callees_are_read(desk):
    status, _ = desk.call(SIGNING, _sign(dest={"uri": [f'"X" <sip:+{CALLEE}@b.example>;tag=1']}))
    assert status == 200


@pytest.mark.parametrize(
    "value",
    [
        f'"Bank" <sip:attacker@a.example>;p="z" <sip:+{BANK}@b.example>',
        f"<sip:+{BANK}@a.example>, <sip:+{COURIER}@a.example>",
        "<sip:+86",
        '"<sip:+8675588880001@x>',
        "a <b> c",
    ],
)
@pytest.mark.parametrize("name", ["tn", "uri"])
def test_what_names_nobody_or_two_is_refused(desk, name, value):
    status, answer = desk.call(SIGNING, _sign({name: value}))
    assert status == 400
    error = answer["requestError"]["serviceException"]
    assert error["messageId"] == "SVC4005"
    assert error["variables"][0].startswith("orig")


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
def test_a_date_is_read_as_seconds(desk, dialect):
    more = {"requestId": "1"} if dialect == "3gpp" else {}
    now = int(time.time())
    status, _ = desk.call(SIGNING, _sign(iat=sip_date(now), **more))
    assert status == 200
    status, _ = desk.call(SIGNING, _sign(iat=sip_date(now - 3600), **more))
    assert status == 400
    status, _ = desk.call(VERIFICATION, _verify(time=f" {sip_date(now)} ", **more))
    assert status == 200


@pytest.mark.parametrize("value", ["now", "1", "Tue, 24 Nov 2026 06:00:00 EST", "x GMT", 1.5])
def test_what_is_no_date_is_refused(desk, value):
    for path, body in ((SIGNING, _sign(iat=value)), (VERIFICATION, _verify(time=value))):
        assert desk.call(path, body)[0] == 400


def test_several_tokens_in_every_form(desk):
    identity = desk.call(SIGNING, _sign())[1]["signingResponse"]["identity"]
    broken = identity.replace("A", "B", 1)
    good = identity.replace("\n", "")
    forms = [
        {"identity": [broken, good]},
        {"identity": f"{broken}, {good}"},
        {"identity": [f"{broken},{good}"]},
        {"identity": broken, "identityHeader": good},
        {"identityHeader": broken, "identityHeaders": [good]},
        {"identity": [good.replace(";", "\r\n ;")]},
    ]
    for form in forms:
        answer, _ = desk.call(VERIFICATION, _verify(time=int(time.time()), **form))
        assert type(answer).__name__ == "Waiting"  # the good one's certificate is to be fetched


def test_a_refusal_has_a_sentence(desk):
    _, answer = desk.call(SIGNING, _sign(attest="D"))
    assert answer["sentence"] == "Invalid 'attest' parameter value: 'D' is not A, B or C."
    _, answer = desk.call(SIGNING, _sign(origid="e0000000-0000-4000-8000-000000000002"))
    if "sentence" in answer:
        assert answer["sentence"].startswith("Signing refused by policy: ")
    _, answer = desk.call(SIGNING, _sign({"tn": "10086"}, access="call-centre-trunk"))
    assert answer["sentence"].startswith("Signing refused by policy: DO_NOT_ORIGINATE: ")
    assert "%" not in answer["sentence"]


def test_who_is_withheld_has_no_ready_field(desk):
    _, answer = desk.call(VERIFICATION, _verify({"tn": "anonymous"}))
    told = answer["verificationResponse"]
    assert "paiHeader" not in told
    assert told["canonical"] == "sip:anonymous@anonymous.invalid"


@pytest.mark.parametrize(
    ("orig", "field"),
    [
        ({"tn": "075588880001"}, f"<tel:+{BANK};verstat=No-TN-Validation>"),
        ({"tn": "95588"}, "<tel:95588;phone-context=+86;verstat=No-TN-Validation>"),
        ({"tn": "106812345678"}, "<tel:106812345678;phone-context=+86;verstat=No-TN-Validation>"),
        ({"tn": "+12155550100"}, "<tel:+12155550100;verstat=No-TN-Validation>"),
        ({"uri": "sip:alice@a.example"}, "<sip:alice@a.example>"),
    ],
)
def test_the_ready_field_is_canonical(desk, orig, field):
    _, answer = desk.call(VERIFICATION, _verify(orig))
    assert answer["verificationResponse"]["paiHeader"] == field


def test_without_explanations_they_are_left_out(desk_with):
    desk = desk_with(server={"explain": False})
    _, answer = desk.call(VERIFICATION, _verify())
    assert not {"canonical", "paiHeader"} & answer["verificationResponse"].keys()
    _, answer = desk.call(SIGNING, _sign())
    assert "canonical" not in answer["signingResponse"]
