import dataclasses
import json

import numpy as np
import pyarrow as pa
import pytest

import tfrs_twotower as tt
from tests.conftest import make_interactions
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.bucketized import Bucketized
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.hashed import Hashed
from tfrs_twotower.features.history import History
from tfrs_twotower.features.multi_categorical import MultiCategorical
from tfrs_twotower.features.pretrained import PretrainedEmbedding
from tfrs_twotower.features.text import Text
from tfrs_twotower.features.timestamp import Timestamp
from tfrs_twotower.model.joint import JointModel
from tfrs_twotower.model.rating_scale import choose_threshold
from tfrs_twotower.model.recipe import Recipe, choose_recipe
from tfrs_twotower.model.recipe_models import build_rating_model, build_recommender
from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
from tfrs_twotower.model.tasks.rating import RatingTask
from tfrs_twotower.model.two_tower import TwoTowerModel

RATINGS = [5.0, 1.0, 4.0, 2.0, 3.0, 5.0]


def shop(ratings=RATINGS, **columns) -> Interactions:
    """A shop of six goods with two customers; `columns` are further columns of the goods."""
    return Interactions(
        queries=pa.table({"customer": ["c1", "c2"], "town": ["Ulm", "Bonn"]}),
        candidates=pa.table({"sku": list("abcdef"), **columns}),
        events=pa.table({"query_row": [0, 0, 0, 1, 1, 1], "candidate_row": list(range(6)), "rating": ratings}),
        query_id="customer",
        candidate_id="sku",
    )


SENTENCES = ["a red ball", "a blue ball", "two balls", "a bat", "no toy at all", "a red bat"]
DATES = ["2024-01-01", "2024-02-01", "2024-03-01T10:00", "2024-04-01", "2024-05-01", "2024-06-01"]


@pytest.mark.parametrize(
    ("column", "feature", "reason"),
    [
        (["red", "red", "blue", "red", "blue", "red"], Categorical(name="about"), "2 recurring texts"),
        (["red", None, None, None, None, None], Categorical(name="about"), "1 recurring texts"),
        ([["new"], [], ["new", "sale"], None, ["a"], ["b"]], MultiCategorical(name="about"), "lists of 4 values"),
        ([[1, 2], [2], [3], [], None, [1]], MultiCategorical(name="about"), "lists of 3 values"),
        ([True, False, True, None, True, True], Categorical(name="about"), "true or false"),
        ([1, 1, 1, 2, 2, 2], Categorical(name="about"), "2 whole numbers"),
        ([1.5, 1.25, 1.5, 2.0, None, 2.0], Bucketized(name="about", num_buckets=10), "numbers, 3 different ones"),
        ([[1.0, 2.0]] * 6, PretrainedEmbedding(name="about", dim=2), "vectors of 2 numbers"),
        (DATES, Timestamp(name="about"), "times"),
        (
            SENTENCES,
            Text(name="about", min_count=20, max_words=50, pooling="sqrtn"),
            "free text, 3 words in the mean",
        ),
        (list("ABCDEF"), None, "single words of which few recur tell nothing about other rows"),
        (["red"] * 6, None, "the same value in every row"),
        ([None] * 6, None, "no value is given"),
        ([[1.0], [1.0, 2.0], [], [], [], []], None, "lists of numbers that differ in length are no vectors"),
        ([[1.0, float("nan")]] * 6, None, "vectors with numbers that are not finite are not used"),
        ([{"a": 1}] * 6, None, "values of the type struct<a: int64> are not used"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value,
)
def test_a_column_becomes_a_feature_by_its_type_and_values(column, feature, reason):
    choice = choose_recipe(shop(about=column)).candidate_features[1]
    assert (choice.column, choice.feature, choice.reason) == ("about", feature, reason)


def test_whole_numbers_that_are_all_different_are_left_out():
    catalogue = pa.table(
        {"sku": [f"s{row}" for row in range(30)], "ean": range(30), "stock": [row % 25 for row in range(30)]}
    )
    data = dataclasses.replace(shop(), candidates=catalogue)
    assert [choice.feature for choice in choose_recipe(data).candidate_features] == [
        Categorical(name="sku"),
        None,
        Bucketized(name="stock", num_buckets=10),
    ]


def test_features_are_chosen_one_by_one_and_the_others_stay_chosen():
    data = shop(color=["red", "red", "red", "blue", "blue", "blue"], tags=[["new"]] * 5 + [[]])
    recipe = choose_recipe(
        data,
        query_features={"town": None},
        candidate_features={"color": Hashed(name="color", num_buckets=4), "sku": Hashed(name="sku", num_buckets=64)},
    )
    assert [choice.feature for choice in recipe.candidate_features] == [
        Hashed(name="sku", num_buckets=64),
        Hashed(name="color", num_buckets=4),
        MultiCategorical(name="tags"),
    ]
    tower = build_recommender(recipe, data).retrieval_model.query_tower
    assert [feature.name for feature in tower.config.features] == ["customer", "history"]
    assert tower.histories[0].of == Hashed(name="sku", num_buckets=64)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"colour": None}, ValueError, "`candidate_features` must name columns: sku, color. Received: 'colour'."),
        (
            {"color": "red"},
            TypeError,
            "`candidate_features`['color'] must be a feature, or None to leave it out. Received: 'red'.",
        ),
        (
            {"color": Categorical(name="sku")},
            ValueError,
            "`candidate_features`['color'] must have the name of its column. Received: 'sku'.",
        ),
        (
            {"color": Bucketized(name="color", num_buckets=3)},
            TypeError,
            "`color` must hold numbers to be Bucketized. Received a column of: string.",
        ),
    ],
)
def test_an_impossible_choice_of_a_feature_is_refused(given, error, message):
    with pytest.raises(error) as raised:
        choose_recipe(shop(color=["red", "red", "red", "blue", "blue", "blue"]), candidate_features=given)
    assert str(raised.value) == message


def test_columns_of_queries_are_used_only_if_histories_are_short():
    short = choose_recipe(shop()).query_features
    assert [choice.feature for choice in short] == [Categorical(name="customer"), None]
    assert short[1].reason == "single words of which few recur tell nothing about other rows"
    rows = np.arange(60)
    for num_events, feature in ((9, Categorical(name="town")), (10, None)):
        data = Interactions(
            queries=pa.table({"customer": list("abcdef"), "town": ["Ulm", "Bonn"] * 3}),
            candidates=pa.table({"sku": [f"s{row}" for row in rows]}),
            events=pa.table(
                {
                    "query_row": np.repeat(np.arange(6), num_events),
                    "candidate_row": np.arange(6 * num_events) % 60,
                    "rating": np.arange(6 * num_events) % 5 + 1.0,
                }
            ),
            query_id="customer",
            candidate_id="sku",
        )
        assert choose_recipe(data).query_features[1].feature == feature


def test_a_query_is_its_id_and_its_rated_history():
    model = build_recommender(choose_recipe(shop()), shop())
    past = History(of=Categorical(name="sku"), length=1000, pooling="sqrtn", by_rating=True)
    user = Categorical(name="customer", id_dropout=0.5)
    assert model.retrieval_model.query_tower.config.features == (user, dataclasses.replace(past, dropout=0.7))
    rated = dataclasses.replace(past, rating_vectors=True)
    assert model.rating_model.query_tower.config.features == (user, rated)


def test_the_retrieval_model_starts_from_popularity_and_the_rating_model_has_biases():
    model = build_recommender(choose_recipe(shop()), shop())
    retrieval, rating = model.retrieval_model, model.rating_model
    assert isinstance(model, JointModel)
    assert isinstance(retrieval.task, FullSoftmaxTask)
    assert isinstance(rating.task, RatingTask)
    assert not model.shares_towers
    assert retrieval.candidate_tower.config.frequency_of == "sku"
    assert retrieval.candidate_tower.config.has_bias
    assert rating.candidate_tower.config.frequency_of is None
    assert rating.candidate_tower.config.has_bias
    assert rating.query_tower.config.has_bias


@pytest.mark.parametrize(
    ("ratings", "threshold", "expected"),
    [
        (RATINGS, 3.0, (2, 4, 5)),
        (RATINGS, 4.0, (2, 3, 5)),
        ([1.0, 5.0, 1.0, 5.0, 1.0, 5.0], 3.0, (5,)),
        ([0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 1.0, ()),
    ],
)
def test_every_other_rating_but_the_lowest_is_a_threshold(ratings, threshold, expected):
    task = build_rating_model(choose_recipe(shop(ratings), threshold=threshold), shop(ratings)).task
    assert task.threshold == threshold
    assert task.other_thresholds == expected


def test_a_fine_scale_of_ratings_has_thresholds_at_its_deciles():
    rows = np.arange(101)
    data = make_interactions(rows * 0, rows % 2, rows, num_queries=1, num_candidates=2)
    assert choose_recipe(data, threshold=25.0).other_thresholds == tuple(range(10, 100, 10))


@pytest.mark.parametrize(("num_events", "length"), [(3, 1000), (1000, 1000), (1200, 1200)])
def test_the_history_takes_the_longest_query_whole(num_events, length):
    rows = np.arange(num_events) % 4
    data = make_interactions(
        np.zeros(num_events, np.int64), rows, np.where(rows < 2, 5.0, 1.0), num_queries=2, num_candidates=4
    )
    for model in build_recommender(choose_recipe(data), data).models:
        assert model.history_length == length


@pytest.mark.parametrize(
    ("ratings", "is_implicit"),
    [([4.0] * 6, False), ([1.0] * 6, True), ([1.0, 2.0, 40.0, 7.0, 120.0, 3.0], False)],
    ids=["one rating", "no ratings", "counts"],
)
def test_without_two_classes_there_is_a_retrieval_model_alone(ratings, is_implicit):
    data = dataclasses.replace(shop(ratings), has_ratings=not is_implicit)
    recipe = choose_recipe(data)
    model = build_recommender(recipe, data)
    assert isinstance(model, TwoTowerModel)
    assert model.rating_model is None
    assert not model.query_tower.histories[0].by_rating
    assert recipe.lines()[-1] == "Rating model: none, because every event is positive: there are no probabilities."


@pytest.mark.parametrize(
    ("ratings", "value", "reason"),
    [
        ([1, 2, 3, 4, 5], 3, "The ratings are on a scale up to 5 (received: 1 to 5)."),
        ([0.5, 4.5, 5], 3, "The ratings are on a scale up to 5 (received: 0.5 to 5)."),
        ([0, 3, 7, 10], 6, "The ratings are on a scale up to 10 (received: 0 to 10)."),
        ([0, 3, 7, 55.5, 90], 60, "The ratings are on a scale up to 100 (received: 0 to 90)."),
        ([0, 1, 1], 1, "There are two ratings, 0 and 1: the higher one is positive."),
        ([-1, 1], 1, "There are two ratings, -1 and 1: the higher one is positive."),
        ([-10, -2, 3.5], 0, "The ratings lie on both sides of 0 (-10 to 3.5): those of at least 0 are positive."),
        ([1, 7, 3000], 1, "The ratings are counts (1 to 3000): every event is positive."),
        ([0.5, 7, 3000], 7, "The ratings are on no usual scale (0.5 to 3000): their median is the threshold."),
        ([4, 4], 4, "Every rating is 4: every event is positive."),
    ],
)
def test_the_threshold_follows_from_the_scale(ratings, value, reason):
    chosen = choose_threshold(np.array(ratings, np.float32))
    assert (chosen.value, chosen.reason) == (value, reason)


def test_a_change_of_scale_changes_nothing_but_the_threshold():
    stars, halves = shop(), shop([2 * rating for rating in RATINGS])
    recipe, doubled = choose_recipe(stars), choose_recipe(halves)
    assert (recipe.threshold, doubled.threshold) == (3, 6)
    task, other = (build_recommender(r, d).retrieval_model.task for r, d in ((recipe, stars), (doubled, halves)))
    gains = task.gains(np.array(RATINGS, np.float32), None).numpy()
    assert gains == pytest.approx(other.gains(2 * np.array(RATINGS, np.float32), None).numpy())
    assert doubled.other_thresholds == tuple(2 * rating for rating in recipe.other_thresholds)


def test_both_models_have_the_threshold_that_is_asked_for():
    model = build_recommender(choose_recipe(shop(), threshold=4.0), shop())
    assert [part.threshold for part in model.models] == [4.0, 4.0]


@pytest.mark.parametrize("threshold", [None, 2.0])
def test_a_recipe_survives_json(threshold):
    data = shop(color=["red", "red", "red", "blue", "blue", "blue"], price=[1.5, 2.5, 3.5, 1.5, 2.5, 3.5])
    recipe = choose_recipe(data, threshold=threshold)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize(
    ("train", "error", "message"),
    [
        (
            3,
            TypeError,
            "`train` must be `Interactions`. Received: a int. Read a table or a file with `load_ratings` first.",
        ),
        (
            shop().with_events(np.zeros(0, np.int64)),
            ValueError,
            "`train` must have an event: a model is chosen by the data.",
        ),
    ],
)
def test_what_no_recipe_can_be_chosen_for_is_refused(train, error, message):
    with pytest.raises(error) as raised:
        choose_recipe(train)
    assert str(raised.value) == message


@pytest.mark.parametrize("name", ["candidate_id", "customer no"])
def test_an_id_that_cannot_name_an_input_is_refused(name):
    data = shop()
    named = dataclasses.replace(data, queries=data.queries.rename_columns([name, "town"]), query_id=name)
    with pytest.raises(ValueError, match=repr(name)):
        build_recommender(choose_recipe(named), named)


@pytest.mark.parametrize(
    ("num_candidates", "l2", "rank"),
    [(100, 2e-4, 512), (1_682, 6e-5, 512), (9_742, 1e-5, 1024), (48_000, 2e-6, 256), (600_000, 2e-7, None)],
)
def test_l2_falls_with_the_catalogue_and_the_linear_part_grows_as_long_as_it_is_affordable(num_candidates, l2, rank):
    data = make_interactions([0, 0, 1], [0, 1, 2], [5, 1, 4], num_queries=2, num_candidates=num_candidates)
    recipe = choose_recipe(data)
    assert (recipe.retrieval.output_dim, recipe.retrieval.l2) == (128, l2)
    assert recipe.linear == (None if rank is None else tt.model.LinearSettings(rank=rank))


@pytest.mark.parametrize(("num_queries", "rank"), [(160_000, 512), (1_000_000, 128), (5_000_000, None)])
def test_the_linear_part_is_smaller_for_millions_of_queries(num_queries, rank):
    data = make_interactions([0, 0, 1], [0, 1, 2], [5, 1, 4], num_queries=num_queries, num_candidates=3)
    recipe = choose_recipe(data)
    assert recipe.linear == (None if rank is None else tt.model.LinearSettings(rank=rank))


def test_candidates_that_share_vectors_leave_no_room_for_a_linear_part():
    data = shop()
    hashed = tt.Hashed(name=data.candidate_id, num_buckets=4)
    recipe = choose_recipe(data, candidate_features={data.candidate_id: hashed})
    assert recipe.linear is None
    assert "Linear part" not in str(recipe)


def test_the_linear_part_is_explained():
    recipe = choose_recipe(shop())
    open_line = "Linear part of the retrieval model: at most 512 directions, chosen by the validation part"
    assert open_line in recipe.lines()
    chosen = dataclasses.replace(recipe, linear=tt.model.LinearSettings(rank=8, l2=100, weight=0.5))
    assert "Linear part of the retrieval model: 8 directions, l2 100, weight 0.5" in chosen.lines()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rank": 0}, ValueError, "`rank` must be at least 1. Received: 0."),
        ({"rank": 8, "l2": 0.0}, ValueError, "`l2` must be positive and finite, or None. Received: 0.0."),
        ({"rank": 8, "weight": np.inf}, ValueError, "`weight` must be positive and finite, or None. Received: inf."),
    ],
)
def test_impossible_settings_of_a_linear_part_are_refused(settings, error, message):
    with pytest.raises(error) as raised:
        tt.model.LinearSettings(**settings)
    assert str(raised.value) == message


@pytest.mark.parametrize(("num_queries", "retrieval", "rating"), [(2, 16, 16), (94, 16, 16), (943, 128, 64)])
def test_a_small_table_has_several_steps_an_epoch(num_queries, retrieval, rating):
    rows = np.arange(2 * num_queries) // 2
    data = make_interactions(
        rows, rows % 2, 1 + 4 * (np.arange(len(rows)) % 2), num_queries=num_queries, num_candidates=2
    )
    recipe = choose_recipe(data)
    assert (recipe.retrieval.batch_size, recipe.rating.batch_size) == (retrieval, rating)


def test_of_millions_of_events_an_epoch_is_long_and_l2_left_out():
    rows = np.arange(4_000_000, dtype=np.int32) // 20
    data = make_interactions(rows, rows % 7, np.where(rows % 2, 5.0, 1.0), num_queries=200_000, num_candidates=7)
    settings = choose_recipe(data).retrieval
    assert (settings.batch_size, settings.max_epochs, settings.l2, settings.decay) == (512, 37, 0.0, None)
