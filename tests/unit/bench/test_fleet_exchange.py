"""The bench of the fleet's exchange measures what it says."""

from bench.exchange import ALL, PARTED, simulated


def test_a_node_of_many_counts_twice_its_own_calls_and_not_everybodys():
    parted, every = (simulated(way, 6, 400, 1) for way in (PARTED, ALL))
    assert parted.lost == every.lost == 0
    assert parted.micros > 0
    assert 0 < every.octets < parted.octets < 20 * every.octets
    # of the keys of six nodes a third
    assert every.keys / 4 < parted.keys < every.keys / 2
