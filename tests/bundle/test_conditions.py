"""The signatures of a bundle that take conditions: exclusions, filters, similar candidates."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, bundle_of
from tfrs_twotower.index.vectors import NO_SCORE


@pytest.fixture(scope="module")
def signatures(planted, trained):
    return bundle_of(trained, planted.split.seen, k=24, filter_by=["genres"]).signatures


def stranger(num: int = 1) -> dict[str, tf.Tensor]:
    return {"user_id": tf.fill([num], "stranger"), "age": tf.fill([num], 30.0)}


def ids_of(outputs) -> list[list[str]]:
    return [[name.decode() for name in row] for row in outputs["candidate_ids"].numpy()]


def test_excluded_ids_are_left_out_and_unknown_ones_are_harmless(signatures):
    best = ids_of(signatures["recommend"](**stranger()))[0]
    exclude = tf.constant([[best[0], best[2], "unknown", "", best[0]], ["", "", "", "", ""]])
    first, second = ids_of(signatures["recommend_excluding"](**stranger(2), exclude_ids=exclude))
    assert first == [best[1], *best[3:], "", ""]
    assert second == best


def test_a_filter_and_an_exclusion_hold_together(signatures):
    best = ids_of(signatures["recommend"](**stranger()))[0]
    odd = [name for name in best if int(name[1:]) % 2]
    filters = tf.constant([["Rare", "unknown"], ["unknown", ""], ["", ""]])
    exclude = tf.constant([[odd[0]], [""], [""]])
    rows = ids_of(signatures["recommend_filtered"](**stranger(3), exclude_ids=exclude, filter_genres=filters))
    assert rows == [[*odd[1:], *[""] * 13], [""] * 24, best]


def test_what_a_known_user_has_seen_is_excluded_everywhere(planted, signatures):
    user = {"user_id": tf.constant(["u3"]), "age": tf.constant([np.nan])}
    nothing = tf.constant([[""]])
    plain = ids_of(signatures["recommend"](**user))
    assert ids_of(signatures["recommend_excluding"](**user, exclude_ids=nothing)) == plain
    assert ids_of(signatures["recommend_filtered"](**user, exclude_ids=nothing, filter_genres=nothing)) == plain
    assert sum(name != "" for name in plain[0]) == 4


def test_similar_candidates_are_of_the_same_kind_and_not_the_candidate_itself(planted, trained, signatures):
    outputs = signatures["similar"](candidate_id=tf.constant(["m4", "unknown", "m7"]))
    rows = ids_of(outputs)
    assert "m4" not in rows[0]
    assert "m7" not in rows[2]
    assert rows[1] == [""] * 24
    assert outputs["scores"].numpy()[1].tolist() == [NO_SCORE] * 24
    # By hand: products of the vectors without the biases.
    vectors = trained.embed_catalogue(planted.split.seen.candidates)[:, : CANDIDATE.output_dim]
    products = vectors @ vectors[4]
    products[4] = -np.inf
    assert rows[0][:23] == [f"m{row}" for row in np.argsort(-products)[:23]]


@pytest.mark.parametrize("filter_by", ["genres", ["genres", "genres"]])
def test_filters_must_be_a_sequence_without_repetition(planted, trained, filter_by):
    with pytest.raises(ValueError, match="`filter_by` must be a sequence of columns, none twice"):
        bundle_of(trained, planted.split.seen, k=1, filter_by=filter_by)


def test_a_filter_must_have_the_name_of_an_input(planted, trained):
    seen = planted.split.seen
    renamed = dataclasses.replace(seen, candidates=seen.candidates.append_column("the year", [[1] * 24]))
    with pytest.raises(ValueError, match="it names an input of the SavedModel. Received: 'the year'"):
        bundle_of(trained, renamed, k=1, filter_by=["the year"])


def test_a_query_feature_must_not_have_the_name_of_an_input(planted):
    seen = planted.split.seen
    queries = seen.queries.rename_columns(["user_id", "exclude_ids"])
    known = dataclasses.replace(seen, queries=queries)
    query = dataclasses.replace(QUERY, features=(QUERY.features[0], tt.Numeric(name="exclude_ids")))
    with pytest.raises(ValueError, match="No query feature may be called 'exclude_ids'"):
        tt.build_two_tower(known, query=query, candidate=CANDIDATE)


def build_small_portable(embeddings, ids, queries):
    """Really portable and approximate, however small the catalogue."""
    outcome = tt.build_exact_index(embeddings, ids, queries).outcome
    return tt.BuiltIndex(index=tt.PortableIndex(embeddings, ids, blocks_to_open=1, excluding=[(2, 1)]), outcome=outcome)


LIST_OPERATIONS = """
import sys
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry
model = saved_model_pb2.SavedModel.FromString(open(sys.argv[1] + "/saved_model.pb", "rb").read())
graph = model.meta_graphs[0].graph_def
nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
functions = {function.signature.name for function in graph.library.function}
operations = {node.op for node in nodes} - functions
assert len(operations) > 20
assert "scann" not in sys.modules
print(sorted(name for name in operations if op_def_registry.get(name) is None))
assert tf.saved_model.load(sys.argv[1]).signatures
"""


@pytest.mark.parametrize("build_index", [tt.build_exact_index, build_small_portable])
def test_portable_and_exact_bundles_hold_no_operation_outside_stock_tensorflow(planted, trained, tmp_path, build_index):
    """Listed in a process that has never loaded scann."""
    path = tt.export_bundle(
        trained, planted.split.seen, tmp_path, k=5, build_index=build_index, filter_by=["genres", "title"]
    )
    command = [sys.executable, "-c", LIST_OPERATIONS, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "[]"
