"""A linear autoencoder inside a retrieval model: more entries of its embeddings, whose values are computed at once.

What training by gradients learns in 128 dimensions leaves rare patterns out. A linear autoencoder, which predicts a
query's candidates from its other candidates, holds them in closed form, and its scores are dot products as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import scipy.sparse
import tensorflow as tf
from sklearn.utils.extmath import randomized_svd

from tfrs_twotower.batches.encoded import EncodedHistory
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.categorical import Categorical
from tfrs_twotower.features.codes import FIRST_UNKNOWN_CODE
from tfrs_twotower.features.history import History
from tfrs_twotower.model.sum_tower import SumTower
from tfrs_twotower.model.tower import Tower
from tfrs_twotower.model.two_tower import TwoTowerModel, join_towers

# Queries whose scores show how far a model's scores spread.
_MAX_SPREAD_QUERIES = 500
# A candidate whose events follow from other candidates' exactly has a leverage of 1: its scores must stay finite.
_MAX_LEVERAGE = 0.999
# Events of a candidate at which its l2 has doubled.
_EVENTS_OF_TWICE_L2 = 100.0
# How much more an event counts if its rating is higher by a standard deviation.
_SLOPE = 0.3


class LinearPart:
    """A trained retrieval model with room for a linear autoencoder, whose l2 and weight are still open.

    The model's embeddings grow by `rank` entries: on the query's side the history's coordinates along the leading
    directions of the training events, on the candidate's side the weights that predict the candidate from them. All
    else stays as it was, so that a score is the model's own plus `weight` times the autoencoder's.

    The autoencoder is EASE in its leading directions, with an l2 that grows with a candidate's number of events n_j, by
    `d_j^2 = 1 + n_j / 100`, as if training dropped events: what is frequent would otherwise rely on few candidates. The
    events are a matrix [num_queries, num_candidates], whose column j is divided by d_j. With its right singular vectors
    V and squared singular values s, a history x scores candidate j by
    `sum_i (x_i / d_i) V_i diag(s / (s + l2)) V_j d_j / (1 - h_j)`. Here `h_j = sum_k V_jk^2 s_k / (s_k + l2)`, the
    candidate's leverage, is the share of its events that only the candidate itself predicts, which is of no use for one
    that was not seen.

    Args:
        model: A trained model whose towers are each a `SumTower`, with a `History` of the candidates and their
            `Categorical` id; it stays as it is.
        train: The events that the model was trained on.
        rank: Number of directions, >= 1; fewer if the events have fewer.

    Raises:
        TypeError: If the model has another form.
        ValueError: If there is no event.

    References:
        Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data"; Steck 2020, "Autoencoders that don't overfit
        towards the Identity" (an l2 that grows with a candidate's events); Halko et al. 2011, "Finding Structure with
        Randomness" (the singular vectors).

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.model.recipe import choose_recipe
        >>> from tfrs_twotower.model.recipe_models import build_retrieval_model
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a", "b", "c"]}), candidates=pa.table({"movie_id": ["x", "y", "z"]}),
        ...     events=pa.table({"query_row": [0, 0, 1, 1, 2], "candidate_row": [0, 1, 0, 1, 2], "rating": [1.0] * 5}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> model = build_retrieval_model(choose_recipe(ratings), ratings)
        >>> LinearPart(model, ratings, rank=2).finish(l2=1.0, weight=0.5).embedding_dim - model.embedding_dim
        2
    """

    def __init__(self, model: TwoTowerModel, train: Interactions, *, rank: int) -> None:
        past, id_feature = _parts_of(model)
        if not train.num_events:
            raise ValueError("`train` must have an event: the directions are those of the events.")
        self._id_name = id_feature.name
        (encoded,) = model.query_tower.encode_histories(train.candidates)
        self._codes = encoded.codes[:-1]
        events = _event_matrix(encoded, train)
        self._directions = _Directions.of(events, rank)
        start = model.vector_dim
        self._place = slice(start, start + self._directions.rank)
        self._model = _with_more_entries(model, past, self._directions.rank)
        self._write(self._model.query_tower, past.name, self._directions.coordinates)
        active = np.unique(train.query_rows)
        num_asked = min(len(active), _MAX_SPREAD_QUERIES)
        chosen = np.random.default_rng(0).choice(active, num_asked, replace=False)
        some = train.with_events(np.flatnonzero(np.isin(train.query_rows, chosen)))
        queries, self._candidates = self._model.embed(some, known=train)
        self._some_queries = queries[np.unique(some.requests.of_events)]
        # The new entries of the candidates are still zero.
        self._spread = (self._some_queries @ self._candidates.T).std()

    def embed_queries(self, interactions: Interactions, known: Interactions) -> np.ndarray:
        """Embeds requests, whatever l2 and weight will be, as float32 [num_requests, embedding_dim].

        Args:
            interactions: Whose requests are embedded; see `TwoTowerModel.embed`.
            known: Past events of these queries.
        """
        return self._model.embed(interactions, known=known)[0]

    def embed_candidates(self, *, l2: float, weight: float, rank: int | None = None) -> np.ndarray:
        """Embeds the training events' candidates as they are with an l2, a weight and a rank.

        Args:
            l2: Squared norm that stands against those of the directions, > 0.
            weight: Spread of the autoencoder's scores, as a share of the spread of the model's, >= 0.
            rank: Number of leading directions that count, >= 1; None for all.

        Returns:
            float32 [num_candidates, embedding_dim].
        """
        candidates = self._candidates.copy()
        candidates[:, self._place] = self._weights(l2, weight, rank)
        return candidates

    def finish(self, *, l2: float, weight: float) -> TwoTowerModel:
        """Returns the model with the autoencoder in it, not compiled.

        Args:
            l2: See `embed_candidates`.
            weight: See `embed_candidates`.
        """
        self._write(self._model.candidate_tower, self._id_name, self._weights(l2, weight))
        return self._model

    @property
    def rank(self) -> int:
        """Number of directions."""
        return self._directions.rank

    def _weights(self, l2: float, weight: float, rank: int | None = None) -> np.ndarray:
        """float32 [num_candidates, rank], what predicts each candidate."""
        weights = self._directions.weights(l2, rank)
        spread = (self._some_queries[:, self._place] @ weights.T).std()
        return weights * np.float32(weight * self._spread / spread) if spread else weights

    def _write(self, tower: Tower, feature: str, values: np.ndarray) -> None:
        """Writes float32 [num_candidates, rank] into the new entries of the candidates' vectors."""
        codes, encoder = self._codes, tower.encoders[feature]
        is_known = codes >= FIRST_UNKNOWN_CODE + encoder.num_unknown
        table = encoder.vectors()
        table[codes[is_known], self._place] = values[is_known]
        encoder.table.embeddings.assign(table)


@dataclasses.dataclass(frozen=True)
class _Directions:
    """The leading right singular vectors of a matrix of events whose columns are scaled.

    Attributes:
        scales: float32 [num_candidates], what each column is divided by.
        vectors: float32 [num_candidates, rank], of length 1.
        squares: float64 [rank], the squared singular values.
        remainders: float64 [num_candidates], what the squared norm of a candidate's column has in other directions.
    """

    scales: np.ndarray
    vectors: np.ndarray
    squares: np.ndarray
    remainders: np.ndarray

    @classmethod
    def of(cls, events: scipy.sparse.csr_matrix, rank: int) -> _Directions:
        """Finds the leading directions, as many as there are up to `rank`."""
        norms = np.asarray(events.multiply(events).sum(axis=0)).ravel()
        scales = np.sqrt(1 + norms / _EVENTS_OF_TWICE_L2).astype(np.float32)
        events, norms = (events @ scipy.sparse.diags_array(1 / scales)).tocsr(), norms / np.square(scales)
        _, values, vectors = randomized_svd(events, min(rank, *events.shape), n_iter=4, random_state=0)
        num_found = max(1, np.count_nonzero(values > values[0] * 1e-4))
        vectors, squares = vectors[:num_found].T, values[:num_found].astype(np.float64) ** 2
        remainders = np.maximum(norms - np.square(vectors) @ squares, 0.0)
        return cls(scales=scales, vectors=vectors.astype(np.float32), squares=squares, remainders=remainders)

    @property
    def rank(self) -> int:
        """Number of directions."""
        return len(self.squares)

    @property
    def coordinates(self) -> np.ndarray:
        """Coordinates that each candidate adds to those of a history, float32 [num_candidates, rank]."""
        return self.vectors / self.scales[:, np.newaxis]

    def weights(self, l2: float, rank: int | None) -> np.ndarray:
        """Returns what predicts each candidate from a history's coordinates, float32 [num_candidates, rank]."""
        gains = self.squares / (self.squares + l2)
        # Squared singular values of the other directions lie between 0 and the smallest that is known.
        leverages = np.square(self.vectors) @ gains + self.remainders / (self.squares[-1] / 2 + l2)
        leverages = np.minimum(leverages, _MAX_LEVERAGE)
        if rank is not None:
            gains[rank:] = 0.0
        return (self.vectors * gains * (self.scales / (1 - leverages))[:, np.newaxis]).astype(np.float32)


def _parts_of(model: TwoTowerModel) -> tuple[History, Categorical]:
    """Returns the history of the query tower and the candidates' id."""
    towers = (model.query_tower, model.candidate_tower)
    if not all(isinstance(tower, SumTower) for tower in towers):
        raise TypeError("`model` must have two SumTowers: only a sum of vectors has room for a linear part.")
    if len(model.query_tower.histories) != 1:
        raise TypeError(
            "`model` must have one history in its query tower: a linear part predicts candidates from it. "
            f"Received: {len(model.query_tower.histories)}."
        )
    (past,) = model.query_tower.histories
    if past.encoder is not None:
        raise TypeError(f"`{past.name}` must be pooled: what an encoder makes is no sum. Received: {past}.")
    if past.shares_embedding or past.rating_vectors:
        raise TypeError(f"`{past.name}` must have vectors of its own, and one for each candidate. Received: {past}.")
    ids = [feature for feature in model.candidate_tower.config.features if feature.name == past.of.name]
    if not ids or not isinstance(ids[0], Categorical):
        raise TypeError(
            f"`model` must have a Categorical of {past.of.name!r} in its candidate tower: each candidate needs a "
            "vector of its own."
        )
    return past, ids[0]


def _event_matrix(past: EncodedHistory, train: Interactions) -> scipy.sparse.csr_matrix:
    """Returns float32 [num_queries, num_candidates]: how much an event counts in a history, the mean of equal pairs."""
    shape, places = (train.num_queries, train.num_candidates), (train.query_rows, train.candidate_rows)
    weights = np.ones(train.num_events, np.float32)
    if past.code_ratings is not None:
        weights += _SLOPE * past.code_ratings(tf.constant(train.ratings, tf.float32)).numpy()
    counts = scipy.sparse.csr_matrix((np.ones(train.num_events, np.float32), places), shape)
    events = scipy.sparse.csr_matrix((weights, places), shape)
    events.data /= counts.data
    return events


def _with_more_entries(model: TwoTowerModel, past: History, num_more: int) -> TwoTowerModel:
    """Returns the same model with longer embeddings, whose new entries, before those of biases, are zero."""
    query, candidate, task = model.query_tower, model.candidate_tower, model.task
    start = model.vector_dim
    longer_past = dataclasses.replace(past, slope_per_entry=past.by_rating)
    features = tuple(longer_past if feature is past else feature for feature in query.config.features)
    longer = join_towers(
        query=dataclasses.replace(query.config, features=features, output_dim=start + num_more),
        candidate=dataclasses.replace(candidate.config, output_dim=start + num_more),
        query_vocabularies=query.vocabularies,
        candidate_vocabularies=candidate.vocabularies,
        task=type(task).from_config(task.get_config()),
    )
    longer.task.set_weights(task.get_weights())
    for old, new in ((query, longer.query_tower), (candidate, longer.candidate_tower)):
        for before, after in zip(old.weights, new.weights, strict=True):
            values = before.numpy()
            if not before.shape.rank and after.shape.rank:
                # The history's one slope becomes a slope per entry.
                values = np.full(after.shape, values, values.dtype)
                values[start : start + num_more] = _SLOPE
            elif after.shape != before.shape:
                # A vector's entries are the last axis of every weight.
                zeros = np.zeros((*values.shape[:-1], num_more), values.dtype)
                values = np.concatenate([values[..., :start], zeros, values[..., start:]], axis=-1)
            after.assign(values)
    return longer
