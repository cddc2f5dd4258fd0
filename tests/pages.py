"""Pages that were shown to people, who choose one candidate of each: planted tastes, and what was shown with them."""

import dataclasses

import numpy as np
import pyarrow as pa

import tfrs_twotower as tt
from tfrs_twotower.model.recommender import Recommender

_LIKED, _DISLIKED = 2.5, -2.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pages:
    """Events of people who like some kinds of candidates, dislike others, and are indifferent to the rest.

    Attributes:
        interactions: An event is the choice of one candidate of a page. The others of the page are its impressions; or,
            with labels, events of their own with the rating 0, where a choice has 1.
        taste: float64 [num_queries, num_candidates]: above 0 if the candidate's kind is liked, below 0 if disliked.
    """

    interactions: tt.Interactions
    taste: np.ndarray

    def measure(self, model: Recommender, known: tt.Interactions) -> dict[str, float]:
        """Measures where the candidates of disliked kinds come.

        Args:
            model: A trained model.
            known: The events that it knows; candidates that were chosen there are left out.

        Returns:
            "disliked in top 10": the share of disliked candidates among the ten first of each query; "rank of
            disliked" and "rank of liked": their mean place among all candidates, as a share of the catalogue, 0 for the
            first place.
        """
        queries, candidates = model.retrieval_model.embed(known, known=known)
        scores = queries @ candidates.T
        ranks = (-scores).argsort(axis=1).argsort(axis=1) / (scores.shape[1] - 1)
        chosen = known.ratings > 0
        scores[known.query_rows[chosen], known.candidate_rows[chosen]] = -np.inf
        top = (-scores).argsort(axis=1)[:, :10]
        return {
            "disliked in top 10": float((np.take_along_axis(self.taste, top, axis=1) < 0).mean()),
            "rank of disliked": float(ranks[self.taste < 0].mean()),
            "rank of liked": float(ranks[self.taste > 0].mean()),
        }


def make_pages(
    *,
    num_queries: int,
    num_candidates: int,
    num_kinds: int,
    num_pages: int,
    page_size: int,
    picked: bool,
    labels: bool = False,
    seed: int = 0,
) -> Pages:
    """Draws tastes, pages and choices.

    Args:
        num_queries: Number of people.
        num_candidates: Number of candidates.
        num_kinds: Number of kinds, >= 4: two are liked, and a quarter is disliked.
        num_pages: Pages that each of them sees.
        page_size: Candidates on a page.
        picked: Whether pages are picked by taste, as by a recommender that knows it; else they are drawn uniformly.
        labels: Whether what was shown and not chosen are events with the rating 0, instead of impressions.
        seed: Seed of all draws.
    """
    rng = np.random.default_rng(seed)
    kinds = np.arange(num_candidates) % num_kinds
    by_kind = np.zeros((num_queries, num_kinds))
    for tastes in by_kind:
        order = rng.permutation(num_kinds)
        tastes[order[:2]], tastes[order[2 : 2 + num_kinds // 4]] = _LIKED, _DISLIKED
    taste = by_kind[:, kinds]
    utility = taste + rng.normal(size=num_candidates)
    rows = np.repeat(np.arange(num_queries), num_pages)
    # The largest of scores with Gumbel noise are draws by the softmax of the scores.
    drawn = rng.gumbel(size=(len(rows), num_candidates)) + (utility[rows] if picked else 0.0)
    pages = np.argpartition(-drawn, page_size, axis=1)[:, :page_size]
    place = (np.take_along_axis(utility[rows], pages, axis=1) + rng.gumbel(size=pages.shape)).argmax(axis=1)
    is_chosen = np.arange(page_size) == place[:, np.newaxis]
    if labels:
        events = {
            "query_row": np.repeat(rows, page_size).astype(np.int32),
            "candidate_row": pages.ravel().astype(np.int32),
            "rating": is_chosen.ravel().astype(np.float32),
        }
    else:
        shown = pages[~is_chosen].astype(np.int32)
        starts = np.arange(len(rows) + 1, dtype=np.int32) * (page_size - 1)
        events = {
            "query_row": rows.astype(np.int32),
            "candidate_row": pages[is_chosen].astype(np.int32),
            "rating": np.ones(len(rows), np.float32),
            "impressions": pa.ListArray.from_arrays(pa.array(starts), pa.array(shown)),
        }
    interactions = tt.Interactions(
        queries=pa.table({"user_id": [f"u{row}" for row in range(num_queries)]}),
        candidates=pa.table(
            {"item_id": [f"i{row}" for row in range(num_candidates)], "kind": [f"k{kind}" for kind in kinds]}
        ),
        events=pa.table(events),
        query_id="user_id",
        candidate_id="item_id",
        source="planted pages",
        has_ratings=labels,
    )
    return Pages(interactions=interactions, taste=taste)
