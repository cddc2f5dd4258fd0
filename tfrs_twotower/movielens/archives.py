"""Reading GroupLens's MovieLens archives as they are, as a folder or a zip file, in any of their three layouts."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.movielens import layout_1m, layout_100k, layout_csv
from tfrs_twotower.movielens.archive_files import ArchiveFiles
from tfrs_twotower.movielens.layout import Layout, RatingsForm
from tfrs_twotower.movielens.reading import check_lines, read_table, require_header

_LAYOUTS = (layout_100k.LAYOUT, layout_1m.LAYOUT, layout_csv.LAYOUT)
#: Bounds of zip files, so that a small one cannot fill a disk or the memory. The largest archive, ML-32M, has ratings
#: of 0.9 GB and movies of 4 MB. The files of ML-1M are the longest in relation to their zip file: 4.2 times.
_MAX_RATINGS_BYTES = 2**32
_MAX_TABLE_BYTES = 2**26
_MAX_RATIO = 25
#: Files of this size harm nobody, whatever the zip file's size is.
_HARMLESS_BYTES = 2**24

_RATING_TYPES = {"user_id": pa.int32(), "movie_id": pa.int32(), "rating": pa.float32(), "timestamp": pa.int64()}


def read_archive(path: str | os.PathLike[str]) -> Interactions:
    r"""Reads a MovieLens archive, without preparing a data set first.

    The layouts are `u.data` (100k), `ratings.dat` (1m) and `ratings.csv` (20m, 25m, latest, latest-small).

    Args:
        path: A folder that holds the files (itself or in one folder inside), or a zip file of one.

    Returns:
        The columns that `load_movielens` gives. The catalogue is in the order of the archive and includes movies
        without ratings.

    Raises:
        FileNotFoundError: If there is no archive at `path`, or one of its files is missing.
        ValueError: If a zip file is damaged, refused, or expands beyond the bounds; if a line is broken (the file and
            the line are named); or if a rating is of a movie or by a user that the archive does not list, or lists
            twice.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "ratings.csv").write_text("userId,movieId,rating,timestamp\n9,3,4.5,1000\n")
        ...     _ = Path(folder, "movies.csv").write_text("movieId,title,genres\n3,Quiet (2001),Drama|War\n")
        ...     ratings = read_archive(folder)
        >>> ratings.candidates.to_pylist()
        [{'movie_id': '3', 'title': 'Quiet (2001)', 'release_year': '2001', 'genres': ['Drama', 'War']}]
        >>> ratings.ratings.tolist()
        [4.5]
    """
    files, layout = find_archive(Path(path))
    ratings = _read_ratings(files, layout.ratings)
    movies = read_table(files, layout.movies)
    candidate_rows = _match_ids(ratings["movie_id"], movies["movie_id"], files, layout.ratings, layout.movies.name)
    if layout.users is None:
        encoded = ratings["user_id"].combine_chunks().dictionary_encode()
        users = pa.table({"user_id": encoded.dictionary.cast(pa.string())})
        query_rows = encoded.indices
    else:
        users = read_table(files, layout.users)
        query_rows = _match_ids(ratings["user_id"], users["user_id"], files, layout.ratings, layout.users.name)
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
        source=f"the archive {files.path.name} ({files.describe_checksum(layout.file_names)})",
    )


def find_archive(path: Path) -> tuple[ArchiveFiles, Layout]:
    """Finds the files of an archive and their layout, without reading them.

    Args:
        path: A folder or zip file, as in `read_archive`.

    Raises:
        FileNotFoundError: If there is no archive at `path`.
        ValueError: If a zip file is damaged or refused, or would expand beyond the bounds (the member is named).

    Example:
        >>> find_archive(Path("missing.zip"))
        Traceback (most recent call last):
        FileNotFoundError: No MovieLens archive at missing.zip. ...
    """
    files = ArchiveFiles(path, [layout.ratings.name for layout in _LAYOUTS])
    layout = _find_layout(files)
    if files.is_zip:
        _require_bounded(files, layout)
    return files, layout


def unpack_archive(path: Path, workspace: Path) -> Path:
    """Finds the folder of an archive's files; those of a zip file are unpacked first.

    Args:
        path: A folder or zip file, as in `read_archive`.
        workspace: A folder in which the files of a zip file appear all at once, or not at all.

    Returns:
        The folder that holds the files.

    Raises:
        FileNotFoundError: As in `read_archive`.
        OSError: If the disk of `workspace` has not enough space.
        ValueError: As in `find_archive`, or if a member is damaged or not as long as declared.
    """
    files, layout = find_archive(path)
    if not files.is_zip:
        return files.folder
    num_bytes = sum(files.size_bytes(name) for name in layout.file_names)
    free = shutil.disk_usage(workspace).free
    if num_bytes > free:
        raise OSError(
            f"{path} needs {num_bytes:,} bytes in {workspace}, which has {free:,}. Make space, or name another folder "
            "for temporary files with the environment variable TMPDIR."
        )
    target = workspace / "unpacked"
    with tempfile.TemporaryDirectory(prefix="unpacking-", dir=workspace) as aside:
        folder = Path(aside) / "files"
        folder.mkdir()
        for name in layout.file_names:
            with files.open(name) as source, (folder / name).open("wb") as copy:
                shutil.copyfileobj(source, copy)
        folder.rename(target)
    return target


def release_years(titles: pa.ChunkedArray) -> pa.ChunkedArray:
    """Extracts the year of release, which is the last parenthesis with four digits, from each title.

    Args:
        titles: string [num_movies].

    Returns:
        string [num_movies], null where a title has no year.

    Example:
        >>> release_years(pa.chunked_array([["Land Before Time III (1995) (V)", "unknown"]])).to_pylist()
        ['1995', None]
    """
    return pc.struct_field(pc.extract_regex(titles, r".*\((?P<year>\d{4})\)"), "year")


def _find_layout(files: ArchiveFiles) -> Layout:
    for layout in _LAYOUTS:
        if layout.ratings.name in files.names:
            return layout
    wanted = ", ".join(layout.ratings.name for layout in _LAYOUTS)
    raise FileNotFoundError(f"{files.path} is not a MovieLens archive: it holds none of {wanted}.")


def _require_bounded(files: ArchiveFiles, layout: Layout) -> None:
    """Checks the declared sizes of the files that are read from a zip file."""
    zip_bytes = files.path.stat().st_size
    sizes = {name: files.size_bytes(name) for name in layout.file_names if name in files.names}
    limits = {name: _MAX_RATINGS_BYTES if name == layout.ratings.name else _MAX_TABLE_BYTES for name in sizes}
    too_large = [name for name in sizes if sizes[name] > limits[name]]
    if not too_large and sum(sizes.values()) > max(_HARMLESS_BYTES, _MAX_RATIO * zip_bytes):
        too_large = [max(sizes, key=sizes.__getitem__)]
    for name in too_large:
        raise ValueError(
            f"{files.path} is refused: its member {name} would expand to {sizes[name]:,} bytes, and the zip file has "
            f"{zip_bytes:,}. At most {limits[name]:,} bytes and {_MAX_RATIO} times the zip file are read. If the data "
            "is real, unpack it and name the folder."
        )


def _read_ratings(files: ArchiveFiles, form: RatingsForm) -> pa.Table:
    if form.header is not None:
        require_header(files, form.name, form.header)
    with files.open(form.name) as file:
        source: pa.NativeFile = pa.PythonFile(file, mode="r")
        delimiter = form.delimiter
        if len(delimiter) > 1:  # Arrow supports delimiters of one character only, and no number contains a tab.
            source, delimiter = pa.BufferReader(file.read().replace(delimiter.encode(), b"\t")), "\t"
        try:
            table = pa.csv.read_csv(
                source,
                read_options=pa.csv.ReadOptions(
                    column_names=list(_RATING_TYPES), skip_rows=form.num_header_lines, block_size=2**22
                ),
                parse_options=pa.csv.ParseOptions(delimiter=delimiter, quote_char=False),
                convert_options=pa.csv.ConvertOptions(column_types=_RATING_TYPES, null_values=[]),
            )
        except pa.ArrowInvalid as error:
            # Arrow does not always name the line.
            check_lines(files, form.name, form.pattern, form.description, num_skipped=form.num_header_lines)
            reason = str(error).splitlines()[0]
            raise ValueError(f"{files.folder / form.name} cannot be read: {reason}") from error
    if not table.num_rows:
        raise ValueError(f"{files.path} holds no ratings: {form.name} is empty.")
    return table


def _match_ids(
    ids: pa.ChunkedArray, listed: pa.ChunkedArray, files: ArchiveFiles, form: RatingsForm, table: str
) -> pa.Array:
    """Finds the row of `listed` for the id of each rating, int32 [num_ratings]."""
    try:
        numbers = listed.combine_chunks().cast(pa.int32())
    except pa.ArrowInvalid as error:
        raise ValueError(f"{files.folder / table} holds an id that is not a number: {error}.") from error
    counts = numbers.value_counts()
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        raise ValueError(
            f"{files.folder / table} must list each id once. Received twice: {repeated[0]['values'].as_py()}."
        )
    rows = pc.index_in(ids.combine_chunks(), value_set=numbers)
    if rows.null_count:
        place = int(np.flatnonzero(rows.is_null().to_numpy(zero_copy_only=False))[0])
        line = place + 1 + form.num_header_lines
        raise ValueError(f"{files.folder / form.name}, line {line}: id {ids[place].as_py()} is not in {table}.")
    return rows.cast(pa.int32())
