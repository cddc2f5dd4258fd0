"""Trains a recipe's models: the validation part chooses the epochs; then they are trained on all that is seen."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import require_seed
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.partition import require_split
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.baselines import biases
from tfrs_twotower.evaluation.rating import pair_probabilities, rating_metrics
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recipe_models import build_retrieval_model
from tfrs_twotower.model.recipe_settings import LinearSettings, ModelSettings
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.replicas import require_whole_tables
from tfrs_twotower.model.two_tower import TwoTowerModel
from tfrs_twotower.training.choosing import DEFAULT_EPOCHS, find_choices
from tfrs_twotower.training.finishing import build_rating, finished
from tfrs_twotower.training.fitting import MAX_RANKED_QUERIES, Chosen, Fitting, Logs
from tfrs_twotower.training.impression_weight import choose_impression_weight
from tfrs_twotower.training.linear import choose_linear_settings, with_defaults
from tfrs_twotower.training.recency import choose_half_life
from tfrs_twotower.training.run_folder import RunFolder, describe_run, hold
from tfrs_twotower.training.state import TrainingState
from tfrs_twotower.training.trend import add_trend, choose_trend_weight
from tfrs_twotower.training.validation import ValidationRanking

# Columns describe new candidates. They are left out where the known ones are ranked this much better without them.
_MIN_GAIN_OF_IDS_ALONE = 1.02
# Above this number of events, the validation part is too small a share of what is known to train twice for it.
_MAX_EVENTS_TO_RETRAIN = 3_000_000
# Share of the events that is set aside if a split has no validation part, and the fewest events that are worth it.
_VALIDATION_SHARE, _MIN_VALIDATION_EVENTS = 0.1, 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained model and how it came about.

    Attributes:
        model: The model: a `JointModel`, or the retrieval model alone.
        recipe: The recipe, with the numbers of epochs that were chosen.
        history: "retrieval" and "rating" -> Keras's logs of the training that chose the epochs, by metric, one value
            per epoch.
        notes: What was decided on the way, sentences for people.
        trained_again: Whether the models were trained on all events for numbers of epochs that were chosen before.
        state: What a later training goes on from; see `warm_start`.
        share: Share of the recipe's epochs that the models were trained for; below 1 after a warm start.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.model.recipe_models import build_recommender
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a"]}), candidates=pa.table({"movie_id": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> recipe = choose_recipe(ratings).with_settings(epochs=20)
        >>> trained = Trained(model=build_recommender(recipe, ratings), recipe=recipe, history={}, notes=())
        >>> trained.recipe.retrieval.epochs
        20
    """

    model: Recommender
    recipe: Recipe
    history: Mapping[str, Mapping[str, Sequence[float]]]
    notes: tuple[str, ...]
    trained_again: bool = True
    state: TrainingState | None = None
    share: float = 1.0


def fit_recipe(
    recipe: Recipe,
    split: Split,
    *,
    seed: int,
    retrain: bool | None = None,
    recommend_seen: bool = False,
    progress: Progress = no_progress,
    callbacks: Sequence[tf.keras.callbacks.Callback] = (),
    run_folder: str | os.PathLike[str] | None = None,
) -> Trained:
    """Trains the models of a recipe.

    Each model is trained on the training part until the validation part no longer improves: NDCG@10 of the retrieval
    model, the log loss of the rating model. The validation part also chooses the retrieval model's linear part, and
    whether impressions count more than other candidates. Then both are trained again, for as many epochs, on
    training and validation part together. If popularity changes with time, later events weigh more in the retrieval
    model's loss (`choose_half_life`). The test part is never used.

    Args:
        recipe: From `choose_recipe`. A model whose settings have a number of epochs is trained for it at once.
        split: Its parts except `test` are used. Without a validation part, a tenth of the training events is set aside
            at random to choose the epochs. A validation part that cannot measure a model chooses nothing for it: it
            must have a positive event of a candidate that the query has not seen, and for the rating model another one
            below the threshold.
        seed: Seed of the weights and of the order of the queries, >= 0; also that of a validation part set aside.
        retrain: Whether to train on training and validation part together in the end; None does so up to three million
            events. Otherwise, the model of the best epoch is the result.
        recommend_seen: Whether candidates that a query has seen are recommended again, when the validation part is
            measured.
        progress: Told how many steps have been done.
        callbacks: More Keras callbacks, for both models and all trainings.
        run_folder: A folder in which the trainings are kept as they proceed; see `RunFolder`. The same call after the
            process was killed goes on from there. The result is that of an uninterrupted run, bit by bit if
            `tf.config.experimental.enable_op_determinism` was called before, and else up to rounding. None keeps
            nothing.

    Raises:
        TypeError: If an argument has the wrong type.
        NotImplementedError: In the scope of a `ParameterServerStrategy`.
        ValueError: If the seed is negative, a model cannot learn from the events, or the folder is of a run with other
            data or settings, or another process is training in it.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.splits import random_split
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> pairs = np.indices((4, 6)).reshape(2, -1)
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": list("abcd")}), candidates=pa.table({"movie_id": list("uvwxyz")}),
        ...     events=pa.table({"query_row": pairs[0], "candidate_row": pairs[1], "rating": 1.0 + pairs.sum(0) % 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> split = random_split(ratings, test=0.25, validation=0.25, seed=1)
        >>> recipe = choose_recipe(split.train)
        >>> once = dataclasses.replace(recipe.retrieval, max_epochs=1)
        >>> fit_recipe(dataclasses.replace(recipe, retrieval=once, rating=None), split, seed=0).recipe.retrieval.epochs
        1
    """
    if not isinstance(recipe, Recipe):
        raise TypeError(f"`recipe` must be a Recipe, from `choose_recipe`. Received: {type(recipe).__name__}.")
    require_split(split, "split")
    require_seed(seed)
    require_whole_tables("fit_recipe")
    with hold(run_folder) as run:
        return _fit(recipe, split, seed, retrain, recommend_seen, progress, tuple(callbacks), run)


def _fit(
    recipe: Recipe,
    split: Split,
    seed: int,
    retrain: bool | None,
    recommend_seen: bool,
    progress: Progress,
    callbacks: tuple[tf.keras.callbacks.Callback, ...],
    run: RunFolder | None,
) -> Trained:
    """Trains the models of a recipe; the arguments are those of `fit_recipe`."""
    notes: list[str] = []
    if run is not None:
        described = describe_run(recipe, split, seed=seed, retrain=retrain, recommend_seen=recommend_seen)
        if run.begin(described):
            notes.append(f"The training was begun before, and went on from {run.path}.")
    choosing, can_choose_rating = _with_validation(split, seed, notes), True
    if choosing is not None:
        choices = find_choices(choosing, threshold=recipe.threshold, recommend_seen=recommend_seen)
        can_choose_rating = choices.rating
        if not choices.retrieval:
            notes.append(f"{choices.reason}: it chose nothing. Epochs that were not given are {DEFAULT_EPOCHS}.")
            choosing = None
        elif recipe.rating is not None and not choices.rating:
            notes.append(f"{choices.reason}: it did not choose how the rating model is trained.")
    # The history of held-out queries is never trained on.
    everything = pa.concat_tables([split.train.events, split.validation.events])
    seen = dataclasses.replace(split.train, events=everything)
    trains_again = seen.num_events <= _MAX_EVENTS_TO_RETRAIN if retrain is None else retrain
    trains_again = trains_again or choosing is None
    if not trains_again:
        notes.append("The models are those of the best epoch on the training part; they were not trained again.")
    if choosing is not None and recipe.half_life_days is None:
        recipe = dataclasses.replace(recipe, half_life_days=choose_half_life(choosing, threshold=recipe.threshold))
    if recipe.half_life_days is not None:
        notes.append(
            "Popularity changes with time: for the retrieval model, the weight of an event halves every "
            f"{recipe.half_life_days:.3g} days."
        )
    fitting = Fitting(
        recommend_seen=recommend_seen,
        choosing=choosing,
        seen=seen,
        again=trains_again,
        seed=seed,
        progress=progress,
        callbacks=callbacks,
        run=run,
    )
    retrieval, recipe, logs = _fit_retrieval(recipe, fitting, notes)
    rating, histories = None, {"retrieval": logs}
    of_rating = fitting if can_choose_rating else dataclasses.replace(fitting, choosing=None)
    if recipe.rating is not None:
        rating, recipe, histories["rating"] = _fit_rating(recipe, recipe.rating, of_rating, notes)
    state = TrainingState(recipe=recipe, retrieval=retrieval, rating=rating, known=seen)
    return Trained(
        model=finished(state, fitting.trained_on),
        recipe=recipe,
        history=histories,
        notes=tuple(notes),
        trained_again=trains_again,
        state=state,
    )


def _fit_retrieval(recipe: Recipe, fitting: Fitting, notes: list[str]) -> tuple[TwoTowerModel, Recipe, Logs]:
    """Returns the retrieval model with its linear part, the recipe with what was chosen for it, and Keras's logs."""

    def build(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_retrieval_model(dataclasses.replace(recipe, retrieval=settings), train)

    def build_with_ids_alone(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_retrieval_model(dataclasses.replace(recipe.with_ids_alone(), retrieval=settings), train)

    half_life_days = recipe.half_life_days
    chosen = fitting.choose("retrieval", recipe.retrieval, build, half_life_days)
    if fitting.again and chosen.value is not None and recipe.with_ids_alone() != recipe:
        other = fitting.choose(
            "retrieval", recipe.retrieval, build_with_ids_alone, half_life_days, variant=" with ids alone"
        )
        if other.value is not None and other.value > _MIN_GAIN_OF_IDS_ALONE * chosen.value:
            chosen, recipe = other, recipe.with_ids_alone()
            notes.append(
                "The candidates' columns are left out, because the validation part is ranked better without them. A "
                "new candidate is therefore known only after a training with events of it."
            )
    chosen, recipe = choose_impression_weight(recipe, chosen, fitting, notes)
    with_trend, trend_weight = _choose_trend_weight(recipe, chosen, fitting, notes)
    linear = _choose_linear(recipe.linear, with_trend, fitting, notes)
    model, logs = fitting.finish("retrieval", chosen, build, half_life_days)
    chosen_recipe = dataclasses.replace(recipe, retrieval=chosen.settings, linear=linear, trend_weight=trend_weight)
    return model, chosen_recipe, logs


def _choose_trend_weight(
    recipe: Recipe, chosen: Chosen, fitting: Fitting, notes: list[str]
) -> tuple[TwoTowerModel | None, float | None]:
    """Chooses the weight of recent popularity by the model that chose the epochs.

    Returns:
        (model, weight): that model with recent popularity.
    """
    weight, half_life_days, choosing = recipe.trend_weight, recipe.half_life_days, fitting.choosing
    has_own_vectors = isinstance(recipe.candidate_features[0].feature, Categorical)
    if half_life_days is None or chosen.model is None or choosing is None or not has_own_vectors:
        return chosen.model, weight
    if weight is None:
        ranking = _validation_ranking(choosing, fitting)
        weight = choose_trend_weight(chosen.model, choosing, ranking, half_life_days=half_life_days)
        if weight:
            notes.append(f"What is popular now is added to the retrieval model's biases, with the weight {weight:g}.")
    return add_trend(chosen.model, choosing.train, half_life_days=half_life_days, weight=weight), weight


def _validation_ranking(choosing: Split, fitting: Fitting) -> ValidationRanking:
    return ValidationRanking(choosing, recommend_seen=fitting.recommend_seen, max_queries=MAX_RANKED_QUERIES)


def _choose_linear(
    settings: LinearSettings | None, model: TwoTowerModel | None, fitting: Fitting, notes: list[str]
) -> LinearSettings | None:
    """Chooses what is open of the linear part by the model that chose the epochs; None for no linear part."""
    if settings is None or (settings.l2 is not None and settings.weight is not None):
        return settings
    if model is None or fitting.choosing is None:
        return with_defaults(settings)
    task = "Choosing the linear part of the retrieval model"
    fitting.progress(task, 0, 0)
    ranking = _validation_ranking(fitting.choosing, fitting)
    linear = choose_linear_settings(settings, model, fitting.choosing, ranking)
    fitting.progress(task, 1, 1)
    if linear is None:
        notes.append("The retrieval model has no linear part: the validation part is ranked better without one.")
    return linear


def _fit_rating(
    recipe: Recipe, settings: ModelSettings, fitting: Fitting, notes: list[str]
) -> tuple[TwoTowerModel, Recipe, Logs]:
    """Returns the rating model, the recipe with what was chosen for it, and Keras's logs."""

    def build(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_rating(dataclasses.replace(recipe, rating=settings, starts_from_biases=False), train)

    def build_from_biases(settings: ModelSettings, train: Interactions) -> TwoTowerModel:
        return build_rating(dataclasses.replace(recipe, rating=settings, starts_from_biases=True), train)

    starts = recipe.starts_from_biases
    chosen = fitting.choose("rating", settings, build_from_biases if starts else build)
    if starts is None:
        starts = _is_worse_than_biases(chosen, recipe.threshold, fitting)
        if starts:
            notes.append(
                "Biases alone predicted the validation part better than the rating model, which therefore starts from "
                "them."
            )
            chosen = fitting.choose("rating", settings, build_from_biases)
    model, logs = fitting.finish("rating", chosen, build_from_biases if starts else build)
    return model, dataclasses.replace(recipe, rating=chosen.settings, starts_from_biases=starts), logs


def _is_worse_than_biases(chosen: Chosen, threshold: float, fitting: Fitting) -> bool:
    """Tells whether biases alone predict the validation part better than the model that chose the epochs."""
    choosing = fitting.choosing
    if chosen.value is None or choosing is None:
        return False
    task = "Comparing the rating model with biases"
    fitting.progress(task, 0, 0)
    queries, candidates = biases(choosing.train, threshold=threshold)
    validation = choosing.validation
    probabilities = pair_probabilities(queries[validation.requests.query_rows], candidates, validation)
    fitting.progress(task, 1, 1)
    of_biases = rating_metrics(choosing.validation.ratings >= threshold, probabilities)["log_loss"]
    return of_biases < chosen.value


def _with_validation(split: Split, seed: int, notes: list[str]) -> Split | None:
    """Returns a split with a validation part; None if there are too few events for one."""
    if split.validation.num_events:
        return split
    train = split.train
    num = int(train.num_events * _VALIDATION_SHARE)
    if num < _MIN_VALIDATION_EVENTS:
        notes.append(f"There are too few events to choose the epochs by: {DEFAULT_EPOCHS} were taken.")
        return None
    notes.append("The split has no validation part: a tenth of the training events was set aside to choose the epochs.")
    order = np.random.default_rng(seed).permutation(train.num_events)
    return dataclasses.replace(
        split, train=train.with_events(np.sort(order[num:])), validation=train.with_events(np.sort(order[:num]))
    )
