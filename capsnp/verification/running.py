"""Checking the ledger: every claim on one array library, in one dtype."""

import contextlib
import difflib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from capsnp.backend import BACKENDS, Backend, get_backend
from capsnp.errors import BackendError, OptionError
from capsnp.evaluation import Column, Report, Table
from capsnp.verification.lab import Lab, NotRun
from capsnp.verification.ledger import Check, Claim, ledger

Status = Literal["holds", "corrected", "heuristic", "fails", "not run"]
_STATUS: dict[str, Status] = {
    "theorem": "holds",
    "corrected": "corrected",
    "heuristic": "heuristic",
}


@dataclass(frozen=True)
class Result:
    """What came of a claim.

    Attributes
    ----------
    equation, section, claim, function, method : str
        As in `Claim`; `claim` is the statement.
    name : str
        Of the claim, and of its test.
    residual, tolerance : float
        Of the case that came nearest to its tolerance; NaN if none was computed.
    source : str
        Where the tolerance comes from.
    printed : float or None
        How far the text as printed is off at least, of the largest number; of corrected claims.
    status : {"holds", "corrected", "heuristic", "fails", "not run"}
        "corrected": the text as printed fails, as shown, and the corrected form holds.
        "heuristic": a measurement, not a theorem.
    cases : int
    seconds : float
    backend, dtype : str
        What computed it.
    reason : str
        Why it fails or was not run.
    """

    equation: str
    section: str
    claim: str
    function: str
    method: str
    name: str
    residual: float
    tolerance: float
    source: str
    printed: float | None
    status: Status
    cases: int
    seconds: float
    backend: str
    dtype: str
    reason: str = ""


def verify(
    equations: Iterable[str | int] | None = None,
    *,
    sections: Iterable[str] | None = None,
    names: Iterable[str] | None = None,
    xp: Any = None,
    dtype: str = "float64",
    seed: int = 0,
    thorough: bool = False,
    track: Callable[[Sequence[Claim], str], Iterable[Claim]] = lambda claims, _: claims,
) -> list[Result]:
    """Check the claims of the ledger.

    Parameters
    ----------
    equations : iterable of str or int, optional
        Such as 12, "(12)" or "Algorithm 1"; by default all.
    sections : iterable of str, optional
        Such as "3.2".
    names : iterable of str, optional
        Of claims.
    xp : namespace, Backend or str, optional
        What computes; see `capsnp.backend.get_backend`.
    dtype : {"float64", "float32"}
    seed : int
        Of the random problems.
    thorough : bool
        Ten times the cases.
    track : callable, optional
        From claims and what they are to the same claims: `capsnp.training.track` shows them.

    Returns
    -------
    list of Result
        In the paper's order.

    Raises
    ------
    OptionError
        If an equation, a section, a name, the backend or the dtype is unknown.
    BackendError
        If the backend is not installed.

    Examples
    --------
    >>> {result.status for result in verify([4])}
    {'holds'}
    """
    backend = _backend_of(xp)
    if dtype not in ("float64", "float32"):
        raise OptionError(f"dtype: expected 'float64' or 'float32', got {dtype!r}")
    if seed < 0:
        raise OptionError(f"seed: expected a whole number from 0, got {seed}")
    claims = select(equations, sections=sections, names=names)
    with backend.holding(dtype):
        return [
            examine(found, Lab(backend, dtype, seed, found.name, thorough=thorough))
            for found in track(claims, "claims")
        ]


def select(
    equations: Iterable[str | int] | None = None,
    *,
    sections: Iterable[str] | None = None,
    names: Iterable[str] | None = None,
) -> tuple[Claim, ...]:
    """The claims of some equations, sections and names; of all where nothing is asked for.

    Raises
    ------
    OptionError
        If there is none of that equation, section or name, or of all together.
    """
    found = ledger()
    for what, asked, key in (
        ("equation", equations, lambda claim: claim.equation),
        ("section", sections, lambda claim: claim.section),
        ("name", names, lambda claim: claim.name),
    ):
        if asked is None:
            continue
        wanted = [_plain(str(one)) for one in asked]
        known = {_plain(key(claim)): key(claim) for claim in ledger()}
        for one in wanted:
            if one not in known:
                begins, there = "expected one of", list(dict.fromkeys(known.values()))
                if what == "name":  # there are too many to list
                    near = difflib.get_close_matches(one, there, n=3, cutoff=0.0)
                    begins, there = "expected one such as", near
                raise OptionError(f"{what}: {begins} {', '.join(there)}, got {one!r}")
        found = tuple(claim for claim in found if _plain(key(claim)) in wanted)
    if not found:
        raise OptionError("equation, section, name: expected a claim that all fit, found none")
    return found


def _plain(text: str) -> str:
    return text.strip().strip("()§").strip().lower()


def examine(claim: Claim, lab: Lab) -> Result:
    """Check one claim in a lab."""
    started = time.perf_counter()
    worst, refuted, reason = Check(math.nan, math.nan, ""), list[Check](), ""
    status: Status = _STATUS[claim.kind]
    try:
        for check in claim.check(lab):
            if check.printed is not None:
                refuted.append(check)
            elif not _worse(worst, check):
                worst = check
        if math.isnan(worst.tolerance):
            status, reason = "fails", "nothing was compared"
        elif not worst.holds:
            status, reason = "fails", f"residual {worst.residual:.3g} above {worst.tolerance:.3g}"
        elif not all(check.holds for check in refuted) or (
            claim.kind == "corrected" and not refuted
        ):
            status, reason = "fails", "the text as printed was not shown to fail"
    except NotRun as error:
        status, reason = "not run", str(error)
    except Exception as error:  # noqa: BLE001  a broken formula may raise anything: it fails
        status, reason = "fails", f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Result(
        claim.equation,
        claim.section,
        claim.statement,
        claim.function,
        claim.method,
        claim.name,
        worst.residual,
        worst.tolerance,
        worst.source,
        min((check.printed for check in refuted if check.printed is not None), default=None),
        status,
        lab.n_cases,
        round(time.perf_counter() - started, 4),
        lab.backend.name,
        lab.dtype,
        reason,
    )


def _worse(first: Check, second: Check) -> bool:
    """Whether the first check comes nearer to failing than the second."""
    return _ratio(first) >= _ratio(second)


def _ratio(check: Check) -> float:
    if math.isnan(check.tolerance):
        return -math.inf  # nothing yet
    if math.isnan(check.residual):
        return math.inf
    if check.residual <= check.tolerance:
        return check.residual / check.tolerance if check.tolerance else 0.0
    return check.residual / max(check.tolerance, 1e-300)


def _backend_of(xp: Any) -> Backend:
    if xp is None or isinstance(xp, str | Backend):
        return get_backend(xp)
    for name in BACKENDS:
        with contextlib.suppress(BackendError):
            if get_backend(name).xp is xp or _is_plain(name, xp):
                return get_backend(name)
    raise OptionError(f"xp: expected a namespace of {', '.join(BACKENDS)}, got {xp!r}")


def _is_plain(name: str, xp: Any) -> bool:
    """Whether a namespace is the library itself, which array-api-compat wraps."""
    return getattr(xp, "__name__", "") == name.replace("-", "_")


# --- reports ----------------------------------------------------------------------------------

COLUMNS = (
    Column("equation", "Equation"),
    Column("claim", "Claim"),
    Column("function", "Function"),
    Column("method", "Checked by"),
    Column("cases", "Cases", "d"),
    Column("residual", "Residual", ".1e"),
    Column("tolerance", "Tolerance", ".1e"),
    Column("source", "Tolerance from"),
    Column("printed", "Printed text off by", ".1e"),
    Column("status", "Verdict"),
)


def table_of(results: Sequence[Result], *, title: str = "The ledger") -> Table:
    """Results as a table, one row each, with a summary below."""
    rows = {result.name: asdict(result) for result in results}
    return Table(title, COLUMNS, rows, (summary(results), *_reasons(results)))


def table_of_backends(results: Mapping[str, Sequence[Result]]) -> Table:
    """Residuals of the same claims in several places, one column each.

    Parameters
    ----------
    results : mapping of str to sequence of Result
        By the column's title, such as "numpy, float64".

    Returns
    -------
    Table
        Residuals in units of their tolerance: a claim holds up to 1.
    """
    rows: dict[str, dict[str, Any]] = {}
    for title, found in results.items():
        for result in found:
            row = rows.setdefault(result.name, {"equation": result.equation})
            row[title] = "fails" if result.status == "fails" else _share(result)
    columns = (Column("equation", "Equation"), *(Column(name, name, ".2g") for name in results))
    notes = [f"{title}: {summary(found)}" for title, found in results.items()]
    return Table("Residuals in units of their tolerance", columns, rows, tuple(notes))


def _share(result: Result) -> float | None:
    if result.status == "not run" or not result.tolerance:
        return None if result.status == "not run" else result.residual
    return result.residual / result.tolerance


def summary(results: Sequence[Result]) -> str:
    """How many claims came to what.

    Examples
    --------
    >>> summary(verify(names=["squash_by_scalars"]))
    '1 claim: 1 holds.'
    """
    counts = dict.fromkeys(("holds", "corrected", "heuristic", "fails", "not run"), 0)
    for result in results:
        counts[result.status] += 1
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    return f"{len(results)} claim{'s' * (len(results) != 1)}: {', '.join(parts)}."


def _reasons(results: Sequence[Result]) -> list[str]:
    return [f"{r.name} ({r.equation}) {r.status}: {r.reason}." for r in results if r.reason]


def to_json(results: Sequence[Result]) -> str:
    """Results as a JSON list; what is no number is null."""
    rows = [
        {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in asdict(result).items()
        }
        for result in results
    ]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"


def write_report(path: Path, table: Table) -> None:
    """Write a table as a page: ``.html`` or ``.md`` by the name's end.

    Raises
    ------
    OptionError
        If the name ends otherwise.
    """
    report = Report((table,))
    if path.suffix == ".html":
        text = report.html()
    elif path.suffix == ".md":
        text = report.markdown()
    else:
        raise OptionError(f"report: expected a name that ends in .html or .md, got {path.name!r}")
    path.write_text(text, encoding="utf-8")
