"""The official MovieLens 100K archive: its sources, and checks that its files are the official ones."""

from __future__ import annotations

import hashlib
import http.client
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tfrs_twotower.movielens.archive_files import ArchiveFiles
from tfrs_twotower.movielens.archives import read_archive, unpack_archive
from tfrs_twotower.movielens.layout_100k import GENRES_100K, LAYOUT, check_files
from tfrs_twotower.movielens.zips import open_member, open_zip

#: The owner of the data and the terms of use. They are shown whenever the data is fetched.
TERMS = (
    "MovieLens belongs to GroupLens, University of Minnesota: free for research, no commercial use without permission, "
    "no redistribution; cite Harper & Konstan 2015. Terms: the README of each archive, for 100K at "
    "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt"
)
GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
#: A wheel on the Python package index that carries the original ratings, for machines that reach no other host.
WHEEL_REQUIREMENT = "recbole==1.2.1"
#: MD5 of the official u.data (1,979,173 bytes, 100,000 lines).
RATINGS_MD5 = "6e47046882bad158b0efbb84cd5cb987"

_WHEEL_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"


def open_archive(path: Path, workspace: Path) -> Path:
    """Finds the files of ml-100k in a folder or zip file that the user named, and checks them.

    Args:
        path: A folder that holds u.data, u.user and u.item (itself or in one folder inside), or a zip file of one.
        workspace: An empty folder that a zip file is unpacked into.

    Returns:
        The folder that holds the three files.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or one of the files is missing.
        ValueError: If the zip file is damaged, a line is broken (the file and the line are named), or the ratings are
            not the official ones.
    """
    folder = unpack_archive(path, workspace)
    check_archive(folder)
    return folder


def check_archive(folder: Path, *, ratings_md5: str = RATINGS_MD5) -> None:
    """Checks every line of the three files of ml-100k, then the ids of the ratings, then the checksum of the ratings.

    Args:
        folder: The folder that holds the three files.
        ratings_md5: Expected MD5 of u.data.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line is broken (the file and the line are named), or the checksum differs.
    """
    check_files(ArchiveFiles(folder, [LAYOUT.ratings.name]))
    read_archive(folder)
    received = hashlib.md5((folder / LAYOUT.ratings.name).read_bytes()).hexdigest()
    if received != ratings_md5:
        raise ValueError(
            f"{folder / LAYOUT.ratings.name} is not MovieLens 100K's: its MD5 is {received}, the official one "
            f"{ratings_md5}. Get the archive again from {GROUPLENS_URL}."
        )


def grouplens_answers(timeout_s: float = 4.0) -> bool:
    """Tells whether GroupLens's host can be reached.

    Args:
        timeout_s: Maximum time for a HEAD request, name resolution included, in seconds.
    """
    answered = threading.Event()

    def probe() -> None:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(GROUPLENS_URL, method="HEAD"), timeout=timeout_s
            ) as reply:
                if reply.status == 200:
                    answered.set()
        except (OSError, http.client.HTTPException, ValueError):
            pass

    # In a thread, because urlopen's timeout does not cover a name server that never answers.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered.is_set()


def archive_from_wheel(workspace: Path) -> Path:
    """Fetches MovieLens 100K from the package index and writes it in the layout of the official archive.

    Args:
        workspace: An empty folder.

    Returns:
        The folder of the three files, which have been checked.

    Raises:
        ConnectionError: If the wheel cannot be fetched.
        ValueError: If the wheel does not hold MovieLens 100K.
    """
    ratings, users, movies = _wheel_files(_download_wheel(workspace))
    folder = workspace / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_bytes(ratings.partition(b"\n")[2])
    (folder / "u.user").write_bytes(users.partition(b"\n")[2].replace(b"\t", b"|"))
    lines = [_movie_line(line) for line in movies.decode("utf-8").strip("\n").split("\n")[1:]]
    (folder / "u.item").write_text("".join(lines), encoding="latin-1")
    check_archive(folder)
    return folder


def _download_wheel(workspace: Path) -> Path:
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
        "--dest", str(workspace), WHEEL_REQUIREMENT,
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheels = sorted(workspace.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip() or "no wheel was downloaded").splitlines()[-1]
        raise ConnectionError(
            f"MovieLens 100K can be reached neither at GroupLens nor in the package index ({reason}). "
            "Download ml-100k.zip on another machine and name it as the archive."
        )
    return wheels[0]


def _wheel_files(path: Path) -> list[bytes]:
    """Reads the files of ratings, users and movies from the wheel; each has a header line."""
    contents = []
    with open_zip(path) as wheel:
        for kind in ("inter", "user", "item"):
            with open_member(wheel, f"{_WHEEL_FOLDER}.{kind}") as member:
                contents.append(member.read())
    return contents


def _movie_line(line: str) -> str:
    """Converts the wheel's `id <tab> title <tab> year <tab> genres` to a line of u.item; dates and link stay empty."""
    try:
        movie_id, title, year, genres = line.split("\t")
        if unknown := set(genres.split(" ")) - set(GENRES_100K):
            raise ValueError(f"unknown genres {sorted(unknown)}")
    except ValueError as error:
        raise ValueError(f"The wheel {WHEEL_REQUIREMENT} holds a broken line of movies ({error}): {line!r}.") from error
    # The wheel misspells the title of the one film that GroupLens lists as "unknown" and without a year.
    full_title = "unknown" if title == "unkonwn" else f"{title} ({year})"
    flags = ["1" if genre in genres.split(" ") else "0" for genre in GENRES_100K]
    return "|".join([movie_id, full_title, "", "", "", *flags]) + "\n"
