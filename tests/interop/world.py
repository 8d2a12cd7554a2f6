"""A carrier whose files both we and the peers read, its chain on loopback."""

from __future__ import annotations

import time

from zhenxian.certs import ca
from zhenxian.certs.keys import load_credential


class World:
    spc = "1234"

    def __init__(self, folder, files):
        now = int(time.time())
        made = ca.create_development_pki(folder / "pki", {self.spc: "Interop"}, now=now)
        self.key, self.chain = made.carriers[self.spc]
        self.root, self.intermediate = made.root, made.intermediate
        self.crl_issuers = made.crl_issuers
        self.crl = next(made.crl_folder.iterdir())
        (files.folder / "chain.pem").write_bytes(self.chain.read_bytes())
        self.x5u = f"{files.base}/chain.pem"
        self.credential = load_credential(self.key, self.chain, x5u=self.x5u)

    def stranger_root(self) -> bytes:
        """Another root than the one the chain leads to."""
        now = int(time.time())
        root = ca.Authority.create_root("stranger", not_before=now - 60, not_after=now + 3600)
        return ca.pem(root.certificate)
