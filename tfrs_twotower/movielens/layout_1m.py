"""The layout of ml-1m: `ratings.dat`, `movies.dat` and `users.dat`."""

from __future__ import annotations

import pyarrow as pa

from tfrs_twotower.movielens.layout import (
    Layout,
    RatingsForm,
    TableForm,
    TextColumns,
    movie_table,
    tfds_genre,
    user_table,
)

# By the numbers in users.dat; TFDS has the same list.
_OCCUPATIONS = (
    "other/not specified", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip


def _parse_movies(columns: TextColumns) -> pa.Table:
    ids, titles, genres = columns
    return movie_table(ids, titles, [[tfds_genre(name) for name in names.split("|")] for names in genres])


def _parse_users(columns: TextColumns) -> pa.Table:
    ids, genders, ages, numbers, zip_codes = columns
    names = {str(number): name for number, name in enumerate(_OCCUPATIONS)}
    unknown = sorted(set(numbers) - set(names))
    if unknown:
        raise ValueError(f"users.dat holds occupations outside 0 to {len(names) - 1}: {unknown[:5]}.")
    occupations = [names[number] for number in numbers]
    return user_table(ids=ids, ages=ages, genders=genders, occupations=occupations, zip_codes=zip_codes)


#: The layout of ml-1m.
LAYOUT = Layout(
    ratings=RatingsForm(
        name="ratings.dat",
        delimiter="::",
        pattern=r"\d+::\d+::\d+::\d+",
        description="user::movie::rating::timestamp",
    ),
    movies=TableForm(name="movies.dat", delimiter="::", encoding="latin-1", num_fields=3, parse=_parse_movies),
    users=TableForm(name="users.dat", delimiter="::", encoding="latin-1", num_fields=5, parse=_parse_users),
)
