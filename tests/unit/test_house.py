"""Rules of the house that no linter has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import zhenxian

PACKAGE = Path(zhenxian.__file__).parent
MANY = 5  # fields from which on a Struct is made by name

# Made for each call, with a comment that says so.
PER_CALL = {
    "api/calls/heads.py": {"Head"},
    "api/calls/requests.py": {"Echo"},
    "calls/pipeline.py": {"Signing"},
    "passport/claims.py": {"PASSporT", "_Usual"},
    "passport/identity.py": {"IdentityHeader"},
    "registry/model.py": {"Who"},
    "signer/decide.py": {"Decision", "Facts"},
    "signer/request.py": {"SigningRequest"},
    "telemetry/logs.py": {"CallRecord"},
    "verifier/facts.py": {"Facts"},
    "verifier/opened.py": {"Candidate", "Opened"},
    "verifier/request.py": {"VerificationRequest"},
    "verifier/unsigned.py": {"UnsignedFacts"},
    "verifier/verdict.py": {"Result", "Verdict"},
}
# Records, the journal that keeps them, and what stores read from rows and streams.
FROM_ROWS = {
    "registry/journal.py": {"Commit", "Version"},
    "registry/model.py": {
        "Access",
        "Binding",
        "CalleeRefusal",
        "Clearing",
        "Exemption",
        "Holding",
        "Order",
        "Reseller",
        "Subject",
    },
}
# Rooms whose Structs are still made by position.
ROOMS = {"analytics", "stores"}


def by_position(path):
    """The Structs of a file that are made by position although they have many fields."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef) and any(
            ast.unparse(base).startswith("Struct") for base in node.bases
        ):
            fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
            how = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if len(fields) >= MANY and how.get("kw_only") != "True":
                found.add(node.name)
    return found


FILES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.glob("*/**/*.py"))}


def test_every_file_of_the_product_is_seen():
    assert {"core/reasons.py", "api/calls/requests.py", "verifier/verify.py"} <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_structs_of_many_fields_are_made_by_name(name):
    if name.partition("/")[0] not in ROOMS:
        excepted = PER_CALL.get(name, set()) | FROM_ROWS.get(name, set())
        assert by_position(FILES[name]) == excepted


def test_each_exception_is_of_a_file():
    assert {*PER_CALL, *FROM_ROWS} <= FILES.keys()
