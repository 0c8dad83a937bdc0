"""The likelihood of a run's images, kept in the run with where it comes from."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from capsnp.errors import DataError, OptionError, WideBracketError
from capsnp.evaluation import Binarized, Likelihood, Report, Table, log_likelihood
from capsnp.evaluation.likelihood.exact import MOST_STATES, can_enumerate
from capsnp.functional.units import DiscreteUnits
from capsnp.models import RBM
from capsnp.reproduce.machine import pixels
from capsnp.reproduce.machine_report import LIKELIHOOD, likelihood_table, write_machine_report
from capsnp.reproduce.pipeline import read_json, write_json
from capsnp.reproduce.runs import OpenRun
from capsnp.training import write_atomic

Split = Literal["test", "train"]


def score_run(
    opened: OpenRun,
    model: RBM,
    *,
    split: Split = "test",
    tolerance: float = 1.0,
    temperatures: int = 1000,
    chains: int = 100,
    burn_in: int = 100,
    exact: bool = False,
    allow_wide: bool = False,
    seed: int = 0,
    json_file: Path | None = None,
) -> Table:
    """The mean log-likelihood of a run's images in nats: exact, or in a bracket, or refused.

    Parameters
    ----------
    opened : OpenRun
    model : RBM
        The run's.
    split : {"test", "train"}
    tolerance, temperatures, burn_in, allow_wide
        As for `capsnp.evaluation.log_likelihood`.
    chains, seed : int
        Its ``n_chains`` and ``random_state``.
    exact : bool
        Do not anneal: list the states of a layer, or refuse.
    json_file : Path, optional
        Where to write what was found, too.

    Returns
    -------
    Table
        Of all that the run keeps in ``likelihood.json``.

    Raises
    ------
    WideBracketError
        If the bracket is not to be trusted; nothing is kept.
    OptionError, DataError, MemoryLimitError
        If an option is wrong, pixels have no probability, or chains do not fit into memory.
    """
    if split not in ("test", "train"):
        raise OptionError(f"split: expected 'test' or 'train', got {split!r}")
    machine = model.machine_
    if exact and not can_enumerate(machine):
        raise OptionError(
            f"exact: expected a layer of at most {MOST_STATES:,} states to list, got machine of "
            f"{machine.w.shape[0]} {machine.visible.name} and {machine.w.shape[1]} "
            f"{machine.hidden.name} units: leave --exact away for a bracket"
        )
    rows = pixels(opened.settings, getattr(opened.data, split))
    _expect_states(opened, model, rows)
    found = log_likelihood(
        model,
        rows,
        tolerance=tolerance,
        allow_wide=True,
        temperatures=temperatures,
        n_chains=chains,
        burn_in=burn_in,
        random_state=seed,
        verbose=not opened.quiet,
    )
    if not allow_wide and (found.wide or found.problems):
        raise WideBracketError(
            f"{opened.run.folder}: expected a bracket within {tolerance:g} nats, got "
            f"{found.lower:.2f} to {found.upper:.2f} nats per image with "
            f"{found.partition.width:.2g} nats between and in the ends' errors"
            + "".join(f", where {problem}" for problem in found.problems)
            + f": raise --temperatures (now {temperatures}) or --chains (now {chains}), or take it "
            "as it is by --allow-wide"
        )
    record = _record(opened, found, split, seed)
    with opened.run.lock():
        kept = (read_json(opened.run, LIKELIHOOD) or {}) | {split: record}
        write_json(opened.run, LIKELIHOOD, kept)
        write_machine_report(opened, model)
    if json_file is not None:
        write_atomic(json_file, f"{json.dumps(record, indent=1, ensure_ascii=False)}\n".encode())
    return likelihood_table({split: record})


def _expect_states(opened: OpenRun, model: RBM, rows: Binarized) -> None:
    units = model.machine_.visible
    if isinstance(units, DiscreteUnits) and not np.all((rows.rows == 0) | (rows.rows == 1)):
        raise DataError(
            f"{opened.run.folder}: expected a run on bits, got one on numbers between, which have "
            f"no probability under {units.name} units: train another with "
            "--set binary.rule=threshold or stochastic"
        )


def _record(opened: OpenRun, found: Likelihood, split: str, seed: int) -> Mapping[str, Any]:
    """All of a likelihood but that of each row, as JSON holds it."""
    settings = opened.settings
    facts = {
        "value": found.value,
        "lower": found.lower,
        "upper": found.upper,
        "stderr": found.stderr,
        "units": "nats per image",
        "measure": found.measure,
        "wide": found.wide,
        "problems": list(found.problems),
        "seed": seed,
        "partition": vars(found.partition),
        "data": found.data._asdict()
        | {"name": settings["data"], "split": split, "limit": settings["limit"]},
    }
    return json.loads(Report((), facts).json())["facts"]
