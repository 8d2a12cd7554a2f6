"""A case to verify: a simulated world, one carrier, one call, and faults that can be combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from cryptography import x509
from found import Found, finding
from plain import PlainRegistry
from simulator import NOW, World

from zhenxian.analytics.model import KeyKind
from zhenxian.certs import constraints
from zhenxian.certs.profile import ProfilePolicy
from zhenxian.certs.repository import Failure
from zhenxian.certs.revocation import RevocationPolicy
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.claims import Destination, Header, PASSporT
from zhenxian.passport.identity import IdentityHeader, parse_identity_header
from zhenxian.passport.jws import Token, b64url_encode
from zhenxian.registry.consent import Consent, ConsentPolicy
from zhenxian.registry.model import CalleeRefusal, Holding, Order, TargetKind
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.analytics import ConductPolicy
from zhenxian.verifier.replay import NEW, REPLAY, Question
from zhenxian.verifier.request import VerificationRequest
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.trust import Trust
from zhenxian.verifier.unsigned import UnsignedPolicy
from zhenxian.verifier.verdict import Check
from zhenxian.verifier.verify import Verifier

ORIG, DEST, OTHER = "12155550100", "12155550199", "12155559999"


class Cache:
    """Chains as the world publishes them now; notes what was asked for and kept."""

    def __init__(self):
        self.carriers, self.failures = {}, {}
        self.asked, self.kept, self.suspected = [], [], []
        self.empty = False

    def cached(self, x5u, now):
        self.asked.append(x5u)
        if x5u in self.failures:
            return self.failures[x5u]
        return None if self.empty else self.carriers[x5u].chain

    def keep(self, x5u):
        self.kept.append(x5u)


class Gone:
    """A replay store and registry that cannot be asked."""

    def sight(self, *_):
        raise StoreUnavailableError("gone")

    def holding(self, _):
        raise StoreUnavailableError("gone")


class Knows:
    """A replay store that has seen, or has not seen, every token; notes what it was asked."""

    def __init__(self, *, first_seen):
        self.answer, self.asked = first_seen, []

    def sight(self, sighting, now):
        self.asked.append((sighting, now))
        return NEW if self.answer else REPLAY


class Case:
    """A good call and a verifier that looks at it; whatever makes it bad is done to these.

    Attributes:
        iat, time, orig, to: of the token; of the request. None: as the call has them.
        spelling: what is done to the header field value on its way.
    """

    def __init__(self, world=None):
        self.world = world or World()
        self.carrier = self.world.carrier("1234")
        self.others = []
        self.cache = Cache()
        self.replay = MemoryReplayStore()
        self.registry = PlainRegistry()
        self.conduct = Found()
        self.conduct_policy = ConductPolicy()
        self.unsigned = UnsignedPolicy()
        self.consent = ConsentPolicy()
        self.purpose = None
        self.policy = ScreenPolicy()
        self.revocation = RevocationPolicy.REQUIRE
        self.lists = ()
        self.roots = self.world.trust
        self.profile = ProfilePolicy()
        self.iat = NOW
        self.time = self.orig = self.to = None
        self.spelling = str
        self._verifier = None

    @property
    def verifier(self):
        """One verifier per case, as the case stands when it is first used."""
        if self._verifier is None:
            self._verifier = Verifier(
                self.policy,
                self.cache,
                self.trust(),
                self.replay,
                self.registry,
                self.conduct,
                self.conduct_policy,
                self.unsigned,
                consent=self.consent,
                suspect=self.cache.suspected.append,
            )
        return self._verifier

    def trust(self):
        """Trust as the world has it now."""
        view = self.world.revocation(*self.lists, policy=self.revocation)
        return Trust(self.roots, view, self.profile)

    def call(self, orig=ORIG, *dest, **more):
        return self.carrier.call(orig, *(dest or (DEST,)), **{"iat": self.iat, **more})

    def request(self, *identities, **more):
        """The call as the case stands: its header unless others are given."""
        call = self.call()
        return VerificationRequest(
            self.orig or call.passport.orig,
            self.to or call.passport.dest.tn,
            NOW if self.time is None else self.time,
            identities or (self.spelling(call.signed()),),
            **{"purpose": self.purpose, **more},
        )

    def ask(self, request=None, now=NOW, asker=b"proxy", at=None, **more):
        """Ask about a call, as one asker does; `at` is now, to fractions of a second."""
        for carrier in (self.carrier, *self.others):
            self.cache.carriers[carrier.x5u] = carrier
        request = request or self.request()
        call = (asker, request.call_id.encode()) if request.call_id is not None else None
        question = Question(now if at is None else at, call)
        return self.verifier.verify(request, now, question=question, **more)


def signed(case, payload=None, header=None, parameters=None):
    """A header whose token is signed by the carrier over any octets, or any change to its own."""
    passport = case.call().passport
    first = b64url_encode(_octets(passport.header.dumps(), header))
    second = b64url_encode(_octets(passport.payload(), payload))
    signature = b64url_encode(case.carrier.key.sign(first + b"." + second))
    text = Token(first, second, signature).dumps().decode()
    return text + (parameters or f";info=<{case.carrier.x5u}>;alg=ES256;ppt=shaken")


def _octets(good, change):
    if change is None:
        return good
    if isinstance(change, bytes):
        return change
    members = {**msgspec.json.decode(good), **change}
    return msgspec.json.encode({name: v for name, v in members.items() if v is not None})


def forged(call, **claims):
    """The call's token with other claims and the signature as it was."""
    passport = msgspec.structs.replace(call.passport, **claims)
    return parse_identity_header(call.signed()).expanded(passport).dumps()


def baseline(case, orig=None, dest=None):
    """A baseline token of the carrier, as a header."""
    passport = PASSporT(
        Header(case.carrier.x5u), orig or TN(ORIG), dest or Destination((TN(DEST),)), case.iat
    )
    header, payload = b64url_encode(passport.header.dumps()), b64url_encode(passport.payload())
    signature = b64url_encode(case.carrier.key.sign(header + b"." + payload))
    return IdentityHeader(Token(header, payload, signature), case.carrier.x5u, "ES256")


def _tlv(tag, content):
    return bytes([tag, len(content)]) + content


def permit(claim, value):
    """JWTClaimConstraints: this claim may have this value only."""
    entry = _tlv(0x30, _tlv(0x16, claim.encode()) + _tlv(0x30, _tlv(0x0C, value.encode())))
    return constraints.OID, _tlv(0x30, _tlv(0xA1, _tlv(0x30, entry)))


def demand(claim):
    """JWTClaimConstraints: this claim must be there."""
    names = _tlv(0x30, _tlv(0x16, claim.encode()))
    return constraints.OID, _tlv(0x30, _tlv(0xA0, names))


def exclude(claim):
    """EnhancedJWTClaimConstraints (RFC 9118): this claim must not be there."""
    names = _tlv(0x30, _tlv(0x16, claim.encode()))
    return constraints.ENHANCED_OID, _tlv(0x30, _tlv(0xA2, names))


def extend(case, oid, value):
    """Give the carrier's certificate one more extension."""
    case.carrier.certificate.change(
        lambda builder: builder.add_extension(
            x509.UnrecognizedExtension(oid, value), critical=False
        )
    )


# Faults: each breaks exactly one check. They are in the order in which they can be combined. ------


def no_identity(case):
    case.request = lambda *_, **__: VerificationRequest(TN(ORIG), (TN(DEST),), NOW)


def other_algorithm(case):
    case.spelling = lambda value: value.replace("alg=ES256", "alg=RS256")


def private_place(case):
    case.carrier.x5u = "https://10.0.0.1/chain.pem"


def stale_date(case):
    case.iat = case.time = NOW - 61
    case.policy = ScreenPolicy(iat_window=300)


def stale_iat(case):
    case.iat = NOW - 61


def other_caller(case):
    case.orig = TN(OTHER)


def other_callee(case):
    case.to = (TN(OTHER),)


def not_covered(case):
    case.carrier.certificate.tnauthlist(TNRange(TN("12155550200"), TN("12155550299")))


def constrained(case):
    extend(case, *permit("attest", "B"))


def unreachable(case):
    failure = Failure(Reason.CERT_UNREACHABLE, "no route", NOW + 30)
    case.cache.failures[case.carrier.x5u] = failure


def revoked(case):
    case.carrier.certificate.revoke()


def wrong_key(case):
    case.carrier.certificate.wrong_key()


def replayed(case):
    case.replay = Knows(first_seen=False)


def not_the_holder(case):
    numbers = TNRange(TN(ORIG), TN(ORIG))
    case.registry.add(Holding(numbers=numbers, subject="bank", spcs=("5678", "9012")))


def ordered(case):
    case.registry.add(
        Order(
            id="o1",
            issuer="regulator",
            reference="ref",
            kind=TargetKind.SPC,
            target="1234",
            since=NOW - 1,
            number=1,
            token="token",
        )
    )


def pooled(case):
    extension = case.call().passport.extension
    case.conduct = Found(finding(KeyKind.SIGNER, f"1234/{extension.origid}"))


def unwanted(case):
    case.registry.add(CalleeRefusal(numbers=TNRange(TN(DEST), TN(DEST)), since=NOW - 1))
    case.consent = ConsentPolicy(Consent.REFUSE)
    case.purpose = "telemarketing"


class Fault(NamedTuple):
    """What is wrong, the check that finds it, and the reason it gives."""

    apply: Callable[[Case], None]
    check: Check
    reason: Reason


# In the order of application: what changes the certificate before what depends on it.
FAULTS = (
    Fault(no_identity, Check.IDENTITY, Reason.NO_IDENTITY),
    Fault(other_algorithm, Check.SYNTAX, Reason.ALG_UNSUPPORTED),
    Fault(private_place, Check.X5U, Reason.X5U_POLICY),
    Fault(stale_date, Check.DATE, Reason.DATE_STALE),
    Fault(stale_iat, Check.IAT, Reason.IAT_STALE),
    Fault(other_caller, Check.ORIG, Reason.ORIG_MISMATCH),
    Fault(other_callee, Check.DEST, Reason.DEST_MISMATCH),
    Fault(not_covered, Check.TNAUTHLIST, Reason.TNAUTHLIST_NOT_COVERED),
    Fault(constrained, Check.CONSTRAINTS, Reason.CLAIM_CONSTRAINED),
    Fault(unreachable, Check.CERTIFICATE, Reason.CERT_UNREACHABLE),
    Fault(revoked, Check.CHAIN, Reason.CERT_REVOKED),
    Fault(wrong_key, Check.SIGNATURE, Reason.SIGNATURE_INVALID),
    Fault(replayed, Check.REPLAY, Reason.REPLAYED),
    Fault(ordered, Check.ORDER, Reason.ORDERED),
    Fault(not_the_holder, Check.HOLDER, Reason.SPC_NOT_HOLDER),
    Fault(pooled, Check.CONDUCT, Reason.DISPLAY_POOLED),
    Fault(unwanted, Check.CONSENT, Reason.CALLEE_REFUSES),
)
ORDER = tuple(Check)
IN_ORDER = tuple(sorted(FAULTS, key=lambda fault: ORDER.index(fault.check)))
