"""Kamailio asks in JSON, by http_async_client."""

from __future__ import annotations

from sip_e2e.ways import EveryOutage, EveryWay


class TestJson(EveryWay, EveryOutage):
    config = "json.cfg"

    @staticmethod
    def lines(node):
        return {"ZX_SERVICE": node.base}
