"""Take one check away and its fault is no longer found: no other check covers for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
import pytest
from plain import PlainRegistry
from simulator import NOW
from test_procedure import SCENARIOS
from verification import (
    FAULTS,
    Case,
    Knows,
    constrained,
    not_covered,
    not_the_holder,
    ordered,
    other_algorithm,
    other_callee,
    other_caller,
    pooled,
    private_place,
    replayed,
    revoked,
    stale_date,
    stale_iat,
    unreachable,
    unwanted,
    wrong_key,
)

from zhenxian.certs.chain import TrustedSigner
from zhenxian.certs.revocation import RevocationPolicy, State, Status
from zhenxian.certs.tnauthlist import SPC, TNAuthList
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.passport import identity
from zhenxian.passport.claims import parse_header_segment, parse_payload
from zhenxian.passport.identity import IdentityHeader
from zhenxian.passport.jws import VerifyingKey, b64url_decode
from zhenxian.registry.consent import ConsentPolicy
from zhenxian.verifier import judge as judging
from zhenxian.verifier import trust
from zhenxian.verifier import verify as procedure
from zhenxian.verifier.analytics import ConductPolicy, PooledVerifying
from zhenxian.verifier.opened import NeedCertificates
from zhenxian.verifier.screen import screen
from zhenxian.verifier.verdict import Check

pytestmark = pytest.mark.usefixtures("es256")


class Removal(NamedTuple):
    """A fault, how its check is taken away, and what the call gets then."""

    apply: Callable
    check: Check
    remove: Callable
    then: Reason = Reason.VERIFIED


def no_comparison(case, patch):
    """Parameters and token may disagree."""

    def passport(self):
        header = parse_header_segment(self.token.header)
        return parse_payload(header, b64url_decode(self.token.payload, "payload"))

    patch.setattr(IdentityHeader, "passport", passport)


def any_algorithm(case, patch):
    patch.setattr("zhenxian.passport.identity._alg", lambda found: found.get("alg"))
    patch.setattr("zhenxian.passport.identity._parameters", _uncached())


def _uncached():
    return identity._parameters.__wrapped__  # what it remembers was read with the check in place


def any_type(case, patch):
    case.policy = msgspec.structs.replace(case.policy, types=frozenset({"shaken", None}))


def any_place(case, patch):
    patch.setattr("zhenxian.verifier.screen.check_x5u", lambda *_: None)


def any_date(case, patch):
    case.policy = msgspec.structs.replace(case.policy, date_window=10**6)


def any_iat(case, patch):
    case.policy = msgspec.structs.replace(case.policy, iat_window=10**6)


def any_caller(case, patch):
    def lenient(screened, request, now, policy):
        request = msgspec.structs.replace(request, orig=screened.passport.orig)
        return screen(screened, request, now, policy)

    patch.setattr(procedure, "screen", lenient)


def any_callee(case, patch):
    def lenient(screened, request, now, policy):
        request = msgspec.structs.replace(request, to=screened.passport.dest.tn)
        return screen(screened, request, now, policy)

    patch.setattr(procedure, "screen", lenient)


def any_failure(case, patch):
    patch.setattr(procedure, "Failure", type("NoFailure", (), {}))
    patch.setattr(procedure.Verifier, "signer", lambda *_: trusting(case.carrier.chain))


def any_chain(case, patch):
    patch.setattr(trust, "validate", lambda chain, **_: trusting(chain))


def trusting(chain):
    """Who signs, by the certificate's word alone."""
    key = VerifyingKey(chain.certificates[0].public_key())
    spc = chain.spc or "1234"
    return TrustedSigner(
        chain_digest=chain.digest,
        key=key,
        spc=spc,
        tnauthlist=TNAuthList((SPC(spc),)),
        constraints=(),
        serial=1,
        subject="",
        issuer="",
        valid_from=0,
        valid_until=NOW + 60,
    )


def no_revocation(case, patch):
    patch.setattr(
        "zhenxian.certs.revocation.RevocationView.status",
        lambda *_: Status(state=State.GOOD, until=NOW + 60, detail=""),
    )


def no_profile(case, patch):
    patch.setattr("zhenxian.certs.chain.check_profile", lambda *_: ())


def revocation_preferred(case, patch):
    case.revocation = RevocationPolicy.PREFER


def any_number(case, patch):
    patch.setattr("zhenxian.certs.tnauthlist.TNAuthList.covers", lambda *_: True)


def no_constraints(case, patch):
    patch.setattr("zhenxian.certs.constraints.ClaimConstraints.violation", lambda *_: None)


def any_signature(case, patch):
    patch.setattr("zhenxian.passport.jws.VerifyingKey.verifies_digest", lambda *_: True)


def never_seen(case, patch):
    case.replay = Knows(first_seen=True)


def any_code(case, patch):
    def lenient(token, facts, *policies):
        return judging.judge(token, msgspec.structs.replace(facts, holder_spcs=()), *policies)

    patch.setattr(procedure, "judge", lenient)


def no_orders(case, patch):
    def lenient(token, facts, *policies):
        return judging.judge(token, msgspec.structs.replace(facts, order=None), *policies)

    patch.setattr(procedure, "judge", lenient)


def no_conduct(case, patch):
    case.conduct = None


def only_labelled(case, patch):
    case.conduct_policy = ConductPolicy(signers=PooledVerifying.LABEL)


def only_told(case, patch):
    case.consent = ConsentPolicy()


def no_purpose(case, patch):
    case.purpose = None


def no_registry(case, patch):
    case.registry = PlainRegistry()


def scenario(reason):
    """The scenario of a reason that is not among the faults."""
    return next(apply for apply, _, given in SCENARIOS[len(FAULTS) :] if given is reason)


def whole_chain(reason):
    return Removal(scenario(reason), Check.CHAIN, any_chain)


REMOVALS = [
    Removal(other_algorithm, Check.SYNTAX, any_algorithm),
    Removal(scenario(Reason.X5U_MISMATCH), Check.SYNTAX, no_comparison, Reason.VERIFIED),
    Removal(scenario(Reason.PPT_MISMATCH), Check.SYNTAX, no_comparison, Reason.VERIFIED),
    Removal(scenario(Reason.PPT_UNSUPPORTED), Check.SYNTAX, any_type),
    Removal(private_place, Check.X5U, any_place),
    Removal(stale_date, Check.DATE, any_date),
    Removal(stale_iat, Check.IAT, any_iat),
    Removal(other_caller, Check.ORIG, any_caller),
    Removal(other_callee, Check.DEST, any_callee),
    Removal(unreachable, Check.CERTIFICATE, any_failure),
    Removal(revoked, Check.CHAIN, any_chain),
    Removal(revoked, Check.CHAIN, no_revocation),
    Removal(scenario(Reason.CERT_PROFILE), Check.CHAIN, no_profile),
    Removal(scenario(Reason.CRL_UNAVAILABLE), Check.CHAIN, revocation_preferred),
    *map(
        whole_chain,
        (
            Reason.CERT_EXPIRED,
            Reason.CERT_NOT_YET_VALID,
            Reason.CERT_UNTRUSTED,
            Reason.TNAUTHLIST_MISSING,
            Reason.TNAUTHLIST_INVALID,
        ),
    ),
    Removal(not_covered, Check.TNAUTHLIST, any_number),
    Removal(constrained, Check.CONSTRAINTS, no_constraints),
    Removal(wrong_key, Check.SIGNATURE, any_signature),
    Removal(scenario(Reason.SIGNATURE_INVALID), Check.SIGNATURE, any_signature),
    Removal(replayed, Check.REPLAY, never_seen),
    Removal(ordered, Check.ORDER, no_orders),
    Removal(ordered, Check.ORDER, no_registry),
    Removal(not_the_holder, Check.HOLDER, any_code),
    Removal(not_the_holder, Check.HOLDER, no_registry),
    Removal(pooled, Check.CONDUCT, no_conduct),
    Removal(pooled, Check.CONDUCT, only_labelled),
    Removal(unwanted, Check.CONSENT, only_told),
    Removal(unwanted, Check.CONSENT, no_purpose),
    Removal(unwanted, Check.CONSENT, no_registry),
]


@pytest.mark.parametrize(("apply", "check", "remove", "then"), REMOVALS)
def test_without_its_check_a_fault_is_not_found(case, apply, check, remove, then, monkeypatch):
    apply(case)
    remove(case, monkeypatch)
    verdict = case.ask()
    assert not isinstance(verdict, NeedCertificates)
    assert verdict.reason is then


@pytest.mark.parametrize("removal", REMOVALS)
def test_with_its_check_it_is_found(case, removal):
    """The control of the test above: nothing but the removal makes the difference."""
    removal.apply(case)
    verdict = case.ask()
    assert verdict.reason is not Reason.VERIFIED
    assert verdict.failed is removal.check


def test_every_check_is_taken_away_once():
    """That there must be a header has no condition to take away: without one nothing is left."""
    assert {removal.check for removal in REMOVALS} == set(Check) - {Check.IDENTITY}
    assert Case().ask().verstat is Verstat.PASSED
