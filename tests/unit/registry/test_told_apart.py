"""What is found of a carrier, and the signers of its own that are well known."""

import pytest
from found import Found, finding

from zhenxian.analytics.model import Key, KeyKind, Measure
from zhenxian.registry.exemptions import against

SPC, SIGNER = Key(KeyKind.SPC, "7001"), Key(KeyKind.SIGNER, "7001/o-1")


@pytest.mark.parametrize(
    ("beside", "known", "stands"),
    [((), False, True), ((), True, False), ((Measure.ORIGIDS,), True, True)],
)
def test_a_carriers_finding_spares_signers_that_its_origids_tell_apart(beside, known, stands):
    conduct = Found(finding(KeyKind.SPC, "7001", beside=beside))
    if known:
        conduct.well_known.add(SIGNER)
    found = against((SIGNER, SPC), conduct, None, 100, None, None)
    assert (found is not None) is stands
    assert against((SPC,), conduct, None, 100, None, None) is not None
