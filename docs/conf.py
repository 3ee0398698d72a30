"""Settings of the documentation, built by `make docs`."""

from __future__ import annotations

import os

from docutils import nodes
from latex2mathml.converter import convert

import sklearn_dsink

# One process renders the gallery beside whatever else runs; windows are never opened.
os.environ.setdefault("MPLBACKEND", "Agg")

project = "sklearn-dsink"
author = "the sklearn-dsink developers"
copyright = f"2026, {author}"
version = release = sklearn_dsink.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = [
    "_build",
    "_*.rst",
    "sg_execution_times.rst",
    "auto_examples/sg_execution_times.rst",
]
default_role = "code"

autosummary_generate = True
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints = "none"  # numpydoc's type lines say it better
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
# What the pages must not lack: each parameter documented once, under its own name.
numpydoc_validation_checks = {"GL08", "PR01", "PR02", "PR03", "PR07", "RT01", "SS01"}
numpydoc_validation_exclude = {
    r"\.(TransportResult|LabelModel)$",  # dataclasses: their parameters are their attributes
    # Hooks that torch and the training call; the modules' own pages say with what.
    r"\.losses\.\w+\.(forward|prepare|set_epoch)$",
    r"\.TabularNet\.(forward|features)$",
    r"\.set_(fit|predict|score|partial_fit|predict_proba)_request$",
    r"\.get_metadata_routing$",
}

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["auto_examples"],
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": False,
    "show_memory": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "doc_module": ("sklearn_dsink",),
    "backreferences_dir": None,
}

html_math_renderer = "mathml"
html_theme = "pydata_sphinx_theme"
html_title = "sklearn-dsink"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 7,
    "footer_start": ["copyright"],
    "footer_end": [],
}
# Short pages need no empty column on the left.
html_sidebars = {
    name: []
    for name in (
        "index",
        "install",
        "method",
        "auxiliaries",
        "training",
        "transport",
        "inspection",
        "benchmark",
        "ablation",
        "looks",
        "reliability",
    )
}


def _as_mathml(formula, display):
    # Browsers leave no space between log and what it is of.
    return convert(formula, display=display).replace(
        "<mi>log</mi>", '<mi>log</mi><mspace width="0.17em"/>'
    )


def _inline_math(translator, node):
    translator.body.append(_as_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _displayed_math(translator, node):
    formula = _as_mathml(node.astext(), "block")
    translator.body.append(f'<div class="formula">{formula}</div>')
    raise nodes.SkipNode


def setup(app):
    """Write formulas as MathML, which browsers set themselves: the pages fetch nothing."""
    app.add_html_math_renderer("mathml", (_inline_math, None), (_displayed_math, None))
