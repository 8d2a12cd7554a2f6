"""Each kind of caller, by itself and on each side: labelled, lowered, refused. `make eval`.

    python -m bench.evaluation.stages              200 callers of each honest kind with many
                                                   numbers in many cities, 48 of each other
    python -m bench.evaluation.stages --full       1,000 of each honest kind, 100 of each other

    ... --page docs/detection.md                   and the tables go into that page
    ... --kind "recycled number" --page ...        these kinds alone; other rows stay as they are

Lines of build/eval-stages.jsonl that are there already are not made again: stopped, it goes on
where it was. Seeds from 2,000 on chose no threshold.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from statistics import median

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

from bench.evaluation import goals
from bench.evaluation.figures import proportion
from bench.evaluation.kinds import (
    COLD,
    DISHONEST_KINDS,
    HONEST_KINDS,
    WARM,
    Case,
    Outcome,
    evaluated,
    without,
)
from bench.evaluation.pages import SIDES, honest_others, put
from bench.evaluation.report import Sheet
from zhenxian.simulation.businesses import MANY_CITIES
from zhenxian.simulation.dialling import Talk
from zhenxian.simulation.places import places

FIRST_SEED = 2_000  # thresholds were chosen on smaller ones
_WIDTH = 200  # of tables where nobody looks
_WAITING = 8  # cases that wait for a worker
_BETWEEN = 5  # callers of a kind for one over ten days
_SAME = 0.02  # of calls let through, below which a difference is none


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """How many callers of each kind.

    Attributes:
        many: of honest kinds with many numbers in many cities. honest: of the other honest ones.
        others: of the rest. warm: of each over ten days. without: of dishonest ones, with each
        kind of evidence switched off.
    """

    many: int
    honest: int
    others: int
    warm: int
    without: int


USUAL = Size(many=200, honest=48, others=48, warm=5, without=4)
FULL = Size(many=1_000, honest=1_000, others=100, warm=5, without=4)


def cases(size: Size, kinds: Iterable[str] = ()) -> Iterator[Case]:
    """All, in an order in which a part of them says something of each kind.

    Args:
        kinds: these alone; empty for all.
    """
    every = [*HONEST_KINDS, *DISHONEST_KINDS]
    wanted = [kind for kind in every if kind in set(kinds)] or every
    models = [talk.value for talk in Talk]
    callers = dict.fromkeys(DISHONEST_KINDS, size.others)
    callers |= dict.fromkeys(HONEST_KINDS, size.honest) | dict.fromkeys(MANY_CITIES, size.many)
    for index in range(max(callers[kind] for kind in wanted)):
        for kind in wanted:
            if index >= callers[kind]:
                continue
            yield Case(kind, FIRST_SEED + index, COLD, models[index % len(models)])
            # What takes long comes in between.
            turn, later = divmod(index, _BETWEEN)
            if later:
                continue
            talk = models[turn % len(models)]
            if turn < size.warm:
                yield Case(kind, FIRST_SEED + turn, WARM, talk)
            if turn < size.without and without(kind):
                yield Case(kind, FIRST_SEED + turn, COLD, talk, without=True)


def run(size: Size, path: Path, workers: int, kinds: Iterable[str] = ()) -> list[Outcome]:
    """What became of all of them; those on file are not made again."""
    done = list(read(path))
    names = {one.case for one in done}  # of each all lines were written at once
    every = list(cases(size, kinds))
    todo = [case for case in every if case.name not in names]
    wanted = {case.name for case in every}
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        path.open("ab") as file,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
        ProcessPoolExecutor(workers, initializer=_begin) as pool,
    ):
        task = bar.add_task("", total=len(todo))
        queue = iter(todo)
        running = {pool.submit(_made, case) for case in islice(queue, workers * _WAITING)}
        while running:
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for one in ended:
                outcomes = one.result()
                file.write(b"".join(msgspec.json.encode(line) + b"\n" for line in outcomes))
                done += outcomes
                bar.advance(task)
            file.flush()
            running |= {pool.submit(_made, case) for case in islice(queue, len(ended))}
    return [one for one in done if one.case in wanted]


def _begin() -> None:
    """Make a worker ready: what it has read by now stays, so that nobody looks through it again."""
    places("CN")
    gc.collect()
    gc.freeze()


def _made(case: Case) -> list[Outcome]:
    outcomes = evaluated(case)
    gc.collect()
    return outcomes


def read(path: Path) -> Iterator[Outcome]:
    """Outcomes on file; of a case that was cut off nothing is taken."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    found: dict[str, dict[tuple[str, bool, str], Outcome]] = defaultdict(dict)
    for line in lines:
        try:
            one = msgspec.json.decode(line, type=Outcome)
        except msgspec.MsgspecError:
            continue
        found[one.case][one.side, one.told, one.without] = one
    for case, outcomes in found.items():
        kind, *_, last = case.split("|")
        if len(outcomes) == 4 * (len(without(kind)) if last == "each" else 1):
            yield from outcomes.values()


def sheet(outcomes: Iterable[Outcome], *, honest: bool) -> Sheet:
    """The table of the honest, or of the others; a row for each kind, side and condition."""
    kinds = HONEST_KINDS if honest else DISHONEST_KINDS
    rows: dict[tuple[str, str, str, str], list[Outcome]] = defaultdict(list)
    for one in outcomes:
        kind, _, phase, *_ = one.case.split("|")
        if kind in kinds and not one.without:
            rows[kind, one.side, phase, "yes" if one.told else "no"].append(one)
    made = Sheet(
        "honest" if honest else "dishonest",
        "Honest callers" if honest else "Others",
        ("kind", "side", "days", "talk told", "callers", "labelled", "lowered", "refused",
         "calls until labelled", "calls until refused", "let through"),
    )  # fmt: skip
    for key in sorted(rows, key=lambda row: (kinds.index(row[0]), row[1:3], row[3] == "no")):
        found = rows[key]
        shares = [
            proportion(_count(found, name), len(found))
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


def page(outcomes: Iterable[Outcome], *, honest: bool) -> Sheet:
    """The same in few words: callers, of them labelled, lowered, refused, and the last's bound."""
    kinds = HONEST_KINDS if honest else DISHONEST_KINDS
    cells: dict[tuple[str, str], dict[tuple[str, bool], list[Outcome]]] = {}
    for one in outcomes:
        kind, _, phase, *_ = one.case.split("|")
        if kind in kinds and not one.without:
            row = cells.setdefault((phase, kind), defaultdict(list))
            row[one.side, one.told].append(one)
    made = Sheet(
        "page-honest" if honest else "page-dishonest",
        "Honest callers" if honest else "Others",
        ("days", "kind", *(f"{side}, {'told' if told else 'not told'}" for side, told in SIDES)),
    )
    for phase, kind in sorted(cells, key=lambda row: (row[0], kinds.index(row[1]))):
        row = cells[phase, kind]
        made.add(phase, kind, *(_cell(row.get(one, []), honest=honest) for one in SIDES))
    return made


def _cell(found: list[Outcome], *, honest: bool) -> str:
    if not found:
        return "-"
    counts = [_count(found, name) for name in ("labelled", "lowered", "refused")]
    told = f"{len(found)}: {', '.join(map(str, counts))}"
    if honest:
        return f"{told} ({proportion(counts[2], len(found)).high:.1%})"
    let = sum(one.share for one in found) / len(found)
    return f"{told}; {_until(found, 'labelled')}, {_until(found, 'refused')}; {1 - let:.0%}"


def added(outcomes: Iterable[Outcome]) -> Sheet:
    """What each kind of evidence adds: lowered and refused with all of it, and without one."""
    everything: dict[tuple[str, str, bool], Outcome] = {}
    off: list[Outcome] = []
    for one in outcomes:
        if one.without:
            off.append(one)
        else:
            everything[one.case, one.side, one.told] = one
    rows: dict[tuple[str, str, str, bool], list[tuple[Outcome, Outcome]]] = defaultdict(list)
    for one in off:
        case = one.case.removesuffix("|each")
        whole = everything.get((case, one.side, one.told))
        if whole is not None:
            rows[case.split("|")[0], one.without, one.side, one.told].append((whole, one))
    kinds = (*HONEST_KINDS, *DISHONEST_KINDS)
    made = Sheet(
        "evidence",
        "What each kind of evidence adds; where it adds nothing there is no row",
        ("kind", "without", "side", "talk told", "callers", "lowered", "refused", "let through"),
    )
    for key in sorted(rows, key=lambda row: (kinds.index(row[0]), row[1:])):
        whole, left = zip(*rows[key], strict=True)
        counts = [(_count(whole, name), _count(left, name)) for name in ("lowered", "refused")]
        let = [1 - sum(one.share for one in each) / len(each) for each in (whole, left)]
        if any(before != after for before, after in counts) or abs(let[0] - let[1]) >= _SAME:
            kind, name, side, told = key
            made.add(
                kind, name, side, "yes" if told else "no", str(len(whole)),
                *(f"{before} → {after}" for before, after in counts),
                f"{let[0]:.0%} → {let[1]:.0%}",
            )  # fmt: skip
    return made


def _count(found: Iterable[Outcome], name: str) -> int:
    return sum(getattr(one, name) is not None for one in found)


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
    parser.add_argument("--full", action="store_true", help="1,000 callers of each honest kind")
    parser.add_argument("--callers", type=int, help="so many of each kind instead")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tables", action="store_true", help="only print what is on file")
    parser.add_argument(
        "--kind", action="append", default=[], choices=[*HONEST_KINDS, *DISHONEST_KINDS],
        metavar="NAME", help="this kind alone, as tables name it; again for more",
    )  # fmt: skip
    parser.add_argument("--page", type=Path, help="write the tables into this page, too")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="where results go")
    given = parser.parse_args(arguments)
    size = FULL if given.full else USUAL
    if given.callers is not None:
        size = Size(
            many=given.callers, honest=given.callers, others=given.callers,
            warm=min(given.callers, size.warm), without=min(given.callers, size.without),
        )  # fmt: skip
    given.folder.mkdir(exist_ok=True, parents=True)
    name = "eval-stages"  # all sizes, as a larger one has the callers of a smaller one
    path = given.folder / f"{name}.jsonl"
    kinds = frozenset(given.kind)
    if given.tables:
        outcomes = [one for one in read(path) if not kinds or one.case.partition("|")[0] in kinds]
    else:
        outcomes = run(size, path, given.workers, kinds)
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    sheets = [*(sheet(outcomes, honest=honest) for honest in (True, False))]
    others = list(honest_others(given.page, kinds)) if kinds and given.page else []
    sheets += [added(outcomes), goals.sheet([*outcomes, *others])]
    for one in sheets:
        one.show(console)
    sheets += [page(outcomes, honest=honest) for honest in (True, False)]
    (given.folder / f"{name}.md").write_text("\n".join(one.markdown() for one in sheets))
    if given.page is not None:
        put(given.page, sheets, kinds)
    calls = sum(one.calls for one in outcomes)
    console.print(f"{len(outcomes):,} callers and sides, {calls:,} calls; {given.folder}/{name}.md")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
