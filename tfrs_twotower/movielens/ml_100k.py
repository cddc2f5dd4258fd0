"""The official MovieLens 100K archive: where it comes from, and checks that its files are the published ones."""

from __future__ import annotations

import http.client
import threading
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tfrs_twotower.movielens.archive_files import ArchiveFiles
from tfrs_twotower.movielens.archives import find_archive, read_archive, unpack_archive
from tfrs_twotower.movielens.checksums import KnownFile, require_known
from tfrs_twotower.movielens.layout_100k import LAYOUT, check_files

#: The owner of the data and the terms of use. They are shown whenever the data is fetched.
TERMS = (
    "MovieLens belongs to GroupLens, University of Minnesota: free for research, no commercial use without permission, "
    "no redistribution; cite Harper & Konstan 2015. Terms: the README of each archive, for 100K at "
    "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt"
)
GROUPLENS_URL = "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
#: The files of ml-100k.zip that are read; all other files of the archive are ignored. The MD5 of this u.data is
#: 6e47046882bad158b0efbb84cd5cb987. Several copies of the archive agree on these figures.
PUBLISHED_FILES = {
    "u.data": KnownFile(
        size_bytes=1_979_173, sha256="06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490"
    ),
    "u.item": KnownFile(size_bytes=236_344, sha256="553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701"),
    "u.user": KnownFile(size_bytes=22_628, sha256="f120e114da2e8cf314fd28f99417c94ae9ddf1cb6db8ce0e4b5995d40e90e62c"),
}

_ADVICE = (
    f"Get the archive again from {GROUPLENS_URL}. If it was altered on purpose, read it with "
    "`tt.movielens.read_archive`, or its files as tables of your own with `tt.data.read_files` or "
    "`tfrs-twotower train FILE`."
)


def open_archive(path: Path, workspace: Path) -> Path:
    """Finds the files of ml-100k in a folder or zip file that the user named, and checks them.

    Args:
        path: A folder that holds u.data, u.user and u.item (itself or in one folder inside), or a zip file of one.
        workspace: An empty folder that a zip file is unpacked into.

    Returns:
        The folder that holds the three files.

    Raises:
        FileNotFoundError: If there is nothing at `path`, or one of the files is missing.
        OSError: If the disk of `workspace` has not enough space.
        ValueError: If the zip file is damaged or refused, a line is broken (the file and the line are named), or a
            file is not the published one.
    """
    files, layout = find_archive(path)
    if layout != LAYOUT:
        raise ValueError(f"{path} is not MovieLens 100K: it holds {layout.ratings.name} in place of u.data. {_ADVICE}")
    if files.is_zip:
        for name, known in PUBLISHED_FILES.items():
            if files.size_bytes(name) > known.size_bytes:
                raise ValueError(
                    f"{files.folder / name} differs from the published file. Expected: {known.size_bytes:,} bytes. "
                    f"Received: {files.size_bytes(name):,} bytes. {_ADVICE}"
                )
    folder = unpack_archive(path, workspace)
    check_archive(folder, known=PUBLISHED_FILES)
    return folder


def check_archive(folder: Path, *, known: Mapping[str, KnownFile]) -> None:
    """Checks every line of the three files of ml-100k, then the ids of the ratings, then the checksum of each file.

    Args:
        folder: The folder that holds the three files.
        known: What is known of the files.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line is broken (the file and the line are named), or a file is not the published one.
    """
    files = ArchiveFiles(folder, [LAYOUT.ratings.name])
    check_files(files)
    read_archive(folder)
    for name, expected in known.items():
        with files.open(name) as file:
            require_known(file, expected, place=str(files.folder / name), advice=_ADVICE)


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
