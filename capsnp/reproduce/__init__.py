"""Figure 1 and Figure 2 of the paper, end to end: the pipeline behind the command ``capsnp``."""

from capsnp.reproduce.machine import is_machine, look_into_machine, train_machine
from capsnp.reproduce.machine_likelihood import score_run
from capsnp.reproduce.machine_scores import evaluate_machine
from capsnp.reproduce.making import (
    compare_routing,
    describe,
    evaluate_run,
    finish,
    train_stage,
)
from capsnp.reproduce.memory import PARTS
from capsnp.reproduce.outputs import draw_samples, rebuild_images
from capsnp.reproduce.presets import PRESETS
from capsnp.reproduce.runs import (
    OpenRun,
    default_folder,
    expect_stage,
    layers,
    look_into,
    open_run,
)
from capsnp.reproduce.settings import MACHINE, Settings, resolve

__all__ = [
    "MACHINE",
    "PARTS",
    "PRESETS",
    "OpenRun",
    "Settings",
    "compare_routing",
    "default_folder",
    "describe",
    "draw_samples",
    "evaluate_machine",
    "evaluate_run",
    "expect_stage",
    "finish",
    "is_machine",
    "layers",
    "look_into",
    "look_into_machine",
    "open_run",
    "rebuild_images",
    "resolve",
    "score_run",
    "train_machine",
    "train_stage",
]
