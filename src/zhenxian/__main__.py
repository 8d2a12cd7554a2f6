"""`python -m zhenxian` is `zhenxian`."""

from __future__ import annotations

from zhenxian.cli import main

if __name__ == "__main__":
    main()
