"""How good the images and the codes of a run are, beside what they must be compared with."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone

from capsnp.datasets import Dataset
from capsnp.evaluation import (
    CodeScores,
    FeatureControl,
    Report,
    capsule_scores,
    class_purity,
    code_table,
    image_table,
    linear_probe,
    mean_image,
    pca_gaussian,
    relative_error,
)
from capsnp.functional import length
from capsnp.models import CapsuleGenerator
from capsnp.reproduce.judge import Judge
from capsnp.reproduce.pipeline import Data
from capsnp.reproduce.runs import OpenRun
from capsnp.training import Progress

PROBED = 10_000  # labelled codes that a linear probe is trained on


class Row(NamedTuple):
    """A set of images to judge: its key, its name in the table, and what makes it."""

    key: str
    label: str
    images: Callable[[], np.ndarray]


def evaluate(
    opened: OpenRun, model: CapsuleGenerator, *, features: np.ndarray, progress: Progress
) -> Report:
    """Judge everything that a model rebuilds and draws, with the controls beside it.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    model : CapsuleGenerator
    features : numpy.ndarray, shape (N, I, P)
        Of the training images.
    progress : Progress

    Returns
    -------
    Report
        A table of images, unless there are too few test images to judge by, and one of codes.
    """
    data, seed = opened.data, opened.settings["seed"]
    judge = Judge(opened, progress)
    control = FeatureControl(clone(model.mixture)).fit(features, track=progress.track)
    tables = []
    if judge.can_score:
        rows = [
            Row("real", "real test images (the floor)", lambda: judge.originals),
            *model_rows(model, judge.originals, seed),
            *control_rows(control, model, judge.originals, seed),
            *baseline_rows(data.train.images, judge.originals, seed),
        ]
        scores = {
            row.label: judge.score(row.images()) for row in progress.track(rows, "evaluation")
        }
        tables.append(image_table(scores, title="Quality of images"))
    else:
        opened.say(f"{len(judge.originals)} test images are too few to judge images by")
    tables.append(code_table(code_scores(model, control, features, data, progress)))
    return Report(tuple(tables))


def baseline_rows(images: np.ndarray, originals: np.ndarray, seed: int) -> list[Row]:
    """What is easily beaten."""
    n = len(originals)
    return [
        Row("gaussian", "PCA-Gaussian", lambda: pca_gaussian(images, n, random_state=seed)),
        Row("mean", "mean image", lambda: mean_image(images, n)),
    ]


def model_rows(model: CapsuleGenerator, originals: np.ndarray, seed: int) -> list[Row]:
    """What capsules rebuild and draw."""
    n_capsules, dim = model.mean_directions_.shape
    numbers = n_capsules * dim

    def rebuilt(inference: Any) -> np.ndarray:
        return model.inverse_transform(model.transform(originals, inference))

    def drawn(domain: Any) -> np.ndarray:
        return model.sample(len(originals), domain, random_state=seed + 1)

    return [
        Row("rebuilt", f"rebuilt from {numbers} numbers, settled", lambda: rebuilt("settle")),
        Row("one-pass", "rebuilt from one pass of routing", lambda: rebuilt("route")),
        Row("joint", "joint codes", lambda: drawn("codes")),
        Row("half", "single capsules, half-sphere", lambda: drawn("half")),
        Row("visited", "single capsules, visited directions", lambda: drawn("visited")),
        Row("full", "single capsules, whole sphere", lambda: drawn("full")),
    ]


def control_rows(
    control: FeatureControl, model: CapsuleGenerator, originals: np.ndarray, seed: int
) -> list[Row]:
    """What the same autoencoder and the same mixture do without capsules."""
    to_images, to_features = model.autoencoder_.inverse_transform, model.autoencoder_.transform
    numbers = control.mixture_.principal_.shape[0]

    def rebuilt() -> np.ndarray:
        return to_images(control.rebuild(to_features(originals)))

    def drawn() -> np.ndarray:
        return to_images(control.sample(len(originals), random_state=seed + 1))

    def autoencoded() -> np.ndarray:
        return to_images(to_features(originals))

    return [
        Row("control-rebuilt", f"control: rebuilt from {numbers} components", rebuilt),
        Row("control-joint", "control: mixture on components", drawn),
        Row("autoencoder", "autoencoder alone, rebuilt", autoencoded),
    ]


def code_scores(
    model: CapsuleGenerator,
    control: FeatureControl,
    features: np.ndarray,
    data: Data,
    progress: Progress,
) -> dict[str, CodeScores]:
    """What a linear probe finds in codes, and how much of the features they rebuild, by row."""
    train, test = data.train, data.test
    h = model.autoencoder_.transform(test.images)
    standard = model.decoder_._backend.to_host(model.experts_.standardize(h))
    won, n_capsules = winning_capsules(model, h), model.mean_directions_.shape[0]

    def probe(encode: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, float | None]:
        """Codes of the test images, and the accuracy of a probe."""
        codes = encode(h)
        if train.labels is None or test.labels is None:
            return codes, None
        some, labels = encode(features[:PROBED]), train.labels[:PROBED]
        return codes, linear_probe(some, labels, codes, test.labels)

    def principal(features: np.ndarray) -> np.ndarray:
        return control.mixture_.transform(features.reshape(len(features), -1))

    found = {}
    inferences: dict[str, Any] = {"settled": "settle", "one pass of routing": "route"}
    for label, inference in progress.track(list(inferences.items()), "codes"):
        codes, accuracy = probe(partial(model.encode, inference=inference))
        error = relative_error(standard, model.decoder_.inverse_transform(codes))
        found[label] = capsule_scores(
            won, n_capsules, labels=test.labels, probe=accuracy, error=error
        )
    codes, accuracy = probe(principal)
    label = f"control: {codes.shape[1]} components"
    found[label] = CodeScores(accuracy, relative_error(h, control.rebuild(h)), (), None, None)
    return found


def winning_capsules(model: CapsuleGenerator, features: np.ndarray) -> np.ndarray:
    """The capsule that wins each image, (N,)."""
    return np.argmax(length(model.encode(features, "route", n_on=1)), axis=1)


def qualities(judge: Judge, model: CapsuleGenerator, test: Dataset, seed: int) -> dict[str, Any]:
    """Fréchet distances of a model's main images, and the purity of its capsules."""
    wanted = ("rebuilt", "joint", "half")
    rows = [row for row in model_rows(model, judge.originals, seed) if row.key in wanted]
    found: dict[str, Any] = {row.key: judge.score(row.images()).frechet for row in rows}
    if test.labels is not None:
        won = winning_capsules(model, model.autoencoder_.transform(test.images))
        found["purity"] = class_purity(won, test.labels, model.mean_directions_.shape[0])[1]
    return found
