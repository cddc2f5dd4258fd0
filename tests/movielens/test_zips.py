"""Zip files from outside: whatever comes, it is read within bounds or refused by name, and nothing is left behind."""

import contextlib
import io
import stat
import struct
import tarfile
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfrs_twotower
from tests.movielens.small_archive import KNOWN, write_archive
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.movielens import archives, ml_100k
from tfrs_twotower.movielens.archives import read_archive, unpack_archive
from tfrs_twotower.movielens.load import load_movielens

RATINGS = "userId,movieId,rating,timestamp\n1,1,4,1000\n1,2,2,2000\n"
MOVIES = "movieId,title,genres\n1,Film (1999),Drama\n2,Other (2001),War\n"
MIB = 2**20


def make_zip(*extra: tuple[str | zipfile.ZipInfo, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Packs a sound archive, and further members."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore")  # a name may occur twice here
        for name, content in (("ml/ratings.csv", RATINGS), ("ml/movies.csv", MOVIES), *extra):
            archive.writestr(name, content)
    return buffer.getvalue()


def special(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3  # Unix
    info.external_attr = (mode | 0o777) << 16
    return info


def change_directory(content: bytes, name: str, change: Callable[[list[int]], None]) -> bytes:
    """Changes the entry of a member in the directory at the end of a zip file, which is what readers trust.

    The 15 numbers before the name include the flags (2), the method (3), the CRC (6), and the packed and unpacked size
    (7 and 8).
    """
    form, result, place = "<4s6H3I5H2I", bytearray(content), -1
    while (place := content.find(b"PK\x01\x02", place + 1)) >= 0:
        signature, *fields = struct.unpack_from(form, content, place)
        start = place + struct.calcsize(form)
        if content[start : start + fields[9]] == name.encode():
            change(fields)
            struct.pack_into(form, result, place, signature, *fields)
    assert bytes(result) != content
    return bytes(result)


def declare(content: bytes, name: str, size: int, crc: int | None = None) -> bytes:
    def change(fields: list[int]) -> None:
        fields[8] = size
        fields[6] = fields[6] if crc is None else crc

    return change_directory(content, name, change)


def encrypt(content: bytes, name: str) -> bytes:
    def change(fields: list[int]) -> None:
        fields[2] |= 1

    return change_directory(content, name, change)


def make_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        info = tarfile.TarInfo("ratings.csv")
        info.size = len(RATINGS)
        archive.addfile(info, io.BytesIO(RATINGS.encode()))
    return buffer.getvalue()


SOUND = make_zip()
STORED = make_zip(method=zipfile.ZIP_STORED)
LINES = b"1,1,4,1000\n" * (2 * MIB)


def make_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ratings.csv", b"userId,movieId,rating,timestamp\n" + LINES)
        archive.writestr("movies.csv", MOVIES)
    return buffer.getvalue()


OUTSIDE = "its member '{}' has a path that leads outside the archive"
ABSOLUTE = "its member '{}' has an absolute path"
HOSTILE = {
    "a bomb": (make_bomb(), r"its member ratings.csv would expand to 23,068,704 bytes, and the zip file has \d"),
    "a bomb that declares little": (
        declare(make_bomb(), "ratings.csv", 32, zlib.crc32(RATINGS[:32].encode())),
        "is damaged: ratings.csv is longer than its declared 32 bytes",
    ),
    "a member that goes on": (declare(SOUND, "ml/ratings.csv", 32), "ratings.csv is longer than its declared 32 bytes"),
    "a member with two ends": (
        declare(SOUND, "ml/ratings.csv", 43, zlib.crc32(RATINGS[:43].encode())),
        "ratings.csv cannot be read",
    ),
    "a stored member that goes on": (
        declare(STORED, "ml/ratings.csv", 32),
        "is damaged: ml/ratings.csv is longer than its declared 32 bytes",
    ),
    "a member that ends early": (
        declare(SOUND, "ml/movies.csv", 500),
        "is damaged: ml/movies.csv is shorter than its declared 500 bytes",
    ),
    "a table that is no table": (
        declare(SOUND, "ml/movies.csv", 2**31),
        "its member movies.csv would expand to 2,147,483,648 bytes.* At most 67,108,864 bytes",
    ),
    "ratings beyond all ratings": (
        declare(SOUND, "ml/ratings.csv", 2**32 - 2),
        "its member ratings.csv would expand to 4,294,967,294 bytes",
    ),
    "a path to the root": (make_zip(("/etc/passwd", "")), ABSOLUTE.format("/etc/passwd")),
    "a path to a drive": (make_zip(("C:/movies.csv", "")), ABSOLUTE.format("C:/movies.csv")),
    "a path to a drive, backwards": (make_zip(("C:\\movies.csv", "")), r"its member 'C:.*' has an absolute path"),
    "a path to the root, backwards": (make_zip(("\\movies.csv", "")), r"has an absolute path"),
    "a path upwards": (make_zip(("../movies.csv", "")), OUTSIDE.format("../movies.csv")),
    "a path upwards from within": (make_zip(("ml/../../x", "")), OUTSIDE.format("ml/../../x")),
    "a path upwards, backwards": (make_zip(("ml\\..\\..\\x", "")), "has a path that leads outside the archive"),
    "a link": (make_zip((special("ml/links.csv", stat.S_IFLNK), "/etc")), "'ml/links.csv' is a link or a device"),
    "a pipe": (make_zip((special("ml/links.csv", stat.S_IFIFO), "")), "'ml/links.csv' is a link or a device"),
    "a member twice": (make_zip(("ml/movies.csv", MOVIES)), "its member 'ml/movies.csv' occurs twice"),
    "a member twice, in other words": (make_zip(("ml/./movies.csv", "")), "'ml/./movies.csv' occurs twice"),
    "an encrypted member": (encrypt(SOUND, "ml/movies.csv"), "its member 'ml/movies.csv' is encrypted"),
    "an encrypted member that is not needed": (
        encrypt(make_zip(("ml/links.csv", "x")), "ml/links.csv"),
        "its member 'ml/links.csv' is encrypted",
    ),
    "bzip2": (make_zip(method=zipfile.ZIP_BZIP2), "'ml/ratings.csv' is compressed by method 12 and not by deflate"),
    "lzma": (make_zip(method=zipfile.ZIP_LZMA), "'ml/ratings.csv' is compressed by method 14 and not by deflate"),
    "a wrong checksum": (declare(SOUND, "ml/movies.csv", len(MOVIES), 7), r"movies.csv cannot be read \(Bad CRC-32"),
    "a wrong checksum inside": (STORED.replace(b"4,1000", b"5,1000"), r"ratings.csv cannot be read \(Bad CRC-32"),
    "an end that is cut off": (SOUND[:-30], "is damaged or is not a zip file"),
    "a beginning that is cut off": (SOUND[60:], "is damaged"),
    "a tar file": (make_tar(), "is damaged or is not a zip file"),
    "an empty file": (b"", "is damaged or is not a zip file"),
    "a text": (b"<html>404</html>", "is damaged or is not a zip file"),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_zip_is_refused_by_name_and_leaves_nothing(tmp_path, case):
    content, message = HOSTILE[case]
    path = tmp_path / "ml.zip"
    path.write_bytes(content)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for use in (read_archive, lambda path: unpack_archive(path, workspace)):
        with pytest.raises(ValueError, match=rf"ml\.zip.*{message}"):
            use(path)
    assert [*tmp_path.rglob("*")] in ([path, workspace], [workspace, path])


@pytest.mark.parametrize("case", ["a bomb", "a path upwards", "a wrong checksum", "an end that is cut off"])
def test_prepared_data_survives_a_hostile_zip(tmp_path, monkeypatch, case):
    monkeypatch.setattr(ml_100k, "PUBLISHED_FILES", KNOWN)
    data_dir = tmp_path / "data"
    load_movielens(data_dir=data_dir, archive=write_archive(tmp_path / "ml-100k"))
    before = contents(data_dir)
    path = tmp_path / "ml.zip"
    path.write_bytes(HOSTILE[case][0])
    for name in ("movielens/100k-ratings", "movielens/25m-ratings"):
        # A damaged member only shows when it is read, and 100k is not prepared again.
        refused = pytest.raises(ValueError, match=r"ml\.zip")
        is_found = case != "a wrong checksum" or "25m" in name
        with refused if is_found else contextlib.nullcontext():
            load_movielens(name, data_dir=data_dir, archive=path)
    assert contents(data_dir) == before


def test_only_the_members_that_are_needed_are_read(tmp_path):
    path = tmp_path / "ml.zip"
    # The other member has a wrong checksum, and would expand to 4 GB.
    path.write_bytes(declare(make_zip(("ml/tags.csv", "x" * 1000)), "ml/tags.csv", 2**32 - 2, 7))
    assert read_archive(path).num_events == 2
    assert sorted(file.name for file in unpack_archive(path, tmp_path).iterdir()) == ["movies.csv", "ratings.csv"]


def test_the_bounds_leave_room_for_the_archives_of_grouplens():
    """The sizes are those of the zip file, and of the ratings and movies in it, in MB."""
    for zip_mb, ratings_mb, movies_mb in ((5.9, 24.6, 0.3), (239, 877, 4.3)):  # ML-1M, ML-32M
        assert 4 * ratings_mb * 1e6 < archives._MAX_RATINGS_BYTES
        assert 4 * movies_mb * 1e6 < archives._MAX_TABLE_BYTES
        assert 4 * (ratings_mb + movies_mb) < archives._MAX_RATIO * zip_mb


def test_a_full_disk_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    path = tmp_path / "ml.zip"
    path.write_bytes(SOUND)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda folder: archives.shutil._ntuple_diskusage(100, 90, 10))
    num_bytes = len(RATINGS) + len(MOVIES)
    with pytest.raises(
        OSError, match=rf"ml\.zip needs {num_bytes} bytes in .*, which has 10\. Make space, or .*TMPDIR"
    ):
        unpack_archive(path, tmp_path)
    assert [*tmp_path.iterdir()] == [path]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    changes=st.lists(st.tuples(st.integers(0, 600), st.binary(min_size=1, max_size=4)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 600)),
)
def test_any_damage_is_found_or_harmless(tmp_path, method, changes, cut):
    content = bytearray(SOUND if method == zipfile.ZIP_DEFLATED else STORED)
    for place, new in changes:
        content[place % len(content) : place % len(content) + len(new)] = new
    path = tmp_path / "ml.zip"
    path.write_bytes(content[:cut])
    try:
        outcome = read_archive(path)
    except (ValueError, FileNotFoundError) as error:
        outcome = error
    if isinstance(outcome, Interactions):
        assert outcome.num_events == 2
    else:
        frame = traceback.extract_tb(outcome.__traceback__)[-1]
        assert frame.filename.startswith(str(Path(tfrs_twotower.__file__).parent)), (frame, outcome)
        assert "ml.zip" in str(outcome) or ".csv" in str(outcome)
