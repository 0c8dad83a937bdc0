"""Break a copy of the package and see whether a check notices."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutants import Mutant

ROOT = Path(__file__).parents[2]

LEDGER = """
import json, sys, warnings
import capsnp.verification as verification
warnings.simplefilter("ignore")
results = verification.verify(names=sys.argv[1:])
failed = {result.name: result.reason for result in results if result.status == "fails"}
print(json.dumps({"file": verification.__file__, "failed": failed}))
"""


class StaleMutantError(Exception):
    """The package does not hold the line that a mutant changes, or more than once."""


def expect_line(text: str, mutant: Mutant) -> None:
    """Raise `StaleMutantError` unless a file's text holds a mutant's line once."""
    if (count := text.count(mutant.old)) != 1:
        raise StaleMutantError(
            f"{mutant.name}: expected {mutant.old!r} once in {mutant.file}, got it {count} times"
        )


def copy_package(folder: Path) -> Path:
    """Copy the package and its tests into a folder, to be broken there."""
    for name in ("capsnp", "tests"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy2(ROOT / "pyproject.toml", folder)
    return folder


def mutate(folder: Path, mutant: Mutant) -> None:
    """Break one line of a copy of the package.

    Raises
    ------
    StaleMutantError
    """
    path = folder / "capsnp" / mutant.file
    text = path.read_text(encoding="utf-8")
    expect_line(text, mutant)
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
        compiled.unlink()


def is_test(killer: str) -> bool:
    """Whether a check is a test of pytest's, and no claim of the ledger."""
    return "::" in killer


def failures_of_claims(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Which claims of the ledger fail, and why, with the package in a folder."""
    done = _python(folder, "-c", LEDGER, *names)
    if done.returncode != 0:
        raise RuntimeError(f"the ledger did not run:\n{done.stderr}")
    found = json.loads(done.stdout)
    if not Path(found["file"]).is_relative_to(folder):
        raise RuntimeError(f"another package ran: {found['file']}")
    return found["failed"]


def failures_of_tests(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The first test that fails, and why, with the package in a folder."""
    plain = "not torch and not jax and not cupy"  # one library is enough, the fastest
    options = ("-q", "-x", "--no-header", "--tb=short", "-p", "no:cacheprovider", "-k", plain)
    done = _python(folder, "-m", "pytest", *options, *names)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the tests did not run:\n{done.stdout}{done.stderr}")
    if done.returncode == 0:
        return {}
    lines = done.stdout.splitlines()
    failed = next(line for line in lines if line.startswith("FAILED ")).split()[1]
    reason = " ".join(" ".join(line[1:].split()) for line in lines if line.startswith("E "))
    return {failed: reason}


def failures(folder: Path, killer: str) -> dict[str, str]:
    """Whether a mutant's killer fails, and why, with the package in a folder."""
    check = failures_of_tests if is_test(killer) else failures_of_claims
    return check(folder, [killer])


def _python(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python with the package of a folder, on one thread."""
    alone = {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "CAPSNP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | alone,
        capture_output=True,
        text=True,
        check=False,
    )
