"""The sections of an experiment, one frozen dataclass each: the keys, what they mean, and their defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from tfrs_twotower.experiment.checks import (
    NOT_EMPTY,
    POSITIVE,
    SHARE,
    SHARE_OR_0,
    SHARE_OR_1,
    Section,
    at_least,
    key,
)

if TYPE_CHECKING:
    from tfrs_twotower.features.feature import Feature


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataSection(Section):
    """`[data]`: a table of ratings, the tables that belong to it, and the meaning of its columns.

    Files are found from the folder in which the command runs. Columns have the names that the files give them.

    Attributes:
        ratings: File or folder with one row per event.
        queries: File with one row per query, with its features; by default they are columns of `ratings`.
        candidates: File with one row per candidate, the catalogue; by default its features are columns of `ratings`.
        query_id: Column that identifies the query; by default the only column whose name says so, such as `user_id`.
        candidate_id: Column that identifies the candidate; by default the only column whose name says so.
        rating: Column of ratings; by default every event counts as a rating of 1.
        timestamp: Column of times; by default there are none.
        weight: Column of the events' weights in the loss; by default all weigh the same.
        impressions: Column of lists of the candidates that were shown with each event; by default there are none.
        query_features: Columns that depend on the query alone; by default they are found.
        candidate_features: Columns that depend on the candidate alone; by default they are found.
        event_features: Columns that differ from event to event: the context of an event, such as hour or device.
        on_invalid: What to do with events that cannot be used: "fail" or "drop".
        repeats: What to do with several events of the same pair: "keep" them, or merge them into one with the "last",
            "mean" or "sum" of the ratings, or their "count".
        encoding: Encoding of text files, such as "latin-1"; by default it is found.
        delimiter: What separates the columns of text files; by default it is found.
        column_names: Names of the columns of a text file without a header.

    Example:
        >>> DataSection(ratings="ratings.csv", query_id="customer", candidate_id="sku").repeats
        'keep'
    """

    section: ClassVar[str] = "data"

    ratings: str = key(rule=NOT_EMPTY)
    queries: str | None = key(None, NOT_EMPTY)
    candidates: str | None = key(None, NOT_EMPTY)
    query_id: str | None = key(None)
    candidate_id: str | None = key(None)
    rating: str | None = key(None)
    timestamp: str | None = key(None)
    weight: str | None = key(None)
    impressions: str | None = key(None)
    query_features: tuple[str, ...] | None = key(None)
    candidate_features: tuple[str, ...] | None = key(None)
    event_features: tuple[str, ...] = key(())
    on_invalid: Literal["fail", "drop"] = key("fail")
    repeats: Literal["keep", "last", "mean", "sum", "count"] = key("keep")
    encoding: str | None = key(None)
    delimiter: str | None = key(None, NOT_EMPTY)
    column_names: tuple[str, ...] | None = key(None, NOT_EMPTY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MovieLensSection(Section):
    """`[movielens]`: a MovieLens data set in place of `[data]`.

    Attributes:
        dataset: Name of the data set in TensorFlow Datasets.
        archive: Folder or zip file of GroupLens to prepare the data set from; by default it is downloaded.
        data_dir: Data folder of TensorFlow Datasets; by default its own.

    Example:
        >>> MovieLensSection().dataset
        'movielens/100k-ratings'
    """

    section: ClassVar[str] = "movielens"

    dataset: str = key("movielens/100k-ratings")
    archive: str | None = key(None, NOT_EMPTY)
    data_dir: str | None = key(None, NOT_EMPTY)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitSection(Section):
    """`[split]`: how the events are divided into training, validation and test part.

    Attributes:
        kind: "random" splits at random, "temporal" by time, "leave-last-out" takes each query's latest events.
        test: Share of the events in the test part, for a random or temporal split; by default the split's own.
        validation: Share of the remaining events in the validation part, as for `test`.
        num_test: Number of events of each query in the test part, for "leave-last-out"; by default the split's own.
        num_validation: Number of events of each query in the validation part, as for `num_test`.

    Example:
        >>> SplitSection(kind="temporal", test=0.1).test
        0.1
    """

    section: ClassVar[str] = "split"

    kind: Literal["random", "temporal", "leave-last-out"] = key("random")
    test: float | None = key(None, SHARE)
    validation: float | None = key(None, SHARE)
    num_test: int | None = key(None, at_least(1))
    num_validation: int | None = key(None, at_least(1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeaturesSection:
    """`[features.query]`, `[features.candidate]`, `[features.event]`: features that replace the recipe's, by column.

    Attributes:
        query: Column of the queries -> its feature, or None to leave the column out.
        candidate: Column of the candidates -> its feature, or None to leave the column out.
        event: Column of `data.event_features` -> its feature, or None to leave the column out.

    Example:
        >>> FeaturesSection(query={"zip_code": None}).candidate
        {}
    """

    section: ClassVar[str] = "features"

    query: Mapping[str, Feature | None] = dataclasses.field(default_factory=dict)
    candidate: Mapping[str, Feature | None] = dataclasses.field(default_factory=dict)
    event: Mapping[str, Feature | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSection(Section):
    """The settings of a model that replace those of the recipe. Without a value, the recipe's stays.

    Attributes:
        output_dim: Length of the embeddings.
        dropout: Share of the embedding that training drops.
        id_dropout: Share of the training rows in which the query's id is replaced by an unknown one.
        history_dropout: Largest share of a history that training drops.
        l2: Strength of the regularisation.
        history_length: Maximum number of candidates in a history.
        batch_size: Queries per step.
        learning_rate: Learning rate.
        decay: Decay of the moving average of the weights; 0 for no average.
        max_epochs: Maximum number of epochs where the validation part chooses.
        patience: Measurements of the validation part without a better value after which training stops.
        epochs: Number of epochs; by default the validation part chooses.

    Example:
        >>> RetrievalModelSection(output_dim=64).epochs is None
        True
    """

    output_dim: int | None = key(None, at_least(1))
    dropout: float | None = key(None, SHARE_OR_0)
    id_dropout: float | None = key(None, SHARE_OR_0)
    history_dropout: float | None = key(None, SHARE_OR_0)
    l2: float | None = key(None, at_least(0))
    history_length: int | None = key(None, at_least(1))
    batch_size: int | None = key(None, at_least(1))
    learning_rate: float | None = key(None, POSITIVE)
    decay: float | None = key(None, SHARE_OR_0)
    max_epochs: int | None = key(None, at_least(1))
    patience: int | None = key(None, at_least(1))
    epochs: int | None = key(None, at_least(1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalModelSection(ModelSection):
    """`[retrieval_model]`: the model that ranks the catalogue; keys as in `ModelSection`, and one more.

    Attributes:
        history_encoder: "self_attention" for a model that reads a history in order, with the settings of
            `SelfAttention()`; by default a history is pooled.

    Example:
        >>> RetrievalModelSection(epochs=20).epochs
        20
    """

    section: ClassVar[str] = "retrieval_model"

    history_encoder: Literal["self_attention"] | None = key(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearPartSection(Section):
    """`[linear_part]`: the linear autoencoder in the retrieval model.

    Attributes:
        train: Whether there may be one at all.
        rank: Number of directions, by which the embeddings grow; by default the recipe's.
        l2: Squared norm that stands against those of the directions; by default the validation part chooses.
        weight: Spread of its scores, as a share of the spread of the model's; by default the validation part chooses.

    Example:
        >>> LinearPartSection(train=False).rank is None
        True
    """

    section: ClassVar[str] = "linear_part"

    train: bool = key(True)
    rank: int | None = key(None, at_least(1))
    l2: float | None = key(None, POSITIVE)
    weight: float | None = key(None, POSITIVE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatingModelSection(ModelSection):
    """`[rating_model]`: the model that predicts probabilities; keys as in `ModelSection`, and two more.

    Attributes:
        train: Whether there is a rating model at all, where the data allow one.
        starts_from_biases: Whether it starts from the biases of a logistic regression; by default if these alone
            predict the validation part better than the model.

    Example:
        >>> RatingModelSection(train=False).train
        False
    """

    section: ClassVar[str] = "rating_model"

    train: bool = key(True)
    starts_from_biases: bool | None = key(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingSection(Section):
    """`[training]`: what both models share.

    Attributes:
        seed: Seed of the split, the weights and the order of the queries.
        threshold: A rating of at least this is positive; by default the recipe chooses by the scale of the ratings.
        retrain: Whether the models are trained again on training and validation part together, after the validation
            part has chosen the epochs; by default as `fit_recipe` decides.
        refit: Whether the models are trained once more after the test part has measured them, on all events, the test
            part included, and those are published.
        half_life_days: Days after which the weight of an event in the retrieval model's loss has halved; by default the
            validation part says whether there is one.
        trend_weight: Weight of recent popularity, by this half-life, in the retrieval model's biases; by default the
            validation part chooses it.
        impression_weight: What each candidate that was shown and not chosen counts where the retrieval model's loss
            compares it with the chosen one, which counts 1; 0 compares only with the catalogue. By default the
            validation part chooses it.
        dislike_weight: The same for a candidate that was rated below the threshold; by default 0.
        logs: Folder for TensorBoard: training curves, and the candidates for its projector.
        resume: Whether the training is kept in a folder as it proceeds, so that the same command goes on with it after
            it was interrupted.
        run_folder: That folder, which implies `resume`; by default `runs/` and the model's name.
        start_from: Folder of a version, or of all versions for the newest, whose training goes on with the table's
            events, which are newer; its choices stay.
        drop_unseen_after_days: Days before the newest event; queries and candidates whose own newest event is older are
            dropped from a training that starts from a version. By default none are.
        deterministic: Whether the same command always gives the same weights, to the last bit; some operations are
            slower then.

    Example:
        >>> TrainingSection(threshold=4).threshold
        4.0
    """

    section: ClassVar[str] = "training"

    seed: int = key(0, at_least(0))
    threshold: float | None = key(None)
    retrain: bool | None = key(None)
    refit: bool = key(False)
    half_life_days: float | None = key(None, POSITIVE)
    trend_weight: float | None = key(None, at_least(0))
    impression_weight: float | None = key(None, at_least(0))
    dislike_weight: float | None = key(None, at_least(0))
    logs: str | None = key(None, NOT_EMPTY)
    resume: bool = key(False)
    run_folder: str | None = key(None, NOT_EMPTY)
    start_from: str | None = key(None, NOT_EMPTY)
    drop_unseen_after_days: float | None = key(None, POSITIVE)
    deterministic: bool = key(False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationSection(Section):
    """`[evaluation]`: how the test part is evaluated.

    Attributes:
        k: Slots of the ranking that metrics look at, or the whole catalogue if it is smaller.
        segment_by: Columns of the queries by which metrics are broken down; by default those with few values.
        max_queries: Maximum number of test queries that are ranked; by default as `evaluate` decides.
        name_column: Column of the candidates that the report, the explorer and `recommend` show as their name; by
            default it is found.
        group_column: Column of the candidates by which the report colours its map; by default the one with the fewest
            categories.

    Example:
        >>> EvaluationSection().k
        10
    """

    section: ClassVar[str] = "evaluation"

    k: int = key(10, at_least(1))
    segment_by: tuple[str, ...] | None = key(None)
    max_queries: int | None = key(None, at_least(1))
    name_column: str | None = key(None)
    group_column: str | None = key(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexSection(Section):
    """`[index]`: how the bundle finds the best candidates.

    Attributes:
        kind: "scann", "portable" for every TensorFlow host, "exact", or "auto": ScaNN's if it is installed.
        recall_at_10: Share of the 10 best candidates that an approximate index must find; by default `IndexTarget`'s.
        recall_at_100: The same for the 100 best.
        max_build_s: Maximum number of seconds for building an approximate index; the index is exact if it takes longer.

    Example:
        >>> IndexSection(kind="portable").recall_at_10 is None
        True
    """

    section: ClassVar[str] = "index"

    kind: Literal["auto", "scann", "portable", "exact"] = key("auto")
    recall_at_10: float | None = key(None, SHARE_OR_1)
    recall_at_100: float | None = key(None, SHARE_OR_1)
    max_build_s: float | None = key(None, POSITIVE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportSection(Section):
    """`[export]`: what is published, and where.

    Attributes:
        output: Folder in which the model's folder is created.
        name: Name of the model's folder; by default that of the data.
        k: Recommendations per query; by default 100, or all candidates if there are fewer.
        with_portable: Whether a portable twin is published beside a bundle that needs ScaNN.
        filter_by: Columns of the candidates that recommendations can be filtered by; by default those whose values are
            categories.
        recommend_seen: Whether candidates that a query has seen may be recommended again, in the evaluation and in the
            bundle.
        keep: Number of newest versions that stay; by default all.
        keep_state: Whether the version keeps what a later training goes on from: the events, and the weights.
        gate: Share of the NDCG@10 of the version that training started from, on the same test events, below which
            nothing is published; 0 for no such limit.

    Example:
        >>> ExportSection(filter_by=["genres"]).filter_by
        ('genres',)
    """

    section: ClassVar[str] = "export"

    output: str = key("saved_models", NOT_EMPTY)
    name: str | None = key(None, NOT_EMPTY)
    k: int | None = key(None, at_least(1))
    with_portable: bool = key(True)
    filter_by: tuple[str, ...] | None = key(None)
    recommend_seen: bool = key(False)
    keep: int | None = key(None, at_least(1))
    keep_state: bool = key(True)
    gate: float = key(0.95, SHARE_OR_0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CardSection(Section):
    """`[card]`: what people say about the model in its card, `MODEL_CARD.md`.

    Attributes:
        intended_use: What the model is for, and what it must not be used for.
        contact: Who answers for it.
        data_licence: Under which terms its data may be used; by default those of GroupLens for a MovieLens data set.
        remarks: Anything else, such as known limits.

    Example:
        >>> CardSection(contact="recommendations@example.com").remarks is None
        True
    """

    section: ClassVar[str] = "card"

    intended_use: str | None = key(None, NOT_EMPTY)
    contact: str | None = key(None, NOT_EMPTY)
    data_licence: str | None = key(None, NOT_EMPTY)
    remarks: str | None = key(None, NOT_EMPTY)
