"""Request bodies: what is read, and what every kind of bad input gets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.api.calls.errors import SPOKEN
from zhenxian.api.calls.requests import Dialect, RequestError, read_signing, read_verification
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import Destination
from zhenxian.passport.ppt.shaken import Attestation

NOW = 1_795_500_000
SIGN = {
    "attest": "A",
    "orig": {"tn": "12155550100"},
    "dest": {"tn": ["12155550113"]},
    "iat": NOW,
    "origid": "123e4567-e89b-12d3-a456-426655440000",
}
VERIFY = {
    "from": {"tn": "12155550100"},
    "to": {"tn": ["12155550113"]},
    "time": NOW,
    "identity": "token;info=<https://cert.example.org/x.pem>",
}


def sign(body, configured=None, country=None):
    data = body if isinstance(body, bytes) else json.dumps({"signingRequest": body}).encode()
    reading = Reading(country=country)
    return read_signing(data, configured=configured, reading=reading)


def verify(body, configured=None, country=None):
    data = body if isinstance(body, bytes) else json.dumps({"verificationRequest": body}).encode()
    return read_verification(data, configured=configured, reading=Reading(country=country))


def test_atis_signing():
    request, echo = sign(SIGN)
    assert request.orig == TN("12155550100")
    assert request.dest == Destination((TN("12155550113"),))
    assert (request.attest, request.iat, request.origid) == (
        Attestation.A,
        NOW,
        SIGN["origid"],
    )
    assert echo.dialect is Dialect.ATIS


def test_an_sbc_that_names_ppt_is_still_atis():
    assert sign(SIGN | {"ppt": "shaken"})[1].dialect is Dialect.ATIS


def test_3gpp_signing_is_told_by_its_members_or_by_configuration():
    body = {k: v for k, v in SIGN.items() if k not in ("attest", "origid")}
    request, echo = sign(body | {"requestId": "7", "profileId": "trunk-7"})
    assert (echo.dialect, echo.request_id) == (Dialect.THREEGPP, "7")
    assert (request.attest, request.origid, request.access) == (None, None, "trunk-7")
    assert sign(body, Dialect.THREEGPP)[1].dialect is Dialect.THREEGPP
    with pytest.raises(RequestError):
        sign(body)


def test_destinations_are_put_in_order():
    request, _ = sign(SIGN | {"dest": {"tn": ["2", "1"], "uri": ["sip:b@x", "sip:a@x"]}})
    assert request.dest == Destination((TN("1"), TN("2")), (URI("sip:a@x"), URI("sip:b@x")))


def test_national_numbers_with_a_country():
    request, _ = sign(SIGN | {"orig": {"tn": "0755 8888 0001"}}, country="CN")
    assert request.orig == TN("8675588880001")
    request, _ = verify(VERIFY | {"from": {"uri": "tel:+1-215-555-0100"}})
    assert request.orig == TN("12155550100")


@pytest.mark.parametrize(
    ("change", "reason", "names"),
    [
        ({"attest": None}, Reason.PARAMETER_MISSING, "attest"),
        ({"origid": None}, Reason.PARAMETER_MISSING, "origid"),
        ({"iat": None}, Reason.PARAMETER_MISSING, "iat"),
        ({"attest": "D"}, Reason.PARAMETER_INVALID, "attest"),
        ({"attest": 1}, Reason.PARAMETER_INVALID, "attest"),
        ({"origid": ""}, Reason.PARAMETER_INVALID, "origid"),
        ({"origid": "x" * 200}, Reason.PARAMETER_INVALID, "origid"),
        ({"iat": str(NOW)}, Reason.PARAMETER_INVALID, "iat"),
        ({"iat": NOW + 0.5}, Reason.PARAMETER_INVALID, "iat"),
        ({"iat": -1}, Reason.PARAMETER_INVALID, "iat"),
        ({"iat": True}, Reason.PARAMETER_INVALID, "iat"),
        ({"orig": {"tn": "12x"}}, Reason.PARAMETER_INVALID, "orig.tn"),
        ({"orig": {"tn": "1" * 16}}, Reason.PARAMETER_INVALID, "orig.tn"),
        ({"orig": {}}, Reason.PARAMETER_MISSING, "orig.tn"),
        ({"orig": {"tn": "1", "uri": "sip:a@b"}}, Reason.PARAMETER_INVALID, "orig"),
        ({"orig": {"tn": ["1", "2"]}}, Reason.PARAMETER_INVALID, "orig"),
        ({"orig": "1"}, Reason.PARAMETER_INVALID, "orig"),
        ({"dest": {"tn": []}}, Reason.PARAMETER_MISSING, "dest.tn"),
        ({"dest": {"tn": [1]}}, Reason.PARAMETER_INVALID, "tn"),
        ({"dest": {"uri": ["mailto:x"]}}, Reason.PARAMETER_INVALID, "dest.uri"),
        ({"colour": "red"}, Reason.PARAMETER_INVALID, "colour"),
        ({"orig": {"tn": "1", "x": 1}}, Reason.PARAMETER_INVALID, "x"),
        ({"ppt": "rcd"}, Reason.PARAMETER_INVALID, "ppt"),
        ({"div": {"tn": "1"}}, Reason.PARAMETER_INVALID, "ppt"),
    ],
)
def test_bad_signing_members_are_named(change, reason, names):
    body = {k: v for k, v in (SIGN | change).items() if v is not None}
    with pytest.raises(RequestError) as caught:
        sign(body)
    assert caught.value.reason is reason
    assert caught.value.variables[0] == names or names in caught.value.variables[0]
    assert "%1" not in str(caught.value)


@pytest.mark.parametrize("missing", ["orig", "dest"])
def test_missing_objects_are_named(missing):
    with pytest.raises(RequestError) as caught:
        sign({k: v for k, v in SIGN.items() if k != missing})
    assert (caught.value.reason, caught.value.variables) == (Reason.PARAMETER_MISSING, (missing,))


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"x"', b"{}", b'{"signingRequest":null}', b"\xff", b"[" * 100_000],
)
@pytest.mark.parametrize("read", [sign, verify])
def test_bodies_that_are_not_requests(read, data):
    with pytest.raises(RequestError) as caught:
        read(data)
    assert SPOKEN[caught.value.reason].status == 400


def test_health_request_of_an_sbc_is_not_an_error():
    request, echo = verify({k: v for k, v in VERIFY.items() if k != "identity"})
    assert request.identities == ()
    assert echo.dialect is Dialect.ATIS
    assert verify(VERIFY | {"identity": ""})[0].identities == ()


def test_3gpp_verification():
    body = {k: v for k, v in VERIFY.items() if k != "identity"}
    body |= {
        "to": {"tn": "12155550113"},
        "identityHeader": "a;info=<b>",
        "identityHeaders": ["c;info=<d>"],
        "requestId": "45690",
        "displayName": "James Smith",
        "dest": {"tn": "12155550113"},
        "protectedHeaders": ["Resource-Priority: esnet.0"],
    }
    request, echo = verify(body)
    assert request.identities == ("a;info=<b>", "c;info=<d>")
    assert (echo.dialect, echo.request_id, echo.display_name) == (
        Dialect.THREEGPP,
        "45690",
        "James Smith",
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"time": "now"}, "time"),
        ({"time": -1}, "time"),
        ({"from": None}, "from"),
        ({"to": None}, "to"),
        ({"to": {"tn": ["x"]}}, "to.tn"),
        ({"identity": 7}, "identity"),
        ({"callId": ""}, "callId"),
        ({"whatever": 1}, "whatever"),
    ],
)
def test_bad_verification_members_are_named(change, names):
    with pytest.raises(RequestError) as caught:
        verify({k: v for k, v in (VERIFY | change).items() if v is not None})
    assert caught.value.variables[0] == names


@given(st.binary(max_size=300))
def test_any_bytes_give_a_request_or_our_error(data):
    for read in (sign, verify):
        try:
            read(data)
        except RequestError as error:
            assert SPOKEN[error.reason].status == 400


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SIGN, *VERIFY, "tn", "uri", "x"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(list(SIGN)), st.sampled_from(list(VERIFY)))
def test_any_json_gives_a_request_or_our_error(value, sign_member, verify_member):
    for read, good, member in ((sign, SIGN, sign_member), (verify, VERIFY, verify_member)):
        for body in (value, good | {member: value}):
            try:
                read(body)
            except RequestError as error:
                assert SPOKEN[error.reason].status == 400
                assert "%" not in str(error) or "%" in json.dumps(body)
