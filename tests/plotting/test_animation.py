import numpy as np
import pytest
from PIL import Image

from capsnp import plotting
from capsnp.errors import OptionError, RunError, ShapeError
from capsnp.plotting import animation


@pytest.fixture
def states(rng):
    """Five images of three steps."""
    return rng.random((3, 5, 8, 8, 1))


def test_a_film_has_a_frame_for_each_step(tmp_path, states):
    path = plotting.film(iter(states), tmp_path / "a.gif", columns=5, rate=4)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info["duration"] == 250
        seen = []
        for step in range(3):
            image.seek(step)
            seen.append(np.asarray(image.convert("L"), dtype=float) / 255)
    assert not np.array_equal(seen[0], seen[1])
    picture = animation._picture(states[1], 5)[..., 0]
    height, width = picture.shape
    left = animation.MARGIN
    lower = seen[1].shape[0] - height - animation.MARGIN
    rows = [
        np.abs(seen[1][top : top + height, left : left + width] - picture).mean()
        for top in (lower - 1, lower)
    ]
    assert min(rows) < 0.02  # a GIF has 256 colours
    assert [file.name for file in tmp_path.iterdir()] == ["a.gif"]


def test_colour_and_uneven_rows(tmp_path, rng):
    path = plotting.film([rng.random((7, 9, 5, 3))], tmp_path / "a.gif", columns=3)
    with Image.open(path) as image:
        assert image.n_frames == 1


def test_what_cannot_be_filmed(tmp_path, states, monkeypatch):
    with pytest.raises(OptionError, match=r"path: expected a name .*\.gif or \.mp4, got 'a\.png'"):
        plotting.film(states, tmp_path / "a.png")
    monkeypatch.setattr(animation.FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(OptionError, match=r"path: \.mp4 needs ffmpeg, which is not found"):
        plotting.film(states, tmp_path / "a.mp4")
    with pytest.raises(OptionError, match="frames: expected at least one, got none"):
        plotting.film([], tmp_path / "a.gif")
    with pytest.raises(OptionError, match="rate: expected a whole number from 1, got 0"):
        plotting.film(states, tmp_path / "a.gif", rate=0)
    with pytest.raises(ShapeError, match=r"frames: expected .*\(N, H, W, C\)"):
        plotting.film(states[0], tmp_path / "a.gif")
    with pytest.raises(RunError, match=r"cannot be written"):
        plotting.film(states, tmp_path / "none" / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_fails_leaves_the_old_one(tmp_path, states):
    plotting.film(states, tmp_path / "a.gif")
    before = (tmp_path / "a.gif").read_bytes()

    def broken():
        yield states[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plotting.film(broken(), tmp_path / "a.gif")
    assert (tmp_path / "a.gif").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not animation.FFMpegWriter.isAvailable(), reason="ffmpeg is not installed")
def test_an_mp4(tmp_path, states):
    assert plotting.film(states, tmp_path / "a.mp4").stat().st_size > 1000
