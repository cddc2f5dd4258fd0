"""The files of an archive, whether it is a folder or a zip file."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO

from tfrs_twotower._sha256 import sha256_of
from tfrs_twotower.movielens.zips import open_member, open_zip


class ArchiveFiles:
    """The files of a folder or a zip file, by their bare names.

    Attributes:
        path: The folder or zip file.
        names: Bare names of the files in the one folder that holds the ratings.
        is_zip: Whether `path` is a zip file.
    """

    def __init__(self, path: Path, ratings_names: Collection[str]) -> None:
        """Finds the files.

        Args:
            path: A folder or zip file, which holds the files itself or in one folder inside.
            ratings_names: Bare names of files of ratings, by which an archive is recognised.

        Raises:
            FileNotFoundError: If there is nothing at `path`.
            ValueError: If the zip file is damaged or refused, or there is more than one archive at `path`.
        """
        if not path.exists():
            raise FileNotFoundError(
                f"No MovieLens archive at {path}. Name a folder or zip in one of GroupLens's layouts."
            )
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            members = _files_of_folder(path)
        else:
            self._zip = open_zip(path)
            members = [member for member in self._zip.namelist() if member.count("/") < 2]
        self._folder = _choose_folder(path, members, ratings_names)
        self._members = {Path(member).name: member for member in members if Path(member).parent == self._folder}
        self.names = frozenset(self._members)
        self.is_zip = self._zip is not None

    @property
    def folder(self) -> Path:
        """The folder of the files; in a zip file, a path inside it."""
        return self.path / self._folder

    def size_bytes(self, name: str) -> int:
        """Gives the size of a file; in a zip file, the declared one.

        Args:
            name: Its bare name.

        Raises:
            FileNotFoundError: If the archive has no such file.
        """
        member = self._member(name)
        return (self.path / member).stat().st_size if self._zip is None else self._zip.getinfo(member).file_size

    def describe_checksum(self, names: Collection[str]) -> str:
        """Describes the SHA-256 of the zip file or, for a folder, of what `sha256sum` says about some of its files.

        Args:
            names: Bare names of the files of the folder.

        Raises:
            FileNotFoundError: If a folder has no such file.
        """
        if self.is_zip:
            return f"SHA-256 {self.zip_sha256()}"
        lines = ""
        for name in names:
            with self.open(name) as file:
                lines += f"{sha256_of(file)}  {name}\n"
        return f"SHA-256 {hashlib.sha256(lines.encode()).hexdigest()} of the output of sha256sum {' '.join(names)}"

    def zip_sha256(self) -> str:
        """Computes the SHA-256 of the zip file."""
        with self.path.open("rb") as file:
            return sha256_of(file)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """Opens a file for reading.

        Args:
            name: Its bare name.

        Raises:
            FileNotFoundError: If the archive has no such file.
            ValueError: If the file cannot be read from the zip file, or is not as long as declared there. This can be
                found while it is read.
        """
        member = self._member(name)
        with (self.path / member).open("rb") if self._zip is None else open_member(self._zip, member) as file:
            yield file

    def _member(self, name: str) -> str:
        if name not in self._members:
            raise FileNotFoundError(f"{self.path} holds no {name}: the archive is incomplete.")
        return self._members[name]


def _files_of_folder(path: Path) -> list[str]:
    inside = [*path.iterdir(), *(file for folder in path.iterdir() if folder.is_dir() for file in folder.iterdir())]
    return [file.relative_to(path).as_posix() for file in inside if file.is_file()]


def _choose_folder(path: Path, members: list[str], ratings_names: Collection[str]) -> Path:
    """Chooses the one outermost folder that holds ratings, so that files of two folders are never mixed."""
    found = {Path(member).parent for member in members if Path(member).name in ratings_names}
    min_depth = min((len(folder.parts) for folder in found), default=0)
    outermost = sorted(folder for folder in found if len(folder.parts) == min_depth)
    if len(outermost) > 1:
        names = ", ".join(map(str, outermost))
        raise ValueError(f"{path} holds more than one MovieLens archive: {names}. Name one of them.")
    return outermost[0] if outermost else Path()
