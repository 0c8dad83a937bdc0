"""How good the images and the hidden units of a machine are, beside what they are compared with."""

import time

import numpy as np

from capsnp.evaluation import (
    CodeScores,
    Report,
    binarize,
    code_table,
    image_table,
    linear_probe,
    relative_error,
)
from capsnp.models import RBM
from capsnp.reproduce.judge import Judge
from capsnp.reproduce.machine import pixels
from capsnp.reproduce.machine_chains import walk_from_training
from capsnp.reproduce.machine_report import write_machine_report
from capsnp.reproduce.pipeline import read_json, write_json
from capsnp.reproduce.runs import OpenRun
from capsnp.reproduce.scores import PROBED, Row, baseline_rows
from capsnp.training import Progress, write_atomic

STEPS = 1000
"""Gibbs steps of each chain before it is looked at."""


def evaluate_machine(opened: OpenRun, model: RBM) -> Report:
    """Judge a run's machine anew, and write it into the run's report.

    Returns
    -------
    Report
    """
    with opened.run.lock(), Progress(quiet=opened.quiet) as progress:
        began = time.perf_counter()
        found = judge_machine(opened, model, progress=progress)
        write_atomic(opened.run.path("evaluation.json"), f"{found.json()}\n".encode())
        seconds = read_json(opened.run, "seconds.json") or {}
        seconds["evaluation"] = round(time.perf_counter() - began, 2)
        write_json(opened.run, "seconds.json", seconds)
        write_machine_report(opened, model)
    return found


def judge_machine(opened: OpenRun, model: RBM, *, progress: Progress) -> Report:
    """Judge what a machine draws and rebuilds, and what its hidden units know.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    model : RBM
    progress : Progress

    Returns
    -------
    Report
        A table of images, unless there are too few test images to judge by, and one of codes.
    """
    judge, tables = Judge(opened, progress), []
    if judge.can_score:
        rows = [
            Row("real", "real test images (the floor)", lambda: judge.originals),
            *_machine_rows(opened, model, judge.originals, progress),
            *baseline_rows(opened.data.train.images, judge.originals, opened.settings["seed"]),
        ]
        scores = {row.label: judge.score(row.images()) for row in rows}
        tables.append(image_table(scores, title="Quality of images"))
    else:
        opened.say(f"{len(judge.originals)} test images are too few to judge images by")
    tables.append(code_table({f"{model.n_components} hidden means": _codes(opened, model)}))
    return Report(tuple(tables))


def _machine_rows(
    opened: OpenRun, model: RBM, originals: np.ndarray, progress: Progress
) -> list[Row]:
    settings, host = opened.settings, model._backend.to_host
    rule = settings["binary.rule"]
    flat = originals.reshape(len(originals), -1)
    seen = flat
    if rule != "none":
        seen = binarize(originals, rule=rule, random_state=settings["binary.seed"]).rows
    chains = walk_from_training(model, len(originals), n_steps=STEPS, seed=settings["seed"] + 1)
    for at in progress.track(chains, "chains", total=STEPS + 1):
        ends = at
    dtype = originals.dtype

    def images(rows: np.ndarray) -> np.ndarray:
        return np.clip(np.asarray(rows), 0.0, 1.0).astype(dtype).reshape(originals.shape)

    as_seen = [Row("seen", f"test images made binary ({rule})", lambda: images(seen))]
    return [
        *(as_seen if rule != "none" else []),
        Row(
            "rebuilt",
            f"rebuilt from {model.n_components} hidden means",
            lambda: images(model.inverse_transform(model.transform(seen.astype(dtype)))),
        ),
        Row("drawn", f"drawn, means after {STEPS} steps", lambda: images(host(ends.mean))),
        Row("states", f"drawn, states after {STEPS} steps", lambda: images(host(ends.v))),
    ]


def _codes(opened: OpenRun, model: RBM) -> CodeScores:
    """What a linear probe finds in hidden means, and the error of what they rebuild."""
    data = opened.data
    rows = pixels(opened.settings, data.test).rows
    codes = model.transform(rows)
    error = relative_error(rows, model.inverse_transform(codes))
    probe = None
    if data.train.labels is not None and data.test.labels is not None:
        some = pixels(opened.settings, data.train).rows[:PROBED]
        labels = data.train.labels[:PROBED]
        probe = linear_probe(model.transform(some), labels, codes, data.test.labels)
    return CodeScores(probe, error, (), None, None)
