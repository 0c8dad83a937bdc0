"""End to end on the digits: what capsules draw must be better than what is easily had."""

import pytest

from capsnp.reproduce import open_run
from capsnp.reproduce.judge import Judge
from capsnp.reproduce.pipeline import Pipeline
from capsnp.reproduce.scores import baseline_rows, model_rows
from capsnp.training import Progress

SETTINGS = {
    "autoencoder.filters": 16,
    "autoencoder.n_steps": 150,
    "capsules.coefficient_scale": 2.0,
    "capsules.routing_iterations": 1,
    "capsules.n_steps": 700,
    "decoder.winner_steps": 100,
    "decoder.settled_steps": 120,
    "decoder.settling_steps_training": 15,
    "decoder.settling_steps": 60,
    "mixture.n_components": 30,
    "mixture.n_principal": 60,
    "evaluation.classifier_steps": 200,
}


@pytest.fixture(scope="module")
def distances(tmp_path_factory):
    """Fréchet distances of what a model of the digits makes, and of the baselines."""
    opened = open_run(tmp_path_factory.mktemp("quality") / "run", SETTINGS, quiet=True)
    with opened.run.lock(), Progress(quiet=True) as progress:
        model = Pipeline(opened.run, opened.settings, opened.data, progress=progress).train_all()
        judge = Judge(opened, progress)
        rows = [
            *model_rows(model, judge.originals, seed=0),
            *baseline_rows(opened.data.train.images, judge.originals, seed=0),
        ]
        return {row.key: judge.score(row.images()).frechet for row in rows}


def test_joint_samples_are_better_than_a_gaussian_on_principal_components(distances):
    assert distances["joint"] < 0.7 * distances["gaussian"]


def test_images_are_rebuilt_better_than_by_a_gaussian_of_them_all(distances):
    assert distances["rebuilt"] < distances["gaussian"]


def test_single_capsules_draw_better_than_a_gaussian(distances):
    assert distances["half"] < distances["gaussian"] < distances["mean"]
