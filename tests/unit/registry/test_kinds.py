"""Kinds of number: labels from tables; only a carrier's service number has an effect."""

from __future__ import annotations

import pytest

from zhenxian.core.errors import ConfigError
from zhenxian.core.tn import TN, URI
from zhenxian.registry.kinds import COLUMNS, NumberKind, load_plan

PLAN = load_plan()
HEADER = ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        ("110", NumberKind.EMERGENCY),
        ("12345", NumberKind.SHORT_CODE),
        ("95588", NumberKind.SERVICE_ENTERPRISE),
        ("95301", NumberKind.SERVICE_ENTERPRISE),
        ("95013333", NumberKind.CALL_CENTRE),
        ("4008123456", NumberKind.SHARED_COST),
        ("864008123456", NumberKind.SHARED_COST),
        ("10086", NumberKind.CARRIER_SERVICE),
        ("1008611", NumberKind.CARRIER_SERVICE),
        ("8613800138000", NumberKind.MOBILE),
        ("8617000002001", NumberKind.MVNO),
        ("700100020000001", NumberKind.PRIVACY),
        ("70010002000001", NumberKind.FOREIGN),  # of fourteen digits it may be Kazakhstan's
        ("10657512345", NumberKind.MESSAGING),
        ("106575123456789", NumberKind.MESSAGING),
        ("10657512345678901234", NumberKind.MESSAGING),
        ("861088880000", NumberKind.FIXED),
        ("8675588880001", NumberKind.FIXED),
        ("12155550100", NumberKind.FOREIGN),
        ("*86", NumberKind.UNKNOWN),
        ("00000", NumberKind.UNKNOWN),
    ],
)
def test_kinds(number, kind):
    label = PLAN.label(number)
    assert label.kind is kind
    assert PLAN.service_number(number) is (kind is NumberKind.CARRIER_SERVICE)
    if kind is not NumberKind.UNKNOWN:
        assert label.text
        assert label.text_zh
        assert label.source


@pytest.mark.parametrize("country", [None, "CN"])
def test_privacy_numbers_and_ports_for_messages_are_marked(country):
    plan = load_plan((), country)
    assert plan.marked(TN("700100020000001")) is NumberKind.PRIVACY
    assert plan.privacy(TN("700100020000001"))
    assert plan.marked(TN("10657512345")) is NumberKind.MESSAGING
    assert not plan.privacy(TN("10657512345"))
    for other in ("8617000002001", "70010002000001", "10010", "700", "106"):
        assert plan.marked(TN(other)) is None


def test_they_are_of_china_alone():
    plan = load_plan((), "US")
    assert plan.marked(TN("700100020000001")) is None
    assert plan.national_form("86700100020000001") is None
    assert not plan.emergency(TN("110"))


@pytest.mark.parametrize(
    ("digits", "form"),
    [
        ("86700100020000001", "700100020000001"),
        ("8610086", "10086"),
        ("8695588", "95588"),
        ("86110", "110"),
        ("8610657512345678", "10657512345678"),
        ("8613800138000", None),
        ("861088880000", None),
        ("864008123456", None),
        ("86755110", "110"),
        ("860755110", "110"),
        ("8612110", "12110"),
        ("8675512345", None),
        ("867554008", None),
        ("10086", None),
        ("86", None),
    ],
)
def test_a_country_code_before_a_national_number(digits, form):
    assert PLAN.national_form(digits) == form


def test_middle_numbers_end_by_country_and_time():
    plan = load_plan((), "CN", {"86": 1_000})
    for now, ended in ((999, False), (1_000, True)):
        assert plan.middle_ended(TN("8617000002001"), now) is ended
        assert plan.middle_ended(TN("95588"), now) is ended
        assert not plan.middle_ended(TN("700100020000001"), now)
        assert not plan.middle_ended(TN("12155550100"), now)


@pytest.mark.parametrize(
    ("country", "own", "others"),
    [("CN", "110 119 120 122 12110", "911 112 100"), ("US", "911 112", "110 119"),
     ("DE", "110 112", "911 120"), ("GB", "999 112", "110"), ("AU", "000 112 106", "110")],
)  # fmt: skip
def test_emergency_numbers_are_those_of_the_country(country, own, others):
    plan = load_plan((), country)
    assert [number for number in own.split() if not plan.emergency(TN(number))] == []
    assert [number for number in others.split() if plan.emergency(TN(number))] == []
    assert not any(load_plan().emergency(TN(number)) for number in (*own.split(), *others.split()))


def test_the_urn_of_emergency_services_needs_no_country():
    for name in ("sos", "sos.police", "sos.a.b"):
        assert load_plan().emergency(URI(f"urn:service:{name}"))
    for other in ("urn:service:sosx", "urn:service:counseling", "sip:sos@a.example", "a:b"):
        assert not load_plan((), "CN").emergency(URI(other))


def test_an_operators_table_adds_emergency_numbers_where_a_country_is_set():
    table = ("own.csv", HEADER + "12395,5,emergency,rescue at sea,水上搜救,import\n")
    assert load_plan([table], "CN").emergency(TN("12395"))
    assert not load_plan([table]).emergency(TN("12395"))


def test_an_operators_own_table_wins():
    plan = load_plan([("mvno.csv", HEADER + "8617000,13,mvno,Sample MVNO,示例虚商,import\n")])
    assert plan.label("8617000002001").text == "Sample MVNO"
    assert plan.label("8617010002001") == PLAN.label("8617010002001")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prefix,kind\n", "line 1"),
        (HEADER + "86x,13,mvno,a,b,c\n", "line 2: prefix"),
        (HEADER + "86,13,cheap,a,b,c\n", "line 2"),
        (HEADER + "86,many,mvno,a,b,c\n", "line 2"),
        (HEADER + "8617000,3,mvno,a,b,c\n", "line 2: lengths"),
    ],
)
def test_a_bad_table_is_told_with_its_line(text, says):
    with pytest.raises(ConfigError, match=f"own.csv {says}"):
        load_plan([("own.csv", text)])
