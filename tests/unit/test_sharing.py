"""Every test is run once, and none that waits by the process that steps back."""

from types import SimpleNamespace

import pytest
from sharing import Sharing, turn

WAITS = [f"tests/e2e/test_{name}.py::test_{i}" for name in "abc" for i in range(3)]
COMPUTES = [f"tests/unit/api/test_{name}.py::test_{i}" for name in "defg" for i in range(3)]


class Process:
    """A test process, as far as who gives it tests knows."""

    def __init__(self, nice=None):
        self.gateway = SimpleNamespace(spec=SimpleNamespace(nice=nice), id=str(nice))
        self.shutting_down = False
        self.given = []

    def send_runtest_some(self, indexes):
        self.given += indexes

    def shutdown(self):
        self.shutting_down = True


def _run(tests, processes):
    """The tests that each has run, where each runs one in turn."""
    config = SimpleNamespace(
        getvalue=lambda _: ["popen"] * len(processes),
        option=SimpleNamespace(loadscopereorder=False, maxschedchunk=None),
        hook=None,
    )
    sharing = Sharing(config)
    for process in processes:
        sharing.add_node(process)
        sharing.add_node_collection(process, tests)
    sharing.schedule()
    done = [0 for _ in processes]
    while sharing.has_pending:
        began = list(done)
        for number, process in enumerate(processes):
            if done[number] < len(process.given):
                done[number] += 1
                sharing.mark_test_complete(process, process.given[done[number] - 1])
        assert done != began, "nobody has a test that is left"
    return [[tests[index] for index in process.given] for process in processes]


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("tests", [WAITS + COMPUTES, COMPUTES, WAITS, WAITS[:6], WAITS[:3]])
def test_each_test_is_run_once_and_what_waits_by_who_does_not_step_back(tests, first):
    processes = [Process(), Process()]
    processes.insert(first, Process("5"))
    run = _run(tests, processes)
    assert sorted(test for mine in run for test in mine) == sorted(tests)
    assert not set(run[first]) & set(WAITS)
    assert bool(run[first]) is any(test in COMPUTES for test in tests)


def test_what_waits_comes_first():
    image, long = "tests/e2e/test_image.py::test_a", "tests/unit/bench/test_b.py::test_c"
    tests = [COMPUTES[0], long, image, WAITS[0], "tests/sip_e2e/test_by_json.py::TestA::test_b"]
    assert sorted(tests, key=turn) == [WAITS[0], tests[-1], image, long, COMPUTES[0]]
