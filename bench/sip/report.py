"""The table, on a screen and in docs/performance.md."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.machine import BenchError
from bench.table import ROOT, put

RESULT: Final = ROOT / "build" / "bench-sip.json"
_BEGIN: Final = "<!-- table: python -m bench.sip --update-docs -->"
_END: Final = "<!-- end of SIP table -->"
_COLUMNS: Final = (
    "calls/s", "way", "p50", "p95", "p99", "added p50", "added p95", "added p99",
    "failed of calls", "without verdict", "CPU proxies + services",
)  # fmt: skip


def write(result: dict[str, Any]) -> None:
    """Write build/bench-sip.json."""
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """One row a rate and way, times in milliseconds."""
    made = []
    for one in result["figures"]:
        alone = one["way"] == "Kamailio alone"
        added = ("", "", "") if alone else tuple(
            f"{one[f'added_{name}']:.2f}" for name in ("p50", "p95", "p99")
        )  # fmt: skip
        made.append(
            (
                str(one["rate"]),
                one["way"],
                *(f"{one[name]:.2f}" for name in ("p50", "p95", "p99")),
                *added,
                f"{one['failed']}/{one['calls']}",
                "" if alone else str(one["unjudged"]),
                f"{one['proxies_cpu']:.2f} + {one['services_cpu']:.2f}",
            )
        )
    return made


def _said(result: dict[str, Any]) -> list[str]:
    parameters, machine = result["parameters"], result["machine"]
    lines = [
        f"Measured {result['began'][:10]} on {machine['cpu']}, {machine['cpus']} CPUs, load average"
        f" {result['load_average'][0][0]:.1f} before and {result['load_average'][1][0]:.1f} after;"
        f" {parameters['rounds']} rounds of {parameters['seconds']} s;"
        " times in ms, CPU in ms a call."
    ]
    if result["highest_without_loss"]:
        limits = ", ".join(f"{way} {rate}" for way, rate in result["highest_without_loss"].items())
        lines.append(f"Highest rate at which no call and no verdict was lost, calls/s: {limits}.")
    if result["redirect_originating_per_second"] is not None:
        lines.append(
            "INVITEs a second that the redirect service alone signs on one core:"
            f" {result['redirect_originating_per_second']:,}."
        )
    return lines


def show(console: Console, result: dict[str, Any]) -> None:
    """Print it."""
    table = Table(title="INVITE to final answer through two Kamailios, ms")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name == "way" else "right")
    for row in rows(result):
        table.add_row(*row)
    console.print(table)
    for line in _said(result):
        console.print(line, highlight=False)
    console.print(f"written to {RESULT.relative_to(ROOT)}", highlight=False)


def update_docs() -> None:
    """Put the last result into docs/performance.md. Raises BenchError when there is none."""
    if not RESULT.is_file():
        raise BenchError(f"there is no {RESULT.relative_to(ROOT)} yet: run the bench first")
    result = msgspec.json.decode(RESULT.read_bytes())
    lines = [
        f"| {' | '.join(_COLUMNS)} |",
        "|--:|---|" + "--:|" * (len(_COLUMNS) - 2),
        *(f"| {' | '.join(row)} |" for row in rows(result)),
        "",
        *_said(result),
    ]
    put(_BEGIN, _END, lines)
