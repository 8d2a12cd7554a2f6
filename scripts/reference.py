"""Write the reference pages and the table of areas; with --check, fail when one is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from zhenxian.analytics import prefixes
from zhenxian.service.reference import permissions_page, reasons_page, settings_page
from zhenxian.stores.fleet.states import fleet_page

PAGES = {
    Path("docs/settings.md"): settings_page,
    Path("docs/reasons.md"): reasons_page,
    Path("docs/permissions.md"): permissions_page,
    Path("docs/fleet.md"): fleet_page,
}
AREAS = Path("analytics/data/prefixes.bin")


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    stale = []
    for path, page in PAGES.items():
        text = page()
        if arguments == ["--check"]:
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                stale.append(str(path))
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    areas = prefixes.of_library()
    if not AREAS.is_file() or prefixes.shipped() != areas:
        if arguments == ["--check"]:
            stale.append(str(AREAS))
        else:
            AREAS.parent.mkdir(exist_ok=True)
            AREAS.write_bytes(prefixes.written(areas))
    if stale:
        sys.stderr.write(f"out of date, run `make docs`: {', '.join(stale)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
