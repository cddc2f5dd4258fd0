"""`tfrs-twotower train`: a table of ratings in, a published version out."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from tfrs_twotower.cli import options
from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.options import make_experiment, options_named
from tfrs_twotower.cli.progress import show_progress
from tfrs_twotower.cli.screen import err, out, print_line

if TYPE_CHECKING:
    from tfrs_twotower.evaluation.report import Report
    from tfrs_twotower.experiment.preparation import Prepared
    from tfrs_twotower.experiment.run import Outcome


@app.command()
def train(
    context: typer.Context,
    ratings: options.Ratings = None,
    query_id: options.QueryId = None,
    candidate_id: options.CandidateId = None,
    rating: options.Rating = None,
    timestamp: options.Timestamp = None,
    weight: options.Weight = None,
    impressions: options.Impressions = None,
    event_features: options.EventFeatures = None,
    catalogue: options.Catalogue = None,
    queries: options.Queries = None,
    on_invalid: options.OnInvalid = None,
    repeats: options.Repeats = None,
    encoding: options.Encoding = None,
    delimiter: options.Delimiter = None,
    column_names: options.ColumnNames = None,
    dataset: options.Dataset = None,
    archive: options.Archive = None,
    data_dir: options.DataDir = None,
    config: options.Config = None,
    split: options.SplitKind = None,
    threshold: options.Threshold = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    seed: options.Seed = None,
    output: options.Output = None,
    name: options.Name = None,
    k: options.K = None,
    index: options.Index = None,
    with_portable: options.WithPortable = None,
    filter_by: options.FilterBy = None,
    recommend_seen: options.RecommendSeen = None,
    keep: options.Keep = None,
    logs: options.Logs = None,
    start_from: options.StartFrom = None,
    drop_unseen_after_days: options.DropUnseenAfterDays = None,
    gate: options.Gate = None,
    refit: options.Refit = None,
    resume: options.Resume = None,
    run_folder: options.RunFolder = None,
    deterministic: options.Deterministic = None,
) -> None:
    """Trains on a table of ratings, or on MovieLens without FILE, evaluates, and publishes a SavedModel."""
    with options_named(context.params), show_progress(err) as progress:
        experiment = make_experiment(context.params)
        progress("Starting TensorFlow", 0, 0)
        import_tensorflow()

        from tfrs_twotower.experiment.reporting import describe_epochs
        from tfrs_twotower.experiment.run import EXPERIMENT_FILE, run_experiment

        progress("Starting TensorFlow", 1, 1)
        outcome = run_experiment(experiment, progress=progress, on_prepared=_print_prepared)
    _print_report(outcome.report)
    for sentence in outcome.report.summary(min(experiment.evaluation.k, outcome.known.num_candidates)):
        print_line(sentence)
    for note in outcome.notes:
        print_line(f"Note: {note}")
    print_line(f"Epochs: {describe_epochs(outcome.trained)}, in {outcome.fit_s:.0f} s. Published: {outcome.path}")
    print_line(f"Report: {outcome.path / 'assets.extra' / 'report.html'}")
    file = outcome.path / "assets.extra" / EXPERIMENT_FILE
    print_line(f"To run it again: tfrs-twotower train --config {shlex.quote(str(file))}")
    _print_next_steps(outcome)


def _print_next_steps(outcome: Outcome) -> None:
    directory = shlex.quote(str(outcome.path.parent))
    known = outcome.known
    query = shlex.quote(f"{known.query_id}={known.queries[known.query_id][0].as_py()}")
    print_line(f"To recommend: tfrs-twotower recommend {directory} --query {query} -k 10")
    print_line(f"To serve it: tfrs-twotower serve {directory}")


def _print_prepared(prepared: Prepared) -> None:
    """Prints what was read and chosen, before training."""
    print_line(f"Data: {prepared.interactions.source}")
    for line in (*prepared.notes, *prepared.recipe.lines()):
        print_line(line)


def _print_report(report: Report) -> None:
    table = Table(title=f"On {report.num_events:,} test events", title_justify="left")
    table.add_column("", no_wrap=True)
    for case in report.cases:
        table.add_column(case, justify="right", overflow="fold")
    for metric in report.metrics:
        if metric != "num_queries":
            values = [report.cases[case].get(metric) for case in report.cases]
            table.add_row(metric, *("" if value is None else f"{value:.4f}" for value in values))
    out.print(table)
    confusion = report.confusion
    if confusion is None:
        return
    print_line(
        f"At probability 0.5: {confusion.true_positives:,} true and {confusion.false_positives:,} false positives, "
        f"{confusion.true_negatives:,} true and {confusion.false_negatives:,} false negatives."
    )
