"""The redress contact: jCard and JWS by the letter of RFC 8688, and when it is given."""

from __future__ import annotations

import jwt
import msgspec
import pytest
from simulator import NOW
from verification import Case

from zhenxian.certs.keys import Credential
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason, SipStatus, Verstat
from zhenxian.verifier.redress import Contact, Rejection, call_info, sign_contact
from zhenxian.verifier.verdict import Check, Refusal, Result, Verdict

FULL = Contact(
    organisation="北方电信 拦截申诉",
    phone="+861066000000",
    email="redress@north.example",
    url="https://north.example/blocked",
    address="北京市西城区 1 号",
    language="zh-Hans",
)
VALUE = "<https://north.example/c.jws>;purpose=jwscard"


@pytest.fixture(scope="module")
def credential():
    carrier = Case().carrier
    return Credential(
        key=carrier.key,
        chain=carrier.chain,
        chain_pem=b"",
        spc="1234",
        x5u=carrier.x5u,
        not_after=NOW + 3600,
    )


def _properties(contact):
    kind, properties = contact.jcard()
    assert kind == "vcard"
    return {name: (parameters, type_, value) for name, parameters, type_, value in properties}


def test_a_full_contact_is_a_jcard():
    kind, properties = FULL.jcard()
    assert kind == "vcard"
    assert properties[0] == ["version", {}, "text", "4.0"]  # RFC 7095 section 3.2: the first
    assert all(len(entry) == 4 for entry in properties)
    assert _properties(FULL) == {
        "version": ({}, "text", "4.0"),
        "kind": ({}, "text", "org"),
        "fn": ({"language": "zh-Hans"}, "text", FULL.organisation),
        "org": ({"language": "zh-Hans"}, "text", FULL.organisation),
        "tel": ({"type": ["work", "voice"]}, "uri", "tel:+861066000000"),
        "email": ({"type": "work"}, "text", "redress@north.example"),
        "url": ({"type": "work"}, "uri", "https://north.example/blocked"),
        "adr": ({"label": FULL.address}, "text", [""] * 7),
        "lang": ({}, "language-tag", "zh-Hans"),
    }


@pytest.mark.parametrize(
    ("way", "name"),
    [("phone", "tel"), ("email", "email"), ("url", "url"), ("address", "adr")],
)
def test_one_way_to_be_reached_is_enough(way, name):
    properties = _properties(Contact(organisation="North", **{way: getattr(FULL, way)}))
    assert properties.keys() == {"version", "kind", "fn", "org", name}
    assert properties["fn"] == ({}, "text", "North")


@pytest.mark.parametrize(
    "members", [{"organisation": "North"}, {"organisation": "", "phone": "+861066000000"}]
)
def test_a_contact_without_name_or_way_is_none(members):
    with pytest.raises(ConfigError, match="a redress contact has"):
        Contact(**members)


def test_the_jws_verifies_with_the_key_of_the_certificate(credential):
    jws = sign_contact(FULL, credential, NOW).decode()
    assert jwt.get_unverified_header(jws) == {
        "alg": "ES256",
        "typ": "vcard+json",
        "x5u": credential.x5u,
    }
    leaf = credential.chain.certificates[0]
    claims = jwt.decode(jws, leaf.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims == {"iat": NOW, "jcard": FULL.jcard()}
    other = Case().carrier.key
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(jws, other.verifying_key.public_pem, algorithms=["ES256"])


def test_the_largest_contact_makes_a_small_jws(credential):
    text = "号" * 200
    contact = Contact(
        organisation=text,
        phone="+861066000000",
        email="a@" + "b" * 196 + ".c",
        url="https://" + text,
        address=text,
    )
    jws = sign_contact(contact, credential, NOW)
    assert len(jws) < 8192
    assert msgspec.json.decode(msgspec.json.encode(contact.jcard())) == contact.jcard()


def test_call_info_is_a_header_field_value():
    assert call_info("https://north.example/c.jws") == VALUE


def _verdict(reason, passed):
    refusal = Refusal(Check.HOLDER, reason, reason.text)
    result = Result("shaken", "a..b;info=<x>", passed, refusal)
    return Verdict(reason.verstat, reason, reason.text, (result,), result)


GENUINE = tuple(Check)[: tuple(Check).index(Check.REPLAY)]


@pytest.mark.parametrize(
    ("rejection", "status", "given"),
    [
        (Rejection(), SipStatus.DECLINE, None),
        (Rejection(SipStatus.UNWANTED), SipStatus.UNWANTED, None),
        (Rejection(SipStatus.UNWANTED, VALUE), SipStatus.UNWANTED, None),
        (Rejection(SipStatus.REJECTED, VALUE), SipStatus.REJECTED, VALUE),
    ],
)
def test_only_608_is_changed_and_only_it_has_a_contact(rejection, status, given):
    assert rejection.of(SipStatus.REJECTED) is status
    for sip in SipStatus:
        if sip is not SipStatus.REJECTED:
            assert rejection.of(sip) is sip
    assert rejection.contact_for(_verdict(Reason.DISPLAY_POOLED, GENUINE)) == given
    assert rejection.contact_for(_verdict(Reason.REPLAYED, GENUINE)) is None
    passed = Verdict(Verstat.PASSED, Reason.VERIFIED, "")
    assert rejection.contact_for(passed) is None


@pytest.mark.parametrize(
    ("rejection", "genuine", "status", "spoken"),
    [
        (Rejection(), True, SipStatus.DECLINE, (SipStatus.DECLINE, None)),
        (Rejection(SipStatus.REJECTED, VALUE), True, SipStatus.REJECTED,
         (SipStatus.REJECTED, VALUE)),
        (Rejection(SipStatus.REJECTED, VALUE), False, SipStatus.DECLINE,
         (SipStatus.DECLINE, None)),
    ],
)  # fmt: skip
def test_608_goes_with_its_contact_or_not_at_all(rejection, genuine, status, spoken):
    verdict = _verdict(Reason.DISPLAY_POOLED, GENUINE if genuine else ())
    assert rejection.status_for(verdict) is status
    assert rejection.answer(verdict) == spoken
    refused = _verdict(Reason.CALLEE_REFUSES, GENUINE)  # 607 where the callee said it
    assert rejection.answer(refused) == (SipStatus.UNWANTED, None)


def test_who_did_not_sign_is_told_no_contact():
    rejection = Rejection(SipStatus.REJECTED, VALUE)
    unsigned = Verdict(Verstat.FAILED, Reason.DISPLAY_POOLED, "")
    assert rejection.contact_for(unsigned) is None
    forged = tuple(check for check in GENUINE if check is not Check.SIGNATURE)
    assert rejection.contact_for(_verdict(Reason.DISPLAY_POOLED, forged)) is None
