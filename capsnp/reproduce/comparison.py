"""Routing on trial: W and U trained again with other numbers of routing iterations."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from capsnp.errors import DataError
from capsnp.evaluation import Column, Table
from capsnp.models import CapsuleGenerator
from capsnp.reproduce.judge import Judge
from capsnp.reproduce.pipeline import read_json, write_json
from capsnp.reproduce.runs import OpenRun
from capsnp.reproduce.scores import qualities
from capsnp.reproduce.settings import resolve
from capsnp.training import Observer, Progress, Watchdog

QUALITIES = {"rebuilt": "rebuilt", "joint": "joint codes", "half": "half-sphere"}
MARGIN = 0.1  # how much better, of the other's distance, is called better; seeds differ as much


class Trial(NamedTuple):
    """Numbers of routing iterations in W and in U."""

    W: int
    U: int


def compare(
    opened: OpenRun,
    model: CapsuleGenerator,
    features: np.ndarray,
    iterations: Sequence[int],
    *,
    steps: int | None = None,
    limit: int | None = None,
    progress: Progress,
) -> dict[str, Any]:
    """Train W and U with each number of iterations, the other left at the run's, and judge.

    Every trial has the same seed, features and numbers of steps. What was tried before with the
    same steps and features is kept, so a comparison that was stopped goes on.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    model : CapsuleGenerator
        The run's; its autoencoder is used as it is.
    features : numpy.ndarray, shape (N, I, P)
        Of the training images.
    iterations : sequence of int
    steps : int, optional
        Of W; by default the run's.
    limit : int, optional
        The first features only.
    progress : Progress

    Returns
    -------
    dict
        Which is also in the run's ``routing.json``.
    """
    settings = opened.settings
    layer = settings["model"]
    steps = steps or settings.layer["n_steps"]
    usual = Trial(settings.layer["routing_iterations"], settings["decoder.routing_iterations"])
    earlier = read_json(opened.run, "routing.json") or {}
    features = features[:limit]
    same = {"steps": steps, "features": len(features)}
    records = earlier.get("trials", []) if same.items() <= earlier.items() else []
    known = {Trial(record["W"], record["U"]) for record in records}
    wanted = {Trial(n, usual.U) for n in iterations} | {Trial(usual.W, n) for n in iterations}
    found = same | {"default": usual._asdict(), "trials": records}
    if wanted <= known:
        return found
    judge = Judge(opened, progress)
    if not judge.can_score:
        raise DataError(f"{len(judge.originals)} test images are too few to judge images by")

    def observers(stage: str) -> tuple[Observer, ...]:  # noqa: ARG001
        return Watchdog(), progress

    for W, trials in itertools.groupby(sorted(wanted - known), key=lambda trial: trial.W):
        opened.say(f"{_iterations(W)} in W")
        changed = {f"{layer}.routing_iterations": W, f"{layer}.n_steps": steps}
        trained = resolve(opened.settings.values, changed).generator()
        trained.autoencoder_ = model.autoencoder_
        started = time.perf_counter()
        trained.fit_capsules(features, observers=observers)
        seconds_W = time.perf_counter() - started
        for trial in trials:
            opened.say(f"{_iterations(W)} in W and {trial.U} in U")
            started = time.perf_counter()
            trained.set_params(decoder__routing_iterations=trial.U)
            trained.fit_decoder(features, observers=observers)
            seconds = {"seconds W": seconds_W, "seconds U": time.perf_counter() - started}
            quality = qualities(judge, trained, opened.data.test, settings["seed"])
            records.append(trial._asdict() | seconds | quality)
            records.sort(key=lambda record: (record["W"], record["U"]))
            write_json(opened.run, "routing.json", found)
    return found


def _iterations(n: int) -> str:
    return f"{n} routing iteration{'s' * (n != 1)}"


COLUMNS = (
    *(Column(key, f"Fréchet, {name}", ".1f", "lower") for key, name in QUALITIES.items()),
    Column("purity", "Class purity", ".1%", "higher"),
    Column("seconds W", "Seconds for W", ".0f", "lower"),
    Column("seconds U", "Seconds for U, codes and mixture", ".0f", "lower"),
)


def comparison_table(found: Mapping[str, Any]) -> Table:
    """The trials in a table, with what they say about routing."""
    rows = {}
    for record in found["trials"]:
        usual = {"W": record["W"], "U": record["U"]} == found["default"]
        mark = " (the run's)" if usual else ""
        rows[f"{record['W']} in W, {record['U']} in U{mark}"] = record
    same = f"W was trained {found['steps']} steps on {found['features']} images in each."
    notes = (verdict(found["trials"]), same)
    return Table("Routing iterations", COLUMNS, rows, notes)


def verdict(trials: Sequence[Mapping[str, Any]]) -> str:
    """Whether routing earns its place in W and in U, a sentence for each.

    A trial is better than another if it is by a tenth in some quality, and by a tenth worse in
    none. Only trials that differ in one of the two numbers are compared.

    Examples
    --------
    >>> one = {"W": 1, "U": 1, "rebuilt": 8.0, "joint": 20.0, "half": 60.0}
    >>> two = {"W": 2, "U": 1, "rebuilt": 10.0, "joint": 30.0, "half": 80.0}
    >>> verdict([one, two])
    'In W one iteration (uniform coefficients) is better than 2. In U nothing was compared.'
    """
    return f"{_verdict_on('W', 'U', trials)} {_verdict_on('U', 'W', trials)}"


def _verdict_on(model: str, other: str, trials: Sequence[Mapping[str, Any]]) -> str:
    """What trials that differ in one model's iterations say, with one iteration as the measure."""
    ones = {trial[other]: trial for trial in trials if trial[model] == 1}
    routed = [trial for trial in trials if trial[model] > 1 and trial[other] in ones]
    if not routed:
        return f"In {model} nothing was compared."
    found: dict[str, list[str]] = {"better": [], "worse": [], "alike": []}
    for trial in routed:
        one = ones[trial[other]]
        word = "better" if _better(trial, one) else "worse" if _better(one, trial) else "alike"
        found[word].append(str(trial[model]))
    said = {
        "better": "routing with {} is better than one iteration",
        "worse": "one iteration (uniform coefficients) is better than {}",
        "alike": "{} makes no clear difference to one iteration",
    }
    parts = [said[word].format(" and ".join(n)) for word, n in found.items() if n]
    return f"In {model} {'; '.join(parts)}."


def _better(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """By a tenth in some quality, and by a tenth worse in none."""
    clearly = [a[q] < (1 - MARGIN) * b[q] for q in QUALITIES]
    worse = [b[q] < (1 - MARGIN) * a[q] for q in QUALITIES]
    return any(clearly) and not any(worse)
