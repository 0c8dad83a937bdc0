"""Labelled images of a run of a capsule network."""

from typing import Literal

import numpy as np

from capsnp.datasets import Dataset
from capsnp.errors import DataError
from capsnp.reproduce.pipeline import Data


class LabelledData(Data):
    """The images of a run with their labels, read when they are first asked for.

    Of the settings ``data``, ``train_images`` and ``test_images``; the other parameters are those
    of `capsnp.reproduce.pipeline.Data`.
    """

    def check(self) -> None:
        """Read both splits now, to fail before any work if they are not as they should be.

        Raises
        ------
        OptionError, DataError
            As `capsnp.datasets.load`; if there are no labels, or a class to be tested is not
            trained.
        """
        super().check()
        found = np.unique(labels_of(self.train))
        if found.size < 2:
            raise DataError(f"{self.train.name}: expected at least two classes, got {found.size}")
        unseen = np.setdiff1d(labels_of(self.test), found)
        if unseen.size:
            raise DataError(
                f"{self.train.name}: expected training images of every class that is tested, "
                f"found none of {self.train.classes[unseen[0]]!r} in {len(self.train)}"
            )

    def _limit(self, split: Literal["train", "test"]) -> int | None:
        return self.settings[f"{split}_images"]

    def _load(self, split: Literal["train", "test"]) -> Dataset:
        found = super()._load(split)
        if found.labels is None:
            raise DataError(
                f"{found.name}: expected labels, found none: a folder for each class, or an array "
                "'labels' in an .npz file"
            )
        return found


def labels_of(data: Dataset) -> np.ndarray:
    """Labels of a data set that has them."""
    assert data.labels is not None
    return data.labels
