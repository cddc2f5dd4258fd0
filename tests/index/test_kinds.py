import pytest

from tests.index.cases import clustered, ids
from tfrs_twotower.index.kinds import BUILDERS, build_best_index, builder_of


@pytest.mark.parametrize("kind", ["exact", "portable", pytest.param("scann", marks=pytest.mark.scann)])
def test_a_builder_remembers_the_kind_that_was_requested(kind):
    embeddings = clustered(50, 4, seed=1)
    built = builder_of(kind)(embeddings, ids(50), embeddings)
    assert built.requested == kind
    assert built.index.is_exact  # a small catalogue is searched exactly by every kind


@pytest.mark.scann
def test_the_best_index_is_that_of_scann_where_it_is_installed():
    embeddings = clustered(50, 4, seed=1)
    assert build_best_index(embeddings, ids(50), embeddings).index.kind == "scann"


def test_an_unknown_kind_is_named_together_with_those_there_are():
    with pytest.raises(ValueError, match="`kind` must be one of exact, scann, portable. Received: 'slice'"):
        builder_of("slice")
    assert set(BUILDERS) == {"exact", "scann", "portable"}
