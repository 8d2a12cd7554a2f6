"""Kinds of number: labels from tables; only a carrier's service number has an effect."""

from __future__ import annotations

import pytest

from passport.errors import ConfigError
from registry.kinds import COLUMNS, NumberKind, load_plan

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


def test_an_operators_own_table_wins(tmp_path):
    table = tmp_path / "mvno.csv"
    table.write_text(HEADER + "8617000,13,mvno,Sample MVNO,示例虚商,import\n")
    plan = load_plan([table])
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
def test_a_bad_table_is_told_with_its_line(tmp_path, text, says):
    table = tmp_path / "own.csv"
    table.write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_plan([table])
    with pytest.raises(ConfigError, match="missing"):
        load_plan([tmp_path / "missing.csv"])
