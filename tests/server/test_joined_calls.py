"""Joined requests get what each gets alone: to the last bit in a loop, to rounding as rows of one tensor."""

import numpy as np
import pytest
import tensorflow as tf

from tests.server.queries import SIGNATURES, expected, received, row
from tfrs_twotower.server.joined_calls import call_as_one, call_one_by_one

SIZES = (1, 3, 0, 1, 2, 9, 1)


def requests_for(signature: str) -> list[list[dict]]:
    """Returns requests of different sizes, whose lists have different lengths."""
    numbers = iter(range(sum(SIZES)))
    return [[row(signature, next(numbers)) for _ in range(size)] for size in SIZES if size]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_a_loop_gives_each_request_what_it_gets_alone_to_the_last_bit(bundle, signature):
    requests = requests_for(signature)
    outputs = call_one_by_one(bundle.module.signatures[signature])(*received(requests))
    alone = [expected(bundle, signature, rows) for rows in requests]
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, np.concatenate([request[name] for request in alone]), strict=True)


@pytest.mark.parametrize("signature", ["recommend_filtered", "similar"])
def test_rows_of_one_tensor_differ_by_rounding_alone(bundle, signature):
    requests = requests_for(signature)
    outputs = call_as_one(bundle.module.signatures[signature])(*received(requests))
    alone = [expected(bundle, signature, rows) for rows in requests]
    for name, values in outputs.items():
        wanted = np.concatenate([request[name] for request in alone])
        if name == "candidate_ids":
            np.testing.assert_array_equal(values, wanted)
        else:  # a few roundings of float32
            np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-6)


def test_requests_without_rows_may_stand_among_others(bundle):
    call = call_one_by_one(bundle.module.signatures["similar"])
    _, inputs = received([[row("similar", 0)], [row("similar", 1)]])
    outputs = call([1, 0, 1], inputs)
    assert outputs["candidate_ids"].shape == (2, 10)


def test_an_error_of_the_graph_is_raised(bundle):
    rows = [[{**row("recommend", 0), "history": ["m1"], "history_rating": [1.0, 2.0]}], [row("recommend", 1)]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="history_rating"):
        call_one_by_one(bundle.module.signatures["recommend"])(*received(rows))
