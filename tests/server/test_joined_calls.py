"""Joined requests get to the last bit what each gets alone."""

import numpy as np
import pytest

from tests.server.queries import SIGNATURES, expected, received, row
from tests.tracing import optimize_graphs
from tfrs_twotower.server.joined_calls import joined_call

SIZES = (1, 3, 0, 1, 2, 9, 1)
RATINGS_OF = {"history_rating": "history"}


@pytest.fixture(autouse=True, scope="module")
def optimized_graphs():
    """Optimises graphs as a server's processes do."""
    optimize_graphs(True)
    yield
    optimize_graphs(False)


@pytest.mark.parametrize("signature", SIGNATURES)
def test_each_request_gets_what_it_gets_alone_to_the_last_bit(bundle, signature):
    """The requests have different sizes, and their lists different lengths."""
    numbers = iter(range(sum(SIZES)))
    requests = [[row(signature, next(numbers)) for _ in range(size)] for size in SIZES if size]
    outputs = joined_call(bundle.module.signatures[signature], RATINGS_OF)(*received(requests))
    alone = [expected(bundle, signature, rows) for rows in requests]
    for name, values in outputs.items():
        np.testing.assert_array_equal(values, np.concatenate([request[name] for request in alone]), strict=True)


def test_requests_without_rows_may_stand_among_others(bundle):
    call = joined_call(bundle.module.signatures["similar"], RATINGS_OF)
    _, inputs = received([[row("similar", 0)], [row("similar", 1)]])
    outputs = call([1, 0, 1], inputs)
    assert outputs["candidate_ids"].shape == (2, 10)


def test_the_padding_of_others_does_not_hide_what_is_wrong(bundle):
    """Joined with a longer list, ratings that are too few would be padded, and pass."""
    wrong = {**row("recommend", 0), "history": ["m1", "m2"], "history_rating": [1.0]}
    with pytest.raises(ValueError, match="`history_rating` are not as long as those of `history`"):
        joined_call(bundle.module.signatures["recommend"], RATINGS_OF)(*received([[wrong], [row("recommend", 2)]]))
