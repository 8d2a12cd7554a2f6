"""One worker process; service.supervisor writes its settings to its standard input."""

from __future__ import annotations

import gc
import sys

gc.disable()  # until calls are served: what is imported stays, and is not to be looked through

from zhenxian.service.serving import work  # noqa: E402

if __name__ == "__main__":
    sys.exit(work())
