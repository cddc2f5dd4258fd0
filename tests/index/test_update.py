"""An index is updated for a changed catalogue without learning its partitions anew."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from tests.index.cases import EXCLUDING, clustered, ids
from tfrs_twotower.data.rows import NO_ROW
from tfrs_twotower.index import update
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.outcome import IndexOutcome
from tfrs_twotower.index.partitions import partition_catalogue, update_partitions
from tfrs_twotower.index.portable import PortableEffort, PortableIndex, update_portable_index
from tfrs_twotower.index.scann import ScannEffort, ScannIndex, update_scann_index
from tfrs_twotower.index.scann_tree import ScannTree
from tfrs_twotower.index.stored import StoredIndex

NUM, DIM = 1000, 8
UPDATES = {ScannIndex: update_scann_index, PortableIndex: update_portable_index}


def change(vectors, seed=0, num_removed=100, num_replaced=20, num_added=60):
    """Returns (changed, earlier_rows): rows are removed at random, others get another vector, and some are added."""
    rng = np.random.default_rng(seed)
    kept = np.sort(rng.choice(len(vectors), len(vectors) - num_removed, replace=False))
    earlier_rows = np.concatenate([kept, np.full(num_added, NO_ROW)])
    earlier_rows[rng.choice(len(kept), num_replaced, replace=False)] = NO_ROW
    changed = clustered(len(earlier_rows), vectors.shape[1], seed=seed + 100)
    is_kept = earlier_rows != NO_ROW
    changed[is_kept] = vectors[earlier_rows[is_kept]]
    return changed, earlier_rows


def stored(index, *, requested=None, **outcome):
    """What a bundle would store of an index."""
    outcome = {"parameters": index.parameters(), "recall": {10: 1.0}, "latency_ms": {1: 7.0}, **outcome}
    return StoredIndex(
        kind=index.kind,
        requested=requested or index.kind,
        is_exact=index.is_exact,
        num_candidates=index.num_candidates,
        outcome=IndexOutcome(build_s=1.0, size_bytes=1, **outcome),
        read=lambda name: functools.reduce(getattr, name.split("/"), index).numpy(),
    )


def portable(vectors, num_to_search=10**6):
    effort = PortableEffort(num_partitions_to_search=num_to_search)
    return PortableIndex(vectors, ids(len(vectors)), effort=effort, excluding=EXCLUDING)


def tree(vectors, num_to_search=20):
    effort = ScannEffort(num_partitions_to_search=num_to_search, num_reordering_candidates=len(vectors))
    return ScannIndex(vectors, ids(len(vectors)), num_partitions=20, effort=effort, excluding=EXCLUDING)


KINDS = [pytest.param(tree, id="scann", marks=pytest.mark.scann), pytest.param(portable, id="portable")]


@pytest.fixture
def for_few(monkeypatch):
    """Lets catalogues of the size of these tests have an approximate index."""
    for kind in (PortableIndex, ScannIndex):
        monkeypatch.setattr(kind, "max_candidates_for_exact", 500)


@pytest.fixture
def rebuilt(monkeypatch, for_few):
    """Notes with what an index would be built anew, instead of building it."""
    calls = []

    def build(kind, embeddings, ids, queries, *, target):
        calls.append((kind, len(embeddings), target.recall))

    monkeypatch.setattr(update, "build_approximate", build)
    return calls


@pytest.mark.parametrize("sizes", [{}, {"num_removed": 900, "num_replaced": 0}, {"num_added": 3000}, {"num_added": 0}])
def test_updated_partitions_hold_the_changed_catalogue(sizes):
    vectors = clustered(NUM, DIM, seed=1)
    changed, earlier_rows = change(vectors, **sizes)
    partitions = update_partitions(partition_catalogue(vectors, partition_size=8), changed, earlier_rows)
    rows = partitions.rows
    assert rows.shape[1] == 8
    assert sorted(rows[rows != NO_ROW]) == list(range(len(changed)))
    for members, centre, spread in zip(rows, partitions.centres, partitions.spreads, strict=True):
        vectors_of_members = changed[members[members != NO_ROW]].astype(np.float64)
        mean = vectors_of_members.mean(axis=0)
        np.testing.assert_allclose(centre, mean, atol=1e-5)  # float32 sums of 8 values near 1
        distances = np.linalg.norm(vectors_of_members - mean, axis=1)
        np.testing.assert_allclose(spread, np.sqrt(np.mean(distances**2)), atol=1e-5)


def test_partitions_in_which_nothing_changes_stay_as_they_are():
    vectors = clustered(NUM, DIM, seed=1)
    before = partition_catalogue(vectors)
    after = update_partitions(before, np.concatenate([vectors, vectors[:1]]), np.append(np.arange(NUM), NO_ROW))
    unchanged = {tuple(rows) for rows in before.rows.tolist()} & {tuple(rows) for rows in after.rows.tolist()}
    assert len(unchanged) == len(before.rows) - 1


@pytest.mark.scann
@pytest.mark.parametrize(("dim", "length"), [(8, 1.0), (17, 0.1), (64, 0.05), (8, 0.05)])
def test_vectors_get_the_codes_that_scann_itself_gives_them(dim, length):
    """The error along a short vector counts more, but not for the shortest. 17 dimensions have a block of one."""
    vectors = length * clustered(NUM, dim, seed=1)
    index = tree(vectors)
    read = stored(index).read
    partitions, codes = ScannTree.read(
        {name: read(f"state/{name}") for name in ("scann_config", "serialized_partitioner", "ah_codebook")}
    ).encode(vectors)
    # ScaNN moves the centres after it has assigned the vectors that it learns from.
    same = partitions == read("state/datapoint_to_token")
    assert same.mean() > 0.9
    # Of sums of float32 and float64 that are nearly equal, either may be the lower.
    assert (codes == read("state/hashed_dataset"))[same].mean() > 0.99


@pytest.mark.parametrize("build", KINDS)
def test_an_updated_index_that_searches_everything_finds_what_an_exact_one_finds(build):
    vectors = clustered(NUM, DIM, seed=1)
    changed, earlier_rows = change(vectors)
    index = build(vectors)
    updated = UPDATES[type(index)](stored(index), changed, ids(len(changed)), earlier_rows)
    assert updated.excluding == EXCLUDING
    queries = tf.constant(clustered(40, DIM, seed=2))
    exclude = tf.constant(np.random.default_rng(3).integers(0, len(changed), (40, 5)), tf.int32)
    expected = ExactIndex(changed, ids(len(changed))).search(queries, 20, exclude)
    for found, wanted in zip(updated.search(queries, 20, exclude), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.scann
def test_partitions_of_scann_may_lose_all_their_members():
    vectors = clustered(NUM, DIM, seed=1)
    index = tree(vectors)
    kept = np.flatnonzero(index.state.datapoint_to_token.numpy() >= 10)
    updated = update_scann_index(stored(index), vectors[kept], ids(len(kept)), kept)
    queries = tf.constant(clustered(40, DIM, seed=2))
    expected = ExactIndex(vectors[kept], ids(len(kept))).search(queries, 10)
    np.testing.assert_array_equal(updated.search(queries, 10)[1], expected[1])


@pytest.mark.parametrize("build", KINDS)
def test_the_recall_after_a_change_is_measured_and_recorded(build, for_few):
    vectors = clustered(NUM, DIM, seed=1)
    changed, earlier_rows = change(vectors)
    index = build(vectors, 4)
    before = stored(index, target={10: 0.5}, num_changed=7)
    built = update.update_index(
        changed, ids(len(changed)), clustered(200, DIM, seed=2), stored=before, earlier_rows=earlier_rows
    )
    assert built.index.kind == index.kind
    assert not built.index.is_exact
    # 60 added, 20 with another vector, and of the earlier 1,000 there are 880 left.
    assert built.outcome.num_changed == 7 + 80 + 120
    assert 0.5 <= built.outcome.recall[10] < 1
    assert built.outcome.parameters["num_partitions_to_search"] == 4
    assert built.outcome.latency_ms == {1: 7.0}


def test_an_index_whose_recall_would_be_too_low_is_built_anew(rebuilt):
    vectors = clustered(NUM, DIM, seed=1)
    changed, earlier_rows = change(vectors)
    arguments = changed, ids(len(changed)), clustered(200, DIM, seed=2)
    with pytest.warns(UserWarning, match=r"portable index is built anew: its recall at 10 would be 0\.\d+, less than"):
        update.update_index(
            *arguments, stored=stored(portable(vectors, 1), target={10: 0.99}), earlier_rows=earlier_rows
        )
    assert rebuilt == [(PortableIndex, len(changed), {10: 0.99})]


def test_an_index_of_which_a_quarter_has_changed_is_built_anew(rebuilt):
    vectors = clustered(NUM, DIM, seed=1)
    changed, earlier_rows = change(vectors)
    with pytest.warns(UserWarning, match="built anew: 260 vectors were put in or taken out since its partitions"):
        update.update_index(
            changed,
            ids(len(changed)),
            vectors,
            stored=stored(portable(vectors, 4), num_changed=60),
            earlier_rows=earlier_rows,
        )
    assert len(rebuilt) == 1


def test_an_index_of_an_older_version_whose_parameters_had_other_names_is_built_anew(rebuilt):
    vectors = clustered(NUM, DIM, seed=1)
    older = stored(portable(vectors, 4), parameters={"num_blocks": 280, "excluding": {}})
    with pytest.warns(UserWarning, match="an older version of this library did not store its 'num_partitions_to_sea"):
        update.update_index(vectors, ids(NUM), vectors, stored=older, earlier_rows=np.arange(NUM))
    assert len(rebuilt) == 1


def test_a_catalogue_that_becomes_small_or_large_changes_its_index_as_in_an_export(rebuilt):
    """Small ones are exact, large ones approximate. Nothing is kept, and no warning is needed."""
    vectors = clustered(NUM, DIM, seed=1)
    few, all_rows = np.arange(400), np.arange(NUM)
    update.update_index(vectors[:400], ids(400), vectors, stored=stored(portable(vectors)), earlier_rows=few)
    exact = stored(ExactIndex(vectors[:400], ids(400)), requested="portable")
    update.update_index(
        vectors, ids(NUM), vectors, stored=exact, earlier_rows=np.where(all_rows < 400, all_rows, NO_ROW)
    )
    assert [call[:2] for call in rebuilt] == [(PortableIndex, 400), (PortableIndex, NUM)]


def test_an_index_that_is_exact_for_want_of_something_stays_exact(rebuilt):
    vectors = clustered(NUM, DIM, seed=1)
    before = stored(ExactIndex(vectors, ids(NUM)), requested="portable", note="exact: no effort met the target")
    built = update.update_index(vectors, ids(NUM), vectors, stored=before, earlier_rows=np.arange(NUM))
    assert (built.index.kind, built.requested, built.outcome.note) == ("exact", "portable", before.outcome.note)
    assert rebuilt == []


def test_an_index_of_a_users_own_kind_needs_a_refresh():
    vectors = clustered(20, DIM, seed=1)
    mine = stored(ExactIndex(vectors, ids(20)), requested="mine")
    with pytest.raises(
        ValueError, match="kind 'mine' cannot be updated, .* Publish the whole catalogue with `refresh_bundle`"
    ):
        update.update_index(vectors, ids(20), vectors, stored=mine, earlier_rows=np.arange(20))
