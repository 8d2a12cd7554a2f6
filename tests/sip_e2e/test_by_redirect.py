"""Kamailio asks by SIP, with what stock Debian has."""

from __future__ import annotations

from sip_e2e.ways import EveryOutage, EveryWay, arrives

from bench.sip.phones import until
from bench.sip.scenarios import NONE, Expected


class TestRedirect(EveryWay, EveryOutage):
    config = "redirect.cfg"

    @staticmethod
    def lines(node):
        where = f"sip:{node.redirect}"
        return {"ZX_SIGNING": where, "ZX_VERIFYING": where}

    def test_a_service_that_is_away_and_comes_back(self, stage, hurried):
        with stage.signing.away():
            arrives(hurried, "no-signing", Expected(verstat=NONE, identities=0))
        with stage.verifying.away():
            arrives(hurried, "no-verifying", Expected(verstat=NONE))
        assert until(lambda: self.verifies_again(hurried, "restarted"))
