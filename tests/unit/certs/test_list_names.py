"""Lists of somebody who bears another's name, or who serves another's list.

Names are not unique: roots, CAs and issuers of lists may share one, and a delegate names its CAs
as it likes. None of them takes another's revocation back, or covers what is not below it.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from test_list_issuers import (
    DATES,
    DAY,
    NOW,
    OTHER,
    URL,
    Realm,
    grounds,
    judged,
    pointing,
    refused,
)

from zhenxian.calls.lists import LearntLists
from zhenxian.certs.ca import Authority, pem
from zhenxian.certs.chain import named, parse_chain
from zhenxian.certs.crl import HeldList, parse_crl
from zhenxian.certs.revocation import Ground, RevocationPolicy, build_view
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.certs.trustlist import TrustList
from zhenxian.core.reasons import Reason

EITHER = list(RevocationPolicy)


class Rooted:
    """What is judged below a root only."""

    def __init__(self, subject):
        self.root = Authority.create_root(subject, **DATES)


def listed(signer, *revoked, at=NOW - 60, point=None, indirect=False):
    """A list that an authority signs."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(signer.certificate.subject)
        .last_update(datetime.fromtimestamp(at, UTC))
        .next_update(datetime.fromtimestamp(NOW + DAY, UTC))
    )
    if indirect or point:
        full_name = [x509.UniformResourceIdentifier(point)] if point else None
        builder = builder.add_extension(
            x509.IssuingDistributionPoint(full_name, None, False, False, None, indirect, False),
            critical=True,
        )
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
        entry = entry.revocation_date(datetime.fromtimestamp(at, UTC))
        if indirect:
            issuer = x509.CertificateIssuer([x509.DirectoryName(certificate.issuer)])
            entry = entry.add_extension(issuer, critical=True)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.DER)


def leaf_of(authority, change=None):
    return Realm.leaf(None, change or pointing(), authority)


# Roots of one name --------------------------------------------------------------------------------

ONE, TWO = Rooted("Same root"), Rooted("Same root")
TWINS = (ONE, TWO)


@pytest.mark.parametrize("policy", EITHER)
def test_a_root_does_not_take_back_what_its_namesake_revoked(policy):
    chain = leaf_of(TWO.root)
    lists = (listed(TWO.root, chain[0], at=NOW - 600), listed(ONE.root))
    outcome = judged(chain, *lists, assigned=(), roots=TWINS, policy=policy)
    refused(outcome, Reason.CERT_REVOKED)


@pytest.mark.parametrize("policy", EITHER)
def test_nor_the_revocation_of_a_ca(policy):
    ca = TWO.root.create_intermediate("CA", change=pointing(), **DATES)
    lists = (listed(TWO.root, ca.certificate, at=NOW - 600), listed(ONE.root), listed(ca))
    outcome = judged(leaf_of(ca), *lists, assigned=(), roots=TWINS, policy=policy)
    refused(outcome, Reason.CERT_REVOKED)


def test_nor_does_it_cover_what_that_one_issued():
    chain = leaf_of(TWO.root)
    refused(judged(chain, listed(ONE.root), assigned=(), roots=TWINS))
    own = (listed(ONE.root), listed(TWO.root))
    assert grounds(judged(chain, *own, assigned=(), roots=TWINS)) == [Ground.OWN]


def test_nor_does_it_revoke_what_that_one_issued():
    chain = leaf_of(TWO.root)
    lists = (listed(ONE.root, chain[0]), listed(TWO.root))
    assert grounds(judged(chain, *lists, assigned=(), roots=TWINS)) == [Ground.OWN]


def test_the_newer_list_of_one_key_counts():
    chain = leaf_of(TWO.root)
    lists = (listed(TWO.root, chain[0], at=NOW - 600), listed(TWO.root))
    assert grounds(judged(chain, *lists, assigned=(), roots=TWINS)) == [Ground.OWN]


# A CA below one root named like another root ------------------------------------------------------

LEFT, RIGHT = Rooted("Left root"), Rooted("Right root")
POSING = RIGHT.root.create_intermediate("Left root", change=pointing(), **DATES)


def test_a_root_does_not_speak_for_a_ca_of_its_name_below_another_root():
    chain = leaf_of(POSING)
    lists = (listed(LEFT.root), listed(RIGHT.root))
    refused(judged(chain, *lists, assigned=(), roots=(LEFT, RIGHT)))
    lists = (*lists, listed(POSING, chain[0], at=NOW - 600))
    refused(judged(chain, *lists, assigned=(), roots=(LEFT, RIGHT)), Reason.CERT_REVOKED)


def test_a_root_that_is_named_below_another_revokes_and_does_not_cover():
    ca = RIGHT.root.create_intermediate("CA", change=pointing(), **DATES)
    chain = leaf_of(ca, pointing(URL, issuer=LEFT.root.certificate.subject))
    good = listed(LEFT.root, point=URL, indirect=True)
    refused(judged(chain, good, listed(RIGHT.root), assigned=(), roots=(LEFT, RIGHT)))
    gone = listed(LEFT.root, chain[0], point=URL, indirect=True)
    outcome = judged(chain, gone, listed(RIGHT.root), assigned=(), roots=(LEFT, RIGHT))
    refused(outcome, Reason.CERT_REVOKED)


# A delegate's CA named like the issuer of lists ---------------------------------------------------

REALM = Realm("R")
OFFICE = REALM.office.certificate.subject
NAMES_OFFICE = pointing(URL, issuer=OFFICE)
CODE = TNAuthList((SPC("1234"),))
DELEGATE = REALM.ca.create_intermediate("Delegate", tnauthlist=CODE, change=NAMES_OFFICE, **DATES)
MIMIC = DELEGATE.create_intermediate("R lists", tnauthlist=CODE, change=NAMES_OFFICE, **DATES)
ASSIGNED = {"assigned": [REALM.speaks_for()], "unassigned": [REALM.unassigned]}


@pytest.mark.parametrize("policy", EITHER)
@pytest.mark.parametrize("assigned", ASSIGNED.values(), ids=ASSIGNED)
@pytest.mark.parametrize("change", [NAMES_OFFICE, pointing(URL), pointing()])
@pytest.mark.parametrize("point", [URL, None])
def test_its_list_does_not_take_a_revocation_back(policy, assigned, change, point):
    chain = leaf_of(MIMIC, change)
    gone = listed(REALM.office, chain[0], at=NOW - 600, point=point, indirect=True)
    newer = listed(MIMIC, point=point, indirect=True)
    for second in (HeldList(newer, URL, True), HeldList(newer)):
        outcome = judged(
            chain,
            HeldList(gone, URL, True),
            second,
            assigned=assigned,
            roots=(REALM,),
            policy=policy,
        )
        refused(outcome, Reason.CERT_REVOKED)


@pytest.mark.parametrize("held", [HeldList, lambda data: HeldList(data, URL, True)])
def test_the_offices_list_does_not_cover_what_points_nowhere_below_a_delegate(held):
    lists = [held(listed(REALM.office, indirect=True)), held(listed(REALM.office))]
    for delegate in (MIMIC, DELEGATE):
        refused(judged(leaf_of(delegate), *lists, assigned=[REALM.speaks_for()], roots=(REALM,)))


# Addresses that are a delegate's ------------------------------------------------------------------


def test_a_list_put_there_by_hand_covers_no_address_of_a_delegate():
    held = HeldList(REALM.crl())
    chain = leaf_of(DELEGATE, pointing(OTHER))
    refused(judged(chain, held, assigned=[REALM.speaks_for()], roots=(REALM,)))
    direct = leaf_of(REALM.ca, pointing(OTHER))
    covered = judged(direct, held, assigned=[REALM.speaks_for()], roots=(REALM,))
    assert set(grounds(covered)) == {Ground.ADDRESS}


def test_only_the_path_says_where_lists_are():
    """Anybody can put a certificate beside the others that names whatever it likes."""
    stray = Authority.create_root("Stray", change=pointing(OTHER), **DATES)
    chain = parse_chain(pem(*leaf_of(DELEGATE, pointing(URL)), stray.certificate))
    trust = TrustList((REALM.root.certificate,), "t")
    found = named(chain, now=NOW, trust=trust)
    assert {url for one in found for url in one.urls} == {URL}
    assert [one.delegated for one in found] == [True, False, False]
    assert [len(one.keys) for one in found] == [3, 2, 1]
    view, _ = build_view([], issuers=TrustList(), trust=trust, policy=RevocationPolicy.REQUIRE)
    (leaf, _, _) = found
    assert view.signed(parse_crl(listed(DELEGATE)), leaf.keys)
    assert not view.signed(parse_crl(listed(DELEGATE)))
    assert view.signed(parse_crl(listed(REALM.root)))
    assert not view.signed(parse_crl(listed(stray)), leaf.keys)
    asked = []

    class Crls:
        def used(self, given, now):
            asked.extend(url for one in given for url in one.urls)

    lists = LearntLists(Crls(), lambda: Judging(trust), lambda: NOW, None)
    lists.used([chain], NOW)
    assert set(asked) == {URL}


class Judging:
    def __init__(self, roots):
        self.roots = roots


def test_a_clock_that_was_ahead_has_no_chain_rest_longer():
    """A chain that lacks nothing is looked at again after ten seconds."""
    asked = []

    class Crls:
        def lacks(self, named):
            asked.append(named)
            return False

    trust = TrustList((REALM.root.certificate,), "t")
    chain = parse_chain(pem(*leaf_of(DELEGATE, pointing(URL))))
    judging = Judging(trust)
    judging.revocation, _ = build_view(
        [], issuers=TrustList(), trust=trust, policy=RevocationPolicy.REQUIRE
    )
    lists = LearntLists(Crls(), lambda: judging, lambda: NOW, None)
    for now in (NOW, NOW + 1, NOW + 399 * 86_400, NOW + 2, NOW + 3):
        lists.lacking(chain, now)
    assert len(asked) == 3
