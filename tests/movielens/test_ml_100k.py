import functools
import zipfile

import pytest

from tests.movielens.small_archive import FLAGS, KNOWN, MOVIES, RATINGS, USERS, write_archive
from tfrs_twotower.movielens import ml_100k
from tfrs_twotower.movielens.archives import read_archive

DIFFERENT = (
    r"{} differs from the published file. Expected: \d+ bytes, SHA-256 \w{{64}}. "
    r"Received: \d+ bytes, SHA-256 \w{{64}}. "
    r"Get the archive again from https.*read it with `tt.movielens.read_archive`, .*`tfrs-twotower train FILE`"
)


def test_an_archive_without_faults_passes(tmp_path):
    ml_100k.check_archive(write_archive(tmp_path), known=KNOWN)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"ratings": RATINGS + "1\t2\tx\t1\n"}, r"u.data, line 3: expected .* Received: '1\\t2\\tx\\t1'"),
        ({"ratings": "1\t2\t3\n"}, r"u.data, line 1: expected"),
        ({"ratings": "1\t2\t6\t1\n"}, r"u.data, line 1: expected .*rating 1-5"),
        ({"ratings": "1\t9\t3\t1\n"}, r"u.data, line 1: id 9 is not in u.item"),
        ({"ratings": "7\t2\t3\t1\n"}, r"u.data, line 1: id 7 is not in u.user"),
        ({"users": USERS + "3|20|M|writer\n"}, r"u.user, line 3: expected `user\|age"),
        ({"users": USERS.replace("24", "xx")}, r"u.user, line 1: expected"),
        ({"users": USERS.replace("|F|", "|X|")}, r"u.user, line 2: expected `user\|age\|M or F"),
        ({"movies": "1|Toy Story\n"}, r"u.item, line 1: expected `movie\|title"),
    ],
)
def test_a_broken_archive_names_file_and_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        ml_100k.check_archive(write_archive(tmp_path, **content), known=KNOWN)


def test_reading_and_checking_name_a_broken_line_in_the_same_words(tmp_path):
    folder = write_archive(tmp_path / "ml-100k", ratings=RATINGS + "1\t2\tx\t1\n")
    messages = []
    for use in (read_archive, functools.partial(ml_100k.check_archive, known=KNOWN)):
        with pytest.raises(ValueError, match=r"u\.data, line 3: expected") as error:
            use(folder)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_missing_file_is_named(tmp_path):
    (write_archive(tmp_path) / "u.item").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no u\.item"):
        ml_100k.check_archive(tmp_path, known=KNOWN)


@pytest.fixture
def accept_test_ratings(monkeypatch):
    """Makes the check accept the small archive of these tests as the official one."""
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", KNOWN)


@pytest.mark.usefixtures("accept_test_ratings")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("u.data", {"ratings": RATINGS.replace("\t3\t", "\t4\t")}),
        ("u.item", {"movies": MOVIES.replace("Toy Story", "Tin Story")}),
        ("u.item", {"movies": MOVIES.replace(FLAGS, FLAGS[:-1] + "1", 1)}),
        ("u.item", {"movies": MOVIES + f"3|Added (1999)||||{FLAGS}\n"}),
        ("u.user", {"users": USERS.replace("|24|", "|25|")}),
        ("u.user", {"users": USERS.replace("other", "writer")}),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_altered_file_is_found(tmp_path, name, content, packed):
    """Every line is well-formed here, and every rated movie and every user is listed."""
    path = folder = write_archive(tmp_path / "ml-100k", **content)
    if packed:
        path = tmp_path / "ml-100k.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in folder.iterdir():
                archive.write(file, file.name)
    # A longer file of a zip file is refused by its declared size, before it is unpacked.
    message = r"{} differs from the published file. Expected: \d+ bytes" if packed else DIFFERENT
    with pytest.raises(ValueError, match=message.format(name)):
        ml_100k.open_archive(path, tmp_path)


@pytest.mark.usefixtures("accept_test_ratings")
@pytest.mark.parametrize("inner", ["", "ml-100k"])
def test_an_archive_is_found_in_a_folder_and_in_a_zip(tmp_path, inner):
    write_archive(tmp_path / "data" / inner)
    packed = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in (tmp_path / "data").rglob("u.*"):
            archive.write(path, path.relative_to(tmp_path / "data"))
    for path in (tmp_path / "data", packed):
        workspace = tmp_path / f"workspace-{path.name}"
        workspace.mkdir()
        folder = ml_100k.open_archive(path, workspace)
        assert (folder / "u.data").read_text() == RATINGS


def test_a_missing_archive_raises_an_error_that_says_what_to_name(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="No MovieLens archive at .*nothing. Name a folder or zip in one of GroupLens's layouts"
    ):
        ml_100k.open_archive(tmp_path / "nothing", tmp_path)


def test_a_folder_without_ratings_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a MovieLens archive: it holds none of u\.data"):
        ml_100k.open_archive(tmp_path, tmp_path)


def test_an_unreachable_host_counts_as_not_answering(monkeypatch):
    # Nothing listens at port 9 of this machine.
    monkeypatch.setattr(ml_100k, "GROUPLENS_URL", "http://127.0.0.1:9/ml-100k.zip")
    assert not ml_100k.grouplens_answers(timeout_s=2.0)
