"""Events whose choice depends on the hour and the device: planted probabilities, and the best ranking by them."""

import dataclasses

import numpy as np
import pyarrow as pa

import tfrs_twotower as tt
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation.ranking import rank_candidates
from tfrs_twotower.evaluation.relevance import ranking_metrics

NUM_QUERIES, NUM_CANDIDATES, NUM_GROUPS, NUM_STYLES = 240, 60, 6, 5
DEVICES = ("phone", "tv", "desktop")
# What a match adds to the log-odds of a candidate.
_OF_HOUR, _OF_DEVICE, _OF_STYLE = 3.0, 2.0, 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """Planted choices: the hour and the device decide which groups of candidates are chosen, and the query the style.

    Attributes:
        split: Each query's last eight of 48 events are its test part.
    """

    split: Split

    def log_odds(self, query_rows, hours, devices) -> np.ndarray:
        """The log-odds of every candidate, float64 [n, num_candidates].

        Args:
            query_rows: int [n].
            hours: int [n], 0 to 23.
            devices: Sequence of n of `DEVICES`.
        """
        places = np.array([DEVICES.index(device) for device in devices])
        groups, styles = np.arange(NUM_CANDIDATES) % NUM_GROUPS, np.arange(NUM_CANDIDATES) // NUM_GROUPS % NUM_STYLES
        return (
            _OF_HOUR * (groups == np.asarray(hours)[:, np.newaxis] // 4)
            + _OF_DEVICE * (groups // 2 == places[:, np.newaxis])
            + _OF_STYLE * (styles == np.asarray(query_rows)[:, np.newaxis] % NUM_STYLES)
        )

    def best_metrics(self) -> dict[str, float]:
        """The ranking metrics of the best ranking, which is by the probabilities themselves."""
        test = self.split.test
        requests = test.requests
        contexts = test.contexts.table.take(pa.array(requests.context_rows))
        devices = contexts["device"].to_pylist()
        log_odds = self.log_odds(requests.query_rows, contexts["hour"].to_numpy(), devices)
        nothing = np.zeros((0, 2), np.int64)
        ranked = rank_candidates(log_odds, np.eye(NUM_CANDIDATES), nothing, k=10)
        return ranking_metrics(ranked, test.by_request(), nothing, threshold=1)

    def probabilities(self, query_rows, hours, devices) -> np.ndarray:
        """The probability that each candidate is chosen, float64 [n, num_candidates]."""
        odds = np.exp(self.log_odds(query_rows, hours, devices))
        return odds / odds.sum(axis=1, keepdims=True)


def make_choices(num_events: int = 48, num_test: int = 8) -> Choices:
    """Draws the events of every query, each in a context drawn at random."""
    rng = np.random.default_rng(0)
    rows = np.repeat(np.arange(NUM_QUERIES), num_events)
    hours, devices = rng.integers(0, 24, len(rows)), np.array(DEVICES)[rng.integers(0, 3, len(rows))]
    nothing = make_interactions([], [], [], [])
    unsplit = Choices(split=Split(train=nothing, validation=nothing, test=nothing, history=nothing))
    cumulated = np.cumsum(unsplit.probabilities(rows, hours, devices), axis=1)
    chosen = (cumulated < rng.random((len(rows), 1))).sum(axis=1)
    is_test = np.tile(np.arange(num_events) >= num_events - num_test, NUM_QUERIES)
    train, test = (
        make_interactions(rows[part], chosen[part], hours[part], devices[part]) for part in (~is_test, is_test)
    )
    return Choices(split=Split(train=train, validation=nothing, test=test, history=nothing))


def make_interactions(query_rows, candidate_rows, hours, devices) -> tt.Interactions:
    return tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(NUM_QUERIES)]}),
        candidates=pa.table({"item_id": [f"i{row}" for row in range(NUM_CANDIDATES)]}),
        events=pa.table(
            {
                "query_row": pa.array(query_rows, pa.int32()),
                "candidate_row": pa.array(candidate_rows, pa.int32()),
                "rating": pa.array(np.ones(len(query_rows)), pa.float32()),
                "hour": pa.array(hours, pa.int64()),
                "device": pa.array(devices, pa.string()),
            }
        ),
        query_id="user_id",
        candidate_id="item_id",
        source="planted choices",
        has_ratings=False,
    )
