"""What the report's page shows, section by section; a section without anything to show is empty."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping, Sequence

import numpy as np
import sklearn.metrics

from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.splits import Split
from tfrs_twotower.evaluation import metrics
from tfrs_twotower.evaluation.html import figures
from tfrs_twotower.evaluation.html.markup import Cell, to_grid, to_picture, to_table
from tfrs_twotower.evaluation.ranking import event_pairs, query_metrics
from tfrs_twotower.evaluation.report import Answers, Report

_LESS_IS_BETTER = ("log_loss", "brier", "calibration_error")
# TensorFlow Recommenders' own, beside which a task has its loss as a metric over the epoch.
_OF_THE_LAST_BATCH = ("loss", "regularization_loss", "total_loss")
_MOST_SEGMENTS = 25
_NUM_SAMPLES = 4
_NUM_PAST = 8
_CURVE_POINTS = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Background:
    """What the page tells besides the figures.

    Attributes:
        title: The page's.
        curves: Name of a training -> metric -> one value per epoch, as Keras's history has them.
        text: Column of the candidates that people know them by; None for the id.
        group: Column of the candidates, of strings or lists of them, that colours the map; None for one colour.
        model: What the model is, for its card.
        timings: Step -> seconds.
    """

    title: str = "Recommender report"
    curves: Mapping[str, Mapping[str, Sequence[float]]] = dataclasses.field(default_factory=dict)
    text: str | None = None
    group: str | None = None
    model: Mapping[str, str] = dataclasses.field(default_factory=dict)
    timings: Mapping[str, float] = dataclasses.field(default_factory=dict)


def show_lead(report: Report, answers: Answers) -> str:
    """What the model can do, in a sentence or two."""
    k = answers.ranked.shape[1]
    name = f"ndcg@{k}"
    model, difference = report.cases["model"], report.above_popularity[name]
    of_popularity = report.cases["popularity"][name]
    said = f"Of {k} recommendations to a user, {k * model[f'precision@{k}']:.1f} are liked on average"
    said += f"; {100 * model[f'hit_rate@{k}']:.0f} % of the users find at least one. "
    said += f"NDCG@{k} is {model[name]:.3f}"
    said += f", {model[name] / of_popularity:.1f} times that of popularity." if of_popularity else "."
    if "auc" in model:
        said += f" Of a liked and a disliked rating it tells which is which in {100 * model['auc']:.1f} % of the cases."
    lead = f'<p class="lead">{html.escape(said)}</p>'
    if difference.mean < 0:
        lead += '<p class="warn" role="alert">It ranks the catalogue <strong>worse than popularity</strong> does.</p>'
    return lead


def show_headline(report: Report) -> str:
    """All figures, beside those of what has to be beaten."""
    model = report.cases["model"]
    names = [name for name in model if name != "num_queries"]
    cases = list(report.cases)
    rows: list[list[Cell]] = []
    for name in names:
        values = [report.cases[case].get(name) for case in cases]
        there = [value for value in values if value is not None]
        best = min(there) if name in _LESS_IS_BETTER else max(there)
        interval = report.intervals.get(name)
        spread = f"{interval.low:.4f} to {interval.high:.4f}" if interval else ""
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        row: list[Cell] = [name, cells[0], spread, *cells[1:]]
        for place, value in enumerate(values):
            if value == best:
                column = 1 if place == 0 else place + 2
                row[column] = (cells[place], "best")
        rows.append(row)
    table = to_table(
        ["metric", "model", "95 % interval", *cases[1:]], rows, caption="On the test part; the best in bold."
    )
    beyond = to_table(
        ["of all recommendations", "value"],
        [[name, f"{value:.4f}"] for name, value in report.beyond_accuracy.items()],
        caption="Beyond accuracy",
    )
    note = (
        f"<p>{report.num_events:,} test events; {int(model['num_queries']):,} users have something to find, "
        f"{report.num_left_out:,} have not and are left out of the ranking's figures. Equal scores are ordered by "
        "lot.</p>"
    )
    return table + note + beyond


def show_training(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """A curve for each metric of each training."""
    pictures = []
    for training, history in curves.items():
        for metric, values in history.items():
            is_drawn_elsewhere = metric.startswith("val_") and metric.removeprefix("val_") in history
            if is_drawn_elsewhere or (metric in _OF_THE_LAST_BATCH and len(history) > len(_OF_THE_LAST_BATCH)):
                continue
            lines = {"training" if f"val_{metric}" in history else metric: values}
            if f"val_{metric}" in history:
                lines["validation"] = history[f"val_{metric}"]
            if not all(map(len, lines.values())):
                continue
            # What is measured every few epochs has fewer values.
            epochs = {name: np.arange(1, len(line) + 1) * len(values) // len(line) for name, line in lines.items()}
            figure = figures.draw_lines(
                {name: (epochs[name], line) for name, line in lines.items()},
                x_label="epoch",
                y_label=metric,
                counts_x=True,
            )
            at = {name: dict(zip(epochs[name].tolist(), line, strict=True)) for name, line in lines.items()}
            rows = [
                [str(epoch), *(f"{line[epoch]:.4f}" if epoch in line else "" for line in at.values())]
                for epoch in range(1, len(values) + 1)
            ]
            told = f"{training}: {metric} from {values[0]:.4f} in the first epoch to {values[-1]:.4f} in the last."
            table = to_table(["epoch", *lines], rows, caption=f"{training}: {metric}")
            pictures.append(to_picture(figure, f"Line plot of {metric} by epoch.", told, table))
    return to_grid(pictures)


def show_probabilities(report: Report, answers: Answers, test: Interactions, threshold: float) -> str:
    """ROC curve, reliability diagram, and what is said of liked and disliked ratings."""
    of_model = report.cases["model"]
    if answers.probabilities is None or "auc" not in of_model:
        return ""
    labels, said = test.ratings >= threshold, answers.probabilities
    false_rate, true_rate, _ = sklearn.metrics.roc_curve(labels, said)
    kept = np.unique(np.linspace(0, len(false_rate) - 1, _CURVE_POINTS).astype(int))
    roc = figures.draw_lines(
        {"model": (false_rate[kept], true_rate[kept])},
        x_label="share of disliked taken for liked",
        y_label="share of liked found",
        has_diagonal=True,
    )
    tenths = np.linspace(0, 1, 11)
    roc_rows = [
        [f"{rate:.1f}", f"{value:.4f}"]
        for rate, value in zip(tenths, np.interp(tenths, false_rate, true_rate), strict=True)
    ]
    bins = metrics.reliability(labels, said)
    reliability = figures.draw_lines(
        {"model": (bins[:, 0], bins[:, 1])},
        x_label="probability said",
        y_label="share that came true",
        has_diagonal=True,
        markers="o",
    )
    bin_rows = [[f"{mean:.3f}", f"{share:.3f}", f"{int(count):,}"] for mean, share, count in bins]
    spread = figures.draw_distributions(
        {"liked": said[labels], "disliked": said[~labels]}, x_label="probability said", y_label="density"
    )
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    spread_rows = [
        [name, *(f"{value:.3f}" for value in np.quantile(said[rows], quantiles))]
        for name, rows in (("liked", labels), ("disliked", ~labels))
    ]
    return to_grid(
        [
            to_picture(
                roc,
                "ROC curve: the share of liked ratings found against that of disliked ones taken for liked.",
                f"ROC curve, area {of_model['auc']:.4f}; the dashed line is chance.",
                to_table(["disliked taken for liked", "liked found"], roc_rows, caption="ROC curve"),
            ),
            to_picture(
                reliability,
                "Reliability diagram: what came true against what was said.",
                f"Reliability diagram, calibration error {of_model['calibration_error']:.4f}; on the dashed line "
                "what is said comes true.",
                to_table(["said", "came true", "ratings"], bin_rows, caption="Reliability"),
            ),
            to_picture(
                spread,
                "Two distributions of the probability said.",
                f"What is said of liked ratings (median {np.median(said[labels]):.2f}) and of disliked ones "
                f"(median {np.median(said[~labels]):.2f}).",
                to_table(["", *(f"{100 * share:g} %" for share in quantiles)], spread_rows, caption="Quantiles"),
            ),
        ]
    )


def show_ranking(answers: Answers, split: Split, threshold: float) -> str:
    """Precision against recall from one recommendation to all slots."""
    slots = answers.ranked.shape[1]
    ks = sorted({1, *range(2, slots + 1, max(1, slots // 10)), slots})
    means = query_metrics(answers.ranked, split.test, event_pairs(split.seen), threshold=threshold, ks=ks).means()
    precision, recall = ([means[f"{name}@{k}"] for k in ks] for name in ("precision", "recall"))
    figure = figures.draw_lines({"": (recall, precision)}, x_label="recall", y_label="precision", markers="o")
    told = (
        f"Precision and recall from 1 to {slots} recommendations: from {precision[0]:.3f} and {recall[0]:.3f} to "
        f"{precision[-1]:.3f} and {recall[-1]:.3f}."
    )
    shown = ("precision", "recall", "ndcg", "hit_rate", "mrr", "map")
    rows = [[str(k), *(f"{means[f'{name}@{k}']:.4f}" for name in shown)] for k in ks]
    table = to_table(["k", *shown], rows, caption="Metrics by number of recommendations")
    return to_picture(figure, "Curve of precision against recall by number of recommendations.", told, table)


def show_segments(report: Report) -> str:
    """Metrics by groups of queries."""
    groups = {"how much is known of them": report.by_history, **report.by_feature}
    tables = []
    for name, found in groups.items():
        shown = [metric for metric in found[0].values if not metric.startswith("graded")]
        rows = [
            [segment.name, f"{segment.num:,}", *(f"{segment.values[metric]:.4f}" for metric in shown)]
            for segment in found[:_MOST_SEGMENTS]
        ]
        tables.append(to_table(["", "users", *shown], rows, caption=f"Users by {name}"))
    return "".join(tables)


def show_popularity(report: Report) -> str:
    """What is recommended and what is liked, by popularity."""
    found = report.by_popularity
    names = [segment.name for segment in found]
    shares, liked = ([segment.values[name] for segment in found] for name in ("share", "liked"))
    recall = next(name for segment in found for name in segment.values if name.startswith("recall"))
    figure = figures.draw_bars(
        {"recommended": shares, "liked in the test": liked},
        names,
        x_label="candidates, the most popular first",
        y_label="share",
    )
    rows = [
        [
            segment.name,
            f"{100 * segment.values['share']:.1f} %",
            f"{100 * segment.values['liked']:.1f} %",
            f"{segment.values[recall]:.4f}" if recall in segment.values else "",
        ]
        for segment in found
    ]
    told = (
        f"The most popular {100 / len(found):.3g} % of the catalogue get {100 * shares[0]:.0f} % of the "
        f"recommendations, and {100 * liked[0]:.0f} % of what is liked in the test."
    )
    table = to_table(["popularity", "of recommendations", "of likes", recall], rows, caption="By popularity")
    return to_picture(figure, "Bars: shares of recommendations and of likes by popularity.", told, table)


def show_examples(report: Report, answers: Answers, split: Split, texts: Sequence[str], threshold: float) -> str:
    """Users with what they rated highest and what they are recommended, hits marked."""
    test, known = split.test, split.seen
    of_queries = report.of_queries
    k = answers.ranked.shape[1]
    # From users that it serves well to users that it does not, at equal distances.
    order = of_queries.query_rows[np.argsort(-of_queries.values[f"ndcg@{k}"], kind="stable")]
    sampled = order[np.linspace(0, len(order) - 1, min(_NUM_SAMPLES, len(order))).astype(int)]
    ids = test.queries[test.query_id]
    blocks = []
    for query in sampled:
        liked = set(test.candidate_rows[(test.query_rows == query) & (test.ratings >= threshold)].tolist())
        events = np.flatnonzero(known.query_rows == query)
        best = events[np.argsort(-known.ratings[events], kind="stable")][:_NUM_PAST]
        past = "".join(
            f"<li>{html.escape(texts[known.candidate_rows[event]])} ({known.ratings[event]:g})</li>" for event in best
        )
        shown = "".join(
            f"<li>{_hit(texts[row]) if row in liked else html.escape(texts[row])}</li>"
            for row in answers.ranked[query].tolist()
            if row >= 0
        )
        place = int(np.flatnonzero(of_queries.query_rows == query)[0])
        value = of_queries.values[f"ndcg@{k}"][place]
        blocks.append(
            f"<div><h3>User {html.escape(str(ids[int(query)]))}: NDCG@{k} {value:.2f}</h3>"
            f"<p>Rated highest of {len(events):,}:</p><ul class=past>{past}</ul>"
            f"<p>Recommended:</p><ol>{shown}</ol></div>"
        )
    note = "<p>Users from the best served to the worst, at equal distances in that order.</p>"
    return note + to_grid(blocks)


def show_cards(report: Report, split: Split, background: Background) -> str:
    """What the data and the model are, and how long it took."""
    test = split.test
    parts = {"training": split.train, "validation": split.validation, "test": test, "history": split.history}
    data = [["source", test.source], ["queries", f"{test.num_queries:,}"], ["candidates", f"{test.num_candidates:,}"]]
    data += [[f"{name} events", f"{part.num_events:,}"] for name, part in parts.items()]
    data += [["fingerprint", test.fingerprint()]]
    cards = [to_table(["data", ("", "text")], [[name, (value, "text")] for name, value in data])]
    if background.model:
        rows: list[list[Cell]] = [[name, (value, "text")] for name, value in background.model.items()]
        cards.append(to_table(["model", ("", "text")], rows))
    if background.timings:
        cards.append(
            to_table(["step", "seconds"], [[name, f"{value:.1f}"] for name, value in background.timings.items()])
        )
    if report.confusion is not None:
        cells = dataclasses.asdict(report.confusion)
        cards.append(
            to_table(["at probability 0.5", ""], [[name.replace("_", " "), f"{n:,}"] for name, n in cells.items()])
        )
    return to_grid(cards)


def _hit(text: str) -> str:
    return f'<span class="hit">{html.escape(text)} <strong>(liked)</strong></span>'
