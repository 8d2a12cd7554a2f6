"""Change one thing at a time in core/, passport/ and verifier/, and report what no test notices.

    python -m scripts.mutants                              everything (about 35 minutes on one core)
    python -m scripts.mutants 'zhenxian.verifier.*'        one room
    python -m scripts.mutants 'zhenxian.verifier.judge.*'  one module

What is mutated, and by which tests, is in pyproject.toml, [tool.mutmut]. What was found so far,
and why the rest is left, is in docs/mutants.md. The exit status is 0 when mutmut ran to its end:
survivors are read by people.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict

_RESULT = re.compile(
    r"\s*(?P<mutant>(?P<module>[\w.]+)\.x\S*__mutmut_\d+): (?P<outcome>[\w ]+?)\s*\Z"
)
_NOTICED = frozenset({"killed", "timeout", "caught by type check"})
_NOT_RUN = "not checked"


def _mutmut(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "mutmut", *arguments]


def _outcomes() -> dict[str, dict[str, list[str]]]:
    """Mutants by module and outcome."""
    listed = subprocess.run(  # noqa: S603
        _mutmut("results", "--all", "true"), check=True, capture_output=True, text=True
    )
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in listed.stdout.splitlines():
        match = _RESULT.match(line)
        if match is not None:
            found[match["module"]][match["outcome"]].append(match["mutant"])
    return found


def _report(found: dict[str, dict[str, list[str]]]) -> None:
    """Write the figures and each mutant that nobody noticed, with its change."""
    write = sys.stdout.write
    for module, outcomes in sorted(found.items()):
        run = {name: names for name, names in outcomes.items() if name != _NOT_RUN}
        total = sum(map(len, run.values()))
        if not total:
            continue
        left = [name for outcome, names in run.items() if outcome not in _NOTICED for name in names]
        write(f"\n{module.replace('.', '/')}.py: {total - len(left)} of {total} noticed\n")
        for mutant in left:
            shown = subprocess.run(  # noqa: S603
                _mutmut("show", mutant), check=True, capture_output=True, text=True
            )
            write(f"  {mutant}\n")
            for line in shown.stdout.splitlines():
                if line.startswith(("-", "+")) and not line.startswith(("---", "+++")):
                    write(f"    {line}\n")


def main(arguments: list[str]) -> int:
    """Return the exit status."""
    done = subprocess.run(  # noqa: S603
        _mutmut("run", "--max-children", "1", *arguments), check=False
    )
    if done.returncode:
        return done.returncode
    found = _outcomes()
    _report(found)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
