"""`hcpcreds completion`: a script with which a shell completes commands, options and files."""

import click

from hcpcreds.cli import COMPLETE_VARIABLE


@click.command(
    "completion",
    epilog="""\b
Examples, and the files to put them in:
  source <(hcpcreds completion bash)    # in ~/.bashrc
  source <(hcpcreds completion zsh)     # in ~/.zshrc, after compinit
  hcpcreds completion fish | source     # in ~/.config/fish/completions/hcpcreds.fish
""",
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), metavar="bash|zsh|fish")
def command(shell: str) -> None:
    """Print a script with which the shell completes the commands, options and files of hcpcreds."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101 (click brings all three)
    root = click.get_current_context().find_root().command
    click.echo(completion(root, {}, "hcpcreds", COMPLETE_VARIABLE).source())
