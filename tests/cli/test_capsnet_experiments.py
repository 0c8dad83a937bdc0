"""``capsnp capsnet conventions``, ``overlap``, ``compare``, ``routings``, ``lamp``, ``diagram``."""

import shlex

import pytest

from .conftest import expect_one_line
from .test_survival import options

SMALL = (
    "capsnet.filters=4",
    "capsnet.primary_channels=2",
    "capsnet.primary_dim=4",
    "capsnet.capsule_dim=3",
    "capsnet.decoder_hidden=[8, 12]",
)
SIZES = ("--train-images", 60, "--test-images", 40, "--n-iter", 1, "--data", "digits")
EXPERIMENTS = ("conventions", "overlap", "compare", "routings")


@pytest.mark.parametrize("name", ["conventions", "overlap"])
def test_an_experiment_makes_a_folder_and_says_how_to_repeat_it(name, capsnp, tmp_path):
    own = {"conventions": ("--seeds", 1), "overlap": ("--overlap", 0.5, "--shift", 2)}[name]
    out = tmp_path / "out"
    result = capsnp("capsnet", name, "--out", out, *SIZES, *own, *options(*SMALL), "-q")
    assert result.exit_code == 0, result.output
    assert result.stdout.endswith(f"{out / 'index.html'}\n")
    for file in ("config.toml", "metrics.jsonl", f"{name}.json", f"{name}.csv", "index.html"):
        assert (out / file).stat().st_size > 0
    page = (out / "index.html").read_text()
    told = page.partition("<pre>")[2].partition("</pre>")[0].replace("&#x27;", "'")
    words = shlex.split(told)
    assert words[:3] == ["capsnp", "capsnet", name]
    again = [tmp_path / "again" if word == "again" else word for word in words[1:]]
    if name == "overlap":
        assert capsnp(*again, "-q").exit_code == 0
        numbers = [(folder / "overlap.csv").read_text() for folder in (out, tmp_path / "again")]
        assert numbers[0] == numbers[1]
    result = capsnp("capsnet", name, "--out", out, *SIZES, "-q")
    expect_one_line(result, 1, "holds a run already")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_cannot_be_done_is_refused_before_a_folder_is_made(name, capsnp, tmp_path):
    out = tmp_path / "out"
    for own, code, words in (
        (("--set", "capsnet.filter=3"), 2, ("capsnet.filter: no such setting", "capsnet.filters")),
        (("--set", "capsnet.kernel=20"), 1, ("expected images of height and width from 39",)),
        (("--data", "nowhere"), 2, ("data: expected digits",)),
        (("--set", "capsnet.loss=square"), 2, ("capsnet.loss: expected",)),
    ):
        expect_one_line(capsnp("capsnet", name, "--out", out, *SIZES, *own), code, *words)
        assert not out.exists()
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    result = capsnp("capsnet", name, "--out", out, *SIZES)
    expect_one_line(result, 1, "expected an empty folder")
    assert [file.name for file in out.iterdir()] == ["mine.txt"]


def test_looks_into_a_run(capsnp, tmp_path):
    run = tmp_path / "run"
    own = (*options(*SMALL, "capsnet.n_iter=1"), "--train-images", 60, "--test-images", 40)
    assert capsnp("capsnet", "train", run, *own, "-q").exit_code == 0
    for name in ("lamp", "diagram"):
        result = capsnp("capsnet", name, run, "-q")
        assert result.exit_code == 0, result.output
        assert result.stdout.endswith(f"{run / 'figures' / name}.png\n")
        assert f'src="figures/{name}.png"' in (run / "index.html").read_text()
    result = capsnp("capsnet", "diagram", run, "--image", 1000)
    expect_one_line(result, 2, "image: expected a test image from 0 to 39, got 1000")
    expect_one_line(capsnp("capsnet", "lamp", tmp_path), 1, "so there is no run here")
