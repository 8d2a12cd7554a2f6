"""The conduct of who signs: what a verified call is counted for, and what was found.

Keys are the signer, one (SPC, origid), and the SPC over all its origids: a dishonest signer mints a
fresh origid for each call. Where the registry knows the binding of a privacy number, there is who
calls behind it, too.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from zhenxian.analytics.model import (
    Finding,
    Key,
    KeyKind,
    Measure,
    State,
)
from zhenxian.passport.ppt.shaken import Shaken

if TYPE_CHECKING:  # what reads certificates is not needed by who replays records of calls
    from zhenxian.verifier.token import VerifiedPASSporT

_CACHED: Final = 65_536  # pairs of keys; about 20 MB when full


class PooledVerifying(str, Enum):
    """What verifying does with a genuine token whose signer's conduct shows a pool.

    FAIL gives TN-Validation-Failed, LABEL only a label; OFF looks at nothing.
    """

    FAIL = "fail"
    LABEL = "label"
    OFF = "off"


class ConductPolicy(Struct, frozen=True):
    """What findings lead to.

    Attributes:
        signers: of one (SPC, origid); of an agent; and of an SPC whose origids say nothing and
            whose calls, taken as one signer's, show a pool.
        carriers: of any other SPC. FAIL then fails every call that a carrier signs, and honest
            carriers exist that have most of their calls from one customer.
    """

    signers: PooledVerifying = PooledVerifying.FAIL
    carriers: PooledVerifying = PooledVerifying.LABEL

    def on(self, finding: Finding) -> PooledVerifying:
        """What this finding leads to; a suspicion alone fails nothing."""
        # An SPC's calls are one signer's only where its origids do not tell callers apart.
        minted = Measure.ORIGIDS in finding.measures and len(finding.measures) > 1
        said = self.signers if minted or finding.key.kind is not KeyKind.SPC else self.carriers
        if said is PooledVerifying.FAIL and finding.state is not State.POOLED:
            return PooledVerifying.LABEL
        return said

    def weight(self, finding: Finding) -> int:
        """Rank of what a finding leads to: failing before labelling; 0 for nothing."""
        said = self.on(finding)
        if said is PooledVerifying.FAIL:
            return _FAILS
        return finding.state if said is PooledVerifying.LABEL else 0


_FAILS: Final = max(State) + 1
AS_USUAL: Final = ConductPolicy()


def keys(token: VerifiedPASSporT) -> tuple[Key, ...]:
    """Whose conduct a token counts for; nobody's when it is of a type without origid.

    A certificate for numbers alone (RFC 9060 section 5) names no SPC; the serial of the one that
    the numbers were delegated with stands for it, however many are made below that.
    """
    extension = token.passport.extension
    if not isinstance(extension, Shaken):
        return ()
    signer = token.signer
    return _keys(signer.spc or f"certificate {signer.delegated:X}", extension.origid)


@lru_cache(_CACHED)
def _keys(spc: str, origid: str) -> tuple[Key, Key]:
    spc = str(spc)  # a plain one, which can be written to a file
    return Key(KeyKind.SIGNER, f"{spc}/{origid}"), Key(KeyKind.SPC, spc)
