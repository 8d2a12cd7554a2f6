"""`zhenxian displays`: by the application, without a network."""

from __future__ import annotations

import json

import pytest
from pools import make_pool
from typer.testing import CliRunner

from zhenxian.cli.displays import app


@pytest.fixture
def zhenxian(service):
    """Runs `zhenxian displays …`; expects an exit status, gives what it printed."""

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, list(arguments))
        assert result.exit_code == status, (result.output, result.exception)
        return result.stderr if status else result.stdout

    return run


def test_who_is_found_is_listed(zhenxian, service):
    assert zhenxian("list") == "nobody is suspected or pooled\n"
    make_pool(service.desk)
    told = zhenxian("list", "--state", "pooled")
    found = json.loads(zhenxian("list", "--json"))["findings"]
    for text in ("access:bank-trunk", "subject:bank", "pooled", found[0]["measure"]):
        assert text in told
    assert [one["key"] for one in found] == ["access:bank-trunk", "subject:bank"]
    assert json.loads(zhenxian("list", "--state", "suspected", "--json")) == {"findings": []}
    assert "pooled" in zhenxian("list", "--state", "guilty", status=2)


def test_a_key_is_shown_with_figures_beside_what_a_pool_has(zhenxian, service):
    unknown = zhenxian("show", "access:bank-trunk")
    assert "watching, 0 calls" in unknown
    assert "no call of that key was counted" in unknown
    make_pool(service.desk)
    told = zhenxian("show", "access:bank-trunk")
    for text in ("pooled, 150 calls", "log-likelihood ratio", "at least", "at most", " to "):
        assert text in told
    assert json.loads(zhenxian("show", "subject:bank", "--json"))["state"] == "pooled"


def test_a_key_is_cleared_with_a_reason(zhenxian, service):
    make_pool(service.desk)
    assert zhenxian("cleared") == "nothing was cleared\n"
    assert "is cleared" in zhenxian("clear", "subject:bank", "--reason", "audited")
    assert zhenxian("clear", "subject:bank", "--reason", "audited", status=1).startswith("404")
    told = json.loads(zhenxian("clear", "access:bank-trunk", "--reason", "[file 7]", "--json"))
    assert told["cleared"] == "access:bank-trunk"
    rows = json.loads(zhenxian("cleared", "--json"))["clearings"]
    assert {row["key"] for row in rows} == {"subject:bank", "access:bank-trunk"}
    assert told["clearing"] in rows
    assert (told["clearing"]["reason"], told["clearing"]["by"]) == ("[file 7]", "local (local)")
    of_access = zhenxian("cleared", "--key", "access:bank-trunk")
    for text in ("access:bank-trunk", "[file 7]", "pooled"):
        assert text in of_access
    assert "audited" not in of_access
    assert zhenxian("show", "bank", status=1).startswith("422")
    zhenxian("clear", "subject:bank", status=2)
