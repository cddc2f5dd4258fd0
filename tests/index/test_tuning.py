import numpy as np
import pytest

from tests.index.cases import clustered, ids
from tfrs_twotower.index.portable import PortableEffort, PortableIndex
from tfrs_twotower.index.tuning import IndexTarget, tune, tune_exclusions

TARGET = IndexTarget(recall={10: 0.9, 100: 0.8})


class RecordingIndex(PortableIndex):
    """Records the efforts that are assigned."""

    def __init__(self, *arguments, **options):
        self.assigned = set()
        super().__init__(*arguments, **options)

    def check_effort(self, effort):
        self.assigned.add(effort.num_partitions_to_search)
        return super().check_effort(effort)

    def list_efforts(self):
        return [PortableEffort(num_partitions_to_search=num) for num in (1, 100, 150)]


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """(candidates, queries)."""
    return clustered(6000, 16, seed=1), clustered(400, 16, seed=2)


def test_the_first_effort_that_meets_the_target_is_kept(vectors):
    candidates, queries = vectors
    index = RecordingIndex(candidates, ids(6000), effort=PortableEffort(num_partitions_to_search=1))
    recalls = tune(index, queries, TARGET)
    assert index.assigned == {1, 100}
    assert index.effort == PortableEffort(num_partitions_to_search=100)
    assert all(recalls[k] >= minimum for k, minimum in TARGET.recall.items())


def test_exclusions_that_spoil_the_recall_are_not_searched_approximately(vectors):
    """A single partition of 32 cannot hold the remaining candidates when hundreds are excluded."""
    candidates, queries = vectors
    index = PortableIndex(candidates, ids(6000), effort=PortableEffort(num_partitions_to_search=1))
    index.exclusion_multiples = (1, 2, 4)
    tune_exclusions(index, queries, IndexTarget(recall={10: 0.999}))
    assert index.excluding == ()


@pytest.mark.parametrize("recall", [{}, {0: 0.9}, {10: 0.0}, {10: 1.1}])
def test_a_target_needs_a_valid_share_for_at_least_one_k(recall):
    with pytest.raises(ValueError, match="`recall` must give a share above 0 and up to 1 for at least one k"):
        IndexTarget(recall=recall)
