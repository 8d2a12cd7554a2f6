"""The collector of cyclic garbage, so that no call waits for it.

A call leaves few cycles, and memory is given back by counting references. But a collection of all
generations walks everything that conduct and caches hold: 0.3 s with 50,000 keys, and calls wait
meanwhile. So what has lived through one collection is never looked at again: collections are of
what was made since the last one, some two milliseconds' worth at most. What is in the middle of
its life when it is passed over, and becomes a cycle later, stays until the process ends: at most
what was under way at that moment, once for each _MADE objects that came to stay.
"""

from __future__ import annotations

import gc
from typing import Final

_MADE: Final = 5_000  # objects made and not freed, between two collections
_NEVER: Final = 1 << 30  # collections of the youngest, before older ones are looked at


def quieten_collector() -> None:
    """Have the collector pass over what there is now, and from now on whatever lives on.

    A start leaves next to no garbage, and looking for it would take a twentieth of its time.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(_MADE, _NEVER, _NEVER)
    if _passed_over not in gc.callbacks:
        gc.callbacks.append(_passed_over)


def _passed_over(phase: str, _: dict[str, int]) -> None:
    if phase == "stop":
        gc.freeze()
