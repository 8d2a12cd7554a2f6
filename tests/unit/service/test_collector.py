"""What the collector of cycles still looks at, once a service runs."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, weakref
from zhenxian.service.collector import _MADE, quieten_collector

class Node:
    pass

quieten_collector()
before = gc.get_freeze_count()
pauses, seen = [], []
gc.callbacks.append(lambda phase, info: phase == "start" and seen.append(len(gc.get_objects())))
kept = [[number] for number in range(20 * _MADE)]
assert len(seen) > 10, seen
assert max(seen) < 2 * _MADE, max(seen)  # however much there is
assert gc.get_freeze_count() - before > 18 * _MADE
first, second = Node(), Node()
first.other, second.other = second, first
gone = weakref.ref(first)
del first, second
kept.extend([number] for number in range(2 * _MADE))
assert gone() is None  # cycles of short lives are still found
quieten_collector()
assert len([one for one in gc.callbacks if one.__name__ == "_passed_over"]) == 1
"""


def test_what_lives_on_is_looked_at_once_and_cycles_are_found():
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
