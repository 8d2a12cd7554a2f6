"""How what runs beside the calls is brought to its end, however it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, Final

FAREWELL: Final = 2.0  # seconds for what the others of a fleet are told last
_AGAIN: Final = 1.0  # seconds after which a task that goes on is cancelled once more


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until each has ended. What they failed with, they tell who asks.

    Once is not enough: asyncio.wait_for of Python 3.11, which the client of Redis uses, loses a
    cancellation that comes between an answer and the task that waits for it.
    """
    every = set(tasks)
    while left := {task for task in every if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_AGAIN)
    for task in every:
        if not task.cancelled():
            task.exception()  # looked at: else the loop logs it


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Do something last, for which there is so much time. Raises what it fails with."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait([task], timeout=seconds)
    finally:
        await ended([task])
    if not task.cancelled():
        task.result()


async def unless(stopped: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do something, or as much as is done when a stop comes. True when it was done in full.

    Raises what it fails with before.
    """
    loop = asyncio.get_running_loop()
    task, stop = loop.create_task(work), loop.create_task(stopped.wait())
    try:
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
    finally:
        await ended([task, stop])
    if done:
        task.result()
    return done
