"""Header and claims: octets to value, octets to reason."""

import json
import tracemalloc

import pytest

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport import ppt
from zhenxian.passport.claims import (
    MAX_DESTINATIONS,
    MAX_IAT,
    Destination,
    Header,
    MediaKey,
    PASSporT,
    parse_header,
    parse_header_segment,
    parse_payload,
)
from zhenxian.passport.jws import b64url_encode
from zhenxian.passport.ppt.shaken import MAX_CRN_LENGTH, MAX_ORIGID_LENGTH, Attestation, Shaken

X5U = "https://cert.example.org/passport.cer"
HEADER = {"alg": "ES256", "ppt": "shaken", "typ": "passport", "x5u": X5U}
CLAIMS = {
    "attest": "A",
    "dest": {"tn": ["12155550131"]},
    "iat": 1443208345,
    "orig": {"tn": "12155550121"},
    "origid": "123e4567-e89b-12d3-a456-426655440000",
}
BASE = {name: CLAIMS[name] for name in ("dest", "iat", "orig")}
SHAKEN = Header(X5U, "shaken")
VALUE = PASSporT(
    SHAKEN,
    TN("12155550121"),
    Destination((TN("12155550131"),)),
    1443208345,
    Shaken(Attestation.A, CLAIMS["origid"]),
)


def written(value, **how):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, **how).encode()


def reason_of(parse, *arguments):
    with pytest.raises(ParseError) as refused:
        parse(*arguments)
    assert len(str(refused.value)) < 300
    return refused.value


@pytest.mark.parametrize(
    ("members", "header"),
    [
        (HEADER, SHAKEN),
        ({"typ": "passport", "alg": "ES256", "x5u": X5U}, Header(X5U)),
        (
            HEADER | {"kid": "1", "a": [1, {"b": None}]},
            Header(X5U, "shaken", (("a", [1, {"b": None}]), ("kid", "1"))),
        ),
        (HEADER | {"ppt": "div"}, Header(X5U, "div")),
        (HEADER | {"x5u": ""}, Header("", "shaken")),
    ],
)
def test_header_both_ways(members, header):
    assert parse_header(written(members)) == header
    assert parse_header(json.dumps(members, indent=2).encode()) == header
    assert header.dumps() == written(members, sort_keys=True)
    assert parse_header(header.dumps()) == header
    assert parse_header_segment(b64url_encode(header.dumps())) == header


@pytest.mark.parametrize(
    ("change", "reason", "where"),
    [
        ({"typ": None}, Reason.HEADER_MEMBER_INVALID, "header.typ"),
        ({"typ": "JWT"}, Reason.TYP_UNSUPPORTED, "header.typ"),
        ({"typ": "PASSPORT"}, Reason.TYP_UNSUPPORTED, "header.typ"),
        ({"alg": "none"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "None"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "HS256"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "ES384"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "ES256K"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "es256"}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": "ES256 "}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": ""}, Reason.ALG_UNSUPPORTED, "header.alg"),
        ({"alg": ["ES256"]}, Reason.HEADER_MEMBER_INVALID, "header.alg"),
        ({"alg": 1}, Reason.HEADER_MEMBER_INVALID, "header.alg"),
        ({"x5u": 1}, Reason.HEADER_MEMBER_INVALID, "header.x5u"),
        ({"ppt": 1}, Reason.HEADER_MEMBER_INVALID, "header.ppt"),
        ({"ppt": None}, Reason.HEADER_MEMBER_INVALID, "header.ppt"),
        ({"crit": ["b64"], "b64": False}, Reason.CRIT_UNSUPPORTED, "header.crit"),
        ({"crit": []}, Reason.CRIT_UNSUPPORTED, "header.crit"),
        ({"crit": None}, Reason.CRIT_UNSUPPORTED, "header.crit"),
    ],
)
def test_header_refusals(change, reason, where):
    error = reason_of(parse_header, written(HEADER | change))
    assert (error.reason, error.where) == (reason, where)


@pytest.mark.parametrize("name", ["typ", "alg", "x5u"])
def test_header_members_are_mandatory(name):
    members = {key: value for key, value in HEADER.items() if key != name}
    error = reason_of(parse_header, written(members))
    assert (error.reason, error.where) == (Reason.HEADER_MEMBER_MISSING, f"header.{name}")


def test_header_stands_once():
    data = written(HEADER)
    doubled = data[:-1] + b',"alg":"none"}'
    assert reason_of(parse_header, doubled).reason is Reason.JSON_DUPLICATE_KEY
    assert reason_of(parse_header, data + data).reason is Reason.JSON_SYNTAX
    assert reason_of(parse_header_segment, b64url_encode(data) + b"=").reason is Reason.TOKEN_BASE64


@pytest.mark.parametrize(
    ("header", "claims", "value"),
    [
        (SHAKEN, CLAIMS, VALUE),
        (Header(X5U), BASE, PASSporT(Header(X5U), VALUE.orig, VALUE.dest, VALUE.iat)),
        (
            Header(X5U),
            CLAIMS,  # baseline owns no attest: kept, not believed
            PASSporT(
                Header(X5U),
                VALUE.orig,
                VALUE.dest,
                VALUE.iat,
                extra=(("attest", "A"), ("origid", CLAIMS["origid"])),
            ),
        ),
        (
            Header(X5U),
            {
                "dest": {"tn": ["#06#", "110"], "uri": ["sip:a@b", "urn:service:sos"]},
                "iat": 0,
                "orig": {"uri": "sip:alice@example.com"},
            },
            PASSporT(
                Header(X5U),
                URI("sip:alice@example.com"),
                Destination((TN("110"), TN("#06#")), (URI("urn:service:sos"), URI("sip:a@b"))),
                0,
            ),
        ),
        (
            SHAKEN,
            CLAIMS | {"rcd": {"nam": "真显", "x": [1.5, None]}, "iat": MAX_IAT, "aaa": False},
            PASSporT(
                SHAKEN,
                VALUE.orig,
                VALUE.dest,
                MAX_IAT,
                VALUE.extension,
                extra=(("aaa", False), ("rcd", {"nam": "真显", "x": [1.5, None]})),
            ),
        ),
        (
            SHAKEN,
            CLAIMS | {"mky": [{"alg": "sha-256", "dig": "02AB"}, {"alg": "sha-256", "dig": "4A"}]},
            PASSporT(
                SHAKEN,
                VALUE.orig,
                VALUE.dest,
                VALUE.iat,
                VALUE.extension,
                mky=(MediaKey("sha-256", "4A"), MediaKey("sha-256", "02AB")),
            ),
        ),
        # by the octets of alg followed by dig, not by alg first
        (
            SHAKEN,
            CLAIMS | {"mky": [{"alg": "sha", "dig": "0A"}, {"alg": "sha-256", "dig": "4A"}][::-1]},
            PASSporT(
                SHAKEN,
                VALUE.orig,
                VALUE.dest,
                VALUE.iat,
                VALUE.extension,
                mky=(MediaKey("sha", "0A"), MediaKey("sha-256", "4A")),
            ),
        ),
        (
            SHAKEN,
            CLAIMS | {"dest": {"tn": ["1"] * MAX_DESTINATIONS}, "origid": "x" * MAX_ORIGID_LENGTH},
            PASSporT(
                SHAKEN,
                VALUE.orig,
                Destination((TN("1"),) * MAX_DESTINATIONS),
                VALUE.iat,
                Shaken(Attestation.A, "x" * MAX_ORIGID_LENGTH),
            ),
        ),
    ],
)
def test_payload_both_ways(header, claims, value):
    assert parse_payload(header, written(claims)) == value
    assert parse_payload(header, written(claims, sort_keys=True)) == value
    assert parse_payload(header, json.dumps(dict(reversed(claims.items()))).encode()) == value
    assert value.payload() == written(claims, sort_keys=True)
    assert parse_payload(header, value.payload()) == value
    assert json.loads(json.dumps(value.claims())) == claims


def test_destinations_have_no_order():
    one = Destination((TN("2"), TN("1")), (URI("sip:b@h"), URI("sip:a@h")))
    other = Destination((TN("1"), TN("2")), (URI("sip:a@h"), URI("sip:b@h")))
    assert one == other
    assert TN("2") in one
    assert URI("sip:a@h") in one
    assert TN("3") not in one
    assert URI("sip:1@h") not in one
    received = written(CLAIMS | {"dest": {"tn": ["2", "1"]}})
    assert parse_payload(SHAKEN, received).dest.tn == (TN("1"), TN("2"))


def test_a_destination_names_somebody():
    assert reason_of(Destination).reason is Reason.CLAIM_INVALID


@pytest.mark.parametrize("name", ["dest", "iat", "orig", "attest", "origid"])
def test_claims_are_mandatory(name):
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    error = reason_of(parse_payload, SHAKEN, written(claims))
    assert (error.reason, error.where) == (Reason.CLAIM_MISSING, f"payload.{name}")


@pytest.mark.parametrize(
    ("change", "reason", "where"),
    [
        ({"iat": "1443208345"}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": -0.5}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": MAX_IAT + 1.0}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": 1443208345000.0}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": True}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": None}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": [1]}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": -1}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": MAX_IAT + 1}, Reason.CLAIM_INVALID, "payload.iat"),
        ({"iat": 10**18}, Reason.JSON_SYNTAX, "payload"),
        ({"iat": 1443208345000}, Reason.CLAIM_INVALID, "payload.iat"),  # milliseconds
        ({"orig": "12155550121"}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": {}}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": []}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": None}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": {"tn": "1", "uri": "sip:a@b"}}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": {"tel": "1"}}, Reason.CLAIM_INVALID, "payload.orig"),
        ({"orig": {"tn": ["1"]}}, Reason.CLAIM_INVALID, "payload.orig.tn"),
        ({"orig": {"tn": 12155550121}}, Reason.CLAIM_INVALID, "payload.orig.tn"),
        ({"orig": {"tn": "+12155550121"}}, Reason.TN_INVALID, "payload.orig.tn"),
        ({"orig": {"tn": "1215-5550121"}}, Reason.TN_INVALID, "payload.orig.tn"),
        ({"orig": {"tn": ""}}, Reason.TN_INVALID, "payload.orig.tn"),
        ({"orig": {"tn": "１"}}, Reason.TN_INVALID, "payload.orig.tn"),
        ({"orig": {"uri": "alice"}}, Reason.URI_INVALID, "payload.orig.uri"),
        ({"orig": {"uri": None}}, Reason.CLAIM_INVALID, "payload.orig.uri"),
        ({"dest": {}}, Reason.CLAIM_INVALID, "payload.dest"),
        ({"dest": ["1"]}, Reason.CLAIM_INVALID, "payload.dest"),
        ({"dest": "1"}, Reason.CLAIM_INVALID, "payload.dest"),
        ({"dest": {"tn": "12155550131"}}, Reason.CLAIM_INVALID, "payload.dest.tn"),
        ({"dest": {"tn": []}}, Reason.CLAIM_INVALID, "payload.dest.tn"),
        ({"dest": {"uri": {}}}, Reason.CLAIM_INVALID, "payload.dest.uri"),
        ({"dest": {"tn": ["1", 2]}}, Reason.CLAIM_INVALID, "payload.dest.tn"),
        ({"dest": {"tn": ["1", "+2"]}}, Reason.TN_INVALID, "payload.dest.tn"),
        ({"dest": {"uri": ["x"]}}, Reason.URI_INVALID, "payload.dest.uri"),
        ({"dest": {"tn": ["1"], "uri": []}}, Reason.CLAIM_INVALID, "payload.dest.uri"),
        ({"dest": {"tn": ["1"], "x": []}}, Reason.CLAIM_INVALID, "payload.dest"),
        ({"dest": {"tn": ["1"] * (MAX_DESTINATIONS + 1)}}, Reason.CLAIM_INVALID, "payload.dest.tn"),
        ({"attest": "a"}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": "D"}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": ""}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": "A "}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": 1}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": ["A"]}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"attest": None}, Reason.ATTEST_INVALID, "payload.attest"),
        ({"origid": ""}, Reason.CLAIM_INVALID, "payload.origid"),
        ({"origid": 1}, Reason.CLAIM_INVALID, "payload.origid"),
        ({"origid": "a\nb"}, Reason.CLAIM_INVALID, "payload.origid"),
        ({"origid": "x" * (MAX_ORIGID_LENGTH + 1)}, Reason.CLAIM_INVALID, "payload.origid"),
        ({"crn": ""}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"crn": None}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"crn": {"x": "y"}}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"crn": ["marketing"]}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"crn": "a\nb"}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"crn": "x" * (MAX_CRN_LENGTH + 1)}, Reason.CLAIM_INVALID, "payload.crn"),
        ({"mky": []}, Reason.CLAIM_INVALID, "payload.mky"),
        ({"mky": {}}, Reason.CLAIM_INVALID, "payload.mky"),
        ({"mky": [1]}, Reason.CLAIM_INVALID, "payload.mky"),
        ({"mky": [{"alg": "sha-256"}]}, Reason.CLAIM_INVALID, "payload.mky"),
        ({"mky": [{"alg": "sha-256", "dig": "4A", "x": 1}]}, Reason.CLAIM_INVALID, "payload.mky"),
        ({"mky": [{"alg": "sha-256", "dig": "4A:AD"}]}, Reason.CLAIM_INVALID, "payload.mky.dig"),
        ({"mky": [{"alg": "sha-256", "dig": "4"}]}, Reason.CLAIM_INVALID, "payload.mky.dig"),
        ({"mky": [{"alg": "sha-256", "dig": ""}]}, Reason.CLAIM_INVALID, "payload.mky.dig"),
        ({"mky": [{"alg": "sha 256", "dig": "4A"}]}, Reason.CLAIM_INVALID, "payload.mky.alg"),
        ({"mky": [{"alg": None, "dig": "4A"}]}, Reason.CLAIM_INVALID, "payload.mky.alg"),
    ],
)
def test_payload_refusals(change, reason, where):
    for order in (False, True):
        error = reason_of(parse_payload, SHAKEN, written(CLAIMS | change, sort_keys=order))
        assert (error.reason, error.where) == (reason, where)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1443208345", 1443208345),
        (b"1443208345.0", 1443208345),
        (b"1443208345.25", 1443208345),
        (b"1443208345.999999", 1443208345),
        (b"1443208345e0", 1443208345),
        (b"1443208345E+0", 1443208345),
        (b"1.443208345e9", 1443208345),
        (b"1.443208345e+09", 1443208345),
        (b"14432083450e-1", 1443208345),
        (b"0.5", 0),
        (b"-0", 0),
        (b"-0.0", 0),
        (b"253402300799.5", MAX_IAT),
    ],
)
def test_a_numeric_date_may_have_fraction_and_exponent(text, seconds):
    data = written(CLAIMS).replace(b"1443208345", text)
    found = parse_payload(SHAKEN, data)
    assert (found.iat, type(found.iat)) == (seconds, int)
    assert parse_payload(SHAKEN, found.payload()) == found


@pytest.mark.parametrize("before", [b"", b" ", b"\n", b"\r\n\t "])
@pytest.mark.parametrize("after", [b"", b" ", b"\n", b"\r\n\t "])
def test_white_space_around_header_and_payload(before, after):
    assert parse_header(before + written(HEADER) + after) == SHAKEN
    assert parse_payload(SHAKEN, before + written(CLAIMS) + after) == VALUE
    spaced = json.dumps(CLAIMS, indent=1).replace("\n", "\r\n\t").encode()
    assert parse_payload(SHAKEN, before + spaced + after) == VALUE


@pytest.mark.parametrize("crn", ["Rendezvous for Little Nellie", "营销", "x" * MAX_CRN_LENGTH])
def test_a_call_reason_stands_inside_a_shaken_token(crn):
    found = parse_payload(SHAKEN, written(CLAIMS | {"crn": crn}))
    assert found.extension.crn == crn
    assert found.extra == ()
    assert found.claims() == CLAIMS | {"crn": crn}
    assert parse_payload(SHAKEN, found.payload()) == found
    assert parse_payload(SHAKEN, written(CLAIMS)).extension.crn is None


@pytest.mark.parametrize("name", ["orig", "dest"])
def test_json_inside_a_string_is_named(name):
    # libstirshaken's reference token of old; FreeSWITCH installations still send it.
    error = reason_of(parse_payload, SHAKEN, written(CLAIMS | {name: json.dumps(CLAIMS[name])}))
    assert (error.reason, error.where) == (Reason.CLAIM_INVALID, f"payload.{name}")
    assert error.detail == f"{name} holds JSON text inside a string instead of an object"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (written(CLAIMS)[:-1] + b',"iat":1}', Reason.JSON_DUPLICATE_KEY),
        (written(CLAIMS).replace(b'"orig":{', b'"orig":{"tn":"1",'), Reason.JSON_DUPLICATE_KEY),
        (written(CLAIMS) + b"\x0b", Reason.JSON_SYNTAX),
        (written(CLAIMS) + "\u00a0".encode(), Reason.JSON_SYNTAX),
        (b"\x00" + written(CLAIMS), Reason.JSON_SYNTAX),
        (b"", Reason.JSON_SYNTAX),
        (written(CLAIMS)[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}", Reason.JSON_TOO_DEEP),
        (written(CLAIMS)[:-1] + b',"x":NaN}', Reason.JSON_SYNTAX),
    ],
)
def test_payload_json_refusals(data, reason):
    assert reason_of(parse_payload, SHAKEN, data).reason is reason


def test_unknown_types_are_refused():
    for name in ("rph", "", "SHAKEN", "shaken ", "x" * 5000):
        error = reason_of(parse_payload, Header(X5U, name), written(CLAIMS))
        assert error.reason is Reason.PPT_UNSUPPORTED
        assert len(str(error)) < 100
    names = (None, "shaken", "div", "div-o")
    assert {name: kind.ppt for name, kind in ppt.TYPES.items()} == {name: name for name in names}


@pytest.mark.parametrize(
    "make",
    [
        lambda: Header(X5U, "shaken", (("alg", "HS256"),)),
        lambda: Header(X5U, "shaken", (("crit", ["x"]),)),
        lambda: Header(X5U, "shaken", (("a", 1), ("a", 2))),
        lambda: PASSporT(SHAKEN, VALUE.orig, VALUE.dest, 1, VALUE.extension, extra=(("iat", 2),)),
        lambda: PASSporT(
            SHAKEN, VALUE.orig, VALUE.dest, 1, VALUE.extension, extra=(("attest", "A"),)
        ),
    ],
)
def test_extra_members_cannot_replace_the_real_ones(make):
    with pytest.raises(RuntimeError):
        make()


def test_attestation_has_an_order():
    a, b, c = Attestation
    assert [x.at_most(y).value for x in (a, b, c) for y in (a, b, c)] == list("ABCBBCCCC")


def test_of_long_headers_nothing_is_remembered():
    segments = [b64url_encode(written(HEADER | {"kid": f"{n:030000}"})) for n in range(100)]
    tracemalloc.start()
    try:
        for segment in segments:
            assert parse_header_segment(segment).x5u == X5U
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
