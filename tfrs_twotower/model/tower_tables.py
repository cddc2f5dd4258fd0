"""What a tower reads from tables: each row is looked up once, and its codes are kept in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower.batches.encoded import EncodedHistory
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.columns import read_columns
from tfrs_twotower.features.feature import Feature
from tfrs_twotower.features.history import History, histories
from tfrs_twotower.features.learning import require_context
from tfrs_twotower.model.finite import require_finite_codes
from tfrs_twotower.model.tower_config import TowerConfig
from tfrs_twotower.model.weight_loading import VocabularyBound


class TowerTables(VocabularyBound):
    """A tower's lookups of whole tables.

    Attributes:
        config: Declaration of the tower's parts.
        lookups: Input name -> layer from raw values to codes.
    """

    config: TowerConfig
    lookups: dict[str, Any]

    @property
    def histories(self) -> list[History]:
        """The features that come from events."""
        return histories(self.config.features)

    @property
    def context(self) -> list[Feature]:
        """The features that are columns of the events."""
        return [feature for feature in self.config.features if feature.name in self.config.context]

    def raw_features(self, table: pa.Table) -> dict[str, tf.Tensor]:
        """Returns the tower's columns of a table as raw tensors; see `tfrs_twotower.features.columns.read_columns`.

        Args:
            table: Queries or candidates: one column per feature except histories and context, which come from events.
        """
        names = self.config.context
        return read_columns([feature for feature in self.config.features if feature.name not in names], table)

    def raw_context(self, interactions: Interactions) -> dict[str, tf.Tensor]:
        """Returns the different contexts of events as raw tensors, in the order of `interactions.contexts.table`.

        Args:
            interactions: The events.

        Raises:
            ValueError: If the events have no such feature, or one with values that it cannot take.
            TypeError: If a column's type does not suit its feature.
        """
        if not self.context:
            return {}
        require_context(self.context, interactions)
        return read_columns(self.context, interactions.contexts.table)

    def encode_context(self, interactions: Interactions) -> dict[str, np.ndarray]:
        """Looks up every different context of events once; see `raw_context`.

        Args:
            interactions: The events.

        Returns:
            Input name -> codes [num_contexts, ...].
        """
        return self._codes_of(self.raw_context(interactions))

    def encode_table(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Looks up every row of a table once, for all features except histories and context.

        Args:
            table: One column per feature; others are ignored.

        Returns:
            Input name -> codes [num_rows, ...].

        Raises:
            ValueError: If a column is missing, or holds values that its feature cannot take.
            TypeError: If a column's type does not suit its feature.
        """
        return self._codes_of(self.raw_features(table))

    def _codes_of(self, raw: Mapping[str, tf.Tensor]) -> dict[str, np.ndarray]:
        codes = {name: self.lookups[name](values).numpy() for name, values in raw.items()}
        require_finite_codes(codes)
        return codes

    def encode_histories(self, candidates: pa.Table) -> list[EncodedHistory]:
        """Looks up every candidate once, as an entry of histories.

        Args:
            candidates: The catalogue.
        """
        encoded = []
        for history in self.histories:
            (raw,) = read_columns([history.of], candidates).values()
            codes = self.lookups[history.name](raw).numpy()
            encoded.append(
                EncodedHistory(
                    name=history.name,
                    codes=np.append(codes, np.zeros_like(codes[:1], shape=1)),
                    rating_name=history.rating_name if history.by_rating else None,
                    code_ratings=self.lookups[history.rating_name] if history.by_rating else None,
                    time_name=history.time_name if history.by_time else None,
                )
            )
        return encoded
