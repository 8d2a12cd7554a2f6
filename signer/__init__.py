"""STI-AS: decide how far to vouch for a call, then sign."""
