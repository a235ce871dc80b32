"""Options that several commands have."""

from collections.abc import Callable
from typing import Any

import click

ca_file_option = click.option(
    "--ca-file",
    type=click.Path(exists=True, dir_okay=False),
    help="PEM file of the authorities to trust, instead of the machine's.",
)


def output_option(help_text: str | None = None) -> Callable[[Any], Any]:
    """``--output text|json``; the help says what either is for this command."""
    return click.option(
        "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help=help_text
    )
