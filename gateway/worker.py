"""One worker process; started by gateway.serve, told everything on standard input."""

from __future__ import annotations

import sys

from gateway.serve import work

if __name__ == "__main__":
    sys.exit(work())
