"""The command ``capsnp``. What it does is in `capsnp.reproduce` and needs no command line."""

import io
import sys

from capsnp.cli import (
    benchmarking,
    capsnet,
    experiments,
    images,
    info,
    judging,
    likelihoods,
    looking,
    training,
    verifying,
)
from capsnp.cli._app import app

for _command in (
    training.reproduce,
    training.train,
    images.sample,
    images.reconstruct,
    judging.evaluate,
    judging.compare,
    likelihoods.likelihood,
    verifying.verify,
    benchmarking.bench,
    info.info,
):
    app.command()(_command)
for _experiment in (
    experiments.conventions,
    experiments.overlap,
    experiments.compare,
    experiments.routings,
):
    capsnet.app.command()(_experiment)
for _look in (looking.diagram, looking.lamp):
    capsnet.app.command()(_look)
app.add_typer(capsnet.app, name="capsnet")


def main() -> None:
    """Run the command and exit with its code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what its encoding has not is shown as "?"
            stream.reconfigure(errors="replace")
    app()
