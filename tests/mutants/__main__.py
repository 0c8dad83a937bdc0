"""Break every line of the list and write what noticed it: ``python -m tests.mutants``."""

import re
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.running import ROOT, copy_package, failures, is_test, mutate

PAGE = """# The tests are tested

A check that cannot fail proves nothing. Here single lines of a copy of the package are made wrong,
each in a way that has a name, and the check that the list names with it has to fail: a claim of the
ledger, or a test. `python -m tests.mutants` made this page, `pytest -m mutants` asserts the same,
and the list is in `tests/mutants/mutants.py`. People made this list; [a tool](mutation.md) has
changed every line of the equations.

**{noticed} of {all} mistakes are noticed.**

| File | Mistakes | Noticed | by the ledger | by a test |
|---|---:|---:|---:|---:|
{counts}
{entries}"""

ENTRY = """
**{mutant.name}**: {verdict}

```diff
- {mutant.old}
+ {mutant.new}
```
"""


def noticed(mutant: Mutant) -> str:
    """Why a mutant's killer fails, or nothing if it does not."""
    with tempfile.TemporaryDirectory() as name:
        mutate(copy_package(Path(name)), mutant)
        return next(iter(failures(Path(name), mutant.killer).values()), "")


def page(reasons: Mapping[Mutant, str]) -> str:
    """Counts by file, then every mistake with why its check failed."""
    counts, entries = [], []
    for file in dict.fromkeys(mutant.file for mutant in MUTANTS):
        here = [mutant for mutant in MUTANTS if mutant.file == file]
        seen = [mutant for mutant in here if reasons[mutant]]
        by_test = sum(is_test(mutant.killer) for mutant in seen)
        numbers = (len(here), len(seen), len(seen) - by_test, by_test)
        counts.append(f"| `{file}` | {' | '.join(map(str, numbers))} |")
        entries.append(f"\n## {file}\n")
        for mutant in here:
            reason = re.sub(" at 0x[0-9a-f]+", "", reasons[mutant])[:90].rstrip()
            verdict = f"`{mutant.killer}`, {reason}" if reason else "**not noticed**"
            entries.append(ENTRY.format(mutant=mutant, verdict=verdict))
    return PAGE.format(
        noticed=sum(map(bool, reasons.values())),
        all=len(MUTANTS),
        counts="\n".join(counts),
        entries="".join(entries),
    )


def main() -> int:
    """Write ``docs/mutants.md``; 1 if a mistake is not noticed."""
    reasons = {}
    with ThreadPoolExecutor(2) as pool:
        for mutant, reason in zip(MUTANTS, pool.map(noticed, MUTANTS), strict=True):
            print(f"{'noticed' if reason else 'NOT NOTICED'}: {mutant.name}", flush=True)
            reasons[mutant] = reason
    (ROOT / "docs" / "mutants.md").write_text(page(reasons), encoding="utf-8")
    return int(not all(reasons.values()))


if __name__ == "__main__":
    sys.exit(main())
