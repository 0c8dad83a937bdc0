import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from capsnp import plotting
from capsnp.errors import DomainError, DtypeError, OptionError, RunError
from capsnp.plotting._page import fit_label, host, page, text_at, text_width, thin_out


def test_save_gives_the_same_bytes_for_the_same_input(tmp_path, images):
    for name in ("one.png", "two.png"):
        plotting.save(plotting.samples(images), tmp_path / name)
    one, two = (tmp_path / name for name in ("one.png", "two.png"))
    assert one.read_bytes() == two.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_save_writes_the_figure_at_its_size_and_without_a_date(tmp_path, images):
    figure = plotting.samples(images)
    path = plotting.save(figure, str(tmp_path / "samples.png"))
    with Image.open(path) as image:
        assert image.size == tuple(figure.bbox.size.astype(int))
        assert set(image.info) <= {"dpi", "gamma", "srgb"}


@pytest.mark.parametrize(
    "settings",
    [
        {"font.size": 30, "axes.facecolor": "black", "axes.grid": True, "image.cmap": "jet"},
        {"savefig.bbox": "tight", "savefig.facecolor": "black", "savefig.transparent": True},
        {"text.color": "red", "axes.spines.top": True, "image.interpolation": "bicubic"},
    ],
)
def test_the_users_matplotlib_settings_change_nothing(tmp_path, settings):
    plotting.save(plotting.squash_curves(), tmp_path / "one.png")
    with mpl.rc_context(settings):
        plotting.save(plotting.squash_curves(), tmp_path / "two.png")
        assert all(mpl.rcParams[name] == value for name, value in settings.items())
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_save_refuses_other_formats_and_leaves_an_old_file(tmp_path, images):
    with pytest.raises(OptionError, match=r"path: .*\.png, got 'a\.pdf'"):
        plotting.save(plotting.samples(images), tmp_path / "a.pdf")
    with pytest.raises(RunError, match="missing"):
        plotting.save(plotting.samples(images), tmp_path / "missing" / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_no_pyplot_is_needed():
    code = (
        "import sys, numpy, capsnp.plotting as p\n"
        "p.samples(numpy.zeros((2, 8, 8, 1)))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrays_of_every_library_are_drawn_alike(from_host, images, pixels):
    expected = pixels(plotting.samples(images))
    np.testing.assert_array_equal(pixels(plotting.samples(from_host(images))), expected)


def test_host_names_the_first_number_that_is_not_finite():
    with pytest.raises(DomainError, match=r"images: expected finite numbers, got nan at \(0, 1\)"):
        host("images", np.array([[0.0, np.nan]]))
    with pytest.raises(DtypeError, match="images: expected an array, got list"):
        host("images", [1.0])


@pytest.mark.parametrize("text", ["T-shirt/top", "Ankle boot", "automobile", "a b c d", ""])
@pytest.mark.parametrize("width", [30, 56, 200])
def test_fit_label_fits(text, width):
    fitted = fit_label(text, width)
    assert text_width(fitted) <= width
    if "…" not in fitted:
        assert fitted.replace("\n", "").replace(" ", "") == text.replace(" ", "")


def test_thin_out_keeps_labels_apart():
    positions, labels = thin_out(range(64), [str(j) for j in range(64)], 10)
    step = positions[1] - positions[0]
    assert labels == [str(j) for j in positions]
    assert 10 * step > text_width("63")


def test_the_check_of_legibility_sees_what_it_should(assert_legible):
    figure = page(200, 100, "title")
    text_at(figure, 20, 50, "some text")
    assert "some text" in assert_legible(figure)
    text_at(figure, 40, 55, "other text")
    with pytest.raises(AssertionError, match="overlap"):
        assert_legible(figure)
    cropped = page(200, 100, "title")
    text_at(cropped, 180, 50, "some text")
    with pytest.raises(AssertionError, match="cropped"):
        assert_legible(cropped)
    small = page(200, 100, "title")
    text_at(small, 20, 50, "some text", fontsize=5)
    with pytest.raises(AssertionError, match="too small"):
        assert_legible(small)
