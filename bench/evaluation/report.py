"""Tables, the goals beside them, and one tree for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from typing import Any

from msgspec import Struct, field
from rich.console import Console
from rich.table import Table

from bench.evaluation import plan
from bench.evaluation.drive import ORIGINATING, SIDES, TERMINATING
from bench.evaluation.figures import Figure, per_ten_thousand, proportion, quantile
from bench.evaluation.runs import Found, Results, Sides
from bench.evaluation.score import LEAST_CALLS, USES, Honest, Outcome, Unit
from zhenxian.simulation import COUNTRY, Kind

WHOLE = "{:.0f}"
SHARE = "{:.3f}"


class Sheet(Struct):
    """One table, for the terminal, for a page, and as records."""

    name: str
    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)

    def add(self, *cells: str, **record: Any) -> None:
        """One row."""
        self.rows.append(cells)
        self.records.append(
            {k: v.plain() if isinstance(v, Figure) else v for k, v in record.items()}
        )

    def show(self, console: Console) -> None:
        """In the terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, overflow="fold", justify="left" if number < 2 else "right")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """For a page."""
        lines = [f"**{self.title}**", "", _row(self.columns), _row("---" for _ in self.columns)]
        return "\n".join([*lines, *(_row(row) for row in self.rows), ""])


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _kinds(found: Sides) -> list[Kind]:
    present = {outcome.kind for side in found.values() for outcome in side.outcomes}
    return [kind for kind in Kind if kind in present]


def _recall(outcomes: Sequence[Outcome]) -> Figure:
    return proportion(sum(one.until < inf for one in outcomes), len(outcomes))


def _uses(outcomes: Sequence[Outcome], uses: int) -> Figure:
    known = [one.uses[uses] for one in outcomes if one.uses.get(uses) is not None]
    return proportion(sum(map(bool, known)), len(known))


def _by(outcomes: Sequence[Outcome]) -> str:
    counts: dict[str, int] = {}
    for one in outcomes:
        if one.measure is not None:
            counts[one.measure.value] = counts.get(one.measure.value, 0) + 1
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def detection(results: Results) -> Sheet:
    """Dishonest operators on one access each."""
    sheet = Sheet(
        "detection",
        "Operators on one access: found within the day, and after how many calls (95 % intervals)",
        (
            "kind", "side", "operators", "recall", "calls until found, median", "p95",
            "hours, median", *(f"found at {uses} calls a number" for uses in USES),
            "share of calls refused or failed", "measure",
        ),
    )  # fmt: skip

    def row(label: str, side: str, mine: Sequence[Outcome]) -> None:
        if not mine:
            return
        calls = [one.until for one in mine]
        recall, median, p95 = _recall(mine), quantile(calls, 0.5), quantile(calls, 0.95)
        hours = quantile([one.seconds / 3_600 for one in mine], 0.5)
        uses = {count: _uses(mine, count) for count in USES}
        failed = sum(one.failed for one in mine) / max(1, sum(one.calls for one in mine))
        sheet.add(
            label, side, str(len(mine)), recall.text(SHARE), median.text(WHOLE),
            p95.text(WHOLE), hours.text("{:.1f}"),
            *(figure.text("{:.2f}") for figure in uses.values()), f"{failed:.2f}", _by(mine),
            kind=label, side=side, recall=recall, calls_median=median, calls_p95=p95,
            hours_median=hours, calls_failed=failed, measures=_by(mine),
            **{f"at_{count}_calls_a_number": figure for count, figure in uses.items()},
        )  # fmt: skip

    sides = results.splits[1]
    for kind in _kinds(sides):
        for side in SIDES:
            row(kind.value, side, sides[side].of(kind))
        row(f"{kind.value}{_UNKNOWN}", TERMINATING, results.unbound[TERMINATING].of(kind))
    return sheet


_UNKNOWN = ", bindings not known there"


def _sum(seeds: Sequence[dict[Kind, Honest]], kinds: Iterable[Kind]) -> tuple[int, int, Figure]:
    """Keys, those found, and false positives per 10,000 calls."""
    wanted = set(kinds)
    mine = [[one for kind, one in seed.items() if kind in wanted] for seed in seeds]
    keys = sum(one.keys for seed in mine for one in seed)
    found = sum(one.found for seed in mine for one in seed)
    rate = per_ten_thousand(
        [sum(one.under for one in seed) for seed in mine],
        [sum(one.calls for one in seed) for seed in mine],
    )
    return keys, found, rate


_ALL = tuple(kind for kind in Kind if kind.honest)
_SUBJECTS = tuple(kind for kind in _ALL if kind is not Kind.CARRIER)
_UNEXEMPTED = tuple(kind for kind in _SUBJECTS if kind is not Kind.BRANCHES)
_NO_PLATFORMS = tuple(kind for kind in _UNEXEMPTED if kind not in plan.PLATFORMS)


def _subjects(sides: Sides, unbound: Sides | None, side: str) -> list[dict[Kind, Honest]]:
    """Honest subjects by seed, as the goal counts them.

    The terminating carrier is taken not to know bindings, where that was driven, too.
    """
    mine = sides[side].counted(Unit.SUBJECT)
    if unbound is None or side != TERMINATING:
        return mine
    lent = unbound[side].counted(Unit.SUBJECT)
    return [seed | platforms for seed, platforms in zip(mine, lent, strict=True)]


def honest(name: str, title: str, sides: Sides, unbound: Sides | None = None) -> Sheet:
    """Who was found without having done anything."""
    sheet = Sheet(
        name,
        title,
        ("kind", "side", "of", "counted", "found", "share found", "calls",
         "refused or failed per 10,000 calls", "measure"),
    )  # fmt: skip

    def row(
        label: str, side: str, unit: Unit, found: Sequence[dict[Kind, Honest]],
        kinds: Iterable[Kind],
    ) -> None:  # fmt: skip
        kinds = tuple(kinds)
        keys, hit, rate = _sum(found, kinds)
        if not keys:
            return
        measures: dict[str, int] = {}
        for seed in found:
            for kind in kinds:
                for measure, count in (seed[kind].measures if kind in seed else {}).items():
                    measures[measure] = measures.get(measure, 0) + count
        listed = ", ".join(f"{measure} {count}" for measure, count in sorted(measures.items()))
        share = proportion(hit, keys)
        sheet.add(
            label, side, unit.value, f"{keys:,}", str(hit), share.text("{:.5f}"), f"{rate.of:,}",
            rate.text("{:.2f}"), listed,
            kind=label, side=side, unit=unit.value, keys=keys, found=hit, share=share,
            per_10_000_calls=rate, measures=measures,
        )  # fmt: skip

    for kind in _ALL:
        for unit in (Unit.SUBJECT, Unit.AGENT, Unit.SIGNER):
            for side in SIDES:
                row(kind.value, side, unit, sides[side].counted(unit), (kind,))
            if unbound is not None and unit is not Unit.AGENT and kind in plan.PLATFORMS:
                there = unbound[TERMINATING].counted(unit)
                row(f"{kind.value}{_UNKNOWN}", TERMINATING, unit, there, (kind,))
    for side in SIDES:
        found = _subjects(sides, unbound, side)
        row("all, without exemption", side, Unit.SUBJECT, found, _SUBJECTS)
        row("all, branches exempted", side, Unit.SUBJECT, found, _UNEXEMPTED)
    there = sides[TERMINATING]
    if unbound is not None:
        row("all, branches and platforms exempted", TERMINATING, Unit.SUBJECT, found, _NO_PLATFORMS)
        row(
            "all, without exemption, bindings known there", TERMINATING, Unit.SUBJECT,
            there.counted(Unit.SUBJECT), _SUBJECTS,
        )  # fmt: skip
    for side in SIDES:
        agents = sides[side].counted(Unit.AGENT)
        row(f"all agents with {LEAST_CALLS} calls or more", side, Unit.AGENT, agents, _SUBJECTS)
    signers, labelled = there.counted(Unit.SIGNER), there.counted(Unit.LABELLED)
    row("all signers, for information", TERMINATING, Unit.SIGNER, signers, _SUBJECTS)
    row("all signers, branches exempted", TERMINATING, Unit.SIGNER, signers, _UNEXEMPTED)
    row("SPCs found, of which calls are labelled only", TERMINATING, Unit.LABELLED, labelled, _ALL)
    return sheet


def splits(results: Results) -> Sheet:
    """What spreading helps a dishonest operator."""
    sheet = Sheet(
        "splits",
        "Operators split over accesses and carriers",
        ("kind", "side", "over", "operators", "found", "their accesses or signers found",
         "calls until found, median", "share of calls made after"),
    )  # fmt: skip
    for kind in _kinds(results.splits[1]):
        for side in SIDES:
            for over, sides in results.splits.items():
                mine = sides[side].of(kind)
                if not mine:
                    continue
                recall, calls = _recall(mine), quantile([one.until for one in mine], 0.5)
                keys = proportion(
                    sum(one.keys_found for one in mine), sum(one.keys for one in mine)
                )
                under = sum(one.under for one in mine) / max(1, sum(one.calls for one in mine))
                sheet.add(
                    kind.value, side, str(over), str(len(mine)), recall.text("{:.2f}"),
                    keys.text("{:.2f}"), calls.text(WHOLE), f"{under:.2f}",
                    kind=kind.value, side=side, over=over, recall=recall, keys=keys,
                    calls_median=calls, calls_under_finding=under,
                )  # fmt: skip
    return sheet


def ablation(results: Results) -> Sheet:
    """What each measure is good for."""
    runs = {"all on": results.reference}
    runs |= {f"without {measure.value}": sides for measure, sides in results.ablation.items()}
    sheet = Sheet(
        "ablation",
        f"Each measure off in turn: recall on one access, {len(runs['all on'][ORIGINATING].honest)}"
        " of the seeds",
        ("kind", "side", *runs),
    )
    for kind in _kinds(results.reference):
        for side in SIDES:
            if not results.reference[side].of(kind):
                continue
            recalls = {name: _recall(sides[side].of(kind)) for name, sides in runs.items()}
            sheet.add(
                kind.value, side, *(figure.text("{:.2f}") for figure in recalls.values()),
                kind=kind.value, side=side, **recalls,
            )  # fmt: skip
    for side in SIDES:
        sums = {
            name: _sum(sides[side].counted(Unit.SUBJECT), _SUBJECTS) for name, sides in runs.items()
        }
        sheet.add(
            "honest subjects, found", side,
            *(f"{found} of {keys:,}" for keys, found, _ in sums.values()),
            kind="honest", side=side,
            **{name: {"keys": keys, "found": found} for name, (keys, found, _) in sums.items()},
        )  # fmt: skip
    return sheet


def parts(results: Results) -> Sheet:
    """What the registry, orders and the verifier stop without any finding."""
    sheet = Sheet(
        "parts",
        "Stopped by registry, orders and verifier; nothing of conduct",
        ("kind", "calls", "stopped", "by", "after an order: calls", "of them stopped",
         "registering again under the same document: refused"),
    )  # fmt: skip
    for kind in Kind:
        mine = [seed[kind] for seed in results.parts if kind in seed]
        if not mine:
            continue
        reasons: dict[str, int] = {}
        for one in mine:
            for reason, count in one.reasons.items():
                reasons[reason] = reasons.get(reason, 0) + count
        calls, after = sum(one.calls for one in mine), sum(one.after for one in mine)
        stopped = proportion(sum(one.stopped for one in mine), calls)
        then = proportion(sum(one.refused_after for one in mine), after)
        again = proportion(
            sum(one.registrations_refused for one in mine), sum(one.registrations for one in mine)
        )
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        sheet.add(
            kind.value, f"{calls:,}", stopped.text(SHARE), listed, f"{after:,}" if after else "-",
            then.text(SHARE), again.text("{:.2f}"),
            kind=kind.value, calls=calls, stopped=stopped, reasons=reasons, after_order=after,
            stopped_after_order=then, registrations_refused=again,
        )  # fmt: skip
    return sheet


def whole(results: Results) -> Sheet:
    """What becomes of each kind's calls at a service with its defaults."""
    sheet = Sheet(
        "whole",
        "A day at the service itself, signing and verifying with its defaults",
        ("kind", "branches", "calls", "refused when signing", "failed when verifying", "labelled",
         "passed", "mostly"),
    )  # fmt: skip
    for kind in Kind:
        for exempted, runs in results.whole.items():
            counts: dict[tuple[str, str], int] = {}
            for run in runs:
                for what, count in run.get(kind, {}).items():
                    counts[what] = counts.get(what, 0) + count
            calls = sum(counts.values())
            if not calls or (exempted and kind is not Kind.BRANCHES):
                continue
            by = {
                outcome: proportion(
                    sum(count for (o, _), count in counts.items() if o == outcome), calls
                )
                for outcome in ("refused", "failed", "labelled", "passed")
            }
            reasons = sorted(counts.items(), key=lambda item: -item[1])[:3]
            listed = ", ".join(f"{reason} {count}" for (_, reason), count in reasons)
            sheet.add(
                kind.value, "exempted" if exempted else "not exempted", f"{calls:,}",
                *(f"{figure.value:.1%}" for figure in by.values()), listed,
                kind=kind.value, exempted=exempted, calls=calls, **by,
            )  # fmt: skip
    return sheet


class Point(Struct, frozen=True):
    """Precision and recall where a key counts as pooled from this strength on."""

    threshold: float
    precision: float
    recall: float


THRESHOLDS = tuple(round(0.1 * 1.1**step, 4) for step in range(49))


def curve(found: Found) -> list[Point]:
    """Over thresholds, in a country's shares of kinds: each kind counts as COUNTRY has it."""
    by_kind: dict[Kind, list[float]] = {}
    for kind, strength in found.scores:
        if kind in COUNTRY:
            by_kind.setdefault(kind, []).append(strength)
    points = []
    for threshold in THRESHOLDS:
        caught = {
            kind: sum(strength >= threshold for strength in all_) / len(all_) * COUNTRY[kind]
            for kind, all_ in by_kind.items()
        }
        true = sum(share for kind, share in caught.items() if not kind.honest)
        false = sum(share for kind, share in caught.items() if kind.honest)
        wanted = sum(COUNTRY[kind] for kind in by_kind if not kind.honest)
        if true + false and wanted:
            points.append(Point(threshold, true / (true + false), true / wanted))
    return points


def _in_country(seeds: Sequence[dict[Kind, Honest]]) -> float | None:
    """The share of honest callers found where each kind is as frequent as COUNTRY has it."""
    weight = found = 0.0
    for kind in _SUBJECTS:
        keys, hit, _ = _sum(seeds, (kind,))
        if keys:
            weight += COUNTRY[kind]
            found += COUNTRY[kind] * hit / keys
    return found / weight if weight else None


def goals(results: Results) -> Sheet:
    """What issue and design ask for, and whether it was reached."""
    sheet = Sheet("goals", "Goals", ("goal", "side", "asked", "measured", ""))

    def row(goal: str, side: str, asked: str, measured: str, reached: bool) -> None:
        sheet.add(
            goal, side, asked, measured, "reached" if reached else "SHORT",
            goal=goal, side=side, asked=asked, measured=measured, reached=reached,
        )  # fmt: skip

    one = results.splits[1]
    for side in SIDES:
        for kind in plan.BROADCAST:
            recall = _recall(one[side].of(kind))
            if recall.of:
                goal = f"recall, {kind.value}"
                row(goal, side, ">= 0.99", recall.text(SHARE), recall.value >= 0.99)
        subjects = _subjects(one, results.unbound, side)
        agents = one[side].counted(Unit.AGENT)
        counted = [
            ("subjects found", subjects, _SUBJECTS),
            ("subjects found, branches exempted", subjects, _UNEXEMPTED),
            ("subjects found, branches and platforms exempted", subjects, _NO_PLATFORMS),
            ("agents found", agents, _SUBJECTS),
        ]
        for label, seeds, kinds in counted:
            if kinds is _NO_PLATFORMS and side == ORIGINATING:
                continue  # bindings are known there
            keys, found, _ = _sum(seeds, kinds)
            share = proportion(found, keys)
            if keys:
                row(f"honest {label}", side, "<= 0.1 %", share.text("{:.3%}"), share.value <= 0.001)
        weighed = _in_country(subjects)
        if weighed is not None:
            row("honest callers found, in a country's shares of kinds", side, "<= 0.1 %",
                f"{weighed:.3%}", weighed <= 0.001)  # fmt: skip
        until = [outcome.until for outcome in one[side].of(Kind.POOL)]
        if until:
            p95 = quantile(until, 0.95)
            row("national pool of 5,000: calls until found, p95", side, "<= 200",
                p95.text(WHOLE), p95.value <= 200)  # fmt: skip
        for kind in plan.WITHIN_A_DAY:
            recall = _recall(one[side].of(kind))
            if recall.of:
                row(f"{kind.value}: within a day", side, ">= 0.99",
                    recall.text(SHARE), recall.value >= 0.99)  # fmt: skip
    return sheet


def sheets(results: Results) -> list[Sheet]:
    """All of them, in the order in which they are read."""
    found = [
        detection(results),
        honest(
            "honest",
            "Honest callers, one day (rare and difficult kinds are over-represented)",
            results.splits[1],
            results.unbound,
        ),
    ]
    if results.long[ORIGINATING].honest:
        found.append(honest("three_days", "Honest callers, three days", results.long))
    return [
        *found,
        splits(results),
        ablation(results),
        parts(results),
        whole(results),
        goals(results),
    ]
