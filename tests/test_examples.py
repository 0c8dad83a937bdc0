"""Every example runs in its quick mode, warns of nothing and writes its picture."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("plot_*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs_and_draws(example, tmp_path):
    environment = {
        **os.environ, "CAPSNP_EXAMPLES_QUICK": "1", "CAPSNP_EXAMPLES_OUT": str(tmp_path),
    }  # fmt: skip
    command = [sys.executable, "-W", "error", str(example)]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, timeout=600)
    with Image.open(tmp_path / f"{example.stem}.png") as picture:
        assert picture.width <= 1600
        assert len(picture.convert("L").getcolors(256)) > 16  # not an empty page


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_a_story_with_public_names(example):
    tree = ast.parse(example.read_text(encoding="utf-8"))
    title, underline, *_ = ast.get_docstring(tree).split("\n")
    assert underline == "=" * len(title)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("capsnp"):
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            assert not any(name.startswith("_") for name in names)


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
