"""Addresses of hosts that strangers name, by the system's resolver.

It blocks whoever asks it, and a name server that never answers blocks for ten seconds or many
more, as the machine's settings have it. So it is asked in threads that neither the event loop's
other work nor the end of the process waits for. Hosts that are known have threads of their own; of
the others one domain has few, and a single one while it is known to be slow.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Final

from zhenxian.certs.places import SLOW_AFTER, SLOW_FOR, site_of

THREADS: Final = 32  # for strangers, and half as many for hosts that are known
OF_SITE: Final = 4  # of these, for one stranger's domain
_MAX_SLOW: Final = 4096  # domains


class _Threads:
    """Threads that end with the process, whatever they do. For one event loop."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._begun = 0
        self._busy = 0
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def start(self, count: int) -> None:
        """Have so many run. Raises RuntimeError when the machine gives no more."""
        while self._begun < count:
            name = f"{self._name}-{self._begun}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
            self._begun += 1

    def ask(self, host: str, port: int, done: Callable[[], None]) -> asyncio.Future[Sequence[str]]:
        """Look a host up; `done` is called when the thread is free again.

        Raises:
            OSError: there is no thread, and none can be started.
        """
        try:
            self.start(min(self._busy + 1, self._most))
        except RuntimeError:
            if not self._begun:
                raise OSError("no thread can be started") from None
        self._busy += 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def told(found: Sequence[str] | Exception) -> None:
            self._busy -= 1
            done()
            if answer.done():
                return  # who asked has gone
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found: Sequence[str] | Exception = ()
            try:
                if answer.cancelled():  # while it waited for a thread
                    return
                entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                found = [str(address[0]) for *_, address in entries]
            except Exception as error:  # noqa: BLE001  whoever asked has it; the thread goes on
                found = error
            finally:
                with suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(told, found)

        self._work.put(look_up)
        return answer

    def end(self) -> None:
        """Have each end after what it does; nobody waits for that."""
        for _ in range(self._begun):
            self._work.put(None)
        self._begun = 0

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class SystemResolver:
    """getaddrinfo, for one event loop.

    Attributes:
        known: whether a host is; under a certificate of such a one a signature has verified.
    """

    def __init__(self, threads: int = THREADS) -> None:
        self.known: Callable[[str], bool] = lambda _: False
        self._of_strangers = _Threads("resolver", threads)
        self._of_known = _Threads("resolver-known", max(1, threads // 2))
        self._busy: Counter[str] = Counter()  # threads, by domain
        self._slow: OrderedDict[str, float] = OrderedDict()  # domains, and until when
        self._turns: dict[str, list[asyncio.Future[None]]] = {}

    def start(self) -> None:
        """Have a few threads before they are needed. Raises RuntimeError."""
        self._of_strangers.start(2)
        self._of_known.start(1)

    def close(self) -> None:
        """Let go of the threads."""
        self._of_strangers.end()
        self._of_known.end()

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The host's addresses.

        Raises:
            OSError: it has none, or there is no thread to ask in.
            UnicodeError: it is no name.
        """
        if self.known(host):
            return await self._of_known.ask(host, port, lambda: None)
        site = site_of(host)
        await self._turn(site)
        began = time.monotonic()
        self._busy[site] += 1
        try:
            answer = self._of_strangers.ask(host, port, lambda: self._free(site, began))
        except OSError:
            self._free(site, began)
            raise
        return await answer

    async def _turn(self, site: str) -> None:
        """Wait until the domain may have a thread."""
        while self._busy[site] >= (1 if self._is_slow(site) else OF_SITE):
            turn = asyncio.get_running_loop().create_future()
            self._turns.setdefault(site, []).append(turn)
            await turn

    def _free(self, site: str, began: float) -> None:
        now = time.monotonic()
        self._busy[site] -= 1
        if not self._busy[site]:
            del self._busy[site]
        if now - began >= SLOW_AFTER:
            self._slow[site] = now + SLOW_FOR
            self._slow.move_to_end(site)
            if len(self._slow) > _MAX_SLOW:
                self._slow.popitem(last=False)
        for turn in self._turns.pop(site, ()):
            if not turn.done():  # it looks again
                turn.set_result(None)

    def _is_slow(self, site: str) -> bool:
        return time.monotonic() < self._slow.get(site, 0.0)
