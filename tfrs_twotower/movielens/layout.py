"""What a layout of archive files is: the form of each file and the tables that are made of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pyarrow as pa

#: The fields of a file, column by column, as text.
TextColumns = list[tuple[str, ...]]

_TFDS_GENRES = {"unknown": "Unknown", "Children's": "Children"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatingsForm:
    """The form of a file of ratings.

    Attributes:
        name: Bare name of the file.
        delimiter: What separates the fields user, movie, rating and timestamp.
        pattern: Regular expression of a whole line, without the end of the line.
        description: The form of a line, for errors.
        header: The first line, if it is a header; otherwise None.
    """

    name: str
    delimiter: str
    pattern: str
    description: str
    header: str | None = None

    @property
    def num_header_lines(self) -> int:
        """Number of lines before the first rating."""
        return 0 if self.header is None else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableForm:
    """The form of a file of movies or users.

    Attributes:
        name: Bare name of the file.
        delimiter: What separates the fields.
        encoding: Encoding of the text.
        num_fields: Number of fields in each line.
        parse: Makes a table from the fields.
        header: The first line of a CSV file with quoted fields; None for a file without header and quotes.
    """

    name: str
    delimiter: str
    encoding: str
    num_fields: int
    parse: Callable[[TextColumns], pa.Table]
    header: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """The files of an archive.

    Attributes:
        ratings: Form of the file of ratings.
        movies: Form of the file of movies.
        users: Form of the file of users; None if the layout has none, so that a user is only an id.
    """

    ratings: RatingsForm
    movies: TableForm
    users: TableForm | None

    @property
    def file_names(self) -> tuple[str, ...]:
        """Bare names of the files."""
        tables = (self.movies,) if self.users is None else (self.movies, self.users)
        return (self.ratings.name, *(table.name for table in tables))


def tfds_genre(name: str) -> str:
    """Gives TFDS's name of a genre, which is the same in all data sets.

    Args:
        name: The name in one of the two older archives.

    Example:
        >>> tfds_genre("Children's"), tfds_genre("Drama")
        ('Children', 'Drama')
    """
    return _TFDS_GENRES.get(name, name)


def movie_table(ids: tuple[str, ...], titles: tuple[str, ...], genres: list[list[str]]) -> pa.Table:
    """Makes the table of movies.

    Args:
        ids: Ids of the movies.
        titles: Titles, most of them with the year of release in parentheses.
        genres: Genres of each movie.

    Returns:
        The columns `movie_id`, `title` and `genres`.
    """
    return pa.table(
        {
            "movie_id": pa.array(ids, pa.string()),
            "title": pa.array(titles, pa.string()),
            "genres": pa.array(genres, pa.list_(pa.string())),
        }
    )


def user_table(
    *,
    ids: tuple[str, ...],
    ages: tuple[str, ...],
    genders: tuple[str, ...],
    occupations: list[str],
    zip_codes: tuple[str, ...],
) -> pa.Table:
    """Makes the table of users, with a row for each element of the arguments.

    Raises:
        ValueError: If an age is not a number.
    """
    try:
        years = pa.array([float(age) for age in ages], pa.float32())
    except ValueError as error:
        raise ValueError(f"The age of a user is not a number: {error}.") from error
    return pa.table(
        {
            "user_id": list(ids),
            "age": years,
            "gender": list(genders),
            "occupation": occupations,
            "zip_code": list(zip_codes),
        }
    )
