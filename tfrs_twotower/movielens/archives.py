"""GroupLens's MovieLens archives read as they are, unpacked or zipped, without preparing a data set first.

Three layouts: `u.data` (100k), `ratings.dat` (1m) and `ratings.csv` (20m, 25m, latest, latest-small).
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.movielens.zips import open_member, open_zip

_RATING_TYPES = {"user_id": pa.int32(), "movie_id": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}
#: The 19 flag columns of u.item, in order, by GroupLens's names.
GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
# TFDS gives a genre the same name in all data sets.
_GENRE_NAMES = {"unknown": "Unknown", "Children's": "Children"}
# By the number in users.dat; TFDS has the same list.
_OCCUPATIONS_1M = (
    "other/not specified", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service",
    "doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer",
    "retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman",
    "unemployed", "writer",
)  # fmt: skip


def read_archive(path: str | os.PathLike[str]) -> Interactions:
    """Reads a MovieLens archive of any of the three layouts.

    Args:
        path: A folder with the files (itself or in one folder inside), or a zip of one.

    Returns:
        As `load_movielens` gives them, but with the catalogue in the order of the archive and whole: movies that
        nobody rated are in it.

    Raises:
        FileNotFoundError: If there is no archive at `path`, or one of its files is missing.
        ValueError: If a zip is damaged, a line is broken (file and line named), or a rating is of an unknown movie or
            user.
    """
    files = _Files(Path(path))
    return _star(files, _find_layout(files))


def unpack_archive(path: str | os.PathLike[str], workspace: Path) -> Path:
    """The folder that holds an archive's files; those of a zip are written into `workspace` first.

    Args:
        path: As in `read_archive`.
        workspace: An empty folder of the caller's.

    Raises:
        FileNotFoundError: As `read_archive`.
        ValueError: As `read_archive`.
    """
    files = _Files(Path(path))
    layout = _find_layout(files)
    if files.is_folder:
        return files.folder()
    for name in filter(None, (layout.ratings, layout.movies, layout.users)):
        with files.open(name) as source, (workspace / name).open("wb") as target:
            shutil.copyfileobj(source, target)
    return workspace


def release_years(titles: pa.ChunkedArray) -> pa.ChunkedArray:
    """The last parenthesis with four digits in each title, as text; null where there is none.

    Example:
        >>> release_years(pa.chunked_array([["Land Before Time III (1995) (V)", "unknown"]])).to_pylist()
        ['1995', None]
    """
    return pc.struct_field(pc.extract_regex(titles, r".*\((?P<year>\d{4})\)"), "year")


def _find_layout(files: _Files) -> _Layout:
    for layout in _LAYOUTS:
        if layout.ratings in files.names:
            return layout
    wanted = ", ".join(layout.ratings for layout in _LAYOUTS)
    raise FileNotFoundError(f"{files.path} is no MovieLens archive: it holds none of {wanted}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Layout:
    ratings: str
    movies: str
    users: str | None
    delimiter: bytes
    encoding: str
    rating_line: str
    parse_movies: Callable[[list[list[str]]], pa.Table]
    parse_users: Callable[[list[list[str]]], pa.Table] | None
    ratings_header: str | None = None
    movies_header: str | None = None

    @property
    def num_header_lines(self) -> int:
        """Lines of the ratings file before the first rating."""
        return 0 if self.ratings_header is None else 1


def _star(files: _Files, layout: _Layout) -> Interactions:
    ratings = _read_ratings(files, layout)
    movies = layout.parse_movies(files.rows(layout.movies, layout))
    movie_ids = movies["movie_id"]
    candidate_rows = _rows_of(ratings["movie_id"], movie_ids, files, layout, layout.movies)
    if layout.users is not None and layout.parse_users is not None:
        users = layout.parse_users(files.rows(layout.users, layout))
        query_rows = _rows_of(ratings["user_id"], users["user_id"], files, layout, layout.users)
    else:
        encoded = ratings["user_id"].combine_chunks().dictionary_encode()
        users = pa.table({"user_id": encoded.dictionary.cast(pa.string())})
        query_rows = encoded.indices
    return Interactions(
        queries=users,
        candidates=movies.add_column(2, "release_year", release_years(movies["title"])),
        events=pa.table(
            {
                "query_row": query_rows,
                "candidate_row": candidate_rows,
                "rating": ratings["rating"].combine_chunks(),
                "timestamp": ratings["timestamp"].combine_chunks(),
            }
        ),
        query_id="user_id",
        candidate_id="movie_id",
        source=f"the archive {files.path.name}",
    )


class _Files:
    """The files of a folder or a zip, by their bare names."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            raise FileNotFoundError(
                f"No MovieLens archive at {path}. Name a folder or zip in one of GroupLens's layouts."
            )
        self.path = path
        self._zip: zipfile.ZipFile | None = None
        if path.is_dir():
            inside = [
                *path.iterdir(),
                *(file for folder in path.iterdir() if folder.is_dir() for file in folder.iterdir()),
            ]
            members = [file.relative_to(path).as_posix() for file in inside if file.is_file()]
        else:
            self._zip = open_zip(path)
            members = [member for member in self._zip.namelist() if member.count("/") < 2]
        self._folder = self._choose_folder(members)
        self._members = {Path(member).name: member for member in members if Path(member).parent == self._folder}
        self.names = set(self._members)
        self.is_folder = self._zip is None

    def _choose_folder(self, members: list[str]) -> Path:
        """The one folder, outermost or one inside, that holds ratings; files of two folders are never mixed."""
        ratings = {layout.ratings for layout in _LAYOUTS}
        found = {Path(member).parent for member in members if Path(member).name in ratings}
        outermost = sorted(folder for folder in found if len(folder.parts) == min(len(f.parts) for f in found))
        if len(outermost) > 1:
            names = ", ".join(map(str, outermost))
            raise ValueError(f"{self.path} holds more than one MovieLens archive: {names}. Name one of them.")
        return outermost[0] if outermost else Path()

    def folder(self) -> Path:
        """The folder that the files lie in."""
        return self.path / self._folder

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        if name not in self._members:
            raise FileNotFoundError(f"{self.path} holds no {name}: the archive is incomplete.")
        if self._zip is None:
            with (self.path / self._members[name]).open("rb") as file:
                yield file
        else:
            with open_member(self._zip, self._members[name]) as member:
                yield member

    def rows(self, name: str, layout: _Layout) -> list[list[str]]:
        """The fields of every line of a small file."""
        with self.open(name) as file:
            content = file.read()
        try:
            text = content.decode(layout.encoding)
            if layout.movies_header is not None and name == layout.movies:
                self.require_header(name, layout.movies_header)
                return _csv_rows(text)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise ValueError(f"{self.path} holds a {name} that cannot be read: {str(error).splitlines()[0]}") from error
        delimiter = {"u.item": "|", "u.user": "|"}.get(name, layout.delimiter.decode())
        return [line.rstrip("\r").split(delimiter) for line in text.split("\n") if line]

    def require_header(self, name: str, header: str) -> None:
        """Refuses a file whose columns are others, or in another order."""
        with self.open(name) as file:
            received = file.readline().decode("utf-8", "replace").strip().lstrip("\ufeff")
        if received != header:
            raise ValueError(f"{self.path} holds a {name} of other columns: expected {header}. Received: {received!r}.")

    def broken_line(self, name: str, pattern: str, skip: int) -> str | None:
        """Where a file's first line is that the pattern does not match; None if all match."""
        expression = re.compile(pattern.encode())
        with self.open(name) as file:
            for number, line in enumerate(file, start=1):
                if number > skip and expression.fullmatch(line.rstrip(b"\r\n")) is None:
                    return f"{name}, line {number}: {line[:60].decode('latin-1').rstrip()!r}"
        return None


def _csv_rows(text: str) -> list[list[str]]:
    table = pa.csv.read_csv(
        pa.BufferReader(text.encode()),
        convert_options=pa.csv.ConvertOptions(
            column_types={"movieId": pa.string(), "title": pa.string(), "genres": pa.string()},
            strings_can_be_null=False,
        ),
    )
    return [list(row.values()) for row in table.to_pylist()]


def _read_ratings(files: _Files, layout: _Layout) -> pa.Table:
    if layout.ratings_header is not None:
        files.require_header(layout.ratings, layout.ratings_header)
    with files.open(layout.ratings) as file:
        source: pa.NativeFile = pa.PythonFile(file, mode="r")
        delimiter = layout.delimiter.decode()
        if len(delimiter) > 1:  # Arrow knows delimiters of one character; no number holds a tab
            source, delimiter = pa.BufferReader(file.read().replace(layout.delimiter, b"\t")), "\t"
        try:
            table = pa.csv.read_csv(
                source,
                read_options=pa.csv.ReadOptions(
                    column_names=list(_RATING_TYPES), skip_rows=layout.num_header_lines, block_size=2**22
                ),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
                convert_options=pa.csv.ConvertOptions(column_types=_RATING_TYPES, null_values=[]),
            )
        except pa.ArrowInvalid as error:
            where = files.broken_line(layout.ratings, layout.rating_line, layout.num_header_lines)
            reason = where or str(error).splitlines()[0]
            raise ValueError(f"{files.path} holds a broken line of ratings: {reason}.") from error
    if not table.num_rows:
        raise ValueError(f"{files.path} holds no ratings: {layout.ratings} is empty.")
    return table


def _rows_of(ids: pa.ChunkedArray, known: pa.ChunkedArray, files: _Files, layout: _Layout, table: str) -> pa.Array:
    """int32 row of `known` for each id of a rating."""
    try:
        numbers = known.combine_chunks().cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{files.path} holds a broken line: an id of {table} is no number ({error}).") from error
    rows = pc.index_in(ids.combine_chunks(), value_set=numbers)
    if rows.null_count:
        place = int(np.flatnonzero(rows.is_null().to_numpy(zero_copy_only=False))[0])
        line = place + 1 + layout.num_header_lines
        raise ValueError(f"{files.path / layout.ratings}, line {line}: id {ids[place].as_py()} is not in {table}.")
    return rows.cast(pa.int32())


def _columns(rows: list[list[str]], num_fields: int, file: str) -> list[tuple[str, ...]]:
    for number, row in enumerate(rows, start=1):
        if len(row) != num_fields:
            raise ValueError(f"{file}, line {number}: expected {num_fields} fields. Received: {row[:4]!r}.")
    return list(zip(*rows, strict=True)) if rows else [()] * num_fields


def _movies(ids: tuple[str, ...], titles: tuple[str, ...], genres: list[list[str]]) -> pa.Table:
    return pa.table(
        {
            "movie_id": pa.array(ids, pa.string()),
            "title": pa.array(titles, pa.string()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )


def _movies_100k(rows: list[list[str]]) -> pa.Table:
    columns = _columns(rows, 24, "u.item")
    names = [_GENRE_NAMES.get(genre, genre) for genre in GENRES_100K]
    genres = [[name for name, flag in zip(names, row[5:], strict=True) if flag == "1"] for row in rows]
    return _movies(columns[0], columns[1], genres)


def _movies_1m(rows: list[list[str]]) -> pa.Table:
    ids, titles, genres = _columns(rows, 3, "movies.dat")
    return _movies(ids, titles, [[_GENRE_NAMES.get(genre, genre) for genre in text.split("|")] for text in genres])


def _movies_csv(rows: list[list[str]]) -> pa.Table:
    ids, titles, genres = _columns(rows, 3, "movies.csv")
    return _movies(ids, titles, [text.split("|") for text in genres])


def _users(
    ids: tuple[str, ...], ages: tuple[str, ...], genders: tuple[str, ...], jobs: list[str], zips: tuple[str, ...]
) -> pa.Table:
    try:
        years = pa.array([float(age) for age in ages], pa.float32())
    except ValueError as error:
        raise ValueError(f"An age of the users is no number: {error}.") from error
    return pa.table(
        {"user_id": list(ids), "age": years, "gender": list(genders), "occupation": jobs, "zip_code": list(zips)}
    )


def _users_100k(rows: list[list[str]]) -> pa.Table:
    ids, ages, genders, jobs, zips = _columns(rows, 5, "u.user")
    return _users(ids, ages, genders, list(jobs), zips)


def _users_1m(rows: list[list[str]]) -> pa.Table:
    ids, genders, ages, jobs, zips = _columns(rows, 5, "users.dat")
    numbers = {str(number): name for number, name in enumerate(_OCCUPATIONS_1M)}
    unknown = sorted(set(jobs) - set(numbers))
    if unknown:
        raise ValueError(f"users.dat holds occupations that are none of 0 to {len(numbers) - 1}: {unknown[:5]}.")
    return _users(ids, ages, genders, [numbers[job] for job in jobs], zips)


_LAYOUTS = (
    _Layout(
        ratings="u.data",
        movies="u.item",
        users="u.user",
        delimiter=b"\t",
        encoding="latin-1",
        rating_line=r"\d+\t\d+\t\d+\t\d+",
        parse_movies=_movies_100k,
        parse_users=_users_100k,
    ),
    _Layout(
        ratings="ratings.dat",
        movies="movies.dat",
        users="users.dat",
        delimiter=b"::",
        encoding="latin-1",
        rating_line=r"\d+::\d+::\d+::\d+",
        parse_movies=_movies_1m,
        parse_users=_users_1m,
    ),
    _Layout(
        ratings="ratings.csv",
        movies="movies.csv",
        users=None,
        delimiter=b",",
        encoding="utf-8",
        rating_line=r"\d+,\d+,\d+(\.\d+)?,\d+",
        ratings_header="userId,movieId,rating,timestamp",
        movies_header="movieId,title,genres",
        parse_movies=_movies_csv,
        parse_users=None,
    ),
)
