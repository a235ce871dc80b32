"""The site: `make docs`. Strict, and built without the network."""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx

from hcpcreds import __version__

project = "hcpcreds"
author = "the hcpcreds developers"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"hcpcreds {__version__}"
smartquotes = False  # they make a dash of --option
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_copyright = False
myst_heading_anchors = 3


def _prepare_page(_app: Sphinx, page: str, source: list[str]) -> None:
    """Show a link to a file outside of docs/ as the file's name; put the codes of check below their list."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", r"\1 (`\2` in the repository)", source[0])
    if page == "checks/README":
        source[0] += "\n```{toctree}\n:glob:\n:hidden:\n\nHC*\n```\n"


def _copy_images(app: Sphinx, _error: Exception | None) -> None:
    """Copy the pictures, since Sphinx does not look into HTML in a page."""
    shutil.copytree(Path(app.srcdir) / "images", Path(app.outdir) / "images", dirs_exist_ok=True)


def setup(app: Sphinx) -> None:
    """Register what changes pages on their way into the site."""
    app.connect("source-read", _prepare_page)
    app.connect("build-finished", _copy_images)
