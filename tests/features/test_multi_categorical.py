import pyarrow as pa
import pytest

from tests.features.cases import learn
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.vocabularies import Vocabulary


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="`pooling` of 'a' must be one of sum, mean, sqrtn. Received: 'max'"):
        MultiCategorical(name="a", pooling="max")


def test_a_value_counts_once_for_each_event_of_its_rows():
    # p occurs in the 2 events of row 0, q in the 2 + 5 events of rows 0 and 1.
    learnt = learn(MultiCategorical(name="tags"), counts=(2, 5, 2, 1))
    assert learnt["tags"] == Vocabulary(("q", "p"), (7, 2))


def test_rare_values_are_left_to_the_shared_vector():
    # p occurs in 2 events, q in 2 + 3.
    assert learn(MultiCategorical(name="tags", min_count=3), counts=(2, 3, 4, 0)).values_of("tags") == ("q",)


def test_values_beneath_a_null_list_are_not_learnt():
    """Arrow may keep values in the memory that a null list covers."""
    tags = pa.ListArray.from_arrays(
        pa.array([0, 1, 3, 4]), pa.array(["p", "hidden", "hidden", "q"]), mask=pa.array([False, True, False])
    )
    table = pa.table({"id": ["a", "b", "c"], "tags": tags})
    learnt = learn(MultiCategorical(name="tags"), counts=(1, 5, 2), table=table)
    assert learnt["tags"] == Vocabulary(("q", "p"), (2, 1))
