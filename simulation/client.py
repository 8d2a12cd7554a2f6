"""A proxy of the demonstration: asks the service to sign and to verify, and tells how calls end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpcore
import msgspec

from zhenxian.api.calls.messages import SIGNING, VERIFICATION

__all__ = ["CALLED", "SIGNING", "VERIFICATION", "Client"]

CALLED: Final = "8613800138000"  # where no other callee is named


class Client:
    """Speaks ATIS-1000082 to the service as a SIP proxy does."""

    def __init__(self, base: str) -> None:
        self.base = base
        self._http = httpcore.ConnectionPool()

    def alive(self) -> bool:
        """True when the service answers."""
        try:
            return self._http.request("GET", f"{self.base}/healthz").status == 200
        except httpcore.NetworkError:
            return False

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def ended(
        self, call: int, talk: tuple[int, int], display: str, callee: str, **whose: str
    ) -> None:
        """Tell how a call ended: of every so many one was answered, for some seconds."""
        every, seconds = talk
        answered = call % every == 0
        over = {**whose, "orig": display, "dest": callee, "answered": answered}
        self.post("/v1/displays/ended", [{**over, "seconds": seconds if answered else 0}])

    def post(
        self, path: str, body: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """One request; the decoded answer."""
        response = self._http.request(
            "POST",
            self.base + path,
            headers={"content-type": "application/json"},
            content=msgspec.json.encode(body),
        )
        decoded: dict[str, Any] = msgspec.json.decode(response.content)
        return decoded

    def sign(
        self, orig: str, attest: str, access: str | None, origid: str, **more: Any
    ) -> dict[str, Any]:
        """Ask for a signature; `more` are further members of the request."""
        request: dict[str, Any] = {
            "attest": attest,
            "orig": {"tn": orig},
            "dest": {"tn": [CALLED]},
            "iat": int(time.time()),
            "origid": origid,
        }
        if access is not None:
            request["access"] = access
        request.update(more)
        return self.post(SIGNING, {"signingRequest": request})

    def verify(
        self, orig: str, identity: str | None, date: int | None = None, callee: str = CALLED
    ) -> dict[str, Any]:
        """Ask for a verdict."""
        request: dict[str, Any] = {
            "from": {"tn": orig},
            "to": {"tn": [callee]},
            "time": int(time.time()) if date is None else date,
        }
        if identity is not None:
            request["identity"] = identity
        answer: dict[str, Any] = self.post(VERIFICATION, {"verificationRequest": request})
        response: dict[str, Any] = answer["verificationResponse"]
        return response
