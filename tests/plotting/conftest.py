"""Images to draw, and the check that a picture can be read at 100 %."""

import itertools

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

SMALLEST_POINTS = 8
WIDEST_PIXELS = 1600


@pytest.fixture
def images(rng):
    """Twenty grey images of 28 × 28."""
    return rng.random((20, 28, 28, 1), dtype=np.float32)


@pytest.fixture
def pixels():
    """``pixels(figure)``: what is seen, an array (height, width, 3) in [0, 1]."""

    def draw(figure):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3] / 255

    return draw


@pytest.fixture
def assert_legible(monkeypatch, pixels):
    """``assert_legible(figure)``: titled, no text cropped, too small or over other text."""

    def check(figure):
        drawn = []
        original = Text.draw

        def record(text, renderer):
            if text.get_visible() and text.get_text().strip():
                drawn.append((text, text.get_window_extent(renderer)))
            original(text, renderer)

        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", record)
            height, width, _ = pixels(figure).shape
        assert figure.get_suptitle()
        assert width <= WIDEST_PIXELS
        for text, box in drawn:
            inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
            assert inside, f"cropped: {text.get_text()!r}"
            assert text.get_fontsize() >= SMALLEST_POINTS, f"too small: {text.get_text()!r}"
        for (one, a), (other, b) in itertools.combinations(drawn, 2):
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
            assert apart, f"overlap: {one.get_text()!r} and {other.get_text()!r}"
        return [text.get_text() for text, _ in drawn]

    return check
