"""Which stated purposes are marketing, and whose refusals count."""

from __future__ import annotations

import pytest
from plain import PlainRegistry

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.registry.consent import (
    MARKETING,
    MAX_TERM,
    MAX_TERMS,
    Consent,
    ConsentPolicy,
    refusal_text,
)
from zhenxian.registry.model import CalleeRefusal, Scope

A, B = TN("8613800138000"), TN("8613900139000")
REFUSAL = CalleeRefusal(numbers=TNRange(B, B), since=5, source="callee, hotline")


@pytest.mark.parametrize(
    "purpose",
    [
        *MARKETING,
        "Marketing call",
        "MARKETING",
        "ＭＡＲＫＥＴＩＮＧ",
        "a special\u3000 offer!",
        "电话marketing",
        "新房推广活动",
        "casino marketing",  # "no" is no word of its own
        "no advertising but a promotion",
        "notmarketing, marketing",
    ],
)
def test_purposes_that_are_marketing(purpose):
    assert ConsentPolicy().scope(purpose) is Scope.MARKETING


@pytest.mark.parametrize(
    "purpose",
    [
        "your parcel",
        "appointment",
        "promoted to manager",
        "remarketing",
        "marketingx",
        "non-marketing survey",
        "not marketing",
        "No promotion",
        "非营销回访",
        "非营销推广",
        "不是广告",
        "快递送货",
        "Rendezvous for Little Nellie",
        "",
    ],
)
def test_purposes_that_are_not(purpose):
    assert ConsentPolicy().scope(purpose) is None


def test_terms_are_configuration():
    policy = ConsentPolicy(Consent.REFUSE, ("survey", "回访", "(a+)+$"))
    assert policy.scope("customer survey") is Scope.MARKETING
    assert policy.scope("非营销回访") is Scope.MARKETING
    assert policy.scope("(A+)+$") is Scope.MARKETING
    assert policy.scope("aaaa") is None
    assert policy.scope("marketing") is None
    assert ConsentPolicy(terms=()).scope("marketing") is None


@pytest.mark.parametrize(
    "terms", [("",), (" ",), ("x" * (MAX_TERM + 1),), map(str, range(MAX_TERMS + 1))]
)
def test_unusable_terms_are_refused(terms):
    with pytest.raises(ConfigError, match="terms"):
        ConsentPolicy(terms=terms)


def test_one_refusing_callee_is_enough_and_uris_refuse_nothing():
    registry = PlainRegistry(others=[REFUSAL])
    policy = ConsentPolicy()

    def asked(*callees, purposes=("marketing",), now=5, policy=policy):
        return policy.refusal(purposes, callees, registry, now)

    assert asked(A, URI("sip:b@example.com"), B) == REFUSAL
    assert asked(A) is None
    assert asked(URI("sip:b@example.com")) is None
    assert asked(B, now=4) is None
    assert asked(B, purposes=(None, "delivery")) is None
    assert asked(B, purposes=(None, "marketing")) == REFUSAL
    assert asked(B, policy=ConsentPolicy(Consent.OFF)) is None


def test_what_the_caller_is_told_does_not_name_the_callee():
    assert str(B) not in refusal_text(REFUSAL)
    assert "hotline" not in refusal_text(REFUSAL)
    assert "marketing" in refusal_text(REFUSAL)
