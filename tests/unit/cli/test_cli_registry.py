"""`zhenxian registry`: import and export as a person uses them."""

from __future__ import annotations

import csv
import json

import pytest
from typer.testing import CliRunner

from zhenxian.cli.commands import app


@pytest.fixture
def zhenxian(tmp_path):
    """Runs `zhenxian registry …` with settings of its own; expects an exit status."""
    config = tmp_path / "zhenxian.toml"
    config.write_text('data = "state"\n')

    def run(*arguments, status=0):
        given = ["registry", *map(str, arguments), "-c", str(config)]
        result = CliRunner().invoke(app, given, catch_exceptions=True)
        if status == 3:
            return str(result.exception)
        assert result.exit_code == status, (result.output, result.exception)
        return result.stdout

    return run


def test_import_export_and_what_was_refused(zhenxian, tmp_path):
    people, numbers = tmp_path / "people.csv", tmp_path / "numbers.csv"
    people.write_text("id,document_kind,document_number\nbakery,licence,91440300\n")
    numbers.write_text("first,subject\n8675588880001,bakery\n8675588880002,nobody\n")
    zhenxian("import", "subjects", people, "--reason", "test")
    trial = json.loads(
        zhenxian("import", "holdings", numbers, "--reason", "t", "--dry-run", "--json", status=1)
    )
    assert (trial["changed"], trial["rejections"], trial["written"]) == (1, 1, False)
    told = zhenxian("import", "holdings", numbers, "--reason", "t", "--dry-run", status=1)
    assert "1 could be registered, 0 unchanged, 1 refused; nothing was written" in told
    assert zhenxian("export", "holdings") == (
        "first,last,subject,verification,use,spcs,reseller,evidence,verified_on\n"
    )
    refused = tmp_path / "refused.csv"
    told = zhenxian("import", "holdings", numbers, "--reason", "t", "--rejected", refused, status=1)
    assert "1 registered, 0 unchanged, 1 refused" in told
    with refused.open() as lines:
        (row,) = csv.DictReader(lines)
    assert row["line"] == "3"
    assert "nobody" in row["reason"]
    out = tmp_path / "out.csv"
    zhenxian("export", "holdings", out)
    assert "8675588880001,8675588880001,bakery" in out.read_text()
    subjects = zhenxian("export", "subjects")
    assert "91440300" not in subjects
    again = zhenxian("import", "holdings", numbers, "--reason", "t", status=1)
    assert "0 registered, 1 unchanged, 1 refused" in again


def test_what_cannot_be_imported_is_one_sentence(zhenxian, tmp_path):
    assert "none.csv" in zhenxian("import", "holdings", "none.csv", "--reason", "t", status=3)
    bad = tmp_path / "bad.csv"
    bad.write_text("colour\nred\n")
    assert "line 1" in zhenxian("import", "holdings", bad, "--reason", "t", status=3)
    zhenxian("import", "orders", bad, "--reason", "t", status=2)
    zhenxian("import", "holdings", bad, status=2)
