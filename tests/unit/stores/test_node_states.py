"""The table of a fleet node's states: whole, without contradiction, and the only one there is."""

from __future__ import annotations

import ast
import inspect
import itertools
from collections import Counter
from pathlib import Path

import pytest

from zhenxian.stores.fleet import states
from zhenxian.stores.fleet.states import (
    STATES,
    TRANSITIONS,
    Condition,
    Event,
    NodeState,
    fleet_page,
)


def reached(state: NodeState) -> Condition:
    """A condition in a state, by the shortest way of events."""
    for length in range(4):
        for events in itertools.product(Event, repeat=length):
            condition = Condition()
            for event in events:
                condition.learn(event)
            if condition.state is state:
                return condition
    raise AssertionError(f"{state} cannot be reached")


def test_every_event_has_one_outcome_in_every_state():
    met = Counter((source, step.event) for step in TRANSITIONS for source in step.sources)
    assert met == Counter(itertools.product(NodeState, Event))


@pytest.mark.parametrize("step", TRANSITIONS, ids=lambda step: step.event.name)
def test_a_condition_moves_as_the_table_says(step):
    for source in step.sources:
        condition = reached(source)
        condition.learn(step.event, "why")
        assert condition.state is (step.to or source)


def test_what_halted_a_node_stays_told():
    condition = reached(NodeState.FOREIGN)
    condition.learn(Event.NOT_OURS, "another journal")
    condition.learn(Event.NOT_TAKEN, "cannot be followed")
    assert condition.why == "another journal"
    condition.learn(Event.CAUGHT_UP)
    assert (condition.state, condition.why) == (NodeState.CURRENT, "")


def test_a_node_that_lacks_commits_is_never_taken_for_complete():
    assert {state for state in NodeState if STATES[state].complete} == {
        NodeState.CURRENT,
        NodeState.UNREACHABLE,
    }
    for state in set(NodeState) - {NodeState.CURRENT, NodeState.UNREACHABLE}:
        for event in set(Event) - {Event.CAUGHT_UP}:
            condition = reached(state)
            condition.learn(event)
            assert not condition.complete, (state, event)


def test_nothing_but_the_table_changes_a_state():
    folder = Path(inspect.getfile(states)).parent
    changed = {}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr == "_state":
                changed.setdefault(path.name, []).append(type(node.ctx).__name__)
    assert set(changed) == {"states.py"}
    assert changed["states.py"].count("Store") == 2  # where it begins, and `learn`
    assert "_state" in inspect.getsource(Condition.learn)


def test_the_page_for_operators_has_every_state_and_transition():
    page = fleet_page()
    for state in NodeState:
        assert f"| `{state.value}` | {STATES[state].meaning} |" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == len(NodeState) + len(TRANSITIONS) + 2
