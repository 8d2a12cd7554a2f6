"""Kamailio from Debian with the files of deploy/, of which two lines are changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from bench.machine import BenchError, Service
from bench.sip.phones import PORT

ROOT: Final = Path(__file__).resolve().parent.parent.parent
DEPLOY: Final = ROOT / "deploy" / "kamailio"
ALONE: Final = "../../bench/sip/alone.cfg"
# Where scripts/peers puts the module that Debian 12's packages lack.
BUILT: Final = ROOT / "build" / "kamailio"


def module_path() -> str:
    """Where Kamailio's modules are. Raises BenchError when there are none."""
    found = sorted(Path("/usr/lib").glob("*/kamailio/modules"))
    if not found:
        raise BenchError("kamailio is missing: scripts/peers test")
    return f"{found[0]}:{BUILT}"


def changed(text: str, lines: Mapping[str, str]) -> str:
    """A file of deploy/ with the named definitions changed, as an engineer changes them.

    Raises:
        BenchError: a line is not there, or the value is not of its form.
    """
    for name, value in lines.items():
        for pattern, put in (
            (rf'^#!substdef "!{name}!.*!g"$', f'#!substdef "!{name}!{value}!g"'),
            (rf"^#+!define {name}( .*)?$", f"#!define {name} {value}".rstrip()),
        ):
            text, count = re.subn(pattern, lambda _, put=put: put, text, flags=re.MULTILINE)
            if count:
                break
        else:
            raise BenchError(f"no line defines {name}")
    return text


class Proxy:
    """One proxy on one address."""

    address: str
    log: Path
    service: Service

    def __enter__(self) -> Self:
        self.service.start(self.log, lambda: speaks(self.address))
        return self

    def __exit__(self, *_: object) -> None:
        self.service.stop()

    def said(self) -> str:
        """Its log so far."""
        return self.log.read_text("utf-8", "replace")


class Kamailio(Proxy):
    """Kamailio with a file of deploy/kamailio, and those beside it that it takes up."""

    def __init__(
        self,
        folder: Path,
        address: str,
        config: Path,
        lines: Mapping[str, str],
        *,
        beside: Mapping[str, Mapping[str, str]] | None = None,
        children: int = 4,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        folder.mkdir(parents=True)
        self.address = address
        self.log = folder / "kamailio.log"
        path = folder / "kamailio.cfg"
        text = changed(config.read_text("utf-8"), lines)
        path.write_text(
            re.sub(r"^(tcp_)?children=\d+$", rf"\g<1>children={children}", text, flags=re.MULTILINE)
        )
        for name, own in (beside or {}).items():
            (folder / name).write_text(changed((DEPLOY / name).read_text("utf-8"), own), "utf-8")
        if shutil.which("kamailio") is None:
            raise BenchError("kamailio is missing: scripts/peers test")
        command = [
            shutil.which("kamailio") or "", "-f", str(path), "-L", module_path(), "-DD", "-E",
            "-Y", str(folder), "-w", str(folder),
            "-l", f"udp:{address}:{PORT}", "-l", f"tcp:{address}:{PORT}",
        ]  # fmt: skip
        self.service = Service(
            f"kamailio {address}", PORT, core=None, command=command, environment=environment
        )


class OpenSips(Proxy):
    """OpenSIPS with the file of deploy/opensips, where it is installed."""

    def __init__(self, folder: Path, address: str, config: Path, lines: Mapping[str, str]) -> None:
        folder.mkdir(parents=True)
        self.address, self.log = address, folder / "opensips.log"
        tool = shutil.which("opensips")
        if tool is None:
            raise BenchError("opensips is not installed")
        text = config.read_text("utf-8").replace("0.0.0.0:5060", f"{address}:{PORT}")
        for name in ("inside", "outside", "signing", "verifying"):
            value = lines[f"ZX_{name.upper()}"]
            value = value.removeprefix("sip:") if name.endswith("side") else value
            text, count = re.subn(rf'(\$avp\({name}\) = )".*"', rf'\g<1>"{value}"', text)
            if count != 1:
                raise BenchError(f"no line sets {name}")
        modules = os.environ.get("OPENSIPS_MODULES")
        text = text.replace("log_level=3", "log_level=3\nstderror_enabled=yes\nsyslog_enabled=no")
        text = text if modules is None else f'mpath="{modules}/"\n{text}'
        path = folder / "opensips.cfg"
        path.write_text(text, "utf-8")
        command = [tool, "-f", str(path), "-F", "-w", str(folder)]
        self.service = Service(f"opensips {address}", PORT, core=None, command=command)


def speaks(address: str, port: int = PORT) -> bool:
    """True when OPTIONS is answered."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        probe.settimeout(0.3)
        here = probe.getsockname()[1]
        text = (
            f"OPTIONS sip:{address}:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{here};"
            f"branch=z9hG4bK{time.monotonic_ns()}\r\nMax-Forwards: 5\r\nFrom: <sip:p@127.0.0.1>;"
            f"tag=p\r\nTo: <sip:{address}>\r\nCall-ID: {time.monotonic_ns()}@probe\r\n"
            "CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
        try:
            probe.sendto(text.encode(), (address, port))
            return probe.recv(65_535).startswith(b"SIP/2.0 ")
        except OSError:
            return False
