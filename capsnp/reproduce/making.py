"""A run from its start to its report, and single steps of it."""

import itertools
from pathlib import Path
from typing import Any, cast

from capsnp.evaluation import Column, Report, Table
from capsnp.memory import readable_bytes
from capsnp.models import CapsuleGenerator
from capsnp.reproduce.comparison import compare, comparison_table
from capsnp.reproduce.estimate import Estimate, estimate, readable_seconds
from capsnp.reproduce.figures import PICTURES, Picture, Scene, draw_all
from capsnp.reproduce.fitting import expect_room
from capsnp.reproduce.machine_memory import memory_table
from capsnp.reproduce.memory import PARTS
from capsnp.reproduce.pipeline import Data, Pipeline, Stage, stages_of
from capsnp.reproduce.report import (
    FIGURES,
    backends_table,
    kept_evaluation,
    shapes_table,
    two_columns,
    versions_table,
    write_report,
)
from capsnp.reproduce.runs import OpenRun, Say, expect_stage
from capsnp.reproduce.scores import evaluate
from capsnp.reproduce.settings import MACHINE, from_config, resolve
from capsnp.reproduce.shapes import shapes_of
from capsnp.training import Progress, RunFolder, write_atomic
from capsnp.training.files import one_line
from capsnp.training.settings import versions


def finish(opened: OpenRun) -> CapsuleGenerator:
    """Train what is not trained, draw the figures, judge the images, write the report.

    Parameters
    ----------
    opened : OpenRun

    Returns
    -------
    CapsuleGenerator

    Raises
    ------
    RunError
        If another process holds the run, or it cannot be written.
    DivergenceError
        If a number ran away in training.
    """
    with opened.run.lock(), Progress(quiet=opened.quiet) as progress:
        pipeline = Pipeline(opened.run, opened.settings, opened.data, progress=progress)
        left = [stage for stage in stages_of(opened.settings) if not pipeline.is_done(stage)]
        if left:
            parts = itertools.chain.from_iterable(PARTS[stage] for stage in left)
            expect_room(opened.settings, *opened.data.sizes, stages={*parts, *PARTS["images"]})
            _announce(opened)
        model = pipeline.train_all()
        with pipeline.timed("figures"):
            _draw(opened, model, progress)
        if not kept_evaluation(opened.run).tables:
            with pipeline.timed("evaluation"):
                found = evaluate(opened, model, features=pipeline.features(), progress=progress)
                _keep(opened.run, found)
        _report(opened)
    return model


def train_stage(opened: OpenRun, stage: str) -> None:
    """Train one stage of a run, from where it stands.

    Raises
    ------
    OptionError
        If there is no such stage.
    RunError
        If a stage before it is not trained yet, or another process holds the run.
    """
    expect_stage(stage, opened.run.folder)
    with opened.run.lock(), Progress(quiet=opened.quiet) as progress:
        pipeline = Pipeline(opened.run, opened.settings, opened.data, progress=progress)
        pipeline.expect_forerunners(cast("Stage", stage))
        if pipeline.is_done(cast("Stage", stage)):
            opened.say(f"{opened.run.folder}: the stage {stage!r} is trained already")
            return
        expect_room(opened.settings, *opened.data.sizes, stages=PARTS[stage])
        _announce_stage(opened, stage)
        pipeline.train(cast("Stage", stage))


def evaluate_run(opened: OpenRun, model: CapsuleGenerator) -> Report:
    """Judge a run's model anew, and write it into the run's report.

    Returns
    -------
    Report
    """
    with opened.run.lock(), Progress(quiet=opened.quiet) as progress:
        pipeline = Pipeline(opened.run, opened.settings, opened.data, progress=progress)
        with pipeline.timed("evaluation"):
            found = evaluate(opened, model, features=pipeline.features(), progress=progress)
        _keep(opened.run, found)
        _report(opened)
    return found


def compare_routing(
    opened: OpenRun,
    model: CapsuleGenerator,
    iterations: list[int],
    *,
    steps: int | None = None,
    limit: int | None = None,
) -> Table:
    """Train W and U with other numbers of routing iterations, and write it into the report.

    Returns
    -------
    Table
    """
    with opened.run.lock(), Progress(quiet=opened.quiet) as progress:
        pipeline = Pipeline(opened.run, opened.settings, opened.data, progress=progress)
        features = pipeline.features()
        found = compare(
            opened, model, features, iterations, steps=steps, limit=limit, progress=progress
        )
        _report(opened)
    return comparison_table(found)


def describe(
    folder: Path | None,
    *chosen: dict[str, Any],
    data_dir: str | Path | None = None,
    say: Say = print,
) -> list[Table]:
    """What is installed, and what a run is made of and will take.

    Parameters
    ----------
    folder : Path or None
        A run's, which need not be trained; None for one that these settings would make.
    *chosen : dict
    data_dir : str or Path, optional
    say : callable, optional

    Returns
    -------
    list of Table
    """
    if folder is None:
        settings = resolve(*chosen)
        installed = two_columns("Versions", "Version", versions())
    else:
        run = RunFolder.open(folder, report=say)
        settings = from_config(run.config, *chosen)
        installed = versions_table(run)
    data = Data(settings, data_dir=data_dir)
    if settings["model"] == MACHINE:
        return [installed, backends_table(), memory_table(settings, *data.sizes)]
    expected = estimate(settings, *data.sizes)
    return [
        installed,
        backends_table(),
        shapes_table(shapes_of(settings, data.image)),
        estimate_table(expected),
    ]


def estimate_table(expected: Estimate) -> Table:
    """What a run will take, by stage and in all."""
    columns = (Column("memory", "Memory", ""), Column("time", "Time", ""))
    stages = {
        stage: {
            "memory": readable_bytes(expected.memory[stage]) if stage in expected.memory else None,
            "time": readable_seconds(expected.seconds[stage])
            if stage in expected.seconds
            else None,
        }
        for stage in expected.memory | expected.seconds
    }
    peak, time = max(expected.memory.values()), sum(expected.seconds.values())
    rows = stages | {
        "training in all": {"time": readable_seconds(time)},
        "at its most": {"memory": readable_bytes(peak)},
        "disk": {"memory": readable_bytes(expected.disk)},
    }
    notes = (
        "Memory is what is held at a time, libraries and all, within a fifth on NumPy; pages of "
        "memory-mapped files, which the system can drop, do not count. Times are right to a "
        "factor of two; figures and evaluation come on top.",
    )
    return Table("Expected", columns, rows, notes)


def _announce(opened: OpenRun) -> None:
    """Say what the run will take."""
    if opened.quiet:
        return
    expected = estimate(opened.settings, *opened.data.sizes)
    total = readable_seconds(sum(expected.seconds.values()))
    stage = max(expected.memory, key=expected.memory.__getitem__)
    opened.say(
        f"{len(opened.data.train)} images into {opened.run.folder}; expected: {total} of training "
        f"on {opened.settings['backend']}, {readable_bytes(expected.memory[stage])} of memory (for "
        f"the {stage}), {readable_bytes(expected.disk)} of disk"
    )


def _announce_stage(opened: OpenRun, stage: str) -> None:
    """Say what one stage will take."""
    if opened.quiet:
        return
    expected = estimate(opened.settings, *opened.data.sizes)
    parts = PARTS[stage]
    seconds = sum(expected.seconds.get(part, 0.0) for part in parts)
    opened.say(
        f"{opened.run.folder}: {stage}; expected: {readable_seconds(seconds)} on "
        f"{opened.settings['backend']}, "
        f"{readable_bytes(max(expected.memory.get(part, 0) for part in parts))} of memory"
    )


def _draw(opened: OpenRun, model: CapsuleGenerator, progress: Progress) -> None:
    folder = opened.run.path(FIGURES)
    with one_line(folder, "cannot be written"):
        folder.mkdir(exist_ok=True)
        draw_all(_scene(opened, model), folder, progress=progress)


def _scene(opened: OpenRun, model: CapsuleGenerator) -> Scene:
    return Scene(model, opened.data.test, opened.run.metrics(), opened.settings["seed"])


def _keep(run: RunFolder, found: Report) -> None:
    write_atomic(run.path("evaluation.json"), f"{found.json()}\n".encode())


def _report(opened: OpenRun) -> None:
    write_report(opened, shapes_of(opened.settings, opened.data.image), _drawn(opened.run))


def _drawn(run: RunFolder) -> list[Picture]:
    """The pictures that lie in the run's folder."""
    return [picture for picture in PICTURES if run.path(f"{FIGURES}/{picture.name}.png").is_file()]
