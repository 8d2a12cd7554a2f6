"""Signatures and segments: ES256 and canonical base64url, nothing else."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from zhenxian.core.errors import ConfigError, ParseError
from zhenxian.core.reasons import Reason
from zhenxian.passport.jws import SigningKey, Token, VerifyingKey, b64url_decode, b64url_encode

P256 = ec.generate_private_key(ec.SECP256R1())
pytestmark = pytest.mark.usefixtures("es256")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def own():
    return SigningKey(P256)


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    "octets", [b"", b"\x00", b"a", b"ab", b"abc", bytes(range(256)), b"\xfb\xff"]
)
def test_base64url_of_octets(octets):
    text = b64url_encode(octets)
    assert text == base64.urlsafe_b64encode(octets).rstrip(b"=")
    assert b64url_decode(text, "x") == octets


@pytest.mark.parametrize(
    "text",
    [
        b"a",
        b"abcde",
        b"YQ==",
        b"YWI=",
        b"YR",
        b"YWJ",
        b"YQ ",
        b" YQ",
        b"Y Q",
        b"YQ\n",
        b"-_8=",
        b"+/8",
        b"+_8",
        b"Y\x00Q",
        b"Y.Q",
        b"\xff\xff",
        b"=",
        b"====",
        b"YQ=a",
        b"!!!!",
    ],
)
def test_other_spellings_are_refused(text):
    with pytest.raises(ParseError) as refused:
        b64url_decode(text, "payload")
    assert refused.value.reason is Reason.TOKEN_BASE64
    assert refused.value.where == "payload"


@pytest.mark.parametrize("text", [b"", b"a", b"a.b", b"a.b.c.d", b"....."])
def test_a_token_has_three_segments(text):
    with pytest.raises(ParseError) as refused:
        Token.parse(text)
    assert refused.value.reason is Reason.TOKEN_SYNTAX


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (b64url_encode(bytes(63)), Reason.TOKEN_SIGNATURE_LENGTH),
        (b64url_encode(bytes(65)), Reason.TOKEN_SIGNATURE_LENGTH),
        (b"", Reason.TOKEN_SIGNATURE_LENGTH),
        (b"A" * 85 + b"B", Reason.TOKEN_BASE64),
    ],
)
def test_a_signature_is_64_octets(signature, reason):
    token = Token(b"a", b"b", signature)
    with pytest.raises(ParseError) as refused:
        _ = token.signature_octets
    assert refused.value.reason is reason


def test_sign_and_verify():
    signature = own().sign(b"input")
    assert len(signature) == 64
    assert own().verifying_key.verifies(b"input", signature)
    assert not own().verifying_key.verifies(b"inputs", signature)
    assert not SigningKey(ec.generate_private_key(ec.SECP256R1())).verifying_key.verifies(
        b"input", signature
    )
    assert (
        SigningKey.from_pem(pem(P256)).verifying_key.public_bytes
        == own().verifying_key.public_bytes
    )


def test_equal_claims_give_two_tokens():
    assert own().sign(b"input") != own().sign(b"input")


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        bytes(64),
        bytes(63),
        b"\xff" * 64,
        ORDER.to_bytes(32, "big") * 2,
        bytes(32) + b"\x01" * 32,
        b"\x01" * 32 + bytes(32),
        bytes(31) + b"\x01" + bytes(31) + b"\x01",
    ],
)
def test_degenerate_signatures_do_not_verify(signature):
    assert own().verifying_key.verifies(b"input", signature) is False


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["P-384", "secp256k1", "RSA", "Ed25519"],
)
def test_other_keys_are_refused(key):
    with pytest.raises(ConfigError):
        SigningKey(key)
    with pytest.raises(ConfigError):
        VerifyingKey(key.public_key())
    with pytest.raises(ConfigError):
        SigningKey.from_pem(pem(key))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"x",
        b"-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
        b"ecdsa-sha2-nistp256 x",
        P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        pem(P256, BestAvailableEncryption(b"secret")),
        pem(P256)[:-40],
        b"\xff" * 100,
    ],
)
def test_from_pem_refuses_what_is_no_plain_private_key(text):
    with pytest.raises(ConfigError):
        SigningKey.from_pem(text)


def test_repr_shows_no_key():
    number = P256.private_numbers().private_value
    assert str(number) not in repr(own())
    assert f"{number:x}" not in repr(own())
