import numpy as np
import pyarrow as pa
import pytest

from tfrs_twotower.evaluation.projector import write_projector

VECTORS = np.array([[0.5, -1.0], [1e-7, 3.25]], np.float32)


def test_each_vector_has_a_line_of_metadata(tmp_path):
    candidates = pa.table({"id": ["a", "b"], "title": ["Two\twords\n", None], "genres": [["X", "Y"], []]})
    write_projector(tmp_path / "logs", VECTORS, candidates)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "logs" / "vectors.tsv"), VECTORS, rtol=1e-5)
    metadata = (tmp_path / "logs" / "metadata.tsv").read_text(encoding="utf-8")
    assert metadata == "id\ttitle\tgenres\na\tTwo words\tX|Y\nb\t\t\n"
    config = (tmp_path / "logs" / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert 'tensor_path: "vectors.tsv"' in config
    assert 'metadata_path: "metadata.tsv"' in config


def test_a_single_column_has_no_heading(tmp_path):
    write_projector(tmp_path, VECTORS, pa.table({"id": ["a", "b"]}))
    assert (tmp_path / "metadata.tsv").read_text(encoding="utf-8") == "a\nb\n"


def test_another_number_of_vectors_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="a row for each of the 3 candidates. Received: 2 rows"):
        write_projector(tmp_path / "logs", VECTORS, pa.table({"id": ["a", "b", "c"]}))
    assert not (tmp_path / "logs").exists()
