"""Break every line of the list and write what noticed it: ``python -m tests.mutants``."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mutants.mutants import MUTANTS, Mutant
from tests.mutants.running import ROOT, copy_package, failures, mutate

PAGE = """# The tests are tested

Each row is a mistake of one line in a copy of the package, and the check that has to fail then: a
claim of the ledger, or a test. A mistake that its check does not notice is a defect of the check.
`python -m tests.mutants` made this page; `pytest -m mutants` asserts the same. The list is in
`tests/mutants/mutants.py`.

**{killed} of {all} mistakes are noticed.**

| Mistake | Line, and what it was made | Noticed by |
|---|---|---|
{rows}
"""


def noticed(mutant: Mutant) -> str:
    """Why a mutant's killer fails, or nothing if it does not."""
    with tempfile.TemporaryDirectory() as name:
        mutate(copy_package(Path(name)), mutant)
        return next(iter(failures(Path(name), mutant.killer).values()), "")


def row(mutant: Mutant, reason: str) -> str:
    """A line of the table."""
    cells = (
        f"{mutant.name}<br>`{mutant.file}`",
        f"`{mutant.old}`<br>`{mutant.new}`",
        f"`{mutant.killer}`<br>{reason[:90] or '**not noticed**'}",
    )
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def main() -> int:
    """Write ``docs/mutants.md``; 1 if a mistake is not noticed."""
    with ThreadPoolExecutor(2) as pool:
        reasons = []
        for mutant, reason in zip(MUTANTS, pool.map(noticed, MUTANTS), strict=True):
            print(f"{'noticed' if reason else 'NOT NOTICED'}: {mutant.name}", flush=True)
            reasons.append(reason)
    page = PAGE.format(
        killed=sum(map(bool, reasons)),
        all=len(MUTANTS),
        rows="\n".join(map(row, MUTANTS, reasons)),
    )
    (ROOT / "docs" / "mutants.md").write_text(page, encoding="utf-8")
    return int(not all(reasons))


if __name__ == "__main__":
    sys.exit(main())
