"""What went over the wire at the two phones, by tcpdump: no phone or proxy has to log."""

from __future__ import annotations

import re
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from msgspec import Struct

from bench.machine import BenchError

_SNAP: Final = 4096  # octets kept of a packet
_BUFFER_KIB: Final = 16_384
_RECORD: Final = struct.Struct("=IIII")
_UDP: Final = 14 + 20 + 8  # octets before the payload of a packet on the loopback interface
CALL_ID = re.compile(rb"\r\nCall-ID: *([^\r]+)", re.IGNORECASE)
_VERSTAT = re.compile(rb";verstat=([A-Za-z-]+)")


class Seen(Struct, frozen=True):
    """Calls of one run.

    Attributes:
        milliseconds: from INVITE to 200 of each call that got one, ascending.
        failed: calls that got another final answer, or none.
        unjudged: calls that reached the callee without TN-Validation-Passed.
    """

    milliseconds: list[float]
    failed: int
    unjudged: int


class Capture:
    """tcpdump on the loopback interface: the caller's packets, and INVITEs to the callee.

    Args:
        everything: all that goes by UDP, which costs more.
    """

    def __init__(self, file: Path, caller: str, callee: str, *, everything: bool = False) -> None:
        tool = shutil.which("tcpdump")
        if tool is None:
            raise BenchError("tcpdump is missing: scripts/peers bench-sip")
        self._file, self._caller, self._callee = file, caller, callee
        invite = int.from_bytes(b"INVI", "big")
        wanted = f"udp and (host {caller} or (dst host {callee} and udp[8:4] = {invite:#x}))"
        self._command = [
            tool,
            "-i",
            "lo",
            "-s",
            str(_SNAP),
            "-B",
            str(_BUFFER_KIB),
            "-w",
            str(file),
        ]
        self._command += [
            "-Z",
            "root",
            "-n",
            "-q",
            "--immediate-mode",
            "udp" if everything else wanted,
        ]
        self._log = file.with_suffix(".log")

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 20
        while b"listening on" not in self._log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                raise BenchError(f"tcpdump: {self._log.read_text()[-500:]}")
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.2)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(20)
        report = self._log.read_text()
        if not re.search(r"^0 packets dropped by kernel", report, re.MULTILINE):
            raise BenchError(f"tcpdump lost packets: {report[-300:]}")

    def seen(self) -> Seen:
        """The calls, after the end."""
        caller, callee = (bytes(map(int, a.split("."))) for a in (self._caller, self._callee))
        began: dict[bytes, float] = {}
        ended: dict[bytes, tuple[float, bool]] = {}
        verdicts: dict[bytes, bytes] = {}
        for at, packet in packets(self._file):
            source, target, payload = packet[26:30], packet[30:34], packet[_UDP:]
            found = CALL_ID.search(payload)
            if found is None:
                continue
            call = found[1]
            if payload.startswith(b"INVITE "):
                if source == caller:
                    began.setdefault(call, at)
                elif target == callee:
                    said = _VERSTAT.search(payload)
                    verdicts[call] = said[1] if said else b""
            elif target == caller and b" INVITE\r\n" in payload and payload[8:9] in b"23456":
                ended.setdefault(call, (at, payload[8:11] == b"200"))
        good = {call: at for call, (at, ok) in ended.items() if ok and call in began}
        return Seen(
            sorted((at - began[call]) * 1000 for call, at in good.items()),
            len(began) - len(good),
            sum(verdicts.get(call) != b"TN-Validation-Passed" for call in good),
        )


def packets(file: Path) -> Iterator[tuple[float, bytes]]:
    """Seconds and octets of each packet. Raises BenchError for a capture of another kind."""
    data = file.read_bytes()
    if data[:4] != b"\xd4\xc3\xb2\xa1":
        raise BenchError(f"{file}: not a capture of this machine's kind")
    at = 24
    while at + _RECORD.size <= len(data):
        seconds, micro, kept, _ = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        yield seconds + micro / 1e6, data[at : at + kept]
        at += kept
