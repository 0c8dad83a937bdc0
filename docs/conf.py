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
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_title = "capsnp"

# every page's code runs at each build, and an error stops it
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_execution_show_tb = True
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_typehints = "none"
autosummary_generate = True
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
