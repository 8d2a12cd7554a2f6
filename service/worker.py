"""One worker process; started by service.run, which writes its settings to its standard input."""

from __future__ import annotations

import sys

from zhenxian.service.run import work

if __name__ == "__main__":
    sys.exit(work())
