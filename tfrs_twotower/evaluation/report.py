"""The report of an evaluation, and its form in JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tfrs_twotower.evaluation.baselines import better_popularity
from tfrs_twotower.evaluation.intervals import Interval
from tfrs_twotower.evaluation.rating import ConfusionMatrix
from tfrs_twotower.evaluation.relevance import QueryMetrics
from tfrs_twotower.evaluation.segments import Segment

_Part = TypeVar("_Part", Interval, Segment, ConfusionMatrix)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """The metrics of a model on the test part, and those of baselines to compare them with.

    Attributes:
        cases: Case ("model", "random", "popularity", "recent popularity", "all-positive", "biases", and the names of
            further baselines) -> metric -> value. A case has only the metrics that apply to it: the model has rating
            metrics only if it predicts probabilities, "recent popularity" needs timestamps, and "all-positive" and
            "biases" are missing if all ratings are of one class.
        intervals: Metric of the model -> its 95 % confidence interval, from a bootstrap over queries.
        above_popularity: Ranking metric -> by how much the model is better than popularity on the same queries.
        beyond_accuracy: `coverage`, `gini`, `novelty` (bits) and `intra_list_similarity` of the recommendations.
        by_history: Ranking metrics by the number of past events of a query, from cold to warm.
        by_feature: Column of the queries -> ranking metrics by the values of that column.
        by_popularity: Recall by popularity of the candidates.
        confusion: The model's confusion matrix at a probability of 0.5; None if it predicts no probabilities.
        num_events: Number of events of the test part.
        num_left_out: Number of queries that candidates were ranked for and that have no relevant candidate.
        num_ranked: Number of queries that candidates were ranked for; None in a report of version 0.2 or earlier, which
            ranked for all.
        num_test_queries: Number of queries of the test part. If there are more than `num_ranked`, those are a random
            sample of these, and the intervals of the ranking metrics are those of the sample.
        recommend_seen: Whether candidates that a query has seen before the test part can be recommended to it. If so,
            they count as relevant if the test part rates them positive; if not, they are neither hits nor misses.
        context: Features of the events, if they have any. What is said of queries above is then said of requests, a
            query in one of the contexts of its test events each; the intervals remain those of queries.
        by_event: Whether each test event was predicted from all that its query did before it, in the test part as well.
            What is said of queries above is then said of test events; the intervals remain those of queries.
        index_recall: Mean share of the results of exact search that a bundle's index finds, in [0, 1]; None if no
            index was compared.
        of_queries: The model's ranking metrics of each query, for `compare`. They are not written, and are None in a
            report that was read.

    Raises:
        ValueError: If there is no case "model", or `index_recall` is out of range.

    Example:
        >>> report = Report(
        ...     cases={"model": {"ndcg@10": 0.25, "num_queries": 40.0}}, intervals={}, above_popularity={},
        ...     beyond_accuracy={}, by_history=[], by_feature={}, by_popularity=[], confusion=None,
        ...     num_events=160, num_left_out=0,
        ... )
        >>> report.metrics["ndcg@10"]
        0.25
        >>> Report.from_dict(report.to_dict()) == report
        True
    """

    cases: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Interval]
    above_popularity: Mapping[str, Interval]
    beyond_accuracy: Mapping[str, float]
    by_history: Sequence[Segment]
    by_feature: Mapping[str, Sequence[Segment]]
    by_popularity: Sequence[Segment]
    confusion: ConfusionMatrix | None
    num_events: int
    num_left_out: int
    num_ranked: int | None = None
    num_test_queries: int | None = None
    recommend_seen: bool = False
    context: tuple[str, ...] = ()
    by_event: bool = False
    index_recall: float | None = None
    of_queries: QueryMetrics | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if "model" not in self.cases:
            raise ValueError(f'`cases` must have the case "model". Received: {", ".join(self.cases) or "no case"}.')
        if self.index_recall is not None and not 0 <= self.index_recall <= 1:
            raise ValueError(f"`index_recall` must be in [0, 1]. Received: {self.index_recall}.")

    @property
    def metrics(self) -> dict[str, float]:
        """The model's own metrics: metric -> value."""
        return dict(self.cases["model"])

    @property
    def best_popularity(self) -> str:
        """The case that ranks better, "popularity" or "recent popularity"; the first without timestamps."""
        ndcg = next(name for name in self.cases["model"] if name.startswith("ndcg@"))
        return better_popularity({name: values[ndcg] for name, values in self.cases.items() if ndcg in values})

    def notes(self) -> list[str]:
        """Returns sentences on how the ranking was measured, for people who read the metrics.

        Example:
            >>> report = Report(
            ...     cases={"model": {"ndcg@10": 0.25}}, intervals={}, above_popularity={}, beyond_accuracy={},
            ...     by_history=[], by_feature={}, by_popularity=[], confusion=None, num_events=160, num_left_out=0,
            ...     num_ranked=1000, num_test_queries=50_000,
            ... )
            >>> for sentence in report.notes():
            ...     print(sentence)
            Candidates were ranked for a random sample of 1,000 of the 50,000 queries of the test part.
            Candidates that a query had seen before the test part were left out of its ranking.
        """
        sentences: list[str] = []
        asked = "events" if self.by_event else "requests" if self.context else "queries"
        if self.num_ranked is not None and self.num_test_queries is not None:
            is_sample = self.num_ranked < self.num_test_queries
            whose = (
                f"a random sample of {self.num_ranked:,} of the {self.num_test_queries:,} {asked}"
                if is_sample
                else f"all {self.num_test_queries:,} {asked}"
            )
            sentences.append(f"Candidates were ranked for {whose} of the test part.")
        if self.by_event:
            sentences.append("Each event was predicted from all that its query did before, in the test part as well.")
        elif self.context:
            sentences.append(f"A request is a query with a context of its test events: {', '.join(self.context)}.")
        before = "the event" if self.by_event else "the test part"
        sentences.append(
            f"Candidates that a query had seen before {before} could be recommended to it again."
            if self.recommend_seen
            else f"Candidates that a query had seen before {before} were left out of its ranking."
        )
        return sentences

    def summary(self, k: int) -> list[str]:
        """Returns sentences on what the model can do, for people who do not read tables of metrics.

        Args:
            k: Slots of the ranking that `evaluate` looked at, or fewer that have metrics.

        Raises:
            KeyError: If there are no metrics at k.

        Example:
            >>> values = {"precision@10": 0.31, "hit_rate@10": 0.9, "ndcg@10": 0.44, "auc": 0.833}
            >>> report = Report(
            ...     cases={"model": values, "popularity": {"ndcg@10": 0.2}}, intervals={}, above_popularity={},
            ...     beyond_accuracy={}, by_history=[], by_feature={}, by_popularity=[], confusion=None,
            ...     num_events=160, num_left_out=0,
            ... )
            >>> for sentence in report.summary(10):
            ...     print(sentence)
            On average, users like 3.1 of their 10 recommendations, and 90 % of the users like at least one.
            NDCG@10 is 0.440, 2.2 times that of the baseline popularity.
            Of two events, one liked and one disliked, the liked one gets the higher probability in 83.3 % of cases.
        """
        model, ndcg = self.metrics, f"ndcg@{k}"
        of_popularity = self.cases[self.best_popularity][ndcg]
        times = ""
        if of_popularity:
            times = f", {model[ndcg] / of_popularity:.1f} times that of the baseline {self.best_popularity}"
        sentences = [
            f"On average, users like {k * model[f'precision@{k}']:.1f} of their {k} recommendations, and "
            f"{100 * model[f'hit_rate@{k}']:.0f} % of the users like at least one.",
            f"NDCG@{k} is {model[ndcg]:.3f}{times}.",
        ]
        if "auc" in model:
            sentences.append(
                "Of two events, one liked and one disliked, the liked one gets the higher probability in "
                f"{100 * model['auc']:.1f} % of cases."
            )
        return sentences

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as plain dictionaries, lists and numbers, as `metrics.json` holds it."""
        content = dataclasses.asdict(dataclasses.replace(self, of_queries=None))
        del content["of_queries"]
        return {**content, "context": list(self.context)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Report:
        """Builds a report from what `to_dict` returned.

        Args:
            content: The report as plain dictionaries, lists and numbers.

        Raises:
            ValueError: If a field is missing or unknown.
        """
        fields = {field.name: field for field in dataclasses.fields(cls) if field.name != "of_queries"}
        required = [name for name, field in fields.items() if field.default is dataclasses.MISSING]
        missing, unknown = [name for name in required if name not in content], [*(content.keys() - fields.keys())]
        if missing or unknown:
            raise ValueError(
                f"A report must have the fields {', '.join(fields)}. "
                f"Missing: {', '.join(missing) or 'none'}. Unknown: {', '.join(sorted(unknown)) or 'none'}."
            )
        confusion = content["confusion"]
        parsed = {
            "cases": {case: dict(values) for case, values in content["cases"].items()},
            "intervals": _parse_values(Interval, content["intervals"]),
            "above_popularity": _parse_values(Interval, content["above_popularity"]),
            "by_history": [_parse(Segment, segment) for segment in content["by_history"]],
            "by_feature": {
                name: [_parse(Segment, segment) for segment in segments]
                for name, segments in content["by_feature"].items()
            },
            "by_popularity": [_parse(Segment, segment) for segment in content["by_popularity"]],
            "context": tuple(content.get("context", ())),
            "confusion": None if confusion is None else _parse(ConfusionMatrix, confusion),
        }
        return cls(**{**content, **parsed})

    def save(self, path: str | Path) -> None:
        """Writes the report as JSON.

        Args:
            path: The file to write, such as `metrics.json`; an existing file is replaced.

        Raises:
            ValueError: If a value is not finite, which JSON cannot express.
            OSError: If the file cannot be written.

        Example:
            >>> import tempfile
            >>> report = Report(
            ...     cases={"model": {"ndcg@10": 0.25}}, intervals={}, above_popularity={}, beyond_accuracy={},
            ...     by_history=[], by_feature={}, by_popularity=[], confusion=None, num_events=160, num_left_out=0,
            ... )
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     report.save(Path(folder) / "metrics.json")
            ...     Report.load(Path(folder) / "metrics.json") == report
            True
        """
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"
        Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Reads a report that `save` wrote.

        Args:
            path: The file to read, such as a bundle's `assets.extra/metrics.json`.

        Raises:
            ValueError: If the file is not JSON, or a field is missing or unknown.
            OSError: If the file cannot be read.
        """
        return cls.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))


def _parse(kind: type[_Part], content: Mapping[str, Any]) -> _Part:
    """Builds a part of a report from a dictionary that must have exactly its fields."""
    names = {field.name for field in dataclasses.fields(kind)}
    if content.keys() != names:
        raise ValueError(
            f"Each {kind.__name__} of a report must have the fields {', '.join(sorted(names))}. "
            f"Received: {', '.join(sorted(content))}."
        )
    return kind(**content)


def _parse_values(kind: type[_Part], content: Mapping[str, Any]) -> dict[str, _Part]:
    """Builds a part of a report from each value of a dictionary."""
    return {name: _parse(kind, value) for name, value in content.items()}
