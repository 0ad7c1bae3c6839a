"""What a look at the installed packages tells, without importing any of them."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions, packages_distributions
from importlib.util import find_spec

try:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.version import InvalidVersion, Version
except ImportError:  # then versions are shown, and not compared
    Requirement = None  # type: ignore[assignment, misc]

__all__ = ["Package", "compares_versions", "look"]


@dataclass(frozen=True)
class Package:
    """A distribution, and the top-level module that it brings; `namespace`: one without an `__init__.py`."""

    distribution: str
    module: str
    namespace: bool = False


@dataclass(frozen=True)
class Look:
    """`told`: name and version. `fault`: why it does not serve, with the remedy. `note`: what is odd and may serve."""

    told: str
    fault: str | None = None
    note: str | None = None


def compares_versions() -> bool:
    """Whether it is known which versions hwnas's extras ask for."""
    return Requirement is not None and _distribution("hwnas") is not None


def look(package: Package, extra: str) -> Look:
    """Whether `package` is installed as hwnas's `extra` asks for."""
    name, remedy = package.distribution, f"pip install 'hwnas[{extra}]'"
    spec = find_spec(package.module)
    present = spec is not None and (package.namespace or spec.origin is not None)
    versions = _versions(name)
    if not versions:
        others = packages_distributions().get(package.module, ()) if present else ()
        if not present:
            return Look(name, f"{name} is not installed: {_no_such_python(name, extra) or remedy}")
        told = [f"{other} {version}" for other in others for version in _versions(other)[:1]]
        if told:
            return Look(told[0], note=f"in place of {name}")
        return Look(f"{name} of unknown version", note=f"module {package.module} is there, its metadata are not")
    told_version = f"{name} {versions[0]}"
    if not present:
        fault = f"{told_version} is listed as installed, and its module {package.module} is not there"
        return Look(told_version, f"{fault}: pip install --force-reinstall {name}")
    if len(versions) > 1:
        told_version = f"{name} {' and '.join(versions)}"
    if wanted := _too_old(name, versions, extra):
        return Look(
            told_version, f"{told_version} is installed, needs {wanted}: pip install --upgrade 'hwnas[{extra}]'"
        )
    if missing := sorted(_missing_beneath(name)):
        return Look(told_version, f"{told_version} needs {', '.join(missing)}, which is not installed: {remedy}")
    several = f"several versions of {name} are listed: pip install --force-reinstall {name}"
    return Look(told_version, note=several if len(versions) > 1 else None)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@cache
def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _versions(name: str) -> list[str]:
    """The version that counts first, and others that lie in the same folder, left there by a broken upgrade."""
    first = _distribution(name)
    if first is None:
        return []
    folder = str(first.locate_file(""))
    beside = [found.version for found in distributions(name=name, path=[folder]) if found.version]
    return list(dict.fromkeys([first.version or "of unknown version", *beside]))


@cache
def _requirements(name: str, extra: str = "") -> tuple[Requirement, ...]:
    """What the distribution asks for here, of its `extra` where one is named."""
    found = _distribution(name)
    return tuple(
        wanted
        for wanted in (_parsed(line) for line in (found.requires if found else None) or ())
        if wanted is not None
        and (wanted.marker is None or wanted.marker.evaluate({"extra": extra}))
        and not (extra and (wanted.marker is None or "extra" not in str(wanted.marker)))
    )


def _parsed(line: str) -> Requirement | None:
    if Requirement is None:
        return None
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _too_old(name: str, versions: list[str], extra: str) -> str | None:
    """The versions that the extra asks for, where one of `versions` is none of them."""
    for wanted in _requirements("hwnas", extra):
        if _canonical(wanted.name) != _canonical(name):
            continue
        for version in versions:
            try:
                fits = wanted.specifier.contains(Version(version), prereleases=True)
            except InvalidVersion:
                continue
            if not fits:
                return str(wanted.specifier).replace(">=", ">= ")
    return None


def _no_such_python(name: str, extra: str) -> str | None:
    """The reason, where the extra leaves the distribution out for this version of Python."""
    if not compares_versions() or any(_canonical(r.name) == _canonical(name) for r in _requirements("hwnas", extra)):
        return None
    for line in getattr(_distribution("hwnas"), "requires", None) or ():
        wanted = _parsed(line)
        if wanted and _canonical(wanted.name) == _canonical(name) and "python_version" in str(wanted.marker):
            return f"hwnas asks for none on Python {sys.version_info.major}.{sys.version_info.minor} ({wanted.marker})"
    return None


def _missing_beneath(name: str) -> Iterator[str]:
    """What the distribution needs, directly or not, and is not installed."""
    waiting, seen = [name], {_canonical(name)}
    while waiting:
        for wanted in _requirements(waiting.pop()):
            if _canonical(wanted.name) in seen:
                continue
            seen.add(_canonical(wanted.name))
            if _distribution(wanted.name) is None:
                yield wanted.name
            else:
                waiting.append(wanted.name)
