"""A tiny archive in the layout of ml-100k."""

import hashlib
from pathlib import Path

from tfrs_twotower.movielens.checksums import KnownFile

FLAGS = "|".join(["0"] * 19)
USERS = "1|24|M|technician|85711\n2|53|F|other|94043\n"
MOVIES = f"1|Toy Story (1995)|01-Jan-1995||http://x|{FLAGS}\n2|Misérables, Les (1995)||||{FLAGS}\n"
RATINGS = "1\t2\t3\t881250949\n2\t1\t5\t891717742\n"


def known(content: str | bytes) -> KnownFile:
    content = content.encode("latin-1") if isinstance(content, str) else content
    return KnownFile(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


KNOWN = {"u.data": known(RATINGS), "u.item": known(MOVIES), "u.user": known(USERS)}


def write_archive(folder: Path, *, users: str = USERS, movies: str = MOVIES, ratings: str = RATINGS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("u.user", users), ("u.item", movies), ("u.data", ratings)):
        (folder / name).write_text(content, encoding="latin-1")
    return folder
