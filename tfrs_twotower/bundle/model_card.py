"""The model card of a bundle: one page in Markdown about its model, its data, its figures and its limits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfrs_twotower._control_characters import show_control_characters
from tfrs_twotower.bundle.layout import CARD_FILE
from tfrs_twotower.bundle.manifest import Manifest
from tfrs_twotower.bundle.model_entry import SideSchema
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.evaluation.segments import Segment

# Segments of a feature that are shown: the largest ones.
_MAX_SEGMENTS = 12
# Baselines in the order of the table's columns, if the report has them.
_BASELINES = ("popularity", "recent popularity", "biases")
_NOT_SAID = "not stated"
# What Markdown would take for marks of its own.
_MARKS = re.compile(r"[\\`*_|<>\[\]#~]")


def write_model_card(folder: Path, manifest: Manifest, report: Report | None, *, name: str) -> None:
    """Writes the model card of a bundle.

    Args:
        folder: The version's folder.
        manifest: Description of the bundle.
        report: The model's report; None if there is none.
        name: Name of the model.

    Raises:
        OSError: If it cannot be written.
    """
    (folder / CARD_FILE).write_text(build_model_card(manifest, report, name=name), encoding="utf-8")


def build_model_card(manifest: Manifest, report: Report | None, *, name: str) -> str:
    """Writes the text of a model card.

    Args:
        manifest: Description of the bundle.
        report: The model's report; None if there is none.
        name: Name of the model.

    Returns:
        Markdown.
    """
    sections = {
        "Use": _use(manifest),
        "Model": _model(manifest),
        "Data": _data(manifest),
        "Figures": _figures(manifest, report),
        "Limits": _limits(manifest, report),
    }
    lines = [f"# {_text(name)}", "", *_introduction(manifest)]
    for title, content in sections.items():
        lines += ["", f"## {title}", "", *content]
    return "\n".join(lines) + "\n"


def _introduction(manifest: Manifest) -> list[str]:
    does = "ranks a catalogue of candidates for a query"
    if manifest.model.has_probabilities:
        does += ", and predicts the probability that the query rates a candidate positively"
    return [f"This two-tower model {does}. It is one SavedModel, which any program with TensorFlow can load."]


def _use(manifest: Manifest) -> list[str]:
    card = manifest.model.card
    said = {"Intended use": card.intended_use, "Contact": card.contact, "Remarks": card.remarks}
    return [f"- {title}: {_text(text or _NOT_SAID)}" for title, text in said.items() if text or title != "Remarks"]


def _model(manifest: Manifest) -> list[str]:
    entry, index = manifest.model, manifest.index
    lines = [
        f"- The query tower takes {_features(entry.query)}.",
        f"- The candidate tower takes {_features(entry.candidate)}.",
        f"- A rating of at least {entry.positive_threshold:g} is positive.{_threshold_reason(entry.recipe)}",
    ]
    for part, title in (("retrieval", "retrieval model"), ("rating", "rating model")):
        settings = (entry.recipe or {}).get(part)
        if settings:
            lines.append(f"- The {title} has {settings['output_dim']} dimensions and was trained {_epochs(settings)}.")
    how = "exact" if index.is_exact else "approximate"
    recalls = " and ".join(f"{share:.1%} of the {k} best" for k, share in index.outcome.recall.items())
    made_with = ", ".join(f"{_code(package)} {_text(version)}" for package, version in manifest.versions.items())
    lines += [
        f"- The catalogue has {manifest.num_candidates:,} candidates, of which {manifest.k:,} are recommended at once.",
        f"- The index is of the kind {_text(index.kind)}; its search is {how} and finds {recalls} candidates.",
        f"- It was made on {_text(manifest.created)} with {made_with}.",
    ]
    if manifest.export_id is not None:
        lines.append(f"- Identifier of the export: `{manifest.export_id}`")
    return lines


def _data(manifest: Manifest) -> list[str]:
    entry = manifest.model
    return [
        f"- Source: {_text(entry.data.source)}",
        *([] if entry.card.name_column is None else [f"- Names of candidates: column {_code(entry.card.name_column)}"]),
        f"- SHA-256 of the tables: `{entry.data.fingerprint}`",
        f"- Licence: {_text(entry.card.data_licence or _NOT_SAID)}",
        f"- Split: {_text(entry.card.split or _NOT_SAID)}",
        f"- The model remembers {entry.num_queries:,} queries and what they have seen.",
    ]


def _figures(manifest: Manifest, report: Report | None) -> list[str]:
    entry = manifest.model
    if report is None:
        if entry.metrics:
            return _table(("metric", "model"), [(_code(name), f"{value:.4f}") for name, value in entry.metrics.items()])
        if entry.refreshed_from is not None:
            return [
                f"The catalogue of version {entry.refreshed_from} was changed, and the model was not measured with the "
                "new one. The card of that version has its figures."
            ]
        return ["The model was not evaluated."]
    baselines = [name for name in _BASELINES if name in report.cases]
    rows = []
    for metric, value in report.metrics.items():
        if metric == "num_queries":  # no metric of quality
            continue
        interval = report.intervals.get(metric)
        others = [report.cases[name].get(metric) for name in baselines]
        rows.append(
            (
                _code(metric),
                f"{value:.4f}",
                "" if interval is None else f"{interval.low:.4f} to {interval.high:.4f}",
                *("" if other is None else f"{other:.4f}" for other in others),
            )
        )
    lines = [
        f"Measured on the {report.num_events:,} events of the test part. The intervals have a confidence of 95 % and "
        "come from a bootstrap over queries.",
        "",
        *_table(("metric", "model", "interval", *baselines), rows),
        "",
        " ".join(report.notes()),
    ]
    lines += _segments("Number of past events", report.by_history)
    for column, segments in report.by_feature.items():
        lines += _segments(_code(column), segments)
    return lines


def _segments(title: str, segments: Sequence[Segment]) -> list[str]:
    if len(segments) < 2:
        return []
    metrics = [name for name in segments[0].values if name.startswith(("ndcg", "recall"))]
    rows = [
        (_text(segment.name), f"{segment.num:,}", *(f"{segment.values[name]:.4f}" for name in metrics))
        for segment in segments[:_MAX_SEGMENTS]
    ]
    left_out = len(segments) - len(rows)
    more = [] if not left_out else ["", f"{left_out} smaller groups are left out."]
    return ["", *_table((title, "queries", *map(_code, metrics)), rows), *more]


def _limits(manifest: Manifest, report: Report | None) -> list[str]:
    entry = manifest.model
    lines = [
        "- The model has learnt from choices that people made among what they were shown. It repeats the habits of its "
        "data, and knows nothing about what nobody was shown."
    ]
    if entry.has_probabilities:
        lines.append(
            "- A probability is meant for pairs such as those of the data, where the query has chosen to rate the "
            "candidate. For a pair that nobody would choose it is too high."
        )
    if entry.query.histories:
        lines.append(
            "- A query that the model does not know is recommended what suits the history in its request. Without a "
            "history it gets what suits the average query."
        )
    else:
        lines.append(
            "- The model takes no history: a query that it does not know is described by its other features alone."
        )
    others = [feature["name"] for feature in entry.candidate.features if feature["name"] != entry.candidate.id]
    lines.append(
        "- A candidate that was added after the training is ranked by its features alone."
        if others
        else "- The model knows candidates by their ids alone, so one that was added after training is ranked blindly."
    )
    if not manifest.index.is_exact:
        lines.append("- The search is approximate, so a recommendation may be missing from time to time.")
    if report is not None:
        lines += _limits_of_report(report)
    return lines


def _limits_of_report(report: Report) -> Iterable[str]:
    """States where the figures show the model to be weak."""
    shares = [segment.values.get("share") for segment in report.by_popularity]
    if shares and shares[0] is not None:
        yield (
            f"- The most popular tenth of the candidates takes {shares[0]:.0%} of the recommendations, and "
            f"{report.beyond_accuracy.get('coverage', 0):.0%} of the catalogue is recommended at all."
        )
    groups = {"the number of past events": report.by_history}
    groups |= {_code(column): segments for column, segments in report.by_feature.items()}
    for column, segments in groups.items():
        if len(segments) < 2:
            continue
        ndcg = next((name for name in segments[0].values if name.startswith("ndcg")), None)
        if ndcg is not None:
            worst = min(segments, key=lambda segment: segment.values[ndcg])
            yield (
                f"- By {column}, {_code(ndcg)} is lowest for {_text(worst.name)}: {worst.values[ndcg]:.3f} on average "
                f"over {worst.num:,} queries."
            )
    measured = next((name for name in report.metrics if name.startswith("ndcg@")), None)
    for name in ("popularity", "recent popularity"):
        if measured is not None and report.metrics[measured] < report.cases.get(name, {}).get(measured, -1.0):
            yield f"- **The model ranks worse than {name}.**"


def _features(side: SideSchema) -> str:
    features = dict.fromkeys(f"{_code(feature['name'])} ({feature['kind']})" for feature in side.features)
    return ", ".join(features)


def _threshold_reason(recipe: Mapping[str, Any] | None) -> str:
    reason = (recipe or {}).get("threshold_reason")
    return f" {_text(reason)}" if reason else ""


def _epochs(settings: Mapping[str, Any]) -> str:
    epochs = settings.get("epochs")
    return "until the validation part no longer improved" if epochs is None else f"for {epochs} epochs"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _code(text: str) -> str:
    """Returns a name as code. Neither a table nor a span of code can contain its own mark."""
    shown = show_control_characters(text).replace("`", "'").replace("|", "/")
    return f"`{shown}`"


def _text(text: str) -> str:
    """Returns a text that is shown as it is, in one line, within a table too."""
    return _MARKS.sub(lambda mark: f"\\{mark[0]}", show_control_characters(" ".join(text.split())))
