"""The verification procedure, numbered (RFC 8224 section 6.2, RFC 8588, ATIS-1000074).

For each Identity header of the call, the first check that fails ends that header:

 1. an Identity header is present                                             428
    (what the display alone says against a call is looked at last: judge_unsigned)
 2. the header field is well formed; info, alg, ppt usable                    438, 436, 437
 3. the token is well formed; typ, alg, ppt, x5u as they must be              438, 436, 437
    x5u is a place certificates may come from                                 436
 4. iat within its window of now; Date likewise, or outdated beside an iat
    that is within Date's: then 10 decides                                    403
 5. orig is the calling number; dest holds the called number                  438
 6. the certificate chain is in the cache, or is asked for                    436
 7. the chain leads to a trusted root, is valid now, keeps the profile,
    and is not revoked                                                        437
 8. TNAuthList covers the number or names a service provider code;
    JWTClaimConstraints hold along the chain                                  437, 438
 9. the ES256 signature verifies                                              438
10. the token was not seen before; no order stops it; the number is held
    where it was signed; its signer's displays are not used as a pool; the
    callee does not refuse such calls                                         438, 437, 608, 607
11. of a diverted call: genuine div tokens lead from the token to the target  438

Step 11 is RFC 8946 section 4.2, in verifier/diversion.py; before step 6 it is made as far as it
needs no key, in place of dest in step 5.

Steps 1 to 5 need no key (verifier.screen). Side effects come last: only a genuine token enters the
replay store. A certificate that is not in the cache is a value, NeedCertificates: the caller
fetches and asks again, so this module waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Protocol

from msgspec.structs import replace

from zhenxian.analytics.model import DisplayConduct, Finding
from zhenxian.certs.chain import Chain, TrustedSigner, Untrusted
from zhenxian.certs.repository import MAX_CHAINS, Failure
from zhenxian.core.errors import ParseError, StoreUnavailableError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.identity import split_identity_headers
from zhenxian.passport.ppt.shaken import Shaken
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.kinds import NO_PLAN, Plan
from zhenxian.registry.model import CalleeRefusal, Registry
from zhenxian.registry.parties import observation
from zhenxian.verifier.analytics import AS_USUAL, ConductPolicy, keys
from zhenxian.verifier.decisive import verdict_of
from zhenxian.verifier.diversion import Diversions, gather_diverting, unsigned_diversion
from zhenxian.verifier.facts import Sources, gather
from zhenxian.verifier.judge import JUDGE_CHECKS, judge
from zhenxian.verifier.marks import going_on, marked, to_emergency
from zhenxian.verifier.opened import NOTHING_FETCHED, Candidate, NeedCertificates, Opened
from zhenxian.verifier.replay import (
    NEW,
    REPLAY,
    UNKNOWN,
    Question,
    ReplayStore,
    Sight,
    Sighted,
    Sighting,
)
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import (
    SCREEN_CHECKS,
    Diverting,
    Screened,
    ScreenPolicy,
    outdated,
    read,
    screen,
)
from zhenxian.verifier.token import TOKEN_CHECKS, VerifiedPASSporT, signed_by
from zhenxian.verifier.trust import Signers, Trust
from zhenxian.verifier.unsigned import (
    UnsignedPolicy,
    gather_unsigned,
    is_health_request,
    judge_unsigned,
    region,
)
from zhenxian.verifier.verdict import Check, Label, Refusal, Result, Verdict

_MARK_OCTETS: Final = 7  # of replay_key
NOBODY_SIGNS: Final = UnsignedPolicy()

_NONE_SEEN: Final[Mapping[bytes, Sighted]] = MappingProxyType({})
_FIRST: Final = {
    Sight.NEW: True,
    Sight.CALL: True,
    Sight.REQUEST: True,
    Sight.REPLAY: False,
    Sight.UNKNOWN: None,
}
_REPEATED: Final = {
    Sight.CALL: "asked about again a moment after, with the same callId: no replay",
    Sight.REQUEST: "the same request was sent again a moment after: no replay",
}
_BEFORE_CERTIFICATE: Final = SCREEN_CHECKS
_BEFORE_CHAIN: Final = (*SCREEN_CHECKS, Check.CERTIFICATE)
_BEFORE_TOKEN: Final = (*_BEFORE_CHAIN, Check.CHAIN)
_BEFORE_JUDGE: Final = (*_BEFORE_TOKEN, *TOKEN_CHECKS)
_ALL: Final = (*_BEFORE_JUDGE, *JUDGE_CHECKS)


class Certificates(Protocol):
    """Chains by x5u, from a local cache (certs.repository.CertificateRepository)."""

    def cached(self, x5u: str, now: int) -> Chain | Failure | None:
        """The chain, why there is none, or None when it must be fetched first."""
        ...

    def keep(self, x5u: str) -> None:
        """Note that a signature verified under this chain: it is worth remembering."""
        ...


class Verifier:
    """Verifies calls. Holds the results of chain validation; waits for nothing."""

    def __init__(
        self,
        policy: ScreenPolicy,
        certificates: Certificates,
        trust: Trust,
        replay: ReplayStore,
        registry: Registry,
        conduct: DisplayConduct | None = None,
        conduct_policy: ConductPolicy = AS_USUAL,
        unsigned: UnsignedPolicy = NOBODY_SIGNS,
        country: Callable[[TN], str | None] = region,
        consent: ConsentPolicy | None = None,
        plan: Plan = NO_PLAN,
        lacking: Callable[[Chain, int], bool] = lambda *_: False,
        suspect: Callable[[str], None] | None = None,
        chains: int = MAX_CHAINS,
    ) -> None:
        """Start with nothing validated.

        Args:
            lacking: says whether lists that a chain's path names are to be fetched first.
            suspect: called with an x5u whose chain from the cache did not verify a signature, or
                holds a revoked certificate: its host may have replaced it
                (certs.repository.CertificateRepository.suspect).
            chains: of how many the validation is remembered.
        """
        self.policy = policy
        self._lacking = lacking
        self.certificates = certificates
        self.trust = trust
        self._replay = replay
        self.sources = Sources(
            registry=registry, conduct=conduct, policy=conduct_policy, consent=consent, plan=plan
        )
        self._unsigned = unsigned
        self._country = country
        self._suspect = suspect
        self._marketing = consent.marketing if consent is not None else Consent.OFF
        self._signers = Signers(chains)

    def judge_by(self, trust: Trust) -> None:
        """Replace what certificates are judged by, from the next call on."""
        self.trust = trust

    def verify(
        self,
        request: VerificationRequest,
        now: int,
        fetched: Mapping[str, Chain | Failure] = NOTHING_FETCHED,
        question: Question | None = None,
    ) -> Verdict | NeedCertificates:
        """Verify one call: open, check, close.

        Args:
            now: seconds since the epoch.
            fetched: by x5u, what an earlier NeedCertificates asked for.
            question: distinguishes a repeated question from a replay.

        Returns:
            The verdict, or what must be fetched before there can be one. The call's verstat is
            that of its best token: a header of a type that does not decide calls, or one that
            fails beside one that passes, does no harm.
        """
        opened = self.open(request, now, fetched)
        if not isinstance(opened, Opened):
            return opened
        opened.check()
        return self.close(opened, question)

    def open(
        self,
        request: VerificationRequest,
        now: int,
        fetched: Mapping[str, Chain | Failure] = NOTHING_FETCHED,
        *,
        lists: bool = True,
        forwarding: bool = False,
        diverted: bool = False,
    ) -> Verdict | NeedCertificates | Opened:
        """Steps 1 to 7, for all headers of a call. Arguments as of `verify`.

        Args:
            lists: False once revocation lists were asked for: go on without what is lacking.
            forwarding: the call is about to be diverted from its target, who was called earlier.
            diverted: a single header is known to be a div.
        """
        # 1. an Identity header is present
        if not request.identities:
            verdict = Verdict(Verstat.NONE, Reason.NO_IDENTITY, Reason.NO_IDENTITY.text)
            if is_health_request(request, self._unsigned):
                return verdict
            return self._unvouched(verdict, request, now)
        try:
            values = split_identity_headers(list(request.identities))
        except ParseError as error:
            refusal = Refusal(Check.SYNTAX, error.reason, str(error))
            unreadable = Result(None, request.identities[0], (Check.IDENTITY,), refusal)
            return self._unvouched(verdict_of((unreadable,)), request, now)
        missing: list[str] = []
        uncovered: list[Chain] = []
        entries: list[Result | Candidate] = []
        diversions: Diversions | None = None
        if forwarding or diverted or len(values) > 1:
            tokens = [read(value, request, self.policy) for value in values]
            diversions = Diversions(
                tokens, values, request, self.policy, now, forwarding=forwarding
            )
            values = diversions.values
            linked = zip(diversions.tokens, diversions.refused, strict=True)
        for value in values:
            # 2, 3. header and token
            if diversions is None:
                token = read(value, request, self.policy)
            else:
                token, refused = next(linked)
            if isinstance(token, Refusal):
                entries.append(Result(None, value, _passed(_ALL, token.check), token))
                continue
            # 3, 4, 5. x5u, Date and iat, orig and dest
            if diversions is None:
                if type(token) is Diverting:
                    return self.open(request, now, fetched, lists=lists, diverted=True)
                refused = screen(token, request, now, self.policy)
            if refused is not None:
                entries.append(_result(token, value, _passed(_ALL, refused.check), refused))
                continue
            # 6. certificate
            x5u = token.passport.header.x5u
            chain = fetched.get(x5u) or self.certificates.cached(x5u, now)
            if chain is None:
                missing.append(x5u)
            elif isinstance(chain, Failure):
                refusal = Refusal(Check.CERTIFICATE, chain.reason, chain.detail)
                entries.append(_result(token, value, _BEFORE_CERTIFICATE, refusal))
            else:
                # 7. trust
                signer = self.signer(chain, now)
                if isinstance(signer, Untrusted):
                    if signer.reason is Reason.CERT_REVOKED:  # and perhaps replaced since
                        self._suspected(x5u, fetched)
                    refusal = Refusal(Check.CHAIN, signer.reason, signer.detail)
                    entries.append(_result(token, value, _BEFORE_CHAIN, refusal))
                    lacking = signer.reason is Reason.CRL_UNAVAILABLE
                else:
                    entries.append(Candidate(token, signer, value))
                    lacking = signer.revocation_unchecked
                if lacking and lists and self._lacking(chain, now) and signed_by(token, chain):
                    uncovered.append(chain)
        if missing:
            return NeedCertificates(tuple(dict.fromkeys(missing)))
        if uncovered:
            return NeedCertificates((), tuple(uncovered))
        helps = to_emergency(request, self.sources.plan)
        return Opened(request, now, entries, helps, fetched, diversions)

    def close(self, opened: Opened, question: Question | None = None) -> Verdict:
        """Step 10 with the replay store at hand: presume, ask, settle."""
        presumed = self.presume(opened)
        return self.settle(opened, presumed, self.ask(self.sightings(opened, question), opened.now))

    def presume(self, opened: Opened) -> Verdict:
        """Step 10 for all headers whose signature verified, as if their tokens were new.

        Nothing is recorded, except that a failed signature may mark a cached chain as outdated.
        A call that is neither genuine nor found false is judged by its display alone.
        """
        diversions = opened.diversions
        for entry in opened.entries:
            if isinstance(entry, Candidate) and isinstance(entry.token, VerifiedPASSporT):
                entry.key = entry.token.key
                self.certificates.keep(entry.token.passport.header.x5u)
                if diversions is None:
                    late = outdated(opened.request, opened.now, self.policy)
                    facts = gather(entry.token, opened.request, opened.now, self.sources, late)
                    entry.helps = opened.to_emergency
                    entry.facts = facts.to_emergency() if opened.to_emergency else facts
                else:
                    self._gather_linked(entry, entry.token, opened, diversions)
            elif (
                isinstance(entry, Candidate)
                and isinstance(entry.token, Refusal)
                and entry.token.check is Check.SIGNATURE
            ):
                self._suspected(entry.screened.passport.header.x5u, opened.fetched)
        return self._judged(opened, _NONE_SEEN)

    def sightings(
        self, opened: Opened, question: Question | None = None, answer: bytes = b""
    ) -> list[Sighting]:
        """What the replay store is to be asked between `presume` and `settle`; each token once.

        Args:
            answer: to the presumed verdict; kept for who asks again, with the first token.
        """
        sightings: dict[bytes, Sighting] = {}
        diversions = opened.diversions
        window = self.policy.iat_window if diversions is None else diversions.kept
        for entry in opened.entries:
            if not isinstance(entry, Candidate) or entry.facts is None:
                continue
            if entry.key not in sightings:
                until = entry.screened.passport.iat + window + 1
                sightings[entry.key] = Sighting(
                    entry.key, until, question, b"" if sightings else answer
                )
        return list(sightings.values())

    def ask(self, sightings: Sequence[Sighting], now: int) -> list[Sighted]:
        """What this process's replay store says, in the order of `sightings`."""
        seen = []
        for sighting in sightings:
            try:
                seen.append(self._replay.sight(sighting, now))
            except StoreUnavailableError:
                seen.append(UNKNOWN)
        return seen

    def settle(self, opened: Opened, presumed: Verdict, seen: Sequence[Sighted]) -> Verdict:
        """The verdict, `presumed` itself where all tokens are new; analytics observes what counts.

        Args:
            seen: answers to `sightings`, in their order.
        """
        verdict, observed = presumed, self.sources.conduct is not None
        if seen.count(NEW) < len(seen):
            keys = [one.key for one in self.sightings(opened)]
            by_key = dict(zip(keys, seen, strict=True))
            verdict = self._judged(opened, by_key)
            observed = observed and NEW in seen
        else:
            by_key = {}
        if observed:
            for entry, result in zip(opened.entries, verdict.results, strict=True):
                if (
                    isinstance(entry, Candidate)
                    and not entry.helps
                    and by_key.get(entry.key, NEW) is NEW
                ):
                    self._observe(entry, result.refusal, opened)
        return verdict

    def _judged(self, opened: Opened, seen: Mapping[bytes, Sighted]) -> Verdict:
        """The verdict from facts; a token that is not in `seen` is new, but once in a call only."""
        met: set[bytes] = set()
        results: list[Result] = []
        for entry in opened.entries:
            if isinstance(entry, Result):
                results.append(entry)
                continue
            sighted = REPLAY if entry.key in met else seen.get(entry.key, NEW)
            results.append(self._close(entry, sighted))
            if entry.key:
                met.add(entry.key)
        if opened.diversions is not None:
            results = opened.diversions.settled(results, _ALL)
        verdict = verdict_of(tuple(results))
        request = opened.request
        if verdict.verstat is Verstat.NONE:
            return self._unvouched(verdict, request, opened.now)
        verdict = marked(verdict, request.orig, self.sources.plan, self.sources.registry)
        if request.dest and unsigned_diversion(request, verdict):
            verdict = replace(verdict, labels=(*verdict.labels, Label.DIVERSION_UNSIGNED))
        return going_on(verdict) if opened.to_emergency else verdict

    def _unvouched(self, verdict: Verdict, request: VerificationRequest, now: int) -> Verdict:
        """Judge a call that no token vouches for. A URI is nobody's number."""
        if to_emergency(request, self.sources.plan):
            return going_on(verdict)
        if verdict.verstat is not Verstat.NONE or not isinstance(request.orig, TN):
            return verdict
        policy = self._unsigned
        orig, registry, plan = request.orig, self.sources.registry, self.sources.plan
        facts = gather_unsigned(orig, registry, now, policy, self._country, plan)
        return marked(judge_unsigned(verdict, facts, policy), orig, plan, registry)

    def _close(self, candidate: Candidate, sighted: Sighted) -> Result:
        screened, signer, value = candidate.screened, candidate.signer, candidate.value
        token = candidate.token
        if token is None:
            raise RuntimeError("closed before it was checked")
        if isinstance(token, Refusal):
            return _result(screened, value, _passed(_ALL, token.check), token, signer)
        facts = candidate.facts
        if facts is None:
            raise RuntimeError("judged before its facts were read")
        if sighted is not NEW:
            facts = replace(facts, first_seen=_FIRST[sighted.sight])
        judged = judge(token, facts, self.sources.policy, self._marketing)
        passed = _ALL if judged is None else _passed(_ALL, judged.check)
        result = _result(screened, value, passed, judged, signer, facts.finding, facts.unwanted)
        if sighted is NEW and facts.late is None:
            return result
        notes = [*result.notes]
        if facts.late is not None:
            notes.append(f"{facts.late}, but iat is fresh")
        if sighted.sight in _REPEATED:
            notes.append(_REPEATED[sighted.sight])
        return replace(result, notes=tuple(notes))

    def _observe(self, candidate: Candidate, refusal: Refusal | None, opened: Opened) -> None:
        """Count the call for its signer, once however often it is asked about."""
        conduct, token, facts = self.sources.conduct, candidate.token, candidate.facts
        if conduct is None or not isinstance(token, VerifiedPASSporT) or facts is None:
            return
        if refusal is not None and refusal.check not in _COUNTS:
            return
        diversions, extension = opened.diversions, token.passport.extension
        if not isinstance(extension, Shaken):
            return
        # A token may name others beside whom the call is for, by the request; of a diverted call,
        # who is reached counts.
        called = opened.request.called if diversions is None else diversions.numbers
        seen = observation(
            keys(token),
            token.orig,
            called[0] if called else None,
            opened.now,
            facts.binding,
            facts.hidden_caller,
            extension.origid,
            int.from_bytes(candidate.key[:_MARK_OCTETS], "big"),
        )
        if seen is not None:
            conduct.observe(seen)

    def _gather_linked(
        self,
        entry: Candidate,
        token: VerifiedPASSporT,
        opened: Opened,
        diversions: Diversions,
    ) -> None:
        """Key and facts of one of several tokens: signed for who was called, whoever is reached."""
        place = next(at for at, one in enumerate(opened.entries) if one is entry)
        entry.key = diversions.key(place, entry.key)
        request, now, sources = opened.request, opened.now, self.sources
        if isinstance(entry.screened, Diverting):
            facts = gather_diverting(token, entry.screened.diverting, sources.registry, now)
        else:
            called = token.passport.dest.tn if diversions.led(place) else diversions.numbers
            late = outdated(request, now, self.policy)
            facts = gather(token, request, now, sources, late, called=called)
        entry.helps = opened.to_emergency and diversions.helps(place, sources.plan.emergency)
        entry.facts = facts.to_emergency() if entry.helps else facts

    def signer(self, chain: Chain, now: int) -> TrustedSigner | Untrusted:
        """Validate a chain, or remember doing so (verifier.trust)."""
        return self._signers.signer(chain, now, self.trust)

    def _suspected(self, x5u: str, fetched: Mapping[str, Chain | Failure]) -> None:
        """A chain from the cache may have been replaced; one just fetched has not."""
        if self._suspect is not None and x5u not in fetched:
            self._suspect(x5u)


def _passed(checks: tuple[Check, ...], failed: Check) -> tuple[Check, ...]:
    return checks[: checks.index(failed)]


def _result(
    screened: Screened,
    value: str,
    passed: tuple[Check, ...],
    refusal: Refusal | None,
    signer: TrustedSigner | None = None,
    finding: Finding | None = None,
    unwanted: CalleeRefusal | None = None,
) -> Result:
    unchecked = signer is not None and signer.revocation_unchecked
    return Result(
        screened.passport.header.ppt,
        value,
        passed,
        refusal,
        screened.passport,
        signer.spc if signer is not None else None,
        signer.notes if signer is not None else (),
        finding,
        unwanted,
        unchecked,
        signer,
    )


# A call that fails one of these checks still counts for its signer's conduct.
_COUNTS: Final = (Check.CONDUCT, Check.CONSENT)
