"""What stands against a call's keys, and whom an exemption spares."""

from __future__ import annotations

import pytest
from found import Found, finding
from plain import PlainRegistry

from zhenxian.analytics.model import Key, KeyKind, Measure, State
from zhenxian.core.errors import StoreUnavailableError
from zhenxian.core.tn import TN
from zhenxian.registry.exemptions import against
from zhenxian.registry.model import Binding, BindingModel, Exemption

OWN, X = TN("8613800138000"), TN("8617100005678")
ACCESS, SUBJECT = Key(KeyKind.ACCESS, "trunk"), Key(KeyKind.SUBJECT, "platform")
SIGNER, SPC = Key(KeyKind.SIGNER, "1/o"), Key(KeyKind.SPC, "1")
AGENT = Key(KeyKind.AGENT, f"platform/{OWN}")
CALLING, SIGNING = (ACCESS, SUBJECT), (SIGNER, SPC)
BINDING = Binding(id="b", platform="platform", model=BindingModel.AX, x=X, a=OWN, since=1)
BOUND = {"binding": BINDING, "hidden_caller": OWN}
FREE = {"binding": None, "hidden_caller": None}


def of(key, **more):
    return finding(key.kind, key.id, **more)


def spared(key, *measures):
    return Exemption(
        id="e",
        kind=key.kind,
        target=key.id,
        reason="why",
        since=1,
        until=1 << 40,
        measures=tuple(map(Measure, measures)),
    )


@pytest.mark.parametrize(
    ("keys", "found", "exempt", "left"),
    [
        (CALLING, ACCESS, ACCESS, False),
        (CALLING, ACCESS, SUBJECT, False),
        (CALLING, SUBJECT, SUBJECT, False),
        (CALLING, SUBJECT, ACCESS, True),
        (CALLING, AGENT, AGENT, False),
        (CALLING, AGENT, ACCESS, False),
        (CALLING, AGENT, SUBJECT, False),
        (SIGNING, SIGNER, SIGNER, False),
        (SIGNING, SIGNER, SPC, True),
        (SIGNING, SPC, SIGNER, True),
        (SIGNING, AGENT, SUBJECT, False),  # its platform, whom no key of the call names
        (SIGNING, AGENT, SPC, True),
    ],
)
def test_whom_an_exemption_spares(keys, found, exempt, left):
    how = BOUND if found is AGENT else FREE
    stands = of(found)
    registry = PlainRegistry(others=[spared(exempt)])
    told = against(keys, Found(stands), registry, 9, **how)
    assert told == (stands if left else None)
    assert against(keys, Found(stands), None, 9, **how) == stands


def test_one_exemption_covers_all_that_was_found_or_nothing():
    stands = of(ACCESS, measure=Measure.SPREAD, beside=(Measure.RATE,))
    halves = [spared(ACCESS, "spread"), spared(SUBJECT, "rate")]
    told = [against(CALLING, Found(stands), PlainRegistry(others=[e]), 9, **FREE) for e in halves]
    assert told == [stands, stands]
    both = PlainRegistry(others=[spared(SUBJECT, "spread", "rate")])
    assert against(CALLING, Found(stands), both, 9, **FREE) is None


def test_the_worst_is_told_and_of_equals_the_closest():
    close, far = of(ACCESS, state=State.SUSPECTED), of(SUBJECT)
    assert against(CALLING, Found(close, far), None, 9, **FREE) == far
    assert against(CALLING, Found(of(ACCESS), far), None, 9, **FREE) == of(ACCESS)
    lighter = {SUBJECT: 1, ACCESS: 2}
    weighed = {"weight": lambda found: lighter[found.key]}
    assert against(CALLING, Found(close, far), None, 9, **FREE, **weighed) == close
    assert against(CALLING, Found(close), None, 9, **FREE, weight=lambda _: 0) is None


def test_only_how_bindings_are_used_speaks_against_a_bound_call():
    spread, bindings = of(ACCESS), of(SUBJECT, measure=Measure.BINDINGS)
    assert against(CALLING, Found(spread), None, 9, **BOUND) is None
    assert against(CALLING, Found(spread, bindings), None, 9, **BOUND) == bindings
    anybody = {"binding": BINDING, "hidden_caller": None}
    assert against(CALLING, Found(of(AGENT)), None, 9, **anybody) is None


def test_where_exemptions_cannot_be_asked_for_the_caller_is_told():
    class Away:
        def exemption(self, *_):
            raise StoreUnavailableError("away")

    with pytest.raises(StoreUnavailableError):
        against(CALLING, Found(of(ACCESS)), Away(), 9, **FREE)
    assert against(CALLING, Found(), Away(), 9, **FREE) is None
