"""Who is involved in a call, and what a call tells of conduct."""

from __future__ import annotations

import pytest

from zhenxian.analytics.model import Key, KeyKind, Observation
from zhenxian.core.tn import TN, URI, TNRange
from zhenxian.registry.model import Binding, BindingModel, Holding, Order, TargetKind, Who
from zhenxian.registry.parties import involved, observation, order_text, together

DISPLAY, OWN, CALLEE = TN("8617100005678"), TN("8613800138000"), TN("8613900139000")
HELD = Holding(numbers=TNRange(DISPLAY, DISPLAY), subject="platform", spcs=("1", "2"))
KEYS = (Key(KeyKind.ACCESS, "trunk"), Key(KeyKind.SUBJECT, "platform"))
BINDING = Binding(
    id="b", platform="platform", model=BindingModel.AXB, x=DISPLAY, a=OWN, since=1, b=CALLEE
)
AGENT = Key(KeyKind.AGENT, f"platform/{OWN}")


def test_nobody_is_involved_by_what_is_no_number_and_held_by_nobody():
    assert involved(None, None) == Who()


def test_a_number_involves_its_holder_and_who_came_before_it():
    who = involved(DISPLAY, HELD, ("mvno",), subjects=("caller",), spcs=("9",), serial="AB")
    assert who == Who(("caller", "platform"), ("mvno",), ("9",), (DISPLAY,), "AB")


def test_two_numbers_of_one_call_involve_both():
    one = involved(DISPLAY, HELD, ("mvno",), spcs=("9",), serial="AB")
    both = together(
        one, involved(OWN, Holding(numbers=TNRange(OWN, OWN), subject="driver"), ("shop",))
    )
    assert both == Who(("platform", "driver"), ("mvno", "shop"), ("9",), (DISPLAY, OWN), "AB")


def test_an_order_in_words():
    order = Order(
        id="o1",
        issuer="regulator",
        reference="ref 7",
        kind=TargetKind.SUBJECT,
        target="shop",
        since=1,
        number=1,
        token="token",
    )
    assert order_text(order) == "order o1 of regulator (ref 7) stops subject shop"


@pytest.mark.parametrize(
    ("binding", "hidden_caller", "told"),
    [
        (
            None,
            None,
            Observation(
                at=9, keys=KEYS, display=DISPLAY, callee=CALLEE, origid="o", bound=False, mark=5
            ),
        ),
        (
            None,
            OWN,
            Observation(
                at=9, keys=KEYS, display=DISPLAY, callee=CALLEE, origid="o", bound=False, mark=5
            ),
        ),
        (
            BINDING,
            None,
            Observation(
                at=9, keys=KEYS, display=DISPLAY, callee=CALLEE, origid="o", bound=True, mark=5
            ),
        ),
        (
            BINDING,
            OWN,
            Observation(
                at=9,
                keys=(*KEYS, AGENT),
                display=DISPLAY,
                callee=CALLEE,
                origid="o",
                bound=True,
                mark=5,
                hidden_caller=OWN,
            ),
        ),
    ],
)
def test_what_a_call_tells_of_conduct(binding, hidden_caller, told):
    given = {"binding": binding, "hidden_caller": hidden_caller, "origid": "o", "mark": 5}
    assert observation(KEYS, DISPLAY, CALLEE, 9, **given) == told
    assert observation(KEYS, URI("sip:a@b.example"), CALLEE, 9, **given) is None
