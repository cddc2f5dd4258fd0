"""The layout of ml-100k: `u.data`, `u.item` and `u.user`, and what each of their lines must look like."""

from __future__ import annotations

import pyarrow as pa

from tfrs_twotower.movielens.archive_files import ArchiveFiles
from tfrs_twotower.movielens.layout import (
    Layout,
    RatingsForm,
    TableForm,
    TextColumns,
    movie_table,
    tfds_genre,
    user_table,
)
from tfrs_twotower.movielens.reading import check_lines

#: The genres of the 19 flags at the end of each line of u.item, in order, by GroupLens's names.
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip

_NUM_FIELDS_BEFORE_GENRES = 5  # id, title, date, video date, link
_ID = r"[1-9][0-9]*"
_USER_LINE = rf"{_ID}\|[0-9]+\|[MF]\|[a-z]+\|[^|]+"
_MOVIE_LINE = rf"{_ID}\|[^|]+(\|[^|]*){{3}}(\|[01]){{{len(GENRES_100K)}}}"


def check_files(files: ArchiveFiles) -> None:
    """Checks every line of the three files, more strictly than reading them needs.

    Args:
        files: The archive.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a line does not have the form of the official archive (the file and the line are named).
    """
    check_lines(files, "u.user", _USER_LINE, "user|age|M or F|occupation|zip code")
    check_lines(files, "u.item", _MOVIE_LINE, "movie|title|date|video date|link|19 genres of 0 or 1")
    check_lines(files, "u.data", LAYOUT.ratings.pattern, LAYOUT.ratings.description)


def _parse_movies(columns: TextColumns) -> pa.Table:
    names = [tfds_genre(name) for name in GENRES_100K]
    flags = zip(*columns[_NUM_FIELDS_BEFORE_GENRES:], strict=True)
    genres = [[name for name, flag in zip(names, row, strict=True) if flag == "1"] for row in flags]
    return movie_table(columns[0], columns[1], genres)


def _parse_users(columns: TextColumns) -> pa.Table:
    ids, ages, genders, occupations, zip_codes = columns
    return user_table(ids=ids, ages=ages, genders=genders, occupations=list(occupations), zip_codes=zip_codes)


#: The layout of ml-100k.
LAYOUT = Layout(
    ratings=RatingsForm(
        name="u.data",
        delimiter="\t",
        pattern=rf"{_ID}\t{_ID}\t[1-5]\t[0-9]+",
        description="user <tab> movie <tab> rating 1-5 <tab> timestamp",
    ),
    movies=TableForm(
        name="u.item",
        delimiter="|",
        encoding="latin-1",
        num_fields=_NUM_FIELDS_BEFORE_GENRES + len(GENRES_100K),
        parse=_parse_movies,
    ),
    users=TableForm(name="u.user", delimiter="|", encoding="latin-1", num_fields=5, parse=_parse_users),
)
