"""Which tokens were seen: in memory, in a file of one machine, in a fleet."""
