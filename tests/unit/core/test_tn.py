"""Telephone numbers and identities: what is written, what is read, what is refused."""

import pytest

from zhenxian.core.errors import ParseError
from zhenxian.core.reasons import Reason
from zhenxian.core.tn import MAX_URI_LENGTH, TN, URI, TNRange

CANONICAL = [
    # text, country, canonical
    ("12155550100", None, "12155550100"),
    ("+12155550100", None, "12155550100"),
    ("+1 (215) 555-01.00", None, "12155550100"),
    ("*67", None, "*67"),
    ("*#06#", None, "*#06#"),
    ("911", None, "911"),
    ("+" + "1" * 15, None, "1" * 15),
    # The 0 that is dialled inside of a country only
    ("+86 (0)755 8888-0001", None, "8675588880001"),
    ("+86 (0)755 8888-0001", "CN", "8675588880001"),
    ("+86 (0)755 8888-0001", "US", "8675588880001"),
    ("86075588880001", None, "8675588880001"),
    ("+44 (0)20 7946 0000", None, "442079460000"),
    ("+49 (0)30 1234567", "CN", "49301234567"),
    ("+39 06 1234567", None, "39061234567"),  # Italy's belongs to the number
    ("+860001", None, "860001"),
    # China
    ("13800138000", "CN", "8613800138000"),
    ("010-12345678", "CN", "861012345678"),
    ("(021) 6123 4567", "CN", "862161234567"),
    ("0755 1234 5678", "CN", "8675512345678"),
    ("4001234567", "CN", "864001234567"),
    ("008613800138000", "CN", "8613800138000"),
    ("0012155550100", "CN", "12155550100"),
    ("8613800138000", "CN", "8613800138000"),
    ("+8613800138000", "CN", "8613800138000"),
    ("95588", "CN", "95588"),
    ("10086", "CN", "10086"),
    ("110", "CN", "110"),
    ("12321", "CN", "12321"),
    ("*86", "CN", "*86"),
    ("13105551234", "CN", "8613105551234"),
    ("+13105551234", "CN", "13105551234"),
    # United States
    ("215-555-0100", "US", "12155550100"),
    ("1 215 555 0100", "US", "12155550100"),
    ("12155550100", "US", "12155550100"),
    ("0118613800138000", "US", "8613800138000"),
    ("011442079460000", "US", "442079460000"),
    ("911", "US", "911"),
    ("*67", "US", "*67"),
    ("5550100", "US", "5550100"),
    # Great Britain, Germany
    ("020 7946 0000", "GB", "442079460000"),
    ("00 44 20 7946 0000", "GB", "442079460000"),
    ("999", "GB", "999"),
    ("000", "AU", "000"),  # a short code may begin with 0 where the country has it
    ("030 1234567", "DE", "49301234567"),
    ("0049 30 123456", "DE", "4930123456"),
    ("0151 12345678", "DE", "4915112345678"),
    ("110", "DE", "110"),
    # A country that phonenumbers does not know changes nothing.
    ("2155550100", "ZZ", "2155550100"),
]


@pytest.mark.parametrize(("text", "country", "canonical"), CANONICAL)
def test_a_written_number_has_one_canonical_form(text, country, canonical):
    assert TN.parse(text, country) == TN(canonical)
    assert type(TN.parse(text, country)) is TN


@pytest.mark.parametrize(("_", "country", "canonical"), CANONICAL)
def test_canonical_global_form_reads_as_itself(_, country, canonical):
    if canonical == "000":
        return
    assert TN.parse(canonical) == canonical
    if canonical.isdecimal():
        assert TN.parse("+" + canonical, country) == canonical


@pytest.mark.parametrize("country", [None, "CN", "US"])
@pytest.mark.parametrize(
    "text",
    ["0", "00", "0000", "0086138", "00000000", "0999", "+075588880001", "+(0)755", "+0", "0110"],
)
def test_no_number_begins_with_0(text, country):
    with pytest.raises(ParseError) as refused:
        TN.parse(text, country, "orig.tn")
    assert refused.value.reason is Reason.TN_NATIONAL
    assert refused.value.where == "orig.tn"


@pytest.mark.parametrize(
    "text", ["075588880001", "008675588880001", "0755 8888-0001", "(0755)88880001"]
)
def test_a_national_number_is_read_where_its_country_is_known(text):
    assert TN.parse(text, "CN") == "8675588880001"
    with pytest.raises(ParseError, match=r"numbers\.country") as refused:
        TN.parse(text)
    assert refused.value.reason is Reason.TN_NATIONAL


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+",
        "()",
        "abc",
        "1-800-FLOWERS",
        "1" * 16,
        "+" + "1" * 16,
        "++1",
        "1+1",
        "+*86",
        "+12#",
        "+１２１５",
        "１２３",
        "٣٤٥",
        "²³",
        "1\n",
        "\n1",
        "1\x00",
        "1" * 100,
        "1 " * 5000,
        "\ud800",
        "1;ext=2",
    ],
)
@pytest.mark.parametrize("country", [None, "CN", "US"])
def test_what_is_no_number_is_refused(text, country):
    with pytest.raises(ParseError) as refused:
        TN.parse(text, country, "orig.tn")
    assert refused.value.reason is Reason.TN_INVALID
    assert refused.value.where == "orig.tn"
    assert len(refused.value.detail) < 200


@pytest.mark.parametrize("text", ["", "+1", "1 2", "1" * 16, "１", "1\n", "a"])
def test_tn_takes_canonical_text_only(text):
    with pytest.raises(ParseError) as refused:
        TN(text)
    assert refused.value.reason is Reason.TN_INVALID


def test_range_knows_its_members():
    numbers = TNRange(TN("8613800138000"), TN("8613800138099"))
    assert numbers.size == 100
    assert TN("8613800138000") in numbers
    assert TN("8613800138099") in numbers
    assert TN("8613800138100") not in numbers
    assert TN("861380013800") not in numbers
    assert TN("86138001380*0") not in numbers
    assert numbers.covers(TNRange(TN("8613800138001"), TN("8613800138099")))
    assert not numbers.covers(TNRange(TN("8613800138001"), TN("8613800138100")))


@pytest.mark.parametrize(
    ("first", "last"), [("2", "1"), ("1", "22"), ("*1", "*2"), ("11", "1#"), ("10", "9")]
)
def test_range_of_nothing_is_refused(first, last):
    with pytest.raises(ParseError) as refused:
        TNRange(TN(first), TN(last))
    assert refused.value.reason is Reason.TN_INVALID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sip",
        "1:a",
        "sip:",
        "sip:a b",
        "sip:a\n",
        "sip:é",
        "sip:<a>",
        'sip:"',
        "sip:" + "a" * MAX_URI_LENGTH,
    ],
)
def test_uri_takes_printable_absolute_uris_only(text):
    with pytest.raises(ParseError) as refused:
        URI(text)
    assert refused.value.reason is Reason.URI_INVALID
