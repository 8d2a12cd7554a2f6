"""The per-call routes: what each dialect says, and that nothing breaks the others."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Headers, Incoming
from zhenxian.api.calls.service import MAX_REQUEST_ID
from zhenxian.calls.pipeline import MAX_WAITING
from zhenxian.certs.chain import parse_chain
from zhenxian.certs.repository import Failure
from zhenxian.core.reasons import Reason
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import b64url_decode, b64url_encode
from zhenxian.service.problems import problems
from zhenxian.simulation.demo import BANK, BANK_ORIGID, CALLEE, COURIER, HOTLINE, MVNO
from zhenxian.verifier.replay import NEW, REPLAY, UNKNOWN

VECTORS = Path(__file__).parents[2] / "vectors"
ATIS = {
    vector["name"]: vector
    for vector in json.loads((VECTORS / "atis-1000082.json").read_text())["vectors"]
}
ORIGID = BANK_ORIGID
OWN = {"reason", "reasonHeader", "failedCheck", "attest", "origid", "spc", "notes", "checks"}
OWN |= {"canonical", "paiHeader"}


def _sign(orig=BANK, **more):
    members = {
        "attest": "A",
        "orig": {"tn": orig},
        "dest": {"tn": [CALLEE]},
        "iat": int(time.time()),
        "origid": ORIGID,
    }
    return {"signingRequest": members | more}


def _verify(identity=None, orig=BANK, **more):
    members = {"from": {"tn": orig}, "to": {"tn": [CALLEE]}, "time": int(time.time())}
    if identity is not None:
        members["identity"] = identity
    return {"verificationRequest": members | more}


class Chains:
    """Serves the chain of the service itself for every address."""

    def __init__(self, desk):
        self._chain = parse_chain(desk.service.keys.current.chain_pem)
        self.asked = []

    async def get(self, x5u):
        self.asked.append(x5u)
        return self._chain


def _judged(desk, body):
    """Verify, and fetch what that waits for."""
    calls = desk.service.calls
    calls.pipeline.verifying = replace(calls.pipeline.verifying, repository=Chains(desk))
    encoded = json.dumps(body).encode()
    headers = Headers(content_length=b"1")
    answer = asyncio.run(calls.answer_waiting(Incoming(VERIFICATION, b"POST", headers, encoded)))
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["verificationResponse"]


def test_a_failure_that_is_forgotten_while_another_chain_is_fetched_is_fetched_again(desk):
    """Not an error of ours: both chains are asked for, each once, and the good token passes."""
    status, answer = desk.call(SIGNING, _sign())
    assert status == 200
    identity = answer["signingResponse"]["identity"]
    header, rest = identity.split(".", 1)
    members = json.loads(b64url_decode(header.encode(), "header"))
    own, other = members["x5u"], "https://cert.example.org/other.pem"
    copied = b64url_encode(json.dumps(members | {"x5u": other}).encode()).decode()
    second = f"{copied}.{rest}".replace(own, other)
    remembered = [Failure(Reason.CERT_UNREACHABLE, "away", 0)]

    class Forgetful:
        def cached(self, x5u, now):
            return remembered.pop() if x5u == other and remembered else None

        def keep(self, x5u):
            pass

    desk.service.verifier.certificates = Forgetful()
    told = _judged(desk, _verify([identity, second]))
    assert told["verstat"] == "TN-Validation-Passed"
    assert desk.service.pipeline.verifying.repository.asked == [own, other]
    assert remembered == []


ERRORS = {
    "SVC4000": (b"", b"POST", {}),
    "SVC4001": (_sign(iat=None), b"POST", {}),
    "SVC4002": (_sign(), b"POST", {"accept": b"text/html"}),
    "SVC4004": (_sign(), b"POST", {"content_type": b"text/plain"}),
    "SVC4005": (_sign(attest="D"), b"POST", {}),
    "SVC4006": (b"{", b"POST", {}),
    "SVC4007": (_sign(), b"POST", {"content_length": None}),
    "POL4050": (_sign(), b"GET", {}),
}


@pytest.mark.parametrize("code", ERRORS)
@pytest.mark.parametrize("path", [SIGNING, VERIFICATION])
def test_errors_have_the_status_and_id_of_the_standard(desk, code, path):
    body, method, headers = ERRORS[code]
    if path == VERIFICATION and code in ("SVC4001", "SVC4005"):
        body = _verify(time="now" if code == "SVC4005" else 1)
        if code == "SVC4001":
            del body["verificationRequest"]["to"]
    status, answer = desk.call(path, body, method, **headers)
    expect = ATIS[f"error-{code}"]["expect"]
    assert status == expect["status"]
    assert answer["requestError"].keys() == {expect["exception"]}
    told = answer["requestError"][expect["exception"]]
    assert told.keys() == {"messageId", "text", "variables"}
    assert told["messageId"] == code
    # The placeholders of the text are what the variables fill.
    assert told["text"].count("%") == len(told["variables"])


@pytest.mark.parametrize("late", [-1, 1])
def test_a_request_to_sign_is_fresh(desk, late):
    calls = desk.service.calls
    side = replace(calls.pipeline.signing, iat_window=30)
    calls.pipeline.signing = side
    now = int(time.time())
    calls.pipeline.clock = lambda: float(now)
    assert desk.call(SIGNING, _sign(iat=now + 30 * late))[0] == 200
    iat = now + 31 * late
    status, answer = desk.call(SIGNING, _sign(iat=iat))
    told = answer["requestError"]["serviceException"]
    assert (status, told["messageId"]) == (400, "SVC4005")
    assert told["variables"] == ["iat", f"{iat} is not within 30 s of now"]
    # A proxy hears what is wrong with its request, whether or not there is a key.
    calls.pipeline.signing = replace(side, credential=lambda: None)
    assert desk.call(SIGNING, _sign(iat=iat)) == (status, answer)
    assert desk.call(SIGNING, _sign(iat=now))[0] == 503


def test_a_path_that_is_not_there_has_the_id_of_the_standard(desk):
    answer = desk.http("POST", "/stir/v1/nothing", json={})
    expect = ATIS["error-SVC4003"]["expect"]
    assert answer.status_code == expect["status"]
    assert answer.json()["requestError"][expect["exception"]]["messageId"] == "SVC4003"


def test_health_requests_of_an_sbc_are_answered(desk_with):
    verification = ATIS["oracle-heartbeat-verification"]["input"]["body_text"].encode()
    status, answer = desk_with().call(VERIFICATION, verification)
    assert status == 200
    assert answer["verificationResponse"]["verstat"] == "No-TN-Validation"
    signing = json.loads(ATIS["oracle-heartbeat-signing"]["input"]["body_text"])
    signing["signingRequest"]["iat"] = int(time.time())  # the certificate is of today, too
    status, answer = desk_with().call(SIGNING, json.dumps(signing).encode())
    assert status in (200, 403, 400)
    assert answer.keys() & {"signingResponse", "requestError"}


def test_a_verdict_in_the_words_of_atis(desk):
    _, signed = desk.call(SIGNING, _sign())
    identity = signed["signingResponse"]["identity"]
    expect = ATIS["verification-answer-members"]["expect"]
    passed = _judged(desk, _verify(identity))
    assert passed.keys() - OWN == {"verstat"}
    assert passed["verstat"] == "TN-Validation-Passed"
    assert (passed["attest"], passed["origid"], passed["spc"]) == ("A", ORIGID, "1001")
    failed = _judged(desk, _verify(identity, COURIER))
    assert failed.keys() - OWN == set(expect["members"])
    assert isinstance(failed["reasoncode"], int)
    assert failed["reasonHeader"].startswith(f"STIR;cause={failed['reasoncode']};")


def test_a_verdict_in_the_words_of_3gpp(desk):
    _, signed = desk.call(SIGNING, _sign(requestId="17"))
    assert signed["signingResponse"]["requestId"] == "17"
    identity = signed["signingResponse"]["identityHeader"]
    members = {"identityHeader": identity, "requestId": "18", "displayName": "Bank"}
    passed = _judged(desk, _verify(**members))
    assert passed.keys() - OWN == {"verstatValue", "verifyResults", "requestId", "displayName"}
    (result,) = passed["verifyResults"]
    claims = result["verifyResult"].pop("validClaims")
    assert result == {"verifyResult": {"ppt": "shaken", "status": "pass"}}
    assert claims.keys() == {"attest", "dest", "iat", "orig", "origid"}
    assert (claims["orig"], claims["dest"]) == ({"tn": BANK}, {"tn": [CALLEE]})
    failed = _judged(desk, _verify(orig=COURIER, **members))
    (result,) = failed["verifyResults"]
    told = result["verifyResult"]
    assert (told["ppt"], told["status"], told["reasonCode"]) == ("shaken", "fail", 438)
    assert told.keys() >= {"reasonText", "reasonDescription", "passport"}
    assert identity.startswith(told["passport"])
    assert "verstat" not in failed


def test_members_of_our_own_can_be_left_out(desk_with):
    desk = desk_with(server={"explain": False})
    _, signed = desk.call(SIGNING, _sign())
    assert signed["signingResponse"].keys() == {"identity"}
    judged = _judged(desk, _verify(signed["signingResponse"]["identity"], explain=True))
    assert judged.keys() == {"verstat"}


def test_every_check_is_told_when_asked(desk):
    _, signed = desk.call(SIGNING, _sign())
    judged = _judged(desk, _verify(signed["signingResponse"]["identity"], explain=True))
    (entry,) = judged["checks"]
    assert entry["failed"] is None
    assert len(entry["passed"]) > 5
    assert "checks" not in _judged(desk, _verify(signed["signingResponse"]["identity"]))


@pytest.mark.parametrize(
    ("orig", "reason"), [(HOTLINE, "DO_NOT_ORIGINATE"), (MVNO, "DISPLAY_OF_ANOTHER")]
)
def test_a_refusal_is_a_policy_error_that_names_its_reason(desk, orig, reason):
    status, answer = desk.call(SIGNING, _sign(orig))
    told = answer["requestError"]["policyException"]
    assert (status, told["messageId"], told["variables"][0]) == (403, "POL4030", reason)
    status, answer = desk.call(SIGNING, _sign(orig, requestId="1"))
    assert status == 403
    assert answer["error"].startswith(reason)


def test_requests_answered_together_do_not_disturb_each_other(desk):
    bodies = [_sign(), b"{", _verify(), _sign(HOTLINE), _sign(COURIER), b"", _sign()]
    paths = [SIGNING, SIGNING, VERIFICATION, SIGNING, SIGNING, VERIFICATION, SIGNING]
    requests = []
    for number, (path, body) in enumerate(zip(paths, bodies, strict=True)):
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = Headers(content_length=b"1", request_id=b"%d" % number)
        requests.append(Incoming(path, b"POST", headers, encoded))
    together = desk.service.calls.answer_all(requests)
    assert [answer.status for answer in together] == [200, 400, 200, 403, 403, 400, 200]
    assert [answer.request_id for answer in together] == [b"%d" % n for n in range(7)]


def test_an_error_of_ours_is_told_without_details(desk, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(desk.service.registry, "holding", broken)
    status, answer = desk.call(SIGNING, _sign())
    assert status == 500
    assert answer["requestError"]["policyException"]["messageId"] == "POL5000"
    assert "secret" not in json.dumps(answer)
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(("days", "says"), [(400, "has expired"), (-400, "is not valid before 20")])
def test_without_a_usable_key_nothing_is_signed_and_the_rest_goes_on(desk_with, days, says):
    later = time.time() + days * 86_400
    desk = desk_with(clock=lambda: later)
    status, answer = desk.call(SIGNING, _sign(iat=int(later)))
    assert status == 503
    assert answer["requestError"]["policyException"]["messageId"] == "POL5030"
    assert desk.call(VERIFICATION, _verify())[0] == 200
    (problem,) = [text for text in problems(desk.service) if text.startswith("signing")]
    assert problem.startswith(f"signing: the certificate {says}")


def test_not_more_calls_wait_than_is_healthy(desk):
    _, signed = desk.call(SIGNING, _sign())
    desk.service.pipeline.waiting = MAX_WAITING
    judged = _judged(desk, _verify(signed["signingResponse"]["identity"]))
    assert (judged["verstat"], judged["reason"]) == ("No-TN-Validation", "CERT_UNREACHABLE")
    assert desk.service.pipeline.verifying.repository.asked == []


def test_request_ids_are_echoed_up_to_a_length_and_logged(desk):
    for given in (b"abc", b"x" * 500, "é".encode("latin-1")):
        body = json.dumps(_sign()).encode()
        headers = Headers(content_length=b"1", request_id=given)
        (answer,) = desk.service.calls.answer_all((Incoming(SIGNING, b"POST", headers, body),))
        desk.service.calls.answered()
        assert answer.request_id == given[:MAX_REQUEST_ID]
        assert desk.logged()[-1]["request_id"] == given[:MAX_REQUEST_ID].decode("latin-1")


def test_headers_are_read_whatever_their_name_s_variant():
    headers = Headers.of([(b"x-request-id", b"1"), (b"accept", b"a"), (b"cookie", b"c")])
    assert (headers.trace_id, headers.request_id, headers.accept) == (b"1", None, b"a")
    assert Headers.of([(b"x-requestid", b"2")]).request_id == b"2"


# A replay store that must be asked over the network ---------------------------------------------


class Shared:
    """Answers as told, and remembers what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def sight_all(self, sightings, now):
        self.asked.append(sightings)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return [answer] * len(sightings)


def test_a_shared_replay_store_is_asked_once_for_genuine_tokens_only(desk):
    shared = Shared(NEW, REPLAY, UNKNOWN, OSError("gone"))
    desk.service.pipeline.verifying = replace(desk.service.pipeline.verifying, replay=shared)
    _, answer = desk.call(SIGNING, _sign())
    identity = answer["signingResponse"]["identity"]
    expected = ["VERIFIED", "REPLAYED", "REPLAY_UNKNOWN", "REPLAY_UNKNOWN"]
    assert [_judged(desk, _verify(identity))["reason"] for _ in expected] == expected
    assert [len(asked) for asked in shared.asked] == [1] * 4
    assert _judged(desk, _verify(identity.replace(".", ".A", 1)))["verstat"] != (
        "TN-Validation-Passed"
    )
    assert _judged(desk, _verify())["reason"] == "NO_IDENTITY"
    assert len(shared.asked) == 4


def test_an_outdated_time_is_a_note_while_replays_are_seen_and_none_is_needed(desk):
    def identity():
        return desk.call(SIGNING, _sign())[1]["signingResponse"]["identity"]

    old = int(time.time()) - 3600
    judged = _judged(desk, _verify(identity(), time=old))
    assert (judged["verstat"], judged["reason"]) == ("TN-Validation-Passed", "VERIFIED")
    (note,) = judged["notes"]
    assert note.startswith("Date is 36")
    assert note.endswith("s before now; 60 s are accepted, but iat is fresh")
    assert desk.service.metrics.registry.get_sample_value(
        "zhenxian_revocation_unchecked_total"
    ) == 0  # fmt: skip
    body = _verify(identity())
    del body["verificationRequest"]["time"]
    judged = _judged(desk, body)
    assert (judged["verstat"], judged.get("notes")) == ("TN-Validation-Passed", None)
    assert _judged(desk, body)["reason"] == "REPLAYED"
    assert _judged(desk, _verify())["reason"] == "NO_IDENTITY"
    del (body := _verify())["verificationRequest"]["time"]
    assert _judged(desk, body)["reason"] == "NO_IDENTITY"
    # With the store away an outdated time is what it was.
    desk.service.pipeline.verifying = replace(
        desk.service.pipeline.verifying, replay=Shared(UNKNOWN, UNKNOWN)
    )
    judged = _judged(desk, _verify(identity(), time=old))
    assert (judged["verstat"], judged["reason"]) == ("No-TN-Validation", "DATE_STALE")
    assert (judged["reasoncode"], judged["reasontext"]) == (403, "Stale Date")
    assert _judged(desk, _verify(identity()))["reason"] == "REPLAY_UNKNOWN"


# Purposes and what callees refuse ---------------------------------------------------------------

REFUSES = "callee-refuses-marketing"


def _refusing(desk):
    why = {"reason": "a test"}
    body = {"since": 1, "source": "callee, hotline"}
    put = desk.http("PUT", f"/v1/refusals/{CALLEE}", json=body, params=why)
    assert put.status_code == 200


def _signed(desk, **more):
    status, answer = desk.call(SIGNING, _sign(access="bank-trunk", **more))
    assert status == 200, answer
    return answer["signingResponse"]


def test_a_call_reason_goes_into_the_token_when_the_request_asks_for_it(desk):
    claims = {}
    for name in ("crn", "purpose"):
        answer = _signed(desk, **{name: "新品营销"})
        identity = parse_identity_header(answer["identity"])
        claims[name] = json.loads(b64url_decode(identity.token.payload, "payload"))
    assert claims["crn"]["crn"] == "新品营销"
    assert "crn" not in claims["purpose"]


@pytest.mark.parametrize("value", ["", "x" * 257, "a\nb", 7, ["marketing"], {"text": "x"}])
@pytest.mark.parametrize("name", ["crn", "purpose"])
def test_unusable_purposes_are_named(desk, name, value):
    status, answer = desk.call(SIGNING, _sign(**{name: value}))
    assert status == 400
    assert answer["requestError"]["serviceException"]["variables"][0] == name
    if name == "purpose":
        status, answer = desk.call(VERIFICATION, _verify("x", purpose=value))
        assert status == 400
        assert answer["requestError"]["serviceException"]["variables"][0] == name


def test_a_callees_refusal_is_told_on_both_sides(desk):
    _refusing(desk)
    assert "labels" not in _signed(desk)
    assert "labels" not in _signed(desk, crn="your parcel")
    answer = _signed(desk, crn="Marketing")
    assert answer["labels"] == [REFUSES]
    judged = _judged(desk, _verify(answer["identity"]))
    assert (judged["verstat"], judged["labels"]) == ("TN-Validation-Passed", [REFUSES])
    assert "sipResponse" not in judged
    assert "labels" not in _judged(desk, _verify(_signed(desk)["identity"]))
    beside = _judged(desk, _verify(_signed(desk)["identity"], purpose="推广"))
    assert beside["labels"] == [REFUSES]


@pytest.mark.parametrize("dialect", ["atis", "3gpp"])
def test_a_callees_refusal_ends_the_call_where_policy_says_so(desk_with, dialect):
    desk = desk_with(consent={"marketing": "refuse"}, server={"dialect": dialect})
    _refusing(desk)
    status, answer = desk.call(SIGNING, _sign(access="bank-trunk", purpose="营销"))
    assert status == 403
    assert "CALLEE_REFUSES" in json.dumps(answer)
    assert CALLEE not in json.dumps(answer)
    name = "identity" if dialect == "atis" else "identityHeader"
    identity = _signed(desk)[name]
    judged = _judged(desk, _verify(identity, purpose="营销"))
    assert judged["verstat" if dialect == "atis" else "verstatValue"] == "TN-Validation-Passed"
    assert judged["sipResponse"] == {"code": 607, "phrase": "Unwanted"}
    assert (judged["reason"], judged["failedCheck"]) == ("CALLEE_REFUSES", "CONSENT")
    assert judged["attest"] == "A"
    if dialect == "3gpp":
        (result,) = judged["verifyResults"]
        assert result["verifyResult"]["status"] == "pass"
        assert result["verifyResult"]["reasonCode"] == 607
    else:
        assert "reasoncode" not in judged
    other = _judged(desk, _verify(_signed(desk)[name]))
    assert other["reason"] == "VERIFIED"
