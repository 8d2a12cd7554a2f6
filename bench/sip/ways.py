"""The ways a proxy can ask: files of deploy/, and the lines of them that are changed."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from bench.sip.proxies import ALONE
from bench.sip.stage import Line, Node, Stage
from zhenxian.simulation.demo import NORTH

LOOPBACK_LARGEST: Final = "65000"  # octets a datagram of the loopback network takes


class Way(Struct, frozen=True):
    """One way.

    Attributes:
        title: what it is called in tables.
        file: below deploy/kamailio.
    """

    title: str
    file: str

    def lines(self, node: Node) -> dict[str, str]:
        """The lines that say where a service is."""
        if self in (REDIRECT, OPENSIPS):
            where = f"sip:{node.redirect}"
            return {"ZX_SIGNING": where, "ZX_VERIFYING": where}
        return {"ZX_SERVICE": node.base}

    def line(self, stage: Stage, name: str, *, bare: bool = False, **changed: str) -> Line:
        """Both proxies, with further lines changed."""
        more = {"ZX_LARGEST": LOOPBACK_LARGEST} | changed
        if self.file == ALONE:
            return Line(stage, name, self.file, more, more, bare=bare)
        if self.file == "secsipid.cfg":
            own = stage.secsipid(NORTH) | more
            environment = {"SSL_CERT_FILE": str(stage.certificates.ca_file)}
            return Line(stage, name, self.file, own, own, environment=environment, bare=bare)
        return Line(
            stage, name, self.file, self.lines(stage.signing) | more,
            self.lines(stage.verifying) | more, bare=bare,
        )  # fmt: skip


REDIRECT: Final = Way("SIP redirect", "redirect.cfg")
INVITE: Final = Way("INVITE over HTTP", "invite.cfg")
JSON: Final = Way("JSON over HTTP", "json.cfg")
SECSIPID: Final = Way("secsipid module", "secsipid.cfg")
OPENSIPS: Final = Way("SIP redirect, OpenSIPS", "../opensips/opensips.cfg")
OURS: Final = {"redirect": REDIRECT, "invite": INVITE, "json": JSON, "opensips": OPENSIPS}
