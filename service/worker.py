"""One worker process; started by service.run, told everything on standard input."""

from __future__ import annotations

import sys

from zhenxian.service.run import work

if __name__ == "__main__":
    sys.exit(work())
