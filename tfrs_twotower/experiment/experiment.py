"""`Experiment`: all that is decided between a table and a published bundle."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from tfrs_twotower.experiment.ranges import TuneSection
from tfrs_twotower.experiment.sections import (
    CardSection,
    DataSection,
    EvaluationSection,
    ExportSection,
    FeaturesSection,
    IndexSection,
    LinearPartSection,
    MovieLensSection,
    RatingModelSection,
    RetrievalModelSection,
    SplitSection,
    TrainingSection,
)

_SUFFIXES = (".gz", ".csv", ".tsv", ".txt", ".dat", ".data", ".parquet", ".feather", ".arrow", ".tfrecord")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """Declares an experiment. What is not given is chosen from the data.

    Attributes:
        data: A table of ratings of your own. Exactly one of `data` and `movielens` must be given.
        movielens: A MovieLens data set.
        split: How the events are divided.
        features: Features that replace those of the recipe.
        retrieval_model: Settings of the model that ranks.
        linear_part: Settings of the linear part of the model that ranks.
        rating_model: Settings of the model that predicts probabilities.
        training: Seed, threshold, and what else both models share.
        evaluation: How the test part is evaluated.
        index: How the bundle finds the best candidates.
        export: What is published, and where.
        card: What people say about the model in its card.
        tune: What a search for better settings tries; training does not look at it.

    Raises:
        ValueError: If there is not exactly one source of data, or two keys contradict each other.

    Example:
        >>> experiment = Experiment(data=DataSection(ratings="shop/ratings.csv", query_id="customer"))
        >>> experiment.directory.as_posix()
        'saved_models/ratings'
    """

    data: DataSection | None = None
    movielens: MovieLensSection | None = None
    split: SplitSection = dataclasses.field(default_factory=SplitSection)
    features: FeaturesSection = dataclasses.field(default_factory=FeaturesSection)
    retrieval_model: RetrievalModelSection = dataclasses.field(default_factory=RetrievalModelSection)
    linear_part: LinearPartSection = dataclasses.field(default_factory=LinearPartSection)
    rating_model: RatingModelSection = dataclasses.field(default_factory=RatingModelSection)
    training: TrainingSection = dataclasses.field(default_factory=TrainingSection)
    evaluation: EvaluationSection = dataclasses.field(default_factory=EvaluationSection)
    index: IndexSection = dataclasses.field(default_factory=IndexSection)
    export: ExportSection = dataclasses.field(default_factory=ExportSection)
    card: CardSection = dataclasses.field(default_factory=CardSection)
    tune: TuneSection | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.movielens is None):
            received = "neither" if self.data is None else "both"
            raise ValueError(
                "An experiment must have either the section `data`, for a table of your own, or the section "
                f"`movielens`. Received: {received}."
            )
        _require_keys_of_split(self.split)
        if self.index.kind == "exact":
            for name in ("recall_at_10", "recall_at_100", "max_build_s"):
                if getattr(self.index, name) is not None:
                    raise ValueError(f"`index.{name}` must not be given for the exact index, which finds everything.")
        if self.training.drop_unseen_after_days is not None:
            if self.training.start_from is None:
                raise ValueError(
                    "`training.drop_unseen_after_days` must be given with `training.start_from`: it drops ids that a "
                    "version knows. Received: no version."
                )
            if self.data is not None and self.data.timestamp is None:
                raise ValueError(
                    "`data.timestamp` must name the column of times, because `training.drop_unseen_after_days` is "
                    "given. Received: none."
                )
        if self.training.impression_weight and (self.data is None or self.data.impressions is None):
            raise ValueError(
                "`data.impressions` must name the column of impressions, because `training.impression_weight` is "
                "given. Received: none."
            )
        if self.training.dislike_weight and self.retrieval_model.history_encoder is not None:
            raise ValueError(
                "`training.dislike_weight` must be 0 with `retrieval_model.history_encoder`: a model that reads "
                "histories in order compares each event with what could have come in its place, and an event that is "
                f"disliked has no positive. Received: {self.training.dislike_weight:g}."
            )
        if self.split.kind != "random" and self.data is not None and self.data.timestamp is None:
            raise ValueError(
                f"`data.timestamp` must name the column of times, because `split.kind` is {self.split.kind!r}. "
                "Received: none."
            )

    @property
    def name(self) -> str:
        """Name of the model's folder: as given, or that of the data."""
        if self.export.name is not None:
            return self.export.name
        if self.data is None:
            assert self.movielens is not None
            return self.movielens.dataset.replace("/", "-").removesuffix("-ratings")
        name = Path(self.data.ratings).name
        while any(name.lower().endswith(suffix) for suffix in _SUFFIXES):
            name = name.rpartition(".")[0]
        return name or "model"

    @property
    def directory(self) -> Path:
        """Folder of the model's versions."""
        return Path(self.export.output) / self.name

    @property
    def run_folder(self) -> Path | None:
        """Folder in which the training is kept; None if it is not."""
        if self.training.run_folder is not None:
            return Path(self.training.run_folder)
        return Path("runs") / self.name if self.training.resume else None


def _require_keys_of_split(split: SplitSection) -> None:
    shares, numbers = ("test", "validation"), ("num_test", "num_validation")
    wrong, right = (shares, numbers) if split.kind == "leave-last-out" else (numbers, shares)
    for name in wrong:
        if getattr(split, name) is not None:
            raise ValueError(
                f"`split.{name}` does not belong to the split {split.kind!r}, which has the keys "
                f"{' and '.join(right)}. Received: {getattr(split, name)}."
            )
