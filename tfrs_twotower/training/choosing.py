"""What the validation part of a split can choose for the models of a recipe, and what is taken where it cannot."""

from __future__ import annotations

import dataclasses

from tfrs_twotower.data.partition import Split
from tfrs_twotower.evaluation.rating import has_both_classes
from tfrs_twotower.evaluation.relevance import has_relevant
from tfrs_twotower.model.recipe import Recipe

#: Epochs if there is nothing to choose them by.
DEFAULT_EPOCHS = 30


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choices:
    """What a validation part can choose.

    Attributes:
        retrieval: Whether it measures the retrieval model: it has a positive event that a ranking can find.
        rating: Whether it measures the rating model, too: it has positive events and others.
        reason: Why not, a clause for people; empty if it measures both.
    """

    retrieval: bool
    rating: bool
    reason: str

    def describe(self, recipe: Recipe) -> list[str]:
        """Says before a training which epochs will not be chosen, unless they are given.

        Args:
            recipe: The recipe.
        """
        measured = {"retrieval": self.retrieval, "rating": self.rating}
        settings = {"retrieval": recipe.retrieval, "rating": recipe.rating}
        names = [name for name, model in settings.items() if model is not None and model.epochs is None]
        names = [name for name in names if not measured[name]]
        if not names:
            return []
        models = f"{' and the '.join(names)} model{'s' if len(names) > 1 else ''}"
        return [
            f"{self.reason}, so that it cannot choose the epochs of the {models}: {DEFAULT_EPOCHS} are taken. More "
            "events, or a larger share of them for validation, would choose better ones."
        ]


def find_choices(split: Split, *, threshold: float, recommend_seen: bool) -> Choices:
    """Says what the validation part of a split can choose.

    Args:
        split: The split.
        threshold: A rating of at least this is positive.
        recommend_seen: Whether candidates that a query has seen may be recommended again, and count.

    Example:
        >>> import pyarrow as pa
        >>> from tfrs_twotower.data.interactions import Interactions
        >>> events = {"query_row": [0] * 3, "candidate_row": [0, 1, 2], "rating": [5.0, 5.0, 1.0]}
        >>> ratings = Interactions(
        ...     queries=pa.table({"u": ["a"]}), candidates=pa.table({"m": list("xyz")}), events=pa.table(events),
        ...     query_id="u", candidate_id="m",
        ... )
        >>> train, validation, test, history = (ratings.with_events(rows) for rows in ([0], [1], [2], []))
        >>> split = Split(train=train, validation=validation, test=test, history=history)
        >>> find_choices(split, threshold=3, recommend_seen=False).reason
        'The validation part has 1 event, which is positive'
    """
    labels = split.validation.ratings >= threshold
    can_rank = has_relevant(split.validation, None if recommend_seen else split.context, threshold)
    can_rate = can_rank and has_both_classes(labels)
    reason = ""
    if not can_rate:
        num = split.validation.num_events
        which = "which is positive" if num == 1 else "all of them positive"
        if not can_rank:
            which = "but no positive one whose candidate the query has not seen before"
        reason = f"The validation part has {num:,} event{'s' if num != 1 else ''}, {which}"
    return Choices(retrieval=can_rank, rating=can_rate, reason=reason)
