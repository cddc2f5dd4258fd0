import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.movielens.small_archive import MD5, MOVIES, RATINGS, USERS, write_archive
from tfrs_twotower.movielens import ml_100k
from tfrs_twotower.movielens.archives import read_archive


def test_an_archive_without_faults_passes(tmp_path):
    ml_100k.check_archive(write_archive(tmp_path), ratings_md5=MD5)


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
        ({"ratings": "1\t2\t4\t881250949\n"}, r"u.data is not MovieLens 100K's: its MD5 is \w{32}, the official one"),
    ],
)
def test_a_broken_archive_names_file_and_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        ml_100k.check_archive(write_archive(tmp_path, **content), ratings_md5=MD5)


def test_reading_and_checking_name_a_broken_line_in_the_same_words(tmp_path):
    folder = write_archive(tmp_path / "ml-100k", ratings=RATINGS + "1\t2\tx\t1\n")
    messages = []
    for use in (read_archive, ml_100k.check_archive):
        with pytest.raises(ValueError, match=r"u\.data, line 3: expected") as error:
            use(folder)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_a_missing_file_is_named(tmp_path):
    (write_archive(tmp_path) / "u.item").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no u\.item"):
        ml_100k.check_archive(tmp_path)


@pytest.fixture
def accept_test_ratings(monkeypatch):
    """Makes the check accept the small archive of these tests as the official one."""
    monkeypatch.setattr(ml_100k.check_archive, "__kwdefaults__", {"ratings_md5": MD5})


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


@pytest.mark.usefixtures("accept_test_ratings")
def test_a_zip_cannot_write_outside_the_workspace(tmp_path):
    packed = tmp_path / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("u.data", RATINGS)
        archive.writestr("u.user", USERS)
        archive.writestr("u.item", MOVIES.encode("latin-1"))
        archive.writestr("../u.user", "escaped")
        archive.writestr("../../u.item", "escaped")
        archive.writestr("/u.user", "escaped")
        archive.writestr("../escaped.txt", "")
    workspace = tmp_path / "deep" / "workspace"
    workspace.mkdir(parents=True)
    ml_100k.open_archive(packed, workspace)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "evil.zip",
        "u.data",
        "u.item",
        "u.user",
    ]
    assert (workspace / "u.data").is_file()


def test_a_missing_archive_raises_an_error_that_says_what_to_name(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="No MovieLens archive at .*nothing. Name a folder or zip in one of GroupLens's layouts"
    ):
        ml_100k.open_archive(tmp_path / "nothing", tmp_path)


def test_a_folder_without_ratings_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"is not a MovieLens archive: it holds none of u\.data"):
        ml_100k.open_archive(tmp_path, tmp_path)


def test_a_damaged_zip_is_named(tmp_path):
    path = tmp_path / "ml-100k.zip"
    path.write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ValueError, match=r"ml-100k\.zip is damaged or is not a zip file"):
        ml_100k.open_archive(path, tmp_path)


def test_a_zip_with_a_damaged_member_is_named(tmp_path):
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u.data", RATINGS)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"881250949", b"881250948", 1))
    with pytest.raises(ValueError, match=r"ml-100k\.zip is damaged: u\.data cannot be read \(Bad CRC-32"):
        ml_100k.open_archive(path, tmp_path)


def test_an_encrypted_zip_is_named(tmp_path):
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("u.data", RATINGS)
    content = bytearray(path.read_bytes())
    content[6] |= 1  # The flag "encrypted" of the local header ...
    content[content.index(b"PK\x01\x02") + 8] |= 1  # ... and of the central directory.
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"ml-100k\.zip is damaged: u\.data cannot be read .*encrypted"):
        ml_100k.open_archive(path, tmp_path)


WHEEL_FILES = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RATINGS,
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n" + USERS.replace("|", "\t"),
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tunkonwn\tunkonwn\tunknown\n2\tMisérables, Les\t1995\tDrama Children's\n",
}


def serve_wheel(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    """Replaces pip by a function that writes a wheel with these files."""

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert "--no-deps" in command
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "recbole-1.2.1-py3-none-any.whl", "w") as wheel:
            for kind, content in files.items():
                wheel.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{kind}", content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(ml_100k.subprocess, "run", download)


@pytest.mark.usefixtures("accept_test_ratings")
def test_a_wheel_is_converted_to_the_official_layout(tmp_path, monkeypatch):
    serve_wheel(monkeypatch, WHEEL_FILES)
    folder = ml_100k.archive_from_wheel(tmp_path)
    assert (folder / "u.data").read_text() == RATINGS
    assert (folder / "u.user").read_text() == USERS
    unknown, drama = (folder / "u.item").read_text(encoding="latin-1").splitlines()
    # The flags stand for unknown, Action, Adventure, Animation, Children's, Comedy, Crime, Documentary, Drama.
    assert unknown == "1|unknown||||1" + "|0" * 18
    assert drama == "2|Misérables, Les (1995)||||0|0|0|0|1|0|0|0|1" + "|0" * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inter": WHEEL_FILES["inter"].replace("881250949", "881250948")}, "is not MovieLens 100K's: its MD5"),
        (
            {"item": "header\n1\tTitle\t1995\tSpace-Opera\n"},
            r"broken line of movies \(unknown genres \['Space-Opera'\]",
        ),
        ({"item": "header\n1\tTitle\n"}, "broken line of movies"),
        ({"inter": ""}, r"u\.data cannot be read: Empty CSV file"),
    ],
)
@pytest.mark.usefixtures("accept_test_ratings")
def test_a_wheel_with_other_content_is_refused(tmp_path, monkeypatch, change, message):
    serve_wheel(monkeypatch, {**WHEEL_FILES, **change})
    with pytest.raises(ValueError, match=message):
        ml_100k.archive_from_wheel(tmp_path)


def test_an_unreachable_host_counts_as_not_answering(monkeypatch):
    # Nothing listens at port 9 of this machine.
    monkeypatch.setattr(ml_100k, "GROUPLENS_URL", "http://127.0.0.1:9/ml-100k.zip")
    assert not ml_100k.grouplens_answers(timeout_s=2.0)


def test_an_unreachable_package_index_says_what_to_do(monkeypatch, tmp_path):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConnectionError, match="neither at GroupLens nor in the package index .*name it as the archive"):
        ml_100k.archive_from_wheel(tmp_path)
