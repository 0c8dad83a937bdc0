"""Sphinx: ``sphinx-build -W --keep-going docs docs/_build`` runs every page; errors stop it."""

import importlib
import importlib.metadata
import inspect
import re
from pathlib import Path

from sphinx.util import logging

project = "capsnp"
author = "capsnp developers"
copyright = "capsnp developers"
release = importlib.metadata.version("capsnp")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "jupyter_execute"]
# `name` in a docstring is a link where there is such a name
default_role = "py:obj"
# a link to a name of capsnp that there is not is an error; types in words are no links
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!capsnp\.).*")]
html_theme = "furo"
html_title = "capsnp"
html_static_path = ["_static"]
html_css_files = ["custom.css"]

# every page's code runs at each build, and an error stops it
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_show_tb = True
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autosummary_generate = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_preprocess_types = False
strip_signature_backslash = True  # or a name such as W_ would be a reference to W


PUBLIC = ["functional", "models", "training", "datasets", "evaluation", "plotting"]
PUBLIC += ["verification", "testing", "bench"]
"""Modules of which the reference lists every name."""


def _expect_every_name(app):
    """Warn of a public name that the reference leaves out."""
    text = (Path(app.srcdir) / "api.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(?:   |\.\. py:data:: )(\w+)$", text, re.MULTILINE))
    for module in PUBLIC:
        for name in importlib.import_module(f"capsnp.{module}").__all__:
            if name not in listed:
                logging.getLogger(__name__).warning("api.md: capsnp.%s.%s is missing", module, name)


def _skip(app, what, name, obj, skip, options):  # noqa: ARG001
    """Leave out fields of named tuples, which `Attributes` tells, and what others have written."""
    is_field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    home = getattr(getattr(obj, "__objclass__", obj), "__module__", None) or ""
    is_foreign = inspect.isroutine(obj) and not home.startswith("capsnp")
    return True if is_field or is_foreign or name.endswith("_request") else None


def setup(app):
    app.connect("builder-inited", _expect_every_name)
    app.connect("autodoc-skip-member", _skip)
