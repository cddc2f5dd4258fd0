"""What evaluation, serving and training ask of a model, whether it is a single one or a joint one."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING

from tfrs_twotower._tfrs import tfrs

if TYPE_CHECKING:
    from tfrs_twotower.model.two_tower import TwoTowerModel


class Recommender(tfrs.Model, abc.ABC):
    """A model that ranks the catalogue for a query and may predict the probability of a positive rating."""

    @property
    @abc.abstractmethod
    def retrieval_model(self) -> TwoTowerModel:
        """The model whose scores rank the catalogue."""

    @property
    @abc.abstractmethod
    def rating_model(self) -> TwoTowerModel | None:
        """The model whose scores are log-odds of a positive rating, None if there is none."""

    @property
    @abc.abstractmethod
    def threshold(self) -> float:
        """A rating of at least this is positive."""

    @property
    def models(self) -> list[TwoTowerModel]:
        """The retrieval model, and the rating model if that is another one."""
        retrieval, rating = self.retrieval_model, self.rating_model
        return [retrieval] if rating is None or rating is retrieval else [retrieval, rating]
