"""What is logged of a call."""

from __future__ import annotations

from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest
from zhenxian.telemetry.logs import CallRecord, Pseudonym, instant
from zhenxian.verifier.replay import Sighted
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Verdict


def signing_record(
    at: float,
    request: SigningRequest,
    decision: Decision,
    request_id: bytes,
    elapsed: float,
    pseudonym: Pseudonym,
) -> CallRecord:
    """The record of a signing. Times in seconds."""
    dest = request.dest
    return CallRecord(
        instant(at),
        "signing",
        decision.reason.name,
        request_id.decode("latin-1"),
        int(elapsed * 1e6),
        attest=decision.attest.value if decision.attest is not None else "refused",
        orig=pseudonym(request.orig),
        dest=tuple([pseudonym(item) for item in (*dest.tn, *dest.uri)]),
        access=request.access or request.origid,
    )


def verification_record(
    at: float,
    request: VerificationRequest,
    verdict: Verdict,
    request_id: bytes,
    elapsed: float,
    pseudonym: Pseudonym,
    *,
    repeated: Sighted | None,
) -> CallRecord:
    """The record of a verification. Times in seconds."""
    failed = verdict.failed
    return CallRecord(
        instant(at),
        "verification",
        verdict.reason.name,
        request_id.decode("latin-1"),
        int(elapsed * 1e6),
        verstat=verdict.verstat.value,
        orig=pseudonym(request.orig),
        dest=tuple([pseudonym(item) for item in request.to]),
        spc=verdict.decisive.spc if verdict.decisive is not None else None,
        failed=failed.name if failed is not None else None,
        labels=verdict.labels,
        repeated=repeated.sight.value if repeated is not None else None,
    )
