"""Kamailio asks with the INVITE as it came, over HTTP."""

from __future__ import annotations

from sip_e2e.ways import EveryWay


class TestInvite(EveryWay):
    config = "invite.cfg"
    rate = 60

    @staticmethod
    def lines(node):
        return {"ZX_SERVICE": node.base}
