"""``capsnp bench``: that it measures, and what it refuses. No test asserts a speed."""

import json
import sys

import pytest

from .conftest import expect_one_line

pytest.importorskip("torch")


@pytest.fixture(autouse=True)
def _no_time_to_settle(monkeypatch):
    """What is shown does not depend on how well it is measured."""
    monkeypatch.setattr("capsnp.bench.timing.SETTLING_SECONDS", 0.0)
    monkeypatch.setattr("capsnp.bench.timing.LEAST_SECONDS", 0.0)
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "1")


@pytest.mark.parametrize(
    ("work", "cases"),
    [
        ("cd-step", 2),
        ("routing", 6),
        ("decoder", 2),
        ("autoencoder", 1),
        ("rbm", 2),
        ("capsnet", 2),
    ],
)
def test_rows_on_the_terminal_and_in_a_file(work, cases, tmp_path, capsnp):
    file = tmp_path / "times.json"
    result = capsnp(
        "bench", work, "--sizes", "small", "--repeat", 2, "--against", "torch", "--json", file
    )
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    assert found["machine"]["gemm"] > 0
    assert found["machine"]["bandwidth"] > 0
    assert len(found["rows"]) == cases
    for row in found["rows"]:
        assert (row["work"], row["partner"]) == (work, "torch")
        assert row["case"] in result.stdout
        assert len(row["ours"]["seconds"]) == len(row["theirs"]["seconds"]) == 2
        assert row["ratio"] == row["theirs"]["median"] / row["ours"]["median"]
        assert row["floor"]["seconds"] > 0
        assert row["difference"] <= row["bound"]


def test_numpy_is_a_partner(tmp_path, capsnp):
    file = tmp_path / "times.json"
    options = ("--sizes", "small", "--repeat", 1, "--against", "numpy", "--dtype", "float64")
    result = capsnp("bench", "cd-step", "routing", "decoder", *options, "--json", file)
    assert result.exit_code == 0, result.output
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 10
    assert max(row["difference"] for row in rows) < 1e-12


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-12)])
def test_scikit_learn_moves_the_weights_as_capsnp_does(dtype, bound, tmp_path, capsnp):
    file = tmp_path / "times.json"
    options = ("--sizes", "small", "--repeat", 1, "--against", "sklearn", "--dtype", dtype)
    result = capsnp("bench", "rbm", *options, "--json", file)
    assert result.exit_code == 0, result.output
    first, second = json.loads(file.read_text())["rows"]
    assert (first["partner"], second["partner"]) == ("sklearn", "")
    assert 0 < first["difference"] < bound


def test_without_pytorch_its_rows_are_left_out_in_one_line(monkeypatch, capsnp):
    monkeypatch.setitem(sys.modules, "torch", None)
    options = ("--sizes", "small", "--repeat", 1, "--against", "torch,numpy")
    result = capsnp("bench", "decoder", *options, "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("\n") == 1
    assert "torch is left out" in result.stderr
    assert "pip install 'capsnp[torch]'" in result.stderr
    assert "against numpy" in result.stdout
    assert "against torch" not in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("juggling",), "work: expected one of cd-step"),
        (("--against", "abacus"), "against: expected one of torch"),
        (("--sizes", "huge"), "sizes: expected one of small, paper, large"),
        (("--backend", "abacus"), "backend: expected one of"),
        (("--device", "cuda", "--backend", "numpy"), "device: expected none with numpy"),
        (("--dtype", "float16"), "dtype: expected"),
        (("--repeat", "0"), "--repeat"),
        (("--json", "no/such/times.json"), "expected a folder that is there"),
        (("--json", "."), "expected a file"),
        (("--plot", "times.jpg"), "ends in .png"),
        (("decoder", "--plot", "times.png"), "expected the work scaling"),
        (("--report", "times.txt"), "ends in .md"),
        (("--check", "--baseline", "times.json"), "cannot be read"),
    ],
)
def test_bad_usage_is_one_line(capsnp, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = capsnp("bench", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_device_that_is_not_there(capsnp):
    result = capsnp("bench", "--backend", "torch", "--device", "nowhere")
    expect_one_line(result, 1, "device: torch cannot use 'nowhere'")


def test_scaling_with_plot_and_page(tmp_path, capsnp):
    file, picture, page = (tmp_path / name for name in ("a.json", "a.png", "a.md"))
    options = ("--sizes", "small", "--repeat", 1, "--against", "torch", "--quiet")
    result = capsnp(
        "bench", "scaling", *options, "--json", file, "--plot", picture, "--report", page
    )
    assert result.exit_code == 0, result.output
    for axis, growth in zip("BIJ", json.loads(file.read_text())["scaling"], strict=True):
        assert growth["axis"] == axis
        assert len(growth["values"]) == 6
        assert set(growth["slopes"]) == {"capsnp", "torch", "floor"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "![Time against size](a.png)" in page.read_text()
    assert "capsnp bench scaling --against torch --sizes small" in page.read_text()


def test_memory_and_pipeline(tmp_path, capsnp):
    file, page = tmp_path / "a.json", tmp_path / "a.md"
    options = ("--sizes", "small", "--repeat", 1, "--against", "torch", "--quiet")
    result = capsnp("bench", "memory", "pipeline", *options, "--json", file, "--report", page)
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    (memory,) = found["memory"]
    assert memory["partner"] == "torch"
    assert memory["theirs"] > 0
    assert {"autoencoder", "capsules", "decoder", "evaluation"} <= set(found["pipeline"])
    assert "memory of a cd-step" in page.read_text()


def test_routing_and_its_gradient_hold_less_than_pytorch(tmp_path, capsnp):
    file, page = tmp_path / "a.json", tmp_path / "a.md"
    options = ("--sizes", "small", "--repeat", 1, "--against", "torch", "--quiet")
    result = capsnp("bench", "capsnet", *options, "--json", file, "--report", page)
    assert result.exit_code == 0, result.output
    found = json.loads(file.read_text())
    assert [row["case"] for row in found["rows"]] == [
        "routing, forward and backward",
        "a step of the whole network",
    ]
    assert all(row["difference"] <= row["bound"] for row in found["rows"])
    (memory,) = found["memory"]
    assert (memory["work"], memory["partner"]) == ("capsnet", "torch")
    assert memory["theirs"] > 0
    assert "memory of routing, forward and backward" in page.read_text()
    assert "4 for their gradients" in " ".join(page.read_text().split())


def test_check_names_what_has_become_too_slow(tmp_path, capsnp):
    file = tmp_path / "times.json"
    options = ("--sizes", "small", "--repeat", 1, "--against", "numpy", "--quiet")
    assert capsnp("bench", "decoder", *options, "--json", file).exit_code == 0
    kept = json.loads(file.read_text())
    kept["rows"][0]["ratio"] = 1e9
    kept["rows"][1]["ratio"] = 1e-9
    file.write_text(json.dumps(kept))
    result = capsnp("bench", "decoder", *options, "--check", "--baseline", file)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "decoder: shared coefficients" in result.stderr
    kept["rows"][0]["ratio"] = 1e-9
    file.write_text(json.dumps(kept))
    result = capsnp("bench", "decoder", *options, "--check", "--baseline", file)
    assert result.exit_code == 0, result.output
