"""The one runner of the published vectors: each kind, both directions where there are two.

Every vector of every file is either run here or its kind stands in NOT_RUN with the reason.
"""

import base64
import hashlib
import json as stdlib_json
from email.utils import parsedate_to_datetime
from pathlib import Path

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from simulator import Call, World

from zhenxian.certs.constraints import ClaimConstraints, constraints_of, parse_constraints
from zhenxian.certs.tnauthlist import SPC, parse_tnauthlist, tnauthlist_of
from zhenxian.core.errors import ParseError
from zhenxian.core.reading import Reading
from zhenxian.core.reasons import Reason, SipStatus, reason_header
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.passport import json
from zhenxian.passport.claims import (
    Destination,
    Header,
    MediaKey,
    PASSporT,
    parse_header,
    parse_payload,
)
from zhenxian.passport.identity import parse_identity_header, parse_single
from zhenxian.passport.jws import SigningKey, Token, VerifyingKey, b64url_decode, b64url_encode
from zhenxian.passport.ppt import TYPES
from zhenxian.verifier.diversion import Diversions
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy, read

pytestmark = pytest.mark.usefixtures("es256")

FILES = {
    path.stem: stdlib_json.loads(path.read_text("utf-8"))
    for path in sorted((Path(__file__).parent / "vectors").glob("*.json"))
}
KEYS = {name: key for file in FILES.values() for name, key in file.get("keys", {}).items()}
CERTIFICATES = {
    name: value for file in FILES.values() for name, value in file.get("certificates", {}).items()
}

NOT_RUN = {
    "rule": "says which responses carry a Reason header; that is the proxy's work",
    "certificate-rule": "run with built certificates in the tests of certs",
    "json": "bodies of the authority token of RFC 9448, which is not spoken yet",
    "tkvalue": "likewise",
    "3gpp-signing": "run over HTTP in the tests of the front end",
    "3gpp-verification": "run over HTTP in the tests of the front end",
    "3gpp-error": "run over HTTP in the tests of the front end",
    "atis-signing": "run over HTTP in the tests of the front end",
    "atis-verification": "run over HTTP in the tests of the front end",
    "atis-error": "run over HTTP in the tests of the front end",
    "atis-verify-outcome": "run over HTTP in the tests of the front end",
}

DEVIATIONS = {
    # A URI needs no brackets to be understood here, and peers leave them off.
    ("rfc8224", "info-not-in-brackets"): "more is accepted than the grammar allows",
    # RFC 8226 says in one place that count 90 is too many and in another that it fits.
    ("rfc8226", "range-formula-edge"): "the text contradicts itself; 10 to 99 are two digits each",
}

RUNNERS = {}


def runs(*kinds):
    def register(function):
        RUNNERS.update(dict.fromkeys(kinds, function))
        return function

    return register


def vectors():
    for name, file in FILES.items():
        for vector in file["vectors"]:
            if vector["kind"] not in NOT_RUN:
                yield pytest.param(name, vector, id=f"{name}-{vector['name']}")


@pytest.mark.parametrize(("file", "vector"), list(vectors()))
def test_vector(file, vector):
    RUNNERS[vector["kind"]](vector["input"], vector["expect"], (file, vector["name"]))


def test_no_vector_is_forgotten():
    kinds = {vector["kind"] for file in FILES.values() for vector in file["vectors"]}
    assert kinds == RUNNERS.keys() | NOT_RUN.keys()
    assert not RUNNERS.keys() & NOT_RUN.keys()
    names = {(name, vector["name"]) for name, file in FILES.items() for vector in file["vectors"]}
    assert names >= DEVIATIONS.keys()
    assert len(names) == sum(len(file["vectors"]) for file in FILES.values()) > 200


def public_key(name):
    key = KEYS[name]
    if "public_key_pem" in key:
        return load_pem_public_key(key["public_key_pem"].encode())
    return load_pem_private_key(key["private_key_pem"].encode(), None).public_key()


def spki(key):
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# RFC 8225, and the objects of the RFCs that build on it ------------------------------------------


@runs("serialize")
def serialize(given, expect, _name):
    written = expect["json"].encode()
    assert json.dumps(given["object"]) == written
    assert json.loads(written, "x") == given["object"]
    assert b64url_encode(written).decode() == expect["b64url"]
    assert b64url_decode(expect["b64url"].encode(), "x") == written
    members = given["object"]
    if "typ" in members:
        header = parse_header(stdlib_json.dumps(members).encode())
        assert header == Header(members["x5u"], members.get("ppt"))
        assert header.dumps() == written
    elif "orig" in members:
        header = Header("https://h/c", "shaken" if "attest" in members else None)
        passport = parse_payload(header, stdlib_json.dumps(members).encode())
        assert passport.payload() == written
        assert parse_payload(header, written) == passport


@runs("token")
def token(given, expect, _name):
    text = given["token"].encode()
    parsed = Token.parse(text)
    assert parsed.dumps() == text
    header_json = b64url_decode(parsed.header, "header")
    payload_json = b64url_decode(parsed.payload, "payload")
    assert header_json == expect["header_json"].encode()
    assert payload_json == expect["payload_json"].encode()
    assert len(b64url_decode(parsed.signature, "signature")) == expect["signature_octets"]
    if expect["signature_verifies"] != "unknown":
        key = public_key(expect["key"])
        ours = VerifyingKey(key).verifies(parsed.signing_input, parsed.signature_octets)
        assert ours is expect["signature_verifies"]
        algorithm = jwt.get_algorithm_by_name("ES256")
        assert algorithm.verify(parsed.signing_input, key, parsed.signature_octets) is ours
    if expect["claims_valid"]:
        header = parse_header(header_json)
        assert header.dumps() == header_json
        # Claims of a type that is not supported yet are read by the rules of RFC 8225 alone.
        passport = parse_payload(
            header if header.ppt in TYPES else Header(header.x5u), payload_json
        )
        assert passport.payload() == payload_json
    else:
        with pytest.raises(ParseError) as refused:
            parse_payload(Header("https://h/c"), payload_json)
        assert refused.value.reason in {Reason.CLAIM_INVALID, Reason.JSON_SYNTAX}


@runs("div-chain")
def div_chain(given, expect, _name):
    """Linked by their claims alone; whoever signed them is looked at elsewhere."""
    world = World(now=given["original"]["iat"])
    carrier = world.carrier()
    passports = [parse_payload(Header(carrier.x5u, "div"), json.dumps(one)) for one in given["div"]]
    original = parse_payload(Header(carrier.x5u), json.dumps(given["original"]))
    values = [Call(passport, carrier.key).signed() for passport in (*passports, original)]
    target = given["div"][0]["dest"] if len(given["div"]) == 1 else expect["outermost_dest"]
    dest = tuple(map(TN, target["tn"]))
    request = VerificationRequest(original.orig, dest, world.now, tuple(values))
    policy = ScreenPolicy(types=frozenset({None}))
    tokens = [read(value, request, policy) for value in values]
    found = Diversions(tokens, values, request, policy, world.now)
    assert all(refusal is None for refusal in found.refused) is expect["complete"]
    if expect["complete"]:
        last = passports.index(found.tokens[found.last(len(passports))].passport)
        assert json.loads(json.dumps(given["div"][last]["dest"]), "x") == expect["outermost_dest"]


@runs("key-match")
def key_match(given, expect, _name):
    private = load_pem_private_key(KEYS[given["private"]]["private_key_pem"].encode(), None)
    public = public_key(given["public"])
    assert (spki(private.public_key()) == spki(public)) is expect["match"]
    signature = SigningKey(private).sign(b"x")
    assert VerifyingKey(public).verifies(b"x", signature) is expect["match"]


@runs("mky")
def mky(given, expect, _name):
    keys = []
    for line in given["fingerprints"]:
        algorithm, _, digest = line.partition("fingerprint:")[2].partition(" ")
        keys.append(MediaKey(algorithm, digest.replace(":", "")))
    passport = PASSporT(Header("https://h/c"), TN("1"), Destination((TN("2"),)), 0, mky=tuple(keys))
    assert passport.claims()["mky"] == expect["mky"]
    assert parse_payload(passport.header, passport.payload()) == passport


@runs("compact")
def compact(given, expect, _name):
    header = parse_single(f"{given['token']};info=<https://h/c>")
    written, _, _ = header.compacted().dumps().partition(";")
    assert written == expect["compact"]
    assert parse_single(header.compacted().dumps()).compact


@runs("claims")
def claims(given, expect, name):
    data = stdlib_json.dumps(given["object"]).encode()
    header = Header("https://h/c", "shaken" if name[0] == "rfc8588" else None)
    if name == ("rfc8443", "sph-other-value"):
        return  # ppt rph is not supported yet
    if expect["claims_valid"]:
        passport = parse_payload(header, data)
        assert stdlib_json.loads(passport.payload()) == given["object"]
        return
    with pytest.raises(ParseError) as refused:
        parse_payload(header, data)
    missing = expect.get("reason", "").removeprefix("missing ")
    if missing != expect.get("reason", ""):
        assert refused.value.reason is Reason.CLAIM_MISSING
        assert refused.value.where == f"payload.{missing}"


@runs("order")
def order(given, expect, _name):
    written = json.dumps(dict.fromkeys(given["claims"], 0))
    assert list(stdlib_json.loads(written)) == expect["order"]


@runs("rcdi-digest")
def rcdi_digest(given, expect, _name):
    written = json.dumps(given["value"])
    assert written == given["serialised"].encode()
    digest = base64.b64encode(hashlib.sha256(written).digest()).rstrip(b"=")
    assert f"sha256-{digest.decode()}" == expect["digest"]


# RFC 8224 and RFC 9410 ---------------------------------------------------------------------------


def with_a_signature(value):
    """Put 64 octets in place of the signatures of the vectors on grammar ("a.b.c")."""
    digest, separator, parameters = value.partition(";")
    segments = digest.rstrip().split(".")
    if len(segments) == 3 and len(segments[2]) < 10:
        digest = digest.replace(digest.rstrip(), f"{segments[0]}.{segments[1]}.{'A' * 86}")
    return digest + separator + parameters


@runs("identity-header")
def identity_header(given, expect, name):
    value = with_a_signature(given["value"])
    if name in DEVIATIONS:
        assert parse_identity_header(value).info == "https://a.example/c"
        return
    if not expect["parses"]:
        with pytest.raises(ParseError) as refused:
            parse_identity_header(value)
        assert refused.value.reason.sip.code == expect["sip_code"]
        return
    header = parse_identity_header(value)
    assert header.compact is (expect["form"] == "compact")
    for field in ("info", "alg", "ppt"):
        if field in expect:
            assert getattr(header, field) == expect[field]
    if "token" in expect:
        assert header.token.dumps().decode() == with_a_signature(expect["token"])
    assert parse_identity_header(header.dumps()) == header
    if expect.get("x5u_equals_info") is False:
        with pytest.raises(ParseError) as refused:
            header.passport()
        assert refused.value.reason in {Reason.X5U_MISMATCH, Reason.JSON_SYNTAX}
    if expect.get("accepted") is False:
        with pytest.raises(ParseError) as refused:
            header.passport()
        assert refused.value.reason.sip.code == expect["sip_code"]


COUNTRIES = {"1": "US"}


@runs("tn-canonical")
def tn_canonical(given, expect, _name):
    country = COUNTRIES.get(given.get("country_code"))
    if expect["tn"] is None:
        with pytest.raises(ParseError) as refused:
            TN.parse(given["text"], country)
        assert refused.value.reason is Reason.TN_INVALID
        return
    assert TN.parse(given["text"], country) == expect["tn"]
    assert TN.parse(expect["tn"]) == expect["tn"]


@runs("uri-canonical", "identity-from-uri")
def canonical_identity(given, expect, _name):
    found = Reading().identity(given["uri"])
    if "tn" in expect:
        assert (type(found), found) == (TN, expect["tn"])
    else:
        assert (type(found), found) == (URI, expect["uri"])
        assert Reading().identity(expect["uri"]) == found


@runs("sip-to-passport")
def sip_to_passport(given, expect, _name):
    iat = int(parsedate_to_datetime(given["date"]).timestamp())
    assert iat == expect["iat"]
    called = Reading().identity(given["to"])
    dest = Destination((called,)) if isinstance(called, TN) else Destination(uri=(called,))
    passport = PASSporT(Header(given["x5u"]), Reading().identity(given["from"]), dest, iat)
    assert passport.header.dumps() == expect["header_json"].encode()
    assert passport.payload() == expect["payload_json"].encode()
    assert parse_payload(passport.header, passport.payload()) == passport
    header = parse_single(f"..{expect['compact_signature']};info=<{given['x5u']}>").expanded(
        passport
    )
    verifies = VerifyingKey(public_key(expect["key"])).verifies(
        header.token.signing_input, header.token.signature_octets
    )
    assert verifies is expect["signature_verifies"]


PHRASES_NOT_USED = {
    "Use Supported PASSporT Format",  # MAY be sent
    "Invalid PASSporT",  # an alternative
}


@runs("response")
def response(_given, expect, _name):
    if expect["phrase"] in PHRASES_NOT_USED:
        assert expect["sip_code"] in {status.code for status in SipStatus}
    else:
        assert (expect["sip_code"], expect["phrase"]) in {status.value for status in SipStatus}


@runs("reason-header")
def reason(given, expect, _name):
    reasons = [
        reason
        for reason in Reason
        if reason.sip is not None and reason.sip.value == (expect["cause"], expect["text"])
    ]
    assert reasons
    for member in reasons:
        assert reason_header(member, expect["ppi"]) == given["value"].replace(" ;", ";")


# RFC 8226 and RFC 9118 ---------------------------------------------------------------------------


def entry(members):
    if "spc" in members:
        return SPC(members["spc"])
    if "one" in members:
        return TN(members["one"])
    start, count = members["range"]["start"], members["range"]["count"]
    return TNRange(TN(start), TN(f"{int(start) + count - 1:0{len(start)}}"))


@runs("tnauthlist")
def tnauthlist(given, expect, _name):
    der = bytes.fromhex(given["der_hex"])
    if not expect["valid"]:
        with pytest.raises(ParseError) as refused:
            parse_tnauthlist(der)
        assert refused.value.reason is Reason.TNAUTHLIST_INVALID
        return
    parsed = parse_tnauthlist(der)
    assert list(parsed.entries) == [entry(members) for members in expect["entries"]]
    assert parsed.dumps() == der


@runs("range")
def number_range(given, expect, name):
    assert (expect["valid"], name in DEVIATIONS) == ("unclear", True)
    last = str(int(given["start"]) + given["count"] - 1)
    assert TNRange(TN(given["start"]), TN(last)).size == given["count"]


def constraints(members):
    return ClaimConstraints(
        tuple(members.get("mustInclude", ())),
        tuple((name, tuple(values)) for name, values in members.get("permittedValues", {}).items()),
        tuple(members.get("mustExclude", ())),
    )


@runs("claim-constraints")
def claim_constraints(given, expect, _name):
    violation = constraints(given["constraints"]).violation(given["claims"])
    if not {"orig", "dest", "iat"} <= given["claims"].keys():
        with pytest.raises(ParseError):  # refused before any constraint is looked at
            parse_payload(Header("https://h/c"), json.dumps(given["claims"]))
        return
    assert (violation is None) is expect["allowed"], violation


@runs("claim-constraints-der")
def claim_constraints_der(given, expect, _name):
    enhanced = given["extension"] == "EnhancedJWTClaimConstraints"
    der = bytes.fromhex(given["der_hex"])
    if not expect["valid"]:
        with pytest.raises(ParseError):
            parse_constraints(der, enhanced=enhanced)
        return
    assert parse_constraints(der, enhanced=enhanced) == constraints(expect["constraints"])


@runs("certificate-extension")
def certificate_extension(given, expect, _name):
    entry_ = CERTIFICATES[given["certificate"]]
    pem = entry_ if isinstance(entry_, str) else entry_["pem"]
    certificate = x509.load_pem_x509_certificate(pem.encode())
    extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(given["oid"]))
    assert extension.critical is expect["critical"]
    assert extension.value.value.hex() == expect["der_hex"]
    if "entries" in expect:
        parsed = tnauthlist_of(certificate)
        assert list(parsed.entries) == [entry(members) for members in expect["entries"]]
    else:
        assert constraints_of(certificate) == (
            parse_constraints(bytes.fromhex(expect["der_hex"]), enhanced=True),
        )
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
