"""The site: `make docs`. Strict, and built without the network."""

import re

from sphinx.application import Sphinx

from hcpcreds import __version__

project = "hcpcreds"
author = "the hcpcreds developers"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"hcpcreds {__version__}"
myst_heading_anchors = 3


def _name_files_of_the_repository(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Show a link to a file outside of docs/ as the file's name: the site does not have the file."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./([^)]+)\)", r"\1 (`\2` in the repository)", source[0])


def setup(app: Sphinx) -> None:
    """Register what changes pages on their way into the site."""
    app.connect("source-read", _name_files_of_the_repository)
