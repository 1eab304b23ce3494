"""Python and the packages, against what this repository asks for and was tested with. Imports none of them."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from studies.doctor.finding import Finding, fail, ok, warn

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "seq-jepa-studies"
INSTALL = "pip install -c constraints.txt -e ."


def installed_version(name: str) -> str | None:
    """The version of an installed distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def declared(root: Path = ROOT) -> tuple[str, list[str], dict[str, str]]:
    """Python's range, the requirements, and the versions that were tested (name to version).

    Read from the checkout; of an installation without one, from its metadata, which holds no tested versions.
    """
    if not (root / "pyproject.toml").is_file():
        about = metadata.metadata(PROJECT)
        return about["Requires-Python"], [r for r in metadata.requires(PROJECT) or [] if "extra ==" not in r], {}
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = {}
    if (root / "constraints.txt").is_file():
        for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines():
            name, equals, version = line.partition("#")[0].strip().partition("==")
            if equals:
                pins[name.lower()] = version
    return project["requires-python"], project["dependencies"], pins


def python(version: str, required: str) -> Finding:
    """Whether this interpreter is one the code is written for."""
    if SpecifierSet(required).contains(version, prereleases=True):
        return ok("python", f"{version} ({sys.executable})")
    return fail(
        "python", version, f"the code needs {required}", "make the environment again: make PYTHON=python3.12 study"
    )


def packages(
    requirements: list[str], pins: dict[str, str], installed: Callable[[str], str | None]
) -> Iterator[Finding]:
    """Every requirement present and in range; the ones that were tested together at those versions."""
    fine, pinned = [], []
    for requirement in map(Requirement, requirements):
        name, found = requirement.name, installed(requirement.name)
        tested = pins.get(name.lower())
        if found is None:
            yield fail("packages", f"{name} is missing", f"the code needs {requirement}", INSTALL)
        elif not requirement.specifier.contains(found, prereleases=True):
            yield fail("packages", f"{name} {found}", f"the code needs {name}{requirement.specifier}", INSTALL)
        elif tested and not SpecifierSet(f"=={tested}").contains(found, prereleases=True):
            why = f"in range, but {tested} was tested, and numbers may differ in their last bits"
            yield warn("packages", f"{name} {found}", why, f"{INSTALL}, or run the tests")
        elif tested:
            pinned.append(f"{name} {found}")
        else:
            fine.append(name)
    if pinned or fine:
        yield ok("packages", ", ".join([*pinned, *([f"{len(fine)} others in range"] if fine else [])]))


def torch_pair(torch: str | None, wanted_by_torchvision: list[str]) -> Iterator[Finding]:
    """Whether torchvision was built for this torch; a wrong pair fails when it is imported.

    Args:
        wanted_by_torchvision: the requirements that the installed torchvision declares.
    """
    for requirement in map(Requirement, wanted_by_torchvision):
        if requirement.name == "torch" and torch and not requirement.specifier.contains(torch, prereleases=True):
            yield fail("packages", f"torch {torch}", f"torchvision needs torch{requirement.specifier}", INSTALL)
