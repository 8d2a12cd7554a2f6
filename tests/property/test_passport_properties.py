"""What holds for every token: parse after print is the identity, and nothing else gets out."""

import base64
import json as stdlib_json
import re

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, URI
from zhenxian.passport import claims, identity, json
from zhenxian.passport.claims import (
    Destination,
    Header,
    MediaKey,
    PASSporT,
    parse_header,
    parse_header_segment,
    parse_payload,
)
from zhenxian.passport.identity import (
    IdentityHeader,
    parse_identity_header,
    parse_identity_headers,
    parse_single,
    split_identity_headers,
)
from zhenxian.passport.jws import SigningKey, Token, b64url_decode, b64url_encode
from zhenxian.passport.ppt.shaken import Attestation, Shaken, parse_attest, parse_origid

P256 = ec.generate_private_key(ec.SECP256R1())
KEY = SigningKey(P256)
X5U = "https://cert.example.org/passport.cer"

# Values ------------------------------------------------------------------------------------------

tns = st.text("0123456789*#", min_size=1, max_size=15).map(TN)
word = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_.", min_size=1, max_size=12)
hosts = st.one_of(word, st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map("[{}]".format))
uris = st.builds("{}:{}@{}".format, st.sampled_from(["sip", "sips"]), word, hosts).map(URI)
absolute_uris = st.builds(
    "{}:{}".format,
    st.from_regex(r"\A[a-zA-Z][a-zA-Z0-9+.\-]{0,8}\Z"),
    st.text([chr(c) for c in range(0x21, 0x7F) if chr(c) not in '<>"'], min_size=1, max_size=40),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17) + 1, 10**18 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def extras(owned):
    return st.dictionaries(
        texts.filter(lambda name: name not in owned), json_values, max_size=3
    ).map(lambda members: tuple(members.items()))


HEADER_NAMES = {"alg", "typ", "x5u", "ppt", "crit"}
CLAIM_NAMES = {"dest", "iat", "orig", "mky", "attest", "origid", "crn"}
headers = st.builds(Header, absolute_uris, st.sampled_from([None, "shaken"]), extras(HEADER_NAMES))
destinations = st.builds(
    Destination,
    st.lists(tns, min_size=1, max_size=4).map(tuple),
    st.lists(uris, max_size=3).map(tuple),
) | st.builds(Destination, uri=st.lists(uris, min_size=1, max_size=3).map(tuple))
media_keys = st.builds(
    MediaKey,
    st.sampled_from(["sha", "sha-256", "sha-512"]),
    st.binary(min_size=1, max_size=8).map(bytes.hex),
)
origids = st.text(min_size=1, max_size=128).filter(str.isprintable)
crns = st.text(min_size=1, max_size=256).filter(str.isprintable)
extensions = st.builds(Shaken, st.sampled_from(Attestation), origids, st.none() | crns)


PPTS = st.sampled_from([None, "shaken"])


@st.composite
def passports(draw, ppts=PPTS):
    ppt = draw(ppts)
    return PASSporT(
        Header(draw(absolute_uris), ppt, draw(extras(HEADER_NAMES))),
        draw(tns | uris),
        draw(destinations),
        draw(st.integers(0, claims.MAX_IAT)),
        draw(extensions) if ppt == "shaken" else None,
        tuple(draw(st.lists(media_keys, max_size=3))),
        draw(extras(CLAIM_NAMES)),
    )


signatures = st.binary(min_size=64, max_size=64).map(b64url_encode)
segments = st.binary(min_size=1, max_size=30).map(b64url_encode)
tokens = st.builds(Token, segments, segments, signatures) | st.builds(
    Token, st.just(b""), st.just(b""), signatures
)
token_chars = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~", min_size=1, max_size=10)
quotable = st.text(
    st.characters(
        exclude_categories=["Cs"],
        exclude_characters=[chr(c) for c in (*range(9), *range(10, 32), 127)],
    ),
    max_size=12,
)
parameters = st.lists(
    st.tuples(
        token_chars.filter(lambda name: name not in {"info", "alg", "ppt"}), st.none() | quotable
    ),
    max_size=4,
).map(tuple)
identity_headers = st.builds(
    IdentityHeader,
    tokens,
    absolute_uris,
    st.sampled_from([None, "ES256"]),
    st.none() | token_chars,
    parameters,
)


def outcome(parse, *arguments):
    """The value, or the reason, place and detail of the refusal; any other exception escapes."""
    try:
        return parse(*arguments)
    except ParseError as refused:
        error = refused
    assert isinstance(error.reason, Reason)
    assert error.where
    assert len(str(error)) < 400
    return error.reason, error.where, error.detail


# Parse after print is the identity ---------------------------------------------------------------


@given(tns, st.sampled_from([None, "CN", "US"]))
def test_tn(tn, country):
    assert TN(str(tn)) == tn
    if tn.startswith("0"):
        assert outcome(TN.parse, str(tn), None, "tn")[0] is Reason.TN_NATIONAL
        return
    assert TN.parse(str(tn)) == tn
    if tn.isdecimal():
        assert TN.parse(f"+{tn}", country) == tn


@given(st.text("0123456789+-.() *#", max_size=25), st.sampled_from([None, "CN", "US", "DE"]))
def test_canonical_number_is_a_fixed_point(text, country):
    found = outcome(TN.parse, text, country)
    if isinstance(found, TN):
        assert TN.parse(str(found)) == found


@given(uris)
def test_uri(uri):
    assert URI(str(uri)) == uri
    assert Reading().identity(str(uri)) == uri
    assert Reading().identity(f"<{uri.upper()}>") == uri


@given(st.text("sip:tel+@%4a1[];=user.phone?-~&é ", max_size=40))
@example("sip:%%36%39@h")
@example("sip:%2570@h")
def test_canonical_uri_is_a_fixed_point(text):
    found = outcome(Reading().identity, text)
    if isinstance(found, URI):
        again = outcome(Reading().identity, str(found))
        assert again == found or str(found).startswith(("sip:+", "sips:+"))


@given(headers)
def test_header(header):
    assert parse_header(header.dumps()) == header
    assert parse_header_segment(b64url_encode(header.dumps())) == header
    assert parse_header(header.dumps()).dumps() == header.dumps()


@settings(max_examples=200)
@given(passports())
def test_passport(passport):
    payload = passport.payload()
    assert parse_payload(passport.header, payload) == passport
    assert parse_payload(passport.header, payload).payload() == payload
    reference = stdlib_json.dumps(
        passport.claims(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    ).encode()
    exponent = re.compile(rb"\de[+-]?\d")  # such numbers have two spellings, and no claim is one
    assert payload == reference or exponent.search(payload) or exponent.search(reference)


@settings(max_examples=200)
@given(identity_headers)
def test_identity_header(header):
    assert parse_single(header.dumps()) == header
    assert parse_identity_headers([header.dumps(), header.dumps()]) == [header, header]
    assert parse_identity_headers([f"{header.dumps()} , {header.dumps()}"]) == [header, header]
    assert parse_single(header.dumps()).dumps() == header.dumps()


@given(tokens)
def test_token(token):
    assert Token.parse(token.dumps()) == token
    assert b64url_encode(token.signature_octets) == token.signature


@given(st.binary(max_size=80))
def test_base64url(octets):
    text = b64url_encode(octets)
    assert text == base64.urlsafe_b64encode(octets).rstrip(b"=")
    assert b64url_decode(text, "x") == octets


@given(st.binary(max_size=12) | st.text("AQgwBcd-_+/= \n", max_size=9).map(str.encode))
def test_one_spelling_of_base64url(text):
    found = outcome(b64url_decode, text, "x")
    assert not isinstance(found, bytes) or b64url_encode(found) == text


@settings(max_examples=50)
@given(passports(st.none()), signatures)
def test_full_and_compact_form_agree(passport, signature):
    full = IdentityHeader(
        Token(b64url_encode(passport.header.dumps()), b64url_encode(passport.payload()), signature),
        passport.header.x5u,
        "ES256",
    )
    assert full.passport() == passport
    assert full.compacted().compact
    assert parse_single(full.compacted().dumps()).expanded(passport) == full


@st.composite
def reordered(draw, value):
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: draw(reordered(value[name])) for name in names}
    if isinstance(value, list):
        return [draw(reordered(item)) for item in value]
    return value


@settings(max_examples=60)
@given(st.data(), passports())
def test_reordered_members_sign_the_same_octets(data, passport):
    members = data.draw(reordered(stdlib_json.loads(passport.payload())))
    spaced = stdlib_json.dumps(members, indent=data.draw(st.sampled_from([None, 0, 2]))).encode()
    assert parse_payload(passport.header, spaced).payload() == passport.payload()


# Any input gives a value or a ParseError ---------------------------------------------------------

anything = st.text() | st.text(
    st.sampled_from('.;,=<>"\\ \t\r\n+-*#%:@[]{}abcinfoalgptshkeES256019é\x00\ud800'), max_size=60
)
any_octets = st.binary() | anything.map(lambda text: text.encode("utf-8", "surrogatepass"))
json_like = st.text(
    st.sampled_from('{}[]",:\\u0123456789d8eE+-.truefalsn \n\ud800é'), max_size=60
).map(lambda text: text.encode("utf-8", "surrogatepass"))


@settings(max_examples=200)
@given(anything, st.sampled_from([None, "CN", "US", "xx", ""]))
def test_text_parsers(text, country):
    for parse in (TN, URI, parse_single, parse_identity_header, parse_attest, parse_origid):
        outcome(parse, text)
    outcome(TN.parse, text, country)
    reading = Reading(
        country=country, hosts=frozenset({"a"}), special=lambda tn: tn.startswith("1")
    )
    for scheme in ("", "sip:", "tel:", "sip:+", "sip:8675588880001;", "tel:1;phone-context="):
        outcome(reading.identity, f"{scheme}{text}")
        outcome(reading.identity, f"{scheme}{text}@a")
    outcome(reading.recorded, text, "first")
    outcome(parse_identity_headers, [text, text])
    for part in split_identity_headers([text]):
        outcome(parse_single, part)


@settings(max_examples=200)
@given(any_octets | json_like)
def test_octet_parsers(octets):
    outcome(Token.parse, octets)
    outcome(b64url_decode, octets, "x")
    outcome(parse_header, octets)
    outcome(parse_header_segment, octets)
    outcome(parse_payload, Header(X5U), octets)
    outcome(parse_payload, Header(X5U, "shaken"), octets)


@settings(max_examples=200)
@given(any_octets, any_octets, anything)
def test_claims_parser(header, payload, parameters):
    token = Token(b64url_encode(header), b64url_encode(payload), b"A" * 86)
    value = f"{token.dumps().decode()};info=<{X5U}>"
    outcome(lambda: parse_single(value).passport())
    outcome(lambda: parse_single(value + ";" + parameters).passport())


@settings(max_examples=200)
@given(json_values, st.sampled_from(sorted(CLAIM_NAMES)))
def test_claims_of_any_type(value, name):
    members = stdlib_json.loads(USUAL) | {name: value}
    outcome(parse_payload, Header(X5U, "shaken"), json.dumps(members))
    members = {"alg": "ES256", "typ": "passport", "x5u": X5U, "ppt": "shaken"}
    for header_name in members:
        outcome(parse_header, json.dumps(members | {header_name: value}))


# The quick ways agree with the strict ones -------------------------------------------------------

USUAL = (
    b'{"attest":"A","dest":{"tn":["12155550131"]},"iat":1443208345,"orig":{"tn":"12155550121"},'
    b'"origid":"123e4567-e89b-12d3-a456-426655440000"}'
)


def strictly(header, data):
    """Read a payload with neither quick way."""
    usual, accept = claims._usual, json._accept
    claims._usual, json._accept = (lambda *_: None), (lambda *_: None)
    try:
        return outcome(parse_payload, header, data)
    finally:
        claims._usual, json._accept = usual, accept


def same(quick, strict):
    assert quick == strict
    assert repr(quick) == repr(strict)  # 1 == 1.0 == True


@settings(max_examples=300)
@given(st.binary(max_size=6) | json_like.map(lambda b: b[:6]), st.data())
def test_quick_payload_reader_agrees_on_altered_payloads(piece, data):
    start = data.draw(st.integers(0, len(USUAL)))
    end = data.draw(st.integers(start, min(len(USUAL), start + 6)))
    altered = USUAL[:start] + piece + USUAL[end:]
    header = Header(X5U, "shaken")
    same(outcome(parse_payload, header, altered), strictly(header, altered))


@settings(max_examples=200)
@given(passports())
def test_quick_payload_reader_agrees_on_good_payloads(passport):
    same(
        parse_payload(passport.header, passport.payload()),
        strictly(passport.header, passport.payload()),
    )


@settings(max_examples=200)
@given(json_values, st.sampled_from([*sorted(CLAIM_NAMES), "x"]), st.booleans())
def test_quick_payload_reader_agrees_on_any_claim(value, name, ordered):
    members = stdlib_json.loads(USUAL) | {name: value}
    text = stdlib_json.dumps(members, separators=(",", ":"), ensure_ascii=False, sort_keys=ordered)
    header = Header(X5U, "shaken")
    same(outcome(parse_payload, header, text.encode()), strictly(header, text.encode()))


@settings(max_examples=400)
@given(
    json_like
    | st.dictionaries(texts, json_values, max_size=3).map(
        lambda value: stdlib_json.dumps(value, separators=(",", ":")).encode()
    )
)
@example(b'{"a":9007199254740993,"b":18446744073709551615}')
@example(b'{"a":-0}')
@example(b'{"a":-0.0}')
@example(b'{"a":1e22}')
@example(b'{"a":1.0}')
@example(b'{"a":1,"a":1}')
@example(b'{"a":[[[[[[[[1]]]]]]]]}')
@example(b'{"a":[[[[[[[1]]]]]]]}')
def test_quick_json_reader_agrees(data):
    quick = json._accept(data)
    strict = outcome(json._strict, data, "x")
    assert quick is None or repr(quick) == repr(strict)
    same(outcome(json.loads, data, "x"), strict)


def test_the_usual_payload_takes_the_quick_way():
    header = Header(X5U, "shaken")
    assert claims._usual(header, USUAL) == strictly(header, USUAL)
    assert json._accept(USUAL) == stdlib_json.loads(USUAL)


@settings(max_examples=100)
@given(identity_headers, anything)
def test_remembered_parameters_agree(header, tail):
    value = header.dumps() + tail
    first = outcome(parse_single, value)
    assert outcome(parse_single, value) == first
    _, separator, text = value.partition(";")
    fresh = outcome(identity._parameters.__wrapped__, separator + text)
    assert outcome(identity._parameters, separator + text) == fresh


# Signatures --------------------------------------------------------------------------------------


def signed(passport):
    header, payload = b64url_encode(passport.header.dumps()), b64url_encode(passport.payload())
    return Token(header, payload, b64url_encode(KEY.sign(header + b"." + payload)))


GOOD = signed(parse_payload(Header(X5U, "shaken"), USUAL))


def believed(token):
    """Whether the token's claims can be read and its signature verifies."""
    try:
        header = parse_single(token.dumps().decode("latin-1") + f";info=<{X5U}>")
        header.passport()
        return KEY.verifying_key.verifies(header.token.signing_input, header.token.signature_octets)
    except ParseError:
        return False


@settings(max_examples=200)
@given(st.sampled_from(["header", "payload", "signature"]), st.data())
def test_one_flipped_bit_never_passes(segment, data):
    octets = bytearray(b64url_decode(getattr(GOOD, segment), segment))
    bit = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[bit // 8] ^= 1 << bit % 8
    parts = {name: getattr(GOOD, name) for name in ("header", "payload", "signature")}
    token = Token(**(parts | {segment: b64url_encode(bytes(octets))}))
    assert not KEY.verifying_key.verifies(token.signing_input, token.signature_octets)
    assert not believed(token)


@settings(max_examples=200)
@given(st.integers(0, 8 * len(GOOD.dumps()) - 1))
def test_one_flipped_bit_of_the_text_never_passes(bit):
    text = bytearray(GOOD.dumps())
    text[bit // 8] ^= 1 << bit % 8
    value = text.decode("latin-1") + f";info=<{X5U}>"
    try:
        header = parse_single(value)
    except ParseError:
        return
    assert not KEY.verifying_key.verifies(header.token.signing_input, header.token.signature_octets)


def test_the_unaltered_token_passes():
    assert believed(GOOD)


@settings(max_examples=40, deadline=None)
@given(passports())
def test_pyjwt_reads_what_we_sign(passport):
    token = signed(passport).dumps().decode()
    decoded = jwt.decode_complete(
        token,
        P256.public_key(),
        algorithms=["ES256"],
        options={
            "verify_iat": False,
            "verify_exp": False,
            "verify_nbf": False,
            "verify_aud": False,
            "verify_iss": False,
            "verify_sub": False,
            "verify_jti": False,
        },
    )
    assert decoded["header"] == stdlib_json.loads(passport.header.dumps())
    assert decoded["payload"] == stdlib_json.loads(passport.payload())


@settings(max_examples=40, deadline=None)
@given(passports(), st.booleans())
def test_we_read_what_pyjwt_signs(passport, sort):
    members = stdlib_json.loads(passport.header.dumps())
    members["typ"] = "passport"
    text = jwt.encode(
        stdlib_json.loads(passport.payload()), P256, "ES256", members, sort_headers=sort
    )
    header = parse_single(f"{text};info=<{passport.header.x5u}>")
    assert header.passport() == passport
    assert KEY.verifying_key.verifies(header.token.signing_input, header.token.signature_octets)


@pytest.mark.parametrize("algorithm", ["HS256", "none"])
def test_pyjwt_tokens_of_other_algorithms_are_refused(algorithm):
    text = jwt.encode(
        stdlib_json.loads(USUAL),
        b"s" * 32 if algorithm == "HS256" else None,
        algorithm,
        {"typ": "passport", "ppt": "shaken", "x5u": X5U},
    )
    header, payload, _ = text.split(".")
    value = f"{header}.{payload}.{GOOD.signature.decode()};info=<{X5U}>"
    assert outcome(lambda: parse_single(value).passport())[0] is Reason.ALG_UNSUPPORTED
