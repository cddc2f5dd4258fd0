"""The interface that evaluation, training and serving use, for a single model and a joint one alike."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from tfrs_twotower.model.keras_steps import KerasSteps

if TYPE_CHECKING:
    from tfrs_twotower.model.two_tower import TwoTowerModel


class Recommender(KerasSteps, abc.ABC):
    """A model that ranks the catalogue for a query and may predict the probability of a positive rating.

    Example:
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.features.vocabularies import Vocabularies
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> from tfrs_twotower.model.tasks.full_softmax import FullSoftmaxTask
        >>> from tfrs_twotower.model.two_tower import TwoTowerModel
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> model: Recommender = TwoTowerModel(
        ...     query_tower=user.build_tower(Vocabularies()),
        ...     candidate_tower=movie.build_tower(Vocabularies()),
        ...     task=FullSoftmaxTask(),
        ... )
        >>> model.retrieval_model is model, model.rating_model
        (True, None)
    """

    @property
    @abc.abstractmethod
    def retrieval_model(self) -> TwoTowerModel:
        """The model whose scores rank the catalogue."""

    @property
    @abc.abstractmethod
    def rating_model(self) -> TwoTowerModel | None:
        """The model whose scores are log-odds of a positive rating, or None."""

    @property
    @abc.abstractmethod
    def threshold(self) -> float:
        """A rating of at least this is positive."""

    @property
    def models(self) -> list[TwoTowerModel]:
        """The retrieval model, and the rating model if it is a different one."""
        retrieval, rating = self.retrieval_model, self.rating_model
        return [retrieval] if rating is None or rating is retrieval else [retrieval, rating]
