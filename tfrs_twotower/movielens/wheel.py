"""MovieLens 100K from a wheel on the Python package index, for machines that reach no other host."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from tfrs_twotower.movielens import ml_100k
from tfrs_twotower.movielens.checksums import KnownFile, require_known
from tfrs_twotower.movielens.layout_100k import GENRES_100K
from tfrs_twotower.movielens.zips import open_member, open_zip

#: A wheel that carries the original ratings.
WHEEL_REQUIREMENT = "recbole==1.2.1"
WHEEL = KnownFile(size_bytes=2_130_151, sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407")
#: Its files of ratings, users and movies. Each has a header line.
WHEEL_FILES = {
    "inter": KnownFile(size_bytes=1_979_230, sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff"),
    "user": KnownFile(size_bytes=22_697, sha256="4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972"),
    "item": KnownFile(size_bytes=66_632, sha256="51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532"),
}

_FOLDER = "recbole/dataset_example/ml-100k/ml-100k"
_ADVICE = "Download ml-100k.zip on another machine and name it as the archive."


def archive_from_wheel(workspace: Path) -> Path:
    """Fetches MovieLens 100K from the package index and writes it in the layout of the official archive.

    Args:
        workspace: An empty folder.

    Returns:
        The folder of the three files, which have been checked. The movies have no dates and links.

    Raises:
        ConnectionError: If the wheel cannot be fetched.
        ValueError: If the wheel, or one of its files, is not the one that this module knows.
    """
    wheel = _download_wheel(workspace)
    with wheel.open("rb") as file:
        require_known(file, WHEEL, place=wheel.name, advice=_ADVICE)
    ratings, users, movies = _read_wheel(wheel)
    folder = workspace / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_bytes(ratings.partition(b"\n")[2])
    (folder / "u.user").write_bytes(users.partition(b"\n")[2].replace(b"\t", b"|"))
    lines = [_movie_line(line) for line in movies.decode("utf-8").strip("\n").split("\n")[1:]]
    (folder / "u.item").write_bytes("".join(lines).encode("latin-1"))
    # The wheel lacks columns of u.item, so that only the other two files are as published.
    known = {name: ml_100k.PUBLISHED_FILES[name] for name in ("u.data", "u.user")}
    ml_100k.check_archive(folder, known=known)
    return folder


def _download_wheel(workspace: Path) -> Path:
    # pip reads hashes only from a file of requirements, and installs nothing whose hash is not there.
    requirements = workspace / "requirements.txt"
    requirements.write_text(f"{WHEEL_REQUIREMENT} --hash=sha256:{WHEEL.sha256}\n", encoding="ascii")
    command = [
        sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet",
        "--dest", str(workspace), "--requirement", str(requirements),
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if "DO NOT MATCH THE HASHES" in result.stderr:
        raise ValueError(
            f"The package index has another wheel for {WHEEL_REQUIREMENT} than the one with the SHA-256 "
            f"{WHEEL.sha256}. It was not used. {_ADVICE}"
        )
    wheels = sorted(workspace.glob("*.whl"))
    if result.returncode or not wheels:
        reason = (result.stderr.strip() or "no wheel was downloaded").splitlines()[-1]
        raise ConnectionError(
            f"MovieLens 100K can be reached neither at GroupLens nor in the package index ({reason}). {_ADVICE}"
        )
    return wheels[0]


def _read_wheel(path: Path) -> list[bytes]:
    contents = []
    with open_zip(path) as wheel:
        for kind, known in WHEEL_FILES.items():
            name = f"{_FOLDER}.{kind}"
            with open_member(wheel, name) as member:
                content = member.read(known.size_bytes + 1)
            require_known(io.BytesIO(content), known, place=f"{path.name}, {name}", advice=_ADVICE)
            contents.append(content)
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
