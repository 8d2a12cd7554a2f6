"""Which test process runs which file, and when.

Two processes run all the files. First come those that wait for real servers: they wait whatever
else there is to do, and meanwhile a third process has the cores. It is started with a higher nice
value (`--tx popen//nice=5`), steps back when one of the two has something to do, and is given only
files that compute. So it runs no test about time, and disturbs none.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

COMPUTING = ("tests/unit/", "tests/property/", "tests/test_")
LONG = ("tests/unit/bench/", "tests/property/")  # so that no process has one of them at the end
LATE = ("tests/e2e/test_image.py",)  # awaits what the Makefile has begun to make beside the tests


def turn(test: str) -> int:
    """By what tests are sorted; test is an id."""
    if test.startswith(COMPUTING):
        return 2 if test.startswith(LONG) else 3
    return 1 if test.startswith(LATE) else 0


class Sharing(LoadFileScheduling):
    """As xdist's, but for processes that step back."""

    def schedule(self) -> None:
        """Begin, or go on. Who steps back is the first to be let go of where files are few."""
        nodes = sorted(self.assigned_work.items(), key=lambda node: bool(node[0].gateway.spec.nice))
        self.assigned_work = dict(nodes)
        super().schedule()

    def remove_node(self, node) -> str | None:
        """Give others what is left of who died; files it had done would keep who gets them idle."""
        left = self.assigned_work[node]
        for file in [file for file, tests in left.items() if all(tests.values())]:
            del left[file]
        return super().remove_node(node)

    def _assign_work_unit(self, node) -> None:
        if node.gateway.spec.nice:
            file = next((file for file in self.workqueue if file.startswith(COMPUTING)), None)
            if file is None:
                node.shutdown()
                return
            self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)
