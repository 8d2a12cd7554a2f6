"""The decision table, row by row (the table in signer/decide.py is the specification)."""

from __future__ import annotations

import pytest

from passport.claims import Destination
from passport.errors import StoreUnavailableError
from passport.ppt.shaken import Attestation
from passport.reasons import Reason
from passport.tn import TN, URI, TNRange
from registry.model import Access, Holding, Standing, Use, Verification
from registry.snapshot import Snapshot
from signer.decide import Facts, decide, gather
from signer.request import SigningRequest

BANK, SPAM = "subject-bank", "subject-callcentre"
NUMBER = TN("8675588880001")
TRUNK = Access("bank-trunk", "11111111-1111-4111-8111-111111111111", BANK)
OTHER = Access("callcentre-trunk", "22222222-2222-4222-8222-222222222222", SPAM)
STOPPED = Access("stopped", "33333333-3333-4333-8333-333333333333", BANK, Standing.SUSPENDED)


def holding(**changes) -> Holding:
    fields = {
        "numbers": TNRange(TN("8675588880000"), TN("8675588889999")),
        "subject": BANK,
        "verification": Verification.VERIFIED,
    } | changes
    return Holding(**fields)


def request(attest=None, orig=NUMBER, access=None, origid="given") -> SigningRequest:
    return SigningRequest(
        orig, Destination((TN("8613800138000"),)), 1_795_500_000, attest, origid, access
    )


A, B, C = Attestation
TABLE = [
    # facts, asked, attest given, reason
    (Facts(TRUNK, False, holding()), A, A, Reason.HELD_AND_VERIFIED),
    (Facts(TRUNK, False, holding()), None, A, Reason.HELD_AND_VERIFIED),
    (Facts(TRUNK, False, holding()), B, B, Reason.ASKED_FOR_LESS),
    (Facts(TRUNK, False, holding()), C, C, Reason.ASKED_FOR_LESS),
    (Facts(TRUNK, False, None), A, B, Reason.DISPLAY_UNKNOWN),
    (Facts(TRUNK, False, None), None, B, Reason.DISPLAY_UNKNOWN),
    (Facts(TRUNK, False, None), C, C, Reason.ASKED_FOR_LESS),
    (Facts(None, False, holding()), A, C, Reason.ACCESS_UNKNOWN),
    (Facts(None, False, None), A, C, Reason.ACCESS_UNKNOWN),
    (Facts(None, False, None), None, C, Reason.ACCESS_UNKNOWN),
    (Facts(OTHER, False, holding()), A, None, Reason.DISPLAY_OF_ANOTHER),
    (Facts(OTHER, False, holding()), C, None, Reason.DISPLAY_OF_ANOTHER),
    (
        Facts(OTHER, False, holding(verification=Verification.UNVERIFIED)),
        A,
        None,
        Reason.DISPLAY_OF_ANOTHER,
    ),
    *(
        (Facts(TRUNK, False, holding(verification=state)), A, None, Reason.HOLDING_UNVERIFIED)
        for state in (Verification.UNVERIFIED, Verification.EXPIRED, Verification.WITHDRAWN)
    ),
    (Facts(TRUNK, False, holding(use=Use.DO_NOT_ORIGINATE)), A, None, Reason.DO_NOT_ORIGINATE),
    (Facts(None, False, holding(use=Use.DO_NOT_ORIGINATE)), C, None, Reason.DO_NOT_ORIGINATE),
    (Facts(STOPPED, True, holding()), A, None, Reason.SUBJECT_SUSPENDED),
    (Facts(STOPPED, True, None), C, None, Reason.SUBJECT_SUSPENDED),
    (Facts(available=False), A, C, Reason.REGISTRY_UNAVAILABLE),
    (Facts(available=False), None, C, Reason.REGISTRY_UNAVAILABLE),
]


@pytest.mark.parametrize(("facts", "asked", "given", "reason"), TABLE)
def test_table(facts, asked, given, reason):
    decision = decide(request(asked), facts)
    assert (decision.attest, decision.reason) == (given, reason)
    assert decision.detail


def test_never_more_than_asked_and_never_more_than_proven():
    for facts, _, _, _ in TABLE:
        ceiling = decide(request(None), facts).attest
        for asked in Attestation:
            given = decide(request(asked), facts).attest
            if ceiling is None:
                assert given is None
            else:
                assert given is not None
                assert given.value >= max(asked.value, ceiling.value)


def test_known_access_gives_its_own_origid_and_unknown_keeps_the_proxys():
    assert decide(request(A), Facts(TRUNK, False, holding())).origid == TRUNK.origid
    assert decide(request(A), Facts()).origid == "given"


def test_a_uri_gets_b_at_most():
    decision = decide(request(A, URI("sip:alice@example.com")), Facts(TRUNK))
    assert (decision.attest, decision.reason) == (B, Reason.ORIG_NOT_A_NUMBER)


def test_a_decision_has_no_truth_value():
    with pytest.raises(TypeError):
        bool(decide(request(A), Facts()))


class Broken:
    def holding(self, tn):
        raise StoreUnavailableError("gone")

    def access(self, name, origid):
        return TRUNK

    def suspended(self, subject):
        return False


def test_an_unavailable_registry_never_earns_more_than_c():
    facts = gather(request(A, access="bank-trunk"), Broken())
    assert facts == Facts(available=False)
    assert decide(request(A), facts).attest is C


def test_gather_reads_access_by_name_then_by_origid():
    registry = Snapshot([holding()], [TRUNK, OTHER])
    assert gather(request(access="callcentre-trunk", origid=TRUNK.origid), registry).access is OTHER
    assert gather(request(origid=TRUNK.origid), registry).access is TRUNK
    assert gather(request(access="nobody", origid=TRUNK.origid), registry).access is None
    assert gather(request(origid=TRUNK.origid), registry).holding == holding()
