"""No change to a signed call passes, whatever is changed."""

from __future__ import annotations

import string

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain import PlainRegistry
from simulator import NOW, World

from zhenxian.certs.profile import ProfilePolicy
from zhenxian.core.reasons import Verstat
from zhenxian.core.tn import TN
from zhenxian.passport.identity import parse_identity_header, split_identity_headers
from zhenxian.passport.jws import b64url_encode
from zhenxian.stores.replay.memory import MemoryReplayStore
from zhenxian.verifier.screen import ScreenPolicy
from zhenxian.verifier.trust import Trust
from zhenxian.verifier.verdict import Verdict
from zhenxian.verifier.verify import Verifier

pytestmark = pytest.mark.usefixtures("es256")

WORLD = World()
CARRIER = WORLD.carrier("1234")
OTHER = WORLD.carrier("5678")
CALL = CARRIER.call("12155550100", "12155550199")
SIGNED = CALL.signed()
CHAINS = {CARRIER.x5u: CARRIER.chain, OTHER.x5u: OTHER.chain}
TRUST = Trust(WORLD.trust, WORLD.revocation(), ProfilePolicy())
NUMBERS = st.text(string.digits, min_size=3, max_size=15)
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


class Cache:
    def cached(self, x5u, now):
        return CHAINS.get(x5u)

    def keep(self, x5u):
        pass


def passes(request, now=NOW) -> bool:
    verifier = Verifier(ScreenPolicy(), Cache(), TRUST, MemoryReplayStore(), PlainRegistry())
    verdict = verifier.verify(request, now)
    return isinstance(verdict, Verdict) and verdict.verstat is Verstat.PASSED


def test_the_call_itself_passes():
    assert passes(CALL.arrives(SIGNED))


@QUICK
@given(st.integers(0, len(SIGNED) - 1), st.characters(max_codepoint=0x2FF))
def test_one_changed_character_never_passes_as_something_else(position, char):
    changed = SIGNED[:position] + char + SIGNED[position + 1 :]
    if passes(CALL.arrives(changed)):
        # Only what the signature does not cover may differ: spelling of parameters, or what comes
        # after a comma, which is another header.
        first = split_identity_headers([changed])[0]
        assert parse_identity_header(first).token == parse_identity_header(SIGNED).token


@QUICK
@given(st.integers(0, 8 * 64 - 1))
def test_one_flipped_bit_of_the_signature_never_passes(bit):
    header = parse_identity_header(SIGNED)
    octets = bytearray(header.token.signature_octets)
    octets[bit // 8] ^= 1 << bit % 8
    token = msgspec.structs.replace(header.token, signature=b64url_encode(bytes(octets)))
    assert not passes(CALL.arrives(msgspec.structs.replace(header, token=token).dumps()))


@QUICK
@given(NUMBERS, NUMBERS, st.integers(-(10**6), 10**6))
def test_another_call_or_time_never_passes(orig, dest, offset):
    request = CALL.arrives(SIGNED, time=NOW + offset)
    good = abs(offset) <= 60
    assert passes(request, NOW + offset) is good
    for changed in (
        msgspec.structs.replace(CALL.arrives(SIGNED), orig=TN(orig)),
        msgspec.structs.replace(CALL.arrives(SIGNED), to=(TN(dest),)),
    ):
        assert passes(changed) is (changed == CALL.arrives(SIGNED))


@QUICK
@given(st.text(max_size=300))
def test_no_text_passes_for_a_header(text):
    assert not passes(CALL.arrives(text))


def test_another_carriers_signature_does_not_pass_for_this_ones():
    header = parse_identity_header(SIGNED)
    theirs = parse_identity_header(OTHER.call("12155550100", "12155550199").signed())
    mixed = msgspec.structs.replace(header.token, signature=theirs.token.signature)
    assert not passes(CALL.arrives(msgspec.structs.replace(header, token=mixed).dumps()))
