import hashlib
import importlib.util
import re
import zipfile
from pathlib import Path

import pytest

from tests.movielens.small_archive import known, write_archive
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.movielens import ml_100k, prepare
from tfrs_twotower.movielens.archives import read_archive
from tfrs_twotower.movielens.load import load_movielens

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_ratings.py"
_spec = importlib.util.spec_from_file_location("make_ratings", SCRIPT)
make_ratings = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_ratings)

LAYOUTS = {"100k": "u.data", "1m": "ratings.dat", "csv": "ratings.csv"}
CONFIGS = {"100k": "100k-ratings", "1m": "1m-ratings", "csv": "25m-ratings"}


@pytest.fixture(scope="module", params=LAYOUTS)
def made(request, tmp_path_factory) -> tuple[str, Path]:
    """A generated archive in each layout."""
    folder = tmp_path_factory.mktemp(request.param) / "ml"
    make_ratings.make_archive(folder, layout=request.param, num_users=30, num_movies=40, num_events=300, seed=3)
    return request.param, folder


def pack(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, f"ml-inside/{file.name}")
    return path


def joined(ratings: Interactions) -> list[str]:
    """Gives every event with all features of its query and candidate, sorted by content."""
    queries, candidates = ratings.queries.to_pylist(), ratings.candidates.to_pylist()
    rows = [
        {**queries[row["query_row"]], **candidates[row["candidate_row"]], **row} for row in ratings.events.to_pylist()
    ]
    for row in rows:
        del row["query_row"], row["candidate_row"]
    return sorted(repr(sorted(row.items())) for row in rows)


def test_reading_directly_equals_reading_what_tfds_prepared(made, tmp_path, monkeypatch):
    layout, folder = made
    name = f"movielens/{CONFIGS[layout]}"
    direct = read_archive(folder)
    monkeypatch.setitem(prepare.DATASETS, name, prepare.DatasetSize.of(direct))
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", {file.name: known(file.read_bytes()) for file in folder.iterdir()})
    prepared = load_movielens(name, data_dir=tmp_path, archive=pack(folder, tmp_path / "ml.zip"))
    assert joined(prepared) == joined(direct)
    assert prepared.queries.schema == direct.queries.schema
    assert set(prepared.candidates.column_names) == set(direct.candidates.column_names)


def test_a_zip_a_folder_and_a_folder_around_it_give_the_same_data(made, tmp_path):
    _, folder = made
    ratings = read_archive(folder)
    assert read_archive(folder.parent).fingerprint() == ratings.fingerprint()
    assert read_archive(pack(folder, tmp_path / "ml.zip")).fingerprint() == ratings.fingerprint()
    assert ratings.num_events == 300


def test_the_catalogue_includes_movies_without_ratings(made):
    layout, folder = made
    ratings = read_archive(folder)
    assert ratings.candidates["movie_id"].to_pylist() == [str(movie) for movie in range(1, 41)]
    assert ratings.num_queries == 30 if layout != "csv" else ratings.num_queries <= 30


def test_every_field_of_a_hand_written_file_is_read(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n9,7,0.5,1000\n9,3,4.0,2000\n")
    (tmp_path / "movies.csv").write_text(
        'movieId,title,genres\n3,"Quiet, ""Loud"" (2001)",Drama|War\n7,Éden,(no genres listed)\n', encoding="utf-8"
    )
    ratings = read_archive(tmp_path)
    assert ratings.queries.to_pylist() == [{"user_id": "9"}]
    assert ratings.candidates.to_pylist() == [
        {"movie_id": "3", "title": 'Quiet, "Loud" (2001)', "release_year": "2001", "genres": ["Drama", "War"]},
        {"movie_id": "7", "title": "Éden", "release_year": None, "genres": ["(no genres listed)"]},
    ]
    assert ratings.events.to_pylist() == [
        {"query_row": 0, "candidate_row": 1, "rating": 0.5, "timestamp": 1000},
        {"query_row": 0, "candidate_row": 0, "rating": 4.0, "timestamp": 2000},
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_a_broken_line_is_named(made, tmp_path, packed):
    layout, folder = made
    name = LAYOUTS[layout]
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    lines = (folder / name).read_text().splitlines()
    lines[100] = lines[100].replace("1", "x")
    (broken / name).write_text("\n".join(lines) + "\n")
    path = pack(broken, tmp_path / "ml.zip") if packed else broken
    with pytest.raises(ValueError, match=rf"{name}, line 101: expected `.*`\. Received: '.*x"):
        read_archive(path)


def test_a_rating_of_an_unknown_movie_is_named(made, tmp_path):
    layout, folder = made
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    movies = {"100k": "u.item", "1m": "movies.dat", "csv": "movies.csv"}[layout]
    lines = (folder / movies).read_text().splitlines()
    (tmp_path / movies).write_text("\n".join(lines[:-30]) + "\n")
    with pytest.raises(ValueError, match=rf"{LAYOUTS[layout]}, line \d+: id \d+ is not in {movies}"):
        read_archive(tmp_path)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, FileNotFoundError, "is not a MovieLens archive: it holds none of u.data, ratings.dat, ratings.csv"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n1,1,1,1\n"}, FileNotFoundError, "holds no movies.csv"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n"}, ValueError, "holds no ratings: ratings.csv is empty"),
        (
            {
                "ratings.dat": "1::1::1::1\n",
                "movies.dat": "1::Film::Drama\n",
                "users.dat": "1::F::25::99::00000\n",
            },
            ValueError,
            "users.dat holds occupations outside 0 to 20: .'99'",
        ),
        ({"u.data": "1\t1\t1\t1\n", "u.item": "1|x\n"}, ValueError, "u.item, line 1: expected 24 fields"),
    ],
)
def test_an_incomplete_archive_raises_an_error_that_names_the_fault(tmp_path, files, error, message):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_archive(tmp_path)


def test_a_damaged_zip_is_named(made, tmp_path):
    _, folder = made
    path = pack(folder, tmp_path / "ml.zip")
    content = bytearray(path.read_bytes())
    content[200:260] = bytes(60)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ml\.zip is damaged"):
        read_archive(path)
    path.write_bytes(b"no zip")
    with pytest.raises(ValueError, match=r"ml\.zip is damaged or is not a zip file"):
        read_archive(path)


CSV_RATINGS = "userId,movieId,rating,timestamp\n1,1,{},1000\n"
CSV_MOVIES = "movieId,title,genres\n1,Film (1999),Drama\n"


def test_files_of_two_folders_are_never_mixed(tmp_path):
    path = tmp_path / "ml.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml/ratings.csv", CSV_RATINGS.format(4))
        archive.writestr("ml/movies.csv", CSV_MOVIES)
        archive.writestr("ml/old/ratings.csv", CSV_RATINGS.format(1))
        archive.writestr("__MACOSX/ml/._ratings.csv", "")
    assert read_archive(path).ratings.tolist() == [4.0]
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/ratings.csv", CSV_RATINGS.format(2))
    with pytest.raises(ValueError, match="holds more than one MovieLens archive: ml, other. Name one of them"):
        read_archive(path)


@pytest.mark.parametrize(
    ("ratings", "movies", "message"),
    [
        (
            CSV_RATINGS.format(4),
            "movieId,genres,title\n1,Drama,Film\n",
            "movies.csv with other columns. Expected: movieId,title",
        ),
        (
            "movieId,userId,rating,timestamp\n1,1,4,1\n",
            CSV_MOVIES,
            "ratings.csv with other columns. Expected: userId,movieId",
        ),
        (CSV_RATINGS.format(4), "", "movies.csv with other columns"),
        (CSV_RATINGS.format(4), "movieId,title,genres\n1,Film\n", "movies.csv that cannot be read"),
        (CSV_RATINGS.format(4), "movieId,title,genres\n1,\xe9,Drama\n", "movies.csv that cannot be read"),
    ],
)
def test_a_csv_with_other_columns_or_broken_lines_is_refused(tmp_path, ratings, movies, message):
    (tmp_path / "ratings.csv").write_text(ratings)
    (tmp_path / "movies.csv").write_text(movies, encoding="latin-1")
    with pytest.raises(ValueError, match=message):
        read_archive(tmp_path)


def test_an_archive_of_another_size_is_refused(made, tmp_path):
    layout, folder = made
    if layout == "100k":
        folder, message = write_archive(tmp_path / "ml-100k"), "differs from the published file"
    else:
        message = r"it holds 300 ratings, \d+ users and 40 movies, not .* Use `tt\.movielens\.read_archive` to read it"
    with pytest.raises(ValueError, match=message):
        load_movielens(f"movielens/{CONFIGS[layout]}", data_dir=tmp_path / "data", archive=folder)
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


def test_without_grouplens_only_100k_has_another_source(tmp_path, monkeypatch):
    monkeypatch.setattr(ml_100k, "grouplens_answers", lambda: False)
    with pytest.raises(
        ConnectionError, match="only 100k has another source. Download the archive of movielens/1m-ratings"
    ):
        load_movielens("movielens/1m-ratings", data_dir=tmp_path)


def test_an_id_that_is_listed_twice_is_named(tmp_path):
    (tmp_path / "ratings.csv").write_text(CSV_RATINGS.format(4))
    (tmp_path / "movies.csv").write_text(CSV_MOVIES + "7,Other (1999),War\n1,Another (1999),War\n")
    with pytest.raises(ValueError, match=r"movies\.csv must list each id once\. Received twice: 1\."):
        read_archive(tmp_path)


def test_the_source_shows_whether_a_byte_of_the_archive_was_altered(tmp_path):
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "ratings.csv").write_text(CSV_RATINGS.format(4))
    (folder / "movies.csv").write_text(CSV_MOVIES)
    path = pack(folder, tmp_path / "ml.zip")
    assert read_archive(path).source == f"the archive ml.zip (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()})"
    sources = []
    for title in ("Film", "Filn"):
        (folder / "movies.csv").write_text(CSV_MOVIES.replace("Film", title))
        lines = [
            f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n"
            for name in ("ratings.csv", "movies.csv")
        ]
        digest = hashlib.sha256("".join(lines).encode()).hexdigest()
        sources.append(f"the archive ml (SHA-256 {digest} of the output of sha256sum ratings.csv movies.csv)")
        assert read_archive(folder).source == sources[-1]
    assert len(set(sources)) == 2


@pytest.mark.parametrize(
    ("change", "is_published", "expected"),
    [
        (("", ""), True, r"local archive ml\.zip \(GroupLens's zip file, by its SHA-256\)"),
        (("Action", "War"), False, r"local archive ml\.zip \(numbers as published, text not checked, SHA-256 \w{64}\)"),
    ],
)
def test_a_prepared_data_set_says_whether_its_titles_were_checked(
    tmp_path, monkeypatch, change, is_published, expected
):
    folder = tmp_path / "ml"
    make_ratings.make_archive(folder, layout="csv", num_users=5, num_movies=10, num_events=30)
    name = "movielens/latest-small-ratings"
    monkeypatch.setitem(prepare.DATASETS, name, prepare.DatasetSize.of(read_archive(folder)))
    (folder / "movies.csv").write_text((folder / "movies.csv").read_text().replace(*change))
    path = pack(folder, tmp_path / "ml.zip")
    if is_published:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        monkeypatch.setattr(prepare, "_published_sha256", {name: digest}.__getitem__)
    assert re.search(expected, load_movielens(name, data_dir=tmp_path, archive=path).source)


def test_the_published_checksum_is_the_one_that_tfds_downloads_by():
    expected = "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa"
    assert prepare._published_sha256("movielens/25m-ratings") == expected


def test_another_archive_is_not_taken_for_100k(tmp_path):
    (tmp_path / "ratings.csv").write_text(CSV_RATINGS.format(4))
    (tmp_path / "movies.csv").write_text(CSV_MOVIES)
    with pytest.raises(ValueError, match=r"is not MovieLens 100K: it holds ratings\.csv in place of u\.data\. Get"):
        load_movielens(data_dir=tmp_path / "data", archive=tmp_path)
