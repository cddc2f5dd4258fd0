"""The default recipe: what the best model that this library knows looks like for a given table, and why.

The rules of this module follow from the sizes of the data, and hold for any table; docs/guides/models.md has the
figures that they were chosen by. `model/recipe_models.py` builds the models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from tfrs_twotower.data.columns import plain_table
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.features.config import from_config, to_config
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.sequences import HistoryEncoder
from tfrs_twotower.model.feature_choice import FeatureChoice, choose_features, leave_out_columns
from tfrs_twotower.model.rating_scale import choose_threshold
from tfrs_twotower.model.recipe_settings import LinearSettings, ModelSettings
from tfrs_twotower.model.recipe_sizes import (
    Sizes,
    linear_settings,
    rating_settings,
    retrieval_settings,
    sequence_settings,
)

# A finer scale than this has thresholds at quantiles.
_MAX_THRESHOLDS = 10
# If the typical query has at least this many events, these describe it better than its columns: on MovieLens 100K, age,
# gender and occupation cost .010 of NDCG@10 and .001 of log loss.
_MIN_TELLING_HISTORY = 10
# Events are many: hours, weekdays or places on a page are categories, though they have more values than a column of
# queries or candidates may have for that.
_MAX_CONTEXT_CODES = 200

_SIDES = ("query_features", "candidate_features", "event_features")
# Part of a recipe -> the kind of its settings.
_SETTINGS = {"retrieval": ModelSettings, "linear": LinearSettings, "rating": ModelSettings}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the default model of a table consists of, and why.

    `str(recipe)` explains it. A part is changed with `dataclasses.replace`.

    Attributes:
        threshold: A rating of at least this is positive.
        threshold_reason: Why, a sentence for people.
        is_scale: Whether a higher rating means more liking, so that the height of a rating counts.
        query_features: What becomes of each column of the queries, the id first.
        candidate_features: What becomes of each column of the candidates, the id first.
        event_features: What becomes of each feature of the events, the context of an event.
        retrieval: Settings of the retrieval model.
        linear: The linear autoencoder that is added to the retrieval model; None for none.
        rating: Settings of the rating model; None if there is none.
        rating_reason: Why there is a rating model or not, a sentence for people.
        other_thresholds: Other ratings at which the rating model learns to tell ratings apart.
        highest_rating: The highest training rating.
        starts_from_biases: Whether the rating model starts from the biases of a logistic regression; None if it does
            where these alone predict the validation part better than the model.
        half_life_days: Days after which the weight of an event in the retrieval model's loss has halved; None if the
            validation part chooses it, or if all events weigh the same.
        trend_weight: Weight of recent popularity, by this half-life, in the retrieval model's biases; None if the
            validation part chooses it.
        encoder: Encodes a query's history as a sequence in the retrieval model; None pools it.
        impression_weight: What each candidate that was shown and not chosen counts where the retrieval model's loss
            compares it with the chosen one, which counts 1; 0 compares only with the catalogue, None if the validation
            part chooses it.
        dislike_weight: The same for a candidate that was rated below the threshold; 0 unless it is given.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> recipe = choose_recipe(ratings)
        >>> Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    threshold: float
    threshold_reason: str
    is_scale: bool
    query_features: tuple[FeatureChoice, ...]
    candidate_features: tuple[FeatureChoice, ...]
    retrieval: ModelSettings
    linear: LinearSettings | None
    rating: ModelSettings | None
    rating_reason: str
    other_thresholds: tuple[float, ...]
    highest_rating: float
    event_features: tuple[FeatureChoice, ...] = ()
    starts_from_biases: bool | None = None
    half_life_days: float | None = None
    trend_weight: float | None = None
    encoder: HistoryEncoder | None = None
    impression_weight: float | None = 0.0
    dislike_weight: float = 0.0

    def with_settings(self, **changes: Any) -> Recipe:
        """Returns the same recipe with other settings for both models.

        Args:
            **changes: Field of `ModelSettings` -> value, such as `epochs=20`.

        Raises:
            TypeError: If there is no such setting.
            ValueError: If a value is out of range.

        Example:
            >>> import pyarrow as pa
            >>> ratings = Interactions(
            ...     queries=pa.table({"customer": ["c7"]}), candidates=pa.table({"sku": ["x"]}),
            ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [5.0]}),
            ...     query_id="customer", candidate_id="sku",
            ... )
            >>> choose_recipe(ratings).with_settings(epochs=20).retrieval.epochs
            20
        """
        return dataclasses.replace(
            self,
            retrieval=dataclasses.replace(self.retrieval, **changes),
            rating=None if self.rating is None else dataclasses.replace(self.rating, **changes),
        )

    def with_ids_alone(self) -> Recipe:
        """Returns the recipe without the candidates' columns beside the id, except those that the user chose."""
        reason = "the validation part is ranked better without it"
        return dataclasses.replace(self, candidate_features=leave_out_columns(self.candidate_features, reason))

    @property
    def context(self) -> tuple[str, ...]:
        """Names of the features of the events that the models take."""
        return tuple(choice.column for choice in self.event_features if choice.feature is not None)

    def lines(self) -> list[str]:
        """Returns the explanation, line by line."""
        lines = [f"Positive: a rating of at least {self.threshold:g}. {self.threshold_reason}"]
        for side in ("query", "candidate", "event"):
            choices: tuple[FeatureChoice, ...] = getattr(self, f"{side}_features")
            for choice in choices:
                kind = "left out" if choice.feature is None else type(choice.feature).__name__
                lines.append(f"{side} column {choice.column}: {kind} ({choice.reason})")
        lines.append("history: the candidates of a query's other events describe the query")
        if self.encoder is not None:
            lines.append(f"Retrieval model's history: the earlier events, in order, by {type(self.encoder).__name__}")
        if self.impression_weight != 0:
            lines.append(f"Candidates shown and not chosen: {_describe_weight(self.impression_weight)}")
        if self.dislike_weight:
            lines.append(f"Candidates rated below the threshold: {_describe_weight(self.dislike_weight)}")
        lines.append(f"Retrieval model: {_describe(self.retrieval)}")
        if self.linear is not None:
            lines.append(f"Linear part of the retrieval model: {_describe_linear(self.linear)}")
        lines.append(f"Rating model: {self.rating_reason if self.rating is None else _describe(self.rating)}")
        return lines

    def __str__(self) -> str:
        """Explains the recipe."""
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, for JSON."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for side in _SIDES:
            content[side] = [choice.to_dict() for choice in content[side]]
        for part in _SETTINGS:
            content[part] = None if content[part] is None else dataclasses.asdict(content[part])
        encoder = None if self.encoder is None else to_config(self.encoder)
        return {**content, "other_thresholds": list(self.other_thresholds), "encoder": encoder}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Recipe:
        """Makes the recipe that `to_dict` described.

        Args:
            content: Plain values.
        """
        values = {"event_features": (), **content}  # what an earlier training wrote may have none
        for side in _SIDES:
            values[side] = tuple(FeatureChoice.from_dict(choice) for choice in values[side])
        for part, kind in _SETTINGS.items():
            values[part] = None if values[part] is None else kind(**values[part])
        encoder = None if values.get("encoder") is None else from_config(values["encoder"])
        return cls(**{**values, "other_thresholds": tuple(values["other_thresholds"]), "encoder": encoder})


def choose_recipe(
    train: Interactions,
    *,
    threshold: float | None = None,
    query_features: Mapping[str, Feature | None] | None = None,
    candidate_features: Mapping[str, Feature | None] | None = None,
    event_features: Mapping[str, Feature | None] | None = None,
    encoder: HistoryEncoder | None = None,
) -> Recipe:
    """Chooses the default model of a table: its features, its sizes, and how it is trained.

    Args:
        train: The events to train on.
        threshold: A rating of at least this is positive; None chooses it by the rating scale.
        query_features: Column of the queries -> the feature to make of it, or None to leave it out; the other columns
            are chosen.
        candidate_features: The same for the candidates.
        event_features: The same for the features of the events.
        encoder: Encodes histories as sequences in the retrieval model, such as `SelfAttention()`, for tables in which
            what comes next depends on what came last; None pools them. It trains several times as long.

    Raises:
        TypeError: If an argument has the wrong type, or a column's type does not suit its feature.
        ValueError: If there is no event, a column does not exist, or a column holds values that its feature cannot
            take.

    Example:
        >>> import pyarrow as pa
        >>> ratings = Interactions(
        ...     queries=pa.table({"customer": ["c7"]}),
        ...     candidates=pa.table({"sku": ["x", "y", "z"], "color": ["red", "red", "blue"]}),
        ...     events=pa.table({"query_row": [0, 0], "candidate_row": [0, 1], "rating": [5.0, 1.0]}),
        ...     query_id="customer", candidate_id="sku",
        ... )
        >>> for line in choose_recipe(ratings, candidate_features={"color": None}).lines()[:4]:
        ...     print(line)
        Positive: a rating of at least 5. There are two ratings, 1 and 5: the higher one is positive.
        query column customer: Categorical (identifies a row)
        candidate column sku: Categorical (identifies a row)
        candidate column color: left out (you chose it)
    """
    require_interactions(train, "train")
    if not train.num_events:
        raise ValueError("`train` must have an event: a model is chosen by the data.")
    chosen = choose_threshold(train.ratings, has_ratings=train.has_ratings, threshold=threshold)
    if encoder is not None and not isinstance(encoder, HistoryEncoder):
        raise TypeError(f"`encoder` must be one of histories, such as SelfAttention(), or None. Received: {encoder!r}.")
    num_positive = int((train.ratings >= chosen.value).sum())
    candidate_choices = choose_features(
        train.candidates, train.candidate_id, candidate_features or {}, "`candidate_features`"
    )
    event_choices = choose_features(
        plain_table(train.events.select(train.event_features), "events"),
        None,
        event_features or {},
        "`event_features`",
        max_codes=_MAX_CONTEXT_CODES,
    )
    has_context = any(choice.feature is not None for choice in event_choices)
    sizes = Sizes.of(train, has_context=has_context)
    return Recipe(
        threshold=chosen.value,
        threshold_reason=chosen.reason,
        is_scale=chosen.is_scale,
        query_features=_choose_query_features(train, query_features or {}),
        candidate_features=candidate_choices,
        event_features=event_choices,
        retrieval=retrieval_settings(train, sizes) if encoder is None else sequence_settings(train),
        linear=None if encoder is not None else linear_settings(train, candidate_choices[0].feature),
        rating=rating_settings(train, sizes) if 0 < num_positive < train.num_events else None,
        rating_reason=_rating_reason(train.num_events, num_positive),
        other_thresholds=_other_thresholds(train.ratings, chosen.value) if chosen.is_scale else (),
        highest_rating=float(train.ratings.max()),
        # The biases of candidates are a part of the vectors that the histories share.
        trend_weight=None if encoder is None else 0.0,
        encoder=encoder,
        impression_weight=0.0 if train.impressions is None or not len(train.impressions.candidate_rows) else None,
    )


def _choose_query_features(train: Interactions, given: Mapping[str, Feature | None]) -> tuple[FeatureChoice, ...]:
    choices = choose_features(train.queries, train.query_id, given, "`query_features`")
    lengths = np.bincount(train.query_rows)
    typical = int(np.median(lengths[lengths > 0]))
    if typical < _MIN_TELLING_HISTORY:
        return choices
    return leave_out_columns(choices, f"the typical query has {typical} events, which describe it better")


def _rating_reason(num_events: int, num_positive: int) -> str:
    if not num_positive:
        return "none, because no rating reaches the threshold."
    if num_positive == num_events:
        return "none, because every event is positive: there are no probabilities."
    return f"{num_positive / num_events:.0%} of the ratings are positive."


def _other_thresholds(ratings: np.ndarray, threshold: float) -> tuple[float, ...]:
    """Returns the ratings that serve as other thresholds: all but the lowest, or quantiles if these are many."""
    values = np.unique(ratings)
    if len(values) > _MAX_THRESHOLDS + 1:
        values = np.unique(np.quantile(ratings, np.linspace(0, 1, _MAX_THRESHOLDS + 1)[:-1], method="nearest"))
    return tuple(float(rating) for rating in values[1:] if rating != threshold)


def _describe(settings: ModelSettings) -> str:
    epochs = "epochs chosen by the validation part" if settings.epochs is None else f"{settings.epochs} epochs"
    return (
        f"{settings.output_dim} dimensions, dropout {settings.dropout:g}, l2 {settings.l2:.2g}, "
        f"{settings.batch_size} queries a step, {epochs}"
    )


def _describe_linear(settings: LinearSettings) -> str:
    if settings.l2 is None or settings.weight is None:
        return f"at most {settings.rank} directions, chosen by the validation part"
    return f"{settings.rank} directions, l2 {settings.l2:g}, weight {settings.weight:g}"


def _describe_weight(weight: float | None) -> str:
    if weight is None:
        return "compared with the chosen ones in particular, if the validation part is ranked no worse so"
    return f"compared with the chosen ones in particular, weight {weight:g}"
