"""The profile: each departure by its code, and which of them refuse."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from zhenxian.certs.ca import DAY, Authority, create_development_pki, name, new_key, pem
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.profile import Role, check_profile
from zhenxian.certs.revocation import RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.errors import ConfigError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN

NOW = 1_795_500_000
DATES = {"not_before": NOW - DAY, "not_after": NOW + 90 * DAY}
KEY = new_key().public_key()
ROOT = Authority.create_root(**DATES)
CA = ROOT.create_intermediate(**DATES)
VIEW, _ = build_view([], issuers=TrustList(), trust=TrustList(), policy=RevocationPolicy.PREFER)
USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
    "encipher_only",
    "decipher_only",
)


def without(builder, kind):
    builder._extensions = [e for e in builder._extensions if not isinstance(e.value, kind)]
    return builder


def replaced(value, *, critical=False):
    return lambda b: without(b, type(value)).add_extension(value, critical=critical)


def usage(*names):
    return x509.KeyUsage(**{usage: usage in names for usage in USAGES})


def point(url="http://crl.invalid/shaken.crl", issuer=None):
    named = [x509.DirectoryName(name("STI-PA"))] if issuer is None else issuer
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, named)


def policy(*numbers):
    return x509.CertificatePolicies(
        [x509.PolicyInformation(x509.ObjectIdentifier(n), None) for n in numbers]
    )


US = "2.16.840.1.114569.1.1"
SIGN = "digital_signature"


@pytest.mark.parametrize(
    ("change", "code", "must"),
    [
        (replaced(usage(), critical=True), "KEY_USAGE", True),
        *(
            (replaced(usage(SIGN, other), critical=True), "KEY_USAGE_OTHERS", False)
            for other in USAGES[1:7]
        ),
        (replaced(usage(SIGN)), "KEY_USAGE_CRITICAL", False),
        (lambda b: without(b, x509.BasicConstraints), "BASIC_CONSTRAINTS", False),
        (replaced(x509.BasicConstraints(ca=False, path_length=None)), "BASIC_CONSTRAINTS", False),
        (replaced(policy(f"{US}.4", f"{US}.3")), "POLICY", False),
        (replaced(policy("1.2.3.4")), "POLICY", False),
        (replaced(x509.CRLDistributionPoints([point(), point("http://b.invalid/")])),
         "CRLDP", False),
    ],
)  # fmt: skip
def test_one_departure_gives_its_one_code(change, code, must):
    leaf = CA.issue_shaken("1234", KEY, change=change, **DATES)
    found = check_profile(leaf, Role.LEAF)
    assert [(v.code, v.must) for v in found] == [(code, must)]
    outcome = validate(
        parse_chain(pem(*CA.chain(leaf))),
        now=NOW,
        trust=TrustList((ROOT.certificate,)),
        revocation=VIEW,
    )
    assert isinstance(outcome, Untrusted if must else TrustedSigner)


def test_other_usages_are_named():
    leaf = CA.issue_shaken(
        "1", KEY, change=replaced(usage(SIGN, "key_agreement", "crl_sign"), critical=True), **DATES
    )
    (violation,) = check_profile(leaf, Role.LEAF)
    assert violation.text.endswith("keyAgreement, cRLSign")


@pytest.mark.parametrize(
    "entries", [(SPC("1"), SPC("2")), (SPC("1"), SPC("1"))], ids=["two", "one twice"]
)
def test_a_carriers_list_of_two_codes_refuses(entries):
    """It signs as the first and is held to answer as the first: the second would hide."""
    leaf = CA.issue(name("SHAKEN 1"), TNAuthList(entries), KEY, **DATES)
    assert [v.code for v in check_profile(leaf, Role.LEAF)] == ["TNAUTHLIST_SPC"]
    outcome = validate(
        parse_chain(pem(*CA.chain(leaf))),
        now=NOW,
        trust=TrustList((ROOT.certificate,)),
        revocation=VIEW,
    )
    assert isinstance(outcome, Untrusted)
    assert outcome.reason is Reason.CERT_PROFILE


def test_a_delegating_ca_is_held_to_the_usages_of_a_ca():
    listed = TNAuthList((TN("5"),))
    good = CA.create_intermediate("delegator", tnauthlist=listed, **DATES).certificate
    assert check_profile(good, Role.DELEGATE) == ()
    change = replaced(usage(SIGN), critical=True)
    bad = CA.create_intermediate("delegator", tnauthlist=listed, change=change, **DATES)
    assert [v.code for v in check_profile(bad.certificate, Role.DELEGATE)] == ["KEY_USAGE"]


# The development PKI ------------------------------------------------------------------------------


@pytest.mark.parametrize("lost", ["root", "intermediate", "crl_issuers", "key", "chain", "crl"])
def test_a_development_pki_with_a_file_lost_is_made_again(tmp_path, lost):
    made = create_development_pki(tmp_path / "pki", {"1": "A", "2": "B"}, now=NOW)
    files = {
        **made._asdict(),
        **made.carriers["2"]._asdict(),
        "crl": made.crl_folder / "sti-pa.crl",
    }
    before = made.carriers["1"].chain.read_bytes()
    files[lost].unlink()
    assert create_development_pki(tmp_path / "pki", {"1": "A", "2": "B"}, now=NOW) == made
    assert files[lost].is_file()
    assert made.carriers["1"].chain.read_bytes() != before


@pytest.mark.parametrize("stamp", ["", "soon 1 revoked:", "9999999999", "-1 1 revoked:"])
def test_a_stamp_that_says_nothing_is_replaced(tmp_path, stamp):
    folder = tmp_path / "pki"
    first = create_development_pki(folder, {"1": "A"}, now=NOW).root.read_bytes()
    (folder / "valid-until").write_text(stamp)
    assert create_development_pki(folder, {"1": "A"}, now=NOW).root.read_bytes() != first


@pytest.mark.parametrize("spc", ["../x", "", "a/b", "12 34", "1\n", "真"])
def test_a_code_that_is_no_file_name_is_refused(tmp_path, spc):
    with pytest.raises(ConfigError, match="service provider code"):
        create_development_pki(tmp_path / "pki", {spc: "A"}, now=NOW)
    assert not (tmp_path / "pki").exists()


def test_the_development_crl_covers_its_carriers(tmp_path):
    made = create_development_pki(tmp_path / "pki", {"1": "A", "2": "B"}, now=NOW, revoked=("2",))
    roots = TrustList(tuple(x509.load_pem_x509_certificates(made.root.read_bytes())))
    issuers = TrustList(tuple(x509.load_pem_x509_certificates(made.crl_issuers.read_bytes())))
    view, problems = build_view(
        [(made.crl_folder / "sti-pa.crl").read_bytes()],
        issuers=issuers,
        trust=roots,
        policy=RevocationPolicy.REQUIRE,
    )
    assert not problems
    outcomes = [
        validate(parse_chain(f.chain.read_bytes()), now=NOW, trust=roots, revocation=view)
        for f in made.carriers.values()
    ]
    assert isinstance(outcomes[0], TrustedSigner)
    assert not outcomes[0].revocation_unchecked
    assert outcomes[1].reason is Reason.CERT_REVOKED
    assert outcomes[0].key.public_bytes == x509.load_pem_x509_certificate(
        made.carriers["1"].chain.read_bytes()
    ).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


# Contradictions between codes ---------------------------------------------------------------------

NUMBER = TN("12155550100")


@pytest.mark.parametrize(
    ("common", "entries", "code"),
    [
        ("SHAKEN 9999", (SPC("1234"),), "SPC_CONTRADICTION"),
        ("SHAKEN 9999", (SPC("1234"), NUMBER), "SPC_CONTRADICTION"),
        ("Carrier SHAKEN 9999", (SPC("1234"), NUMBER), "SPC_CONTRADICTION"),
        ("SHAKEN 1234", (SPC("1234"), SPC("5678")), "TNAUTHLIST_SPC"),
        ("SHAKEN 1234", (SPC("1234"), SPC("5678"), NUMBER), "TNAUTHLIST_SPC"),
        ("SHAKEN 1234", (SPC("1234"), SPC("1234"), NUMBER), "TNAUTHLIST_SPC"),
        ("SHAKEN 1234", (SPC("1234"), NUMBER), None),
        ("Customer", (SPC("1234"), NUMBER), None),
        ("SHAKEN 9999", (NUMBER,), None),
    ],
)
def test_what_signs_calls_claims_one_code_whatever_numbers_it_names_too(common, entries, code):
    leaf = CA.issue(name(common), TNAuthList(entries), KEY, **DATES)
    trust = TrustList((ROOT.certificate,), "t")
    chain = parse_chain(pem(*CA.chain(leaf)))
    outcome = validate(chain, now=NOW, trust=trust, revocation=VIEW)
    role = Role.LEAF if NUMBER not in entries else Role.DELEGATE
    found = {item.code for item in check_profile(leaf, role) if item.must}
    if code is None:
        assert isinstance(outcome, TrustedSigner), outcome
    else:
        assert isinstance(outcome, Untrusted)
        assert outcome.reason is Reason.CERT_PROFILE
    assert found == ({code} if code else set())
