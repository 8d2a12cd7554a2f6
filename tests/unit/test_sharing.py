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


def _run(tests, processes, death=(None, 0)):
    """The tests that each has run, where each runs one in turn.

    As in xdist, a process runs a test when it knows the next one, or that there is none.

    Args:
        death: of a process, after so many tests of its own.
    """
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
    done = dict.fromkeys(processes, 0)
    while sharing.has_pending:
        began = dict(done)
        for process in list(sharing.nodes):
            if (process, done[process]) == death:
                sharing.remove_node(process)
                done[process] += 1
            elif done[process] < len(process.given) - (not process.shutting_down):
                done[process] += 1
                sharing.mark_test_complete(process, process.given[done[process] - 1])
        assert done != began, "nobody has a test that is left"
    ran = {one: done[one] - (one is death[0] and done[one] > death[1]) for one in processes}
    return [[tests[index] for index in one.given[: ran[one]]] for one in processes]


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("tests", [WAITS + COMPUTES, COMPUTES, WAITS, WAITS[:6], WAITS[:3]])
def test_each_test_is_run_once_and_what_waits_by_who_does_not_step_back(tests, first):
    processes = [Process(), Process()]
    processes.insert(first, Process("5"))
    run = _run(tests, processes)
    assert sorted(test for mine in run for test in mine) == sorted(tests)
    assert not set(run[first]) & set(WAITS)
    assert bool(run[first]) is any(test in COMPUTES for test in tests)


@pytest.mark.parametrize("dies", [0, 1, 2])
@pytest.mark.parametrize("after", [5, 41, 61])
def test_what_a_process_that_died_had_left_is_run_by_others(dies, after):
    files = [f"tests/e2e/test_{n}.py" for n in range(20)]
    files += [f"tests/unit/test_{n}.py" for n in range(30)]
    tests = [f"{file}::test_{index}" for file in files for index in range(4)]
    processes = [Process(), Process(), Process("5")]
    run = _run(tests, processes, (processes[dies], after))
    ran = [test for mine in run for test in mine]
    assert set(ran) == set(tests)
    assert len(ran) <= len(tests) + 1  # the one that was running


def test_what_waits_comes_first():
    image, long = "tests/e2e/test_image.py::test_a", "tests/unit/bench/test_b.py::test_c"
    tests = [COMPUTES[0], long, image, WAITS[0], "tests/sip_e2e/test_by_json.py::TestA::test_b"]
    assert sorted(tests, key=turn) == [WAITS[0], tests[-1], image, long, COMPUTES[0]]
