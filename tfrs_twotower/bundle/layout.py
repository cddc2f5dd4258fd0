"""Where a bundle's files lie, and which versions of a bundle a folder holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXTRA_FOLDER = "assets.extra"
MANIFEST_FILE = f"{EXTRA_FOLDER}/manifest.json"
MODEL_FILE = "saved_model.pb"


def versions(directory: Path) -> list[int]:
    """The published versions in a folder, ascending; none if it is not there."""
    return [number for number in version_numbers(directory, "") if (directory / str(number) / MODEL_FILE).is_file()]


def portable_twin(directory: Path) -> Path:
    """Where the same bundle lies for any TensorFlow, beside `saved_models/<name>`."""
    directory = directory.absolute()
    return directory.with_name(f"{directory.name}-portable")


def read_manifest(path: Path) -> dict[str, Any]:
    """A version's manifest, empty where it is missing or damaged."""
    try:
        content = json.loads((path / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def version_numbers(directory: Path, prefix: str) -> list[int]:
    """The integers after a prefix in the names of what is in a folder, ascending, as they are written in decimal."""
    return sorted(int(name) for name in version_digits(directory, prefix) if name == str(int(name)))


def version_digits(directory: Path, prefix: str) -> list[str]:
    """The names in a folder that are digits after a prefix, without it; none if it is not there."""
    if not directory.is_dir():
        return []
    names = [path.name.removeprefix(prefix) for path in directory.iterdir() if path.name.startswith(prefix)]
    return [name for name in names if name.isascii() and name.isdecimal()]
