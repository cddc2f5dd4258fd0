import gzip
import subprocess
import sys

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import tensorflow as tf

from tfrs_twotower.data.files import read_files


def write(path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-20", "0"], [1, -20, 0]),
        (["1", "", "3"], [1, None, 3]),
        (["1.5", "2", "-3e-2"], [1.5, 2.0, -0.03]),
        (["1", "NA", "3"], [1, None, 3]),
        (["1.5", "null", ""], [1.5, None, None]),
        (["NA", "null", ""], ["NA", "null", ""]),
        (["1", "NA", "x"], ["1", "NA", "x"]),
        (["007", "8", "9"], ["007", "8", "9"]),
        (["1.10.2", "1", "2"], ["1.10.2", "1", "2"]),
        (["01.5", "1", "2"], ["01.5", "1", "2"]),
        (["+1", "1", "2"], ["+1", "1", "2"]),
        (["", "", ""], ["", "", ""]),
        (["12345678901234567890", "1", "2"], ["12345678901234567890", "1", "2"]),
    ],
)
def test_text_is_a_number_only_if_that_loses_nothing(tmp_path, values, expected):
    write(tmp_path / "t.csv", "x,y\n" + "".join(f"{value},-\n" for value in values))
    assert read_files(tmp_path / "t.csv")["x"].to_pylist() == expected


def test_a_column_declared_as_text_stays_text(tmp_path):
    write(tmp_path / "t.csv", "id,n\n1,2\n")
    assert read_files(tmp_path / "t.csv", text_columns=["id"]).to_pylist() == [{"id": "1", "n": 2}]


def test_types_are_inferred_from_all_shards_together(tmp_path):
    write(tmp_path / "a.csv", "x\n1\n2\n")
    write(tmp_path / "b.csv", "x\n1.5\n")
    assert read_files(tmp_path)["x"].to_pylist() == [1.0, 2.0, 1.5]


def test_tabs_compression_and_quoted_line_breaks_are_read(tmp_path):
    write(tmp_path / "t.tsv", "a\tb\nx,y\t1\n")
    assert read_files(tmp_path / "t.tsv").to_pylist() == [{"a": "x,y", "b": 1}]
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b'a\n"x\ny"\n', mtime=0))
    assert read_files(tmp_path / "t.csv.gz")["a"].to_pylist() == ["x\ny"]


@pytest.mark.parametrize("name", ["t.parquet", "t.feather"])
def test_text_that_is_not_utf_8_is_damage(tmp_path, name):
    offsets, text = (pa.py_buffer(data) for data in (b"\0\0\0\0\3\0\0\0\6\0\0\0", b"a\xffb\xff\xff\0"))
    table = pa.table({"x": pa.Array.from_buffers(pa.string(), 2, [None, offsets, text])})
    write_table = pyarrow.parquet.write_table if name.endswith("parquet") else pyarrow.feather.write_feather
    write_table(table, tmp_path / name)
    with pytest.raises(ValueError, match=f"{name} cannot be read: it is damaged, or not of the kind that its name"):
        read_files(tmp_path / name)


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({}, FileNotFoundError, "holds no file of a supported kind. Supported: .csv, .tsv, .*, .parquet"),
        ({"a.csv": "x\n1\n", "b.tsv": "x\n1\n"}, ValueError, "must be of one supported kind.*Received: a.csv, b.tsv"),
        ({"a.csv": "x\n1\n", "b.csv": "y\n1\n"}, ValueError, r"same columns. a\.csv has x; b\.csv has y"),
        ({"a.csv": "x,x\n1,2\n"}, ValueError, r"`a\.csv` must have each column only once. Received twice: x"),
        ({"a.csv": "x,y\n1,2\n1,2,3\n"}, ValueError, r"a\.csv must have 2 values in every line.*Line 3 has 3: '1,2,3'"),
        ({"a.parquet": "no"}, ValueError, r"a\.parquet cannot be read"),
        ({"a.tfrecord": "no"}, ValueError, r"a\.tfrecord cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, files, error, message):
    for name, content in files.items():
        write(tmp_path / name, content)
    with pytest.raises(error, match=message):
        read_files(tmp_path)


def test_an_unknown_kind_is_refused(tmp_path):
    write(tmp_path / "t.xlsx", "")
    with pytest.raises(ValueError, match="must be of one supported kind.*Received: t.xlsx"):
        read_files(tmp_path / "t.xlsx")


def test_shards_may_differ_in_the_order_of_columns_and_in_nulls(tmp_path):
    pyarrow.parquet.write_table(pa.table({"x": [1], "y": ["a"]}), tmp_path / "0.parquet")
    pyarrow.parquet.write_table(
        pa.table({"y": ["b"], "x": pa.array([None, 2.5][:1], pa.float64())}), tmp_path / "1.parquet"
    )
    assert read_files(tmp_path).to_pylist() == [{"x": 1.0, "y": "a"}, {"x": None, "y": "b"}]


def write_examples(path, *features: dict[str, list]) -> None:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for feature in features:
            example = tf.train.Example()
            for name, values in feature.items():
                kind = example.features.feature[name]
                if values:
                    (kind.bytes_list if isinstance(values[0], bytes) else kind.int64_list).value.extend(values)
            writer.write(example.SerializeToString())


def test_a_feature_that_is_missing_in_the_first_example_is_read(tmp_path):
    write_examples(tmp_path / "a.tfrecord", {"a": [1], "c": []}, {"a": [2], "b": [b"x"], "c": [7, 8]})
    assert read_files(tmp_path).to_pylist() == [{"a": 1, "b": [], "c": []}, {"a": 2, "b": ["x"], "c": [7, 8]}]


def test_a_file_with_a_record_that_is_not_an_example_is_named(tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as writer:
        writer.write(b"no example")
    with pytest.raises(ValueError, match=r"a\.tfrecord cannot be read"):
        read_files(tmp_path)


def test_files_of_other_kinds_in_a_folder_are_ignored(tmp_path):
    pyarrow.parquet.write_table(pa.table({"x": [1]}), tmp_path / "part-0.parquet")
    write(tmp_path / "_SUCCESS", "")
    write(tmp_path / "notes.md", "")
    write(tmp_path / "._part-0.parquet", "")
    (tmp_path / "old.parquet").mkdir()
    assert read_files(tmp_path).to_pylist() == [{"x": 1}]


def test_a_csv_is_loaded_without_importing_tensorflow(tmp_path):
    write(tmp_path / "ratings.csv", "customer,sku,stars\n7,a,5\n")
    code = f"""
import sys
from tfrs_twotower.data.tables import Schema, load_ratings
schema = Schema(query_id="customer", candidate_id="sku", rating="stars")
ratings = load_ratings({str(tmp_path / "ratings.csv")!r}, schema)
print(ratings.num_events, "tensorflow" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["1", "False"]
