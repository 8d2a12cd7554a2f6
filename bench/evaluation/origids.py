"""What the terminating side can still tell where each call has an origid of its own.

    python -m bench.evaluation.origids [--seeds 2]      about half a minute a seed

RFC 8588 section 10 recommends such origids. The same calls go through the detector twice: with the
origids of accesses, and with one a call. Prints, for each kind of dishonest caller, the share of
its calls that fail at a verifier, and how many of the honest a failing call hit.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from itertools import count, islice

from msgspec.structs import replace

from bench.evaluation import plan
from bench.evaluation.drive import TERMINATING, drive, steps
from bench.evaluation.score import Outcome, Unit, score
from zhenxian.simulation import Call, Kind, Truth


def main(arguments: list[str] | None = None) -> int:
    """Run both ways and tell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args(arguments)
    ways = {"an origid an access": False, "an origid a call": True}
    outcomes: dict[str, list[Outcome]] = {way: [] for way in ways}
    honest: dict[str, list[int]] = {way: [0, 0] for way in ways}
    for seed in islice(plan.EVALUATION, given.seeds):
        calls, truth = plan.drawn(plan.mix(seed))
        for way, minted in ways.items():
            found, hit = _run(calls, truth, minted=minted)
            outcomes[way] += found
            honest[way] = [a + b for a, b in zip(honest[way], hit, strict=True)]
    print(f"| kind | operators | {' | '.join(ways)} |\n|---|---|---|---|")
    for kind in dict.fromkeys(one.kind for one in outcomes["an origid an access"]):
        operators = len([one for one in outcomes["an origid an access"] if one.kind is kind])
        shares = (f"{_failing(outcomes[way], kind):.2f}" for way in ways)
        print(f"| {kind.value} | {operators} | {' | '.join(shares)} |")
    hits = (f"{hit} of {keys}" for hit, keys in honest.values())
    print(f"| honest subjects hit | | {' | '.join(hits)} |")
    return 0


def _run(
    calls: Sequence[Call], truth: Sequence[Truth], *, minted: bool
) -> tuple[list[Outcome], list[int]]:
    """What became of the dishonest; how many of the honest were hit, and of how many."""
    numbers = count()
    driven = [replace(call, origid=f"call-{next(numbers)}") if minted else call for call in calls]
    side = drive(steps(driven), plan.ALONE)[TERMINATING]
    scored = score(calls, truth, TERMINATING, side)  # calls keep their places
    subjects = scored.honest[Unit.SUBJECT].values()
    return scored.outcomes, [sum(s.found for s in subjects), sum(s.keys for s in subjects)]


def _failing(outcomes: Sequence[Outcome], kind: Kind) -> float:
    """The share of a kind's calls that fail."""
    mine = [one for one in outcomes if one.kind is kind]
    return sum(one.failed for one in mine) / max(1, sum(one.calls for one in mine))


if __name__ == "__main__":
    sys.exit(main())
