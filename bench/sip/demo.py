"""`make demo-sip`: calls between real phones through real proxies, and what each end saw."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.machine import BenchError
from bench.sip.messages import Message
from bench.sip.phones import Call, LoadResult, Outcome, verstat
from bench.sip.scenarios import PASSED, Scenario, faults, run, scenarios
from bench.sip.stage import Line, Stage
from bench.sip.ways import OURS

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@_app.command()
def main(
    *,
    way: Annotated[str, typer.Option(help=f"How the proxies ask: {', '.join(OURS)}.")] = "redirect",
    rate: Annotated[int, typer.Option(min=1, help="Calls a second of the load.")] = 300,
    seconds: Annotated[int, typer.Option(min=0, help="Length of the load; 0 for none.")] = 60,
) -> None:
    """Two Kamailios between SIPp and SIPp, a hostile middle, certificates over TLS.

    Exit status 1 when somebody saw what was not expected.
    """
    if way not in OURS:
        raise typer.BadParameter(", ".join(OURS), param_hint="--way")
    console = Console()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="zhenxian-sip-") as name,
            Stage(Path(name) / "stage") as stage,
            OURS[way].line(stage, "demo") as line,
        ):
            good = _show(console, line, list(scenarios(stage)))
            if seconds:
                began = time.monotonic()
                result = line.load(Call(name="load"), rate=rate, seconds=seconds)
                good &= _shown(console, result, rate, time.monotonic() - began)
    except BenchError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(2) from None
    raise typer.Exit(0 if good else 1)


def _show(console: Console, line: Line, wanted: list[Scenario]) -> bool:
    line.caller.call(Call(name="warm"))
    table = Table(title="Calls through two proxies", title_justify="left")
    for column in ("call", "caller's answer", "callee: verstat", "callee: P-Asserted-Identity"):
        table.add_column(column, overflow="fold")
    seen, good = run(line, wanted), True
    for one in wanted:
        outcome, invites = seen[one.call.name]
        wrong = faults(one.expected, outcome, invites)
        good &= not wrong
        note = f"  [bold red]{'; '.join(wrong)}[/]" if wrong else ""
        table.add_row(one.title + note, *_row(outcome, invites))
    console.print(table)
    return good


def _row(outcome: Outcome, invites: list[Message]) -> tuple[str, str, str]:
    answer = outcome.final.first.removeprefix("SIP/2.0 ")
    reasons = [value.partition(";text")[0] for value in outcome.final.all("reason")]
    if reasons:
        answer += f" ({reasons[0]})"
    if not invites:
        return answer, "does not arrive", ""
    shown = ", ".join(invites[0].all("p-asserted-identity")).partition(";verstat")[0].strip("<>")
    return answer, verstat(invites[0]) or "-", shown or "not shown"


def _shown(console: Console, result: LoadResult, rate: int, seconds: float) -> bool:
    good = not result.unexpected and result.verdicts == {PASSED: result.calls}
    console.print(
        f"{result.calls:,} calls at {rate} a second in {seconds:.0f} s: final answers other than"
        f" 200: {result.unexpected or 'none'}; verstats at the callee: {result.verdicts}",
        style="green" if good else "red",
        highlight=False,
    )
    return good


if __name__ == "__main__":
    _app(prog_name="python -m bench.sip.demo")
