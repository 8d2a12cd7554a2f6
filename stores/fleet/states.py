"""The states of a fleet's node, and what brings it from one to another.

`TRANSITIONS` is the only table of them: `Condition` moves by it, and docs/fleet.md is made from it.
"""

from __future__ import annotations

import logging
from enum import Enum
from typing import Final

from msgspec import Struct

_logger = logging.getLogger(__name__)


class NodeState(str, Enum):
    """How a node's replica stands to the journal on Redis."""

    STARTING = "starting"
    CURRENT = "current"
    BEHIND = "behind"
    REBUILDING = "rebuilding"
    UNREACHABLE = "unreachable"
    STRANDED = "stranded"
    STALLED = "stalled"
    FOREIGN = "foreign"
    UNSAFE = "unsafe"
    UNREADABLE = "unreadable"


class Event(Enum):
    """What a node learns about its replica or about Redis; the value says it to operators."""

    CAUGHT_UP = "The replica has every commit that Redis had when it was asked."
    LACKING = "Commits are known to be missing here, and are being read."
    NOT_FOLLOWING = (
        "The stream no longer reaches back to the replica, or Redis lost or replaced commits that"
        " the replica has."
    )
    REBUILT = "The replica was made anew from checkpoint and stream."
    NO_ANSWER = "Redis does not answer, or refuses the credentials."
    NOT_TAKEN = "A commit cannot be read, or the replica's file cannot be written."
    NOT_OURS = "Redis holds no journal, a part of one, or another one than the replica is of."
    NOT_SAFE = "Redis keeps nothing on disk, or may evict keys, and `fleet.allow_volatile` is off."
    NOT_READABLE = (
        "The replica cannot be made anew: the checkpoint is damaged, incomplete, forged, or of a"
        " newer release, or Redis lost its journal meanwhile."
    )


class Manner(Struct, frozen=True, kw_only=True):
    """What a state means.

    Attributes:
        meaning: how the replica stands. signing, verifying: how calls are answered.
        remedy: what an operator does, if anything.
        complete: no commit is known to be missing; whether one may be is a matter of time.
        halted: nothing changes before somebody does something.
    """

    meaning: str
    signing: str
    verifying: str
    remedy: str
    complete: bool = False
    halted: bool = False


_USUAL: Final = "as usual"
_B_AT_MOST: Final = "B at most (`REGISTRY_STALE`)"
_AS_IT_WAS: Final = "from the replica as it is"
_NO_REPLAYS: Final = "`No-TN-Validation` for a token that this node has not seen"
_ITSELF: Final = "Nothing: the node goes on by itself."
_REDIS: Final = "See to Redis, the network, or the credentials, as `/readyz` says."

STATES: Final[dict[NodeState, Manner]] = {
    NodeState.STARTING: Manner(
        meaning="The node has just started and has not compared its replica with Redis.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy=_ITSELF,
    ),
    NodeState.CURRENT: Manner(
        meaning="The replica has every commit that Redis had when it was last asked.",
        signing=_USUAL,
        verifying=_USUAL,
        remedy="Nothing.",
        complete=True,
    ),
    NodeState.BEHIND: Manner(
        meaning="Commits are missing here, and are being read from the stream.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy=_ITSELF,
    ),
    NodeState.REBUILDING: Manner(
        meaning="The replica is being made anew from checkpoint and stream, in a file beside it.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy=f"{_ITSELF} If Redis lost commits, the replica as it was is kept as"
        " `registry.lost-<time>.db`.",
    ),
    NodeState.UNREACHABLE: Manner(
        meaning="Redis does not answer; the replica had every commit when it last did.",
        signing=f"as usual for `fleet.lag_limit` seconds, then {_B_AT_MOST}",
        verifying=_NO_REPLAYS,
        remedy=_REDIS,
        complete=True,
    ),
    NodeState.STRANDED: Manner(
        meaning="Redis does not answer, and the replica lacked commits when it last did, or was"
        " never compared with it.",
        signing=_B_AT_MOST,
        verifying=_NO_REPLAYS,
        remedy=_REDIS,
    ),
    NodeState.STALLED: Manner(
        meaning="There are commits that this node cannot take over.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy="See to the disk of the data folder; or, if a newer release wrote the commits,"
        " install it here too. The node tries again by itself.",
    ),
    NodeState.FOREIGN: Manner(
        meaning="Redis does not hold the journal that the replica is of. Nothing is replaced.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy="Correct `fleet.url`; or restore Redis from its backup; or run `zhenxian fleet seed`"
        " on the node that has most; or set `fleet.take_over_foreign` to replace the replica.",
        halted=True,
    ),
    NodeState.UNSAFE: Manner(
        meaning="The settings of Redis let it forget, and what it loses, the fleet would lose. A"
        " node does not start like this.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy="Set `appendonly yes` and `maxmemory-policy noeviction` in Redis, or"
        " `fleet.allow_volatile` here if that is meant.",
        halted=True,
    ),
    NodeState.UNREADABLE: Manner(
        meaning="The replica does not follow from Redis, and cannot be made anew from what is"
        " there.",
        signing=_B_AT_MOST,
        verifying=_AS_IT_WAS,
        remedy="Restore Redis from its own backup; or install the release that wrote the"
        " checkpoint. The node tries again by itself.",
        halted=True,
    ),
}


class Transition(Struct, frozen=True):
    """What an event does. `to` is None where the node stays in the state it is in."""

    event: Event
    sources: frozenset[NodeState]
    to: NodeState | None


_ANY: Final = frozenset(NodeState)
_COMPLETE: Final = frozenset(state for state in NodeState if STATES[state].complete)
_HALTED: Final = frozenset(state for state in NodeState if STATES[state].halted)
_VAIN: Final = frozenset({NodeState.STALLED, NodeState.UNREADABLE})  # a retry is no news there

TRANSITIONS: Final = (
    Transition(Event.CAUGHT_UP, _ANY, NodeState.CURRENT),
    Transition(Event.LACKING, _ANY - _VAIN, NodeState.BEHIND),
    Transition(Event.LACKING, _VAIN, None),
    Transition(Event.NOT_FOLLOWING, _ANY - _VAIN, NodeState.REBUILDING),
    Transition(Event.NOT_FOLLOWING, _VAIN, None),
    Transition(Event.REBUILT, _ANY, NodeState.BEHIND),
    Transition(Event.NO_ANSWER, _COMPLETE, NodeState.UNREACHABLE),
    Transition(Event.NO_ANSWER, _ANY - _COMPLETE, NodeState.STRANDED),
    Transition(Event.NOT_TAKEN, _ANY - _HALTED, NodeState.STALLED),
    Transition(Event.NOT_TAKEN, _HALTED, None),
    Transition(Event.NOT_OURS, _ANY, NodeState.FOREIGN),
    Transition(Event.NOT_SAFE, _ANY, NodeState.UNSAFE),
    Transition(Event.NOT_READABLE, _ANY, NodeState.UNREADABLE),
)
_NEXT: Final = {(source, step.event): step.to for step in TRANSITIONS for source in step.sources}


class Condition:
    """The state that a node is in, and the sentence that says why.

    Attributes:
        complete: true when no commit is known to be missing; kept, since every call asks it.
    """

    def __init__(self) -> None:
        self._state = NodeState.STARTING
        self._why = ""
        self.complete = False

    @property
    def state(self) -> NodeState:
        """The state now."""
        return self._state

    @property
    def why(self) -> str:
        """What an operator should know of it; empty when there is nothing."""
        return self._why

    @property
    def halted(self) -> bool:
        """True when nothing changes before somebody does something."""
        return STATES[self._state].halted

    def learn(self, event: Event, why: str = "") -> None:
        """Move as the table says; a sentence that is new is logged.

        Args:
            why: the event in one sentence, where an operator should know of it.
        """
        after = _NEXT[self._state, event]
        if after is None:
            return  # what halted the node is what is to be told
        self._state, told = after, self._why
        self.complete = STATES[after].complete
        self._why = why
        if why and why != told:
            _logger.warning("%s", why)
        elif told and not why:
            _logger.info("the registry here is %s", after.value)


def fleet_page() -> str:
    """docs/fleet.md: the states of a node and the transitions between them."""
    lines = [
        "# States of a fleet's node",
        "",
        "Generated by `make docs` from stores/fleet/states.py. A node of a fleet answers calls from"
        " its replica of the registry. The metric `zhenxian_fleet_state` names the state that the"
        " replica is in, and `/readyz` says why. [operating.md](operating.md) describes how a fleet"
        " is set up, and what `/readyz` says beside the state: commits that Redis lost, clocks and"
        " copies that differ.",
        "",
        "| state | meaning | signing | verifying | what to do |",
        "|---|---|---|---|---|",
    ]
    for state, manner in STATES.items():
        cells = (
            f"`{state.value}`",
            manner.meaning,
            manner.signing,
            manner.verifying,
            manner.remedy,
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "A node begins as `starting`. Each row below is a transition; there are no others.",
        "",
        "| what happens | in state | then |",
        "|---|---|---|",
    ]
    for step in TRANSITIONS:
        sources = "any" if step.sources == _ANY else _names(step.sources)
        then = f"`{step.to.value}`" if step.to is not None else "stays as it is"
        lines.append(f"| {step.event.value} | {sources} | {then} |")
    return "\n".join([*lines, ""])


def _names(states: frozenset[NodeState]) -> str:
    return ", ".join(f"`{state.value}`" for state in NodeState if state in states)
