import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.movielens.small_archive import KNOWN, RATINGS, USERS, known
from tfrs_twotower.movielens import ml_100k, wheel

NAME = "recbole-1.2.1-py3-none-any.whl"
WHEEL_FILES = {
    "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + RATINGS,
    "user": "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n" + USERS.replace("|", "\t"),
    "item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
    "1\tunkonwn\tunkonwn\tunknown\n2\tMisérables, Les\t1995\tDrama Children's\n",
}


def write_wheel(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / NAME, "w") as packed:
        for kind, content in files.items():
            packed.writestr(f"recbole/dataset_example/ml-100k/ml-100k.{kind}", content)
        packed.writestr("recbole-1.2.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        packed.writestr("recbole-1.2.1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return folder / NAME


def serve_wheel(monkeypatch: pytest.MonkeyPatch, path: Path) -> list[str]:
    """Replaces pip by a function that copies this wheel, and makes it the known one. Gives the lines that pip reads."""
    requirements: list[str] = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(command)
        requirements.extend(Path(command[command.index("--requirement") + 1]).read_text().splitlines())
        (Path(command[command.index("--dest") + 1]) / NAME).write_bytes(path.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(wheel.subprocess, "run", download)
    monkeypatch.setattr(wheel, "WHEEL", known(path.read_bytes()))
    with zipfile.ZipFile(path) as packed:
        contents = {name.rpartition(".")[2]: packed.read(name) for name in packed.namelist()}
    files = {kind: known(contents[kind]) for kind in WHEEL_FILES}
    monkeypatch.setattr(wheel, "WHEEL_FILES", files)
    return requirements


@pytest.fixture(autouse=True)
def accept_test_ratings(monkeypatch):
    """Makes the check accept the small archive of these tests as the official one."""
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", KNOWN)


def test_a_wheel_is_converted_to_the_official_layout(tmp_path, monkeypatch):
    requirements = serve_wheel(monkeypatch, write_wheel(tmp_path / "index", WHEEL_FILES))
    folder = wheel.archive_from_wheel(tmp_path)
    assert requirements == [f"recbole==1.2.1 --hash=sha256:{wheel.WHEEL.sha256}"]
    assert (folder / "u.data").read_text() == RATINGS
    assert (folder / "u.user").read_text() == USERS
    unknown, drama = (folder / "u.item").read_text(encoding="latin-1").splitlines()
    # The flags stand for unknown, Action, Adventure, Animation, Children's, Comedy, Crime, Documentary, Drama.
    assert unknown == "1|unknown||||1" + "|0" * 18
    assert drama == "2|Misérables, Les (1995)||||0|0|0|0|1|0|0|0|1" + "|0" * 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inter": WHEEL_FILES["inter"].replace("881250949", "881250948")}, "u.data differs from the published file"),
        (
            {"item": "header\n1\tTitle\t1995\tSpace-Opera\n"},
            r"broken line of movies \(unknown genres \['Space-Opera'\]",
        ),
        ({"item": "header\n1\tTitle\n"}, "broken line of movies"),
        ({"inter": ""}, r"u\.data cannot be read: Empty CSV file"),
    ],
)
def test_a_wheel_whose_content_is_not_movielens_is_refused(tmp_path, monkeypatch, change, message):
    serve_wheel(monkeypatch, write_wheel(tmp_path / "index", {**WHEEL_FILES, **change}))
    with pytest.raises(ValueError, match=message):
        wheel.archive_from_wheel(tmp_path)


def test_another_wheel_is_refused_even_if_pip_accepts_it(tmp_path, monkeypatch):
    path = write_wheel(tmp_path / "index", WHEEL_FILES)
    serve_wheel(monkeypatch, path)
    with zipfile.ZipFile(path, "a") as packed:
        packed.writestr("recbole/added.py", "")
    with pytest.raises(ValueError, match=r"recbole-1\.2\.1-py3-none-any\.whl differs from the published file.*name it"):
        wheel.archive_from_wheel(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": WHEEL_FILES["item"].replace("Drama", "War")}, "ml-100k.item differs from the published file"),
        ({"user": WHEEL_FILES["user"] + "x" * 2**20}, r"ml-100k.user differs .* Received: (\d+) bytes"),
        ({"item": None}, "whl is damaged: .*ml-100k.item is missing"),
    ],
)
def test_a_file_of_the_wheel_that_is_another_is_refused(tmp_path, monkeypatch, change, message):
    path = write_wheel(tmp_path / "index", WHEEL_FILES)
    serve_wheel(monkeypatch, path)
    files = {kind: content for kind, content in {**WHEEL_FILES, **change}.items() if content is not None}
    monkeypatch.setattr(wheel, "WHEEL", known(write_wheel(tmp_path / "index", files).read_bytes()))
    with pytest.raises(ValueError, match=message) as error:
        wheel.archive_from_wheel(tmp_path)
    # One byte more than known is enough to tell.
    assert "1,048" not in str(error.value)


def test_pip_refuses_a_wheel_with_another_hash(tmp_path, monkeypatch):
    """The folder is the package index here, so that pip itself compares the hash."""
    folder = write_wheel(tmp_path / "index", WHEEL_FILES).parent
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(folder), "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    (tmp_path / "other").mkdir()
    with pytest.raises(ValueError, match=r"has another wheel for recbole==1\.2\.1 than .* Download ml-100k\.zip"):
        wheel.archive_from_wheel(tmp_path / "other")
    assert not list((tmp_path / "other").glob("*.whl"))
    (tmp_path / "same").mkdir()
    monkeypatch.setattr(wheel, "WHEEL", known((folder / NAME).read_bytes()))
    monkeypatch.setattr(wheel, "WHEEL_FILES", {kind: known(text.encode()) for kind, text in WHEEL_FILES.items()})
    assert (wheel.archive_from_wheel(tmp_path / "same") / "u.data").read_text() == RATINGS


def test_an_unreachable_package_index_says_what_to_do(monkeypatch, tmp_path):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ConnectionError, match="neither at GroupLens nor in the package index .*name it as the archive"):
        wheel.archive_from_wheel(tmp_path)
