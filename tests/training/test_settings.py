from pathlib import Path

import pytest

from capsnp.training.settings import Difference, differences, plain, versions


def test_plain_settings_are_what_toml_gives_back():
    settings = {"a": None, "b": Path("x/y"), "c": {"d": None, "e": (1, 2.5)}, "f": 1e-4, "g": "é\n"}
    assert plain(settings) == {"b": "x/y", "c": {"e": [1, 2.5]}, "f": 1e-4, "g": "é\n"}
    assert plain(plain(settings)) == plain(settings)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": 2}, [("a", 1, 2)]),
        ({"a": 1}, {}, [("a", 1, None)]),
        ({}, {"a": {"b": {"c": 1}}}, [("a.b.c", None, 1)]),
        ({"a": {"b": 1}}, {"a": 3}, [("a.b", 1, None), ("a", None, 3)]),
        ({"a": {}}, {}, []),
    ],
)
def test_differences(first, second, expected):
    assert differences(first, second) == [Difference(*item) for item in expected]


def test_versions_name_what_is_installed():
    found = versions()
    assert {"python", "capsnp", "numpy", "scipy"} <= found.keys()
    assert all(isinstance(version, str) for version in found.values())
