"""Where a bundle's files lie, and which versions of a bundle a folder holds."""

from __future__ import annotations

from pathlib import Path

MODEL_FILE = "saved_model.pb"
EXTRA_FOLDER = "assets.extra"
MANIFEST_FILE = f"{EXTRA_FOLDER}/manifest.json"
CANDIDATES_FILE = f"{EXTRA_FOLDER}/candidates.parquet"
METRICS_FILE = f"{EXTRA_FOLDER}/metrics.json"
REPORT_FILE = f"{EXTRA_FOLDER}/report.html"
CARD_FILE = f"{EXTRA_FOLDER}/MODEL_CARD.md"
#: The name is TensorFlow Serving's.
WARMUP_FILE = f"{EXTRA_FOLDER}/tf_serving_warmup_requests"
_TWIN_SUFFIX = "-portable"
#: TensorFlow Serving reads the names of versions as int64, and ignores greater numbers.
MAX_VERSION = 2**63 - 1


def versions(directory: Path, prefix: str = "") -> list[int]:
    """Returns the published versions in a folder, ascending; none if there is no such folder.

    A version is a folder with an integer as its name that holds a SavedModel. TensorFlow Serving, too, ignores names
    that are not integers.

    Args:
        directory: `saved_models/<name>`.
        prefix: What goes before the number in the folders' names, for versions that are set aside.
    """
    return [
        number
        for number in version_numbers(directory, prefix)
        if (directory / f"{prefix}{number}" / MODEL_FILE).is_file()
    ]


def strays(directory: Path) -> list[Path]:
    """Returns what is not a version, although TensorFlow Serving takes it for one, because its name is an integer.

    That is a file, a folder without a SavedModel, a link that leads nowhere, or a name with leading zeros, such as 007,
    which a server reads as 7.

    Args:
        directory: `saved_models/<name>`.
    """
    names = {str(number) for number in versions(directory)}
    return [directory / name for name in sorted(version_digits(directory, "")) if name not in names]


def find_version(path: Path) -> Path:
    """Returns the folder of a version.

    Args:
        path: A version's folder, or the folder of all versions, of which the newest is taken.

    Raises:
        FileNotFoundError: If there is no bundle.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"There is no bundle at {path}. Make one with: tfrs-twotower train")
    if (path / MODEL_FILE).is_file():
        return path
    # A listing can miss every version while a publisher renames one into place and removes another.
    found = versions(path) or versions(path)
    if not found:
        raise FileNotFoundError(f"{path} is not a bundle: it holds neither a SavedModel nor a version of one.")
    return path / str(found[-1])


def portable_twin(directory: Path) -> Path:
    """Returns where the same bundle lies for hosts without ScaNN, beside `saved_models/<name>`.

    Args:
        directory: `saved_models/<name>`, or a link to it.
    """
    directory = directory.resolve()
    return directory.with_name(f"{directory.name}{_TWIN_SUFFIX}")


def main_of_twin(directory: Path) -> Path | None:
    """Returns the folder of the bundle whose twins a folder holds by its name; None if it is not such a name.

    Args:
        directory: `saved_models/<name>-portable`, or another folder.
    """
    directory = directory.resolve()
    name = directory.name.removesuffix(_TWIN_SUFFIX)
    return None if name in ("", directory.name) else directory.with_name(name)


def version_numbers(directory: Path, prefix: str) -> list[int]:
    """Returns the integers after a prefix in the names of a folder's content, ascending, without leading zeros.

    Args:
        directory: Any folder.
        prefix: What goes before the integer.
    """
    return sorted(int(name) for name in version_digits(directory, prefix) if name == str(int(name)))


def version_digits(directory: Path, prefix: str) -> list[str]:
    """Returns the names in a folder that are a number after a prefix, without the prefix; none if there is no folder.

    Numbers above `MAX_VERSION` are left out.

    Args:
        directory: Any folder.
        prefix: What goes before the number.
    """
    if not directory.is_dir():
        return []
    names = [path.name.removeprefix(prefix) for path in directory.iterdir() if path.name.startswith(prefix)]
    return [name for name in names if name.isascii() and name.isdecimal() and int(name) <= MAX_VERSION]
