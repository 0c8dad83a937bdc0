import gzip
from pathlib import Path

import numpy as np
import pytest

from capsnp.datasets import NAMES, Dataset, load
from capsnp.errors import CapsnpError, DataError, OptionError

from .conftest import idx_bytes


def one_line(error: pytest.ExceptionInfo[CapsnpError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_digits_are_split_as_documented():
    train, test = load("digits"), load("digits", split="test")
    for data, n in ((train, 1500), (test, 297)):
        assert isinstance(data, Dataset)
        assert data.name == "digits"
        assert data.images.shape == (n, 28, 28, 1)
        assert data.images.dtype == np.float32
        assert data.images.flags.c_contiguous
        assert data.labels is not None
        assert data.labels.dtype == np.int64
        assert data.classes == tuple("0123456789")
        assert 0 <= data.images.min() < data.images.max() <= 1
    assert np.bincount(train.labels).min() >= 146
    counts = np.bincount(test.labels)
    assert (counts.min(), counts.max()) == (27, 33)
    whole = load("digits", split="all")
    np.testing.assert_array_equal(whole.images, np.concatenate([train.images, test.images]))


def test_digits_keep_the_ink_and_the_place_of_the_originals():
    from sklearn.datasets import load_digits

    small = load_digits().images / 16  # (N, 8, 8)
    large = load("digits", split="all").images[..., 0]
    # Ten pixels of 2.8 × 2.8, so each old pixel's ink is spread over 7.84 new ones.
    np.testing.assert_allclose(large.mean((1, 2)) * 100, small.sum((1, 2)), rtol=0.1)
    for axis in (1, 2):
        other = 3 - axis
        there = np.arange(8) + 1.5
        here = (np.arange(28) + 0.5) / 2.8
        old = (small.sum(other) * there).sum(1) / small.sum((1, 2))
        new = (large.sum(other) * here).sum(1) / large.sum((1, 2))
        np.testing.assert_allclose(new, old, atol=0.1)


def test_limit_takes_the_first():
    few = load("digits", limit=7)
    np.testing.assert_array_equal(few.images, load("digits").images[:7])
    assert few.labels is not None
    assert len(few) == len(few.labels) == 7
    assert len(load("digits", split="test", limit=10_000)) == 297


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "valid"}, "split: expected 'train', 'test' or 'all', got 'valid'"),
        ({"limit": 0}, "limit: expected a whole number from 1, got 0"),
        ({"limit": 2.5}, "limit: expected a whole number from 1, got 2.5"),
        ({"limit": True}, "limit: expected a whole number from 1, got True"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(OptionError) as caught:
        load("digits", **options)
    assert one_line(caught) == message


@pytest.mark.parametrize("name", ["mnst", "", "no/such/folder", "photo.png"])
def test_an_unknown_name_lists_the_known(name):
    with pytest.raises(OptionError) as caught:
        load(name)
    message = one_line(caught)
    assert all(known in message for known in NAMES)
    assert message.endswith(f"got {name!r}")


def test_a_missing_file_is_named():
    with pytest.raises(DataError, match=r"no/such\.npz: expected a file of images, found none"):
        load("no/such.npz")


@pytest.mark.parametrize("way", ["argument", "variable"])
def test_a_data_folder_by_argument_or_variable(mnist_folder, monkeypatch, way):
    if way == "variable":
        monkeypatch.setenv("CAPSNP_DATA", str(mnist_folder))
        data = load("mnist")
    else:
        monkeypatch.setenv("CAPSNP_DATA", "/no/such/folder")
        data = load("mnist", data_dir=mnist_folder)
    expected = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    np.testing.assert_array_equal(data.images[..., 0], (expected / 255).astype(np.float32))
    assert data.labels is not None
    assert data.labels.tolist() == list(range(10)) * 2
    assert data.classes == tuple("0123456789")
    assert len(load("mnist", data_dir=mnist_folder, split="test")) == 10


@pytest.mark.parametrize("folder", ["fashion", "fashion-mnist"])
def test_fashion_lies_in_either_folder(mnist_folder, folder):
    (mnist_folder / "mnist").rename(mnist_folder / folder)
    data = load("fashion-mnist", data_dir=str(mnist_folder))
    assert data.classes[9] == "Ankle boot"
    assert len(data.classes) == 10


def test_a_wrong_data_folder_lists_what_was_looked_for(tmp_path, monkeypatch):
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=tmp_path / "none")
    assert one_line(caught).startswith("data_dir: expected a folder that holds mnist/, fashion/")
    monkeypatch.setenv("CAPSNP_DATA", str(tmp_path / "none"))
    with pytest.raises(DataError, match=r"^CAPSNP_DATA: expected a folder"):
        load("mnist")
    for name, words in [
        ("mnist", "expected mnist/ with train-images-idx3-ubyte.gz or train-images-idx3-ubyte in"),
        ("fashion-mnist", "expected fashion/ or fashion-mnist/ with train-images-idx3-ubyte.gz"),
        ("rgb", "expected rgb/ with an NPZ file or cifar-10-binary.tar.gz in it, found neither"),
    ]:
        with pytest.raises(DataError) as caught:
            load(name, data_dir=tmp_path)
        assert one_line(caught).startswith(f"{tmp_path}: {words}")


def test_a_missing_labels_file_is_named(mnist_folder):
    (mnist_folder / "mnist" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"train-labels-idx1-ubyte\.gz or train-labels"):
        load("mnist", data_dir=mnist_folder)


def damage(folder: Path, name: str, content: bytes) -> str:
    path = folder / "mnist" / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        load("mnist", data_dir=folder)
    assert path.read_bytes() == content
    assert one_line(caught).startswith(f"{path}: expected ")
    return one_line(caught)


def test_images_and_labels_have_to_agree(mnist_folder):
    labels = "train-labels-idx1-ubyte"
    assert damage(mnist_folder, labels, idx_bytes(np.zeros(19, int))).endswith(
        "expected 20 labels for the images in train-images-idx3-ubyte.gz, found 19"
    )
    wrong = np.arange(20) % 10
    wrong[13] = 10
    assert damage(mnist_folder, labels, idx_bytes(wrong)).endswith(
        "expected labels 0 to 9, found 10 at index 13"
    )


def test_images_of_another_size_are_refused(mnist_folder):
    images = gzip.compress(idx_bytes(np.zeros((20, 27, 28), int)))
    message = damage(mnist_folder, "train-images-idx3-ubyte.gz", images)
    assert message.endswith("expected shape (any, 28, 28), found (20, 27, 28) in its header")


def test_labels_in_place_of_images_are_refused(mnist_folder):
    folder = mnist_folder / "mnist"
    labels = (folder / "train-labels-idx1-ubyte").read_bytes()
    assert damage(mnist_folder, "train-images-idx3-ubyte.gz", labels).endswith("3 axes, found 1")


def test_files_of_full_length_have_to_be_the_originals(mnist_folder):
    zeros = bytes([0, 0, 8, 1, 0, 0, 0xEA, 0x60]) + bytes(60_000)
    images = bytes([0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28])
    images = gzip.compress(images + bytes(60_000 * 784), compresslevel=1)
    message = damage(mnist_folder, "train-images-idx3-ubyte.gz", images)
    assert "expected train-images-idx3-ubyte of mnist with SHA-256 ba891046e65" in message
    longer = bytes([0, 0, 8, 1, 0, 0, 0xEA, 0x61]) + bytes(60_001)
    good = gzip.compress(idx_bytes(np.zeros((20, 28, 28), int)))
    (mnist_folder / "mnist" / "train-images-idx3-ubyte.gz").write_bytes(good)
    assert "of mnist with SHA-256 65a50cbb" in damage(
        mnist_folder, "train-labels-idx1-ubyte", zeros
    )
    assert damage(mnist_folder, "train-labels-idx1-ubyte", longer).endswith(
        "expected at most 60000 entries, found 60001"
    )
