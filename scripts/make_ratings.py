"""Makes ratings in the shape of MovieLens, with planted taste and Zipf popularity, as an archive in GroupLens's layout.

Users and movies belong to one of a few tastes; a user mostly rates movies of the own taste, and likes those more.
Nothing of MovieLens is in it: ids, titles and ratings come from the seed alone.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from tfrs_twotower.movielens.layout_100k import GENRES_100K

_BLOCK = 2**20
_GENRES = ("Action", "Comedy", "Crime", "Drama", "Horror", "Musical", "Romance", "Western")
_OCCUPATIONS = ("artist", "doctor", "engineer", "lawyer", "student", "writer")
_START = 978_300_000  # seconds since 1970, within the time of the real ratings
_LENGTH = 600_000_000


def main() -> None:
    """Parses the command line and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files go; made if it is not there")
    parser.add_argument("--layout", choices=("100k", "1m", "csv"), default="csv", help="csv: as 20m, 25m, latest-small")
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--movies", type=int, default=500)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    make_archive(
        arguments.folder,
        layout=arguments.layout,
        num_users=arguments.users,
        num_movies=arguments.movies,
        num_events=arguments.events,
        seed=arguments.seed,
    )


def make_archive(folder: Path, *, layout: str, num_users: int, num_movies: int, num_events: int, seed: int = 0) -> None:
    """Writes an archive, block by block: memory does not grow with the events.

    Args:
        folder: Where the files go.
        layout: "100k", "1m" or "csv".
        num_users: Users, >= 1; each taste needs one.
        num_movies: Movies, >= 8, one of each taste.
        num_events: Ratings; the same pair may occur twice.
        seed: Of everything.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_movies(folder, layout, num_movies)
    if layout != "csv":
        _write_users(folder, layout, num_users, np.random.default_rng([seed, 0]))
    name, delimiter = {"100k": ("u.data", "\t"), "1m": ("ratings.dat", "::"), "csv": ("ratings.csv", ",")}[layout]
    with (folder / name).open("wb") as file:
        if layout == "csv":
            file.write(b"userId,movieId,rating,timestamp\n")
        for number, start in enumerate(range(0, num_events, _BLOCK)):
            size = min(_BLOCK, num_events - start)
            table = draw_ratings(
                num_users,
                num_movies,
                size,
                half_stars=layout == "csv",
                generator=np.random.default_rng([seed, 1, number]),
            )
            options = pa.csv.WriteOptions(include_header=False, delimiter=delimiter[0], quoting_style="none")
            block = pa.BufferOutputStream()
            pa.csv.write_csv(table, block, options)
            content = block.getvalue().to_pybytes()
            file.write(content.replace(delimiter[0].encode(), delimiter.encode()) if len(delimiter) > 1 else content)


def draw_ratings(
    num_users: int, num_movies: int, num_events: int, *, half_stars: bool, generator: np.random.Generator
) -> pa.Table:
    """Draws ratings with planted taste.

    Args:
        num_users: Ids 1 to `num_users`; user u has taste u mod 8.
        num_movies: Ids 1 to `num_movies`; movie m has taste m mod 8, and popularity falling as 1 / (m + 10).
        num_events: Rows.
        half_stars: Ratings in steps of 0.5 instead of 1.
        generator: The source of chance.

    Returns:
        Columns user (int32), movie (int32), rating, timestamp (int64).
    """
    num_tastes = len(_GENRES)
    users = (num_users * generator.beta(1, 1.5, num_events)).astype(np.int32) + 1
    # The inverse of Zipf's distribution function, in closed form for the continuous one.
    spread = np.log((num_movies + 10) / 10)
    movies = np.minimum((10 * np.exp(spread * generator.random(num_events)) - 10).astype(np.int32) + 1, num_movies)
    matched = movies - movies % num_tastes + users % num_tastes
    is_own = generator.random(num_events) < 0.6
    movies = np.where(is_own & (matched >= 1) & (matched <= num_movies), matched, movies).astype(np.int32)
    stars = 2.4 + 1.4 * (movies % num_tastes == users % num_tastes) + generator.normal(0, 0.8, num_events)
    steps = 2 if half_stars else 1
    ratings = np.clip(np.round(stars * steps) / steps, 1 / steps, 5)
    return pa.table(
        {
            "user": users,
            "movie": movies,
            "rating": ratings if half_stars else ratings.astype(np.int32),
            "timestamp": _START + generator.integers(0, _LENGTH, num_events),
        }
    )


def _write_movies(folder: Path, layout: str, num_movies: int) -> None:
    lines = ["movieId,title,genres"] if layout == "csv" else []
    for movie in range(1, num_movies + 1):
        genre, title = _GENRES[movie % len(_GENRES)], f"Film {movie} ({1930 + movie % 70})"
        flags = "|".join("1" if name == genre else "0" for name in GENRES_100K)
        lines.append(
            {
                "100k": f"{movie}|{title}|01-Jan-1995||http://example.invalid|{flags}",
                "1m": f"{movie}::{title}::{genre}|Thriller",
                "csv": f'{movie},"{title}",{genre}|Thriller',
            }[layout]
        )
    name = {"100k": "u.item", "1m": "movies.dat", "csv": "movies.csv"}[layout]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="latin-1")


def _write_users(folder: Path, layout: str, num_users: int, generator: np.random.Generator) -> None:
    ages, jobs = generator.integers(7, 74, num_users), generator.integers(0, len(_OCCUPATIONS), num_users)
    lines = []
    for user, age, job in zip(range(1, num_users + 1), ages, jobs, strict=True):
        gender, code = "MF"[user % 2], f"{10000 + user % 90000}"
        line_100k = f"{user}|{age}|{gender}|{_OCCUPATIONS[job]}|{code}"
        lines.append(line_100k if layout == "100k" else f"{user}::{gender}::{age}::{job}::{code}")
    (folder / {"100k": "u.user", "1m": "users.dat"}[layout]).write_text("\n".join(lines) + "\n", encoding="latin-1")


if __name__ == "__main__":
    main()
