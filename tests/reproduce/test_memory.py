"""Memory told in advance, against what processes were seen to hold."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from capsnp import memory as system
from capsnp.errors import MemoryLimitError
from capsnp.reproduce import fitting
from capsnp.reproduce.given import parse_assignments
from capsnp.reproduce.memory import features_held, features_of, memory
from capsnp.reproduce.settings import resolve
from capsnp.reproduce.shapes import shapes_of

QUICK = (
    "autoencoder.n_steps=2",
    "capsules.n_steps=2",
    "capsules.rebalance_steps=2",
    "neurons.n_steps=2",
    "neurons.rebalance_steps=2",
    "decoder.winner_steps=1",
    "decoder.settled_steps=1",
    "decoder.settling_steps=2",
    "decoder.settling_steps_training=2",
    "mixture.max_iter=1",
    "evaluation.n_images=80",
    "evaluation.classifier_steps=2",
)
MANY = ("feature_memory=0", "autoencoder.filters=8", "mixture.n_components=100")

needs_proc = pytest.mark.skipif(
    system.resident() == 0, reason="this system has no /proc that tells what a process holds"
)


def measured(*arguments):
    """What `measured.py` prints, from a process of its own."""
    script = Path(__file__).with_name("measured.py")
    threads = {"OPENBLAS_NUM_THREADS": "1", "CAPSNP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        env=os.environ | threads,
        check=True,
    )
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits") / "run"
    return resolve(parse_assignments(QUICK)), measured("run", folder, "digits", *QUICK)


@pytest.fixture(scope="module")
def real_size(tmp_path_factory):
    """Images of MNIST's size, and the model's own sizes."""
    folder = tmp_path_factory.mktemp("real")
    images = np.random.default_rng(0).integers(256, size=(900, 28, 28), dtype=np.uint8)
    np.savez(folder / "images.npz", images=images, labels=np.arange(900) % 10)
    settings = resolve({"preset": "default"}, parse_assignments(QUICK))
    return settings, measured("run", folder / "run", folder / "images.npz", *QUICK)


@pytest.fixture(scope="module")
def neurons(tmp_path_factory):
    """The digits with neurons in place of capsules."""
    options, folder = ("model=neurons", *QUICK), tmp_path_factory.mktemp("neurons") / "run"
    return resolve(parse_assignments(options)), measured("run", folder, "digits", *options)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """As many codes as MNIST's, of features that are fewer."""
    folder = tmp_path_factory.mktemp("many")
    settings = resolve({"preset": "default"}, parse_assignments([*QUICK, *MANY]))
    return settings, measured("codes", folder, 60_000, "preset=default", *QUICK, *MANY)


STAGES = ("autoencoder", "features", "capsules", "decoder", "figures", "evaluation")


@needs_proc
@pytest.mark.parametrize(
    ("made", "stage"),
    [(made, stage) for made in ("digits", "real_size") for stage in STAGES]
    + [("neurons", "capsules"), ("neurons", "decoder"), ("many", "decoder"), ("many", "mixture")],
)
def test_each_stage_holds_what_was_told(made, stage, request, monkeypatch):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "2")
    settings, found = request.getfixturevalue(made)
    image, n, n_test = found["sizes"]
    expected = memory(settings, shapes_of(settings, tuple(image)), n, n_test)
    if made == "many":  # it reads no images
        expected = {name: size - 4 * n * 28 * 28 for name, size in expected.items()}
    elif stage == "decoder":
        expected["decoder"] = max(expected["decoder"], expected["mixture"])
    assert expected[stage] == pytest.approx(found[stage], rel=0.2)


def test_features_are_held_up_to_the_limit_and_mapped_above():
    settings = resolve({"data": "mnist", "feature_memory": 18})
    shapes = shapes_of(settings, (28, 28, 1))
    assert features_of(settings, shapes, 1000) == 1000 * 4608 * 4
    assert features_held(settings, shapes, 1000) == 0
    assert features_held(settings, shapes, 900) == 900 * 4608 * 4
    half = resolve({"data": "mnist", "feature_memory": 18, "feature_dtype": "float16"})
    assert features_held(half, shapes, 1000) == 1000 * 4608 * 2


def limited(monkeypatch, total, *, mapped=False):
    """This process holds 100 MB and may hold so many bytes."""
    limit = system.Limit(total - 100_000_000, "a limit of the test", mapped)
    monkeypatch.setattr(fitting, "limits", lambda: [limit])
    monkeypatch.setattr(fitting, "resident", lambda: 100_000_000)


MNIST = resolve({"data": "mnist"})
SIZES = ((28, 28, 1), 60_000, 10_000)


def test_a_run_that_fits_is_let_through(monkeypatch):
    needed = max(memory(MNIST, shapes_of(MNIST, SIZES[0]), *SIZES[1:]).values())
    limited(monkeypatch, needed)
    fitting.expect_room(MNIST, *SIZES)
    limited(monkeypatch, needed - 1)
    with pytest.raises(MemoryLimitError):
        fitting.expect_room(MNIST, *SIZES)
    monkeypatch.setattr(fitting, "limits", list)
    fitting.expect_room(MNIST, *SIZES)  # where the system tells no limit


@pytest.mark.parametrize(
    ("settings", "stages", "total", "mapped", "words"),
    [
        ({}, None, 900_000_000, False, "--limit "),
        ({}, ("autoencoder",), 700_000_000, False, "--set autoencoder.batch_size=32"),
        ({"feature_memory": 5000}, ("capsules",), 1_000_000_000, False, "feature_memory=0"),
        ({}, ("capsules",), 1_500_000_000, True, "--feature-dtype float16"),
        ({"autoencoder.filters": 2048}, None, 900_000_000, False, "take a smaller model"),
    ],
)
def test_what_does_not_fit_is_told_with_what_helps(
    monkeypatch, settings, stages, total, mapped, words
):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "2")
    limited(monkeypatch, total, mapped=mapped)
    options = {} if stages is None else {"stages": stages}
    with pytest.raises(MemoryLimitError, match=r"the stage .* needs .* GB|MB") as caught:
        fitting.expect_room(resolve(MNIST.values, settings), *SIZES, **options)
    assert words in str(caught.value)
    assert "a limit of the test" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_limit_that_is_told_fits_and_hardly_more_would(monkeypatch):
    limited(monkeypatch, 900_000_000)
    with pytest.raises(MemoryLimitError) as caught:
        fitting.expect_room(MNIST, *SIZES)
    limit = int(str(caught.value).split("--limit ")[1].split()[0])
    mapped = resolve(MNIST.values, {"feature_memory": 0})
    fitting.expect_room(mapped, SIZES[0], limit, min(limit, 10_000))
    more = 2 * limit
    with pytest.raises(MemoryLimitError):
        fitting.expect_room(mapped, SIZES[0], more, min(more, 10_000))
