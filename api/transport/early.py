"""Answers that begin before the body of their request has come, or that do not come in time."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable

from uvicorn._types import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    ASGISendEvent,
    Scope,
)
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from zhenxian.core.reasons import Reason


def telling(
    app: ASGI3Application,
    cycle: RequestResponseCycle,
    early: Callable[[], bool],
    refusal: Callable[[Reason, tuple[str, ...], bytes, bytes], bytes],
) -> ASGI3Application:
    """The application, with "Connection: close" in an answer that begins early.

    What still comes of the body, for ever perhaps, is for nobody, so that the connection ends
    with the answer (RFC 9112 section 9.6): the peer is told, and the protocol closes when the
    answer can be thought to be read, for which uvicorn would not wait.

    A request that is cancelled, as uvicorn does when the time of a graceful stop is over, gets 503,
    and not uvicorn's 500: it may be sent again, to another node.

    Args:
        refusal: writes the answer for a reason.
    """

    async def application(
        scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        async def tell(message: ASGISendEvent) -> None:
            if message["type"] == "http.response.start" and early():
                message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
                await send(message)
                cycle.keep_alive = True
            else:
                await send(message)

        try:
            await app(scope, receive, tell)
        except CancelledError:
            if not (cycle.response_started or cycle.disconnected):
                url, method = scope["raw_path"], scope["method"].encode()  # type: ignore[typeddict-item]
                cycle.transport.write(refusal(Reason.STOPPING, (), url, method))
            cycle.disconnected = True  # it has had its answer
            cycle.transport.close()

    return application
