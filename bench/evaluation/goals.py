"""What each goal came to: how many callers keep to it, and whether that reaches it.

Callers of two days from nothing known, each under its own model of talk. A goal that is a share of
callers is told with the interval of Clopper and Pearson; reached is what the callers drawn came to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import Final

from msgspec import Struct

from bench.evaluation.figures import Figure, proportion
from bench.evaluation.kinds import COLD, HONEST_KINDS, SIGNING, VERIFYING, Outcome
from bench.evaluation.report import Sheet

_ANY: Final = "any honest kind"
_POOLS: Final = (
    "pool, matched", "pool, half matched", "pool, unmatched", "slow pool, matched",
    "slow pool, unmatched",
)  # fmt: skip
_ROBOTS: Final = (
    "robot, one mobile number", "robot, one fixed line", "robot firm, 30 numbers",
    "SIM box in its own city", "forty numbers in turn in one city",
)  # fmt: skip
_RESOLD: Final = (
    ("matched pool over 20 accesses", 0.06, 0.15),
    ("unmatched pool over 20 accesses", 0.15, 0.40),
)
_LINKED: Final = ("matched pool over 5 carriers", "matched pool, an origid a call")
_PAIRS: Final = 502  # of numbers and 1 in 1,000 honest: what repeats among displays can reach
_WITHIN: Final = 250
_SEEN: Final = 90

_Keeps = Callable[[Outcome], bool]
_Rows = dict[tuple[str, str, bool], list[Outcome]]


class Goal(Struct, frozen=True, kw_only=True):
    """One sentence of the goals, for callers of one kind on one side.

    Attributes:
        text: what is asked. told: whether ends of calls are.
        keeps: whether a caller does as asked. share: of callers who have to.
        each_talk: so many under each model of talk, not of all together.
    """

    text: str
    kind: str
    told: bool
    keeps: _Keeps
    share: float
    side: str = SIGNING
    each_talk: bool = False


def goals() -> Iterator[Goal]:
    """All that are of callers of one kind."""
    for told in (True, False):
        yield from _pools(told)
        yield from _busy(told)
        yield from _back(told)
        yield from _seen(told)


def _refused(within: float) -> _Keeps:
    return lambda one: one.refused is not None and one.refused <= within


def _labelled(one: Outcome) -> bool:
    return one.labelled is not None


def _pools(told: bool) -> Iterator[Goal]:
    for kind in _POOLS:
        if told:
            yield Goal(
                text=f"refused within {_WITHIN} calls", kind=kind, told=True,
                keeps=_refused(_WITHIN), share=0.5, each_talk=True,
            )  # fmt: skip
        else:
            yield Goal(
                text="refused within 1.1·√(502·numbers) calls", kind=kind, told=False,
                keeps=lambda one: _refused(1.1 * (_PAIRS * one.numbers) ** 0.5)(one), share=0.5,
            )  # fmt: skip
    yield Goal(
        text="refused within two days" if told else "labelled", kind="300 numbers of one city",
        told=told, keeps=(lambda one: one.refused is not None) if told else _labelled, share=0.9,
    )  # fmt: skip


def _busy(told: bool) -> Iterator[Goal]:
    for kind in _ROBOTS:
        yield Goal(
            text="lowered or refused within the first day", kind=kind, told=told,
            keeps=lambda one: one.day_lowered, share=0.95,
        )  # fmt: skip
    yield Goal(
        text="lowered the same night" if told else "labelled",
        kind="switchboard hijacked at night", told=told,
        keeps=(lambda one: one.lowered is not None) if told else _labelled, share=0.9,
    )  # fmt: skip
    yield Goal(
        text="its day calls go on", kind="hijacked switchboard, its own calls", told=told,
        keeps=lambda one: one.refused is None, share=1.0,
    )  # fmt: skip


def _back(told: bool) -> Iterator[Goal]:
    yield Goal(
        text="refused at the first call", kind="returns, same numbers, registered", told=told,
        keeps=_refused(1), share=0.5,
    )  # fmt: skip
    within = 60 if told else 100
    yield Goal(
        text=f"refused within {within} calls", kind="returns, same callees", told=told,
        keeps=_refused(within), share=0.5,
    )  # fmt: skip


def _seen(told: bool) -> Iterator[Goal]:
    for kind in (*_POOLS[:3], *_LINKED):
        yield Goal(
            text=f"refused within {_SEEN} calls seen", kind=kind, told=told, side=VERIFYING,
            keeps=_refused(_SEEN), share=0.5,
        )  # fmt: skip


def sheet(outcomes: Iterable[Outcome]) -> Sheet:
    """A row for each goal, told and not told."""
    rows: _Rows = defaultdict(list)
    for one in outcomes:
        kind, _, phase, *_ = one.case.split("|")
        if phase == COLD and not one.without:
            rows[kind, one.side, one.told].append(one)
    made = Sheet(
        "goals",
        "What each goal came to",
        ("goal", "kind", "side", "talk told", "callers", "asked", "came to", ""),
    )
    for told in (True, False):
        for side in (SIGNING, VERIFYING):
            _left_alone(made, rows, side, told=told)
    for told in (True, False):
        for kind, *most in _RESOLD:
            _let_through(made, rows[kind, SIGNING, told], kind, most[not told], told=told)
    for goal in goals():
        found = rows[goal.kind, goal.side, goal.told]
        if found:
            _kept(made, goal, found)
    return made


def _left_alone(made: Sheet, rows: _Rows, side: str, *, told: bool) -> None:
    """How many callers of the worst honest kind are refused, and labelled or lowered."""
    for text, name, most in (
        ("refused", "refused", 0.0 if told else 0.01),
        ("labelled or lowered at some time", "labelled", 0.1 if told else 0.3),
    ):
        shares = {}
        for kind in HONEST_KINDS:
            found = rows[kind, side, told]
            if found:
                shares[kind] = proportion(
                    sum(getattr(one, name) is not None for one in found), len(found)
                )
        if not shares:
            continue
        over = [kind for kind, share in shares.items() if share.value > most]
        worst = max(shares, key=lambda kind: shares[kind].value)
        callers = sum(share.of for share in shares.values())
        one = shares[worst]
        came = f"{one.value:.1%} of {one.of} ({worst}), at most {one.high:.1%}"
        if one.value == 0:
            most_high = max(share.high for share in shares.values())
            came = f"0 of each kind, at most {most_high:.1%}"
        made.add(
            text, _ANY, side, "yes" if told else "no", f"{callers:,}",
            f"at most {most:.0%} of each", came,
            "reached" if not over else f"short: {', '.join(over)}",
            goal=text, side=side, told=told, over=over,
        )  # fmt: skip


def _let_through(made: Sheet, found: list[Outcome], kind: str, most: float, *, told: bool) -> None:
    if not found:
        return
    let = 1 - sum(one.day_share for one in found) / len(found)
    both = 1 - sum(one.share for one in found) / len(found)
    never = sum(one.refused is None for one in found)
    made.add(
        "let through of a day", kind, SIGNING, "yes" if told else "no", f"{len(found):,}",
        f"at most {most:.0%}", f"{let:.1%} (of two days {both:.1%}; {never} never refused)",
        "reached" if let <= most else "short",
        goal="let through", kind=kind, told=told, share=let,
    )  # fmt: skip


def _kept(made: Sheet, goal: Goal, found: list[Outcome]) -> None:
    share = _keep(goal, found)
    came = f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
    least = share.value
    if goal.each_talk:
        by_talk: dict[str, list[Outcome]] = defaultdict(list)
        for one in found:
            by_talk[one.case.split("|")[3]].append(one)
        shares = {talk: _keep(goal, some).value for talk, some in by_talk.items()}
        least = min(shares.values())
        came += "".join(f"; {talk} {shares[talk]:.0%}" for talk in sorted(shares))
    until = [one.refused for one in found if one.refused is not None]
    if until:
        came += f"; median call {median(until):,.0f}"
    made.add(
        goal.text, goal.kind, goal.side, "yes" if goal.told else "no", f"{len(found):,}",
        f"{goal.share:.0%} of them", came, "reached" if least >= goal.share else "short",
        goal=goal.text, kind=goal.kind, side=goal.side, told=goal.told, share=share,
    )  # fmt: skip


def _keep(goal: Goal, found: list[Outcome]) -> Figure:
    return proportion(sum(map(goal.keeps, found)), len(found))
