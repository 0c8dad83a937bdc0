"""Who judges a run's images, and which images: the same for every row of every table."""

import numpy as np

from capsnp.errors import CheckpointError
from capsnp.evaluation import ImageClassifier, ImageJudge, ImageScores
from capsnp.reproduce.runs import OpenRun
from capsnp.training import Progress, Watchdog, read_checkpoint, write_checkpoint
from capsnp.training.files import one_line

JUDGE = "cache/judge.safetensors"

_TESTED = 6  # what the random numbers are for: the second part of their generator's seed


class Judge:
    """Scores images beside the run's training images.

    The classifier through whose eyes it looks is trained once and kept in the run's cache. Data
    without labels are looked at through principal components of their pixels.

    Parameters
    ----------
    opened : OpenRun
        Held by `RunFolder.lock`.
    progress : Progress

    Attributes
    ----------
    originals : numpy.ndarray, shape (n, H, W, C)
        Test images drawn at random (the first ones of MNIST are easier than the rest); there are
        as many in every set that is judged.
    """

    def __init__(self, opened: OpenRun, progress: Progress) -> None:
        settings, data = opened.settings, opened.data
        order = np.random.default_rng([settings["seed"], _TESTED]).permutation(len(data.test))
        self.originals = data.test.images[np.sort(order[: settings["evaluation.n_images"]])]
        classifier = None if data.train.labels is None else _classifier(opened, progress)
        self._judge = ImageJudge(classifier, random_state=settings["seed"]).fit(
            data.train.images, new=data.test.images
        )

    @property
    def can_score(self) -> bool:
        """Whether there are more images than features, as the Fréchet distance needs."""
        return len(self.originals) > self._judge.reference_.shape[1] < len(self._judge.reference_)

    def score(self, images: np.ndarray) -> ImageScores:
        """All scores of images."""
        return self._judge.report(images)


def _classifier(opened: OpenRun, progress: Progress) -> ImageClassifier:
    """A classifier of the run's data, trained or from the cache."""
    settings, train = opened.settings, opened.data.train
    parameters = {
        "n_steps": settings["evaluation.classifier_steps"],
        "random_state": settings["seed"],
        "dtype": settings["dtype"],
        "backend": settings["backend"],
    }
    path = opened.run.path(JUDGE)
    if path.is_file():
        try:
            return ImageClassifier.from_state(read_checkpoint(path).arrays, **parameters)
        except CheckpointError as error:
            opened.say(f"{error}; the classifier is trained again")
    classifier = ImageClassifier(**parameters)
    classifier.fit(train.images, train.labels, observers=(Watchdog(), progress))
    with one_line(path, "cannot be written"):
        path.parent.mkdir(exist_ok=True)
    write_checkpoint(path, classifier.state())
    return classifier
