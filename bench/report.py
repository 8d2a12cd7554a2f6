"""The table, on a screen and in docs/performance.md."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.machine import BenchError
from bench.table import ROOT, put

RESULT: Final = ROOT / "build" / "bench.json"
_BEGIN: Final = "<!-- table: python -m bench --update-docs -->"
_END: Final = "<!-- end of table -->"
EACH: Final = (
    "HTTP, ours: body, admission, access, holding, decision, signature or the whole check with"
    " revocation, TNAuthList, replay, holder; metrics, conduct, log, explained answer.",
    "HTTP, secsipidx: signs what it is told; checks signature, chain (from its cache) and expiry.",
    "In process, ours: from typed request to header field value, or from that to verdict, in groups"
    " as the busy service has them; no body, answer, metrics or log, and conduct where it says so.",
    "openssl speed: the bare operation on one key, in C.",
)
_COLUMNS: Final = ("figure", "ours/s", "against", "theirs/s", "ratio (from to)", "goal", "")


def write(result: dict[str, Any]) -> None:
    """Write build/bench.json."""
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a figure, as text."""
    return [
        (
            one["title"],
            f"{one['ours_per_second']:,.0f}",
            one["peer"],
            f"{one['peer_per_second']:,.0f}",
            f"{one['ratio']:.2f} ({min(one['ratios']):.2f} {max(one['ratios']):.2f})",
            "" if one["goal"] is None else f"{one['goal']:.2f}",
            "" if one["goal"] is None else "reached" if one["ratio"] >= one["goal"] else "short",
        )
        for one in result["details"]["comparisons"]
    ]


def show(console: Console, result: dict[str, Any]) -> None:
    """Print the table and what a reader should know."""
    machine = result["details"]["machine"]
    table = Table(
        title="per core; ratios of neighbouring runs",
        caption=f"{machine['cpu']}, Python {machine['python']}",
    )
    for name in _COLUMNS:
        text = name in ("figure", "against", "")
        table.add_column(name, justify="left" if text else "right", no_wrap=not text)
    for row in rows(result):
        colour = "red" if row[-1] == "short" else "green"
        table.add_row(*row[:-1], f"[{colour}]{row[-1]}")
    console.print(table)
    for one in result["details"]["comparisons"]:
        for warning in one["warnings"]:
            console.print(f"{one['title']}: {warning}", style="yellow", markup=False)
    for line in EACH:
        console.print(line, highlight=False, markup=False)
    console.print(f"written to {RESULT.relative_to(ROOT)}", highlight=False)


def update_docs() -> None:
    """Put the last result into docs/performance.md. Raises BenchError when there is none."""
    if not RESULT.is_file():
        raise BenchError(f"there is no {RESULT.relative_to(ROOT)} yet: run the bench first")
    result = msgspec.json.decode(RESULT.read_bytes())
    details = result["details"]
    machine, parameters = details["machine"], details["parameters"]
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "|---|--:|---|--:|--:|--:|---|",
        *(f"| {' | '.join(row)} |" for row in rows(result)),
        "",
        (
            f"Measured {details['began'][:10]} on {machine['cpu']}, {machine['cpus']} CPUs, kernel"
            f" {machine['kernel']}; Python {machine['python']}, cryptography"
            f" {machine['packages']['cryptography']} ({machine['cryptography_openssl']}), awscrt"
            f" {machine['packages'].get('awscrt', 'not installed')}, uvicorn"
            f" {machine['packages']['uvicorn']}; {machine['secsipidx']}; {machine['openssl']};"
            f" {parameters['rounds']} rounds of {parameters['seconds']} s,"
            f" {parameters['connections']} connections."
        ),
        "",
        *(f"- {line}" for line in EACH),
        *(
            f"- Warning, {one['title']}: {warning}."
            for one in details["comparisons"]
            for warning in one["warnings"]
        ),
    ]
    put(_BEGIN, _END, lines)
