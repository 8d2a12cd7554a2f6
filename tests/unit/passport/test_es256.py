"""Both libraries of signatures say the same of everything, and neither believes a bad one."""

import hashlib
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.core.errors import ConfigError
from zhenxian.passport import es256
from zhenxian.passport.es256 import AwsLc, Choice, OpenSsl, available, library, use
from zhenxian.passport.jws import SigningKey

KEY = ec.generate_private_key(ec.SECP256R1())
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
PRIME = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
LIBRARIES = {"openssl": OpenSsl(), "aws-lc": AwsLc()}
PUBLIC = {name: one.verifies(KEY.public_key()) for name, one in LIBRARIES.items()}
PRIVATE = {name: one.signs(KEY) for name, one in LIBRARIES.items()}
DIGEST = hashlib.sha256(b"a call").digest()
GOOD = PRIVATE["openssl"].sign(DIGEST)
R, S = int.from_bytes(GOOD[:32], "big"), int.from_bytes(GOOD[32:], "big")


def raw(r, s):
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def both(digest, signature):
    """What both say, which is the same."""
    said = {name: key.verifies(digest, signature) for name, key in PUBLIC.items()}
    assert said["openssl"] is said["aws-lc"], said
    return said["openssl"]


@pytest.mark.parametrize("signs", LIBRARIES)
@pytest.mark.parametrize("message", [b"", b"a", bytes(1000)])
def test_what_one_signs_the_other_verifies(signs, message):
    digest = hashlib.sha256(message).digest()
    signature = PRIVATE[signs].sign(digest)
    assert len(signature) == 64
    assert both(digest, signature)
    assert not both(hashlib.sha256(message + b"x").digest(), signature)


@pytest.mark.parametrize("signs", LIBRARIES)
def test_nonces_are_never_the_same(signs):
    assert len({PRIVATE[signs].sign(DIGEST)[:32] for _ in range(500)}) == 500


def test_either_half_of_the_curve_verifies():
    assert both(DIGEST, raw(R, S))
    assert both(DIGEST, raw(R, ORDER - S))


# As the vectors of Wycheproof for ECDSA have them: values at and beyond the ends of their ranges.
EDGES = [0, 1, 2, 3, ORDER - 2, ORDER - 1, ORDER, ORDER + 1, PRIME - ORDER, PRIME - 1, PRIME,
         PRIME + 1, 2**128, 2**255, 2**256 - 1]  # fmt: skip


@pytest.mark.parametrize("r", [*EDGES, R, ORDER - R])
@pytest.mark.parametrize("s", [*EDGES, S, ORDER - S])
def test_no_value_out_of_its_range_is_believed(r, s):
    assert both(DIGEST, raw(r, s)) is (r == R and s in (S, ORDER - S))


@pytest.mark.parametrize("bit", range(512))
def test_no_altered_bit_is_believed(bit):
    altered = bytearray(GOOD)
    altered[bit // 8] ^= 1 << bit % 8
    assert not both(DIGEST, bytes(altered))


@pytest.mark.parametrize(
    "signature",
    [
        b"",
        GOOD[:-1],
        GOOD + b"\0",
        b"\0" + GOOD,
        GOOD * 2,
        encode_dss_signature(R, S),  # the form of certificates, which tokens have not
        encode_dss_signature(1, 1).ljust(64, b"\0"),
        bytes(64),
        b"\xff" * 64,
    ],
)
def test_nothing_but_64_octets_of_this_key_is_believed(signature):
    assert not both(DIGEST, signature)


@pytest.mark.parametrize("digest", [b"", DIGEST[:31], DIGEST + b"\0", bytes(32), DIGEST * 2])
def test_nothing_but_the_whole_digest_is_believed(digest):
    assert not both(digest, GOOD)


@given(st.binary(min_size=64, max_size=64), st.binary(min_size=32, max_size=32))
def test_random_octets_are_never_believed(signature, digest):
    assert not both(digest, signature)


@given(st.integers(1, ORDER - 1), st.binary(max_size=64))
def test_any_key_signs_and_verifies_with_both(secret, message):
    key = ec.derive_private_key(secret, ec.SECP256R1())
    digest = hashlib.sha256(message).digest()
    for one in LIBRARIES.values():
        signature = one.signs(key).sign(digest)
        for other in LIBRARIES.values():
            assert other.verifies(key.public_key()).verifies(digest, signature)
            assert not other.verifies(KEY.public_key()).verifies(digest, signature)


@pytest.mark.parametrize("secret", [1, 2, 255, 2**8, 2**200, ORDER - 1, ORDER - 2])
def test_keys_with_leading_zeros_are_the_same_keys(secret):
    key = ec.derive_private_key(secret, ec.SECP256R1())
    signature = LIBRARIES["aws-lc"].signs(key).sign(DIGEST)
    assert LIBRARIES["openssl"].verifies(key.public_key()).verifies(DIGEST, signature)


class Wrong:
    """awscrt.crypto.EC, but always with a key of its own."""

    @staticmethod
    def new_key_from_der_data(der):
        other = ec.generate_private_key(ec.SECP256R1())
        form = Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
        return LIBRARIES["aws-lc"]._ec.new_key_from_der_data(other.private_bytes(*form))

    decode_der_signature_to_padded_pair = staticmethod(
        LIBRARIES["aws-lc"]._ec.decode_der_signature_to_padded_pair
    )


class Raising:
    """awscrt.crypto.EC where it takes nothing."""

    @staticmethod
    def new_key_from_der_data(der):
        raise RuntimeError("7179 (AWS_ERROR_CAL_CRYPTO_OPERATION_FAILED)")


@pytest.mark.parametrize("ec_class", [Wrong, Raising])
def test_a_library_that_holds_another_key_is_not_used(ec_class):
    broken = AwsLc()
    broken._ec = ec_class
    with pytest.raises(ConfigError, match="AWS-LC"):
        broken.signs(KEY)
    with pytest.raises(ConfigError, match="AWS-LC"):
        broken.verifies(KEY.public_key())


def test_what_the_library_raises_is_no_good_signature():
    class Failing:
        def verify(self, digest, signature):
            raise RuntimeError("34 (AWS_ERROR_INVALID_ARGUMENT)")

    assert es256._AwsLcVerifies(Failing()).verifies(DIGEST, GOOD) is False


@pytest.fixture
def without_aws_lc(monkeypatch):
    monkeypatch.setitem(sys.modules, "awscrt", None)
    es256._aws_lc.cache_clear()
    yield
    es256._aws_lc.cache_clear()


def test_aws_lc_is_used_where_it_is_installed():
    assert isinstance(library(), AwsLc)
    assert library().version().startswith("AWS-LC in awscrt ")


def test_openssl_is_used_where_it_is_not(without_aws_lc):
    assert isinstance(library(), OpenSsl)
    assert library().version().startswith("OpenSSL ")
    assert not available(Choice.AWS_LC)
    with pytest.raises(ConfigError, match="not installed"):
        use(Choice.AWS_LC)
    key = SigningKey(KEY)
    assert key.verifying_key.verifies(b"input", key.sign(b"input"))


def test_the_choice_is_kept_to(es256):
    assert isinstance(library(), {"openssl": OpenSsl, "aws-lc": AwsLc}[es256.value])


def test_no_key_shows_itself():
    secret = KEY.private_numbers().private_value
    for private in PRIVATE.values():
        assert f"{secret:x}" not in repr(private)
