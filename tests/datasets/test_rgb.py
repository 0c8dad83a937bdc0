import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from capsnp.datasets import catalogue, load, rgb
from capsnp.errors import DataError

RNG = np.random.default_rng(0)


def archive(path: Path, **batches: bytes) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def batch(labels: np.ndarray, images: np.ndarray) -> bytes:
    """Records as CIFAR-10's page describes them, a byte at a time: class, red, green, blue."""
    out = bytearray()
    for label, image in zip(labels, images, strict=True):
        out.append(label)
        for channel in range(3):
            for row in range(32):
                out += bytes(int(image[row, column, channel]) for column in range(32))
    return bytes(out)


@pytest.fixture
def cifar(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    labels = RNG.permutation(np.repeat(np.arange(10), 3))
    images = RNG.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    content = batch(labels, images)
    path = archive(tmp_path / "c.tar.gz", data_batch_2=b"other", data_batch_1=content)
    return path, labels, images


def test_the_first_of_each_class_in_their_order(cifar):
    path, labels, images = cifar
    seen = dict.fromkeys(range(10), 0)
    rows = []
    for row, label in enumerate(labels):
        seen[label] += 1
        if seen[label] <= 2:
            rows.append(row)
    found = rgb.read_cifar(path, "train", per_class=2)
    np.testing.assert_array_equal(found.images, images[rows])
    np.testing.assert_array_equal(found.labels, labels[rows])
    assert found.classes == catalogue.CIFAR10_CLASSES


def test_load_reads_the_archive_from_the_data_folder(cifar, tmp_path, monkeypatch):
    (tmp_path / "rgb").mkdir()
    cifar[0].rename(tmp_path / "rgb" / "cifar-10-binary.tar.gz")
    monkeypatch.setattr(rgb, "_PER_CLASS", {"train": 3})
    data = load("rgb", data_dir=tmp_path)
    assert data.images.shape == (30, 32, 32, 3)
    assert data.images.flags.c_contiguous
    np.testing.assert_array_equal(data.images, (cifar[2] / 255).astype(np.float32))


def test_a_class_with_too_few_images(cifar):
    with pytest.raises(DataError, match="expected 4 images of class airplane, found 3"):
        rgb.read_cifar(cifar[0], "train", per_class=4)


def test_damaged_archives(cifar):
    path = cifar[0]
    with pytest.raises(DataError, match=r"expected the member test_batch\.bin, found none"):
        rgb.read_cifar(path, "test", per_class=1)
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"c\.tar\.gz: expected CIFAR-10's binary archive, but"):
            rgb.read_cifar(path, "train", per_class=1)
        assert len(path.read_bytes()) == length
    for content, message in [
        (b"", "found 0 bytes"),
        (bytes(3074), "whole images of 3073 bytes, found 3074 bytes"),
        (b"\x0a" + bytes(3072), "expected labels 0 to 9, found 10"),
    ]:
        archive(path, data_batch_1=content)
        with pytest.raises(DataError, match=message):
            rgb.read_cifar(path, "train", per_class=1)


def test_the_npz_file_in_the_data_folder(tmp_path):
    images = RNG.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    folder = tmp_path / "rgb"
    folder.mkdir()
    np.savez(
        folder / "a.npz",
        x_train=images[:3],
        y_train=np.array([0, 1, 0], "u1"),
        x_test=images[3:],
        y_test=np.array([1], "u1"),
        names_train=np.array([b"x"] * 3),
        classes=np.array([b"cat", b"dog"]),
    )
    data = load("rgb", data_dir=tmp_path)
    assert data.labels is not None
    assert (data.classes, data.labels.tolist()) == (("cat", "dog"), [0, 1, 0])
    np.testing.assert_array_equal(data.images, (images[:3] / 255).astype(np.float32))
    np.savez(folder / "b.npz", x_train=images)
    with pytest.raises(DataError, match=r"expected one NPZ file, found a\.npz, b\.npz"):
        load("rgb", data_dir=tmp_path)
    (folder / "a.npz").unlink()
    np.savez(folder / "b.npz", images=images[..., 0])
    with pytest.raises(DataError, match="expected 3 channels, got 1"):
        load("rgb", data_dir=tmp_path)
