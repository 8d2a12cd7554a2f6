"""TNAuthList and claim constraints: content, not presence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zhenxian.certs.constraints import ClaimConstraints, parse_constraints
from zhenxian.certs.tnauthlist import SPC, TNAuthList, parse_tnauthlist
from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import TN, TNRange

ONE_SPC = bytes.fromhex("3005a003160131")


def test_one_spc_is_the_octets_seen_in_the_field():
    assert parse_tnauthlist(ONE_SPC) == TNAuthList((SPC("1"),))
    assert TNAuthList((SPC("1"),)).dumps() == ONE_SPC


TNS = st.text("0123456789", min_size=1, max_size=15).map(TN)
RANGES = st.tuples(st.integers(1, 10**9), st.integers(1, 1000)).map(
    lambda p: TNRange(TN(f"{p[0]:010d}"), TN(f"{p[0] + p[1]:010d}"))
)
SPCS = st.text("ABCDEFGH0123456789", min_size=1, max_size=8).map(SPC)
LISTS = st.lists(TNS | RANGES | SPCS, min_size=1, max_size=6).map(lambda e: TNAuthList(tuple(e)))


@given(LISTS)
def test_parse_and_dumps_are_inverse(listed):
    der = listed.dumps()
    again = parse_tnauthlist(der)
    assert again == listed
    assert [type(e) for e in again.entries] == [type(e) for e in listed.entries]
    assert again.dumps() == der


@given(st.binary(max_size=64) | LISTS.map(lambda v: v.dumps()[:-1] + b"\x00"))
def test_any_octets_give_a_list_or_our_error(data):
    try:
        assert parse_tnauthlist(data).dumps() == data
    except ParseError as error:
        assert error.reason is Reason.TNAUTHLIST_INVALID


@pytest.mark.parametrize(
    "der",
    [
        "3000",  # empty
        "3005a00316013100",  # trailing octet
        "3081" + "05a003160131",  # long form of a short length
        "3080a0031601310000",  # indefinite length
        "3005a003160141" + "ff",
        "3005a2031601" + "41",  # a letter in a telephone number
        "300ca10a3008160331303002" + "0101",  # a range of one
        "300ca10a3008160331303002" + "01ff",  # a negative count
        "3005a303160131",  # no such alternative
        "3003160131",  # not tagged
    ],
)
def test_what_is_not_a_list_is_refused(der):
    with pytest.raises(ParseError) as caught:
        parse_tnauthlist(bytes.fromhex(der))
    assert caught.value.reason is Reason.TNAUTHLIST_INVALID


def test_a_range_that_outgrows_its_length_is_refused():
    bad = TNAuthList((TNRange(TN("100"), TN("999")),)).dumps().replace(b"100", b"999")
    with pytest.raises(ParseError):
        parse_tnauthlist(bad)


def test_covers_by_number_and_range_and_never_by_code():
    listed = TNAuthList((SPC("1234"), TNRange(TN("100"), TN("199")), TN("555")))
    for number in ("100", "150", "199", "555"):
        assert listed.covers(TN(number))
    for number in ("099", "200", "1000", "10", "556", "1234"):
        assert not listed.covers(TN(number))
    assert not TNAuthList((SPC("555"),)).covers(TN("555"))
    assert str(listed) == "SPC 1234, 100 to 199, 555"


RANGE = TNRange(TN("100"), TN("199"))


@pytest.mark.parametrize(
    ("parent", "child", "holds"),
    [
        ((RANGE,), (RANGE,), True),
        ((RANGE,), (TNRange(TN("150"), TN("160")),), True),
        ((RANGE,), (TN("100"), TN("199")), True),
        ((RANGE,), (TNRange(TN("150"), TN("200")),), False),
        ((RANGE,), (TN("200"),), False),
        ((RANGE,), (SPC("1"),), False),
        ((TN("5"),), (TN("5"),), True),
        ((TN("5"),), (TN("5"), TN("6")), False),
        ((SPC("1"),), (SPC("1"),), True),
        ((SPC("1"),), (SPC("2"),), False),
        ((SPC("1"),), (TN("5"), RANGE), True),
        ((SPC("1"),), (SPC("2"), TN("5")), False),
    ],
)
def test_encompasses(parent, child, holds):
    assert TNAuthList(parent).encompasses(TNAuthList(child)) is holds


@given(LISTS)
def test_everything_encompasses_itself(listed):
    assert listed.encompasses(listed)


RFC_9118 = bytes.fromhex(
    "3040a00e300c160a636f6e666964656e6365a120301e301c160a636f6e666964656e6365300e0c04686967680c06"
    "6d656469756da20c300a16087072696f72697479"
)


def test_constraints_of_rfc_9118_figure_1():
    constraints = parse_constraints(RFC_9118, enhanced=True)
    assert constraints == ClaimConstraints(
        ("confidence",), (("confidence", ("high", "medium")),), ("priority",)
    )
    assert constraints.violation({"confidence": "high"}) is None
    assert "demands" in constraints.violation({})
    assert "permits" in constraints.violation({"confidence": "low"})
    assert "permits" in constraints.violation({"confidence": ["high"]})
    assert "forbids" in constraints.violation({"confidence": "high", "priority": 1})


def test_a_permitted_value_does_not_demand_the_claim():
    constraints = ClaimConstraints(permitted_values=(("attest", ("B",)),))
    assert constraints.violation({}) is None
    assert constraints.violation({"attest": "B"}) is None
    assert constraints.violation({"attest": "A"}) is not None


@given(st.binary(max_size=80), st.booleans())
def test_any_octets_give_constraints_or_our_error(data, enhanced):
    try:
        parse_constraints(data, enhanced=enhanced)
    except ParseError as error:
        assert error.reason is Reason.CERT_PROFILE


def test_plain_constraints_know_no_exclusion_and_must_constrain():
    with pytest.raises(ParseError):
        parse_constraints(RFC_9118, enhanced=False)
    with pytest.raises(ParseError):
        parse_constraints(bytes.fromhex("3000"), enhanced=True)


@pytest.mark.parametrize("code", [" ", " 1234", "1234 ", "", "\t"])
def test_a_code_of_blanks_is_refused(code):
    with pytest.raises(ParseError, match="printable"):
        parse_tnauthlist(TNAuthList((SPC(code),)).dumps())
    assert parse_tnauthlist(TNAuthList((SPC("12 34"),)).dumps()).spcs == ("12 34",)
