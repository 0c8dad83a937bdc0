import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from capsnp.datasets import load
from capsnp.errors import DataError

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (12, 6, 5, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)


def error(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load(folder, progress=False)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    return message


def test_a_flat_folder_in_the_order_of_its_names(tmp_path):
    names = [f"{n:02}.{'PNG' if n % 2 else 'png'}" for n in range(12)]
    for n in RNG.permutation(12):
        save(tmp_path / names[n], COLOUR[n])
    (tmp_path / "notes.txt").write_text("passed over")
    save(tmp_path / ".hidden.png", COLOUR[0, :2])
    data = load(tmp_path, split="all")
    np.testing.assert_array_equal(data.images, (COLOUR / 255).astype(np.float32))
    assert (data.name, data.labels, data.classes) == (str(tmp_path), None, ())
    train, test = load(tmp_path), load(str(tmp_path), split="test")
    assert (len(train), len(test)) == (11, 1)
    found = np.concatenate([train.images, test.images]).reshape(12, -1)
    assert sorted(map(bytes, found)) == sorted(map(bytes, data.images.reshape(12, -1)))


def test_sub_folders_are_classes(tmp_path):
    for n, name in enumerate(["dog", "cat", "dog", "ant"]):
        save(tmp_path / name / f"{n}.png", COLOUR[n])
    (tmp_path / "empty").mkdir()
    save(tmp_path / ".trash" / "9.png", COLOUR[9])
    save(tmp_path / "cat" / ".9.png", COLOUR[9])
    data = load(tmp_path, split="all")
    assert data.labels is not None
    assert (data.classes, data.labels.tolist()) == (("ant", "cat", "dog"), [0, 1, 2, 2])
    assert data.labels.dtype == np.int64
    np.testing.assert_array_equal(data.images, (COLOUR[[3, 1, 0, 2]] / 255).astype(np.float32))
    for split in ("train", "test"):
        part = load(tmp_path, split=split)
        assert part.classes == ("ant", "cat", "dog")
        assert part.labels is not None
        for image, label in zip(part.images, part.labels, strict=True):
            row = next(r for r in range(4) if np.array_equal(image, data.images[r]))
            assert data.labels[row] == label


@pytest.mark.parametrize("classes", [True, False])
def test_a_folder_that_is_split_already(tmp_path, classes):
    for n in range(6):
        half = tmp_path / ("train" if n < 4 else "test")
        save((half / "ab"[n % 2] if classes else half) / f"{n}.png", COLOUR[n])
    train, test = load(tmp_path), load(tmp_path, split="test")
    order = [0, 2, 1, 3] if classes else [0, 1, 2, 3]
    np.testing.assert_array_equal(train.images, (COLOUR[order] / 255).astype(np.float32))
    np.testing.assert_array_equal(test.images, (COLOUR[[4, 5]] / 255).astype(np.float32))
    assert len(load(tmp_path, split="all")) == 6
    if classes:
        assert train.labels is not None
        assert train.labels.tolist() == [0, 0, 1, 1]
        (tmp_path / "test" / "a").rename(tmp_path / "test" / "c")
        assert "same classes in train and test, found a, b and b, c" in error(tmp_path)


def test_jpeg_comes_close(tmp_path):
    smooth = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype(np.uint8)
    for n, suffix in enumerate((".jpg", ".jpeg", ".JPG")):
        save(tmp_path / f"{n}{suffix}", smooth)
    data = load(tmp_path, split="all")
    assert data.images.shape == (3, 16, 16, 1)
    np.testing.assert_allclose(data.images[0, ..., 0], smooth / 255, atol=0.05)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_every_mode_of_eight_bits(tmp_path, mode, channels):
    for n in range(2):
        save(tmp_path / f"{n}.png", COLOUR[n], mode)
    data = load(tmp_path, split="all")
    assert data.images.shape == (2, 6, 5, channels)
    wanted = Image.fromarray(COLOUR[0]).convert(mode).convert("L" if channels == 1 else "RGB")
    np.testing.assert_array_equal(
        data.images[0].squeeze(), (np.asarray(wanted) / 255).astype(np.float32)
    )


def test_a_palette_with_transparency(tmp_path):
    for n in range(2):
        image = Image.fromarray(COLOUR[n]).quantize(16)
        image.info["transparency"] = bytes(range(16))
        image.save(tmp_path / f"{n}.png", transparency=bytes(range(16)))
    assert load(tmp_path, split="all").images.shape == (2, 6, 5, 3)


def test_the_first_file_that_differs_is_named(tmp_path):
    for n in range(4):
        save(tmp_path / f"{n}.png", COLOUR[n])
    save(tmp_path / "2.png", COLOUR[2, :4])
    save(tmp_path / "3.png", COLOUR[3, :3])
    assert error(tmp_path) == (
        f"{tmp_path / '2.png'}: expected 5×6 pixels in colour as in 0.png, "
        "found 5×4 pixels in colour"
    )
    save(tmp_path / "1.png", COLOUR[1], "L")
    assert error(tmp_path).endswith(
        "1.png: expected 5×6 pixels in colour as in 0.png, found 5×6 pixels in grey"
    )


def test_sixteen_bits_are_refused(tmp_path):
    for n in range(2):
        save(tmp_path / f"{n}.png", np.full((4, 4), 40_000, np.uint16))
    assert "0.png: expected 8 bits for each of grey or red, green and blue" in error(tmp_path)


def test_a_folder_without_images_or_with_both_kinds(tmp_path):
    assert error(tmp_path) == f"{tmp_path}: expected PNG or JPEG files, found none"
    save(tmp_path / "0.png", COLOUR[0])
    assert "expected at least 2 images" in error(tmp_path)
    save(tmp_path / "cat" / "1.png", COLOUR[1])
    assert error(tmp_path).endswith(
        "expected images in the folder or in its sub-folders, found 0.png beside cat/"
    )


def test_a_file_that_is_no_image_is_named(tmp_path):
    save(tmp_path / "0.png", COLOUR[0])
    (tmp_path / "1.png").write_text("no image")
    assert error(tmp_path).startswith(f"{tmp_path / '1.png'}: expected a PNG or JPEG image, but")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_a_file_cut_short_is_named_and_left(tmp_path, suffix):
    for n in range(2):
        save(tmp_path / f"{n}.{suffix}", COLOUR[n])
    path = tmp_path / f"1.{suffix}"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 20, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=str(path)):
            load(tmp_path, split="all", progress=False)
        assert path.read_bytes() == whole[:length]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG"]), mode=st.sampled_from(["L", "P"]))
def test_a_damaged_image_gives_a_data_error_or_pixels(tmp_path, data, kind, mode):
    buffer = io.BytesIO()
    Image.fromarray(COLOUR[0]).convert("L" if kind == "JPEG" else mode).save(buffer, kind)
    whole = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "0.png").write_bytes(whole)
    try:
        found = load(tmp_path, split="all", progress=False)
    except DataError as caught:
        message = str(caught)
    else:
        message = ""
        assert found.images.ndim == 4
    assert "\n" not in message


def test_progress_is_a_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    for n in range(2):
        save(tmp_path / f"{n}.png", COLOUR[n])
    load(tmp_path)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    load(tmp_path)
    assert "reading images" in capsys.readouterr().err
