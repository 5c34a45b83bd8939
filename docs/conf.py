"""Settings for Sphinx. `scripts/docs` builds the pages; a warning is an error."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

from rpqueue.version import VERSION  # noqa: E402 - found by the line above

project = "rpqueue"
author = "The rpqueue authors"
project_copyright = author
release = version = VERSION

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_code"]
templates_path: list[str] = []
exclude_patterns = ["_build"]
nitpicky = False

# `name` in prose and docstrings is code.
default_role = "code"
highlight_language = "none"

html_theme = "furo"
html_title = f"rpqueue {release}"
html_static_path: list[str] = []
html_show_copyright = False

add_module_names = False  # all names are those of the module, but where a page says otherwise
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # signatures stay short; the docstrings say units and ranges
autodoc_default_options = {"exclude-members": "app"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
