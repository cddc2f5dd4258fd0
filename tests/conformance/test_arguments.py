"""Arguments that are swapped or of another kind fail before TensorFlow sees them, with a message that names them."""

import numpy as np
import pytest
import tensorflow as tf

import tfrs_twotower as tt
from tests.conftest import CANDIDATE, QUERY, make_interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.model.joint import JointModel

_pairs = np.divmod(np.arange(40), 8)
EVENTS = make_interactions(*_pairs, np.arange(40) % 5 + 1, num_queries=5, num_candidates=8)
_nothing = EVENTS.with_events(np.zeros(0, np.int64))
SPLIT = Split(train=EVENTS, validation=_nothing, test=EVENTS, history=_nothing)
SUM_QUERY = tt.SumTowerConfig(features=QUERY.features[:1], output_dim=4)
SUM_CANDIDATE = tt.SumTowerConfig(features=CANDIDATE.features[:1], output_dim=4)
TIMELINE = tt.batches.Timeline(EVENTS)
ONCE = tt.training.QueryTraining(epochs=1)


class Given:
    """Everything that may be given in the place of something else; models are built when they are first needed."""

    interactions, split, table, path, nothing = EVENTS, SPLIT, EVENTS.candidates, "ratings.csv", None
    tower, history = QUERY, tt.batches.FixedHistory(timeline=TIMELINE, length=2)

    def __init__(self) -> None:
        by_event, by_query = (
            tt.build_two_tower(EVENTS, query=SUM_QUERY, candidate=SUM_CANDIDATE, task=task)
            for task in (tt.tasks.RatingTask(), tt.tasks.FullSoftmaxTask())
        )
        self.model, self.by_query = by_event, by_query
        self.joint = JointModel(retrieval_model=by_query, rating_model=by_event)
        self.model.compile(optimizer="adam")
        self.joint.compile(optimizer="adam")
        self.batches = by_event.training_batches(EVENTS, seed=0)
        self.raw = tf.data.Dataset.from_tensors({"user_id": ["u1"], "movie_id": ["m1"]})
        self.recipe = tt.choose_recipe(EVENTS)


@pytest.fixture(scope="module")
def given() -> Given:
    return Given()


NO_EVENTS = ("split", "model", "batches", "table", "path", "nothing", "tower")
NO_SPLIT = ("interactions", "model", "batches", "table", "path", "nothing", "tower")
NO_MODEL = ("interactions", "split", "batches", "table", "path", "nothing", "tower")
NO_BATCHES = ("interactions", "split", "model", "table", "path", "nothing", "tower")
NO_TABLE = ("interactions", "split", "model", "path", "nothing")

# Name of the call -> (the argument, what it must not be, the call).
CALLS = {
    "build_two_tower(train)": (
        "train",
        NO_EVENTS,
        lambda g, value: tt.build_two_tower(value, query=QUERY, candidate=CANDIDATE),
    ),
    "build_two_tower(query)": (
        "query",
        NO_SPLIT[:-1],
        lambda g, value: tt.build_two_tower(EVENTS, query=value, candidate=CANDIDATE),
    ),
    "build_two_tower(candidate)": (
        "candidate",
        NO_SPLIT[:-1],
        lambda g, value: tt.build_two_tower(EVENTS, query=QUERY, candidate=value),
    ),
    "training_batches": ("train", NO_EVENTS, lambda g, value: g.model.training_batches(value, seed=0)),
    "training_batches(history)": (
        "history",
        ("interactions", "split", "model", "path"),
        lambda g, value: g.model.training_batches(EVENTS, seed=0, history=value),
    ),
    "query_batches": ("train", NO_EVENTS, lambda g, value: g.by_query.query_batches(value, seed=0)),
    "query_batches of a joint model": ("train", NO_EVENTS, lambda g, value: g.joint.query_batches(value, seed=0)),
    "evaluation_batches": ("interactions", NO_EVENTS, lambda g, value: g.model.evaluation_batches(value)),
    "embed": ("interactions", NO_EVENTS, lambda g, value: g.model.embed(value)),
    "embed(known)": ("known", NO_EVENTS[:5], lambda g, value: g.model.embed(EVENTS, known=value)),
    "embed_catalogue": ("candidates", NO_TABLE, lambda g, value: g.model.embed_catalogue(value)),
    "expand_vocabulary(model)": (
        "model",
        (*NO_MODEL, "joint"),
        lambda g, value: tt.model.expand_vocabulary(value, EVENTS),
    ),
    "expand_vocabulary(train)": ("train", NO_EVENTS, lambda g, value: tt.model.expand_vocabulary(g.model, value)),
    "JointModel": (
        "rating_model",
        NO_MODEL,
        lambda g, value: JointModel(retrieval_model=g.by_query, rating_model=value),
    ),
    "fit": ("x", (*NO_BATCHES, "raw"), lambda g, value: g.model.fit(value, verbose=0)),
    "fit of a joint model": ("x", (*NO_BATCHES, "raw"), lambda g, value: g.joint.fit(value, verbose=0)),
    "fit(validation_data)": (
        "validation_data",
        ("interactions", "split", "model", "table", "path", "tower", "raw"),
        lambda g, value: g.model.fit(g.batches, validation_data=value, verbose=0),
    ),
    "Keras's evaluate": ("x", (*NO_BATCHES, "raw"), lambda g, value: g.model.evaluate(value, verbose=0)),
    "Keras's predict": ("x", (*NO_BATCHES, "raw"), lambda g, value: g.model.predict(value, verbose=0)),
    "choose_recipe": ("train", NO_EVENTS, lambda g, value: tt.choose_recipe(value)),
    "build_recommender(recipe)": (
        "recipe",
        (*NO_MODEL, "model"),
        lambda g, value: tt.model.build_recommender(value, EVENTS),
    ),
    "build_recommender(train)": ("train", NO_EVENTS, lambda g, value: tt.model.build_recommender(g.recipe, value)),
    "build_rating_model(recipe)": (
        "recipe",
        (*NO_MODEL, "model"),
        lambda g, value: tt.model.build_rating_model(value, EVENTS),
    ),
    "fit_recipe(recipe)": ("recipe", (*NO_MODEL, "model"), lambda g, value: tt.fit_recipe(value, SPLIT, seed=0)),
    "fit_recipe(split)": ("split", NO_SPLIT, lambda g, value: tt.fit_recipe(g.recipe, value, seed=0)),
    "fit_two_tower(model)": ("model", (*NO_MODEL, "joint"), lambda g, value: tt.fit_two_tower(value, SPLIT, seed=0)),
    "fit_two_tower(split)": ("split", NO_SPLIT, lambda g, value: tt.fit_two_tower(g.model, value, seed=0)),
    "fit_joint(model)": (
        "model",
        (*NO_MODEL, "model"),
        lambda g, value: tt.training.fit_joint(value, EVENTS, seed=0, retrieval=ONCE, rating=ONCE),
    ),
    "fit_joint(train)": (
        "train",
        NO_EVENTS,
        lambda g, value: tt.training.fit_joint(g.joint, value, seed=0, retrieval=ONCE, rating=ONCE),
    ),
    "fit_by_query(model)": (
        "model",
        (*NO_MODEL, "joint"),
        lambda g, value: tt.training.fit_by_query(value, EVENTS, seed=0, training=ONCE),
    ),
    "fit_by_query(train)": (
        "train",
        NO_EVENTS,
        lambda g, value: tt.training.fit_by_query(g.by_query, value, seed=0, training=ONCE),
    ),
    "ValidationMetrics": ("split", NO_SPLIT, lambda g, value: tt.training.ValidationMetrics(value)),
    "evaluate(model)": ("model", NO_MODEL, lambda g, value: tt.evaluate(value, SPLIT, k=3)),
    "evaluate(split)": ("split", NO_SPLIT, lambda g, value: tt.evaluate(g.model, value, k=3)),
    "predict(model)": ("model", NO_MODEL, lambda g, value: tt.evaluation.predict(value, SPLIT, k=3)),
    "predict(split)": ("split", NO_SPLIT, lambda g, value: tt.evaluation.predict(g.model, value, k=3)),
    "popularity": ("train", NO_EVENTS, lambda g, value: tt.evaluation.popularity(value, threshold=3)),
    "recent_popularity": ("train", NO_EVENTS, lambda g, value: tt.evaluation.recent_popularity(value, threshold=3)),
    "biases": ("train", NO_EVENTS, lambda g, value: tt.evaluation.biases(value, threshold=3)),
    "all_positive": (
        "train",
        NO_EVENTS,
        lambda g, value: tt.evaluation.all_positive(value, np.ones(1, bool), threshold=3),
    ),
    "ease": ("train", NO_EVENTS, lambda g, value: tt.evaluation.ease(value, threshold=3)),
    "Timeline": ("interactions", NO_EVENTS, lambda g, value: tt.batches.Timeline(value)),
    "FixedHistory": ("timeline", NO_SPLIT, lambda g, value: tt.batches.FixedHistory(timeline=value, length=2)),
    "NegativeSampler": (
        "interactions",
        NO_EVENTS,
        lambda g, value: tt.batches.NegativeSampler(value, per_positive=1, threshold=3),
    ),
    "InBatchNegatives": (
        "interactions",
        NO_EVENTS,
        lambda g, value: tt.batches.InBatchNegatives(value, threshold=3),
    ),
    "export_bundle(model)": ("model", NO_MODEL, lambda g, value: tt.export_bundle(value, EVENTS, "nowhere/bundle")),
    "export_bundle(known)": ("known", NO_EVENTS, lambda g, value: tt.export_bundle(g.model, value, "nowhere/bundle")),
    "evaluate_bundle(bundle)": (
        "bundle",
        (*NO_MODEL, "model"),
        lambda g, value: tt.bundle.evaluate_bundle(value, SPLIT, k=3),
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_argument_of_another_kind_is_named(given, call):
    argument, others, function = CALLS[call]
    for other in others:
        with pytest.raises(TypeError, match=rf"(?s)^`{argument}` must .*Received: "):
            function(given, getattr(given, other))


def test_swapped_arguments_are_named(given):
    with pytest.raises(TypeError, match="^`model` must be a recommender.*Received: a Split"):
        tt.evaluate(SPLIT, given.model, k=3)
    with pytest.raises(TypeError, match="^`model` must be a recommender.*Received: a Interactions"):
        tt.export_bundle(EVENTS, given.model, "nowhere/bundle")
    with pytest.raises(TypeError, match="^`recipe` must be a Recipe"):
        tt.fit_recipe(SPLIT, given.recipe, seed=0)
    with pytest.raises(TypeError, match="^`model` must be a TwoTowerModel.*Received: a Split"):
        tt.fit_two_tower(SPLIT, given.model, seed=0)
