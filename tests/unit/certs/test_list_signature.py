"""A list's signature over its octets as read, beside the library's check, which writes it again."""

from __future__ import annotations

import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lists import unsigned
from pyasn1.codec.der import decoder, encoder
from pyasn1_modules import rfc5280

from zhenxian.certs.crl import parse_crl
from zhenxian.certs.list_signature import list_signature
from zhenxian.core.errors import ParseError

SHA_256 = hashes.SHA256()
RSA = rsa.generate_private_key(65_537, 2_048)
KEYS = [ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1()), RSA]
EVERY = [*KEYS, ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()]


def made(key, hashed=SHA_256, entries=3, **more):
    return unsigned(entries).sign(key, hashed, **more).public_bytes(Encoding.DER)


def both(der, key):
    """By the library, and by us."""
    crl = x509.load_der_x509_crl(der)
    own = list_signature(crl, der)
    try:
        theirs = crl.is_signature_valid(key)
    except (TypeError, ValueError):
        theirs = False
    return theirs, own is not None and own.made_by(key)


SALTED = padding.PSS(padding.MGF1(hashes.SHA256()), 11)
PADDED = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH)
LISTS = {
    "P-256": made(KEYS[0]),
    "P-384": made(KEYS[1], hashes.SHA384()),
    "none listed": made(KEYS[0], entries=0),
    "RSA": made(RSA),
    "RSA, SHA-512": made(RSA, hashes.SHA512()),
    "PSS": made(RSA, rsa_padding=PADDED),
    "PSS, unusual": made(RSA, rsa_padding=SALTED),
    "Ed25519": made(EVERY[-1], None),
}


@pytest.mark.parametrize("name", LISTS)
def test_it_is_who_the_library_says_it_is(name):
    found = [both(LISTS[name], key.public_key()) for key in EVERY]
    assert all(theirs == own for theirs, own in found[:-1])
    assert sum(own for _, own in found) == (0 if name == "Ed25519" else 1)
    assert not found[-1][1]  # a key that no list of the SHAKEN profile is signed with


@pytest.mark.parametrize("name", ["P-256", "RSA", "PSS"])
def test_whatever_octet_is_another_nobody_signed_it(name):
    der = LISTS[name]
    keys = [key.public_key() for key in KEYS]
    read = passed = 0
    for place in range(len(der)):
        for bit in (1, 128):
            other = bytearray(der)
            other[place] ^= bit
            try:
                found = [both(bytes(other), key) for key in keys]
            except (ValueError, x509.UnsupportedGeneralNameType, x509.InvalidVersion):
                continue  # no list any more
            read += 1
            assert all(theirs == own for theirs, own in found), place
            passed += any(own for _, own in found)
    assert read > 100
    assert passed <= 1  # the last bits of an octet that has none to spare


def test_an_algorithm_named_otherwise_beside_what_is_signed():
    """No list at all, whoever signed it by whichever of the two."""
    listed, _ = decoder.decode(LISTS["RSA, SHA-512"], asn1Spec=rfc5280.CertificateList())
    other, _ = decoder.decode(LISTS["RSA"], asn1Spec=rfc5280.CertificateList())
    listed["signatureAlgorithm"] = other["signatureAlgorithm"]
    for hashed in (hashes.SHA256(), hashes.SHA512()):
        signed = RSA.sign(encoder.encode(listed["tbsCertList"]), padding.PKCS1v15(), hashed)
        listed["signature"] = listed["signature"].clone(hexValue=signed.hex())
        with pytest.raises(ParseError):
            parse_crl(encoder.encode(listed))


def test_a_large_list_is_checked_in_no_time():
    """The library's check of it takes tens of milliseconds, in which no call is answered."""
    der = made(KEYS[0], entries=50_000)
    listed, crl = parse_crl(der), x509.load_der_x509_crl(der)
    key = KEYS[0].public_key()
    assert took(lambda: listed.signature.made_by(key)) < 0.2 * took(
        lambda: crl.is_signature_valid(key)
    )


def took(work):
    """The least processor time of several."""
    found = []
    for _ in range(5):
        began = time.thread_time()
        assert work()
        found.append(time.thread_time() - began)
    return min(found)
