"""The original files, where the machine has them."""

import gzip
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from capsnp.datasets import load
from capsnp.datasets.catalogue import FASHION_MNIST, MNIST
from capsnp.errors import DataError

ROOT = Path(os.environ.get("CAPSNP_DATA") or "unset")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not ROOT.is_dir(), reason="CAPSNP_DATA names no folder of data files"),
]


def folder_of(name: str) -> Path:
    collection = MNIST if name == "mnist" else FASHION_MNIST
    for folder in collection.folders:
        if (ROOT / folder).is_dir():
            return ROOT / folder
    pytest.skip(f"CAPSNP_DATA holds no {name}")


# Published numbers: 60,000 and 10,000 images; mean and deviation of MNIST's pixels 0.1307 and
# 0.3081, of Fashion-MNIST's 0.2860 and 0.3530.
@pytest.mark.parametrize(
    ("name", "counts", "mean", "deviation"),
    [
        (
            "mnist",
            {
                "train": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
                "test": [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
            },
            0.1307,
            0.3081,
        ),
        ("fashion-mnist", {"train": [6000] * 10, "test": [1000] * 10}, 0.2860, 0.3530),
    ],
)
def test_idx_collections(name, counts, mean, deviation):
    folder_of(name)
    for split, expected in counts.items():
        data = load(name, split=split)
        assert data.images.shape == (sum(expected), 28, 28, 1)
        assert data.images.dtype == np.float32
        assert (data.images.min(), data.images.max()) == (0, 1)
        assert data.labels is not None
        assert np.bincount(data.labels).tolist() == expected
        if split == "train":
            assert data.images.mean(dtype=np.float64) == pytest.approx(mean, abs=5e-5)
            assert data.images.std(dtype=np.float64) == pytest.approx(deviation, abs=5e-5)


def copy_test_split(name: str, root: Path, *, as_name: str) -> Path:
    target = root / as_name
    target.mkdir()
    for file in folder_of(name).glob("t10k-*"):
        shutil.copy(file, target)
    return target


def test_a_changed_pixel_is_found(tmp_path):
    folder = copy_test_split("mnist", tmp_path, as_name="mnist")
    packed = next(folder.glob("t10k-images*"))
    content = bytearray(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    plain = folder / "t10k-images-idx3-ubyte"
    plain.write_bytes(content)
    assert len(load("mnist", data_dir=tmp_path, split="test")) == 10_000
    content[5_000_000] ^= 1
    plain.write_bytes(content)
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte of mnist with SHA-256 0fa7898d"):
        load("mnist", data_dir=tmp_path, split="test")


def test_one_collection_in_place_of_another_is_named(tmp_path):
    copy_test_split("fashion-mnist", tmp_path, as_name="mnist")
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=tmp_path, split="test")
    assert str(caught.value).endswith(
        "expected t10k-images-idx3-ubyte of mnist, found t10k-images-idx3-ubyte of fashion-mnist"
    )


def test_test_files_in_place_of_training_files_are_named(tmp_path):
    folder = copy_test_split("mnist", tmp_path, as_name="mnist")
    for file in folder.iterdir():
        file.rename(folder / file.name.replace("t10k", "train"))
    with pytest.raises(DataError, match="found t10k-images-idx3-ubyte of mnist"):
        load("mnist", data_dir=tmp_path)


def test_rgb():
    if not (ROOT / "rgb").is_dir():
        pytest.skip("CAPSNP_DATA holds no rgb")
    for split, n in (("train", 4000), ("test", 1000)):
        data = load("rgb", split=split)
        assert data.images.shape == (n, 32, 32, 3)
        assert data.labels is not None
        assert np.bincount(data.labels).tolist() == [n // 10] * 10
        assert data.classes[3] == "cat"
        assert (data.images.min(), data.images.max()) == (0, 1)
