"""Numbers over REST: however one is written, it is judged as that number, on either engine."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from msgspec.structs import replace
from pools import nobody_answered

from zhenxian.analytics import Key, KeyKind
from zhenxian.api.calls.messages import SIGNING, VERIFICATION, Headers, Incoming
from zhenxian.certs.chain import parse_chain
from zhenxian.core.tn import ANONYMOUS, TN, URI, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import SigningKey, Token, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry.journal import put
from zhenxian.registry.model import (
    Binding,
    BindingModel,
    CalleeRefusal,
    Holding,
    TargetKind,
    Use,
    Verification,
)
from zhenxian.registry.orders import Action, Instruction, sign_instruction
from zhenxian.service.role_settings import Unsigned
from zhenxian.simulation.demo import (
    BANK,
    BANK_ORIGID,
    BANNED,
    CALLEE,
    CENTRE_ORIGID,
    COURIER,
    HOTLINE,
    NORTH,
    POOL_ORIGID,
    PRIVACY,
    REGULATOR,
    RIDER,
    SHOP,
    SOUTH,
    pool_calls,
)
from zhenxian.stores.sqlite.file import RegistryFile
from zhenxian.stores.sqlite.registry import REGISTRY_FILE

ELSEWHERE = "e0000000-0000-4000-8000-000000000004"
PASSED, FAILED, NONE = "TN-Validation-Passed", "TN-Validation-Failed", "No-TN-Validation"
HOSTS = "a.example"
CALLED_TN = (TN(CALLEE),)


@pytest.fixture
def installation(on_either_engine):
    """A service whose own hosts are known."""
    config = on_either_engine.config
    text = config.read_text()
    config.write_text(text.replace("[numbers]", '[numbers]\nhosts = ["ims.north.example"]'))
    return on_either_engine


def _ask_to_sign(desk, orig, access="call-centre-trunk", origid=CENTRE_ORIGID, **more):
    """Status, and what was decided: the attestation or None, the reason's name, its sentence."""
    members = {
        "attest": "A",
        "orig": orig if isinstance(orig, dict) else {"tn": orig},
        "dest": {"tn": [CALLEE]},
        "iat": int(time.time()),
        "origid": origid,
    }
    if access is not None:
        members["access"] = access
    else:
        members["origid"] = ELSEWHERE
    status, answer = desk.call(SIGNING, {"signingRequest": members | more})
    if status == 200:
        told = answer["signingResponse"]
        return status, told["attest"], told["decision"], told["decisionText"]
    ((_, told),) = answer["requestError"].items()
    return status, None, *told["variables"]


POOL = (Key(KeyKind.ACCESS, "pool-trunk"), Key(KeyKind.SUBJECT, "pool-company"))


def _decided(desk, orig, **more):
    return _ask_to_sign(desk, orig, **more)[1:3]


class Chains:
    """Serves the chains of the installation's carriers by the last part of an address."""

    def __init__(self, pki):
        self._pki = pki

    async def get(self, x5u):
        return parse_chain(self._pki.carriers[x5u.rpartition("/")[2]].chain.read_bytes())


def _token(installation, orig, dest=CALLED_TN, spc=SOUTH, attest="A", origid=ELSEWHERE):
    """A header that a carrier of the demonstration signed."""
    passport = PASSporT(
        Header(f"http://127.0.0.1:9/{spc}", "shaken"),
        orig,
        Destination(
            tuple(one for one in dest if isinstance(one, TN)),
            tuple(one for one in dest if isinstance(one, URI)),
        ),
        int(time.time()),
        Shaken(Attestation(attest), origid),
    )
    header, payload = b64url_encode(passport.header.dumps()), b64url_encode(passport.payload())
    key = SigningKey.from_pem(installation.pki.carriers[spc].key.read_bytes())
    signature = b64url_encode(key.sign(header + b"." + payload))
    return IdentityHeader(
        Token(header, payload, signature), passport.header.x5u, "ES256", "shaken"
    ).dumps()


def _verify(desk, installation, orig, identity=None, to=None):
    members = {
        "from": orig if isinstance(orig, dict) else {"tn": orig},
        "to": to or {"tn": [CALLEE]},
        "time": int(time.time()),
        "explain": True,
    }
    if identity is not None:
        members["identity"] = identity
    calls = desk.service.calls
    calls.pipeline.verifying = replace(
        calls.pipeline.verifying, repository=Chains(installation.pki)
    )
    encoded = json.dumps({"verificationRequest": members}).encode()
    waiting = calls.answer_waiting(
        Incoming(VERIFICATION, b"POST", Headers(content_length=b"1"), encoded)
    )
    answer = (desk._loop.run_until_complete if desk._loop else asyncio.run)(waiting)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)["verificationResponse"]


def _record(installation, *records):
    """Put records into the registry before the service starts."""
    book = RegistryFile(installation.config.parent / "state" / REGISTRY_FILE, writer=True)
    book.write([put(record) for record in records], author="t", reason="t", now=int(time.time()))
    book.close()


def _order(desk, installation, kind, target, number):
    token = sign_instruction(
        Instruction(
            action=Action.STOP,
            order=f"o-{number}",
            issuer=REGULATOR,
            number=number,
            reference="r",
            kind=kind,
            target=target,
            since=int(time.time()),
            iat=int(time.time()),
        ),
        SigningKey.from_pem(installation.regulator.read_bytes()),
        REGULATOR,
    )
    answer = desk.http("POST", "/v1/orders", params={"reason": "r"}, json={"token": token})
    assert answer.status_code == 200, answer.text


def _spellings(number):
    return [
        f"sip:{number}@{HOSTS}",
        f"sips:{number}@{HOSTS}",
        f"SIP:{number}@{HOSTS};user=PHONE",
        f"sip:+{number}@{HOSTS}",
        f"sip:%2B{number}@{HOSTS}",
        f"sip:%3{number[0]}{number[1:]}@{HOSTS}",
        f"sip:{number[:2]}-({number[2:5]}){number[5:]}@{HOSTS}",
        f"sip:{number};ext=1:secret@{HOSTS}:5060;transport=udp?Subject=x",
        f"sip:{number}@192.0.2.9",
        f"sip:{number}@[2001:db8::9]:5061",
        f"{number}@{HOSTS}",
        f"<sip:{number}@{HOSTS}>",
        f"sip:{number}",
        f"tel:+{number};npdi;rn=+8613800000000",
        f"tel:{number[:2]}.{number[2:]};ext=1",
    ]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (BANK, "DISPLAY_OF_ANOTHER"),
        (COURIER, "DISPLAY_OF_ANOTHER"),
        (PRIVACY, "DISPLAY_OF_ANOTHER"),
        ("8610086", "DO_NOT_ORIGINATE"),
    ],
)
def test_no_spelling_gets_what_the_number_does_not(desk, number, reason):
    assert _decided(desk, number) == (None, reason)
    for uri in _spellings(number):
        assert _decided(desk, {"uri": uri}) == (None, reason), uri


HIDING = [
    "sip:{}@anonymous.invalid",
    "sip:{}@anonymous.invalid.;user=phone",
    "sip:{}%E3%85%A4@a.example",
    "sip:{}%EF%BE%A0@192.0.2.9",
    "sip:{}%CA%BC@a.example;user=phone",
    "sip:;{}@a.example",
    "sip:%3B{}@a.example",
    "sip::{}@a.example",
    "sip:%3F{}@a.example",
    "sip:+{},pause@a.example",
]


@pytest.mark.parametrize("number", [BANK, PRIVACY, COURIER])
def test_no_number_is_hidden_in_a_uri(desk, installation, number):
    for uri in HIDING:
        assert _decided(desk, {"uri": uri.format(number)})[0] is None, uri
    nobody = _token(installation, URI("sip:anonymous@anonymous.invalid"))
    uri = f"sip:{number}@anonymous.invalid"
    told = _verify(desk, installation, {"uri": uri}, nobody)
    assert (told["verstat"], told["reason"]) == (FAILED, "ORIG_MISMATCH")


def test_an_order_stops_what_is_shown_at_the_host_of_who_is_withheld(desk, installation):
    _order(desk, installation, TargetKind.NUMBER, "8675511112222", 1)
    uri = "sip:8675511112222@anonymous.invalid"
    assert _decided(desk, {"uri": uri}) == (None, "ORDERED")
    told = _verify(desk, installation, {"uri": uri})
    assert (told["verstat"], told["reason"]) == (FAILED, "DISPLAY_ORDERED")


TRUNK_0 = ["442079460000", "+4402079460000", "4402079460000", "44 (0)20 7946 0000"]


@pytest.mark.parametrize("country", [None, "CN"])
def test_a_holding_and_an_order_count_with_and_without_the_trunk_0(
    desk_with, installation, country
):
    desk = desk_with(numbers={"country": country})
    row = {"subject": "bank", "verification": "verified"}
    ask = {"params": {"reason": "r"}, "json": row}
    assert desk.http("PUT", "/v1/holdings/4402079460000", **ask).status_code == 200
    _order(desk, installation, TargetKind.NUMBER, "4402079460001", 1)
    for written in (f"+{one.removeprefix('+')}" if country else one for one in TRUNK_0):
        for orig in ({"tn": written}, {"uri": f"sip:{written.replace(' ', '')}@{HOSTS}"}):
            assert _decided(desk, orig) == (None, "DISPLAY_OF_ANOTHER"), orig
        assert _decided(desk, written[:-1] + "1") == (None, "ORDERED")


def test_whoever_holds_a_number_may_write_it_as_he_likes(desk, installation):
    for uri in _spellings(BANK):
        own = {"access": "bank-trunk", "origid": BANK_ORIGID}
        assert _decided(desk, {"uri": uri}, **own) == ("A", "HELD_AND_VERIFIED"), uri


@pytest.mark.parametrize(
    ("uri", "decided"),
    [
        ("sip:10086@ims.north.example", (None, "DO_NOT_ORIGINATE")),
        ("sip:10086@gd.ims.north.example:5060", (None, "DO_NOT_ORIGINATE")),
        ("sip:10086@192.0.2.9", (None, "DO_NOT_ORIGINATE")),
        ("sip:10086@[2001:db8::9]", (None, "DO_NOT_ORIGINATE")),
        ("sip:10086@other.example;user=phone", (None, "DO_NOT_ORIGINATE")),
        (f"sip:{HOTLINE}@192.0.2.9", (None, "DO_NOT_ORIGINATE")),
        (f"tel:+86{HOTLINE}", (None, "DO_NOT_ORIGINATE")),
        ("sip:110@192.0.2.9", (None, "DO_NOT_ORIGINATE")),
        ("sip:10086@other.example", ("C", "PRIVATE_NUMBER")),
        ("sip:4711@ims.north.example", ("C", "PRIVATE_NUMBER")),
        ("sip:4711@other.example;user=phone", ("C", "PRIVATE_NUMBER")),
        (f"tel:{BANK};phone-context=other.example", ("C", "PRIVATE_NUMBER")),
        ("sip:alice@other.example", ("B", "ORIG_NOT_A_NUMBER")),
        (f"sip:{BANK}x@other.example", ("B", "ORIG_NOT_A_NUMBER")),
    ],
)
def test_short_digits_and_letters(desk, uri, decided):
    assert _decided(desk, {"uri": uri}) == decided
    status, attest, reason, _ = _ask_to_sign(desk, {"uri": uri}, access=None)
    assert (status, attest, reason) == (
        (403, *decided) if decided[0] is None else (200, "C", "ACCESS_UNKNOWN")
    )


@pytest.mark.parametrize(
    "uri",
    [
        "tel:88880001;phone-context=+86755",
        "sip:88880001;phone-context=%2B86-755@a.example;user=phone",
        "tel:13800138000;phone-context=+999",
    ],
)
def test_a_number_local_to_a_context_is_refused_by_its_own_reason(desk, uri):
    status, _, place, text = _ask_to_sign(desk, {"uri": uri})
    assert (status, place) == (400, "orig.uri")
    assert text.startswith("TN_CONTEXT: ")
    body = {"from": {"uri": uri}, "to": {"tn": CALLEE}, "time": int(time.time())}
    status, answer = desk.call(VERIFICATION, {"verificationRequest": body})
    assert status == 400
    assert "TN_CONTEXT" in answer.get("error", "") or "TN_CONTEXT" in str(answer)


def test_an_order_stops_a_number_however_it_is_written(desk, installation):
    _order(desk, installation, TargetKind.NUMBER, "8675511112222", 1)
    for uri in _spellings("8675511112222"):
        assert _decided(desk, {"uri": uri}) == (None, "ORDERED"), uri
        told = _verify(desk, installation, {"uri": uri})
        assert (told["verstat"], told["reason"]) == (FAILED, "DISPLAY_ORDERED"), uri
    for claim in (TN("8675511112222"), URI("sip:8675511112222@b.example")):
        token = _token(installation, claim)
        told = _verify(desk, installation, {"uri": f"sip:8675511112222@{HOSTS}"}, token)
        assert (told["verstat"], told["reason"]) == (FAILED, "ORDERED")


@pytest.mark.parametrize("claim", [TN(COURIER), URI(f"sip:{COURIER}@b.example")])
def test_a_token_and_the_call_may_write_a_number_differently(desk, installation, claim):
    for uri in _spellings(COURIER):
        told = _verify(desk, installation, {"uri": uri}, _token(installation, claim))
        assert (told["verstat"], told["spc"]) == (PASSED, SOUTH), (uri, told)
    told = _verify(desk, installation, BANK, _token(installation, claim))
    assert told["reason"] == "ORIG_MISMATCH"


def test_a_token_that_writes_a_number_as_a_uri_is_judged_by_the_number(desk, installation):
    for orig in (BANK, {"uri": f"sip:{BANK}@{HOSTS}"}):
        token = _token(installation, URI(f"sip:{BANK}@{HOSTS}"))
        told = _verify(desk, installation, orig, token)
        assert (told["verstat"], told["reason"]) == (FAILED, "SPC_NOT_HOLDER")


def test_callees_may_be_written_differently_too(desk, installation):
    token = _token(installation, TN(COURIER), (URI(f"sip:+{CALLEE}@b.example;user=phone"),))
    told = _verify(desk, installation, COURIER, token, {"uri": [f"sip:{CALLEE}@{HOSTS}"]})
    assert told["verstat"] == PASSED
    told = _verify(desk, installation, COURIER, _token(installation, TN(COURIER)), {"tn": [BANK]})
    assert told["reason"] == "DEST_MISMATCH"


def test_a_private_number_matches_itself_alone(desk, installation):
    claim = URI("sip:4711@pbx.example")
    told = _verify(
        desk, installation, {"uri": "sip:4711@PBX.example:5060"}, _token(installation, claim)
    )
    assert told["verstat"] == PASSED
    told = _verify(desk, installation, "4711", _token(installation, claim))
    assert told["reason"] == "ORIG_MISMATCH"


def test_conduct_consent_and_bindings_take_the_number(desk, installation):
    numbers = list(pool_calls())
    decided = []
    for display, callee in numbers:
        asked = {"uri": f"sip:{display}@{HOSTS}"}
        to = {"uri": [f"sip:+{callee}@{HOSTS}"]}
        decided.append(_decided(desk, asked, access="pool-trunk", origid=POOL_ORIGID, dest=to))
        nobody_answered(desk.service.keeper.conduct, TN(display), TN(callee), POOL)
    assert decided[0] == ("A", "HELD_AND_VERIFIED")
    assert decided[-1] == (None, "POOLED_DISPLAY")
    bound = {
        "access": "platform-trunk",
        "origid": "f0000000-0000-4000-8000-000000000005",
        "dest": {"uri": [f"sips:{CALLEE}@{HOSTS}"]},
    }
    caller = {"uri": "sip:86-137-0013-7000@192.0.2.3"}
    asked = {"uri": f"sip:{PRIVACY}@{HOSTS}"}
    assert _decided(desk, asked, **bound, caller=caller) == ("A", "BOUND")
    assert _decided(desk, asked, **bound) == (None, "NOT_BOUND")


def test_a_callees_refusal_counts_however_the_callee_is_written(desk_with, installation):
    refusal = CalleeRefusal(numbers=TNRange(TN(CALLEE), TN(CALLEE)), since=0)
    _record(installation, refusal)
    desk = desk_with(consent={"marketing": "refuse"})
    asked = {"access": "bank-trunk", "origid": BANK_ORIGID, "purpose": "marketing"}
    for dest in ({"tn": [CALLEE]}, {"uri": [f"sip:{CALLEE}@{HOSTS}"]}):
        assert _decided(desk, BANK, **asked, dest=dest) == (None, "CALLEE_REFUSES")


# Numbers that begin with 0 -----------------------------------------------------------------------

NATIONAL = ["075588880001", "008675588880001", "0755-8888 0001"]


def test_with_a_country_a_national_number_is_that_number(desk):
    for tn in NATIONAL:
        assert _decided(desk, tn) == (None, "DISPLAY_OF_ANOTHER")
        assert _decided(desk, {"uri": f"sip:{tn.replace(' ', '')}@{HOSTS}"}) == (
            None,
            "DISPLAY_OF_ANOTHER",
        )


@pytest.mark.parametrize("section", [{}, {"verifier": {"country": "CN"}}])
def test_without_a_country_it_is_refused_and_the_setting_named(desk_with, section):
    desk = desk_with(numbers={"country": None}, **section)
    for tn in (*NATIONAL, "00", "0"):
        status, _, *told = _ask_to_sign(desk, tn)
        if section and len(tn) > 2:  # the older name of the setting
            assert (status, told[0]) == (403, "DISPLAY_OF_ANOTHER")
            continue
        assert (status, told[0]) == (400, "orig.tn")
        assert told[1].startswith("TN_NATIONAL: ")
        assert "numbers.country" in told[1]


def test_records_are_read_likewise(desk_with):
    row = {"subject": "bank", "verification": "verified"}
    ask = {"params": {"reason": "r"}, "json": row}
    without = desk_with(numbers={"country": None})
    answer = without.http("PUT", "/v1/holdings/075512345678", **ask)
    assert answer.status_code == 422
    assert "numbers.country" in answer.json()["detail"]
    many = "first,last,subject\n0755123456,,bank\n8675512345678,,bank\n0021,,bank\n"
    sent = {"content": many, "headers": {"content-type": "text/csv"}}
    report = without.http("POST", "/v1/imports/holdings", params={"reason": "r"}, **sent).json()
    assert (report["changed"], [row["line"] for row in report["rejected"]]) == (1, [2, 4])
    desk = desk_with()
    assert desk.http("PUT", "/v1/holdings/075512345679", **ask).status_code == 200
    assert desk.http("GET", "/v1/holdings/8675512345679").json()["subject"] == "bank"
    many = "first,last,subject\n075512345680,075512345689,bank\n8695588,,bank\n"
    sent = {"content": many, "headers": {"content-type": "text/csv"}}
    report = desk.http("POST", "/v1/imports/holdings", params={"reason": "r"}, **sent).json()
    assert report["changed"] == 2
    for key in ("8675512345680-8675512345689", "95588"):
        assert desk.http("GET", f"/v1/holdings/{key}").status_code == 200


def test_what_was_taken_with_an_area_code_is_ended_as_it_is_listed(desk_with, installation):
    """Such a number is read as the nationwide one, but a record of it may be there."""
    held = Holding(numbers=TNRange(TN("8675595588"), TN("8675595588")), subject="bank")
    _record(installation, held)
    desk = desk_with()
    path, why = "/v1/holdings/8675595588", {"params": {"reason": "r"}}
    row = {"subject": "bank", "verification": "verified"}
    assert desk.http("PUT", path, json=row, **why).status_code == 200  # 95588, that is
    assert desk.http("GET", path).json()["first"] == "8675595588"
    assert len(desk.http("GET", f"{path}/history").json()["versions"]) == 1
    assert desk.http("DELETE", path, **why).status_code == 204
    assert desk.http("DELETE", path, **why).status_code == 404  # sent again, it ends no other
    assert desk.http("GET", path).status_code == 404
    assert len(desk.http("GET", f"{path}/history").json()["versions"]) == 2  # its own
    assert desk.http("GET", "/v1/holdings/95588").json()["first"] == "95588"


def test_so_is_a_range_whose_ends_are_read_otherwise(desk_with, installation):
    held = Holding(numbers=TNRange(TN("8675510000"), TN("8675510999")), subject="bank")
    _record(installation, held)
    desk = desk_with()
    path, why = "/v1/holdings/8675510000-8675510999", {"params": {"reason": "r"}}
    assert desk.http("GET", path).json()["last"] == "8675510999"
    assert desk.http("GET", f"{path}/history").json()["versions"]
    assert desk.http("DELETE", path, **why).status_code == 204
    assert desk.http("GET", path).status_code == 404


# Emergency numbers -------------------------------------------------------------------------------

EMERGENCY = ["110", "119", "120", "122", "12110", "12119"]


@pytest.mark.parametrize("access", ["call-centre-trunk", None])
def test_an_emergency_number_is_shown_by_nobody_who_does_not_hold_it(desk, access):
    for number in EMERGENCY:
        for orig in (number, {"uri": f"tel:{number}"}, {"uri": f"sip:{number}@192.0.2.1"},
                     {"uri": f"sip:{number}@x;user=phone"}, f"+86{number}"):  # fmt: skip
            status, _, *told = _ask_to_sign(desk, orig, access=access)
            assert (status, told[0]) == (403, "DO_NOT_ORIGINATE")
            assert "emergency" in told[1]
    assert _decided(desk, "112", access=access)[0] is not None  # none of China's


def test_whoever_holds_one_shows_it(desk_with, installation):
    held = Holding(
        numbers=TNRange(TN("110"), TN("110")),
        subject="bank",
        verification=Verification.VERIFIED,
        spcs=(NORTH, SOUTH),
    )
    _record(installation, held)
    desk = desk_with()
    own = {"access": "bank-trunk", "origid": BANK_ORIGID}
    assert _decided(desk, "110", **own) == ("A", "HELD_AND_VERIFIED")
    told = _verify(desk, installation, "110", _token(installation, TN("110")))
    assert told["verstat"] == PASSED
    told = _verify(desk, installation, "120", _token(installation, TN("120")))
    assert (told["verstat"], told["reason"]) == (FAILED, "EMERGENCY_SHOWN")
    told = _verify(desk, installation, "120")
    assert (told["verstat"], told["reason"]) == (FAILED, "EMERGENCY_SHOWN")
    assert told["sipResponse"]["code"] in (603, 608)
    assert _verify(desk, installation, "110")["verstat"] == NONE


CALLED = [
    {"tn": ["110"]},
    {"tn": ["122", "119"]},
    {"tn": ["+86110"]},
    {"uri": ["urn:service:sos"]},
    {"uri": ["URN:service:SOS.police"]},
    {"tn": ["120"], "uri": ["urn:service:sos.ambulance", "tel:120"]},
    {"uri": ["sip:110@ims.north.example", "sip:110@192.0.2.1", "sip:110@x;user=phone"]},
]


@pytest.mark.parametrize("dest", CALLED)
def test_a_call_for_help_is_never_refused(desk, installation, dest):
    for orig in (BANK, "10086", HOTLINE, "110", PRIVACY, "4711"):
        status, attest, *_ = _ask_to_sign(desk, orig, dest=dest)
        assert (status, attest) == (200, "B" if orig == "4711" else "C"), orig
    assert _decided(desk, BANK, dest=dest) == ("C", "EMERGENCY_CALL")
    assert _decided(desk, SHOP, dest=dest) == ("A", "HELD_AND_VERIFIED")
    _order(desk, installation, TargetKind.SUBJECT, "call-centre", time.time_ns() // 1_000)
    status, attest, reason, text = _ask_to_sign(desk, SHOP, dest=dest)
    assert (status, attest, reason) == (200, "C", "EMERGENCY_CALL")
    assert "order" in text
    assert _decided(desk, SHOP) == (None, "ORDERED")
    mixed = {**dest, "tn": [*dest.get("tn", []), CALLEE]}
    assert _decided(desk, SHOP, dest=mixed) == (None, "ORDERED")
    told = _verify(desk, installation, SHOP, to=dest)
    assert (told["verstat"], told["labels"]) == (NONE, ["emergency-call"])
    assert "sipResponse" not in told


ELSEWHERE_THAN_TO = [
    {"tn": CALLEE},
    {"uri": f"sip:+{CALLEE}@b.example;user=phone"},
    {"uri": f"<sip:+{CALLEE}@b.example>"},
    {"tn": [CALLEE]},
    {"uri": "x:y"},  # what cannot be read may be anybody's
    {"uri": f"sip:{CALLEE[2:]};phone-context=+861@b.example"},
    {"uri": f"sip:+{CALLEE}99999@b.example"},
    {"uri": "sip:4711@b.example"},
]


def _unsigned(desk, orig, *, threegpp=False, **more):
    """What is answered of a call that goes on without a signature, whose display is somebody's."""
    members = {"attest": "A", "orig": {"tn": orig}, "iat": int(time.time()), **more}
    members |= {"requestId": "7"} if threegpp else {"origid": CENTRE_ORIGID}
    status, answer = desk.call(
        SIGNING, {"signingRequest": {"access": "call-centre-trunk"} | members}
    )
    assert status == 409, answer
    return answer


@pytest.mark.parametrize("target", ELSEWHERE_THAN_TO)
@pytest.mark.parametrize("dest", CALLED)
def test_who_writes_a_call_for_help_into_to_alone_gets_no_signature(desk, dest, target):
    for orig in (BANK, SHOP, "110"):
        told = _unsigned(desk, orig, dest=dest, requestUri=target)
        assert told["requestError"]["policyException"]["messageId"] == "POL4090"
        assert "goes on without a signature" in told["sentence"]
    told = _unsigned(desk, BANK, threegpp=True, dest=dest, requestUri=target)
    assert "goes on without a signature" in told["error"]
    # A call that goes where To says, however that is written, is one for help.
    for same in (
        dest,
        {"uri": "urn:service:sos"},
        {"uri": ""},
        {"tn": ""},
        {},
        {"uri": "sip:110@x"},
    ):
        one = {
            name: value[:1] if isinstance(value, list) else value for name, value in same.items()
        }
        one = {"tn": one["tn"]} if "tn" in one else one
        assert _decided(desk, BANK, dest=dest, requestUri=one) == ("C", "EMERGENCY_CALL"), one


@pytest.mark.parametrize("target", [{"tn": "110"}, {"uri": "urn:service:sos"}, {"uri": "tel:120"}])
def test_a_call_for_help_by_its_request_uri_alone_is_never_refused(desk, target):
    dest = {"tn": [CALLEE]}
    assert _decided(desk, SHOP, dest=dest, requestUri=target) == ("A", "HELD_AND_VERIFIED")
    assert _decided(desk, BANK, dest=dest) == (None, "DISPLAY_OF_ANOTHER")
    assert "goes on" in _unsigned(desk, BANK, dest=dest, requestUri=target)["sentence"]


@pytest.mark.parametrize("threegpp", [False, True])
def test_a_call_for_help_at_a_host_that_is_not_ours_is_never_refused(desk, threegpp):
    there = {"uri": "sip:110@x"}
    dest = {"uri": [there["uri"]]}
    for more in ({"dest": dest}, {"dest": {"tn": [CALLEE]}, "requestUri": there}):
        _unsigned(desk, BANK, threegpp=threegpp, **more)
        assert _decided(desk, SHOP, **more)[0] == "A"
    for more in ({"dest": dest, "requestUri": {"tn": CALLEE}}, {"dest": {"uri": ["sip:111@x"]}}):
        assert _decided(desk, BANK, **more) == (None, "DISPLAY_OF_ANOTHER")


@pytest.mark.parametrize("threegpp", [False, True])
@pytest.mark.parametrize(
    ("to", "dest", "rejected"),
    [
        ({"uri": "sip:110@x"}, None, False),
        ({"tn": CALLEE}, {"uri": "sip:110@x"}, False),
        ({"uri": "sip:110@x"}, {"tn": CALLEE}, True),
        ({"uri": "sip:111@x"}, None, True),
        ({"tn": CALLEE}, None, True),
    ],
)
def test_a_call_for_help_at_a_host_that_is_not_ours_is_not_rejected_when_it_is_verified(
    desk, to, dest, rejected, threegpp
):
    """As over SIP: what the verdict is stands in the answer, and nothing says to reject it."""
    members = {"from": {"tn": "110"}, "to": to, "time": int(time.time())}
    members |= {"requestId": "7", "identityHeaders": []} if threegpp else {}
    members |= {"dest": dest} if dest is not None else {}
    _, told = desk.call(VERIFICATION, {"verificationRequest": members})
    answer = told["verificationResponse"]
    assert (answer["reason"], "sipResponse" in answer) == ("EMERGENCY_SHOWN", rejected)


@pytest.mark.parametrize(
    "target", [{"tn": SHOP}, {"uri": "sip:alice@b.example"}, {"uri": "sip:12@x"}]
)
def test_a_request_uri_changes_nothing_about_other_calls(desk, target):
    assert _decided(desk, SHOP, requestUri=target) == ("A", "HELD_AND_VERIFIED")
    assert _decided(desk, BANK, requestUri=target) == (None, "DISPLAY_OF_ANOTHER")


@pytest.mark.parametrize("target", [{"tn": "0abc"}, {"uri": "x:y"}, {"tn": [SHOP, CALLEE]}])
def test_a_request_uri_that_is_none_is_named(desk, target):
    status, answer = desk.call(
        SIGNING,
        {
            "signingRequest": {
                "attest": "A", "orig": {"tn": SHOP}, "dest": {"tn": [CALLEE]},
                "iat": int(time.time()), "access": "call-centre-trunk", "requestUri": target,
            }
        },
    )  # fmt: skip
    assert status == 400
    assert answer["requestError"]["serviceException"]["variables"][0].startswith("requestUri")


def test_a_call_for_help_counts_against_nobody(desk):
    for display, _ in pool_calls():
        decided = _decided(
            desk, display, access="pool-trunk", origid=POOL_ORIGID, dest={"tn": ["110"]}
        )
        assert decided == ("A", "HELD_AND_VERIFIED")
    found = []
    for display, callee in pool_calls():
        to = {"tn": [callee]}
        found.append(_decided(desk, display, access="pool-trunk", origid=POOL_ORIGID, dest=to))
        nobody_answered(desk.service.keeper.conduct, TN(display), TN(callee), POOL)
    assert found[-1] == (None, "POOLED_DISPLAY")
    decided = _decided(desk, display, access="pool-trunk", origid=POOL_ORIGID, dest={"tn": ["110"]})
    assert decided == ("C", "EMERGENCY_CALL")


def test_a_call_for_help_is_verified_and_goes_on(desk, installation):
    """What the token is stands in the answer; who the caller is fails nothing."""
    to = {"tn": ["110"]}
    called = (TN("110"),)
    good = _verify(desk, installation, COURIER, _token(installation, TN(COURIER), called), to)
    assert (good["verstat"], good["labels"]) == (PASSED, ["emergency-call"])
    _order(desk, installation, TargetKind.NUMBER, COURIER, time.time_ns() // 1_000)
    _order(desk, installation, TargetKind.NUMBER, "8675511112222", time.time_ns() // 1_000)
    stopped = _verify(desk, installation, COURIER, _token(installation, TN(COURIER), called), to)
    assert (stopped["verstat"], stopped["labels"]) == (PASSED, ["emergency-call"])
    unsigned = _verify(desk, installation, "8675511112222", to=to)
    assert (unsigned["verstat"], unsigned["labels"]) == (NONE, ["emergency-call"])
    false = _verify(desk, installation, BANK, _token(installation, TN(BANK), called), to)
    assert (false["verstat"], false["reason"]) == (FAILED, "SPC_NOT_HOLDER")
    assert (false["labels"], "sipResponse" in false) == (["emergency-call"], False)
    revoked = _token(installation, TN(COURIER), called, spc=BANNED)
    assert _verify(desk, installation, COURIER, revoked, to)["labels"] == ["emergency-call"]
    for display, _ in pool_calls("8"):
        token = _token(installation, TN(display), called)
        told = _verify(desk, installation, display, token, to)
        assert (told["verstat"], told["labels"]) == (PASSED, ["emergency-call"])


def test_without_a_country_only_the_urn_is_a_call_for_help(desk_with):
    desk = desk_with(numbers={"country": None})
    assert _decided(desk, BANK, dest={"uri": ["urn:service:sos"]}) == ("C", "EMERGENCY_CALL")
    assert _decided(desk, BANK, dest={"tn": ["110"]}) == (None, "DISPLAY_OF_ANOTHER")
    assert _decided(desk, "110") == ("B", "DISPLAY_UNKNOWN")
    abroad = desk_with(numbers={"country": "US"})
    assert _decided(abroad, BANK, dest={"tn": ["911"]}) == ("C", "EMERGENCY_CALL")
    assert _decided(abroad, BANK, dest={"tn": ["110"]}) == (None, "DISPLAY_OF_ANOTHER")
    assert _decided(abroad, "911") == (None, "DO_NOT_ORIGINATE")


# China's privacy numbers -------------------------------------------------------------------------

BOUND = {
    "access": "platform-trunk",
    "origid": "f0000000-0000-4000-8000-000000000005",
    "caller": {"tn": RIDER},
}
WRITTEN = [PRIVACY, f"86{PRIVACY}", f"+86{PRIVACY}", f"0086{PRIVACY}"]
UNASSIGNED = "700999999990001"


def test_a_privacy_number_is_shown_by_a_live_binding_alone(desk):
    for orig in (*WRITTEN, *({"uri": f"sip:{one}@{HOSTS}"} for one in WRITTEN)):
        assert _decided(desk, orig, **BOUND) == ("A", "BOUND"), orig
        assert _decided(desk, orig, **{**BOUND, "caller": {"tn": BANK}}) == (None, "NOT_BOUND")
        assert _decided(desk, orig) == (None, "DISPLAY_OF_ANOTHER")
        assert _decided(desk, orig, access=None) == (None, "NOT_BOUND")
    assert _decided(desk, UNASSIGNED) == (None, "NOT_BOUND")
    assert _decided(desk, f"+86{UNASSIGNED}", access=None) == (None, "NOT_BOUND")


def test_held_as_one_s_own_it_needs_a_binding_all_the_same(desk_with, installation):
    held = Holding(
        numbers=TNRange(TN(UNASSIGNED), TN(UNASSIGNED)),
        subject="bank",
        verification=Verification.VERIFIED,
    )
    _record(installation, held)
    own = {"access": "bank-trunk", "origid": BANK_ORIGID}
    assert _decided(desk_with(), UNASSIGNED, **own) == (None, "NOT_BOUND")


def test_a_privacy_number_is_verified_by_whom_it_is_assigned_to(desk, installation):
    for orig in (*WRITTEN, {"uri": f"sip:86{PRIVACY}@{HOSTS}"}):
        told = _verify(desk, installation, orig, _token(installation, TN(PRIVACY), spc=NORTH))
        assert (told["verstat"], told["kind"]) == (PASSED, "privacy"), (orig, told)
        assert (told["labels"], "notes" in told) == (["privacy-number"], False)
    other = _verify(desk, installation, PRIVACY, _token(installation, TN(PRIVACY), spc=SOUTH))
    assert (other["verstat"], other["reason"]) == (FAILED, "SPC_NOT_HOLDER")
    assert other["kind"] == "privacy"
    for unsigned in (PRIVACY, UNASSIGNED, f"+86{UNASSIGNED}"):
        told = _verify(desk, installation, unsigned)
        assert (told["verstat"], told["reason"]) == (FAILED, "SIGNATURE_MISSING")
        assert told["kind"] == "privacy"
        assert "privacy number" in told["reasondesc"]
        junk = _verify(desk, installation, unsigned, "junk;info=<x>")
        assert junk["verstat"] == FAILED
    unknown = _verify(desk, installation, UNASSIGNED, _token(installation, TN(UNASSIGNED)))
    assert (unknown["verstat"], unknown["kind"]) == (PASSED, "privacy")
    assert unknown["notes"] == ["a privacy number: whom it is assigned to is not known here"]


def test_other_kinds_for_a_screen(desk, installation):
    told = _verify(desk, installation, "10657512345")
    assert (told["verstat"], told["kind"], "labels" in told) == (NONE, "messaging", False)
    assert "kind" not in _verify(desk, installation, BANK)
    number = desk.http("GET", "/v1/numbers/700100020000001").json()
    assert (number["kind"], number["holdings"][0]["subject"]) == ("privacy", "platform")
    assert desk.http("GET", f"/v1/numbers/86{PRIVACY}").json()["number"] == PRIVACY
    assert desk.http("GET", "/v1/numbers/106575123456789").json()["kind"] == "messaging"


@pytest.mark.parametrize("until", ["2026-01-01", "2099-01-01"])
def test_middle_numbers_elsewhere_follow_country_and_date(desk_with, installation, until):
    text = installation.config.read_text()
    rule = f'middle = [{{country = "CN", until = "{until}"}}]'
    installation.config.write_text(text.replace("[numbers]", f"[numbers]\n{rule}"))
    middle, direct = TN("8617000002001"), TN("8617000002009")
    verified = Verification.VERIFIED
    _record(
        installation,
        Holding(
            numbers=TNRange(middle, middle),
            subject="platform",
            verification=verified,
            use=Use.PRIVACY,
            spcs=(SOUTH,),
        ),
        Holding(numbers=TNRange(direct, direct), subject="platform", verification=verified),
        Binding(
            id="b",
            platform="platform",
            model=BindingModel.AXB,
            x=middle,
            a=TN(RIDER),
            since=1,
            b=TN(CALLEE),
        ),
    )
    desk = desk_with()
    over = until < "2027"
    expected = (None, "MIDDLE_NUMBER") if over else ("A", "BOUND")
    assert _decided(desk, middle, **BOUND) == expected
    assert _decided(desk, PRIVACY, **BOUND) == ("A", "BOUND")
    assert _decided(desk, direct, **BOUND) == ("A", "HELD_AND_VERIFIED")
    told = _verify(desk, installation, middle, _token(installation, middle))
    assert told["reason"] == ("MIDDLE_NUMBER" if over else "VERIFIED")
    told = _verify(desk, installation, middle)
    assert told["reason"] == ("MIDDLE_NUMBER" if over else "NO_IDENTITY")


# Who is withheld, and who names its access alone -------------------------------------------------


@pytest.mark.parametrize("withheld", ["anonymous", "Anonymous", "", " "])
def test_a_withheld_number(desk, installation, withheld):
    own = {"access": "bank-trunk", "origid": BANK_ORIGID}
    assert _decided(desk, withheld, **own) == ("C", "ANONYMOUS")
    assert _decided(desk, {"uri": "sip:anonymous@anonymous.invalid"}, **own) == ("C", "ANONYMOUS")
    assert _decided(desk, withheld, access=None) == ("C", "ACCESS_UNKNOWN")
    for asserted in (
        {"tn": [withheld, BANK]},
        {"tn": withheld, "uri": f"tel:+{BANK}"},
        {"tn": [withheld], "uri": [f"sip:+{BANK}@{HOSTS}"]},
    ):
        assert _decided(desk, asserted, **own) == ("A", "HELD_AND_VERIFIED")
        assert _decided(desk, asserted) == (None, "DISPLAY_OF_ANOTHER")
    assert _decided(desk, withheld, **own, caller={"tn": BANK}) == ("A", "HELD_AND_VERIFIED")
    assert _decided(desk, withheld, caller={"tn": BANK}) == (None, "DISPLAY_OF_ANOTHER")
    told = _verify(desk, installation, withheld)
    assert (told["verstat"], told["reasoncode"]) == (NONE, 428)
    token = _token(installation, URI("sip:anonymous@anonymous.invalid"))
    assert _verify(desk, installation, withheld, token)["verstat"] == PASSED
    told = _verify(desk, installation, withheld, _token(installation, TN(COURIER)))
    assert told["reason"] == "ORIG_MISMATCH"
    assert _ask_to_sign(desk, BANK, dest={"tn": [withheld]})[0] == 400


@pytest.mark.parametrize("dialect", ["auto", "atis", "3gpp"])
def test_an_access_by_itself_is_enough(desk_with, dialect):
    desk = desk_with(server={"dialect": dialect})
    members = {
        "attest": "A",
        "orig": {"tn": BANK},
        "dest": {"tn": [CALLEE]},
        "iat": int(time.time()),
    }
    for name in ("access", "profileId"):
        asked = {"signingRequest": {**members, name: "bank-trunk"}}
        status, answer = desk.call(SIGNING, asked)
        assert (status, answer["signingResponse"]["attest"]) == (200, "A"), answer
    status, _ = desk.call(SIGNING, {"signingRequest": members})
    assert status == (200 if dialect == "3gpp" else 400)


def test_numbers_of_sixteen_digits_where_a_setting_permits_them(desk_with, installation):
    long = "5511" + "0" * 11 + "7"
    strict = desk_with()
    assert _ask_to_sign(strict, BANK, dest={"tn": [f"+{long}"]})[0] == 400
    desk = desk_with(numbers={"country": "CN", "sixteen_digits": ("BR",)})
    own = {"access": "bank-trunk", "origid": BANK_ORIGID}
    assert _decided(desk, BANK, **own, dest={"tn": [f"+{long}"]}) == ("A", "HELD_AND_VERIFIED")
    token = _token(installation, TN(COURIER), (TN.long(long),))
    to = {"tn": [f"+{long}"]}
    assert _verify(desk, installation, COURIER, token, to)["verstat"] == PASSED
    shown = _token(installation, TN.long(long))
    assert _verify(desk, installation, f"+{long}", shown)["verstat"] == PASSED
    assert _decided(desk, f"+{long}", **own) == ("B", "DISPLAY_UNKNOWN")


# What only a call for help may, and what a short number may not ------------------------------

UNREADABLE = [
    {"tn": "00"},
    {"tn": "Restricted"},
    {"tn": "1234567890123456"},
    {"tn": [BANK, SHOP]},
    {"uri": "sip:0123456@pbx.example"},
    {"uri": "tel:123;phone-context=+86755"},
    {"uri": "urn:service:sos"},
    {"uri": "urn:x:8675588880001"},
    {"uri": f"sip:;{BANK}@pbx.example"},
]


@pytest.mark.parametrize("dest", [{"tn": ["110"]}, {"uri": ["urn:service:sos"]}])
def test_a_call_for_help_goes_on_whatever_calls(desk, installation, dest):
    nobody = _token(installation, ANONYMOUS, (TN("110"),))
    for orig in UNREADABLE:
        assert _ask_to_sign(desk, orig)[0] == 400, orig
        status, *decided, text = _ask_to_sign(desk, orig, dest=dest)
        assert (status, *decided) == (200, "C", "EMERGENCY_CALL"), orig
        assert "could not be read" in text
        for identity in (None, nobody):
            told = _verify(desk, installation, orig, identity, dest)
            assert (told["verstat"], told["labels"]) == (NONE, ["emergency-call"]), orig
    mixed = {"tn": ["110", CALLEE]}
    assert _ask_to_sign(desk, UNREADABLE[0], dest=mixed)[0] == 400


def test_without_a_country_a_national_caller_may_call_for_help(desk_with):
    desk = desk_with(numbers={"country": None})
    decided = _ask_to_sign(desk, NATIONAL[0], dest={"uri": ["urn:service:sos"]})
    assert decided[:3] == (200, "C", "EMERGENCY_CALL")


@pytest.mark.parametrize("x5u", ["https://10.0.0.1/x", "http://evil.example/x.pem"])
@pytest.mark.parametrize("age", [0, 3000])
def test_a_privacy_number_fails_with_a_header_of_the_callers_own_making(
    desk, installation, x5u, age
):
    made = PASSporT(
        Header(x5u, "shaken"),
        TN(PRIVACY),
        Destination(CALLED_TN),
        int(time.time()) - age,
        Shaken(Attestation("A"), ELSEWHERE),
    )
    header, payload = b64url_encode(made.header.dumps()), b64url_encode(made.payload())
    token = Token(header, payload, b64url_encode(b"x" * 64))
    identity = IdentityHeader(token, x5u, "ES256", "shaken").dumps()
    told = _verify(desk, installation, PRIVACY, identity)
    assert (told["verstat"], told["reason"]) == (FAILED, "SIGNATURE_MISSING")


def test_a_number_of_a_carrier_that_signs_fails_with_an_x5u_that_may_not_be(
    desk_with, installation
):
    rule = Unsigned(country="CN", action="fail")
    desk = desk_with(verifier={"unsigned": (rule,)})
    for x5u, verstat in (
        ("http://evil.example/x.pem", FAILED),
        (f"http://127.0.0.1:9/{SOUTH}", NONE),
    ):
        made = PASSporT(
            Header(x5u, "shaken"),
            TN(COURIER),
            Destination(CALLED_TN),
            int(time.time()) - (0 if verstat is FAILED else 3000),
            Shaken(Attestation("A"), ELSEWHERE),
        )
        header, payload = b64url_encode(made.header.dumps()), b64url_encode(made.payload())
        token = Token(header, payload, b64url_encode(b"x" * 64))
        identity = IdentityHeader(token, x5u, "ES256", "shaken").dumps()
        assert _verify(desk, installation, COURIER, identity)["verstat"] == verstat


@pytest.mark.parametrize("mark", ["{}#", "*{}", "#{}*", "{}**"])
def test_what_is_dialled_beside_a_number_makes_no_other_of_it(desk, installation, mark):
    expected = {BANK: "DISPLAY_OF_ANOTHER", "110": "DO_NOT_ORIGINATE", "10086": "DO_NOT_ORIGINATE"}
    for number, reason in expected.items():
        written = mark.format(number)
        assert _decided(desk, written) == (None, reason), written
        uri = f"sip:{written.replace('#', '%23')}@192.0.2.9"
        assert _decided(desk, {"uri": uri}) == (None, reason), uri
    told = _verify(desk, installation, mark.format("110"), _token(installation, TN("110#")))
    assert told["verstat"] == FAILED
    assert _decided(desk, "8675*588880001") == ("C", "DISPLAY_UNKNOWN")


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("075512345", "8675512345"),
        ("0755-12345", "8675512345"),
        ("0755110", "110"),
        ("010110", "110"),
        ("+86755110", "110"),
        ("+86 (0)10 110", "110"),
        ("008610110", "110"),
        ("0086110", "110"),
        ("008610086", "10086"),
        ("0755-10086", "10086"),
        ("8675510086", "10086"),
        ("0086-95588", "95588"),
        ("010-95588", "95588"),
        ("+86 755 955888", "955888"),
    ],
)
def test_a_short_number_behind_an_area_code_is_read(desk, installation, written, number):
    assert desk.service.reading.number(written) == number
    status, _, *told = _ask_to_sign(desk, written)
    assert (status, told[0]) != (400, "orig.tn")
    assert _verify(desk, installation, written)["verstat"] in (NONE, FAILED)
    if number in ("110", "10086"):
        assert _decided(desk, written) == (None, "DO_NOT_ORIGINATE")
    if number == "110":
        assert _decided(desk, BANK, dest={"tn": [written]}) == ("C", "EMERGENCY_CALL")


@pytest.mark.parametrize("spelling", ["+86755{}", "86755{}", "0755{}", "sip:+86755{}@x.example"])
def test_no_area_code_hides_a_number_that_never_calls(desk, installation, spelling):
    written = spelling.format(HOTLINE)
    orig = {"uri" if ":" in written else "tn": written}
    assert _decided(desk, orig) == (None, "DO_NOT_ORIGINATE")
    token = _token(installation, TN(f"86755{HOTLINE}"))
    assert _verify(desk, installation, HOTLINE, token)["reason"] == "SPC_NOT_HOLDER"


@pytest.mark.parametrize(
    ("country", "shown"),
    [
        ("US", "+1911"),
        ("US", "1 212 911"),
        ("GB", "+44 999"),
        ("GB", "0044999"),
        ("DE", "+49110"),
        ("FR", "3317"),
        ("AU", "+61000"),
        ("JP", "+81 3 119"),
        ("HK", "tel:+852-999"),
        ("IN", "sip:+91112@x.example;user=phone"),
    ],
)
def test_no_country_code_hides_an_emergency_number(desk_with, country, shown):
    desk = desk_with(numbers={"country": country})
    member = "uri" if ":" in shown else "tn"
    assert _decided(desk, {member: shown}) == (None, "DO_NOT_ORIGINATE")
    assert _decided(desk, f"+{BANK}", dest={member: [shown]}) == ("C", "EMERGENCY_CALL")


def test_lines_of_three_digits_are_no_emergency_numbers(desk_with):
    desk = desk_with(numbers={"country": "DE"})
    assert _decided(desk, "+4930110") == ("B", "DISPLAY_UNKNOWN")


@pytest.mark.parametrize(
    ("kind", "target", "shown"),
    [
        (TargetKind.NUMBER, "8695533", "95533"),
        (TargetKind.NUMBER, "+86 95533", "95533"),
        (TargetKind.NUMBER, "8675595533", "95533"),
        (TargetKind.NUMBER, "+86700100020000009", "700100020000009"),
        (TargetKind.RANGE, "8695530-8695539", "95533"),
        (TargetKind.RANGE, "8675595530-8675595539", "95533"),
    ],
)
def test_an_order_stops_a_national_number_with_its_country_code(
    desk, installation, kind, target, shown
):
    _order(desk, installation, kind, target, 1)
    for written in (shown, f"+86{shown}", f"86{shown}"):
        assert _decided(desk, written) == (None, "ORDERED"), written
        assert _verify(desk, installation, written)["verstat"] == FAILED, written
    other = f"{shown[:-4]}6{shown[-3:]}" if len(shown) > 5 else "95566"
    told = _verify(desk, installation, other)
    assert told["reason"] in ("NO_IDENTITY", "SIGNATURE_MISSING")


def test_a_token_may_write_an_address_differently(desk, installation):
    token = _token(installation, URI("sip:Alice@X.example:5060;transport=udp"))
    told = _verify(desk, installation, {"uri": "sip:alice@x.example"}, token)
    assert told["verstat"] == PASSED
    told = _verify(desk, installation, {"uri": "sips:alice@x.example"}, token)
    assert told["reason"] == "ORIG_MISMATCH"


@pytest.mark.parametrize("uri", ["sip:anonymous@192.0.2.1", "sip:Anonymous@pbx.example"])
def test_who_is_withheld_gets_c_at_any_host(desk, uri):
    assert _decided(desk, {"uri": uri}) == ("C", "ANONYMOUS")
