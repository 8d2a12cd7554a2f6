"""Verifications that wait for certificates: each waits by itself, and they go on together.

When a signer is new, or a host's certificate has ended, every call of that signer waits for one
fetch. All whose fetches end in one turn of the event loop go through the remaining stages as calls
that arrived together do: signatures are checked one after the other, and the replay store is asked
once. So many in a turn; those beyond have the next.

As many may wait as there are places for fetches (certs/places.py). They do not count as calls that
nobody has time for: a stranger's host that lets go of a thousand at once would have everybody else
turned away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from zhenxian.calls.pipeline import A, Asking, Pipeline, Supplied, Waiting

TOGETHER: Final = 16  # calls that go on in one turn of the event loop

_logger = logging.getLogger("zhenxian.calls")
T = TypeVar("T")  # a front end's answer


class Front(Protocol[A, T]):
    """A front end. None of it raises."""

    def resume_all(self, calls: Sequence[Supplied[A]]) -> Sequence[T | Waiting[A] | Asking[A]]:
        """Go on with calls whose fetches ended together."""
        ...

    async def ask_all(self, calls: Sequence[Asking[A]]) -> list[T]:
        """Ask the store that machines share about calls that went on together."""
        ...

    def unfinished(self, asked: A) -> T:
        """The answer where fetching itself failed for no reason that a verdict could tell."""
        ...

    def answered(self) -> None:
        """Count what was observed after answers went out."""
        ...


class Fetches(Generic[A, T]):
    """The verifications of one front end that wait."""

    def __init__(self, pipeline: Pipeline, front: Front[A, T]) -> None:
        self._pipeline = pipeline
        self._front = front
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready: list[tuple[Supplied[A], asyncio.Future[T]]] = []

    def begin(self, waiting: Waiting[A]) -> asyncio.Future[T]:
        """Fetch what a verification waits for, then finish it.

        Returns:
            Its answer, in time. Who awaits it shields it: it is recorded whoever has left.
        """
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._run(self._fetch(waiting, answer), answer)
        return answer

    def _run(self, work: Coroutine[Any, Any, None], *answers: asyncio.Future[T]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if task.cancelled():  # the event loop ends
                for answer in answers:
                    answer.cancel()

        task.add_done_callback(done)

    async def _fetch(self, waiting: Waiting[A], answer: asyncio.Future[T]) -> None:
        try:
            supplied = await self._pipeline.fetch(waiting)
        except Exception:
            _logger.exception("what a verification waits for could not be fetched")
            self._tell(answer, self._front.unfinished(waiting.asked))
            return
        self._ready.append((supplied, answer))
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Go on with those that have waited longest; the others in the next turn."""
        these, self._ready = self._ready[:TOGETHER], self._ready[TOGETHER:]
        loop = asyncio.get_running_loop()
        asking: list[Asking[A]] = []
        asked: list[asyncio.Future[T]] = []
        if self._ready:
            loop.call_soon(self._go_on)
        found: Sequence[T | Waiting[A] | Asking[A]]
        try:
            found = self._front.resume_all([call for call, _ in these])
        except Exception:  # of a group's making: none of it is left without an answer
            _logger.exception("verifications that waited could not go on")
            found = [self._front.unfinished(call.asked) for call, _ in these]
        for (_, answer), each in zip(these, found, strict=True):
            if isinstance(each, Waiting):
                self._run(self._fetch(each, answer), answer)
            elif isinstance(each, Asking):
                asking.append(each)
                asked.append(answer)
            else:
                self._tell(answer, each)
        if asking:
            self._run(self._ask(asking, asked), *asked)
        loop.call_soon(self._front.answered)

    async def _ask(self, calls: Sequence[Asking[A]], answers: Sequence[asyncio.Future[T]]) -> None:
        try:
            found = await self._front.ask_all(calls)
        except Exception:
            _logger.exception("verifications that waited could not be finished")
            found = [self._front.unfinished(call.call.asked) for call in calls]
        for answer, told in zip(answers, found, strict=True):
            self._tell(answer, told)
        asyncio.get_running_loop().call_soon(self._front.answered)

    def _tell(self, answer: asyncio.Future[T], told: T) -> None:
        if not answer.done():
            answer.set_result(told)
