"""A record is declared once: schema, columns, rows, SQL and the command line come from that."""

from __future__ import annotations

import csv
import io
import time

import msgspec
import pytest
from typer.testing import CliRunner

from zhenxian.api.management.parameters import SPANS
from zhenxian.cli.registry import app
from zhenxian.core.errors import ConfigError
from zhenxian.registry.forms import record_of, row_of
from zhenxian.registry.journal import dumps, loads
from zhenxian.registry.members import COLUMNS, MEMBERS, given
from zhenxian.registry.meta import Form
from zhenxian.registry.model import NAMES, TYPES, Kind
from zhenxian.simulation.demo import CALLEE, RIDER

WHY = {"reason": "a test"}
NOW = int(time.time())
LATE = 4_000_000_000
ORIGIDS = [f"0f000000-0000-4000-8000-00000000000{last}" for last in (1, 2)]
X, Y = "700100020000002", "700100020000003"
RANGE = {"first": "8675599990000", "last": "8675599990099"}

# Together they give each member a value that is not its default: see the first test.
FULL = {
    Kind.RESELLER: [
        {"id": "above", "name": "Above", "role": "mvno", "state": "suspended"},
        {"id": "below", "parent": "above"},
    ],
    Kind.SUBJECT: [
        {"id": "baker", "kind": "person", "name": "Li", "document_kind": "id-card",
         "document": "ab" * 32, "state": "suspended"},
        {"id": "bakery"},
    ],
    Kind.HOLDING: [
        RANGE | {"subject": "bakery", "verification": "verified", "use": "do-not-originate",
                 "spcs": ["1", "2"], "reseller": "below", "evidence": "seen", "verified_on": 7},
    ],
    Kind.ACCESS: [
        {"id": "trunk", "origid": ORIGIDS[0], "subject": "bakery", "kind": "device",
         "state": "closed", "device": "350000000000001", "sims": ["8986", "8987"],
         "former": [ORIGIDS[1]]},
    ],
    Kind.BINDING: [
        {"id": "one", "platform": "platform", "model": "axyb", "x": X, "a": RIDER, "since": 1,
         "b": CALLEE, "y": Y, "direction": "a-to-b", "until": LATE},
        {"id": "two", "platform": "platform", "model": "axe", "x": Y, "a": CALLEE, "since": LATE,
         "extension": "12"},
    ],
    Kind.EXEMPTION: [
        {"id": "free", "kind": "subject", "target": "bakery", "reason": "night shift", "since": 1,
         "until": NOW + 86_400, "measures": ["rate", "bindings"], "reference": "17"},
    ],
    Kind.REFUSAL: [
        RANGE | {"since": 1, "until": LATE, "scopes": ["marketing"], "source": "callee"},
    ],
    Kind.CUSTOMER: [
        {"id": "t-17", "access": "trunk", "names": ["t17", "t18"],
         "numbers": ["8675599990000-8675599990009", "8675599990020"], "reference": "4",
         "origid": "9c000000-0000-4000-8000-000000000017"},
    ],
    Kind.DECLARATION: [
        {"id": "shops", "subject": "bakery", "numbers": ["8675599990000-8675599990099"],
         "cities": ["Shenzhen", "New_York"], "purpose": "orders", "until": LATE, "reference": "5"},
    ],
}  # fmt: skip


@pytest.fixture
def installation(on_either_engine):
    return on_either_engine


def _rows(kind):
    return [(row, record_of(kind, row)) for row in FULL[kind]]


def _plain(schema):
    """Without what is served otherwise: a default of null is left out, and times are of today."""
    times = any(isinstance(one, int) for one in schema.get("examples", ()))
    return {
        name: told
        for name, told in schema.items()
        if told is not None and not (times and name == "examples")
    }


def test_every_member_of_every_record_is_tried_here():
    assert FULL.keys() == NAMES.keys() == COLUMNS.keys()
    for kind in NAMES:
        for member in MEMBERS[kind]:
            if member.form is Form.CHOICES and len(member.allowed) == 1:
                continue  # has no other value than its default
            values = [row_of(record)[member.name] for _, record in _rows(kind)]
            assert any(value != member.default for value in values), (kind, member.name)


@pytest.mark.parametrize("kind", NAMES)
def test_rows_and_columns_are_the_declaration(kind):
    declared = [field.name for field in msgspec.structs.fields(TYPES[kind])]
    names = declared
    if kind in SPANS:
        names = ["first", "last", *(name for name in declared if name != "numbers")]
    assert sorted(names) == sorted(COLUMNS[kind])
    for _, record in _rows(kind):
        row = row_of(record)
        assert tuple(row) == COLUMNS[kind]
        assert record_of(kind, row) == record
        assert loads(kind, dumps(record)) == record


@pytest.mark.parametrize("kind", NAMES)
def test_the_served_schema_is_the_declaration(desk, kind):
    schemas = desk.http("GET", "/openapi.json").json()["components"]["schemas"]
    described = schemas[f"{kind.value.capitalize()}Body"]
    body = [member for member in given(kind) if not member.in_path]
    served = described["properties"]
    assert served.keys() == {member.name for member in body}
    for member in body:
        told = served[member.name]
        told.pop("title", None)
        assert _plain(told) == _plain(member.schema)
    assert described.get("required", []) == [one.name for one in body if one.required]
    assert described["additionalProperties"] is False
    for member in given(kind):
        assert member.meaning
        assert member.schema["description"] == member.meaning
        if member.choices is not None:
            of_value = member.schema["items"] if member.is_list else member.schema
            assert of_value["enum"] == [one.value for one in member.choices]
    rows = schemas.get(f"{kind.value.capitalize()}Row")
    if rows is not None:
        assert rows["properties"].keys() == {member.name for member in given(kind)}


@pytest.mark.parametrize("kind", NAMES)
def test_help_names_each_member_and_what_it_may_be(kind):
    told = " ".join(CliRunner().invoke(app, ["put", "--help"]).stdout.split())
    _, _, ours = told.partition(f"{NAMES[kind]}: ")
    for member in given(kind):
        if not member.in_path:
            star = "*" if member.required else ""
            assert f"{member.name}{star}" in ours
            assert "|".join(member.allowed) in told.replace("| ", "|")


def test_each_record_comes_back_as_it_was_put(desk):
    """Over HTTP, through the engine, its history, and a sheet."""
    for kind in FULL:
        for row, record in _rows(kind):
            body = {name: value for name, value in row.items() if name not in RANGE.keys() | {"id"}}
            path = f"/v1/{NAMES[kind]}/{record.key}"
            put = desk.http("PUT", path, json=body, params=WHY)
            assert put.status_code == 200, put.text
            found = desk.http("GET", path).json()
            assert {name: found[name] for name in COLUMNS[kind]} == row_of(record)
            versions = desk.http("GET", f"{path}/history").json()["versions"]
            assert versions[-1]["record"] == row_of(record)
            assert desk.service.registry.records.get(kind, record.key)[1] == record
        sheet = desk.http("GET", f"/v1/exports/{NAMES[kind]}").text
        assert tuple(sheet.partition("\n")[0].split(",")) == COLUMNS[kind]
        read = [record_of(kind, row) for row in csv.DictReader(io.StringIO(sheet))]
        assert all(record in read for _, record in _rows(kind))
        again = desk.http(
            "POST", f"/v1/imports/{NAMES[kind]}", content=sheet, params=WHY,
            headers={"content-type": "text/csv"},
        ).json()  # fmt: skip
        assert again["rejected"] == []
        assert (again["changed"], again["unchanged"]) == (0, len(read))


@pytest.mark.parametrize("kind", NAMES)
def test_a_value_that_may_not_be_is_refused_with_those_that_may(kind):
    for member in MEMBERS[kind]:
        if member.choices is None:
            continue
        odd = ["odd"] if member.is_list else "odd"
        with pytest.raises(ConfigError) as refused:
            record_of(kind, FULL[kind][0] | {member.name: odd})
        allowed = ", ".join(member.allowed)
        assert str(refused.value) == f"{member.name}: 'odd' is not one of {allowed}"
