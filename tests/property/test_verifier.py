"""No change to a signed call passes, but for spellings that mean the same."""

from __future__ import annotations

import string

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain import PlainRegistry
from simulator import DAY, NOW, World

from zhenxian.certs.profile import ProfilePolicy
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason, Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.identity import parse_identity_header
from zhenxian.passport.jws import b64url_encode
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.opened import NeedCertificates
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.trust import Trust
from zhenxian.verifier.verdict import Check, Verdict
from zhenxian.verifier.verify import Verifier

WORLD = World()
CARRIER = WORLD.carrier("1234")
OTHER = WORLD.carrier("5678")
ORIG, DEST = "12155550100", "12155550199"
CALL = CARRIER.call(ORIG, DEST)
SIGNED = CALL.signed()
HEADER = parse_identity_header(SIGNED)
PARAMETERS = SIGNED.index(";")
CHAINS = {CARRIER.x5u: CARRIER.chain, OTHER.x5u: OTHER.chain}
LIST = WORLD.crl(this_update=NOW - DAY)
TRUST = Trust(WORLD.trust, WORLD.revocation(LIST), ProfilePolicy())
NUMBERS = st.text(string.digits, min_size=3, max_size=15)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


class Cache:
    def cached(self, x5u, now):
        return CHAINS.get(x5u)

    def keep(self, x5u):
        pass


def outcome(request, now=NOW) -> Verdict | NeedCertificates:
    verifier = Verifier(ScreenPolicy(), Cache(), TRUST, MemoryReplayStore(), PlainRegistry())
    return verifier.verify(request, now)


def passes(request, now=NOW) -> bool:
    verdict = outcome(request, now)
    return isinstance(verdict, Verdict) and verdict.verstat is Verstat.PASSED


def means_the_same(text: str) -> bool:
    """True when a header says what SIGNED says.

    Token and info are octet for octet the same; alg and ppt are the same or not there (the
    token's own count); what else stands there is an extension that nobody reads.
    """
    try:
        header = parse_identity_header(text)
    except ParseError:
        return False
    return (
        (header.token, header.info) == (HEADER.token, HEADER.info)
        and header.alg in (None, "ES256")
        and header.ppt in (None, "shaken")
    )


def test_the_call_itself_passes():
    assert means_the_same(SIGNED)
    assert passes(CALL.arrives(SIGNED))


def test_no_single_character_of_the_token_may_change_in_case():
    """Every position, not a sample: base64url tells case apart, SIP does not."""
    for position in range(PARAMETERS):
        char = SIGNED[position]
        if char.swapcase() != char:
            changed = SIGNED[:position] + char.swapcase() + SIGNED[position + 1 :]
            assert not passes(CALL.arrives(changed))


@QUICK
@given(st.integers(0, len(SIGNED) - 1), st.characters(max_codepoint=0x2FF))
def test_one_changed_character_passes_only_when_it_means_the_same(position, char):
    changed = SIGNED[:position] + char + SIGNED[position + 1 :]
    # A comma makes two headers of one, each of which would have to pass by itself.
    assert passes(CALL.arrives(changed)) is any(map(means_the_same, changed.split(",")))


@QUICK
@given(st.integers(0, PARAMETERS - 1), st.sampled_from(string.ascii_letters + string.digits + "-_"))
def test_one_changed_character_of_the_token_never_passes(position, char):
    changed = SIGNED[:position] + char + SIGNED[position + 1 :]
    assert passes(CALL.arrives(changed)) is (changed == SIGNED)


@QUICK
@given(st.integers(0, len(SIGNED)), st.text(max_size=3), st.integers(0, 3))
def test_what_is_put_in_or_left_out_passes_only_when_it_means_the_same(position, text, length):
    changed = SIGNED[:position] + text + SIGNED[position + length :]
    if "\n" in changed or "," in changed or changed != changed.strip(" \t"):
        return  # unfolded, split and trimmed before it is read
    assert passes(CALL.arrives(changed)) is means_the_same(changed)


@QUICK
@given(st.integers(0, 8 * 64 - 1))
def test_one_flipped_bit_of_the_signature_never_passes(bit):
    octets = bytearray(HEADER.token.signature_octets)
    octets[bit // 8] ^= 1 << bit % 8
    token = msgspec.structs.replace(HEADER.token, signature=b64url_encode(bytes(octets)))
    verdict = outcome(CALL.arrives(msgspec.structs.replace(HEADER, token=token).dumps()))
    assert verdict.failed is Check.SIGNATURE


@QUICK
@given(st.integers(-200, 200), st.integers(-200, 200), st.integers(-200, 200))
def test_a_call_passes_exactly_while_its_iat_is_fresh(iat, date, now):
    call = CARRIER.call(ORIG, DEST, iat=NOW + iat)
    verdict = outcome(call.arrives(time=NOW + date), NOW + now)
    if abs(now - date) > 60 and abs(now - iat) > 60:
        assert verdict.reason is Reason.DATE_STALE
    elif abs(now - iat) > 60:
        assert verdict.reason is Reason.IAT_STALE
    else:
        assert verdict.verstat is Verstat.PASSED


@QUICK
@given(st.integers(0, 253_402_300_799))
def test_at_any_other_time_the_token_never_passes(now):
    assert passes(CALL.arrives(SIGNED), now) is (abs(now - NOW) <= 60)
    if not -DAY <= now - NOW < DAY:  # made then, under a certificate or list of now
        call = CARRIER.call(ORIG, DEST, iat=now)
        assert not passes(call.arrives(), now)


@QUICK
@given(NUMBERS, NUMBERS)
def test_another_call_never_passes(orig, dest):
    request = CALL.arrives(SIGNED)
    for changed in (
        msgspec.structs.replace(request, orig=TN(orig)),
        msgspec.structs.replace(request, to=(TN(dest),)),
        msgspec.structs.replace(request, to=(TN(DEST), TN(dest))),
        msgspec.structs.replace(request, orig=TN(orig), to=(TN(dest),)),
    ):
        assert passes(changed) is (changed.orig == ORIG and set(changed.to) == {DEST})


@QUICK
@given(st.text(max_size=300))
def test_no_text_passes_for_a_header(text):
    verdict = outcome(CALL.arrives(text))
    assert verdict.failed in (Check.IDENTITY, Check.SYNTAX)


def test_another_carriers_signature_does_not_pass_for_this_ones():
    theirs = parse_identity_header(OTHER.call(ORIG, DEST).signed())
    mixed = msgspec.structs.replace(HEADER.token, signature=theirs.token.signature)
    assert not passes(CALL.arrives(msgspec.structs.replace(HEADER, token=mixed).dumps()))
