"""Compressed files from outside that expand without measure: memory stays bounded, and the file is named."""

import gzip
import subprocess
import sys

import pytest

from tfrs_twotower.data import text_stream
from tfrs_twotower.data.files import read_files
from tfrs_twotower.data.text_format import TextFormat

MIB = 2**20


def repeat_gzip(head: bytes, block: bytes, times: int) -> bytes:
    """Compresses `head` and then `block` so many times; a gzip file may have many parts."""
    return gzip.compress(head, mtime=0) + gzip.compress(block, mtime=0) * times


ROWS = (b"7," + b"x" * 4093 + b"\n") * 1024  # 4 MiB


@pytest.mark.parametrize(("num_distinct", "is_refused"), [(20_000, False), (1, True)])
def test_the_bound_is_a_ratio_of_the_size_of_the_file(tmp_path, monkeypatch, num_distinct, is_refused):
    monkeypatch.setattr(text_stream, "_HARMLESS_BYTES", MIB)
    path = tmp_path / "r.csv.gz"
    # Texts that gzip makes about 140 times or about 500 times smaller.
    rows = "".join(f"{row % num_distinct * 7919 % 100_003:05d},{'y' * 999}\n" for row in range(8000)).encode()
    path.write_bytes(gzip.compress(b"u,m\n" + rows, mtime=0))
    assert len(rows) > MIB
    assert (len(rows) > 200 * path.stat().st_size) == is_refused
    if is_refused:
        with pytest.raises(ValueError, match="over 200 times its size"):
            read_files(path)
    else:
        assert read_files(path).num_rows == 8000


@pytest.mark.parametrize("name", ["r.csv", "r.csv.gz", "r.dat", "r.dat.gz"])
def test_a_file_without_line_ends_is_not_read_as_a_name(tmp_path, name):
    path = tmp_path / name
    content = b"x" * 100_000
    path.write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)
    with pytest.raises(ValueError, match=r"r\.\w+(\.gz)? has a first line of more than 65,536 bytes"):
        read_files(path)


@pytest.mark.parametrize("name", ["r.csv.gz", "r.dat.gz"])
def test_a_line_without_end_is_not_collected(tmp_path, name):
    delimiter = "::" if name.startswith("r.dat") else ","
    path = tmp_path / name
    path.write_bytes(repeat_gzip(f"u{delimiter}m\n1{delimiter}".encode(), b"x" * 4 * MIB, 5))
    with pytest.raises(ValueError, match=r"gz (has a line of more than 16 million characters|cannot be divided)"):
        read_files(path, text_format=TextFormat(delimiter=delimiter))


def test_old_line_ends_do_not_make_one_line_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text_stream, "_MAX_LINE_CHARACTERS", 1000)
    path = tmp_path / "r.dat"
    path.write_bytes(b"u::m\r" + b"1::2\r" * 1000)
    assert read_files(path).num_rows == 1000


# Runs in a process of its own, because the peak of the memory is measured.
MEASURE = """
import resource, sys
from tfrs_twotower.data.files import read_files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_files(sys.argv[1])
except ValueError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_takes_little_memory(tmp_path):
    path = tmp_path / "r.csv.gz"
    path.write_bytes(repeat_gzip(b"u,m\n", ROWS, 100))  # 400 MiB of text, in which one value is repeated
    result = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    message, peak_mib = result.stdout.splitlines()
    assert message.startswith(f"{path} expands to more than 256 MiB, over 200 times its size.")
    assert "decompress it (gunzip) and name the result" in message
    # The text up to the bound, 256 MiB, is never in memory at once: blocks of 16 MiB are, a few at a time.
    assert int(peak_mib) < 256


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".zst", ".zip"])
def test_other_compression_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"r.csv{suffix}"
    path.write_bytes(b"u,m\n1,2\n")
    with pytest.raises(ValueError, match=rf"must be of one supported kind.*Received: r\.csv\{suffix}"):
        read_files(path)
