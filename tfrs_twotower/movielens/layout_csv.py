"""The layout of ml-20m, ml-25m, ml-latest and ml-latest-small: `ratings.csv` and `movies.csv`, without users."""

from __future__ import annotations

import pyarrow as pa

from tfrs_twotower.movielens.layout import Layout, RatingsForm, TableForm, TextColumns, movie_table


def _parse_movies(columns: TextColumns) -> pa.Table:
    ids, titles, genres = columns
    return movie_table(ids, titles, [names.split("|") for names in genres])


#: The layout of ml-20m, ml-25m, ml-latest and ml-latest-small.
LAYOUT = Layout(
    ratings=RatingsForm(
        name="ratings.csv",
        delimiter=",",
        pattern=r"\d+,\d+,\d+(\.\d+)?,\d+",
        description="userId,movieId,rating,timestamp",
        header="userId,movieId,rating,timestamp",
    ),
    movies=TableForm(
        name="movies.csv",
        delimiter=",",
        encoding="utf-8",
        num_fields=3,
        parse=_parse_movies,
        header="movieId,title,genres",
    ),
    users=None,
)
