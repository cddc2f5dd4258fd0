"""What a bundle holds on disk, and the checks of its filters."""

import dataclasses
import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import bundle_of, export_unchecked


def test_the_manifest_describes_the_bundle(bundle_path, planted):
    manifest = json.loads((bundle_path / "assets.extra" / "manifest.json").read_text())
    assert manifest["versions"]["tensorflow"] == tf.__version__
    index = manifest["index"]
    assert (index["kind"], index["is_exact"], index["recall"]) == ("exact", True, {"10": 1.0, "100": 1.0})
    assert index["size_bytes"] == 24 * 8 * 4
    assert set(index["latency_ms"]) == {"1", "256"}
    assert (manifest["k"], manifest["num_candidates"], manifest["num_queries"]) == (10, 24, 40)
    assert manifest["query"]["id"] == "user_id"
    assert [feature["kind"] for feature in manifest["query"]["features"]] == ["Categorical", "Bucketized"]
    assert manifest["data"] == {"source": "planted", "fingerprint": planted.split.seen.fingerprint()}


def test_the_catalogue_is_saved_with_the_bundle(bundle_path, planted):
    assert pq.read_table(bundle_path / "assets.extra" / "candidates.parquet").equals(planted.split.seen.candidates)


def test_no_keras_object_is_in_the_saved_model(bundle_path):
    assert not (bundle_path / "keras_metadata.pb").exists()
    assert b"_tf_keras" not in (bundle_path / "saved_model.pb").read_bytes()


@pytest.mark.parametrize("filter_by", ["genres", ["genres", "genres"]])
def test_filters_must_be_a_sequence_without_repetition(planted, trained, filter_by):
    with pytest.raises(ValueError, match="`filter_by` must be a sequence of columns, none twice"):
        bundle_of(trained, planted.split.seen, k=1, filter_by=filter_by)


def test_a_filter_must_have_a_name_that_an_input_can_have(planted, trained):
    seen = planted.split.seen
    renamed = dataclasses.replace(seen, candidates=seen.candidates.append_column("the year", [[1] * 24]))
    with pytest.raises(ValueError, match="it names an input of the SavedModel. Received: 'the year'"):
        bundle_of(trained, renamed, k=1, filter_by=["the year"])


def build_small_portable(embeddings, ids, queries):
    """Builds an index that is approximate even for a small catalogue, for which `build_portable_index` is exact."""
    outcome = tt.index.build_exact_index(embeddings, ids, queries).outcome
    effort = tt.index.PortableEffort(num_partitions_to_search=1)
    index = tt.index.PortableIndex(embeddings, ids, effort=effort, excluding=[(2, 1)])
    return tt.index.BuiltIndex(index=index, outcome=outcome)


LIST_OPERATIONS = """
import sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
for path in sys.argv[1:]:
    model = saved_model_pb2.SavedModel.FromString(open(path + "/saved_model.pb", "rb").read())
    graph = model.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    functions = {function.signature.name for function in graph.library.function}
    operations = {node.op for node in nodes} - functions
    assert len(operations) > 20
    assert "scann" not in sys.modules
    print(sorted(name for name in operations if op_def_registry.get(name) is None))
    assert tf.saved_model.load(path).signatures
"""


def test_portable_and_exact_bundles_hold_no_operation_outside_stock_tensorflow(planted, trained, tmp_path):
    """The operations are listed in a process that has never loaded scann."""
    options = {"k": 5, "filter_by": ["genres", "title"]}
    paths = [
        export_unchecked(trained, planted.split.seen, tmp_path / kind, build_index=build_index, **options)
        for kind, build_index in (("exact", tt.index.build_exact_index), ("portable", build_small_portable))
    ]
    result = subprocess.run(
        [sys.executable, "-c", LIST_OPERATIONS, *paths], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["[]", "[]"]
