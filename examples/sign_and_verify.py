"""Sign a call and verify it, in one process, with nothing but this library.

    .venv/bin/python examples/sign_and_verify.py

A carrier with a development certificate registers a bank and its number, signs a call of the bank
and verifies it as the callee's carrier would. The number is then shown for somebody else, and the
token is used again.
"""

import asyncio
import tempfile
import time
from pathlib import Path

from zhenxian import (
    TN,
    Access,
    Chain,
    Destination,
    EmbeddedRegistry,
    Holding,
    MemoryReplayStore,
    ProfilePolicy,
    RevocationPolicy,
    ScreenPolicy,
    SigningRequest,
    Subject,
    TNRange,
    Trust,
    Verdict,
    Verification,
    VerificationRequest,
    Verifier,
    build_view,
    create_development_pki,
    decide,
    gather,
    load_credential,
    load_trust_list,
    parse_chain,
    put,
    sign,
)

CARRIER = "1001"  # its service provider code
BANK, CALLEE = TN("8675588880001"), TN("8613800138000")
X5U = "https://certificates.example/1001.pem"


class OneChain:
    """Certificates by x5u. A service fetches and caches them; here there is one, at hand."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def cached(self, x5u: str, now: int) -> Chain | None:
        """The chain; None would say that it must be fetched first."""
        return self._chain if x5u == X5U else None

    def keep(self, x5u: str) -> None:
        """A signature verified under the chain of this address."""


def registered(path: Path, now: int) -> EmbeddedRegistry:
    """A registry in which the bank holds its number, and calls come in by its trunk."""
    registry = EmbeddedRegistry(path)
    records = (
        Subject(id="bank", name="Example Bank"),
        Holding(
            numbers=TNRange(BANK, BANK),
            subject="bank",
            verification=Verification.VERIFIED,
            spcs=(CARRIER,),
        ),
        Access(id="bank-trunk", origid="b0000000-0000-4000-8000-000000000001", subject="bank"),
    )
    changes = [put(record) for record in records]
    asyncio.run(registry.write(changes, author="example", reason="contract 7", now=now))
    return registry


def main() -> None:
    """Print what becomes of four calls."""
    now = int(time.time())
    with tempfile.TemporaryDirectory() as folder:
        pki = create_development_pki(Path(folder) / "pki", {CARRIER: "Example Carrier"}, now=now)
        files = pki.carriers[CARRIER]
        credential = load_credential(files.key, files.chain, x5u=X5U)
        registry = registered(Path(folder) / "registry.db", now)

        roots = load_trust_list(pki.root)
        lists = [path.read_bytes() for path in sorted(pki.crl_folder.iterdir())]
        revocation, _ = build_view(
            lists,
            issuers=load_trust_list(pki.crl_issuers),
            trust=roots,
            policy=RevocationPolicy.REQUIRE,
        )
        verifier = Verifier(
            ScreenPolicy(),
            OneChain(parse_chain(files.chain.read_bytes())),
            Trust(roots, revocation, ProfilePolicy()),
            MemoryReplayStore(),
            registry,
        )

        def verdict(display: TN, *identities: str) -> Verdict:
            found = verifier.verify(VerificationRequest(display, (CALLEE,), now, identities), now)
            assert isinstance(found, Verdict), "every certificate is at hand"
            return found

        # 1. The bank calls by its trunk: the registry proves that the number is its own.
        request = SigningRequest(BANK, Destination((CALLEE,)), now, access="bank-trunk")
        decision = decide(request, gather(request, registry, now))
        print("the bank calls:", decision.attest, decision.reason.name)
        identity = sign(request, decision, credential).identity
        print("verified:", verdict(BANK, identity).verstat.value)

        # 2. The same token with another display.
        other = verdict(TN("8675588880002"), identity)
        print("another display:", other.verstat.value, other.reason.name)

        # 3. The same token once more.
        again = verdict(BANK, identity)
        print("once more:", again.verstat.value, again.reason.name)

        # 4. Somebody whose access is not known shows the bank's number.
        request = SigningRequest(BANK, Destination((CALLEE,)), now, access="nobody")
        decision = decide(request, gather(request, registry, now))
        print("an unknown access:", decision.attest, decision.reason.name)
        registry.close()


if __name__ == "__main__":
    main()
