"""The signatures of a bundle in memory: rankings, scores and embeddings, with exclusions and filters."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, bundle_of
from tfrs_twotower.bundle.build import build_bundle, build_sides
from tfrs_twotower.evaluation.ranking import event_pairs, rank_candidates
from tfrs_twotower.index.exact import ExactIndex
from tfrs_twotower.index.kinds import build_exact_index
from tfrs_twotower.index.ordering import NO_SCORE
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.two_tower import TwoTowerModel

K = 10


@pytest.fixture(scope="module")
def signatures(planted, trained):
    return bundle_of(trained, planted.split.seen, k=K).signatures


def ask(signature, **inputs):
    return {name: values.numpy() for name, values in signature(**inputs).items()}


def users(*ids: str, ages: list[float] | None = None) -> dict[str, tf.Tensor]:
    return {"user_id": tf.constant(ids), "age": tf.constant(ages or [np.nan] * len(ids), tf.float32)}


def test_inputs_and_outputs_are_named_typed_and_shaped_as_documented(signatures):
    query = {"user_id": ("string", [None]), "age": ("float32", [None])}
    ranked = {"candidate_ids": ("string", 2), "scores": ("float32", 2), "probabilities": ("float32", 2)}
    vectors = {"retrieval": ("float32", 2), "rating": ("float32", 2)}
    expected = {
        "serving_default": (query, ranked),
        "recommend": (query, ranked),
        "recommend_excluding": ({**query, "exclude_ids": ("string", [None, None])}, ranked),
        "similar": (
            {"candidate_id": ("string", [None])},
            {"candidate_ids": ("string", 2), "scores": ("float32", 2)},
        ),
        "score": (
            {**query, "candidate_id": ("string", [None])},
            {"scores": ("float32", 1), "probabilities": ("float32", 1)},
        ),
        "embed_query": (query, vectors),
        "embed_candidate": ({"movie_id": ("string", [None]), "genres": ("string", [None, None])}, vectors),
    }
    assert sorted(signatures) == sorted(expected)
    for name, (inputs, outputs) in expected.items():
        specs = signatures[name].structured_input_signature[1]
        assert {key: (spec.dtype.name, spec.shape.as_list()) for key, spec in specs.items()} == inputs, name
        structured = signatures[name].structured_outputs
        assert {key: (spec.dtype.name, spec.shape.rank) for key, spec in structured.items()} == outputs, name


def test_recommendations_equal_the_ranking_of_the_evaluation(planted, trained, signatures):
    """The evaluation's ranking in NumPy and the bundle's in TensorFlow agree for every query."""
    split = planted.split
    queries, candidates = trained.embed(split.seen)
    ranked = rank_candidates(queries, candidates, event_pairs(split.seen), k=K)
    raw = trained.query_tower.raw_features(split.seen.queries)
    outputs = ask(signatures["recommend"], **raw)
    ids = np.array([*split.seen.candidates["movie_id"].to_pylist(), ""])
    np.testing.assert_array_equal(outputs["candidate_ids"].astype(str), ids[ranked])
    scores = np.einsum("qd,qkd->qk", queries, candidates[ranked])
    found = ranked >= 0
    np.testing.assert_allclose(outputs["scores"][found], scores[found], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(outputs["probabilities"][found], 1 / (1 + np.exp(-scores[found])), atol=1e-5)


def test_an_empty_slot_is_marked_and_finite(planted, signatures):
    """Each planted query has seen all but four candidates of 24, so six of ten slots are empty."""
    outputs = ask(signatures["recommend"], **users("u0", "u1"))
    assert (outputs["candidate_ids"] == b"").sum(axis=1).tolist() == [6, 6]
    assert outputs["candidate_ids"][0, 0] == f"m{planted.withheld[0]}".encode()
    assert outputs["scores"][:, 4:].tolist() == [[NO_SCORE] * 6] * 2
    assert outputs["probabilities"][:, 4:].tolist() == [[0.0] * 6] * 2


def test_an_unknown_query_gets_a_full_list(signatures):
    outputs = ask(signatures["recommend"], **users("stranger", ages=[30.0]))
    assert len(set(outputs["candidate_ids"][0].tolist())) == K
    assert b"" not in outputs["candidate_ids"]


def test_a_missing_feature_of_a_known_query_is_remembered_and_a_given_one_is_used(planted, signatures):
    ages = planted.split.seen.queries["age"].to_pylist()
    remembered, given, other = (
        ask(signatures["embed_query"], **users("u3", ages=[age]))["rating"] for age in (np.nan, ages[3], ages[3] + 40)
    )
    np.testing.assert_array_equal(remembered, given)
    assert np.abs(remembered - other).max() > 1e-3


def test_score_agrees_with_recommend(signatures):
    ranked = ask(signatures["recommend"], **users("stranger", ages=[30.0]))
    scored = ask(
        signatures["score"],
        **users(*["stranger"] * K, ages=[30.0] * K),
        candidate_id=tf.constant(ranked["candidate_ids"][0]),
    )
    np.testing.assert_allclose(scored["scores"], ranked["scores"][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(scored["probabilities"], ranked["probabilities"][0], rtol=1e-5, atol=1e-5)


def test_a_candidate_that_is_not_in_the_catalogue_scores_like_an_empty_slot(signatures):
    outputs = ask(signatures["score"], **users("u0"), candidate_id=tf.constant(["no such"]))
    assert outputs["scores"].tolist() == [NO_SCORE]
    assert outputs["probabilities"].tolist() == [0.0]


def test_embeddings_multiply_to_the_score(planted, trained, signatures):
    query = ask(signatures["embed_query"], **users("u5"))["retrieval"]
    features = trained.candidate_tower.raw_features(planted.split.seen.candidates.slice(7, 1))
    candidate = ask(signatures["embed_candidate"], **features)["retrieval"]
    score = ask(signatures["score"], **users("u5"), candidate_id=tf.constant(["m7"]))["scores"]
    np.testing.assert_allclose((query * candidate).sum(axis=1), score, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_rows", [3, 8, 13, 32, 300])
def test_a_row_is_to_the_last_bit_what_it_is_alone(signatures, num_rows):
    names = [f"u{row % 50}" for row in range(num_rows)]  # some of them unknown
    whole = ask(signatures["recommend"], **users(*names))
    for row in {0, 1, num_rows // 2, num_rows - 1}:
        alone = ask(signatures["recommend"], **users(names[row]))
        for output, values in alone.items():
            np.testing.assert_array_equal(values[0], whole[output][row])


def test_an_empty_batch_gives_empty_outputs(signatures):
    outputs = ask(signatures["recommend"], user_id=tf.zeros([0], tf.string), age=tf.zeros([0]))
    assert outputs["candidate_ids"].shape == outputs["scores"].shape == (0, K)


def test_a_tower_without_the_id_recommends_the_whole_catalogue(planted):
    """It recommends from features alone: no query is recognised, so that none has seen anything."""
    query = dataclasses.replace(QUERY, features=QUERY.features[1:])
    model = tt.build_two_tower(planted.split.train, query=query, candidate=CANDIDATE)
    signature = bundle_of(model, planted.split.seen, k=24).signatures["recommend"]
    outputs = ask(signature, age=tf.constant([30.0, np.nan]))
    assert len(set(outputs["candidate_ids"][0].tolist())) == 24


def test_a_list_feature_of_a_query_is_remembered_too(planted):
    table = planted.split.seen.queries
    tags = [["x"] if row % 2 else ["x", "y", "z"] for row in range(table.num_rows)]
    known = dataclasses.replace(planted.split.seen, queries=table.append_column("tags", [tags]))
    query = dataclasses.replace(QUERY, features=(*QUERY.features, tt.MultiCategorical(name="tags")))
    model = tt.build_two_tower(known, query=query, candidate=CANDIDATE)
    signature = bundle_of(model, known, k=1).signatures["embed_query"]

    def embed(*values: str) -> np.ndarray:
        return ask(signature, **users("u1"), tags=tf.constant([values], tf.string, shape=(1, len(values))))["rating"]

    np.testing.assert_array_equal(embed(), embed("x"))
    np.testing.assert_array_equal(embed(""), embed("x"))
    np.testing.assert_array_equal(embed("x", "", "", ""), embed("x"))
    assert np.abs(embed("y") - embed("x")).max() > 0


def ask_three(bundle):
    """Asks for recommendations for two known queries and a stranger."""
    return ask(
        bundle.signatures["recommend"],
        user_id=tf.constant(["u0", "u1", "stranger"]),
        age=tf.constant([20.0, 50.0, 30.0]),
    )


@pytest.fixture(scope="module")
def two_models(planted) -> JointModel:
    """A model whose scores and probabilities come from different towers."""
    tf.keras.utils.set_random_seed(0)
    first_model, rating_model = (
        tt.build_two_tower(planted.split.train, query=QUERY, candidate=CANDIDATE) for _ in range(2)
    )
    return JointModel(
        retrieval_model=TwoTowerModel(
            query_tower=first_model.query_tower,
            candidate_tower=first_model.candidate_tower,
            task=tt.tasks.SampledSoftmaxTask(),
        ),
        rating_model=rating_model,
    )


@pytest.fixture(scope="module")
def ask_reranked(planted, two_models):
    """A function (k, rerank) -> recommendations of bundles with the same sides."""
    known = planted.split.seen
    sides = build_sides(two_models, known, rerank=tt.bundle.Rerank(first=1))
    embeddings = sides.embed(known.candidates)

    def ask_with(k, rerank):
        reranked = dataclasses.replace(sides, rerank=rerank)
        return ask_three(build_bundle(reranked, known.candidates, embeddings, build_exact_index, k=k))

    return ask_with


@pytest.fixture(scope="module")
def in_order_of_scores(ask_reranked):
    return ask_reranked(24, None)


@pytest.mark.parametrize(
    ("k", "first", "weight"), [(3, 1, 1.0), (3, 10, 1.0), (24, 6, 0.3), (24, 24, 0.0), (24, 100, 0.5)]
)
def test_the_first_candidates_are_ordered_by_probability_or_a_blend(ask_reranked, in_order_of_scores, k, first, weight):
    found = in_order_of_scores
    got = ask_reranked(k, tt.bundle.Rerank(first=first, weight=weight))
    for row in range(3):
        with np.errstate(divide="ignore", invalid="ignore"):  # empty slots
            odds = np.log(found["probabilities"][row] / (1 - found["probabilities"][row]))
            blend = weight * odds + (1 - weight) * found["scores"][row]
        blend[found["candidate_ids"][row] == b""] = -np.inf
        order = [*np.argsort(-blend[:first], kind="stable"), *range(first, 24)][:k]
        np.testing.assert_array_equal(got["candidate_ids"][row], found["candidate_ids"][row][order])
        for name in ("scores", "probabilities"):
            np.testing.assert_allclose(got[name][row], found[name][row][order], rtol=1e-6)


def test_reranking_needs_probabilities_and_numbers_in_range(planted):
    model = tt.build_two_tower(
        planted.split.train, query=QUERY, candidate=CANDIDATE, task=tt.tasks.SampledSoftmaxTask()
    )
    with pytest.raises(ValueError, match="`rerank` orders by probabilities: it needs a model that predicts them"):
        bundle_of(model, planted.split.seen, k=1, rerank=tt.bundle.Rerank(first=5))
    for arguments in ({"first": 0}, {"first": 1, "weight": 1.5}):
        with pytest.raises(ValueError, match="`first` must be at least 1 and `weight` in 0..1"):
            tt.bundle.Rerank(**arguments)


class BranchingIndex(ExactIndex):
    """A user's kind, with Python that depends on a tensor: it searches one query alone as the first of two."""

    kind = "branching"

    def find_rows(self, queries, k, width, exclude):
        if tf.shape(queries)[0] == 1:
            queries, exclude = tf.repeat(queries, 2, axis=0), tf.repeat(exclude, 2, axis=0)
            rows = ExactIndex.find_rows(self, queries, k, width, exclude)[:1]
        else:
            rows = ExactIndex.find_rows(self, queries, k, width, exclude)
        return rows


def test_python_of_a_users_index_may_depend_on_tensors(planted, trained, signatures):
    def build(embeddings, ids, queries):
        return tt.index.BuiltIndex(
            index=BranchingIndex(embeddings, ids), outcome=build_exact_index(embeddings, ids, queries).outcome
        )

    branching = bundle_of(trained, planted.split.seen, build, k=K).signatures["recommend"]
    for asked in (users("u0"), users("u0", "u1")):
        for name, values in ask(signatures["recommend"], **asked).items():
            np.testing.assert_array_equal(ask(branching, **asked)[name], values)


@pytest.fixture(scope="module")
def filtering(planted, trained):
    return bundle_of(trained, planted.split.seen, k=24, filter_by=["genres"]).signatures


def stranger(num: int = 1) -> dict[str, tf.Tensor]:
    return {"user_id": tf.fill([num], "stranger"), "age": tf.fill([num], 30.0)}


def ids_of(outputs) -> list[list[str]]:
    return [[name.decode() for name in row] for row in outputs["candidate_ids"].numpy()]


def test_excluded_ids_are_left_out_and_unknown_ones_are_harmless(filtering):
    best = ids_of(filtering["recommend"](**stranger()))[0]
    exclude = tf.constant([[best[0], best[2], "unknown", "", best[0]], ["", "", "", "", ""]])
    first, second = ids_of(filtering["recommend_excluding"](**stranger(2), exclude_ids=exclude))
    assert first == [best[1], *best[3:], "", ""]
    assert second == best


def test_a_filter_and_an_exclusion_apply_together(filtering):
    best = ids_of(filtering["recommend"](**stranger()))[0]
    odd = [name for name in best if int(name[1:]) % 2]
    filters = tf.constant([["Rare", "unknown"], ["unknown", ""], ["", ""]])
    exclude = tf.constant([[odd[0]], [""], [""]])
    rows = ids_of(filtering["recommend_filtered"](**stranger(3), exclude_ids=exclude, filter_genres=filters))
    assert rows == [[*odd[1:], *[""] * 13], [""] * 24, best]


def test_candidates_that_a_known_query_has_seen_are_excluded_everywhere(planted, filtering):
    user = {"user_id": tf.constant(["u3"]), "age": tf.constant([np.nan])}
    nothing = tf.constant([[""]])
    plain = ids_of(filtering["recommend"](**user))
    assert ids_of(filtering["recommend_excluding"](**user, exclude_ids=nothing)) == plain
    assert ids_of(filtering["recommend_filtered"](**user, exclude_ids=nothing, filter_genres=nothing)) == plain
    assert sum(name != "" for name in plain[0]) == 4


def test_similar_candidates_are_of_the_same_kind_and_not_the_candidate_itself(planted, trained, filtering):
    outputs = filtering["similar"](candidate_id=tf.constant(["m4", "unknown", "m7"]))
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


def test_a_query_feature_must_not_have_the_name_of_an_input(planted):
    seen = planted.split.seen
    queries = seen.queries.rename_columns(["user_id", "exclude_ids"])
    known = dataclasses.replace(seen, queries=queries)
    query = dataclasses.replace(QUERY, features=(QUERY.features[0], tt.Numeric(name="exclude_ids")))
    with pytest.raises(ValueError, match="No query feature may be called 'exclude_ids'"):
        tt.build_two_tower(known, query=query, candidate=CANDIDATE)
