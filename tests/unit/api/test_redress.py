"""The redress contact on the wire: answers of both dialects, the published JWS, its settings."""

from __future__ import annotations

import asyncio
import json
import time

import jwt
import pytest
from found import Found, finding
from msgspec.structs import replace

from zhenxian.analytics.model import KeyKind
from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Headers, Incoming
from zhenxian.api.calls.requests import Dialect, Echo
from zhenxian.api.calls.responses import judged
from zhenxian.api.published.redress import FRESH_FOR, MEDIA_TYPE, PATH
from zhenxian.certs.chain import parse_chain
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason, SipStatus
from zhenxian.service.settings import load_settings
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE
from zhenxian.verifier.redress import Rejection
from zhenxian.verifier.verdict import Check, Refusal, Result, Verdict

CONTACT = '[redress]\norganisation = "北方电信"\nemail = "redress@north.example"\n'
BASE = 'publish_base = "https://north.example/sti"\n'
VALUE = f"<https://north.example/sti{PATH}>;purpose=jwscard"
DIALECTS = [Dialect.ATIS, Dialect.THREEGPP]
GENUINE = tuple(Check)[: tuple(Check).index(Check.REPLAY)]


def _pooled(reason=Reason.DISPLAY_POOLED):
    refusal = Refusal(Check.HOLDER, reason, reason.text)
    result = Result("shaken", "a..b;info=<x>", GENUINE, refusal)
    return Verdict(reason.verstat, reason, reason.text, (result,), result)


def without_contact(installation):
    """The installation's settings, which name a contact last, up to there."""
    return installation.config.read_text().partition("[redress]")[0]


@pytest.fixture
def contacted(installation, desk_with):
    """A service with a contact, and a clock that stands."""

    plain = without_contact(installation)

    def make(more=CONTACT, now=None, base=BASE, **sections):
        moment = [time.time() if now is None else now]
        installation.config.write_text(plain.replace("[signer]\n", "[signer]\n" + base) + more)
        desk = desk_with(clock=lambda: moment[0], **sections)
        desk.moment = moment
        return desk

    return make


def _told(rejection, dialect, verdict=None, *, explain=True):
    verdict = _pooled() if verdict is None else verdict
    answer = judged(verdict, Echo(dialect), explain, rejection)
    return json.loads(answer)["verificationResponse"]


@pytest.mark.parametrize("explain", [True, False])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    ("rejection", "code", "phrase"),
    [
        (Rejection(SipStatus.REJECTED, VALUE), 608, "Rejected"),
        (Rejection(), 603, "Decline"),
    ],
)
def test_a_pooled_display_in_both_dialects(rejection, code, phrase, dialect, explain):
    told = _told(rejection, dialect, explain=explain)
    expected = {"code": code, "phrase": phrase}
    if code == 608:
        expected["callInfo"] = VALUE
    assert told["sipResponse"] == expected
    if dialect is Dialect.ATIS:
        assert told["verstat"] == "TN-Validation-Failed"
        given = (told["reasoncode"], told["reasontext"], told["reasondesc"])
    else:
        assert told["verstatValue"] == "TN-Validation-Failed"
        result = told["verifyResults"][0]["verifyResult"]
        given = (result["reasonCode"], result["reasonText"], result["reasonDescription"])
    assert given == (code, phrase, Reason.DISPLAY_POOLED.text)
    assert "reasonHeader" not in told  # no cause of protocol STIR
    assert told.get("reason") == ("DISPLAY_POOLED" if explain else None)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_other_answers_stay_as_they_are(dialect):
    for reason in (Reason.REPLAYED, Reason.SPC_NOT_HOLDER, Reason.REPLAY_UNKNOWN):
        with_contact = _told(Rejection(SipStatus.REJECTED, VALUE), dialect, _pooled(reason))
        assert with_contact == _told(Rejection(), dialect, _pooled(reason))
        assert "sipResponse" not in with_contact
        assert with_contact["reasonHeader"].startswith("STIR;cause=43")
    passed = Verdict(Reason.VERIFIED.verstat, Reason.VERIFIED, "")
    assert "sipResponse" not in _told(Rejection(SipStatus.REJECTED, VALUE), dialect, passed)


def _asked(desk):
    """What a proxy is told of a pooled display, by the service as it is configured."""
    desk.service.verifier.open = lambda *_: _pooled()
    body = {"from": {"tn": BANK}, "to": {"tn": [CALLEE]}, "time": int(time.time())}
    status, answer = desk.call(VERIFICATION, {"verificationRequest": body})
    assert status == 200
    return answer["verificationResponse"]["sipResponse"]


class Chains:
    """Serves the chain of the service itself for every address."""

    def __init__(self, desk):
        self._chain = parse_chain(desk.service.keys.current.chain_pem)

    async def get(self, _):
        return self._chain


def _verified(desk, identity):
    body = {"from": {"tn": BANK}, "to": {"tn": [CALLEE]}, "time": int(time.time())}
    encoded = json.dumps({"verificationRequest": body | {"identity": identity}}).encode()
    incoming = Incoming(VERIFICATION, b"POST", Headers(content_length=b"1"), encoded)
    desk.service.pipeline.verifying = replace(
        desk.service.pipeline.verifying, repository=Chains(desk)
    )
    answer = asyncio.run(desk.service.calls.answer_waiting(incoming))
    return json.loads(answer.body)["verificationResponse"]


def test_a_genuine_call_of_a_pool_gets_the_contact_and_a_forged_one_does_not(contacted):
    desk = contacted()
    members = {"attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}}
    members |= {"iat": int(time.time()), "origid": BANK_ORIGID}
    _, answer = desk.call(SIGNING, {"signingRequest": members})
    identity = answer["signingResponse"]["identity"]
    pool = finding(KeyKind.SIGNER, f"1001/{BANK_ORIGID}")
    verifier = desk.service.verifier
    verifier.sources = replace(verifier.sources, conduct=Found(pool))
    told = _verified(desk, identity)
    assert (told["verstat"], told["reason"]) == ("TN-Validation-Failed", "DISPLAY_POOLED")
    assert (told["reasoncode"], told["reasontext"]) == (608, "Rejected")
    assert told["sipResponse"] == {"code": 608, "phrase": "Rejected", "callInfo": VALUE}
    token, _, rest = identity.partition(";")
    head, payload, signature = token.split(".")
    forged = f"{head}.{payload}.{signature[:-6]}{'A' * 6};{rest}"
    told = _verified(desk, forged)
    assert told["reasoncode"] in (437, 438)
    assert "sipResponse" not in told


def test_with_a_contact_608_leads_to_it(contacted):
    assert _asked(contacted()) == {"code": 608, "phrase": "Rejected", "callInfo": VALUE}


@pytest.mark.parametrize("dialect", ["auto", "3gpp"])
@pytest.mark.parametrize("refused", [403, 608])
@pytest.mark.parametrize("contact", ["[redress]\n", CONTACT])
def test_a_refused_signing_says_what_its_caller_is_answered(contacted, contact, refused, dialect):
    desk = contacted(contact, sip={"refused": refused}, server={"dialect": dialect})
    body = {
        "attest": "A", "orig": {"tn": BANK}, "dest": {"tn": [CALLEE]}, "iat": int(time.time()),
        "access": "call-centre-trunk",
    }  # fmt: skip
    status, answer = desk.call(SIGNING, {"signingRequest": body})
    told = answer["sipResponse"]
    code = refused if contact is CONTACT else 403  # a 608 goes with its contact or not at all
    assert (status, told["code"]) == (403, code)
    assert told["phrase"] == ("Rejected" if code == 608 else "Forbidden")
    assert told["reasonHeader"].startswith(f'SIP;cause={code};text="DISPLAY_OF_ANOTHER: ')
    assert told.get("callInfo") == (VALUE if contact is CONTACT else None)


def test_without_a_contact_it_is_declined(desk_with):
    desk = desk_with(redress={"organisation": None, "email": None})
    assert _asked(desk) == {"code": 603, "phrase": "Decline"}
    answer = desk.http("GET", PATH)
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize("status", [603, 607])
@pytest.mark.parametrize("contact", ["[redress]\n", CONTACT])
def test_no_machine_says_607_for_a_person(contacted, contact, status):
    """RFC 8197 section 3; the setting of earlier releases is read on."""
    desk = contacted(f"{contact}status = {status}\n")
    assert _asked(desk) == {"code": 603, "phrase": "Decline"}
    assert desk.http("GET", PATH).status_code == 404


def test_without_a_usable_key_there_is_no_608(contacted):
    desk = contacted()
    desk.moment[0] = desk.service.keys.current.not_after
    assert _asked(desk) == {"code": 603, "phrase": "Decline"}
    assert desk.http("GET", PATH).status_code == 404


def test_the_jws_is_served_and_verifies(contacted):
    desk = contacted()
    answer = desk.http("GET", PATH)
    assert (answer.status_code, answer.headers["content-type"]) == (200, MEDIA_TYPE)
    assert answer.headers["cache-control"] == f"public, max-age={FRESH_FOR}"
    credential = desk.service.keys.current
    header = jwt.get_unverified_header(answer.text)
    assert header == {"alg": "ES256", "typ": "vcard+json", "x5u": credential.x5u}
    key = credential.chain.certificates[0].public_key()
    claims = jwt.decode(answer.text, key, algorithms=["ES256"])
    assert claims["iat"] == int(desk.moment[0])
    assert ["fn", {}, "text", "北方电信"] in claims["jcard"][1]
    head = desk.http("HEAD", PATH)
    assert (head.status_code, head.headers["content-type"]) == (200, MEDIA_TYPE)
    assert desk.http("POST", PATH).status_code == 405


def test_it_is_signed_once_and_anew_before_it_is_stale(contacted):
    desk = contacted(now=int(time.time()))
    signed = []
    for after, seconds in ((0, 15), (1, 14), (14, 1), (15, 15), (29, 1), (30, 15)):
        desk.moment[0] = signed[0][1] + after if signed else desk.moment[0]
        jws, left = desk.service.redress.card()
        assert left == seconds
        signed.append((jws, int(desk.moment[0])))
    first, same, still, second, kept, third = (jws for jws, _ in signed)
    assert first is same
    assert first is still
    assert second is kept
    assert len({first, second, third}) == 3
    assert FRESH_FOR <= 60 // 4  # RFC 8688 section 3.3: on the order of a minute


def test_a_clock_that_is_set_back_or_a_new_key_signs_anew(contacted):
    desk = contacted()
    first, _ = desk.service.redress.card()
    desk.moment[0] -= 3600
    second, left = desk.service.redress.card()
    assert (first is second, left) == (False, FRESH_FOR)
    old = desk.service.keys.current
    desk.service.keys.current = replace(old, x5u="https://elsewhere.example/c.pem")
    third, _ = desk.service.redress.card()
    assert jwt.get_unverified_header(third.decode())["x5u"] == "https://elsewhere.example/c.pem"


@pytest.mark.parametrize(
    ("base", "because"),
    [
        ('publish_base = "http://north.example"\n', "not https"),
        ('publish_base = "https://10.1.2.3"\n', "not a public address"),
        ('publish_base = "https://north.example/?x="\n', "query"),
        ('publish_base = "https://north.example>;x"\n', "not an absolute URL"),
    ],
)
def test_a_base_that_strangers_cannot_trust_is_refused(contacted, base, because):
    with pytest.raises(ConfigError, match=because) as caught:
        contacted(base=base)
    assert "signer.publish_base" in str(caught.value)
    contacted("[redress]\nstatus = 607\n", base=base)


def test_a_contact_nobody_can_sign_is_refused(installation, desk_with):
    text = without_contact(installation)
    lines = [line for line in text.splitlines() if not line.startswith(("key =", "chain ="))]
    installation.config.write_text("\n".join(lines) + "\n" + CONTACT)
    with pytest.raises(ConfigError, match=r"signer\.key"):
        desk_with()


def test_settings_are_read_from_the_environment_too(monkeypatch):
    monkeypatch.setenv("ZHENXIAN_REDRESS__STATUS", "607")
    monkeypatch.setenv("ZHENXIAN_REDRESS__ORGANISATION", "North")
    monkeypatch.setenv("ZHENXIAN_REDRESS__PHONE", "+86 (10) 6600-0000")
    redress = load_settings().redress
    assert (redress.status, redress.phone) == (607, "+861066000000")
