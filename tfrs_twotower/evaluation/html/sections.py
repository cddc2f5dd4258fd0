"""Writes the page section by section; a section that has nothing to show is empty."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import sklearn.metrics

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.html import figures
from tfrs_twotower.evaluation.html.details import PageDetails
from tfrs_twotower.evaluation.html.markup import Cell, to_grid, to_html, to_picture, to_table
from tfrs_twotower.evaluation.predictions import Predictions
from tfrs_twotower.evaluation.relevance import QueryMetrics
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.evaluation.segments import Segment

_LOWER_IS_BETTER = ("log_loss", "brier", "calibration_error")
# Our tasks have a metric of their loss, whose name says which loss it is.
_LOSSES = ("loss", "regularization_loss", "total_loss")
_MAX_SEGMENTS = 25
_NUM_EXAMPLES = 4
_NUM_PAST_RATINGS = 8
_MAX_CURVE_POINTS = 200


def show_lead(report: Report, k: int) -> str:
    """Says in a few sentences what the model can do.

    Args:
        report: The report.
        k: Slots of the ranking.
    """
    ndcg, best = f"ndcg@{k}", report.best_popularity
    lead = f'<p class="lead">{to_html(" ".join(report.summary(k)))}</p>'
    if report.metrics[ndcg] < report.cases[best][ndcg]:
        lead += (
            f'<p class="warn" role="alert">The model ranks the catalogue <strong>worse than {best}</strong> does.</p>'
        )
    return lead


def show_headline(report: Report, k: int) -> str:
    """Lists all metrics of the model next to those of the baselines.

    Args:
        report: The report.
        k: Slots of the ranking.
    """
    cases = list(report.cases)
    rows = [_headline_row(report, name) for name in report.metrics if name != "num_queries"]
    if report.index_recall is not None:
        rows.append([f"index_recall@{k}", f"{report.index_recall:.4f}", "", *("" for _ in cases[1:])])
    table = to_table(
        ["metric", "model", "95 % interval", *cases[1:]],
        rows,
        caption="Metrics on the test part; the best value of each row is bold.",
    )
    note = (
        f"<p>The test part has {report.num_events:,} events. {' '.join(report.notes())} The ranking metrics are means "
        f"over {int(report.metrics['num_queries']):,} users; for {report.num_left_out:,} other users there was nothing "
        "to find that they like. Ties in a ranking are broken at random.</p>"
    )
    beyond = to_table(
        ["metric", "value"],
        [[name, f"{value:.4f}"] for name, value in report.beyond_accuracy.items()],
        caption="Beyond accuracy: all recommendations together",
    )
    return table + note + beyond


def show_training(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Draws a curve for each metric of each training run.

    Args:
        curves: Name of a training run -> metric -> one value per epoch.
    """
    pictures = []
    for training, history in curves.items():
        for metric, values in history.items():
            is_drawn_elsewhere = metric.startswith("val_") and metric.removeprefix("val_") in history
            if is_drawn_elsewhere or (metric in _LOSSES and len(history) > len(_LOSSES)):
                continue
            lines = {"training" if f"val_{metric}" in history else metric: values}
            if f"val_{metric}" in history:
                lines["validation"] = history[f"val_{metric}"]
            if all(map(len, lines.values())):
                pictures.append(_training_picture(training, metric, lines))
    return to_grid(pictures)


def show_probabilities(report: Report, predictions: Predictions, test: Interactions, threshold: float) -> str:
    """Draws the ROC curve, the reliability diagram, and the distributions of the predicted probabilities.

    Args:
        report: The report of the predictions.
        predictions: What the model predicts for the test part.
        test: The test part.
        threshold: Lowest rating that counts as positive.
    """
    if predictions.probabilities is None or "auc" not in report.metrics:
        return ""
    labels, probabilities = test.ratings >= threshold, predictions.probabilities
    return to_grid(
        [
            _roc_picture(labels, probabilities, auc=report.metrics["auc"]),
            _reliability_picture(labels, probabilities, calibration_error=report.metrics["calibration_error"]),
            _distribution_picture(labels, probabilities),
        ]
    )


def shown_ks(num_slots: int) -> list[int]:
    """Returns the numbers of recommendations at which the page measures a ranking, ascending, the last one all slots.

    Args:
        num_slots: Slots of the ranking, >= 1.
    """
    return sorted({1, *range(2, num_slots + 1, max(1, num_slots // 10)), num_slots})


def show_ranking(of_queries: QueryMetrics, ks: Sequence[int]) -> str:
    """Draws precision against recall, from one recommendation to all slots.

    Args:
        of_queries: The model's ranking metrics of each query at each of `ks`.
        ks: Numbers of recommendations, ascending.
    """
    means = of_queries.means()
    precision, recall = ([means[f"{name}@{k}"] for k in ks] for name in ("precision", "recall"))
    shown = ("precision", "recall", "ndcg", "hit_rate", "mrr", "map")
    rows = [[str(k), *(f"{means[f'{name}@{k}']:.4f}" for name in shown)] for k in ks]
    return to_picture(
        figures.draw_lines({"": (recall, precision)}, x_label="recall", y_label="precision", markers="o"),
        alt="Curve of precision against recall by number of recommendations.",
        caption=(
            f"Precision and recall from 1 to {ks[-1]} recommendations. Precision goes from {precision[0]:.3f} to "
            f"{precision[-1]:.3f}, recall from {recall[0]:.3f} to {recall[-1]:.3f}."
        ),
        table=to_table(["k", *shown], rows, caption="Metrics by number of recommendations"),
    )


def show_segments(report: Report) -> str:
    """Lists ranking metrics by groups of queries.

    Args:
        report: The report.
    """
    groups = {"number of past events": report.by_history, **report.by_feature}
    return "".join(_segment_table(name, segments) for name, segments in groups.items())


def show_popularity(report: Report) -> str:
    """Compares what is recommended with what is liked, by popularity.

    Args:
        report: The report.
    """
    segments = report.by_popularity
    shares, liked = ([segment.values[name] for segment in segments] for name in ("share", "liked"))
    recall = next(name for segment in segments for name in segment.values if name.startswith("recall"))
    rows = [
        [
            segment.name,
            f"{100 * segment.values['share']:.1f} %",
            f"{100 * segment.values['liked']:.1f} %",
            f"{segment.values[recall]:.4f}" if recall in segment.values else "",
        ]
        for segment in segments
    ]
    return to_picture(
        figures.draw_bars(
            {"recommendations": shares, "likes in the test part": liked},
            [segment.name for segment in segments],
            x_label="share",
            y_label="candidates, the most popular first",
        ),
        alt="Bar chart: shares of recommendations and of likes by popularity.",
        caption=(
            f"The most popular {100 / len(segments):.3g} % of the catalogue receive {100 * shares[0]:.0f} % of the "
            f"recommendations and {100 * liked[0]:.0f} % of the likes in the test part."
        ),
        table=to_table(
            ["popularity", "share of recommendations", "share of likes", recall], rows, caption="Groups by popularity"
        ),
    )


def show_examples(
    of_queries: QueryMetrics, predictions: Predictions, split: Split, names: Sequence[str], threshold: float
) -> str:
    """Shows a few users with what they rated highest and what is recommended to them, hits marked.

    Args:
        of_queries: The model's ranking metrics of each query.
        predictions: What the model predicts for the test part.
        split: The split that was evaluated.
        names: Name of each candidate.
        threshold: Lowest rating that counts as positive.
    """
    test, seen = split.test.by_request(), split.seen
    ndcg = f"ndcg@{predictions.ranked.shape[1]}"
    values = of_queries.values[ndcg]
    order = np.argsort(-values, kind="stable")
    sampled = order[np.linspace(0, len(order) - 1, min(_NUM_EXAMPLES, len(order))).astype(int)]
    ids = test.queries[split.test.query_id]
    blocks = []
    for place in sampled:
        query = int(of_queries.query_rows[place])
        liked = set(test.candidate_rows[(test.query_rows == query) & (test.ratings >= threshold)].tolist())
        events = np.flatnonzero(seen.query_rows == split.test.requests.query_rows[query])
        context = [f", {name} {test.queries[name][query].as_py()}" for name in split.test.event_features]
        user = to_html(f"{ids[query]}{''.join(context)}")
        best = events[np.argsort(-seen.ratings[events], kind="stable")][:_NUM_PAST_RATINGS]
        past = "".join(
            f"<li>{to_html(names[seen.candidate_rows[event]])} ({seen.ratings[event]:g})</li>" for event in best
        )
        recommended = "".join(
            f"<li>{_hit(names[row]) if row in liked else to_html(names[row])}</li>"
            for row in predictions.ranked[query].tolist()
            if row >= 0
        )
        blocks.append(
            f"<div><h3>User {user}: {ndcg.upper()} {values[place]:.2f}</h3>"
            f"<p>Highest rated of {len(events):,} past events:</p><ul class=past>{past}</ul>"
            f"<p>Recommended:</p><ol>{recommended}</ol></div>"
        )
    note = f"<p>All users are sorted by {ndcg.upper()}, the best first; these are evenly spaced in that order.</p>"
    return note + to_grid(blocks)


def show_cards(report: Report, split: Split, details: PageDetails) -> str:
    """Lists properties of the data and the model, durations, and the confusion matrix.

    Args:
        report: The report.
        split: The split that was evaluated.
        details: What the page shows in addition to the report.
    """
    test = split.test
    parts = {"training": split.train, "validation": split.validation, "test": test, "history": split.history}
    data = [["source", test.source], ["queries", f"{test.num_queries:,}"], ["candidates", f"{test.num_candidates:,}"]]
    data += [[f"{name} events", f"{part.num_events:,}"] for name, part in parts.items()]
    data += [["fingerprint", test.fingerprint()]]
    cards = [_property_table(data, caption="Data")]
    if details.model:
        cards.append(_property_table(details.model.items(), caption="Model"))
    if details.timings:
        timings = [[name, f"{seconds:.1f}"] for name, seconds in details.timings.items()]
        cards.append(to_table(["step", "seconds"], timings, caption="Durations"))
    if report.confusion is not None:
        cells = dataclasses.asdict(report.confusion)
        counts = [[name.replace("_", " "), f"{count:,}"] for name, count in cells.items()]
        cards.append(to_table(["case", "events"], counts, caption="Confusion matrix at probability 0.5"))
    return to_grid(cards)


def _property_table(properties: Iterable[Sequence[str]], *, caption: str) -> str:
    """Lists names and values, which may be long texts."""
    rows: list[list[Cell]] = [[name, (value, "text")] for name, value in properties]
    return to_table(["property", ("value", "text")], rows, caption=caption)


def _headline_row(report: Report, name: str) -> list[Cell]:
    """Returns the row of one metric: the model's value and interval, and the baselines' values, the best one bold."""
    values = [metrics_of_case.get(name) for metrics_of_case in report.cases.values()]
    present = [value for value in values if value is not None]
    best = min(present) if name in _LOWER_IS_BETTER else max(present)
    cells: list[Cell] = [
        "" if value is None else (f"{value:.4f}", "best") if value == best else f"{value:.4f}" for value in values
    ]
    interval = report.intervals.get(name)
    return [name, cells[0], f"{interval.low:.4f} to {interval.high:.4f}" if interval else "", *cells[1:]]


def _training_picture(training: str, metric: str, lines: Mapping[str, Sequence[float]]) -> str:
    """Draws one metric of one training run by epoch."""
    values = next(iter(lines.values()))
    # A metric that is measured every few epochs has fewer values.
    epochs = {name: np.arange(1, len(line) + 1) * len(values) // len(line) for name, line in lines.items()}
    by_epoch = [dict(zip(epochs[name].tolist(), line, strict=True)) for name, line in lines.items()]
    rows = [
        [str(epoch), *(f"{line[epoch]:.4f}" if epoch in line else "" for line in by_epoch)]
        for epoch in range(1, len(values) + 1)
    ]
    return to_picture(
        figures.draw_lines(
            {name: (epochs[name], line) for name, line in lines.items()},
            x_label="epoch",
            y_label=metric,
            has_integer_x=True,
        ),
        alt=f"{training}: line plot of {metric} by epoch.",
        caption=f"{training}: {metric} goes from {values[0]:.4f} in the first epoch to {values[-1]:.4f} in the last.",
        table=to_table(["epoch", *lines], rows, caption=f"{training}: {metric}"),
    )


def _roc_picture(labels: np.ndarray, probabilities: np.ndarray, *, auc: float) -> str:
    """Draws the ROC curve."""
    false_rate, true_rate, _ = sklearn.metrics.roc_curve(labels, probabilities)
    kept = np.unique(np.linspace(0, len(false_rate) - 1, _MAX_CURVE_POINTS).astype(int))
    tenths = np.linspace(0, 1, 11)
    rows = [
        [f"{rate:.1f}", f"{value:.4f}"]
        for rate, value in zip(tenths, np.interp(tenths, false_rate, true_rate), strict=True)
    ]
    return to_picture(
        figures.draw_lines(
            {"model": (false_rate[kept], true_rate[kept])},
            x_label="false positive rate",
            y_label="true positive rate",
            has_diagonal=True,
        ),
        alt="ROC curve: the true positive rate, of liked ratings, against the false positive rate, of disliked ones.",
        caption=f"ROC curve. The area under it is {auc:.4f}; the dashed line is the expected curve of random guesses.",
        table=to_table(["false positive rate", "true positive rate"], rows, caption="ROC curve"),
    )


def _reliability_picture(labels: np.ndarray, probabilities: np.ndarray, *, calibration_error: float) -> str:
    """Draws the reliability diagram."""
    bins = metrics.reliability(labels, probabilities)
    rows = [[f"{mean:.3f}", f"{share:.3f}", f"{int(count):,}"] for mean, share, count in bins]
    return to_picture(
        figures.draw_lines(
            {"model": (bins[:, 0], bins[:, 1])},
            x_label="predicted probability",
            y_label="observed share of liked ratings",
            has_diagonal=True,
            markers="o",
        ),
        alt="Reliability diagram: the observed share of liked ratings against the predicted probability.",
        caption=(
            f"Reliability diagram. The calibration error is {calibration_error:.4f}; on the dashed line, predicted "
            "probabilities equal observed shares."
        ),
        table=to_table(["predicted", "observed", "ratings"], rows, caption="Reliability"),
    )


def _distribution_picture(labels: np.ndarray, probabilities: np.ndarray) -> str:
    """Draws the distributions of the predicted probabilities of liked and disliked ratings."""
    liked, disliked = probabilities[labels], probabilities[~labels]
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    rows = [
        [name, *(f"{value:.3f}" for value in np.quantile(values, quantiles))]
        for name, values in (("liked", liked), ("disliked", disliked))
    ]
    return to_picture(
        figures.draw_distributions(
            {"liked": liked, "disliked": disliked}, x_label="predicted probability", y_label="density"
        ),
        alt="Distributions of the predicted probability of liked and of disliked ratings.",
        caption=(
            f"Predicted probabilities of liked ratings (median {np.median(liked):.2f}) and of disliked ratings "
            f"(median {np.median(disliked):.2f})."
        ),
        table=to_table(["ratings", *(f"{100 * share:g} %" for share in quantiles)], rows, caption="Quantiles"),
    )


def _segment_table(name: str, segments: Sequence[Segment]) -> str:
    """Writes the table of one way of grouping the queries."""
    shown = [metric for metric in segments[0].values if not metric.startswith("graded")]
    rows = [
        [segment.name, f"{segment.num:,}", *(f"{segment.values[metric]:.4f}" for metric in shown)]
        for segment in segments[:_MAX_SEGMENTS]
    ]
    return to_table([name, "users", *shown], rows, caption=f"Users by {name}")


def _hit(name: str) -> str:
    """Marks a recommendation that the user likes."""
    return f'<span class="hit">{to_html(name)} <strong>(liked)</strong></span>'
