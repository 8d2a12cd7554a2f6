"""A service that asks for keys, and one whose TLS certificate nobody vouches for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from sip_e2e.ways import PATIENT, PLENTY, arrives

from bench.sip.scenarios import NONE, Expected
from bench.sip.stage import Line, Node


def test_keys_and_tls(stage, tmp_path):
    keys = tmp_path / "keys.toml"
    made = subprocess.run(
        [sys.executable, "-m", "zhenxian", "key", "add", keys, "--name", "sbc", "--role", "proxy"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    key = max(re.findall(r"[A-Za-z0-9._~-]{20,}", made.stdout), key=len)
    settings = {
        "auth__keys": str(keys), "signer__publish_base": stage.certificates.base,
    }  # fmt: skip
    shutil.copytree(stage.folder / "signing" / "pki", tmp_path / "secure" / "pki")
    node = Node(tmp_path, "secure", "originating", settings)
    node.start()
    try:
        stranger = stage.certificates.base  # https, and no CA of this system issued its certificate
        unsigned = Expected(verstat=NONE, identities=0)
        for name, where, shown, expected in (
            ("key", node.base, key, Expected(attest="A")),
            ("wrong-key", node.base, "wrong", unsigned),
            ("untrusted", stranger, key, unsigned),
        ):
            lines = {"ZX_LARGEST": PLENTY, "ZX_TIMEOUT": PATIENT}
            with Line(
                stage, f"secure-{name}", "json.cfg", lines | {"ZX_SERVICE": where, "ZX_KEY": shown},
                lines | {"ZX_SERVICE": stage.verifying.base},
            ) as line:  # fmt: skip
                arrives(line, name, expected)
        assert stage.certificates.asked.count("/stir/v1/signing") == 0
    finally:
        node.stop()
    assert key not in node.logged()
