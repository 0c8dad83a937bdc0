"""Sphinx: ``sphinx-build -W --keep-going docs docs/_build`` runs every page; errors stop it."""

import importlib.metadata

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


def _skip(app, what, name, obj, skip, options):
    """Leave out fields of named tuples, which `Attributes` tells, and scikit-learn's routing."""
    is_field = (getattr(obj, "__doc__", None) or "").startswith("Alias for field number")
    return True if is_field or name.endswith("_request") else None


def setup(app):
    app.connect("autodoc-skip-member", _skip)
