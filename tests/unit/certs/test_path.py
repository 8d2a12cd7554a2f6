"""Roots as people make them, critical extensions, algorithms: trusted, or refused by name."""

from __future__ import annotations

import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from test_profile import DATES, NOW, USAGES, VIEW, policy, replaced, usage, without

from zhenxian.certs import constraints, tnauthlist
from zhenxian.certs.ca import Authority, name, new_key, pem
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.enforced import BY_REFERENCE, ENFORCED
from zhenxian.certs.profile import ProfilePolicy, Role, check_profile, role_of
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList, load_roots, load_trust_list
from zhenxian.cli.explain import explain_chain, explain_path
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason

KEY = new_key().public_key()
SHAKEN = TNAuthList((SPC("1234"),))
STRICT = ProfilePolicy(strict=True)


def _raw(oid, value, *, critical=True):
    extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
    return lambda b: b.add_extension(extension, critical=critical)


def _critical(kind):
    """The extension of this kind, made critical."""

    def change(builder):
        (item,) = (e for e in builder._extensions if isinstance(e.value, kind))
        return without(builder, kind).add_extension(item.value, critical=True)

    return change


def _known(oid):
    def change(builder):
        (item,) = (e for e in builder._extensions if e.oid == oid)
        builder._extensions.remove(item)
        return builder.add_extension(item.value, critical=True)

    return change


class Path:
    """A root, a CA and a carrier, of which each may be changed, and signed as said."""

    def __init__(
        self, *, root=None, ca=None, leaf=None, root_key=None, ca_key=None, root_hash=None,
        ca_hash=None,
    ):  # fmt: skip
        unchanged = lambda builder: builder  # noqa: E731
        above = Authority.create_root("root", **DATES)
        middle = above.create_intermediate("ca", **DATES)
        self.root_key, self.ca_key = root_key or above.key, ca_key or middle.key
        self.root = self._made(
            above.certificate, self.root_key, self.root_key, root or unchanged, root_hash
        )
        self.ca = self._made(
            middle.certificate, self.ca_key, self.root_key, ca or unchanged, root_hash
        )
        carrier = middle.issue_shaken("1234", KEY, **DATES)
        self.leaf = self._made(carrier, None, self.ca_key, leaf or unchanged, ca_hash)

    def _made(self, like, key, signer, change, digest):
        public = key.public_key() if key is not None else like.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(like.subject)
            .issuer_name(like.issuer)
            .public_key(public)
            .serial_number(like.serial_number)
            .not_valid_before(like.not_valid_before_utc)
            .not_valid_after(like.not_valid_after_utc)
        )
        issuer = signer.public_key()
        for item in like.extensions:
            value = item.value
            if isinstance(value, x509.SubjectKeyIdentifier):
                value = x509.SubjectKeyIdentifier.from_public_key(public)
            if isinstance(value, x509.AuthorityKeyIdentifier):
                value = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer)
            builder = builder.add_extension(value, critical=item.critical)
        return change(builder).sign(signer, digest or hashes.SHA256())

    def outcome(self, *, profile=None, roots=None, chain=None):
        return validate(
            parse_chain(pem(*(chain or (self.leaf, self.ca)))),
            now=NOW,
            trust=TrustList((self.root,) if roots is None else roots, "t"),
            revocation=VIEW,
            profile=profile or ProfilePolicy(),
        )


def agreed(path, **how):
    """What validation says; the profile of each certificate says the same."""
    outcome = path.outcome(**how)
    shown = explain_chain(parse_chain(pem(path.leaf, path.ca)), NOW)
    violates = any(violation["must"] for entry in shown for violation in entry["violations"])
    assert violates is isinstance(outcome, Untrusted), (outcome, shown)
    return outcome


# Roots -------------------------------------------------------------------------------------------

ROOTS = {
    "no key usage": lambda b: without(b, x509.KeyUsage),
    "a key usage without keyCertSign": replaced(usage("digital_signature"), critical=True),
    "basicConstraints not critical": replaced(x509.BasicConstraints(ca=True, path_length=None)),
    "critical policies": lambda b: b.add_extension(policy("1.2.3.4"), critical=True),
    "an unknown critical extension": _raw("1.2.3.4", b"\x05\x00"),
    "a critical identifier of its key": _critical(x509.SubjectKeyIdentifier),
    "a purpose of its own": lambda b: b.add_extension(
        x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.2.3")]), critical=True
    ),
    "an identifier without a key": lambda b: b.add_extension(
        x509.AuthorityKeyIdentifier(None, [x509.DirectoryName(name("root"))], 7), critical=False
    ),
}


@pytest.mark.parametrize("change", ROOTS.values(), ids=ROOTS)
def test_what_a_root_says_of_itself_does_no_harm(change, tmp_path):
    path = Path(root=change)
    assert isinstance(agreed(path), TrustedSigner)
    (tmp_path / "root.pem").write_bytes(pem(path.root))
    assert load_roots(tmp_path / "root.pem").roots == (path.root,)
    assert not [v for v in check_profile(path.root, Role.ROOT) if v.must]


@pytest.mark.parametrize("change", ROOTS.values(), ids=ROOTS)
def test_nothing_of_that_reaches_what_is_between(change):
    """The same on an intermediate refuses, but for policies, which are enforced."""
    outcome = agreed(Path(ca=lambda b: change(_without_aki(b))))
    if change is ROOTS["critical policies"]:
        return
    assert isinstance(outcome, Untrusted)
    assert outcome.reason in (Reason.CERT_PROFILE, Reason.CERT_UNTRUSTED)


def _without_aki(builder):
    """So that one can be added; policies likewise."""
    return without(without(builder, x509.AuthorityKeyIdentifier), x509.CertificatePolicies)


@pytest.mark.parametrize(
    ("curve", "digest"),
    [(ec.SECP384R1(), hashes.SHA384()), (ec.SECP521R1(), hashes.SHA512())],
    ids=["P-384", "P-521"],
)
def test_roots_of_longer_keys_are_trusted(curve, digest):
    path = Path(root_key=ec.generate_private_key(curve), root_hash=digest)
    assert isinstance(agreed(path), TrustedSigner)


def test_a_root_as_openssl_makes_it_is_trusted(tmp_path):
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "root.pem",
            "-subj", "/C=US/O=Field/CN=root", "-days", "3650",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    (root,) = load_roots(tmp_path / "root.pem").roots
    assert not any(isinstance(item.value, x509.KeyUsage) for item in root.extensions)


def test_a_root_that_cannot_be_one_is_refused_at_load_by_name(tmp_path):
    file = tmp_path / "root.pem"
    cases = {
        "basicConstraints are expected, which path validation needs": Path(
            root=lambda b: without(b, x509.BasicConstraints)
        ).root,
        "cA true are expected of what issues certificates, not cA false": Path(
            root=replaced(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        ).root,
        "a SEQUENCE of [0] service provider code": Path(
            root=_raw(tnauthlist.OID.dotted_string, b"\x30\x00", critical=False)
        ).root,
        "by reference": Path(
            root=lambda b: b.add_extension(
                x509.AuthorityInformationAccess(
                    [x509.AccessDescription(BY_REFERENCE, x509.DNSName("list.example"))]
                ),
                critical=False,
            )
        ).root,
        "RSA of 1024 bits": Path(root_key=rsa.generate_private_key(65537, 1024)).root,
        "secp224r1": Path(root_key=ec.generate_private_key(ec.SECP224R1())).root,
        "directory names": Path(
            root=lambda b: b.add_extension(
                x509.NameConstraints([x509.DirectoryName(name("x"))], None), critical=True
            )
        ).root,
    }
    for text, root in cases.items():
        file.write_bytes(pem(root))
        with pytest.raises(ConfigError) as caught:
            load_roots(file)
        assert text in str(caught.value)
        assert "CN=root" in str(caught.value)
        assert str(file) in str(caught.value)
        assert load_trust_list(file).roots == (root,)  # who signs lists need not be a root


def test_what_a_root_says_of_numbers_and_of_the_length_of_paths_holds():
    codes = _raw(tnauthlist.OID.dotted_string, TNAuthList((SPC("5678"),)).dumps(), critical=False)
    outcome = Path(root=codes).outcome()
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is Reason.TNAUTHLIST_NOT_COVERED
    outcome = Path(root=replaced(x509.BasicConstraints(ca=True, path_length=0))).outcome()
    assert isinstance(outcome, Untrusted)
    assert "path length constraint" in outcome.detail


def test_a_list_as_a_json_web_signature_is_told_for_what_it_is(tmp_path):
    file = tmp_path / "roots.jws"
    for content in ("eyJhbGciOiJFUzI1NiJ9.eyJhIjoxfQ.c2ln", '{"payload": "e30", "signatures": []}'):
        file.write_text(content)
        with pytest.raises(ConfigError, match=r"JSON web signature.*not read yet"):
            load_roots(file)


# Critical extensions: one list -------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        _critical(x509.CertificatePolicies),
        _critical(x509.CRLDistributionPoints),
        _known(tnauthlist.OID),
        _raw(constraints.OID.dotted_string, bytes.fromhex("3008a00630041602") + b"ab"),
        lambda b: b.add_extension(
            x509.SubjectAlternativeName([x509.DNSName("a.example")]), critical=True
        ),
        lambda b: b.add_extension(
            x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.5.29.37.0")]), critical=True
        ),
    ],
    ids=["policies", "points", "tnauthlist", "constraints", "names", "any purpose"],
)  # fmt: skip
def test_what_is_enforced_may_be_critical_on_a_leaf(change):
    assert isinstance(agreed(Path(leaf=change)), TrustedSigner)


@pytest.mark.parametrize("kind", [x509.CertificatePolicies, x509.CRLDistributionPoints])
def test_what_is_enforced_may_be_critical_on_a_ca(kind):
    assert isinstance(agreed(Path(ca=_critical(kind))), TrustedSigner)


UNFIT = {
    "1.2.3.4": _raw("1.2.3.4", b"\x05\x00"),
    "authorityKeyIdentifier": _critical(x509.AuthorityKeyIdentifier),
    "subjectKeyIdentifier": _critical(x509.SubjectKeyIdentifier),
    "policyConstraints": lambda b: b.add_extension(x509.PolicyConstraints(0, None), critical=True),
    "inhibitAnyPolicy": lambda b: b.add_extension(x509.InhibitAnyPolicy(0), critical=True),
    "1.3.6.1.5.5.7.3.1": lambda b: b.add_extension(
        x509.ExtendedKeyUsage([x509.ObjectIdentifier("1.3.6.1.5.5.7.3.1")]), critical=True
    ),
    "directory names": lambda b: b.add_extension(
        x509.NameConstraints([x509.DirectoryName(name("x"))], None), critical=True
    ),
    "limit directory names": lambda b: b.add_extension(
        x509.NameConstraints(None, [x509.DirectoryName(name("x"))]), critical=True
    ),
}


@pytest.mark.parametrize("text", UNFIT)
@pytest.mark.parametrize("where", ["leaf", "ca"])
def test_what_is_not_enforced_may_not_be_critical(text, where):
    outcome = agreed(Path(**{where: UNFIT[text]}))
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is Reason.CERT_PROFILE
    assert text in outcome.detail
    assert f"CN={'ca' if where == 'ca' else 'SHAKEN 1234'}" in outcome.where


def test_the_list_names_no_extension_twice():
    assert len({kind.oid for kind in ENFORCED}) == len(ENFORCED)


# Intermediates -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replaced(x509.BasicConstraints(ca=False, path_length=None), critical=True),
         Reason.CERT_UNTRUSTED),
        (lambda b: without(b, x509.BasicConstraints), Reason.CERT_UNTRUSTED),
        (lambda b: without(b, x509.KeyUsage), Reason.CERT_PROFILE),
        (replaced(usage("digital_signature", "crl_sign"), critical=True), Reason.CERT_PROFILE),
    ],
)  # fmt: skip
@pytest.mark.parametrize("profile", [ProfilePolicy(), STRICT])
def test_an_intermediate_is_always_a_ca_that_may_sign_certificates(change, expected, profile):
    outcome = Path(ca=change).outcome(profile=profile)
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is expected
    assert "CN=ca" in outcome.where


@pytest.mark.parametrize(
    ("key", "digest", "good"),
    [
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), True),
        (rsa.generate_private_key(65537, 2048), hashes.SHA256(), True),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), False),
        (rsa.generate_private_key(65537, 1024), hashes.SHA256(), False),
    ],
    ids=["P-384", "RSA", "P-521", "short RSA"],
)
def test_algorithms_of_cas(key, digest, good):
    path = Path(ca_key=key, ca_hash=digest)
    outcome = agreed(path)
    strict = path.outcome(profile=STRICT)
    assert isinstance(strict, Untrusted)
    assert strict.reason is Reason.CERT_PROFILE
    if not good:
        assert isinstance(outcome, Untrusted)
        assert outcome.reason is Reason.CERT_PROFILE
        return
    assert isinstance(outcome, TrustedSigner)
    assert {(d.role, d.code) for d in outcome.departures} == {
        ("leaf", "SIGNATURE_ALGORITHM"),
        ("intermediate", "KEY"),
    }
    assert outcome.notes[-1] == outcome.departures[-1].text


def test_a_leaf_stays_p_256():
    for key in (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):

        def other(builder, key=key):
            builder._public_key = key.public_key()
            return builder

        leaf = Path(leaf=other)
        outcome = agreed(leaf)
        assert isinstance(outcome, Untrusted)
        assert outcome.reason is Reason.CERT_PROFILE


def test_path_length_and_a_missing_ca_are_told():
    path = Path()
    below = Authority(path.ca, path.ca_key).create_intermediate("below", **DATES)
    leaf = below.issue_shaken("1234", KEY, **DATES)
    limited = Path(
        root=replaced(x509.BasicConstraints(ca=True, path_length=0), critical=True),
        root_key=path.root_key,
    )
    outcome = path.outcome(chain=(leaf, below.certificate, path.ca), roots=(limited.root,))
    assert isinstance(outcome, Untrusted)
    assert (outcome.reason, "permits 0 CAs" in outcome.detail) == (Reason.CERT_UNTRUSTED, True)
    outcome = path.outcome(chain=(leaf, below.certificate))
    assert isinstance(outcome, Untrusted)
    assert "its issuer, CN=ca" in outcome.detail
    stranger = Path(ca_key=new_key())
    outcome = path.outcome(chain=(path.leaf, stranger.ca))
    assert isinstance(outcome, Untrusted)
    assert "does not verify with the key of its issuer" in outcome.detail


# Leaves ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "expected", "text"),
    [
        (lambda b: without(b, x509.KeyUsage), Reason.CERT_PROFILE, "no key usage at all"),
        (replaced(usage("crl_sign"), critical=True), Reason.CERT_PROFILE, "it has cRLSign"),
        (replaced(x509.BasicConstraints(ca=True, path_length=None), critical=True),
         Reason.CERT_PROFILE, "cA true in its basicConstraints, where cA false belongs"),
        (lambda b: _raw(tnauthlist.OID.dotted_string, b"\x0c\x041234", critical=False)(
            without(b, x509.UnrecognizedExtension)),
         Reason.TNAUTHLIST_INVALID, "the octets 0c 04 31 32 33 34 stand where that belongs"),
        (_raw(constraints.OID.dotted_string, b"\x30\x00", critical=False), Reason.CERT_PROFILE,
         "a SEQUENCE of claims and their values belongs there"),
        (lambda b: without(b, x509.UnrecognizedExtension).add_extension(
            x509.AuthorityInformationAccess([x509.AccessDescription(
                BY_REFERENCE, x509.UniformResourceIdentifier("https://a.example/list"))]),
            critical=False),
         Reason.TNAUTHLIST_MISSING, "by reference (https://a.example/list)"),
    ],
    ids=["no key usage", "other key usage", "ca", "tnauthlist", "constraints", "by reference"],
)  # fmt: skip
def test_a_leaf_is_refused_by_its_own_reason(change, expected, text):
    outcome = agreed(Path(leaf=change))
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is expected
    assert text in outcome.detail


def test_a_ca_whose_list_is_given_by_reference_frees_nobody():
    access = x509.AuthorityInformationAccess(
        [x509.AccessDescription(BY_REFERENCE, x509.UniformResourceIdentifier("https://a.example"))]
    )
    path = Path(ca=lambda b: b.add_extension(access, critical=False))
    outcome = agreed(path)
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is Reason.TNAUTHLIST_MISSING
    assert "CN=ca" in outcome.where


LENIENT = {
    "KEY_USAGE_OTHERS": replaced(usage("digital_signature", *USAGES[1:3]), critical=True),
    "POLICY": replaced(policy("1.2.3.4")),
    "SUBJECT_CN": lambda b: _named(b, "Field Carrier SHAKEN 1234"),
    "SERIAL": lambda b: _numbered(b, 2**159 + 1),
    "CRLDP": replaced(
        x509.CRLDistributionPoints(
            [
                x509.DistributionPoint(
                    [x509.UniformResourceIdentifier("http://a.invalid/")], None, None, None
                )
            ]
        )
    ),
}


def _named(builder, common):
    builder._subject_name = name(common)
    return builder


def _numbered(builder, serial):
    builder._serial_number = serial
    return builder


@pytest.mark.parametrize("code", LENIENT)
def test_what_lenient_forgives_is_told_and_strict_refuses(code):
    path = Path(leaf=LENIENT[code])
    outcome = agreed(path)
    assert isinstance(outcome, TrustedSigner)
    assert [departure.code for departure in outcome.departures] == [code]
    assert "CN=" in outcome.departures[0].text
    strict = path.outcome(profile=STRICT)
    assert isinstance(strict, Untrusted)
    assert strict.reason is Reason.CERT_PROFILE


@pytest.mark.parametrize(
    "common", ["Carrier 2000 SHAKEN Cert 1234", "SHAKEN", "Field 9999", "SHAKEN Field Carrier"]
)
def test_what_is_no_code_contradicts_nothing(common):
    assert isinstance(agreed(Path(leaf=lambda b: _named(b, common))), TrustedSigner)


def test_a_serial_number_that_the_library_does_not_take_is_a_violation():
    def longer(builder):
        builder._serial_number = 2**168
        return builder

    outcome = agreed(Path(leaf=longer))
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is Reason.CERT_PROFILE
    assert "20 octets at most is expected, not 22" in outcome.detail


@pytest.mark.parametrize(
    "common", ["SHAKEN 9999", "Field Carrier SHAKEN 9999", "SHAKEN 999J Field Carrier"]
)
def test_a_contradiction_between_codes_is_always_refused(common):
    path = Path(leaf=lambda b: _named(b, common))
    agreed(path)
    for profile in (ProfilePolicy(), STRICT):
        outcome = path.outcome(profile=profile)
        assert isinstance(outcome, Untrusted)
        assert outcome.reason is Reason.CERT_PROFILE


def test_what_is_wrong_between_certificates_is_told_of_them_together():
    path = Path()
    delegator = Authority(path.ca, path.ca_key).create_intermediate(
        "delegator", **DATES, tnauthlist=TNAuthList((SPC("1"),))
    )
    leaf = delegator.issue(name("SHAKEN 2"), TNAuthList((SPC("2"),)), KEY, **DATES)
    for last, reason in (
        (delegator.certificate, "TNAUTHLIST_NOT_COVERED"),
        (Path().ca, "CERT_UNTRUSTED"),  # of the issuer's name, with another key
    ):
        first = leaf if last is delegator.certificate else path.leaf
        told = explain_path(parse_chain(pem(first, last)), NOW)
        assert (told["reason"], told["bad"]) == (reason, True)
    assert explain_path(parse_chain(pem(path.leaf, path.ca)), NOW)["reason"] is None
    assert explain_path(parse_chain(pem(path.leaf)), NOW) is None
    assert explain_path(parse_chain(pem(path.ca, path.root)), NOW) is None


def test_a_certificate_that_cannot_be_a_root_is_told():
    path = Path(root=lambda b: without(b, x509.BasicConstraints))
    (told,) = explain_chain(parse_chain(pem(path.root)), NOW)
    assert "path validation needs of a root" in told["as_root"]


def test_a_file_that_begins_with_a_ca_is_told():
    path = Path()
    first, *others = explain_chain(parse_chain(pem(path.ca, path.root)), NOW)
    assert "signs no calls" in first["first"]
    assert all("first" not in entry for entry in others)
    assert role_of(path.ca) is Role.INTERMEDIATE
