"""Lists that cover certificates because the operator says whom their issuer may speak for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from zhenxian.certs.ca import DAY, Authority, new_key, pem
from zhenxian.certs.chain import TrustedSigner, Untrusted, parse_chain, validate
from zhenxian.certs.crl import HeldList, parse_crl
from zhenxian.certs.revocation import Assignment, Ground, RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason

NOW = 1_795_500_000
BEGIN, END = NOW - DAY, NOW + 90 * DAY
DATES = {"not_before": BEGIN, "not_after": END}
URL, OTHER = "https://lists.example/crl", "https://other.example/crl"
STIR_TN_LIST = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.14")


def pointing(*urls, issuer=None, reasons=None):
    """A change that leaves a certificate with these points only."""

    def change(builder):
        builder._extensions = [
            e for e in builder._extensions if not isinstance(e.value, x509.CRLDistributionPoints)
        ]
        points = [
            x509.DistributionPoint(
                [x509.UniformResourceIdentifier(url)],
                None,
                reasons,
                [x509.DirectoryName(issuer)] if issuer is not None else None,
            )
            for url in urls
        ]
        if not points:
            return builder
        return builder.add_extension(x509.CRLDistributionPoints(points), critical=False)

    return change


def by_reference(builder):
    """A TNAuthList by reference (RFC 8226 section 10.1)."""
    where = x509.UniformResourceIdentifier("https://tn.example/list")
    access = x509.AuthorityInformationAccess([x509.AccessDescription(STIR_TN_LIST, where)])
    return builder.add_extension(access, critical=False)


AT_URL = pointing(URL)


class Realm:
    """A root, its STI-CA, and the office that signs the lists for it."""

    def __init__(self, label, ca=AT_URL):
        self.office = Authority.create_root(f"{label} lists", **DATES)
        self.root = Authority.create_root(f"{label} root", **DATES)
        self.ca = self.root.create_intermediate(f"{label} CA", change=ca, **DATES)

    def leaf(self, change=AT_URL, authority=None):
        authority = authority or self.ca
        leaf = authority.issue_shaken("1234", new_key().public_key(), change=change, **DATES)
        return authority.chain(leaf)

    def crl(self, *revoked, point=None, until=NOW + DAY, indirect=True, **scope):
        """What the office says; `point` is the address that the list itself tells."""
        full_name = [x509.UniformResourceIdentifier(point)] if point else None
        distribution = {
            "full_name": full_name,
            "relative_name": None,
            "only_contains_user_certs": False,
            "only_contains_ca_certs": False,
            "only_some_reasons": None,
            "indirect_crl": indirect,
            "only_contains_attribute_certs": False,
        } | scope
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.office.certificate.subject)
            .last_update(datetime.fromtimestamp(NOW - 60, UTC))
            .next_update(datetime.fromtimestamp(until, UTC))
        )
        if point or indirect or scope:
            extension = x509.IssuingDistributionPoint(**distribution)
            builder = builder.add_extension(extension, critical=True)
        for certificate in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
            entry = entry.revocation_date(datetime.fromtimestamp(NOW - 60, UTC))
            named = x509.CertificateIssuer([x509.DirectoryName(certificate.issuer)])
            builder = builder.add_revoked_certificate(
                entry.add_extension(named, critical=True).build()
            )
        return builder.sign(self.office.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def fetched(self, *revoked, url=URL, sure=True, **more):
        return HeldList(self.crl(*revoked, **more), url, sure)

    def speaks_for(self, *realms, addresses=()):
        roots = TrustList(tuple(realm.root.certificate for realm in realms or (self,)))
        return Assignment(TrustList((self.office.certificate,)), roots, addresses)

    @property
    def unassigned(self):
        return Assignment(TrustList((self.office.certificate,)))


A, B = Realm("A"), Realm("B")


def judged(chain, *lists, assigned, roots=(A, B), policy=RevocationPolicy.REQUIRE):
    trust = TrustList(tuple(realm.root.certificate for realm in roots), "t")
    view, problems = build_view(
        lists, issuers=TrustList(), assigned=assigned, trust=trust, policy=policy
    )
    assert not problems
    return validate(parse_chain(pem(*chain)), now=NOW, trust=trust, revocation=view)


def grounds(outcome):
    assert isinstance(outcome, TrustedSigner), outcome
    return [status.ground for status in outcome.statuses]


def refused(outcome, reason=Reason.CRL_UNAVAILABLE):
    assert isinstance(outcome, Untrusted), outcome
    assert outcome.reason is reason


# Certificates that point to the list's own address -----------------------------------------------


def test_the_list_at_the_address_covers_what_does_not_name_its_issuer():
    outcome = judged(A.leaf(), A.fetched(), assigned=[A.speaks_for()])
    assert grounds(outcome) == [Ground.ADDRESS, Ground.ADDRESS]
    assert not outcome.revocation_unchecked
    assert len([note for note in outcome.notes if note.startswith("revocation")]) == 2
    assert "A lists" in outcome.notes[0]
    assert URL in outcome.notes[0]
    assert "does not name" in outcome.notes[0]


def test_it_revokes_too():
    chain = A.leaf()
    listed = A.fetched(chain[0])
    refused(judged(chain, listed, assigned=[A.speaks_for()]), Reason.CERT_REVOKED)


@pytest.mark.parametrize("point", [None, URL])
def test_without_an_assignment_only_the_letter_counts(point):
    outcome = judged(A.leaf(), A.fetched(point=point), assigned=[A.unassigned])
    refused(outcome)
    assert "trust.crl_issuers" in outcome.detail
    named = pointing(URL, issuer=A.office.certificate.subject)
    realm = Realm("A", named)
    realm.office = A.office
    outcome = judged(realm.leaf(named), A.fetched(), assigned=[A.unassigned], roots=(realm, B))
    assert grounds(outcome) == [Ground.NAMED, Ground.NAMED]
    assert outcome.notes == ()


def test_a_point_may_name_the_issuer_otherwise():
    """Real CAs turn the order of its RDNs, which makes another name."""
    turned = x509.Name(list(reversed(A.office.certificate.subject.rdns)))
    outcome = judged(A.leaf(pointing(URL, issuer=turned)), A.fetched(), assigned=[A.speaks_for()])
    assert grounds(outcome)[0] is Ground.ADDRESS
    assert "names another issuer" in outcome.notes[0]


def test_with_a_single_trusted_root_there_is_nothing_to_assign():
    outcome = judged(A.leaf(), A.fetched(), assigned=[A.unassigned], roots=(A,))
    assert grounds(outcome) == [Ground.ADDRESS, Ground.ADDRESS]


@pytest.mark.parametrize(
    ("held", "addresses", "covered"),
    [
        (A.fetched(), (), True),
        (A.fetched(url="HTTPS://Lists.Example:443/crl"), (), True),
        (A.fetched(url=OTHER), (), False),
        (A.fetched(point=URL, url=OTHER), (), True),  # the list itself says where it belongs
        (A.fetched(point=OTHER), (), False),
        (A.fetched(point=OTHER), (URL,), False),
        (A.fetched(sure=False), (), False),  # over http another's list can be put there
        (A.fetched(sure=False), (URL,), True),  # unless the operator says that it is this one's
        (A.fetched(sure=False, point=URL), (), True),
        (HeldList(A.crl()), (), True),  # put there by hand, for whatever its issuer speaks for
        (HeldList(A.crl()), (URL,), True),
        (HeldList(A.crl()), (OTHER,), False),
        (HeldList(A.crl(point=OTHER)), (), False),
        (A.fetched(url="", sure=False), (), False),  # from an address that was forgotten
    ],
)
def test_which_address_is_the_lists_own(held, addresses, covered):
    outcome = judged(A.leaf(), held, assigned=[A.speaks_for(addresses=addresses)])
    if covered:
        assert grounds(outcome) == [Ground.ADDRESS, Ground.ADDRESS]
    else:
        refused(outcome)


@pytest.mark.parametrize(
    ("held", "change"),
    [
        (A.fetched(until=NOW), pointing(URL)),  # stale
        (A.fetched(indirect=False), pointing(URL)),  # it speaks of its own certificates only
        (A.fetched(only_contains_ca_certs=True), pointing(URL)),
        (A.fetched(), pointing(OTHER)),
        (A.fetched(), pointing(URL, reasons=frozenset({x509.ReasonFlags.superseded}))),
    ],
)
def test_what_does_not_cover(held, change):
    refused(judged(A.leaf(change), held, assigned=[A.speaks_for()]))


def test_another_of_its_lists_does_not_take_a_revocation_back():
    """Parts of one list that do not say so, from two addresses; the clean one is no older."""
    chain = A.leaf()
    lists = (A.fetched(chain[0]), A.fetched(url=OTHER))
    refused(judged(chain, *lists, assigned=[A.speaks_for()]), Reason.CERT_REVOKED)


# Two lists and two roots -------------------------------------------------------------------------

BOTH = [A.speaks_for(), B.speaks_for()]
NAMES_A = pointing(URL, issuer=A.office.certificate.subject)
B_ALL_A = Realm("B", NAMES_A)
B_NO_POINT = Realm("B", pointing())


def test_each_list_covers_its_own_root():
    lists = (A.fetched(), B.fetched(url=OTHER))
    assert grounds(judged(A.leaf(), *lists, assigned=BOTH))[0] is Ground.ADDRESS
    realm = Realm("B", pointing(OTHER))
    realm.office = B.office
    outcome = judged(
        realm.leaf(pointing(OTHER)),
        *lists,
        assigned=[A.speaks_for(), B.speaks_for(realm)],
        roots=(A, realm),
    )
    assert grounds(outcome) == [Ground.ADDRESS, Ground.ADDRESS]


@pytest.mark.parametrize(
    ("realm", "change"),
    [(B, pointing(URL)), (B_ALL_A, NAMES_A), (B_NO_POINT, pointing())],
    ids=["points to it", "names its issuer", "points nowhere"],
)
@pytest.mark.parametrize("held", [A.fetched(), A.fetched(point=URL), HeldList(A.crl())])
def test_list_a_does_not_cover_what_is_below_root_b(realm, change, held):
    chain = realm.leaf(change)
    refused(judged(chain, held, assigned=[A.speaks_for()], roots=(A, realm)))
    outcome = judged(chain, held, assigned=[A.speaks_for(A, realm)], roots=(A, realm))
    assert isinstance(outcome, TrustedSigner)


@pytest.mark.parametrize("held", [A.fetched(), HeldList(A.crl())])
def test_nor_does_it_when_nobody_is_assigned(held):
    for realm, change in ((B, pointing(URL)), (B_NO_POINT, pointing())):
        chain = realm.leaf(change)
        refused(judged(chain, held, assigned=[A.unassigned, B.unassigned], roots=(A, realm)))


def test_list_a_revokes_below_root_b_only_what_names_its_issuer():
    chain = B.leaf()
    listed = A.fetched(chain[0])
    lists = (listed, B.fetched())
    assert isinstance(judged(chain, *lists, assigned=BOTH), TrustedSigner)
    named = B_ALL_A.leaf(NAMES_A)
    refused(
        judged(named, A.fetched(named[0]), assigned=[A.speaks_for()], roots=(A, B_ALL_A)),
        Reason.CERT_REVOKED,
    )


def test_a_root_is_its_name_and_key():
    """The STI-PA's list may hold another certificate of it than the operator assigned to."""
    again = x509.CertificateBuilder(
        A.root.certificate.subject,
        A.root.certificate.subject,
        A.root.key.public_key(),
        7,
        datetime.fromtimestamp(BEGIN, UTC),
        datetime.fromtimestamp(END, UTC),
    ).sign(A.root.key, hashes.SHA256())
    entry = Assignment(TrustList((A.office.certificate,)), TrustList((again,)))
    assert grounds(judged(A.leaf(), A.fetched(), assigned=[entry]))[0] is Ground.ADDRESS


# Certificates without any point ------------------------------------------------------------------


@pytest.mark.parametrize("held", [A.fetched(), A.fetched(point=URL), HeldList(A.crl())])
def test_what_an_sti_ca_issued_without_a_point_is_covered(held):
    outcome = judged(A.leaf(pointing()), held, assigned=[A.speaks_for()])
    assert grounds(outcome) == [Ground.ASSIGNED, Ground.ADDRESS]
    assert "points to none" in outcome.notes[0]


def test_so_is_the_sti_ca_itself():
    realm = Realm("A", pointing())
    realm.office = A.office
    outcome = judged(realm.leaf(), A.fetched(), assigned=[A.speaks_for(realm)], roots=(realm, B))
    assert grounds(outcome) == [Ground.ADDRESS, Ground.ASSIGNED]


def delegates():
    """Ways to be a delegate who makes certificates, or to be below one."""
    listed = TNAuthList((SPC("1234"),))
    value = A.ca.create_intermediate("by value", tnauthlist=listed, change=pointing(URL), **DATES)
    below = value.create_intermediate("below one", change=pointing(URL), **DATES)

    def change(builder):
        return by_reference(pointing(URL)(builder))

    reference = A.ca.create_intermediate("by reference", change=change, **DATES)
    return {"value": value, "below": below, "reference": reference}


@pytest.mark.parametrize(("name", "delegate"), delegates().items())
def test_nothing_below_a_delegate_may_leave_the_point_out(name, delegate):
    chain = A.leaf(pointing(), delegate)
    # A TNAuthList that is not fetched refuses by itself, before lists are asked for.
    unread = Reason.TNAUTHLIST_MISSING
    reason = unread if name == "reference" else Reason.CRL_UNAVAILABLE
    refused(judged(chain, A.fetched(), assigned=[A.speaks_for()]), reason)
    refused(judged(chain, HeldList(A.crl()), assigned=[A.speaks_for()]), reason)
    refused(judged(chain, A.fetched(), assigned=[A.unassigned], roots=(A,)), reason)
    if name == "reference":
        listed = A.leaf(pointing(URL), delegate)
        refused(judged(listed, A.fetched(), assigned=[A.speaks_for()]), unread)
        return
    covered = judged(A.leaf(pointing(URL), delegate), A.fetched(), assigned=[A.speaks_for()])
    assert set(grounds(covered)) == {Ground.ADDRESS}


def test_a_list_of_the_ca_itself_goes_first():
    chain = A.leaf(pointing())
    own = A.ca.issue_crl([], this_update=NOW - 60, next_update=NOW + DAY)
    outcome = judged(chain, A.fetched(), own, assigned=[A.speaks_for()])
    assert grounds(outcome) == [Ground.OWN, Ground.ADDRESS]
    revoking = A.ca.issue_crl([chain[0]], this_update=NOW - 60, next_update=NOW + DAY)
    refused(judged(chain, A.fetched(), revoking, assigned=[A.speaks_for()]), Reason.CERT_REVOKED)


def test_a_list_that_was_read_is_not_read_again():
    """Also when it is held from elsewhere now: only its octets tell it."""
    trust = TrustList((A.root.certificate,), "t")
    more = {"issuers": TrustList(), "trust": trust, "assigned": [A.speaks_for()]}
    listed = A.crl()
    first, _ = build_view([HeldList(listed, OTHER, True)], policy=RevocationPolicy.REQUIRE, **more)
    read = []
    fresh = A.crl(point=URL)
    view, _ = build_view(
        [HeldList(listed, URL, True), fresh],
        policy=RevocationPolicy.REQUIRE,
        before=first,
        read=lambda data: read.append(data) or parse_crl(data),
        **more,
    )
    assert read == [fresh]
    chain = parse_chain(pem(*A.leaf()))
    assert isinstance(validate(chain, now=NOW, trust=trust, revocation=view), TrustedSigner)
    old = validate(chain, now=NOW, trust=trust, revocation=first)
    assert isinstance(old, Untrusted)
