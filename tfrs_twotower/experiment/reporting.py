"""Evaluating a trained model, and what its report shows of the data."""

from __future__ import annotations

import dataclasses
import time
import warnings
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.bundle.candidate_names import choose_name_column
from tfrs_twotower.bundle.model_entry import CardDetails
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.baselines import better_popularity
from tfrs_twotower.evaluation.build import build_report
from tfrs_twotower.evaluation.by_event import split_by_event
from tfrs_twotower.evaluation.html.details import PageDetails
from tfrs_twotower.evaluation.html.page import build_page
from tfrs_twotower.evaluation.predictions import predict
from tfrs_twotower.evaluation.projector import write_projector
from tfrs_twotower.evaluation.rankings import Rankings
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.experiment.preparation import Prepared, our_name
from tfrs_twotower.training.finishing import epochs_of_share, num_epochs
from tfrs_twotower.training.recipe import Trained

# A column with more values than these has too few queries of each.
_MAX_SEGMENTS = 25
# Events of the test part that are also predicted one by one, which takes seconds.
_MAX_BY_EVENT = 5000
_LICENCE_OF_MOVIELENS = (
    "GroupLens's terms: free for research, no commercial use without permission, no redistribution; see "
    "https://grouplens.org/datasets/movielens/"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What an evaluation gives.

    Attributes:
        report: The report.
        page: Its page, as HTML.
        notes: What was noticed, as full sentences.
    """

    report: Report
    page: str
    notes: tuple[str, ...]


def evaluate_trained(
    trained: Trained, prepared: Prepared, *, fit_s: float, progress: Progress = no_progress
) -> Evaluated:
    """Evaluates a model on the test part.

    Args:
        trained: The model.
        prepared: What it was trained on.
        fit_s: Seconds that training took.
        progress: Called while queries are ranked.
    """
    start, settings, split = time.perf_counter(), prepared.experiment.evaluation, prepared.split
    k = min(settings.k, split.test.num_candidates)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        predictions = predict(
            trained.model,
            split,
            k=k,
            recommend_seen=prepared.experiment.export.recommend_seen,
            max_queries=settings.max_queries,
            progress=progress,
        )
        report = build_report(
            predictions,
            split,
            threshold=trained.model.threshold,
            segment_by=_segment_columns(prepared),
            progress=progress,
        )
    logs = prepared.experiment.training.logs
    if logs is not None and predictions.vectors is not None:
        write_projector(logs, predictions.vectors, split.test.candidates)  # where TensorBoard looks for it
    candidates = prepared.interactions.candidates
    details = PageDetails(
        title=prepared.experiment.directory.name,
        curves=trained.history,
        name_column=choose_name_column(candidates, prepared.interactions.candidate_id, _given_name_column(prepared)),
        group_column=_group_column(prepared),
        model=_describe(trained, prepared),
        timings={"fit": fit_s, "evaluate": time.perf_counter() - start},
    )
    progress("Writing the report", 0, 0)
    page = build_page(report, predictions, split, threshold=trained.model.threshold, details=details)
    progress("Writing the report", 1, 1)
    said = [str(note.message) for note in notes]
    return Evaluated(report=report, page=page, notes=(*said, *_by_event(trained, prepared, k, progress)))


def _by_event(trained: Trained, prepared: Prepared, k: int, progress: Progress) -> list[str]:
    """Says how well the model ranks after a split by time if it knows what users have just done, or nothing."""
    model, experiment = trained.model.retrieval_model, prepared.experiment
    if experiment.split.kind != "temporal" or not model.history_length:
        return []
    found = split_by_event(prepared.split, min(_MAX_BY_EVENT, experiment.evaluation.max_queries or _MAX_BY_EVENT))
    num_events = len(found.query_rows)
    predictions = predict(
        model,
        found.split,
        k=k,
        recommend_seen=experiment.export.recommend_seen,
        max_queries=num_events,
        progress=progress,
    )
    rankings = Rankings(
        predictions, found.split, threshold=model.threshold, asked_by=found.query_rows, progress=progress
    )
    if not rankings.relevant.codes.size:
        return []
    measured = {"model": rankings.of_model(), **rankings.by_popularity(prepared.split.seen)}
    ndcg = {name: of_events.means()[f"ndcg@{k}"] for name, of_events in measured.items()}
    best = better_popularity(ndcg)
    return [
        f"Event by event, where all that the query did before is known, the model reaches NDCG@{k} "
        f"{ndcg['model']:.3f} on {num_events:,} test events ({best}: {ndcg[best]:.3f})."
    ]


def describe_epochs(trained: Trained) -> str:
    """Writes the number of epochs of each model, such as "64 (retrieval) and 56 (rating)", or "21 of 64 (retrieval)".

    Args:
        trained: What was trained.
    """
    epochs, share = num_epochs(trained.recipe), trained.share
    if share == 1:
        return " and ".join(f"{number} ({name})" for name, number in epochs.items())
    return " and ".join(f"{epochs_of_share(number, share)} of {number} ({name})" for name, number in epochs.items())


def describe_card(prepared: Prepared) -> CardDetails:
    """Returns what the model's card says beyond the manifest and the report.

    Args:
        prepared: What the model is trained on.
    """
    said = dataclasses.asdict(prepared.experiment.card)
    if prepared.experiment.movielens is not None:
        said["data_licence"] = said["data_licence"] or _LICENCE_OF_MOVIELENS
    return CardDetails(**said, split=_describe_split(prepared), name_column=_given_name_column(prepared))


def _describe_split(prepared: Prepared) -> str:
    settings, split = prepared.experiment.split, prepared.split
    sizes = (
        f"{split.train.num_events:,} events to train on, {split.validation.num_events:,} for validation and "
        f"{split.test.num_events:,} to test with"
    )
    again = " Afterwards the models were trained again on all of them." if prepared.experiment.training.refit else ""
    if settings.kind == "temporal":
        return f"by time, the latest events last: {sizes}.{again}"
    if settings.kind == "leave-last-out":
        return f"the latest events of each query are tested, those before them validate: {sizes}.{again}"
    caution = "" if split.train.timestamps is None else " Some events to train on are later than some to test with."
    return f"at random, with the seed {prepared.experiment.training.seed}: {sizes}.{caution}{again}"


def _describe(trained: Trained, prepared: Prepared) -> dict[str, str]:
    model: Any = trained.model
    return {
        "parameters": f"{model.count_params():,}",
        "epochs": describe_epochs(trained),
        "seed": str(prepared.experiment.training.seed),
        "positive": f"a rating of at least {model.threshold:g}" if prepared.interactions.has_ratings else "every event",
    }


def _segment_columns(prepared: Prepared) -> list[str]:
    """Returns the columns to break metrics down by: as the experiment says, or texts with few values."""
    given, interactions = prepared.experiment.evaluation.segment_by, prepared.interactions
    if given is not None:
        return [our_name(column, interactions) for column in given]
    tables = (interactions.queries, interactions.contexts.table)
    texts = [(table, field.name) for table in tables for field in table.schema if pa.types.is_string(field.type)]
    return [name for table, name in texts if 2 <= pc.count_distinct(table[name]).as_py() <= _MAX_SEGMENTS]


def _given_name_column(prepared: Prepared) -> str | None:
    given = prepared.experiment.evaluation.name_column
    return None if given is None else our_name(given, prepared.interactions)


def _group_column(prepared: Prepared) -> str | None:
    """Returns the column of categories with the fewest of them, that of the experiment, or None if there is none."""
    given, interactions = prepared.experiment.evaluation.group_column, prepared.interactions
    if given is not None:
        return our_name(given, interactions)
    counts = {
        name: count for name in interactions.candidates.column_names if (count := _num_groups(interactions, name))
    }
    return min(counts, key=lambda name: counts[name], default=None)


def _num_groups(interactions: Interactions, name: str) -> int | None:
    """Counts the categories of a column, if it holds some that recur."""
    column = interactions.candidates[name].combine_chunks()
    if pa.types.is_list(column.type):
        column = column.flatten()
    if name == interactions.candidate_id or not pa.types.is_string(column.type):
        return None
    count = int(pc.count_distinct(column).as_py())
    return count if 2 <= count <= interactions.num_candidates // 2 else None
