"""``capsnp sample`` and ``capsnp reconstruct``: files of images, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from capsnp.datasets import load
from capsnp.models import CapsuleGenerator

from .conftest import expect_one_line


def read_images(path):
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["images"]
        return archive["images"]


@pytest.mark.parametrize("domain", ["full", "half", "visited", "codes"])
def test_samples_are_the_models(made, capsnp, tmp_path, domain):
    file = tmp_path / "out.npz"
    result = capsnp("sample", made, "-n", 5, "--domain", domain, "--seed", 3, "-o", file)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{file}\n"
    images = read_images(file)
    assert (images.shape, images.dtype) == ((5, 28, 28, 1), np.float32)
    assert 0 <= images.min() <= images.max() <= 1
    expected = CapsuleGenerator.load(made).sample(5, domain, random_state=3)
    np.testing.assert_array_equal(images, expected)


def test_one_capsule_can_be_chosen(made, capsnp, tmp_path):
    file = tmp_path / "out.npz"
    result = capsnp("sample", made, "-n", 3, "--domain", "half", "--capsule", 2, "-o", file)
    assert result.exit_code == 0, result.output
    expected = CapsuleGenerator.load(made).sample(3, "half", 2, random_state=0)
    np.testing.assert_array_equal(read_images(file), expected)


@pytest.mark.parametrize(
    "options", [(), ("--domain", "half"), ("--domain", "full", "--capsule", 1), ("-n", 3)]
)
def test_samples_as_a_picture(made, capsnp, tmp_path, options):
    file = tmp_path / "out.png"
    result = capsnp("sample", made, "-n", 10, *options, "-o", file)
    assert result.exit_code == 0, result.output
    with Image.open(file) as image:
        assert image.size[0] > 100


def test_a_model_without_a_run_can_be_sampled_from(made, capsnp, tmp_path):
    CapsuleGenerator.load(made).save(tmp_path / "model")
    file = tmp_path / "out.npz"
    assert capsnp("sample", tmp_path / "model", "-n", 2, "-o", file).exit_code == 0
    assert len(read_images(file)) == 2


@pytest.mark.parametrize("inference", ["settle", "route"])
def test_reconstructions_are_the_models(made, capsnp, tmp_path, inference):
    file = tmp_path / "out.npz"
    result = capsnp("reconstruct", made, "-n", 4, "--inference", inference, "-o", file)
    assert result.exit_code == 0, result.output
    model, images = CapsuleGenerator.load(made), load("digits", split="test").images[:4]
    expected = model.inverse_transform(model.transform(images, inference))
    np.testing.assert_array_equal(read_images(file), expected)


def test_reconstructions_of_other_data_as_a_picture(made, capsnp, tmp_path, rng):
    np.savez(tmp_path / "mine.npz", images=rng.random((30, 28, 28)).astype(np.float32))
    file = tmp_path / "out.png"
    result = capsnp("reconstruct", made, "--data", tmp_path / "mine.npz", "-n", 3, "-o", file)
    assert result.exit_code == 0, result.output
    assert file.stat().st_size > 0


def test_images_of_another_size(made, capsnp, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((30, 32, 32), np.uint8))
    file = tmp_path / "out.npz"
    result = capsnp("reconstruct", made, "--data", tmp_path / "mine.npz", "-o", file)
    expect_one_line(result, 1, "mine.npz: expected images of (28, 28, 1) as the model's", "32")
    assert not file.exists()


@pytest.mark.parametrize(
    ("command", "name", "words"),
    [
        ("sample", "out.jpg", "ends in .npz, .png, .gif or .mp4, got 'out.jpg'"),
        ("reconstruct", "out.jpg", "ends in .npz or .png, got 'out.jpg'"),
        ("reconstruct", "out.gif", "ends in .npz or .png, got 'out.gif'"),
        ("sample", "none/out.npz", "a folder that is"),
        ("reconstruct", "none/out.npz", "a folder that is"),
    ],
)
def test_an_output_that_cannot_be_is_refused_before_the_run_is_read(
    capsnp, tmp_path, command, name, words
):
    result = capsnp(command, tmp_path / "no-run", "-o", tmp_path / name)
    expect_one_line(result, 2, words)


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_without_an_output(capsnp, made, command):
    expect_one_line(capsnp(command, made), 2, "--output")


@pytest.mark.parametrize("suffix", ["npz", "png"])
def test_an_output_that_cannot_be_written(made, capsnp, tmp_path, suffix):
    file = tmp_path / f"out.{suffix}"
    file.mkdir()
    result = capsnp("sample", made, "-n", 2, "-o", file)
    expect_one_line(result, 1, str(file))
    assert not [path for path in tmp_path.iterdir() if path != file]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--domain", "quarter"), "domain: expected 'full', 'half'"),
        (("--domain", "half", "--capsule", 4), "capsule: expected 0 to 3, got 4"),
        (("--capsule", 1), "capsule: expected none with the domain 'codes'"),
        (("-n", 0), "-n"),
        (("--seed", -2), "--seed"),
        (("--backend", "abacus"), "backend: expected one of numpy"),
    ],
)
def test_wrong_options_of_sample(made, capsnp, tmp_path, options, words):
    result = capsnp("sample", made, *options, "-o", tmp_path / "out.npz")
    expect_one_line(result, 2, words)
    assert not (tmp_path / "out.npz").exists()


def test_a_wrong_inference(made, capsnp, tmp_path):
    result = capsnp("reconstruct", made, "--inference", "guess", "-o", tmp_path / "out.npz")
    expect_one_line(result, 2, "inference: expected 'settle' or 'route', got 'guess'")


def test_a_run_without_a_model(half_made, capsnp, tmp_path):
    result = capsnp("sample", half_made, "-o", tmp_path / "out.npz")
    expect_one_line(result, 1, "holds no trained model", f"--resume --out {half_made}")


def test_a_run_with_some_stages_only(half_made, capsnp, tmp_path):
    assert capsnp("train", "autoencoder", half_made, "--quiet").exit_code == 0
    result = capsnp("sample", half_made, "-o", tmp_path / "out.npz")
    expect_one_line(result, 1, "its training is not finished")


@pytest.mark.parametrize("command", ["sample", "reconstruct"])
def test_a_folder_that_is_no_run(capsnp, tmp_path, command):
    for folder in (tmp_path, tmp_path / "none"):
        result = capsnp(command, folder, "-o", tmp_path / "out.npz")
        expect_one_line(result, 1, str(folder))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "folder"])
def test_a_damaged_model(run_copy, capsnp, tmp_path, damage):
    model = run_copy / "model.safetensors"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 4
    if damage == "folder":
        model.unlink()
        model.mkdir()
    else:
        model.write_bytes({"cut": data[:1000], "flipped": data, "empty": b""}[damage])
    result = capsnp("sample", run_copy, "-o", tmp_path / "out.npz")
    expect_one_line(result, 1, str(run_copy))


@pytest.mark.parametrize("text", ["seed = ", "seed = 'three'", "[capsules]\ncharm = 3\n"])
def test_a_damaged_config(run_copy, capsnp, tmp_path, text):
    (run_copy / "config.toml").write_text(text)
    result = capsnp("reconstruct", run_copy, "-o", tmp_path / "out.npz")
    expect_one_line(result, 1, "config.toml")
