"""How many privacy-number bindings a second a platform can make, in batches over the API.

The service is a process of its own with its own files, alone or as a node of a fleet; a batch is
acknowledged when it is on disk, or in the fleet's journal on Redis.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.machine import LOOPBACK, BenchError, Service, answers, free_port, send
from bench.services import OURS, our_command, our_settings
from bench.world import make_world

BATCH: Final = 1_000  # bindings of one request
PAIRS: Final = 2_500  # bindings of one X, half of what one may have
_X: Final = 8617000000000
_A: Final = 8613900000000
_JSON: Final = "application/json"


def measure(
    count: int,
    *,
    core: int,
    redis: str | None = None,
    progress: Callable[[int], object] | None = None,
) -> float:
    """Bindings a second, one batch after the other.

    Args:
        redis: URL of the fleet's Redis, which holds no registry yet; None for a service alone.
        progress: called with how many are made.

    Raises:
        BenchError: the service did not start, or refused something.
    """
    with tempfile.TemporaryDirectory(prefix="zhenxian-bindings-") as name:
        folder = Path(name)
        with make_world(folder / "world") as world:
            port, settings = free_port(), folder / "zhenxian.toml"
            text = our_settings(world, port, folder / "data")
            if redis is not None:
                text += f'[fleet]\nurl = "{redis}"\n'
            settings.write_text(text, "utf-8")
            service = Service(OURS, port, core=core, command=our_command(settings))
            with service.start(folder / "log", lambda: answers(port, "/readyz", 200)):
                return _bind(port, count, progress or (lambda _: None))


def _bind(port: int, count: int, progress: Callable[[int], object]) -> float:
    _ask(port, "PUT", "/v1/subjects/platform?reason=bench", {"kind": "enterprise"})
    last = _X + (count - 1) // PAIRS
    holding = {"subject": "platform", "verification": "verified", "use": "privacy"}
    _ask(port, "PUT", f"/v1/holdings/{_X}-{last + 1}?reason=bench", holding)
    now = int(time.time())
    batches = [
        [_binding(number, now) for number in range(begin, min(begin + BATCH, count))]
        for begin in range(0, count, BATCH)
    ]
    bodies = [msgspec.json.encode(batch) for batch in batches]
    made = 0
    began = time.perf_counter()
    for body in bodies:
        answer = _ask(port, "POST", "/v1/bindings/batch?reason=bench", body)
        made += answer["accepted"]
        progress(made)
    taken = time.perf_counter() - began
    if made != count or "id" not in _ask(port, "GET", f"/v1/bindings/b{count - 1}", None):
        raise BenchError(f"{made} of {count} bindings were made")
    return count / taken


def _binding(number: int, now: int) -> dict[str, Any]:
    return {
        "id": f"b{number}",
        "platform": "platform",
        "model": "axb",
        "x": str(_X + number // PAIRS),
        "a": str(_A + 2 * number),
        "b": str(_A + 2 * number + 1),
        "since": now,
        "until": now + 3_600,
    }


def _ask(port: int, method: str, path: str, body: object) -> dict[str, Any]:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    status, answer = send(port, method, path, data if body is not None else b"", _JSON, 60)
    if status not in (200, 201):
        raise BenchError(f"{method} {LOOPBACK}:{port}{path}: {status} {answer[:500]!r}")
    found: dict[str, Any] = msgspec.json.decode(answer)
    return found
