"""The index of orders against a plain scan; what is signed is read, and nothing else is."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from zhenxian.core.tn import TN, TNRange
from zhenxian.passport.jws import SigningKey
from zhenxian.registry.model import Order, TargetKind, Who, span
from zhenxian.registry.orders import (
    Action,
    Instruction,
    Issuer,
    OrderIndex,
    OrderRefusedError,
    read_instruction,
    sign_instruction,
)

NAMES = st.sampled_from("abc")
TIMES = st.integers(0, 6)
NUMBERS = st.one_of(
    st.integers(0, 30).map(lambda n: TN(f"{n:02}")),
    st.integers(0, 9).map(lambda n: TN(f"{n}")),
    st.sampled_from([TN("*1"), TN("1#")]),
)


@st.composite
def ranges(draw):
    width = draw(st.sampled_from([1, 2]))
    first, last = sorted(
        draw(st.lists(st.integers(0, 30 if width == 2 else 9), min_size=2, max_size=2))
    )
    return TNRange(TN(f"{first:0{width}}"), TN(f"{last:0{width}}"))


@st.composite
def orders(draw):
    kind = draw(st.sampled_from(TargetKind))
    target = {
        TargetKind.RANGE: ranges().map(span),
        TargetKind.NUMBER: NUMBERS.map(str),
    }.get(kind, NAMES)
    lifted = draw(st.none() | TIMES) if draw(st.integers(0, 3)) == 0 else None
    name = draw(st.text("xyz", min_size=1, max_size=3))
    return Order(
        id=name, issuer="i", reference="r", kind=kind, target=draw(target), since=draw(TIMES),
        number=1, token="t", lifted=lifted,
    )  # fmt: skip


WHO = st.builds(
    Who,
    subjects=st.lists(NAMES, max_size=2).map(tuple),
    resellers=st.lists(NAMES, max_size=2).map(tuple),
    spcs=st.lists(NAMES, max_size=2).map(tuple),
    numbers=st.lists(NUMBERS, max_size=3).map(tuple),
    serial=st.sampled_from(["", "a", "b", "c"]),
)


def _covers(order, who):
    if order.kind is TargetKind.RANGE:
        first, _, last = order.target.partition("-")
        numbers = TNRange(TN(first), TN(last or first))
        return any(number in numbers for number in who.numbers)
    named = {
        TargetKind.SUBJECT: who.subjects,
        TargetKind.RESELLER: who.resellers,
        TargetKind.SPC: who.spcs,
        TargetKind.NUMBER: who.numbers,
        TargetKind.CERTIFICATE: (who.serial,),
    }
    return order.target in named[order.kind]


def _scan(given, who, now):
    found = [o for o in given if o.lifted is None and o.since <= now and _covers(o, who)]
    return min(((o.since, o.id) for o in found), default=None)


@settings(max_examples=300, deadline=None)
@given(st.lists(orders(), max_size=12), st.lists(st.tuples(WHO, TIMES), min_size=1, max_size=8))
def test_the_index_finds_what_a_scan_finds(given, questions):
    index = OrderIndex(given)
    for who, now in questions:
        found = index.find(who, now)
        assert (None if found is None else (found.since, found.id)) == _scan(given, who, now)
        assert found is None or (_covers(found, who) and found.lifted is None)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(ranges(), TIMES), min_size=1, max_size=16),
    TIMES,
)
def test_nested_and_overlapping_ranges_at_every_number(given, now):
    made = [
        Order(
            id=f"{i}",
            issuer="i",
            reference="r",
            kind=TargetKind.RANGE,
            target=span(numbers),
            since=since,
            number=1,
            token="t",
        )
        for i, (numbers, since) in enumerate(given)
    ]
    index = OrderIndex(made)
    for number in [TN(f"{n:02}") for n in range(33)] + [TN(f"{n}") for n in range(10)]:
        who = Who(numbers=(number,))
        found = index.find(who, now)
        assert (None if found is None else (found.since, found.id)) == _scan(made, who, now)


_KEY = SigningKey(ec.generate_private_key(ec.SECP256R1()))
_ISSUERS = {"i": Issuer("i", (_KEY.verifying_key,))}
_WORDS = st.text(
    st.characters(categories=("L", "N", "P", "S"), exclude_characters="/"), min_size=1, max_size=40
)
_TOKEN = sign_instruction(
    Instruction(
        action=Action.STOP,
        order="o",
        issuer="i",
        number=1,
        reference="r",
        kind=TargetKind.SUBJECT,
        target="s",
        since=1,
        iat=1,
    ),
    _KEY,
    "k",
)


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        Instruction,
        action=st.sampled_from(Action),
        order=_WORDS,
        issuer=st.just("i"),
        number=st.integers(1, 10**18 - 1),
        reference=_WORDS,
        kind=st.sampled_from([TargetKind.SUBJECT, TargetKind.RESELLER, TargetKind.SPC]),
        target=_WORDS,
        since=st.integers(0, 10**9),
        iat=st.integers(0, 10**9),
    )
)
def test_what_is_signed_is_read(instruction):
    assert (
        read_instruction(sign_instruction(instruction, _KEY, "k"), _ISSUERS, 10**9) == instruction
    )


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(_TOKEN) - 1), st.characters(max_codepoint=0x7F))
def test_a_token_with_any_other_character_is_refused(place, character):
    altered = _TOKEN[:place] + character + _TOKEN[place + 1 :]
    if altered == _TOKEN:
        assert read_instruction(altered, _ISSUERS, 1).target == "s"
        return
    with pytest.raises(OrderRefusedError):
        read_instruction(altered, _ISSUERS, 1)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_raises_anything_else(text):
    with pytest.raises(OrderRefusedError):
        read_instruction(text, _ISSUERS, 1)
