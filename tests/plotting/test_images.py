import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError
from capsnp.plotting._sheet import mosaic

FASHION = ["T-shirt/top", "Trouser", "Pullover", "Ankle boot", "Sneaker"]


def picture_of(figure):
    """The mosaic of the first band, (height, width, 3)."""
    return np.asarray(figure.axes[0].images[0].get_array())


def found(picture, image, zoom):
    """Upper left corners at which the picture holds the image, enlarged."""
    large = np.kron(image, np.ones((zoom, zoom)))
    height, width = large.shape
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], (height, width))
    rows, columns = np.nonzero(windows[..., 0, 0] == large[0, 0])
    corners = zip(rows, columns, strict=True)
    return [(r, c) for r, c in corners if np.array_equal(windows[r, c], large)]


def test_mosaic_places_each_image_in_its_row_and_column(rng):
    images = rng.random((2, 3, 4, 5, 3))
    sheet = mosaic(images, 2, gap=6)
    assert sheet.shape == (2 * 8 + 6 + 2, 3 * 10 + 2 * 6 + 2, 3)
    for r in range(2):
        for k in range(3):
            for y in range(4):
                for x in range(5):
                    top, left = 1 + 14 * r + 2 * y, 1 + 16 * k + 2 * x
                    block = sheet[top : top + 2, left : left + 2]
                    assert (block == images[r, k, y, x]).all()
    assert (sheet[10:14] == 1).all()  # between the frames


def test_mosaic_leaves_out_what_is_nan_and_parts_groups():
    images = np.zeros((1, 4, 2, 2, 3))
    images[0, 3] = np.nan
    sheet = mosaic(images, 1, gap=4, group=2)
    starts = [int(x) for x in np.nonzero(np.diff(sheet[1, :, 0]) == -0.75)[0] + 1]
    assert starts == [1, 7, 29]


def test_capsule_grid_has_a_column_per_capsule(rng, assert_legible):
    images = rng.random((20, 4, 28, 28, 1))
    figure = plotting.capsule_grid(images, labels=FASHION * 4)
    texts = assert_legible(figure)
    lefts = [found(picture_of(figure), images[3, r, :, :, 0], 2)[0] for r in range(4)]
    assert len({left for _, left in lefts}) == 1
    assert [top for top, _ in lefts] == sorted(top for top, _ in lefts)
    assert {"0\nT-shirt/\ntop", "3\nAnkle\nboot", "draw 4"} <= set(texts)


def test_images_are_drawn_in_whole_pixels(rng, pixels):
    """The page shows each image exactly: no blur, at any size that fits."""
    for size in (8, 28, 32):
        images = np.round(rng.random((20, 4, size, size, 1)) * 255) / 255
        seen = pixels(plotting.capsule_grid(images))
        assert len(found(seen, images[7, 2, :, :, 0], 64 // size)) == 1


@pytest.mark.parametrize("n_capsules", [1, 10, 24])
def test_capsule_grid_of_any_number(n_capsules, rng, assert_legible):
    texts = assert_legible(plotting.capsule_grid(rng.random((n_capsules, 2, 28, 28, 3))))
    assert [str(j) for j in range(n_capsules)] == [text for text in texts if text.isdigit()]


def test_reconstructions_has_a_row_per_model(images, assert_legible):
    rebuilt = {"20 capsules": images * 0.9, "3": images * 0.8, "1": images * 0.7}
    figure = plotting.reconstructions(images, rebuilt, labels=["Ankle boot"] * 20)
    texts = assert_legible(figure)
    assert [t for t in texts if t in ("original", *rebuilt)] == ["original", *rebuilt]
    places = [
        found(picture_of(figure), row[5, :, :, 0].astype(float), 2)[0]
        for row in (images, *rebuilt.values())
    ]
    assert len({left for _, left in places}) == 1
    assert [top for top, _ in places] == [1, 61, 121, 181]


def test_reconstructions_takes_one_array_and_many_images(images, assert_legible):
    many = np.concatenate([images, images[:5]])
    assert "rebuilt" in assert_legible(plotting.reconstructions(many, many))


def test_samples_are_numbered_row_by_row(images, assert_legible):
    figure = plotting.samples(images, columns=6)
    texts = assert_legible(figure)
    assert {"0", "6", "12", "18", "+5"} <= set(texts)
    ((top, left),) = found(picture_of(figure), images[13, :, :, 0].astype(float), 2)
    assert (top, left) == (1 + 2 * 60, 1 + 60)


def test_samples_larger_than_the_page_are_shrunk(rng, assert_legible):
    assert_legible(plotting.samples(rng.random((21, 160, 160, 3))))


def test_capsule_sweep_labels_dimensions_and_values(rng, assert_legible):
    images = rng.random((16, 11, 28, 28, 1))
    texts = assert_legible(plotting.capsule_sweep(images, np.linspace(-0.5, 0.5, 11)))
    assert {"0", "15", "−0.50", "0.00", "0.50", "dimension"} <= set(texts)
    moves = [f"thickness +{d}.0" for d in range(16)]
    values = np.linspace(-0.5, 0.5, 11)
    texts = assert_legible(plotting.capsule_sweep(images, values, moves=moves))
    assert {"thickness +0.0   0", "thickness +15.0   15"} <= set(texts)


def test_negatives_stand_side_by_side(images, assert_legible):
    figure = plotting.negatives(images, 1 - images)
    texts = assert_legible(figure)
    assert {"0\nx", "0\n−x", "19\n−x"} <= set(texts)
    ((top, left),) = found(picture_of(figure), images[2, :, :, 0].astype(float), 2)
    ((_, beside),) = found(picture_of(figure), (1 - images[2, :, :, 0]).astype(float), 2)
    assert (top, beside) == (1, left + 60)


def test_numbers_outside_the_unit_interval_are_cut():
    images = np.stack([np.full((8, 8, 1), -2.0), np.full((8, 8, 1), 3.0)])
    picture = picture_of(plotting.samples(images))
    assert picture.min() == 0
    assert picture.max() == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: plotting.capsule_grid(x), r"images: expected shape \(J, R, H, W, C\), got"),
        (lambda x: plotting.samples(x[..., 0]), r"images: expected shape \(N, H, W, C\), got"),
        (lambda x: plotting.samples(x[:0]), r"images: .* C = 1 or 3, got \(0, 28, 28, 1\)"),
        (lambda x: plotting.samples(x[:, :, :2].swapaxes(2, 3)), "images: .* C = 1 or 3, got"),
        (lambda x: plotting.capsule_grid(x[:, None], labels=["a"]), "labels: expected 20 .* got 1"),
        (lambda x: plotting.reconstructions(x, x[:3]), "rebuilt: expected .* N = 20 .*originals"),
        (lambda x: plotting.reconstructions(x, {"a": x[:3]}), r"rebuilt\['a'\]: expected .*N = 20"),
        (lambda x: plotting.reconstructions(x, x, labels="ab"), "labels: expected 20 .* got 2"),
        (lambda x: plotting.capsule_sweep(x[None], [0.5]), "values: expected 20 .* got 1"),
        (lambda x: plotting.capsule_sweep(x[None], [0] * 20, moves="ab"), "moves: expected 1 .* 2"),
        (lambda x: plotting.negatives(x, x[1:]), "images_minus_x: expected .*J = 20 .* images_x"),
    ],
)
def test_shapes_that_do_not_fit(images, call, message):
    with pytest.raises(ShapeError, match=message):
        call(images)


def test_columns_is_a_whole_number(images):
    with pytest.raises(OptionError, match="columns: expected a whole number from 1, got 0"):
        plotting.samples(images, columns=0)
