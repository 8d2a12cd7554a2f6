"""The outcome of a verification: which checks were made, which failed first, and what follows."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from zhenxian.analytics.model import Finding, State
from zhenxian.certs.chain import TrustedSigner
from zhenxian.core.reasons import Reason, SipStatus, Verstat, reason_header
from zhenxian.core.tn import TN, URI
from zhenxian.passport.claims import PASSporT
from zhenxian.passport.ppt.shaken import Attestation, Shaken
from zhenxian.registry.model import CalleeRefusal


class Check(str, Enum):
    """The checks in the order they are made. Values are shown to people."""

    IDENTITY = "an Identity header is present"
    SYNTAX = "header and token are well formed, ES256, of a supported type"
    X5U = "x5u is a place certificates may be fetched from"
    DATE = "Date is fresh"
    IAT = "iat is fresh"
    ORIG = "orig is the calling number"
    DEST = "dest holds the called number, or div tokens lead to it"
    CERTIFICATE = "the certificate was obtained"
    CHAIN = "the certificate is trusted, valid and not revoked"
    TNAUTHLIST = "the certificate may speak for the number"
    CONSTRAINTS = "the claims keep to the certificate's constraints"
    SIGNATURE = "the signature verifies"
    REPLAY = "the token was not seen with another call"
    ORDER = "no order stops the number, its holder or its signer"
    HOLDER = "the number is held where the token was signed"
    CONDUCT = "the signer's displays are not used as a pool"
    CONSENT = "the callee does not refuse what the call is for"


class Label(str, Enum):
    """What a policy that only labels says about a call, beside its verstat. Values are on the wire.

    A label changes neither verstat nor reason: the proxy shows it, or does with it what it likes.
    But a call labelled EMERGENCY_CALL goes on, whatever its verstat.
    """

    DISPLAY_POOLED = "display-pooled"
    DISPLAY_SUSPECTED = "display-suspected"
    UNSIGNED = "unsigned"
    UNVERIFIED = "unverified"
    CALLEE_REFUSES_MARKETING = "callee-refuses-marketing"
    EMERGENCY_CALL = "emergency-call"
    PRIVACY_NUMBER = "privacy-number"
    DIVERSION_UNSIGNED = "diversion-unsigned"

    @classmethod
    def of(cls, finding: Finding) -> Label:
        """The label for a finding that does not stop the call."""
        pooled = finding.state is State.POOLED
        return cls.DISPLAY_POOLED if pooled else cls.DISPLAY_SUSPECTED


class Refusal(Struct, frozen=True):
    """A check that failed: which, why, and a sentence for people."""

    check: Check
    reason: Reason
    detail: str


class Result(Struct, frozen=True):
    """What became of one Identity header.

    Attributes:
        ppt: its type as far as it could be read.
        identity: the header field value as received.
        passed: checks that held, in order.
        refusal: the first check that failed; None when all held.
        passport: the claims; believed only when refusal is None.
        spc: the service provider code that signed, when the chain was trusted.
        notes: what was left out or forgiven under a policy that permits it, and what the check of
            revocation rests on beside RFC 5280, for people.
        finding: what the signer's conduct shows, whether or not it made a difference.
        unwanted: the callee's refusal of such calls, whether or not it made a difference.
        unchecked: revocation was not, since the policy permits that.
        signer: who signed, when the chain was trusted.
        diverting: of a div token, from whom it diverts the call. It vouches for that alone.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    ppt: str | None
    identity: str
    passed: tuple[Check, ...]
    refusal: Refusal | None = None
    passport: PASSporT | None = None
    spc: str | None = None
    notes: tuple[str, ...] = ()
    finding: Finding | None = None
    unwanted: CalleeRefusal | None = None
    unchecked: bool = False
    signer: TrustedSigner | None = None
    diverting: TN | URI | None = None


class Verdict(Struct, frozen=True):
    """What the terminating carrier is told about a call.

    Attributes:
        verstat: the verification status of the call.
        reason: why; Reason.VERIFIED when every check passed.
        detail: a sentence for people.
        results: one entry per Identity header, in order of reception.
        decisive: the entry that decided; None when no Identity header did.
        labels: what is said about the call beside its verstat, without repetition.
        check: what failed when no entry decided.
        kind: of the display, where a screen is to show it: "privacy" or "messaging".
        notes: what was not known, for people.
    """

    # By position: one is made for each call, and by name msgspec takes 0.2 µs and more longer.
    verstat: Verstat
    reason: Reason
    detail: str
    results: tuple[Result, ...] = ()
    decisive: Result | None = None
    labels: tuple[Label, ...] = ()
    check: Check = Check.IDENTITY
    kind: str | None = None
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        raise TypeError("a Verdict is neither true nor false: look at its verstat")

    @property
    def sip(self) -> SipStatus:
        """SIP status a proxy may answer with (RFC 8224 section 6.2.2)."""
        if self.reason.sip is None:
            raise RuntimeError(f"{self.reason.name} is not a verification reason")
        return self.reason.sip

    @property
    def failed(self) -> Check | None:
        """The first check that failed."""
        if self.decisive is None:
            return None if self.verstat is Verstat.PASSED else self.check
        return self.decisive.refusal.check if self.decisive.refusal else None

    @property
    def attest(self) -> Attestation | None:
        """The attestation level, only of a token that passed."""
        if self.verstat is not Verstat.PASSED or self.decisive is None:
            return None
        passport = self.decisive.passport
        extension = passport.extension if passport is not None else None
        return extension.attest if isinstance(extension, Shaken) else None

    @property
    def reason_header(self) -> str | None:
        """The Reason header field value (RFC 9410 section 3).

        None for a passed call, and for one whose Identity header is not what is wrong (607, 608).
        """
        if not self.sip.stir:
            return None
        ppi = self.decisive.identity.partition(";")[0] if self.decisive is not None else None
        return reason_header(self.reason, ppi.rstrip(" \t") if ppi is not None else None)
