"""Each kind of caller, by itself and on each side: labelled, lowered, refused. `make eval`.

    python -m bench.evaluation.stages              200 callers of each honest kind with many
                                                   numbers in many cities, 60 of each other
    python -m bench.evaluation.stages --full       1,000, under every model of talk time

Lines of build/eval-stages.jsonl that are there already are not made again: stopped, it goes on
where it was. Seeds from 1,000 on chose no threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from bench.evaluation.figures import proportion
from bench.evaluation.kinds import COLD, UNTOLD, WARM, Case, Outcome, evaluated
from bench.evaluation.report import Sheet
from zhenxian.simulation.businesses import HONEST, MANY_CITIES
from zhenxian.simulation.dialling import Talk
from zhenxian.simulation.rackets import DISHONEST

FIRST_SEED = 1_000  # thresholds were chosen on smaller ones
_WIDTH = 200  # of tables where nobody looks
_WAITING = 8  # cases that wait for a worker
_HEAVY = 10  # callers of a kind over ten days


class Size(msgspec.Struct, frozen=True):
    """How many callers of each kind; of `many`, those with many numbers in many cities."""

    many: int
    others: int
    warm: int
    every_talk: bool


USUAL = Size(many=200, others=60, warm=_HEAVY, every_talk=False)
FULL = Size(many=1_000, others=1_000, warm=100, every_talk=True)


def cases(size: Size) -> Iterator[Case]:
    """All, in an order in which a part of them says something of each kind."""
    models = [talk.value for talk in Talk]
    for index in range(max(size.many, size.others)):
        for kind in (*HONEST, *DISHONEST):
            if index >= (size.many if kind in MANY_CITIES else size.others):
                continue
            told = models if size.every_talk else [models[index % len(models)]]
            for talk in (*told, UNTOLD):
                yield Case(kind, FIRST_SEED + index, COLD, talk)
                if index < size.warm:
                    yield Case(kind, FIRST_SEED + index, WARM, talk)


def run(size: Size, path: Path, workers: int) -> list[Outcome]:
    """What became of all of them; those on file are not made again."""
    done = list(read(path))
    names = {one.case for one in done}
    todo = [case for case in cases(size) if case.name not in names]
    wanted = {case.name for case in cases(size)}
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        path.open("ab") as file,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ProcessPoolExecutor(workers) as pool,
    ):
        task = bar.add_task("", total=len(todo))
        queue = iter(todo)
        running = [pool.submit(evaluated, case) for case in islice(queue, workers * _WAITING)]
        while running:
            outcomes = running.pop(0).result()
            file.write(b"".join(msgspec.json.encode(one) + b"\n" for one in outcomes))
            file.flush()
            done += outcomes
            bar.advance(task)
            running += [pool.submit(evaluated, case) for case in islice(queue, 1)]
    return [one for one in done if one.case in wanted]


def read(path: Path) -> Iterator[Outcome]:
    """Outcomes on file; a last line that was cut off is left."""
    if path.exists():
        for line in path.read_bytes().split(b"\n"):
            try:
                yield msgspec.json.decode(line, type=Outcome)
            except msgspec.MsgspecError:
                continue


def sheet(outcomes: Iterable[Outcome], *, honest: bool) -> Sheet:
    """The table of the honest, or of the others; a row for each kind, side and condition."""
    rows: dict[tuple[str, str, str, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        kind, _, phase, talk = one.case.split("|")
        if (kind in HONEST) is honest:
            told = "no" if talk == UNTOLD else "yes"
            rows[(kind, one.side, phase, told)].append(one)
    made = Sheet(
        "honest" if honest else "dishonest",
        "Honest callers" if honest else "Others",
        ("kind", "side", "days", "talk told", "callers", "labelled", "lowered", "refused",
         "calls until labelled", "calls until refused", "let through"),
    )  # fmt: skip
    order = [*HONEST, *DISHONEST]
    for key in sorted(rows, key=lambda row: (order.index(row[0]), row[1:])):
        found = rows[key]
        shares = [
            proportion(sum(getattr(one, name) is not None for one in found), len(found))
            for name in ("labelled", "lowered", "refused")
        ]
        until = [_until(found, name) for name in ("labelled", "refused")]
        let = 1 - sum(one.share for one in found) / len(found)
        made.add(
            *key, str(len(found)), *(_share(one.value, one.high, one.of) for one in shares),
            *until, f"{let:.1%}",
            kind=key[0], side=key[1], phase=key[2], told=key[3],
            labelled=shares[0], lowered=shares[1], refused=shares[2], let_through=let,
        )  # fmt: skip
    return made


def _share(value: float, high: float, of: int) -> str:
    return f"{round(value * of)} (at most {high:.1%})"


def _until(found: list[Outcome], name: str) -> str:
    calls = [getattr(one, name) for one in found if getattr(one, name) is not None]
    return f"{median(calls):,.0f}" if calls else "-"


def main(arguments: list[str] | None = None) -> int:
    """Run, print and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="1,000 callers of each kind")
    parser.add_argument("--callers", type=int, help="so many of each kind instead")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=Path("build"), help="where results go")
    given = parser.parse_args(arguments)
    size = FULL if given.full else USUAL
    if given.callers is not None:
        size = Size(given.callers, given.callers, min(given.callers, size.warm), size.every_talk)
    given.folder.mkdir(exist_ok=True, parents=True)
    name = "eval-full" if given.full else "eval-stages"
    outcomes = run(size, given.folder / f"{name}.jsonl", given.workers)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    sheets = [sheet(outcomes, honest=honest) for honest in (True, False)]
    for one in sheets:
        one.show(console)
    (given.folder / f"{name}.md").write_text("\n".join(one.markdown() for one in sheets))
    calls = sum(one.calls for one in outcomes)
    console.print(f"{len(outcomes):,} callers and sides, {calls:,} calls; {given.folder}/{name}.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
