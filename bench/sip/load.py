"""SIPp as a load that keeps no messages."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

from bench.machine import BenchError, choose_cores, pinned
from bench.sip.phones import CALL_SECONDS, CALLEE_NUMBER, CALLER_NUMBER, PORT, Call
from bench.sip.stage import Line, Node, Stage

LOAD_PATIENCE: Final = 3  # seconds; a call that takes longer is one that did not hold
_STEP: Final = 1.2
_FIRST: Final = 500
_MOST: Final = 6000


class Generator:
    """Calls at a steady rate through both proxies; who looks is the capture."""

    def __init__(self, line: Line, *, rate: int) -> None:
        self._line, self._rate = line, rate

    def run(self, name: str, count: int, patience: int = CALL_SECONDS) -> None:
        """Make that many calls; raises BenchError when SIPp cannot be used.

        Args:
            patience: seconds for which calls that are not over yet are waited for at the end.
        """
        at = self._line.at
        folder = self._line.folder
        scenario = folder / f"{name}.xml"
        scenario.write_text(Call(name=name).scenario(), "utf-8")
        sipp(
            folder, scenario, f"{at.originating}:{PORT}", at.caller,
            rate=self._rate, count=count, patience=patience,
        )  # fmt: skip


def sipp(
    folder: Path, scenario: Path, target: str, address: str, *, rate: int, count: int,
    core: int | None = None, patience: int = CALL_SECONDS,
) -> int:  # fmt: skip
    """Run it: calls that did not go as the scenario says; all of them if it does not end."""
    command = ["sipp", target, "-sf", str(scenario), "-i", address, "-p", str(PORT)]
    command += ["-r", str(rate), "-m", str(count), "-l", str(count), "-nostdin"]
    command += ["-timeout", str(count // rate + patience), "-buff_size", "4194304"]
    command += ["-trace_stat", "-stf", str(folder / "stat.csv"), "-fd", "3600"]
    if core is not None:
        command = pinned(core, command)
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=folder,
            timeout=count // rate + patience + (30 if patience == CALL_SECONDS else 1),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return count
    if ended.returncode not in (0, 1):
        raise BenchError(f"sipp: {ended.returncode}: {ended.stderr.decode()[-500:]}")
    names, *_, last = (folder / "stat.csv").read_text().splitlines()
    counts = dict(zip(names.split(";"), last.split(";"), strict=False))
    return count - int(counts["SuccessfulCall(C)"])


_REDIRECTED: Final = f"""\
<?xml version="1.0" encoding="UTF-8" ?>
<scenario name="redirected">
  <send retrans="500"><![CDATA[
INVITE sip:{CALLEE_NUMBER}@b.example SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:{CALLER_NUMBER}@a.example>;tag=[call_number]
To: <sip:{CALLEE_NUMBER}@b.example>
Call-ID: [call_id]
CSeq: 1 INVITE
Contact: <sip:caller@[local_ip]:[local_port]>
X-Access: bank-trunk
Content-Length: 0

]]></send>
  <recv response="302"/>
  <send><![CDATA[
ACK sip:{CALLEE_NUMBER}@b.example SIP/2.0
[last_Via:]
Max-Forwards: 70
From: <sip:{CALLER_NUMBER}@a.example>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: 1 ACK
Content-Length: 0

]]></send>
</scenario>
"""


def originating_rate(stage: Stage, seconds: int) -> int:
    """INVITEs a second that the redirect service signs on one core without loss."""
    cores = choose_cores()
    node: Node = stage.signing
    node.stop()
    node.start(core=cores.server)
    scenario = stage.folder / "redirected.xml"
    scenario.write_text(_REDIRECTED, "utf-8")
    reached, rate = 0, _FIRST
    while rate <= _MOST:
        lost = sipp(
            stage.folder, scenario, node.redirect, "127.0.0.1", rate=rate, count=rate * seconds,
            core=cores.load, patience=LOAD_PATIENCE,
        )  # fmt: skip
        if lost:
            break
        reached, rate = rate, int(rate * _STEP)
    return reached
