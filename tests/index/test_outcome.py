import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfrs_twotower.index.outcome import IndexOutcome

OUTCOME = IndexOutcome(
    parameters={"num_partitions": 280, "num_partitions_to_search": 6, "excluding": {16: 1, 64: 2}},
    recall={10: 0.98765, 100: 0.95},
    latency_ms={1: 0.64321, 256: 8.6},
    build_s=15.84,
    size_bytes=652_320,
    note="exact: there are too few queries",
)
# What version 0.1 wrote into manifests.
OLDER = {
    "parameters": {"num_blocks": 280, "block_size": 32, "blocks_to_open": 6, "excluding": {"16": 1, "64": 2}},
    "recall": {"10": 0.967, "100": 0.9284},
    "latency_ms": {"1": 0.643, "256": 8.613},
    "build_s": 15.8,
    "size_bytes": 652320,
    "note": None,
}

int64s, counts = st.integers(-(2**63), 2**63 - 1), st.integers(0, 10**12)
parameters = st.none() | int64s | st.floats(-1e9, 1e9) | st.text() | st.dictionaries(counts, counts)


def test_numbers_that_are_keys_are_strings_in_json_and_values_are_rounded():
    assert json.loads(json.dumps(OUTCOME.to_dict())) == {
        "parameters": {"num_partitions": 280, "num_partitions_to_search": 6, "excluding": {"16": 1, "64": 2}},
        "recall": {"10": 0.9877, "100": 0.95},
        "latency_ms": {"1": 0.643, "256": 8.6},
        "build_s": 15.8,
        "size_bytes": 652_320,
        "note": "exact: there are too few queries",
        "target": None,
        "num_changed": 0,
    }


def test_an_older_outcome_keeps_the_names_of_its_parameters():
    outcome = IndexOutcome.from_dict(OLDER)
    assert outcome.parameters == {"num_blocks": 280, "block_size": 32, "blocks_to_open": 6, "excluding": {16: 1, 64: 2}}
    assert outcome.recall == {10: 0.967, 100: 0.9284}
    assert outcome.to_dict() == {**OLDER, "target": None, "num_changed": 0}


def test_further_keys_of_a_manifest_are_ignored():
    assert IndexOutcome.from_dict({"kind": "scann", "is_exact": True, **OLDER}) == IndexOutcome.from_dict(OLDER)


@given(
    outcome=st.builds(
        IndexOutcome,
        parameters=st.dictionaries(st.text(), parameters),
        recall=st.dictionaries(counts, st.integers(0, 10_000).map(lambda share: share / 10_000)),
        latency_ms=st.dictionaries(counts, st.integers(0, 10**6).map(lambda time: time / 1000)),
        build_s=st.integers(0, 10**6).map(lambda time: time / 10),
        size_bytes=counts,
        note=st.none() | st.text(),
        target=st.none() | st.dictionaries(counts, st.floats(0, 1)),
        num_changed=counts,
    )
)
def test_rounded_outcomes_are_read_as_they_were_written(outcome):
    assert IndexOutcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


@pytest.mark.parametrize("key", [key for key in OUTCOME.to_dict() if key not in ("target", "num_changed")])
def test_a_missing_key_is_named(key):
    values = OUTCOME.to_dict()
    del values[key]
    with pytest.raises(ValueError, match=f"`{key}` is missing"):
        IndexOutcome.from_dict(values)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"recall": None}, "`recall` must be an object with keys. Received: None"),
        ({"recall": {"ten": 1.0}}, "`recall` must have whole numbers as keys. Received: 'ten'"),
        ({"recall": {"010": 1.0}}, "`recall` must have whole numbers as keys. Received: '010'"),
        ({"recall": {"\u0661": 1.0}}, "`recall` must have whole numbers as keys"),
        ({"recall": {"10": 1.5}}, "`recall.10` must be a number in 0..1. Received: 1.5"),
        ({"recall": {"10": math.nan}}, "`recall.10` must be a number in 0..1. Received: nan"),
        ({"recall": {"10": "high"}}, "`recall.10` must be a number in 0..1. Received: 'high'"),
        ({"latency_ms": {"1": -1}}, "`latency_ms.1` must be a number of at least 0. Received: -1"),
        ({"build_s": True}, "`build_s` must be a number of at least 0. Received: True"),
        ({"build_s": 10**400}, "`build_s` must be a number of at least 0. Received: a whole number of 1329 bits"),
        ({"size_bytes": 1.5}, "`size_bytes` must be a whole number of at least 0. Received: 1.5"),
        ({"size_bytes": 2**63}, "`size_bytes` must be a whole number of at least 0"),
        ({"note": 5}, "`note` must be a text. Received: 5"),
        ({"parameters": 3}, "`parameters` must be an object with keys. Received: 3"),
        ({"parameters": {"excluding": {"16": "1"}}}, "`parameters.excluding.16` must be a whole number"),
        ({"parameters": {"effort": math.inf}}, "`parameters.effort` must be a number. Received: inf"),
    ],
)
def test_a_damaged_outcome_is_refused(damage, message):
    with pytest.raises(ValueError, match=message):
        IndexOutcome.from_dict({**OUTCOME.to_dict(), **damage})
