"""Forwarded calls over REST, both dialects, either engine (RFC 8946)."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from msgspec.structs import replace

from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Headers, Incoming
from zhenxian.certs.chain import parse_chain
from zhenxian.certs.repository import Failure
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reading import Reading, diverting_of
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader, parse_identity_header
from zhenxian.passport.jws import SigningKey, Token, b64url_encode
from zhenxian.passport.ppt.div import Div
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry.journal import put
from zhenxian.registry.model import CalleeRefusal, Holding, State, TargetKind, Use
from zhenxian.registry.model import Verification as RealName
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.simulation.demo import (
    BANK,
    CALLEE,
    COURIER,
    HOTLINE,
    MVNO,
    NORTH,
    REGULATOR,
    SHOP,
    SHOP_SECOND,
    SOUTH,
)
from zhenxian.verifier.replay import UNKNOWN

# COURIER calls BANK, whose trunk forwards to CALLEE.
PASSED, FAILED, NONE = "TN-Validation-Passed", "TN-Validation-Failed", "No-TN-Validation"
ELSEWHERE = "e1000000-0000-4000-8000-000000000001"
OTHER = "8613700137999"


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


@pytest.fixture
def forwarding(desk, installation):
    return Forwarding(desk, installation)


class Chains:
    """Serves the chains of the carriers, and that of the service at any other address."""

    def __init__(self, desk, pki):
        self.desk, self.pki, self.away = desk, pki, set()

    async def get(self, x5u):
        spc = x5u.rpartition("/")[2]
        if spc in self.away:
            return Failure(Reason.CERT_UNREACHABLE, "away", int(time.time()) + 30)
        carrier = self.pki.carriers.get(spc)
        if carrier is None:
            return parse_chain(self.desk.service.keys.current.chain_pem)
        return parse_chain(carrier.chain.read_bytes())


class Forwarding:
    """Asks a desk to sign and verify forwarded calls."""

    def __init__(self, desk, installation):
        self.desk, self.installation = desk, installation
        self.chains = Chains(desk, installation.pki)
        pipeline = desk.service.pipeline
        pipeline.verifying = replace(pipeline.verifying, repository=self.chains)

    def token(self, orig=COURIER, dest=BANK, *, spc=SOUTH, attest="A", age=0, extension=None):
        """A header that a carrier of the demonstration signed; of shaken, or another extension."""
        ppt = "div" if extension is not None else "shaken"
        called = dest if isinstance(dest, tuple) else (dest,)
        passport = PASSporT(
            Header(f"http://127.0.0.1:9/{spc}", ppt),
            TN(orig),
            Destination(tuple(map(TN, called))),
            int(time.time()) - age,
            extension or Shaken(Attestation(attest), ELSEWHERE),
        )
        header, payload = b64url_encode(passport.header.dumps()), b64url_encode(passport.payload())
        key = SigningKey.from_pem(self.installation.pki.carriers[spc].key.read_bytes())
        signature = b64url_encode(key.sign(header + b"." + payload))
        return IdentityHeader(
            Token(header, payload, signature), passport.header.x5u, "ES256", ppt
        ).dumps()

    def ask(self, path, body, **headers):
        encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
        incoming = Incoming(path, b"POST", Headers(content_length=b"1", **headers), encoded)
        answer = self.run(self.desk.service.calls.answer_waiting(incoming))
        return answer.status, json.loads(answer.body)

    def request(self, *identities, **more):
        members = {
            "ppt": "div",
            "orig": {"tn": COURIER},
            "dest": {"tn": [CALLEE]},
            "div": {"tn": BANK},
            "iat": int(time.time()),
            "access": "bank-trunk",
            "identity": list(identities),
        }
        members |= more
        return {"signingRequest": {k: v for k, v in members.items() if v is not None}}

    def sign(self, *identities, headers=None, **more):
        """Status, and the members of the answer; of a refusal, its reason and sentence."""
        status, answer = self.ask(SIGNING, self.request(*identities, **more), **(headers or {}))
        if status == 200:
            return status, answer["signingResponse"]
        if "requestError" not in answer:
            return status, answer["error"]
        ((_, told),) = answer["requestError"].items()
        return status, told["variables"]

    def reason(self, *identities, **more):
        status, told = self.sign(*identities, **more)
        return told["decision"] if status == 200 else told[0]

    def diverted(self, *identities, **more):
        status, told = self.sign(*identities, **more)
        assert status == 200, told
        return told["identity"]

    def verify(
        self, *identities, orig=COURIER, dest=CALLEE, to=CALLEE, whole_to=None, target=None, **more
    ):
        """The answer; `whole_to` and `target` are members as they are sent."""
        members = {
            "from": {"tn": orig},
            "to": whole_to if whole_to is not None else {"tn": [to]},
            "dest": target if target is not None else {"tn": dest} if dest is not None else None,
            "time": int(time.time()),
            "identity": list(identities),
            "explain": True,
        }
        members = {k: v for k, v in (members | more).items() if v is not None}
        status, answer = self.ask(VERIFICATION, {"verificationRequest": members})
        assert status == 200, answer
        return answer["verificationResponse"]

    def record(self, *records):
        """Change the registry as the administration does."""
        self.run(
            self.desk.service.registry.write(
                [put(one) for one in records], author="t", reason="t", now=int(time.time())
            )
        )

    def run(self, waiting):
        loop = self.desk._loop
        return loop.run_until_complete(waiting) if loop else asyncio.run(waiting)

    def order(self, kind, target):
        token = sign_instruction(
            Instruction(
                action=Action.STOP,
                order="o-1",
                issuer=REGULATOR,
                number=1,
                reference="r",
                kind=kind,
                target=target,
                since=int(time.time()),
                iat=int(time.time()),
            ),
            SigningKey.from_pem(self.installation.regulator.read_bytes()),
            REGULATOR,
        )
        answer = self.desk.http("POST", "/v1/orders", params={"reason": "r"}, json={"token": token})
        assert answer.status_code == 200, answer.text


# Signing ------------------------------------------------------------------------------------------


def test_a_forwarder_who_passes_on_what_it_received_gets_a_div(forwarding):
    received = forwarding.token(age=3)
    status, told = forwarding.sign(received, div={"tn": BANK, "hi": "1.1"}, iat=None)
    assert status == 200
    assert (told["ppt"], told["decision"]) == ("div", "DIVERTED")
    assert "attest" not in told
    header = parse_identity_header(told["identity"])
    passport = header.passport()
    assert (header.ppt, header.compact) == ("div", False)
    assert passport.claims() == {
        "dest": {"tn": [CALLEE]},
        "div": {"tn": BANK, "hi": "1.1"},
        "iat": parse_identity_header(received).passport().iat,  # kept: RFC 8946 section 3
        "orig": {"tn": COURIER},
    }
    judged = forwarding.verify(received, told["identity"])
    assert (judged["verstat"], judged["attest"], judged["origid"]) == (PASSED, "A", ELSEWHERE)
    assert judged["divResult"] == [{"div": {"tn": BANK}, "verstatValue": PASSED}]


def test_the_date_of_the_forwarded_request_is_taken_where_it_is_told(forwarding):
    iat = int(time.time()) - 2
    header = forwarding.diverted(forwarding.token(age=9), iat=iat)
    assert parse_identity_header(header).passport().iat == iat
    status, told = forwarding.sign(forwarding.token(), iat=iat - 600)
    assert (status, told[0]) == (400, "iat")


@pytest.mark.parametrize("ppt", ["div", None])
def test_who_forwards_need_not_be_told(forwarding, ppt):
    header = forwarding.diverted(forwarding.token(), div=None, ppt=ppt, attest="A")
    extension = parse_identity_header(header).passport().extension
    assert extension == Div(TN(BANK))


def test_the_3gpp_dialect(forwarding):
    received = forwarding.token()
    status, told = forwarding.sign(
        identity=None, identityHeaders=[received], requestId="7", profileId="bank-trunk",
        access=None,
    )  # fmt: skip
    assert (status, told["requestId"]) == (200, "7")
    body = {
        "from": {"tn": COURIER},
        "to": {"tn": BANK},
        "dest": {"tn": CALLEE},
        "time": int(time.time()),
        "identityHeader": received,
        "identityHeaders": [told["identityHeader"]],
        "protectedHeaders": [f"Diversion: sip:{BANK}@a.example"],
    }
    _, answer = forwarding.ask(VERIFICATION, {"verificationRequest": body})
    judged = answer["verificationResponse"]
    assert judged["verstatValue"] == PASSED
    assert judged["divResult"] == [{"div": {"tn": BANK}, "verstatValue": PASSED}]
    results = [one["verifyResult"] for one in judged["verifyResults"]]
    assert [(one["ppt"], one["status"]) for one in results] == [("shaken", "pass"), ("div", "pass")]
    assert results[1]["validClaims"]["div"] == {"tn": BANK}


def test_several_in_a_chain_and_the_loop_that_ends_one(forwarding):
    """COURIER to BANK to SHOP to CALLEE; and SHOP must not send it back."""
    received = forwarding.token()
    first = forwarding.diverted(received, dest={"tn": [SHOP]})
    more = {"div": {"tn": SHOP}, "access": "call-centre-trunk"}
    second = forwarding.diverted(received, first, **more)
    judged = forwarding.verify(second, received, first)
    assert judged["verstat"] == PASSED
    assert {one["div"]["tn"]: one["verstatValue"] for one in judged["divResult"]} == {
        BANK: PASSED, SHOP: PASSED,
    }  # fmt: skip
    assert forwarding.reason(first, received, dest={"tn": [BANK]}, **more) == "DIVERSION_LOOP"
    # Without the step before, nothing says that the call was for SHOP.
    assert forwarding.reason(received, **more) == "DISPLAY_OF_ANOTHER"


def test_a_div_o_holds_what_was_received(forwarding):
    received = forwarding.token()
    header = forwarding.diverted(received, ppt="div-o")
    passport = parse_identity_header(header).passport()
    assert passport.extension.opt == received.partition(";")[0]
    assert forwarding.verify(header)["verstat"] == PASSED
    more = {"div": {"tn": CALLEE}, "dest": {"tn": [OTHER]}}
    assert forwarding.reason(header, **more) == "DISPLAY_OF_ANOTHER"  # CALLEE is nobody's here


def test_a_div_o_in_a_div_o(forwarding):
    inner = forwarding.diverted(forwarding.token(), dest={"tn": [SHOP]}, ppt="div-o")
    more = {"div": {"tn": SHOP}, "access": "call-centre-trunk"}
    outer = forwarding.diverted(inner, ppt="div-o", **more)
    judged = forwarding.verify(outer)
    assert judged["verstat"] == PASSED
    assert [one["div"]["tn"] for one in judged["divResult"]] == [SHOP, BANK]
    beside = forwarding.token()
    first = forwarding.diverted(beside, dest={"tn": [SHOP]})
    assert forwarding.reason(beside, first, ppt="div-o", **more) == "DISPLAY_OF_ANOTHER"


# The robot ----------------------------------------------------------------------------------------

CLAIMS = {
    "a Diversion": {"ppt": "shaken", "div": None, "diversion": f"<sip:+{BANK}@a.example>"},
    "a Diversion without ppt": {"ppt": None, "div": None, "diversion": f"<tel:+{BANK}>;reason=x"},
    "div of 3GPP": {},
    "div without a number": {"div": None},
    "an Identity of nothing": {"identity": [" "]},
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("attest", ["A", "C"])
def test_a_robot_that_says_it_forwards_gets_nothing(forwarding, claim, attest):
    """A hundred calls, each of another's number, each said to be forwarded from its own."""
    members = {"identity": None, "attest": attest, "origid": ELSEWHERE} | CLAIMS[claim]
    for _ in range(5):
        status, told = forwarding.sign(**members)
        assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")


@pytest.mark.parametrize("claim", CLAIMS)
def test_by_a_setting_it_gets_c_for_a_number_of_its_own_that_is_said_to_forward(
    desk_of, installation, claim
):
    desk = desk_of(installation.config, signer={"claimed_diversions": "C"})
    forwarding = Forwarding(desk, installation)
    members = {"identity": None, "attest": "A", "origid": ELSEWHERE} | CLAIMS[claim]
    told_number = "without a number" not in claim
    status, told = forwarding.sign(**members)
    if not told_number:
        assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
        return
    assert (status, told["attest"], told["decision"]) == (200, "C", "DIVERSION_CLAIMED")
    assert parse_identity_header(told["identity"]).ppt == "shaken"
    for number in (SHOP, OTHER, MVNO):  # of another, of nobody, not verified
        changed = {"div": {"tn": number}} if members.get("div", 1) is not None else {
            "diversion": f"<tel:+{number}>"
        }  # fmt: skip
        assert forwarding.reason(**(members | changed)) == "DISPLAY_OF_ANOTHER"
    forwarding.order(TargetKind.NUMBER, BANK)
    assert forwarding.reason(**members) == "ORDERED"


def test_by_the_setting_a_number_that_never_calls_stays_refused(desk_of, installation):
    desk = desk_of(installation.config, signer={"claimed_diversions": "C"})
    forwarding = Forwarding(desk, installation)
    members = {"identity": None, "attest": "A", "origid": ELSEWHERE, "orig": {"tn": HOTLINE}}
    more = {"access": "call-centre-trunk", "div": {"tn": SHOP}}
    assert forwarding.reason(**(members | more)) == "DO_NOT_ORIGINATE"


# What proves nothing ------------------------------------------------------------------------------


UNPROVEN = {
    "another caller": lambda f: f.token(OTHER),
    "another destination": lambda f: f.token(COURIER, SHOP),
    "stale": lambda f: f.token(age=61),
    "altered": lambda f: f.token().replace(
        f.token().partition(";")[0][-86:], "A" * 86
    ) + "x",
    "signed by another key": lambda f: f.token()[: f.token().index(";") - 86]
    + f.token(spc=NORTH).partition(";")[0][-86:]
    + f";info=<http://127.0.0.1:9/{SOUTH}>",
    "signed by who does not hold the number": lambda f: f.token(spc=NORTH),
    "of a revoked carrier": lambda f: f.token(spc="6666"),
    "garbage": lambda f: "garbage",
    "a div without its original": lambda f: f.token(extension=Div(TN(SHOP))),
}  # fmt: skip


@pytest.mark.parametrize("what", UNPROVEN)
def test_what_proves_nothing_leaves_the_display_anothers(forwarding, what):
    received = UNPROVEN[what](forwarding)
    status, told = forwarding.sign(received)
    assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
    assert "the Identity header received" in told[1]


def test_a_display_that_is_nobodys_or_ones_own_gets_no_div_without_proof(forwarding):
    for orig in (OTHER, BANK):
        status, told = forwarding.sign(forwarding.token(), orig={"tn": orig})
        assert (status, told[0]) == (403, "DIVERSION_UNPROVEN")
    # Without ppt it is a call like any other, and gets what it earns.
    status, told = forwarding.sign(
        forwarding.token(), orig={"tn": BANK}, ppt=None, div=None, attest="A"
    )
    assert (status, told["attest"]) == (200, "A")


def test_nothing_is_diverted_to_who_calls(forwarding):
    """Who is called by its own number, as a voice mailbox is, may let it in unasked."""
    assert forwarding.reason(forwarding.token(), dest={"tn": [COURIER]}) == "DIVERSION_LOOP"


@pytest.mark.parametrize("number", [SHOP, OTHER])
def test_the_access_must_hold_the_number_that_forwards(forwarding, number):
    status, told = forwarding.sign(forwarding.token(COURIER, number), div={"tn": number})
    assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
    assert forwarding.reason(forwarding.token(), access="call-centre-trunk") == "DISPLAY_OF_ANOTHER"
    unknown = forwarding.sign(forwarding.token(), access="nobody's")
    assert unknown[1][0] == "DIVERSION_UNPROVEN"


def test_a_number_whose_holder_is_not_verified_forwards_nothing(forwarding):
    more = {"div": {"tn": MVNO}, "access": "mvno-trunk"}
    assert forwarding.reason(forwarding.token(COURIER, MVNO), **more) == "HOLDING_UNVERIFIED"


def test_a_number_that_another_carrier_holds_is_not_this_ones_to_sign_for(forwarding):
    more = TNRange(TN("8675577770001"), TN("8675577770001"))
    forwarding.record(
        Holding(numbers=more, subject="bank", verification=RealName.VERIFIED, spcs=(SOUTH,))
    )
    number = {"div": {"tn": "8675577770001"}}
    assert (
        forwarding.reason(forwarding.token(COURIER, "8675577770001"), **number)
        == "DISPLAY_OF_ANOTHER"
    )


def test_a_privacy_number_forwards_nothing(forwarding):
    for number, use in (("8675577770002", Use.PRIVACY), ("700100020010001", Use.DIRECT)):
        span = TNRange(TN(number), TN(number))
        forwarding.record(
            Holding(
                numbers=span,
                subject="bank",
                verification=RealName.VERIFIED,
                use=use,
                spcs=(NORTH,),
            )
        )
        status, told = forwarding.sign(forwarding.token(COURIER, number), div={"tn": number})
        assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
        assert "privacy number" in told[1]


def test_nothing_is_diverted_to_where_it_was_or_to_several(forwarding):
    assert forwarding.reason(forwarding.token(), dest={"tn": [BANK]}) == "DISPLAY_OF_ANOTHER"
    several = forwarding.sign(forwarding.token(), dest={"tn": [CALLEE, OTHER]})
    assert several[1][0] == "DISPLAY_OF_ANOTHER"


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (TargetKind.NUMBER, COURIER),
        (TargetKind.NUMBER, BANK),
        (TargetKind.SUBJECT, "bank"),
        (TargetKind.SUBJECT, "courier"),
    ],
)
def test_an_order_stops_who_calls_and_who_forwards(forwarding, kind, target):
    received = forwarding.token()
    diverted = forwarding.diverted(received)
    forwarding.order(kind, target)
    assert forwarding.reason(forwarding.token()) == "ORDERED"
    assert forwarding.reason(forwarding.token(), div=None, ppt=None, attest="A") == "ORDERED"
    judged = forwarding.verify(received, diverted)
    assert (judged["verstat"], judged["reason"]) == (FAILED, "ORDERED")


def test_a_suspended_access_or_subject_forwards_nothing(forwarding):
    access = forwarding.desk.service.registry.access("bank-trunk", None)
    forwarding.record(replace(access, state=State.SUSPENDED))
    assert forwarding.reason(forwarding.token()) == "ACCESS_SUSPENDED"


def test_a_certificate_that_cannot_be_had_is_said(forwarding):
    forwarding.chains.away.add(SOUTH)
    status, told = forwarding.sign(forwarding.token())
    assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
    assert "CERT_UNREACHABLE" in told[1]


def test_without_the_registry_nothing_is_diverted(forwarding, monkeypatch):
    def gone(*_):
        raise StoreUnavailableError("gone")

    forwarding.diverted(forwarding.token())  # the chain is in the cache now
    for name in ("access", "holding"):
        monkeypatch.setattr(forwarding.desk.service.registry, name, gone)
    status, told = forwarding.sign(forwarding.token())
    assert (status, told[0]) == (403, "DIVERSION_UNPROVEN")


def test_a_callee_who_refuses_is_heard(desk_of, installation):
    desk = desk_of(installation.config, consent={"marketing": "refuse"})
    forwarding = Forwarding(desk, installation)
    span = TNRange(TN(CALLEE), TN(CALLEE))
    forwarding.record(CalleeRefusal(numbers=span, since=int(time.time()) - 5))
    assert forwarding.reason(forwarding.token(), purpose="telemarketing") == "CALLEE_REFUSES"
    assert forwarding.reason(forwarding.token()) == "DIVERTED"


# Once ---------------------------------------------------------------------------------------------


def test_one_received_call_is_forwarded_once_to_each_destination(forwarding):
    received = forwarding.token()
    assert forwarding.reason(received) == "DIVERTED"
    for _ in range(3):
        status, told = forwarding.sign(received)
        assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
        assert "forwarded there before" in told[1]
    assert forwarding.reason(received, dest={"tn": [OTHER]}) == "DIVERTED"


def test_a_genuine_old_call_is_no_supply_for_a_hundred(forwarding):
    received, given = forwarding.token(), 0
    for number in range(20):
        status, told = forwarding.sign(received, dest={"tn": [f"86138001390{number:02d}"]})
        given += status == 200
        if status != 200:
            assert "8 destinations" in told[1]
    assert given == 8
    assert forwarding.reason(forwarding.token()) == "DIVERTED"  # the next call that comes in


def test_asking_twice_makes_no_place_where_there_is_none(forwarding):
    received, given = forwarding.token(), 0
    for number in range(12):
        body = forwarding.request(
            received, callId="c-1@pbx", dest={"tn": [f"86138001390{number:02d}"]}
        )
        given += 200 in (forwarding.ask(SIGNING, body)[0], forwarding.ask(SIGNING, body)[0])
    assert given == 8


def test_several_that_ring_in_one_call_are_each_asked_again(forwarding):
    now = time.time()
    forwarding.desk.clock = lambda: now  # asked again at once, however busy the machine is
    received = forwarding.token()
    bodies = [
        forwarding.request(received, callId="c-1@pbx", dest={"tn": [f"86138001390{number:02d}"]})
        for number in range(5)
    ]
    for body in (*bodies, *bodies):
        assert forwarding.ask(SIGNING, body)[0] == 200
    for place in range(3):  # asking again took none of the places
        assert forwarding.reason(received, dest={"tn": [f"8613800139{place}99"]}) == "DIVERTED"
    assert forwarding.reason(received, dest={"tn": [OTHER]}) == "DISPLAY_OF_ANOTHER"


def test_numbers_of_ones_own_multiply_no_call(forwarding):
    """One genuine call to BANK, diverted to six of its numbers, and from each to eight others."""
    received = forwarding.token()
    own = [f"86755888801{number:02d}" for number in range(6)]
    steps = [forwarding.diverted(received, dest={"tn": [one]}) for one in own]
    given = 0
    for place, (one, step) in enumerate(zip(own, steps, strict=True)):
        for number in range(8):
            there = {"tn": [f"8613800139{place}{number}0"]}
            status, _ = forwarding.sign(received, step, div={"tn": one}, dest=there)
            given += status == 200
    assert given == 2


def test_a_question_that_is_asked_again_is_answered_again(forwarding):
    received = forwarding.token()
    body = forwarding.request(received, callId="c-1@pbx")
    assert forwarding.ask(SIGNING, body)[0] == 200
    assert forwarding.ask(SIGNING, body)[0] == 200
    other = forwarding.request(received, callId="c-2@pbx")
    assert forwarding.ask(SIGNING, other)[0] == 403
    plain = forwarding.request(forwarding.token())
    for _ in range(2):
        assert forwarding.ask(SIGNING, plain, request_id=b"x-1")[0] == 200


def test_what_was_verified_when_it_came_in_may_be_forwarded(forwarding):
    received = forwarding.token()
    assert forwarding.verify(received, dest=None, to=BANK)["verstat"] == PASSED
    header = forwarding.diverted(received)
    assert forwarding.verify(received, header)["verstat"] == PASSED
    assert forwarding.verify(received, header)["reason"] == "REPLAYED"
    assert forwarding.verify(received, dest=None, to=BANK)["reason"] == "REPLAYED"


def test_a_store_that_is_away_lets_nothing_be_forwarded(forwarding, monkeypatch):
    async def away(sightings, now):
        return [UNKNOWN] * len(sightings)

    monkeypatch.setattr(type(forwarding.desk.service.pipeline), "seen", lambda _, s, n: away(s, n))
    status, told = forwarding.sign(forwarding.token())
    assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
    assert "replay store" in told[1]


def test_who_forwards_is_not_counted_as_showing_the_numbers_of_others(forwarding):
    """A switchboard shows whoever calls it: two hundred callers are no pool."""
    for index in range(200):
        orig = f"8613{index:09d}"
        assert forwarding.reason(forwarding.token(orig), orig={"tn": orig}) == "DIVERTED"
    assert forwarding.reason(forwarding.token()) == "DIVERTED"
    status, told = forwarding.sign(
        orig={"tn": BANK}, identity=None, ppt=None, div=None, attest="A", origid=ELSEWHERE
    )
    assert (status, told["attest"], told.get("labels")) == (200, "A", None)


# Help ---------------------------------------------------------------------------------------------

HELP = {"tn": ["110"]}


@pytest.mark.parametrize(
    "change",
    [
        {"identity": None},
        {"ppt": None, "div": None, "attest": "A", "origid": ELSEWHERE},
        {"div": {"tn": "x"}},
        {"div": {}},
        {"div": None, "diversion": "<nonsense"},
    ],
)
def test_a_call_for_help_is_signed_whatever_it_proves(forwarding, change):
    status, told = forwarding.sign(**({"identity": [forwarding.token(OTHER)]} | change), dest=HELP)
    assert (status, told["attest"], told["decision"]) == (200, "C", "EMERGENCY_CALL")


def test_a_call_for_help_waits_for_no_certificate(forwarding, monkeypatch):
    asked = []

    async def get(x5u):
        asked.append(x5u)
        return Failure(Reason.CERT_UNREACHABLE, "away", int(time.time()) + 30)

    forwarding.chains.get = get
    status, told = forwarding.sign(forwarding.token(), dest=HELP)
    assert (status, told["attest"], asked) == (200, "C", [])
    chain = parse_chain(forwarding.installation.pki.carriers[SOUTH].chain.read_bytes())
    kept = forwarding.desk.service.pipeline.verifying.verifier.certificates
    monkeypatch.setattr(type(kept), "cached", lambda *_: chain)
    received = forwarding.token()
    for _ in range(3):  # and whoever calls for help may do so again
        assert forwarding.reason(received, dest=HELP) == "DIVERTED"


@pytest.mark.parametrize("to", ["110", BANK])
def test_to_alone_makes_no_diverted_call_one_for_help(forwarding, to):
    received = forwarding.token()
    diverted = forwarding.diverted(received)
    forwarding.order(TargetKind.NUMBER, COURIER)
    judged = forwarding.verify(received, diverted, to=to)
    assert (judged["verstat"], judged["reason"]) == (FAILED, "ORDERED")


@pytest.mark.parametrize("to", ["110", BANK])
def test_to_alone_hides_no_diverted_call_from_conduct(forwarding, monkeypatch, to):
    counted = []
    conduct = forwarding.desk.service.pipeline.verifying.verifier.sources.conduct
    monkeypatch.setattr(conduct, "observe", counted.append)
    received = forwarding.token()
    assert forwarding.verify(received, forwarding.diverted(received), to=to)["verstat"] == PASSED
    assert [one.display for one in counted] == [COURIER]


def test_a_request_uri_that_cannot_be_read_keeps_nobody_from_help(forwarding):
    token = forwarding.token(COURIER, "110")
    judged = forwarding.verify(token, to="110", dest="nonsense")
    assert (judged["verstat"], judged["labels"]) == (PASSED, ["emergency-call"])


# Verifying over REST ------------------------------------------------------------------------------


def test_a_chain_that_does_not_lead_to_the_request_uri(forwarding):
    received = forwarding.token()
    header = forwarding.diverted(received)
    judged = forwarding.verify(received, header, dest=OTHER)
    assert (judged["verstat"], judged["reason"]) == (FAILED, "DIV_CHAIN_BROKEN")
    assert (judged["reasoncode"], judged["reasontext"]) == (438, "Invalid Identity Header")
    assert judged["divResult"] == [{"div": {"tn": BANK}, "verstatValue": FAILED}]
    alone = forwarding.verify(header)
    assert (alone["verstat"], alone["reason"]) == (NONE, "DIV_CHAIN_INCOMPLETE")
    assert alone["divResult"] == [{"div": {"tn": BANK}, "verstatValue": NONE}]


def test_a_div_by_who_does_not_hold_the_number(forwarding):
    """BANK's numbers are NORTH's; SOUTH says that BANK forwards."""
    div = forwarding.token(COURIER, CALLEE, spc=SOUTH, extension=Div(TN(BANK)))
    judged = forwarding.verify(forwarding.token(), div)
    assert (judged["verstat"], judged["reason"]) == (FAILED, "SPC_NOT_HOLDER")
    assert judged["divResult"] == [{"div": {"tn": BANK}, "verstatValue": FAILED}]


def test_a_usual_answer_has_no_word_of_diversion(forwarding):
    judged = forwarding.verify(forwarding.token(), dest=None, to=BANK)
    assert "divResult" not in judged
    assert "labels" not in judged


def test_who_is_reached_by_to_alone_is_labelled(forwarding):
    judged = forwarding.verify(forwarding.token(), dest=CALLEE, to=BANK)
    assert (judged["verstat"], judged["labels"]) == (PASSED, ["diversion-unsigned"])


@pytest.mark.parametrize("to", [{"tn": [BANK]}, {"uri": ["sip:alice@example.com"]}])
def test_a_call_that_is_diverted_to_an_address(forwarding, to):
    received = forwarding.token()
    header = forwarding.diverted(received, dest={"uri": ["sip:alice@example.com"]})
    at = {"uri": "sip:alice@example.com:5061;transport=tls"}
    judged = forwarding.verify(received, header, whole_to=to, target=at)
    assert (judged["verstat"], judged["divResult"][0]["verstatValue"]) == (PASSED, PASSED)


@pytest.mark.parametrize("levels", ["CA", "AC", "BAC"])
def test_of_several_originals_the_one_that_vouches_furthest_decides(forwarding, levels):
    originals = [forwarding.token(attest=level) for level in levels]
    header = forwarding.diverted(*originals)
    assert forwarding.verify(*originals, header)["attest"] == "A"


@pytest.mark.parametrize("unset", [{}, {"tn": ""}, {"tn": []}, {"uri": " "}])
def test_a_request_uri_that_a_proxy_has_not_set_is_not_told(forwarding, unset):
    judged = forwarding.verify(forwarding.token(), to=BANK, target=unset)
    assert judged["verstat"] == PASSED


# Requests -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"ppt": "shaken"}, 400, "ppt"),
        ({"ppt": None}, 400, "ppt"),
        ({"ppt": "rph"}, 400, "ppt"),
        ({"ppt": "shaken", "div": None, "identity": ["x"]}, 400, "identity"),
        ({"div": {}}, 400, "div.tn"),
        ({"div": {"tn": "x"}}, 400, "div.tn"),
        ({"div": {"tn": BANK, "uri": f"tel:+{SHOP}"}}, 400, "div"),
        ({"div": {"tn": BANK, "hi": ""}}, 400, "div.hi"),
        ({"div": {"tn": BANK, "hi": 1}}, 400, "div.hi"),
        ({"div": {"tn": BANK, "x": 1}}, 400, "div.x"),
        ({"div": None, "diversion": "<nonsense"}, 400, "diversion"),
        ({"rph": {"auth": ["ets.0"]}}, 400, "ppt"),
    ],
)
def test_what_is_wrong_is_named(forwarding, change, status, named):
    given, told = forwarding.sign(**({"identity": None, "attest": "A"} | change))
    assert (given, told[0]) == (status, named)


def test_a_member_that_stands_twice_is_refused(forwarding):
    body = json.dumps(forwarding.request(forwarding.token())).encode()
    twice = body.replace(b'"div": {', b'"div": {"tn": "1", ')
    status, answer = forwarding.ask(SIGNING, twice)
    assert status == 400
    assert "twice" in json.dumps(answer)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (f"<sip:+{BANK}@a.example;user=phone>;reason=no-answer;counter=1", BANK),
        (f'"Bank, \\"the\\" one" <tel:+{BANK}>;reason=unconditional', BANK),
        (f"Bank <sip:{BANK}@10.0.0.1:5060>", BANK),
        (f"sip:{BANK}@10.0.0.1;reason=x", BANK),
        (f"<tel:+{BANK}>;reason=x, <tel:+{SHOP_SECOND}>", BANK),
        ("", None),
    ],
)
def test_who_diverted_last_by_diversion(value, found):
    told = diverting_of([value], Reading())
    assert told == ((TN(found),) if found else ())
