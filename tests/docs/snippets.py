"""The snippets of the README and of docs/, and how each is run."""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
from tests.support import commands

from hcpcreds.cli.root import hcpcreds

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/*/README.md"))
)
_RUN_TO_THEIR_END: Final = {"check", "completion", "inject", "inspect", "render", "token"}
_NEEDS_MORE: Final = {"--watch", "--local", "--client-id", "--password-file"}
"""Options with which these do not end, want a running `hcpcreds up`, or a certificate of the reader's."""
_REPLACED: Final = {"ID": "11111111-2222-3333-4444-555555555555"}
"""What a reader replaces."""


def read_blocks(page: str, language: str) -> list[str]:
    """Read the code blocks of a page that are in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def read_commands(page: str) -> list[tuple[str, list[str]]]:
    """Read the command lines of a page: what follows a `$`, without the comment after it.

    Returns:
        Each with the lines that the page shows below it; `...` stands for some that it leaves out.
    """
    commands: list[tuple[str, list[str]]] = []
    for line in "".join(read_blocks(page, "console")).splitlines():
        if line.startswith("$ "):
            commands.append((re.sub(r" +#.*", "", line[2:]), []))
        elif commands and line != "...":
            commands[-1][1].append(line)
    return commands


def split(command: str) -> Iterator[list[str]]:
    """Split a pipeline into the words of its commands."""
    words: list[str] = []
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|>;&")
    lexer.whitespace_split = True
    for word in lexer:
        if word == "|":
            yield words
            words = []
        elif word == ">":
            break  # where it goes does not matter
        else:
            words.append(_REPLACED.get(word, word))
    if words:
        yield words


def run(arguments: list[str], stdin: str, places: dict[str, Path]) -> tuple[str, str]:
    """Run a command of hcpcreds to its end, or read its command line where it would not end.

    Args:
        arguments: Its words.
        stdin: What the command before it in the pipeline has written.
        places: Directories of a pod, and where they are here.

    Returns:
        Its standard output and its standard error.
    """
    words = [_place(word, places) for word in arguments]
    if words[0] not in _RUN_TO_THEIR_END or (words[0] != "inject" and _NEEDS_MORE & set(words)):
        _read(words)
        return "", ""
    done = commands.run(*words, stdin=stdin)
    findings = words[0] in {"check", "inspect"} and done.returncode == 1  # what they are for
    assert done.returncode == 0 or findings, done.stderr
    return done.stdout, done.stderr


def _place(word: str, places: dict[str, Path]) -> str:
    for name, path in places.items():
        word = word.replace(name, str(path))
    return os.path.expandvars(word)


def _read(words: list[str]) -> None:
    """Have click read a command line; it raises for an option that is not there, or a value that is wrong."""
    with hcpcreds.make_context("hcpcreds", words[:1], resilient_parsing=True) as context:
        command = hcpcreds.get_command(context, words[0])
        assert isinstance(command, click.Command), words[0]
        command.make_context(words[0], words[1:], parent=context).close()
