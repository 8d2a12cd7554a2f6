"""How administration reads a JSON body: as the calls do, refusing what two readers read apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from zhenxian.core.errors import ParseError
from zhenxian.core.pace import Pace
from zhenxian.core.reasons import Reason
from zhenxian.passport.json import loads_plain

_MUCH: Final = 16_384  # octets; reading more takes longer than a call may wait


class _PlainRequest(Request):
    """A request in whose body no member stands twice in one object."""

    async def json(self) -> Any:
        """The body's value. Raises HTTPException: 400 for no JSON, 422 for a member twice."""
        body = await self.body()
        try:
            if len(body) > _MUCH:
                pace = Pace(time.perf_counter, time.sleep)
                return await asyncio.to_thread(loads_plain, body, pace)
            return loads_plain(body)
        except ParseError as error:
            if error.reason is Reason.JSON_DUPLICATE_KEY:
                raise HTTPException(422, f"{error.where}: it stands twice in one object") from None
            raise HTTPException(400, f"body: {error.detail}") from None


class PlainRoute(APIRoute):
    """The class of every route that takes a JSON body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given such a request."""
        handle = super().get_route_handler()

        async def plain(request: Request) -> Response:
            return await handle(_PlainRequest(request.scope, request.receive))

        return plain
