"""How well the spread of displays finds pools by itself: `make eval-structure`.

    python -m bench.evaluation            about five minutes on one core
    python -m bench.evaluation --quick    about a minute, two seeds: wide intervals, no robots

Prints the tables and goals, and writes build/eval.json, build/eval.png and build/eval.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.evaluation import plan, plots
from bench.evaluation.drive import SIDES
from bench.evaluation.report import curve, sheets
from bench.evaluation.runs import Results, work

_WIDTH = 200  # of tables where nobody looks


def main(arguments: list[str] | None = None) -> int:
    """Run everything and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer seeds, about a minute")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="where results go")
    given = parser.parse_args(arguments)
    evaluate(plan.QUICK if given.quick else plan.FULL, given.folder)
    return 0


def evaluate(size: plan.Size, folder: Path) -> None:
    """Run everything of this size, print it, and write it to a folder."""
    began = time.monotonic()
    results = Results()
    pieces = list(work(size))
    columns = (
        TextColumn("{task.description:32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=len(pieces))
        for piece in pieces:
            bar.update(task, description=piece.name)
            piece.run(results)
            bar.advance(task)
    seconds = time.monotonic() - began
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    tables = sheets(results)
    for sheet in tables:
        sheet.show(console)
    plots.picture(results, folder / "eval.png")
    console.print(plots.terminal(results, console.width), markup=False, highlight=False)
    seeds = list(plan.EVALUATION)[: size.seeds]
    tree = {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "seeds": seeds,
        "size": {name: getattr(size, name) for name in size.__struct_fields__},
        "calls": results.calls,
        "precision_recall": {
            side: [
                {"threshold": p.threshold, "precision": p.precision, "recall": p.recall}
                for p in curve(results.curve[side])
            ]
            for side in SIDES
        },
    } | {sheet.name: sheet.records for sheet in tables}
    (folder / "eval.json").write_text(json.dumps(tree, indent=1, allow_nan=False) + "\n")
    (folder / "eval.md").write_text("\n".join(sheet.markdown() for sheet in tables))
    console.print(
        f"{results.calls:,} calls of seeds {seeds[0]} to {seeds[-1]} in {seconds:.0f} s; written to"
        f" {folder}/eval.json, eval.md and eval.png"
    )


if __name__ == "__main__":
    raise SystemExit(main())
