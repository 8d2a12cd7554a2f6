"""SIPp as caller and callee, and what each of them really sent and received.

A call carries its name before `///` in its Call-ID; SIPp itself goes by what stands behind it.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self

from msgspec import Struct, field

from bench.machine import BenchError
from bench.sip.messages import Logged, Message, logged

PORT: Final = 25_060
CALLER_NUMBER: Final = "+8675588880001"
CALLEE_NUMBER: Final = "+8613800138000"
CALL_SECONDS: Final = 40  # after that SIPp gives a call up
_FINALS: Final = (
    300, 302, 400, 403, 404, 408, 420, 421, 428, 433, 436, 437, 438, 480, 483, 484, 486, 487, 488,
    500, 502, 503, 504, 513, 600, 603, 604, 606, 607, 608,
)  # fmt: skip
_AT_ONCE: Final = 6  # callers that run beside each other

_SDP: Final = """\
v=0
o=user1 53655765 2353687637 IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 22998 RTP/AVP 8
a=rtpmap:8 PCMA/8000
"""

_HEAD: Final = '<?xml version="1.0" encoding="UTF-8" ?>\n<scenario name="{name}">\n'

_IN_DIALOG: Final = """\
  <send{retrans}><![CDATA[
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: {from_};tag=[pid]a[call_number]
To: {to}[peer_tag_param]
Call-ID: {name}///[call_id]
CSeq: {cseq} {method}
Content-Length: 0

]]></send>
"""


class Call(Struct, frozen=True, kw_only=True):
    """A call that a caller makes.

    Attributes:
        name: of ASCII letters, digits, - and .; where the call is looked up.
        from_, to: the header field's value, without tag.
        uri: Request-URI; None takes To's number at the proxy.
        fields: further header fields of the INVITE, complete lines.
        access: which access the switch says that the call came in by; "" says nothing.
        body: after the SDP, to make the INVITE large.
        cancel: milliseconds after which the caller hangs up before an answer.
        talk: milliseconds from answer to BYE.
        again: True sends a re-INVITE in the dialog.
        transport: udp or tcp.
        padding: characters by which the Call-ID is longer than it need be.
    """

    name: str
    from_: str = f"<sip:{CALLER_NUMBER}@a.example>"
    to: str = f"<sip:{CALLEE_NUMBER}@b.example>"
    uri: str | None = None
    fields: tuple[str, ...] = ()
    access: str = "bank-trunk"
    body: str = ""
    cancel: int | None = None
    talk: int = 0
    again: bool = False
    transport: str = "udp"
    padding: int = 0

    @property
    def label(self) -> str:
        """What stands before /// in the Call-ID."""
        return self.name + "~" * self.padding

    def scenario(self) -> str:
        """The call in SIPp's language."""
        uri = self.uri or self.to.partition("<")[2].partition(">")[0]
        access = (f"X-Access: {self.access}",) if self.access else ()
        fields = "\n".join((*access, *self.fields))
        parts = {"name": self.label, "from_": self.from_, "to": self.to}
        finals = "".join(
            f'  <recv response="{code}" optional="true" next="9"/>\n' for code in _FINALS
        )
        text = _HEAD.format(name=self.name)
        text += f"""\
  <send retrans="500"><![CDATA[
INVITE {uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: {self.from_};tag=[pid]a[call_number]
To: {self.to}
Call-ID: {self.label}///[call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port];transport=[transport]>
{fields or "Supported: replaces"}
Content-Type: application/sdp
Content-Length: [len]

{_SDP}{self.body}
]]></send>
"""
        if self.cancel is not None:
            return text + self._cancelled()
        text += (
            '  <recv response="100" optional="true"/>\n  <recv response="180" optional="true"/>\n'
        )
        text += finals + '  <recv response="200" rrs="true"/>\n'
        text += _IN_DIALOG.format(retrans="", method="ACK", cseq=1, **parts)
        cseq = 2
        if self.again:
            text += _IN_DIALOG.format(retrans=' retrans="500"', method="INVITE", cseq=2, **parts)
            text += '  <recv response="100" optional="true"/>\n  <recv response="200"/>\n'
            text += _IN_DIALOG.format(retrans="", method="ACK", cseq=2, **parts)
            cseq = 3
        text += f'  <pause milliseconds="{self.talk}"/>\n' if self.talk else ""
        text += _IN_DIALOG.format(retrans=' retrans="500"', method="BYE", cseq=cseq, **parts)
        text += '  <recv response="200"/>\n  <nop next="10"/>\n'
        return (
            text
            + '  <label id="9"/>\n'
            + self._ack()
            + '  <label id="10"/>\n  <nop/>\n</scenario>\n'
        )

    def _ack(self) -> str:
        return f"""\
  <send><![CDATA[
ACK {self.uri or self.to.partition("<")[2].partition(">")[0]} SIP/2.0
[last_Via:]
Max-Forwards: 70
From: {self.from_};tag=[pid]a[call_number]
[last_To:]
Call-ID: {self.label}///[call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
"""

    def _cancelled(self) -> str:
        cancel = self._ack().replace("ACK", "CANCEL").replace("[last_To:]", f"To: {self.to}")
        return (
            '  <recv response="100"/>\n'
            f'  <pause milliseconds="{self.cancel}"/>\n{cancel}'
            '  <recv response="180" optional="true"/>\n  <recv response="200"/>\n'
            f'  <recv response="487"/>\n{self._ack()}</scenario>\n'
        )


class Outcome(Struct, frozen=True):
    """What the caller got.

    Attributes:
        answers: to the INVITE, in order, without 100.
        sent: the INVITE as it left the caller.
        milliseconds: from INVITE to its final answer.
    """

    answers: list[Message] = field(default_factory=list)
    sent: Message | None = None
    milliseconds: float | None = None

    @property
    def final(self) -> Message:
        """The final answer to the INVITE. Raises LookupError where there was none."""
        for answer in self.answers:
            if (answer.status or 0) >= 200:
                return answer
        raise LookupError("the call got no final answer")

    @property
    def ringing(self) -> Message | None:
        """The 180."""
        return next((a for a in self.answers if a.status == 180), None)


class Caller:
    """Makes calls from one address through one proxy.

    Attributes:
        last: what came of the call made last.
    """

    def __init__(self, folder: Path, address: str, proxy: str) -> None:
        self._folder = folder
        self._address = address
        self._proxy = proxy
        self.last = Outcome()
        folder.mkdir(parents=True, exist_ok=True)

    def call(self, call: Call) -> Outcome:
        """One call, to its end. Raises BenchError when SIPp got something that no call is."""
        stem = self._folder / call.name
        scenario, log = stem.with_suffix(".xml"), stem.with_suffix(".log")
        scenario.write_text(call.scenario(), "utf-8")
        command = ["sipp", f"{self._proxy}:{PORT}", "-sf", str(scenario), "-i", self._address]
        command += [
            "-m",
            "1",
            "-nostdin",
            "-pause_msg_ign",
            "-timeout",
            str(CALL_SECONDS),
            "-trace_msg",
        ]
        command += ["-message_file", str(log), "-t", "t1" if call.transport == "tcp" else "u1"]
        command += ["-trace_err", "-error_file", str(stem.with_suffix(".err"))]
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=CALL_SECONDS + 20,
            check=False, cwd=self._folder,
        )  # fmt: skip
        outcome = _outcome(log.read_bytes() if log.exists() else b"")
        if ended.returncode not in (0, 1):
            raise BenchError(
                f"sipp, {call.name}: {ended.returncode}: {ended.stderr.decode()[-800:]}"
            )
        if ended.returncode == 1 and not outcome.answers:
            raise BenchError(f"{call.name}: no answer")
        self.last = outcome
        return outcome

    def calls(self, calls: Iterable[Call]) -> dict[str, Outcome]:
        """Several calls beside each other, by name."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            made = list(calls)
            return dict(zip((c.name for c in made), pool.map(self.call, made), strict=True))


def _outcome(log: bytes) -> Outcome:
    answers, sent, began, ended = [], None, 0.0, 0.0
    for received, message, at in logged(log):
        if not received and message.method == "INVITE" and sent is None:
            sent, began = message, at
        if not (received and message.method == "INVITE" and message.one("cseq") == "1 INVITE"):
            continue
        if message.status != 100:
            answers.append(message)
            ended = ended or (at if (message.status or 0) >= 200 else 0.0)
    return Outcome(answers, sent, (ended - began) * 1000 if ended else None)


_ANSWER: Final = """\
SIP/2.0 {code}
[last_Via:]
[last_From:]
[last_To:]{tag}
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:callee@[local_ip]:[local_port];transport=[transport]>
{rest}
"""
_TAG: Final = ";tag=[pid]b[call_number]"
_EMPTY: Final = "Content-Length: 0\n"


def _answer(code: str, *, tag: str = _TAG, rest: str = _EMPTY, retrans: bool = False) -> str:
    again = ' retrans="500"' if retrans else ""
    return f"  <send{again}><![CDATA[\n{_ANSWER.format(code=code, tag=tag, rest=rest)}]]></send>\n"


def answering() -> str:
    """A callee that rings, answers, takes re-INVITEs and the BYE; busy to calls named so."""
    sdp = f"Content-Type: application/sdp\nContent-Length: [len]\n\n{_SDP}"
    return (
        _HEAD.format(name="answering")
        + '  <recv request="INVITE" rrs="true" next="20" test="1">\n    <action>\n'
        + '      <ereg regexp="^ *busy" search_in="hdr" header="Call-ID:" assign_to="1"/>\n'
        + "    </action>\n  </recv>\n"
        + _answer("180 Ringing")
        + _answer("200 OK", rest=sdp, retrans=True)
        + '  <recv request="ACK"/>\n  <label id="1"/>\n'
        + '  <recv request="INVITE" optional="true" next="2" rrs="true"/>\n'
        + '  <recv request="BYE"/>\n'
        + _answer("200 OK", tag="")
        + '  <nop next="9"/>\n  <label id="2"/>\n'
        + _answer("200 OK", tag="", retrans=True)
        + '  <recv request="ACK" next="1"/>\n  <label id="20"/>\n'
        + _answer("486 Busy Here", retrans=True)
        + '  <recv request="ACK"/>\n  <label id="9"/>\n  <nop/>\n</scenario>\n'
    )


def ringing() -> str:
    """A callee that rings until the call is cancelled."""
    return (
        _HEAD.format(name="ringing")
        + '  <recv request="INVITE" rrs="true"/>\n'
        + _answer("180 Ringing")
        + '  <recv request="CANCEL"/>\n'
        + _answer("200 OK")
        + _answer("487 Request Terminated\nCSeq: 1 INVITE", retrans=True).replace(
            "[last_CSeq:]\n", ""
        )
        + '  <recv request="ACK"/>\n</scenario>\n'
    )


class Callee:
    """SIPp that waits for calls on one address."""

    def __init__(
        self,
        folder: Path,
        address: str,
        scenario: str,
        transports: Sequence[str] = ("u1", "t1"),
        *,
        traced: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "callee.log"
        (folder / "callee.xml").write_text(scenario, "utf-8")
        self._commands = []
        for transport in transports:
            command = ["sipp", "-sf", str(folder / "callee.xml"), "-i", address, "-p", str(PORT)]
            command += ["-nostdin", "-t", transport, "-deadcall_wait", "0"]
            if traced:
                command += ["-trace_msg", "-message_overwrite", "false"]
                command += ["-message_file", str(self._file(transport))]
            self._commands.append(command)
        self._folder = folder
        self.address = address
        self._processes: list[subprocess.Popen[bytes]] = []

    def _file(self, transport: str) -> Path:
        return self._log.with_suffix(f".{transport}.log")

    def __enter__(self) -> Self:
        for command in self._commands:
            with (self._folder / "callee.out").open("ab") as output:
                self._processes.append(
                    subprocess.Popen(
                        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                        stderr=output, cwd=self._folder,
                    )
                )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def check(self) -> None:
        """Raises BenchError when it ended by itself."""
        for process in self._processes:
            if process.poll() is not None:
                raise BenchError(
                    f"callee ended: {(self._folder / 'callee.out').read_text()[-500:]}"
                )

    def messages(self) -> list[Logged]:
        """Everything so far; True where it was received."""
        files = (self._file(transport) for transport in ("u1", "t1"))
        return [m for file in files if file.exists() for m in logged(file.read_bytes())]

    def invites(self, name: str) -> list[Message]:
        """The INVITEs of a call as the callee got them; retransmissions count once."""
        found: dict[str, Message] = {}
        for received, message, _ in self.messages():
            if received and message.first.startswith("INVITE ") and message.call == name:
                branch = (message.all("via") or [""])[0]
                found.setdefault(f"{branch} {message.one('cseq')}", message)
        return list(found.values())

    def invite(self, name: str) -> Message | None:
        """The only INVITE of a call; None where it never arrived."""
        found = self.invites(name)
        if len(found) > 1:
            raise BenchError(f"{name} arrived {len(found)} times")
        return found[0] if found else None


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Wait until something holds; False when it did not in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class LoadResult(Struct, frozen=True):
    """What came of a load.

    Attributes:
        calls: how many were made.
        unexpected: final answers that are not 200, by status line, and calls without any, as "".
        verdicts: verstats that the callee saw, by value; "" for none.
    """

    calls: int
    unexpected: dict[str, int]
    verdicts: dict[str, int]


class Load:
    """Equal calls at a steady rate.

    Args:
        rate: calls a second.
    """

    def __init__(
        self, folder: Path, address: str, proxy: str, callee: Callee, *, rate: int, seconds: int
    ) -> None:
        self._folder, self._address, self._proxy, self._callee = folder, address, proxy, callee
        self._rate, self._seconds = rate, seconds

    def run(self, call: Call) -> LoadResult:
        """Make them all, each looked at on both ends."""
        scenario, log = self._folder / f"{call.name}.xml", self._folder / f"{call.name}.log"
        scenario.write_text(call.scenario(), "utf-8")
        count = self._rate * self._seconds
        command = ["sipp", f"{self._proxy}:{PORT}", "-sf", str(scenario), "-i", self._address]
        command += ["-r", str(self._rate), "-m", str(count), "-l", str(count), "-nostdin"]
        command += ["-timeout", str(self._seconds + CALL_SECONDS), "-trace_msg"]
        command += ["-message_file", str(log), "-p", str(PORT)]
        # Calls that never end are counted below.
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, check=False,
                timeout=self._seconds + CALL_SECONDS + 20, cwd=self._folder,
            )  # fmt: skip
        finals: dict[str, str] = {}
        for received, message, _ in logged(log.read_bytes()):
            call_id = message.one("call-id") or ""
            if not received and message.status is None and message.method == "INVITE":
                finals.setdefault(call_id, "")
            elif received and message.method == "INVITE" and (message.status or 0) >= 200:
                finals[call_id] = finals.get(call_id) or message.first
        missing = count - len(finals)
        unexpected = Counter(first for first in finals.values() if first != "SIP/2.0 200 OK")
        unexpected.update({"": missing} if missing else {})
        verdicts = Counter(verstat(invite) for invite in self._callee.invites(call.name))
        return LoadResult(count, dict(unexpected), dict(verdicts))


def verstat(invite: Message) -> str:
    """The verstat in P-Asserted-Identity, "" where there is none."""
    return next(
        (v.partition("verstat=")[2].rstrip(">") for v in invite.all("p-asserted-identity")), ""
    )
