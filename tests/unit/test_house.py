"""Rules of the house that no linter has."""

from __future__ import annotations

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import hypothesis
import pytest

import zhenxian

PACKAGE = Path(zhenxian.__file__).parent
ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [*sorted(DOCS.rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
LONGEST = 600  # lines of a file
MANY = 5  # fields from which on a Struct is made by name

# Made for each call, with a comment that says so.
PER_CALL = {
    "analytics/counted.py": {"CountedCall"},
    "api/calls/heads.py": {"Head"},
    "api/calls/requests.py": {"Echo"},
    "calls/pipeline.py": {"Signing"},
    "calls/records.py": {"Row"},
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
    assert by_position(FILES[name]) == PER_CALL.get(name, set())


def test_each_exception_is_of_a_file():
    assert PER_CALL.keys() <= FILES.keys()


@pytest.mark.parametrize("name", FILES)
def test_no_file_of_the_product_is_longer_than_can_be_read_at_once(name):
    assert len(FILES[name].read_text().splitlines()) <= LONGEST


def test_no_example_fails_because_the_machine_is_busy():
    used = hypothesis.settings()
    assert used.deadline is None
    assert hypothesis.HealthCheck.too_slow in used.suppress_health_check


def test_imports_run_in_no_circle():
    graph = grimp.build_graph("zhenxian")  # with what only type checking imports
    below = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(below).prepare()


def test_the_architecture_names_each_import_contract():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {one["name"] for one in pyproject["tool"]["importlinter"]["contracts"]}
    rows = re.findall(
        r"^\| ([A-Z][^|]+) \| [^|]+ \|$", (DOCS / "architecture.md").read_text(), re.MULTILINE
    )
    assert {name.partition(":")[0] for name in contracts} == set(rows)


def links(page):
    """The relative links of a page, without their anchors."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return {link.partition("#")[0] for link in found if "://" not in link and link[0] != "#"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_documentation_lead_somewhere(page):
    assert [link for link in links(page) if not (page.parent / link).exists()] == []


def test_each_page_is_in_the_index():
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= links(DOCS / "README.md")


def test_each_decision_is_in_the_index():
    decisions = DOCS / "decisions"
    assert {page.name for page in decisions.glob("[0-9]*.md")} == links(decisions / "README.md")


def test_a_row_of_the_glossary_has_meaning_and_source():
    for line in (DOCS / "glossary.md").read_text().splitlines():
        if line.startswith("| ") and not line.startswith("| term"):
            assert line.count("|") == 5, line
            assert line.split("|")[2].strip(), line


NAMING_FILES = ("architecture.md", "glossary.md", "standards.md", "../CONTRIBUTING.md")


@pytest.mark.parametrize("page", NAMING_FILES)
def test_files_that_the_documentation_names_are_there(page):
    named = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9]+)+\.py)`", (DOCS / page).read_text())
    assert [one for one in named if not any((at / one).exists() for at in (PACKAGE, ROOT))] == []
