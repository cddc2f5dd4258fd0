"""A bundle that needs ScaNN and its portable twin, in two folders: they are published, withdrawn and removed together.

The versions of a pair have one number and one export id. Whatever happens to one happens to both, under the locks of
both folders.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tfrs_twotower._locks import lock
from tfrs_twotower.bundle.layout import main_of_twin, portable_twin, version_numbers, versions
from tfrs_twotower.bundle.manifest import Manifest, read_manifest
from tfrs_twotower.publishing.renames import finish_renames


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[None]:
    """Holds the locks of a folder of versions and of its twin's, and finishes what a killed process left to do.

    Args:
        directory: `saved_models/<name>`, which exists.

    Raises:
        TimeoutError: If another process holds a lock for two minutes.
        OSError: If something cannot be finished.
    """
    main = main_of_twin(directory)
    main = main if main is not None and main.is_dir() else directory
    with contextlib.ExitStack() as held:
        held.enter_context(lock(main))
        twin = portable_twin(main)
        if twin.is_dir():
            held.enter_context(lock(twin))
        finish_renames(main)
        yield


def twin_numbers(directory: Path, prefix: str = "") -> list[int]:
    """Returns the numbers of the twins of a bundle's versions, ascending.

    Args:
        directory: `saved_models/<name>`.
        prefix: What goes before the number in the folders' names.
    """
    twin = portable_twin(directory)
    return [number for number in version_numbers(twin, prefix) if _is_twin(twin / f"{prefix}{number}")]


def is_served_as_pair(directory: Path) -> bool:
    """Tells whether the newest versions of a bundle and of its twin are of one export.

    Args:
        directory: `saved_models/<name>`.
    """
    newest, twin = _newest_manifest(directory), _newest_manifest(portable_twin(directory))
    # The first versions of this library gave no ids to exports.
    return newest is not None and twin is not None and newest.export_id == twin.export_id


def has_twins(directory: Path) -> bool:
    """Tells whether a bundle has published twins, which a server may be serving.

    Args:
        directory: `saved_models/<name>`.
    """
    return bool(twin_numbers(directory))


def require_no_twins(directory: Path) -> None:
    """Checks that a folder is not that of portable twins, which change only with their bundle.

    Args:
        directory: `saved_models/<name>`.

    Raises:
        ValueError: If it is.
    """
    main = main_of_twin(directory)
    if main is not None and main.is_dir() and has_twins(main):
        raise ValueError(f"{directory} holds the portable twins of {main}, and changes only with it. Give {main}.")


def require_place(directory: Path, *, with_portable: bool) -> None:
    """Checks that a bundle can be published in a folder, as far as its twin is concerned.

    Args:
        directory: `saved_models/<name>`.
        with_portable: Whether a twin is published if the bundle needs one.

    Raises:
        ValueError: If the folder holds twins, has twins that would be left behind, or another bundle is where they go.
    """
    require_no_twins(directory)
    if with_portable:
        _require_room_for_twin(directory)
    elif has_twins(directory):
        raise ValueError(
            f"`with_portable` must be True: a server of {portable_twin(directory)} would go on with an older version. "
            "Received: False. Leave it out, or remove that folder."
        )


def _require_room_for_twin(directory: Path) -> None:
    twin = portable_twin(directory)
    newest = _newest_manifest(twin)
    if newest is not None and newest.export_id is not None and not newest.is_twin:
        raise ValueError(
            f"{twin} holds another bundle, where the portable twin of {directory} would go. Choose another name, or "
            "set `with_portable` to False."
        )


def _is_twin(version: Path) -> bool:
    manifest = read_manifest(version)
    return manifest is not None and manifest.is_twin


def _newest_manifest(directory: Path) -> Manifest | None:
    published = versions(directory)
    return read_manifest(directory / str(published[-1])) if published else None
