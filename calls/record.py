"""What is recorded of a call when its answer is ready: metrics, and a line in the call log."""

from __future__ import annotations

from collections.abc import Callable

from zhenxian.core.reasons import Reason, Verstat
from zhenxian.signer.decide import Decision
from zhenxian.signer.request import SigningRequest
from zhenxian.telemetry.logs import CallLog, CallRecord, Pseudonym, instant
from zhenxian.telemetry.metrics import Metrics
from zhenxian.verifier.replay import Sighted
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.verdict import Verdict


class Recorder:
    """Counts calls and logs them. Times taken are in seconds; names are the front end's."""

    def __init__(
        self, metrics: Metrics, log: CallLog, pseudonym: Pseudonym, clock: Callable[[], float]
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._pseudonym = pseudonym
        self._clock = clock

    def signing(
        self, request: SigningRequest, decision: Decision, name: bytes, elapsed: float
    ) -> None:
        """One decision."""
        if decision.attest is not None:
            attest = decision.attest.value
        else:
            attest = "div" if decision.diverting is not None else "refused"
        self._metrics.signing(attest, decision.reason.code, elapsed)
        if self._log.enabled:
            pseudonym, dest = self._pseudonym, request.dest
            self._log.add(
                CallRecord(
                    instant(self._clock()),
                    "signing",
                    decision.reason.code,
                    name.decode("latin-1"),
                    int(elapsed * 1e6),
                    attest=attest,
                    orig=pseudonym(request.orig),
                    dest=tuple([pseudonym(item) for item in (*dest.tn, *dest.uri)]),
                    access=request.access or request.origid,
                )
            )

    def verification(
        self,
        request: VerificationRequest,
        verdict: Verdict,
        name: bytes,
        elapsed: float,
        repeated: Sighted | None = None,
    ) -> None:
        """Record a verdict. `repeated`: the question was asked before."""
        self._metrics.verification(verdict.verstat.value, verdict.reason.code, elapsed)
        for label in verdict.labels:
            self._metrics.label(label.value, verdict.verstat.value)
        decisive = verdict.decisive
        if verdict.verstat is Verstat.PASSED and decisive is not None:
            attest = verdict.attest
            self._metrics.passed(
                attest.value if attest else "none", decisive.spc, unchecked=decisive.unchecked
            )
            signer = decisive.signer
            for departure in signer.departures if signer is not None else ():
                self._metrics.departure(departure.role, departure.code)
        self._verified(request, verdict, name, elapsed, repeated)

    def repetition(
        self,
        request: VerificationRequest,
        verdict: Verdict,
        name: bytes,
        elapsed: float,
        repeated: Sighted,
    ) -> None:
        """A question that gets the answer it got before: it is not counted as a verdict again."""
        self._verified(request, verdict, name, elapsed, repeated)

    def error(
        self, route: str, reason: Reason, name: bytes, status: int, parameter: str | None
    ) -> None:
        """A request that got no decision.

        Args:
            status: of the front end's protocol.
            parameter: what the request has wrong, as the client wrote it; logged hashed.
        """
        self._metrics.error(route, reason.code)
        if self._log.enabled:
            self._log.add(
                CallRecord(
                    instant(self._clock()),
                    route,
                    reason.code,
                    name.decode("latin-1"),
                    status=status,
                    parameter=self._pseudonym.text(parameter) if parameter is not None else None,
                )
            )

    def turned_away(self, route: str, reason: Reason) -> None:
        """A request that nobody read; only counted, lest telling it cost as much as answering."""
        self._metrics.error(route, reason.code)

    def _verified(
        self,
        request: VerificationRequest,
        verdict: Verdict,
        name: bytes,
        elapsed: float,
        repeated: Sighted | None,
    ) -> None:
        if repeated is not None:
            self._metrics.repeated(repeated.sight.value)
        if self._log.enabled:
            pseudonym, failed = self._pseudonym, verdict.failed
            self._log.add(
                CallRecord(
                    instant(self._clock()),
                    "verification",
                    verdict.reason.code,
                    name.decode("latin-1"),
                    int(elapsed * 1e6),
                    verstat=verdict.verstat.value,
                    orig=pseudonym(request.orig),
                    dest=tuple([pseudonym(item) for item in request.to]),
                    spc=verdict.decisive.spc if verdict.decisive is not None else None,
                    failed=failed.name if failed is not None else None,
                    labels=verdict.labels,
                    repeated=repeated.sight.value if repeated is not None else None,
                )
            )
