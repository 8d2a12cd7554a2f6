"""Take the certificates out of the public collection of SHAKEN certificates, for `pki survey`.

    git clone --mirror https://github.com/martinisecurity/shaken-pki-reports
    python -m scripts.collection shaken-pki-reports.git certificates

Each page of its reports links to a certificate and carries it in the link. Every page that was ever
published counts, in every branch; each certificate is written once, named by its SHA-256.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import unquote

_LINK: Final = re.compile(rb"[?&]cert=([A-Za-z0-9+/%=_-]{100,})")


def certificates(repository: Path) -> Iterator[bytes]:
    """The DER of every certificate that some object of a Git repository links to."""
    command = ["git", "-C", str(repository), "cat-file"]
    command += ["--batch-all-objects", "--batch", "--unordered"]
    seen: set[bytes] = set()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - no shell
        if process.stdout is None:
            raise RuntimeError("no output to read")
        while head := process.stdout.readline().split():
            content = process.stdout.read(int(head[2]) + 1)
            for link in _LINK.findall(content) if head[1] == b"blob" else ():
                if link not in seen:
                    seen.add(link)
                    text = unquote(link.decode()).rstrip("=")
                    yield base64.urlsafe_b64decode(
                        text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4)
                    )
    if process.returncode:
        raise SystemExit(f"{repository}: not a Git repository")


def main(repository: Path, folder: Path) -> int:
    """Write them as PEM files; returns how many."""
    folder.mkdir(parents=True, exist_ok=True)
    written = set()
    for der in certificates(repository):
        name = hashlib.sha256(der).hexdigest()
        if name not in written:
            written.add(name)
            (folder / f"{name}.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    return len(written)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    sys.stdout.write(f"{main(Path(sys.argv[1]), Path(sys.argv[2])):,} certificates\n")
