"""The versions in a folder: their numbers, their manifests, and which of them is served.

TensorFlow Serving, and everything here that looks for the newest version, ignores names that are not integers. A
version is withdrawn, and removed, by renaming it to such a name, so that it is either there as a whole or not at all. A
folder without a SavedModel is not a version, whatever its name, and is left alone.
"""

from __future__ import annotations

import dataclasses
import shutil
import uuid
from pathlib import Path

from tfrs_twotower._settings import whole_number
from tfrs_twotower.bundle.layout import (
    MAX_VERSION,
    portable_twin,
    version_digits,
    versions,
)
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.publishing.pairs import hold, require_no_twins, twin_numbers
from tfrs_twotower.publishing.renames import Rename, rename_all

_WITHDRAWN = ".withdrawn-"
_REMOVED = ".removed-"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Version:
    """A version in a folder.

    Attributes:
        number: Its number, which no other version gets while it exists.
        path: Its folder.
        is_served: Whether it is the version that a server takes.
        is_withdrawn: Whether `rollback` took it back.
        manifest: Its manifest; None if it cannot be read.
        problem: Reason why its manifest cannot be read; None if it can.

    Example:
        >>> version = Version(
        ...     number=3, path=Path("saved_models/shop/3"), is_served=True, is_withdrawn=False, manifest=None
        ... )
        >>> version.path.name
        '3'
    """

    number: int
    path: Path
    is_served: bool
    is_withdrawn: bool
    manifest: Manifest | None
    problem: str | None = None


def list_versions(directory: str | Path) -> list[Version]:
    """Lists all versions in a folder, also those that were withdrawn, in ascending order.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        FileNotFoundError: If there is no version.

    Example:
        >>> list_versions("saved_models/nothing")
        Traceback (most recent call last):
        FileNotFoundError: saved_models/nothing holds no version of a bundle.
    """
    directory = Path(directory)
    published, withdrawn = versions(directory), versions(directory, _WITHDRAWN)
    if not published and not withdrawn:
        raise FileNotFoundError(f"{directory} holds no version of a bundle.")
    listed = [(number, directory / str(number), False) for number in published]
    listed += [(number, directory / f"{_WITHDRAWN}{number}", True) for number in withdrawn]
    return [
        _with_manifest(
            Version(
                number=number,
                path=path,
                is_served=not is_withdrawn and number == published[-1],
                is_withdrawn=is_withdrawn,
                manifest=None,
            )
        )
        for number, path, is_withdrawn in sorted(listed)
    ]


def rollback(directory: str | Path, *, to: int | None = None) -> Path:
    """Withdraws the newest versions, so that an older one becomes the newest: a server goes back to it by itself.

    A withdrawn version stays as `.withdrawn-<version>`, and its number is not given to another. Renaming it to its
    number publishes it again. What is withdrawn of a bundle that needs ScaNN is withdrawn of its portable twin as well.

    Args:
        directory: `saved_models/<name>`.
        to: The version to go back to; by default the one before the newest.

    Returns:
        Its folder.

    Raises:
        FileNotFoundError: If there is no version.
        ValueError: If there is no such version, or no version before the newest, or the folder holds portable twins,
            which are withdrawn with their bundle.
        TypeError: If `to` is not a whole number.
        OSError: If the folder cannot be written.

    Example:
        >>> rollback("saved_models/nothing")
        Traceback (most recent call last):
        FileNotFoundError: saved_models/nothing holds no version of a bundle.
    """
    directory = Path(directory)
    if to is not None:
        to = whole_number(to, "`to`", 0)
    if not versions(directory):
        raise FileNotFoundError(f"{directory} holds no version of a bundle.")
    require_no_twins(directory)
    with hold(directory):
        published = versions(directory)
        if to is None:
            if len(published) < 2:
                raise ValueError(f"{directory} holds only version {published[0]}: there is none to go back to.")
            to = published[-2]
        if to not in published:
            raise ValueError(f"`to` must be one of {', '.join(map(str, published))}. Received: {to}.")
        twin, twins = portable_twin(directory), twin_numbers(directory)
        renames: list[Rename] = []
        # The newest first: if this is interrupted, a server sees versions that it has seen before.
        for number in sorted({number for number in (*published, *twins) if number > to}, reverse=True):
            folders = [directory] * (number in published) + [twin] * (number in twins)
            renames += [(folder, str(number), f"{_WITHDRAWN}{number}") for folder in folders]
        for folder, _, withdrawn in renames:
            if (folder / withdrawn).exists():
                raise FileExistsError(f"{folder / withdrawn} already exists. Remove it, or move it elsewhere.")
        rename_all(directory, renames)
    return directory / str(to)


def next_version(directory: Path) -> int:
    """Returns a number above all that exist, including names such as 007, which a server reads as 7.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        OSError: If there is no greater number that TensorFlow Serving can read.
    """
    folders = (directory, portable_twin(directory))
    digits = [digits for folder in folders for prefix in ("", _WITHDRAWN) for digits in version_digits(folder, prefix)]
    greatest = max([0, *map(int, digits)])
    if greatest == MAX_VERSION:
        raise OSError(
            f"{directory} holds {greatest}, and TensorFlow Serving reads no greater number as a version. Rename it, or "
            "choose another output folder."
        )
    return greatest + 1


def remove_old(directory: Path, keep: int) -> None:
    """Removes all but the newest published versions, and withdrawn versions older than the oldest that is kept.

    The version before the newest stays in any case: readers may be loading it.

    Args:
        directory: `saved_models/<name>`, which the caller holds.
        keep: How many, >= 1.
    """
    published = versions(directory)
    kept = published[-max(keep, 2) :]
    if not kept:
        return
    numbers = {
        (directory, ""): published,
        (directory, _WITHDRAWN): versions(directory, _WITHDRAWN),
        (portable_twin(directory), ""): twin_numbers(directory),
        (portable_twin(directory), _WITHDRAWN): twin_numbers(directory, _WITHDRAWN),
    }
    old = [
        (folder, f"{prefix}{number}", f"{_REMOVED}{uuid.uuid4().hex}")
        for (folder, prefix), found in numbers.items()
        for number in found
        if number < kept[0]
    ]
    rename_all(directory, sorted(old, key=lambda rename: rename[1]))
    for folder in {folder for folder, _, _ in old}:
        remove_leftovers(folder)


def remove_leftovers(directory: Path) -> None:
    """Finishes removals that were interrupted, in a folder whose lock the caller holds.

    Args:
        directory: `saved_models/<name>`, or its twin's folder.
    """
    for path in directory.glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)


def _with_manifest(version: Version) -> Version:
    try:
        return dataclasses.replace(version, manifest=Manifest.read(version.path))
    except (OSError, ValueError) as error:
        return dataclasses.replace(version, problem=str(error))
