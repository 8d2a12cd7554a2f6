"""Side-by-side measurements against a peer and against the cryptographic limit: `make bench`."""
