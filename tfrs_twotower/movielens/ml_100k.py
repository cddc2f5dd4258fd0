"""The raw MovieLens 100K archive: where its files come from, and whether they are what they should be."""

from __future__ import annotations

import hashlib
import http.client
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

from tfrs_twotower.movielens.archives import GENRES_100K, unpack_archive
from tfrs_twotower.movielens.zips import open_member, open_zip

#: Who owns the data and what may be done with it; shown whenever the data is fetched.
TERMS = (
    "MovieLens belongs to GroupLens, University of Minnesota: free for research, no commercial use without permission, "
    "no redistribution; cite Harper & Konstan 2015. Terms: the README of each archive, for 100K at "
    "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt"
)
GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
#: A wheel on the Python package index that carries the original ratings, for hosts that reach nothing else.
WHEEL_REQUIREMENT = "recbole==1.2.1"
#: Of the official u.data: 1,979,173 bytes, 100,000 lines.
RATINGS_MD5 = "6e47046882bad158b0efbb84cd5cb987"

_FILES = ("u.data", "u.user", "u.item")
_WHEEL_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
_RATING_LINE = re.compile(rb"([1-9][0-9]*)\t([1-9][0-9]*)\t[1-5]\t[0-9]+")
_USER_LINE = re.compile(rb"([1-9][0-9]*)\|[0-9]+\|[MF]\|[a-z]+\|[^|]+")
_MOVIE_LINE = re.compile(rb"([1-9][0-9]*)\|[^|]+(\|[^|]*){3}(\|[01]){19}")


def open_archive(path: Path, workspace: Path) -> Path:
    """Finds the `ml-100k` files in a folder or zip that the user named, and checks them.

    Args:
        path: A folder that holds u.data, u.user and u.item (itself or in one inside), or a zip of one.
        workspace: An empty folder of the caller's, where a zip is unpacked.

    Returns:
        The folder that holds the three files.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or one of the files is missing.
        ValueError: If the zip is damaged, a line is broken (file and line named), or the ratings are others.
    """
    folder = unpack_archive(path, workspace)
    check_archive(folder)
    return folder


def check_archive(folder: Path, *, ratings_md5: str = RATINGS_MD5) -> None:
    """Checks the three files of an ml-100k folder line by line, then the ratings against the official checksum.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: Naming file and line, or the checksum.
    """
    for name in _FILES:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} holds no {name}: the ml-100k archive is incomplete.")
    users = _check_table(folder / "u.user", _USER_LINE, "user|age|M or F|occupation|zip code")
    movies = _check_table(folder / "u.item", _MOVIE_LINE, "movie|title|date|video date|link|19 genres of 0 or 1")
    content = (folder / "u.data").read_bytes()
    for number, line in enumerate(content.splitlines(), start=1):
        match = _RATING_LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{folder / 'u.data'}, line {number}: expected `user <tab> movie <tab> rating 1-5 <tab> timestamp`. "
                f"Received: {line[:60].decode('latin-1')!r}."
            )
        for value, known, file in ((match[1], users, "u.user"), (match[2], movies, "u.item")):
            if value not in known:
                raise ValueError(f"{folder / 'u.data'}, line {number}: id {value.decode()} is not in {file}.")
    received = hashlib.md5(content).hexdigest()
    if received != ratings_md5:
        raise ValueError(
            f"{folder / 'u.data'} is not MovieLens 100K's: its MD5 is {received}, the official one {ratings_md5}. "
            f"Get the archive again from {GROUPLENS_URL}."
        )


def grouplens_answers(timeout_s: float = 4.0) -> bool:
    """Whether GroupLens's host answers a HEAD request within `timeout_s` seconds (name resolution included)."""
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

    # A thread, because a name server that never answers is not covered by urlopen's timeout.
    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered.is_set()


def archive_from_wheel(workspace: Path) -> Path:
    """Fetches the ratings from the package index and lays them out as an `ml-100k` folder.

    Args:
        workspace: An empty folder of the caller's.

    Returns:
        The checked folder.

    Raises:
        ConnectionError: If the wheel cannot be fetched.
        ValueError: If what it holds is not MovieLens 100K.
    """
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
        "--dest", str(workspace), WHEEL_REQUIREMENT,
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheels = sorted(workspace.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip() or "no wheel arrived").splitlines()[-1]
        raise ConnectionError(
            f"MovieLens 100K can be reached neither at GroupLens nor in the package index ({reason}). "
            "Download ml-100k.zip elsewhere and name it as the archive."
        )
    folder = workspace / "ml-100k"
    folder.mkdir()
    contents = []
    with open_zip(wheels[0]) as wheel:
        for kind in ("inter", "user", "item"):
            with open_member(wheel, f"{_WHEEL_FOLDER}.{kind}") as member:
                contents.append(member.read())
    ratings, users, movies = contents
    (folder / "u.data").write_bytes(ratings.partition(b"\n")[2])
    (folder / "u.user").write_bytes(users.partition(b"\n")[2].replace(b"\t", b"|"))
    lines = [_movie_line(line) for line in movies.decode("utf-8").strip("\n").split("\n")[1:]]
    (folder / "u.item").write_text("".join(lines), encoding="latin-1")
    check_archive(folder)
    return folder


def _movie_line(line: str) -> str:
    """One line of u.item from the wheel's `id <tab> title <tab> year <tab> genres`; dates and link stay empty."""
    try:
        movie_id, title, year, genres = line.split("\t")
        if unknown := set(genres.split(" ")) - set(GENRES_100K):
            raise ValueError(f"unknown genres {sorted(unknown)}")
    except ValueError as error:
        raise ValueError(f"The wheel {WHEEL_REQUIREMENT} holds a broken line of movies ({error}): {line!r}.") from error
    # The wheel misspells the one film that GroupLens lists as "unknown", without a year.
    full_title = "unknown" if title == "unkonwn" else f"{title} ({year})"
    flags = ["1" if genre in genres.split(" ") else "0" for genre in GENRES_100K]
    return "|".join([movie_id, full_title, "", "", "", *flags]) + "\n"


def _check_table(path: Path, pattern: re.Pattern[bytes], form: str) -> set[bytes]:
    """Checks a file line by line and returns the ids, the pattern's first group."""
    ids = set()
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        match = pattern.fullmatch(line)
        if match is None:
            raise ValueError(f"{path}, line {number}: expected `{form}`. Received: {line[:60].decode('latin-1')!r}.")
        ids.add(match[1])
    return ids
