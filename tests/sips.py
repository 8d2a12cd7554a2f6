"""SIP requests as tests write them, and a redirect service that is asked without a network."""

from __future__ import annotations

import asyncio
import itertools

from msgspec.structs import replace

from zhenxian.certs.chain import parse_chain
from zhenxian.simulation.demo import BANK, CALLEE
from zhenxian.sip.access import AccessRules, Trunk, networks
from zhenxian.sip.admission import Door
from zhenxian.sip.redirect import Peer, Redirector
from zhenxian.sip.responses import Origin, Redirection

_numbers = itertools.count(1)


def invite(
    *lines,
    method="INVITE",
    uri=f"sip:+{CALLEE}@b.example",
    caller=f'"Bank" <sip:+{BANK}@a.example>',
    called=f"<sip:+{CALLEE}@b.example>",
    branch=None,
    call_id=None,
    cseq="1",
    tag="a1",
    via="SIP/2.0/UDP 192.0.2.1:5060",
    body="",
):
    """A request; each call of it makes a new transaction of a new call unless told otherwise."""
    number = next(_numbers)
    head = [
        f"{method} {uri} SIP/2.0",
        f"Via: {via};branch={branch or f'z9hG4bK{number}'}",
        "Max-Forwards: 70",
        f"From: {caller};tag={tag}",
        f"To: {called}",
        f"Call-ID: {call_id or f'call{number}@a.example'}",
        f"CSeq: {cseq} {method}",
        *lines,
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*head, "", body]).encode()


class Reply:
    """A response as it came."""

    def __init__(self, data, port=0):
        head, _, self.body = data.decode("utf-8", "replace").partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        self.data = data
        self.port = port
        self.code = int(status.split(" ")[1])
        self.phrase = status.split(" ", 2)[2]
        self.fields = [tuple(line.partition(": ")[::2]) for line in lines]

    def __getitem__(self, name):
        """The one value of a field; None for none."""
        found = self.all(name)
        assert len(found) < 2, found
        return found[0] if found else None

    def all(self, name):
        return [value for known, value in self.fields if known == name]


class Clock:
    """A timer that stands until it is moved."""

    def __init__(self):
        self.now = 1_000.0

    def __call__(self):
        return self.now


class Line:
    """A redirect service, and somebody who talks to it."""

    def __init__(
        self, service, *, trunk="bank-trunk", door=None, redirection=None, loop=None, **more
    ):
        self.clock = Clock()
        trunks = (Trunk(access=trunk, source=networks(("192.0.2.0/24",))[0]),) if trunk else ()
        self.redirector = Redirector(
            service.sip,
            door or Door(AccessRules(trunks=trunks), timer=self.clock),
            redirection or Redirection(),
            timer=self.clock,
            **more,
        )
        self.replies = []
        self._run = asyncio.run if loop is None else loop.run_until_complete

    def send(self, *messages, signing=True, host="192.0.2.1", port=5060, reliable=False):
        """Send messages together; what comes back within the turn, or when nothing waits more."""
        return self._run(self._exchange(messages, signing, host, port, reliable))

    async def _exchange(self, messages, signing, host, port, reliable):
        start = len(self.replies)
        for data in messages:
            peer = self.peer(signing=signing, host=host, port=port, reliable=reliable)
            self.redirector.received(data, peer)
        await asyncio.sleep(0)
        await self.redirector.close()
        await asyncio.sleep(0)
        return self.replies[start:]

    def peer(self, *, signing, host="192.0.2.1", port=5060, reliable=False):
        origin = Origin(host, port, "udp")
        return Peer(origin=origin, send=self._taken, port=port, reliable=reliable, signing=signing)

    def _taken(self, octets, port):
        self.replies.append(Reply(octets, port))

    def ask(self, *lines, signing=True, **more):
        """One INVITE, and its answer."""
        sent = {name: more.pop(name) for name in ("host", "port", "reliable") if name in more}
        (reply,) = self.send(invite(*lines, **more), signing=signing, **sent)
        return reply


class Chains:
    """Serves the service's own chain for every address."""

    def __init__(self, service):
        self._chain = parse_chain(service.keys.current.chain_pem)
        self.open = asyncio.Event()
        self.open.set()

    async def get(self, x5u):
        await self.open.wait()
        return self._chain


def with_chains(service):
    service.pipeline.verifying = replace(service.pipeline.verifying, repository=Chains(service))
    return service
