"""Inputs that do not fit each other are an error of every signature, in every host, never a repeated row."""

import numpy as np
import pytest
import tensorflow as tf

from tests.every_kind import missing
from tfrs_twotower.bundle.alignment import aligned

NAN = float("nan")


NAMES = (
    "serving_default",
    "recommend",
    "recommend_excluding",
    "recommend_filtered",
    "score",
    "embed_query",
    "embed_candidate",
)


@pytest.mark.parametrize(("others", "of_one"), [(3, 1), (1, 3), (3, 2), (3, 0), (0, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_every_input_must_have_as_many_rows_as_the_others(every_kind, name, others, of_one):
    signature = every_kind.signatures[name]
    whole, other = missing(signature, others), missing(signature, of_one)
    for changed in whole:
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            signature(**{**whole, changed: other[changed]})
        message = str(caught.value)
        assert "All inputs must have equally many rows. Received:" in message
        for input_name in whole:
            assert f"[{input_name}:] [{of_one if input_name == changed else others}]" in message


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_rows", [0, 1, 3])
def test_inputs_with_equally_many_rows_are_accepted(every_kind, name, num_rows):
    outputs = every_kind.signatures[name](**missing(every_kind.signatures[name], num_rows))
    assert {len(values) for values in outputs.values()} == {num_rows}


@pytest.mark.parametrize(
    ("history", "ratings"),
    [
        ([["m1", "m2"]], [[5.0]]),
        ([["m1"]], [[5.0, 4.0]]),
        ([[""]], [[5.0, 4.0]]),
        ([["m1", "m2"], ["m3", ""]], [[5.0, 4.0, NAN], [NAN, NAN, NAN]]),
    ],
)
@pytest.mark.parametrize("name", ["recommend", "recommend_filtered", "score", "embed_query"])
def test_ratings_must_be_as_wide_as_their_history(every_kind, name, history, ratings):
    signature = every_kind.signatures[name]
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        signature(**missing(signature, len(history), history=history, history_rating=ratings))
    assert "`history_rating` must have a rating for each place of `history`, or NaN alone." in str(caught.value)
    assert f"[history:] [{len(history[0])}] [history_rating:] [{len(ratings[0])}]" in str(caught.value)


@pytest.mark.parametrize("width", [0, 1, 2, 5])
def test_ratings_that_are_all_missing_may_have_any_width(every_kind, width):
    signature = every_kind.signatures["embed_query"]
    plain, filled = (
        signature(**missing(signature, 1, history=[["m1", "m2"]], history_rating=np.full([1, size], np.nan)))
        for size in (width, 2)
    )
    np.testing.assert_array_equal(plain["retrieval"], filled["retrieval"])


def test_a_session_checks_too(every_kind_path):
    """Other hosts call the signatures through a session, whose graph is optimised for the outputs that are wanted."""
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], str(every_kind_path))
        for name in ("recommend_filtered", "score"):
            signature = loaded.signature_def[name]
            inputs = {
                info.name: np.full([1, *(max(size.size, 1) for size in info.tensor_shape.dim[1:])], value)
                for info in signature.inputs.values()
                for value in ["" if info.dtype == tf.string.as_datatype_enum else 0]
            }
            scores = signature.outputs["scores"].name
            assert len(session.run(scores, inputs)) == 1
            for changed, values in inputs.items():
                with pytest.raises(tf.errors.InvalidArgumentError, match="equally many rows"):
                    session.run(scores, {**inputs, changed: np.repeat(values, 2, axis=0)})


def test_a_single_input_fits_itself():
    rows = tf.constant(["a", "b"])
    assert aligned({"candidate_id": rows}, {"history_rating": "history"})["candidate_id"].numpy().tolist() == [
        b"a",
        b"b",
    ]
