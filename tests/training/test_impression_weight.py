"""Explicit negatives lower the rank of what is disliked; the validation part says whether the recipe counts them."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import make_planted
from tests.pages import make_pages
from tfrs_twotower.data.splits import Split
from tfrs_twotower.training.fitting import Chosen
from tfrs_twotower.training.impression_weight import choose_impression_weight

NUM_QUERIES, NUM_KINDS, NUM_CANDIDATES = 60, 4, 40
KINDS = np.arange(NUM_CANDIDATES) % NUM_KINDS


@dataclasses.dataclass(frozen=True, kw_only=True)
class Disliked:
    """Each query chooses candidates of one kind, and dislikes another one. It has nothing to do with the others.

    Attributes:
        impressions: An event for each choice, with disliked candidates that were shown as well.
        labels: The same as events alone, which are rated 5, and 1 for those that were shown.
        is_held_out: bool [num_queries, num_candidates], disliked candidates that were not shown to the query.
        is_neutral: bool [num_queries, num_candidates], candidates that it has nothing to do with.
    """

    impressions: tt.Interactions
    labels: tt.Interactions
    is_held_out: np.ndarray
    is_neutral: np.ndarray

    def mean_ranks(self, model, known) -> tuple[float, float]:
        """The mean places of held-out and of neutral candidates, as shares of the catalogue, 0 for the first."""
        queries, candidates = model.embed(known, known=known)
        ranks = (-queries @ candidates.T).argsort(axis=1).argsort(axis=1) / (NUM_CANDIDATES - 1)
        return ranks[self.is_held_out].mean(), ranks[self.is_neutral].mean()


@pytest.fixture(scope="module")
def disliked() -> Disliked:
    rng = np.random.default_rng(0)
    # Every pair of kinds is as frequent: what a query likes does not tell what it dislikes.
    taste, step = np.arange(NUM_QUERIES) % NUM_KINDS, 1 + np.arange(NUM_QUERIES) // NUM_KINDS % (NUM_KINDS - 1)
    is_held_out = ((taste + step) % NUM_KINDS)[:, np.newaxis] == KINDS
    is_neutral = ~is_held_out & (taste[:, np.newaxis] != KINDS)
    chosen, shown, low = [], [], []
    for query in range(NUM_QUERIES):
        chosen += rng.choice(np.flatnonzero(taste[query] == KINDS), 5, replace=False).tolist()
        pool = rng.choice(np.flatnonzero(is_held_out[query]), 5, replace=False)
        shown += [rng.choice(pool, 3, replace=False).tolist() for _ in range(5)]
        low += pool.tolist()
        is_held_out[query, pool] = False
    rows = np.repeat(np.arange(NUM_QUERIES), 5)
    tables = {
        "queries": pa.table({"user_id": [f"u{row}" for row in range(NUM_QUERIES)]}),
        "candidates": pa.table({"item_id": [f"i{row}" for row in range(NUM_CANDIDATES)], "kind": KINDS.astype(str)}),
        "query_id": "user_id",
        "candidate_id": "item_id",
    }
    events = {"query_row": rows, "candidate_row": chosen, "rating": [5.0] * len(rows)}
    negative = {"query_row": rows, "candidate_row": low, "rating": [1.0] * len(rows)}
    return Disliked(
        impressions=tt.Interactions(events=pa.table({**events, "impressions": shown}), **tables),
        labels=tt.Interactions(events=pa.concat_tables([pa.table(events), pa.table(negative)]), **tables),
        is_held_out=is_held_out,
        is_neutral=is_neutral,
    )


ITEM = tt.Categorical(name="item_id")
PAST = tt.History(of=ITEM, by_rating=True)
READER = tt.History(of=ITEM, length=5, encoder=tt.features.SelfAttention(dropout=0.0))


@pytest.mark.parametrize(
    ("task", "setting"),
    [(tt.tasks.FullSoftmaxTask, "impression_weight"), (tt.tasks.SampledSoftmaxTask, "dislike_weight")],
)
def test_explicit_negatives_lower_the_rank_of_disliked_kinds(disliked, task, setting):
    """Those that were never shown to the query sink below the neutral ones, whether negatives are shown or rated."""
    train = disliked.labels if setting == "dislike_weight" else disliked.impressions
    ranks = {}
    for weight in (0.0, 5.0):
        tf.keras.utils.set_random_seed(0)
        features = (tt.Categorical(name="user_id"), PAST)
        model = tt.build_two_tower(
            train,
            query=tt.SumTowerConfig(features=features, output_dim=16, dropout=0.5, l2=1e-3),
            candidate=tt.SumTowerConfig(features=(ITEM, tt.Categorical(name="kind")), output_dim=16, l2=1e-3),
            task=task(**{setting: weight}),
        )
        model.compile(optimizer=tt.training.LazyAdam(3e-2))
        is_by_event = task is tt.tasks.SampledSoftmaxTask
        batches = model.training_batches if is_by_event else model.query_batches
        model.fit(batches(train, batch_size=20, seed=0), epochs=30, verbose=0)
        ranks[weight] = disliked.mean_ranks(model, train)
    (held_out, neutral), (held_out_with, neutral_with) = ranks[0.0], ranks[5.0]
    # Little else tells the kinds apart: without explicit negatives both have about the mean of what is left, 0.63.
    assert held_out < neutral + 0.1
    assert held_out_with > held_out + 0.08
    assert held_out_with > neutral_with + 0.18


class Measured:
    """Stands for trainings that have been measured: it returns a value instead of training."""

    def __init__(self, value, choosing) -> None:
        self.value, self.choosing, self.variants = value, choosing, []

    def choose(self, name, settings, build, half_life_days, *, variant) -> Chosen:
        self.variants.append((name, half_life_days, variant, build(settings, self.choosing.train).task))
        return Chosen(settings=settings, value=self.value)


@pytest.fixture(scope="module")
def pages() -> Split:
    pages = make_pages(num_queries=20, num_candidates=20, num_kinds=4, num_pages=8, page_size=4, picked=False)
    return tt.random_split(pages.interactions, seed=0)


@pytest.mark.parametrize(
    ("value", "weight", "note"),
    [
        (0.22, 1.0, "are compared with .* ranked no worse so: its NDCG@10 is 0.2200 with and 0.2000 without"),
        (0.199, 1.0, "are compared with the chosen ones in particular"),  # within one percent
        (0.197, 0.0, "are negatives like all others, because the validation part is ranked worse where"),
    ],
)
def test_explicit_negatives_count_unless_the_validation_part_is_ranked_worse(pages, value, weight, note):
    recipe = tt.choose_recipe(pages.train)
    assert (recipe.impression_weight, recipe.dislike_weight) == (None, 0.0)
    notes, fitting = [], Measured(value, pages)
    chosen, found = choose_impression_weight(recipe, Chosen(settings=recipe.retrieval, value=0.2), fitting, notes)
    assert (found.impression_weight, found.dislike_weight) == (weight, 0.0)
    assert chosen.value == (value if weight else 0.2)
    ((name, half_life_days, variant, task),) = fitting.variants
    assert (name, half_life_days, variant) == ("retrieval", None, " with impressions")
    assert task.negative_weights == (1.0, 0.0)
    (found_note,) = notes
    assert found_note.startswith("Candidates that were shown and not chosen are ")
    assert re.search(note, found_note)


def test_without_a_measurement_explicit_negatives_are_like_all_others(pages):
    """As with a given number of epochs, by which no validation part is looked at."""
    notes, recipe = [], tt.choose_recipe(pages.train)
    given, fitting = Chosen(settings=recipe.retrieval), Measured(0.5, pages)
    assert choose_impression_weight(recipe, given, fitting, notes) == (
        given,
        dataclasses.replace(recipe, impression_weight=0.0),
    )
    assert notes[0].startswith("Candidates that were shown and not chosen are negatives like all others, because no va")
    assert not fitting.variants


def test_weights_that_are_given_are_not_tried(pages):
    recipe = dataclasses.replace(tt.choose_recipe(pages.train), impression_weight=7.0)
    fitting, given = Measured(0.5, pages), Chosen(settings=recipe.retrieval, value=0.2)
    assert choose_impression_weight(recipe, given, fitting, []) == (given, recipe)
    assert not fitting.variants
    assert tt.Recipe.from_dict(recipe.to_dict()) == recipe
    assert tt.model.build_recommender(recipe, pages.train).retrieval_model.task.impression_weight == 7.0


def test_dislikes_are_negatives_like_all_others_unless_a_weight_is_given():
    recipe = tt.choose_recipe(make_planted().split.train)
    assert (recipe.impression_weight, recipe.dislike_weight) == (0.0, 0.0)
    assert "Candidates rated below" not in str(recipe)
    given = dataclasses.replace(recipe, dislike_weight=2.0)
    said = "Candidates rated below the threshold: compared with the chosen ones in particular, weight 2"
    assert said in given.lines()
    assert tt.model.build_recommender(given, make_planted().split.train).retrieval_model.task.dislike_weight == 2.0


def test_sequences_cannot_be_trained_on_dislikes(pages):
    reader = tt.build_two_tower(
        pages.train,
        query=tt.SumTowerConfig(features=(READER,), output_dim=8),
        candidate=tt.SumTowerConfig(features=(ITEM,), output_dim=8),
        task=tt.tasks.FullSoftmaxTask(threshold=1.0, dislike_weight=2.0),
    )
    with pytest.raises(ValueError, match="`dislike_weight` must be 0 where a sequence is trained by query"):
        reader.query_batches(pages.train, seed=0)


def test_the_recipe_tries_what_was_shown_and_goes_on_with_what_was_chosen(pages):
    # Which of the two is better after a single epoch is chance.
    recipe = dataclasses.replace(tt.choose_recipe(pages.train).with_settings(max_epochs=1), linear=None)
    tasks = []
    trained = tt.fit_recipe(recipe, pages, seed=0, retrain=False, progress=lambda task, *_: tasks.append(task))
    assert "Training the retrieval model with impressions" in tasks
    weight = trained.recipe.impression_weight
    words = {1.0: "are compared with the chosen ones", 0.0: "are negatives like all others"}[weight]
    assert trained.notes[-1].startswith(f"Candidates that were shown and not chosen {words}")
    state = dataclasses.replace(trained.state, recipe=dataclasses.replace(trained.recipe, impression_weight=2.0))
    warm = tt.training.warm_start(state, pages, seed=0)
    assert warm.model.retrieval_model.task.impression_weight == 2.0
