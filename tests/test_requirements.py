"""The locked development environments fit the ranges that pyproject.toml promises."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ \n]+)(?: ; [^\n]*?)? \\\n"
    r"(?P<hashes>(?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)",
    re.MULTILINE,
)


def read_promised() -> list[Requirement]:
    """What pyproject.toml asks for, with every extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    texts = [*project["dependencies"], *(text for extra in extras for text in extra)]
    return [found for found in map(Requirement, texts) if found.name != project["name"]]


@pytest.mark.parametrize("name", ["requirements-dev.txt", "requirements-lowest.txt"])
def test_locked_versions_are_hashed_and_within_the_ranges_of_the_project(name: str):
    text = (ROOT / name).read_text()
    locked = {canonicalize_name(found["name"]): found["version"] for found in LOCKED.finditer(text)}
    assert len(locked) == len(re.findall("^[^ #]", text, re.MULTILINE)), "each has its hashes"
    wrong = [
        f"{promised}: {locked.get(canonicalize_name(promised.name))}"
        for promised in read_promised()
        if not promised.specifier.contains(locked.get(canonicalize_name(promised.name), "0"))
    ]
    assert wrong == [], "make lock"
    assert "://" not in text, "it installs from wherever a machine's pip does"


def test_image_has_the_versions_that_the_tests_ran_with_when_they_are_locked():
    read = {
        name: {found["name"]: found["version"] for found in LOCKED.finditer((ROOT / name).read_text())}
        for name in ("deploy/image/requirements.txt", "requirements-dev.txt")
    }
    image, tested = read.values()
    assert image.items() <= tested.items(), "make lock"
    promised = {canonicalize_name(found.name) for found in read_promised()}
    assert {"azure-identity", "click", "lightkube", "rich"} <= image.keys() & promised
