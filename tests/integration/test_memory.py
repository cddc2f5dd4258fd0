"""A request of at most a megabyte takes at most 500 MB, whatever it holds, and large batches are answered right."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import export_unchecked, make_interactions, with_blocks
from tests.every_kind import K, missing
from tfrs_twotower.bundle.blocks import MAX_ROWS_AT_ONCE

_MAX_MB = 500


@pytest.fixture(scope="module")
def long_history_path(tmp_path_factory) -> Path:
    """A bundle whose user u1 has seen 300 candidates, with vectors of 256 numbers."""
    num = 300
    rows = np.repeat([0, 1], [2, num])
    candidates = np.concatenate([[0, 1], np.arange(num)])
    known = make_interactions(rows, candidates, [5.0] * len(rows), num_queries=2, num_candidates=num)
    movie = tt.Categorical(name="movie_id")
    query = tt.SumTowerConfig(
        features=(tt.Categorical(name="user_id"), tt.History(of=movie, length=num)), output_dim=256
    )
    candidate = tt.SumTowerConfig(features=(movie,), output_dim=256)
    model = tt.build_two_tower(known, query=query, candidate=candidate)
    directory = tmp_path_factory.mktemp("long")
    with with_blocks():
        return export_unchecked(model, known, directory, build_index=tt.index.build_exact_index)


@pytest.mark.parametrize(
    ("bundle", "names", "num_requests"),
    [("every_kind_path", [], 50), ("long_history_path", ["recommend", "embed_query"], 6)],
)
def test_no_request_of_a_megabyte_takes_much_memory(request, bundle, names, num_requests):
    script = Path(__file__).with_name("measure_memory.py")
    command = [sys.executable, str(script), str(request.getfixturevalue(bundle)), *names]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    measured = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(measured) >= num_requests
    for name, shape, size, growth_mb, error in measured:
        assert size <= 1_000_000, (name, shape, size)
        assert growth_mb < _MAX_MB, (name, shape, growth_mb)
        assert not error or "A request must have at most this number of rows" in error, (name, shape, error)


@pytest.mark.parametrize(
    "name", ["recommend", "recommend_filtered", "score", "embed_query", "embed_candidate", "similar"]
)
@pytest.mark.parametrize("num_rows", [MAX_ROWS_AT_ONCE, MAX_ROWS_AT_ONCE + 1, 2 * MAX_ROWS_AT_ONCE + 7])
def test_a_large_batch_is_answered_row_by_row(every_kind, name, num_rows):
    signature = every_kind.signatures[name]
    ids = [f"m{row % 50}" for row in range(num_rows)]
    users = [f"u{row % 30}" for row in range(num_rows)]
    given = {"candidate_id": ids, "movie_id": ids, "user_id": users}
    whole = missing(signature, num_rows)
    whole |= {key: tf.constant(given[key]) for key in whole.keys() & given.keys()}
    outputs = signature(**whole)
    start = num_rows - 150  # ids and users repeat after 150 rows
    alone = signature(**{key: values[start:] for key, values in whole.items()})
    for key, values in outputs.items():
        assert len(values) == num_rows
        for part in (values[start:], values[start % 150 : start % 150 + 150]):
            if values.dtype == tf.string:
                np.testing.assert_array_equal(part, alone[key])
            else:
                np.testing.assert_allclose(part, alone[key], rtol=1e-4, atol=1e-5)


def test_a_batch_whose_outputs_would_be_too_large_is_refused(every_kind):
    similar = every_kind.signatures["similar"]
    max_rows = 2**26 // (K * (24 + 4))
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        similar(candidate_id=tf.fill([max_rows + 1], "m1"))
    assert "A request must have at most this number of rows:" in str(caught.value)
    assert f"[{max_rows}] [Split it. Received:] [{max_rows + 1}]" in str(caught.value)
