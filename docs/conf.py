"""The site: Sphinx reads the Markdown of this folder and the docstrings of the package. Build it by ``make docs``.

Nothing is fetched, neither when the site is built nor when it is read: formulas are MathML (``offline.py``), the search
runs in the browser, and other projects' objects are not linked.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"
# what a plugin's own tests inherit from lies beside our tests
sys.path[:0] = [str(HERE), *(str(TESTS / name) for name in ("architectures", "datasets", "weighting")), str(TESTS)]

import crosstask  # noqa: E402

project = "Crosstask"
author = "The Crosstask authors"
copyright = "The Crosstask authors, MIT licence"
version = release = crosstask.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "offline"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["build"]

html_theme = "furo"
html_title = f"Crosstask {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False

# Anchors as a code host makes them from headings, and formulas between dollars.
myst_heading_anchors = 4
myst_enable_extensions = ["dollarmath"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_use_ivar = False
napoleon_use_rtype = False

# Every reference must lead somewhere. Types of Python and of other projects do not, since their pages are not at hand
# without a network; what is not public of the package itself is checked by ``offline.py``: it must exist.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(collections|pathlib|typing|types|abc|np|numpy|pd|pandas|torch|nn|pydantic|lightning)(\..*)?"),
    # names for types alone, as they stand in signatures
    ("py:class", "Tensor|Look|Characteristic|RunSpec|State"),
]
