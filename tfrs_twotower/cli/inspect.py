"""`tfrs-twotower inspect`: what would be understood of a table, and what would be done, without training."""

from __future__ import annotations

import typer
from rich.table import Table

from tfrs_twotower.cli import options
from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.options import make_experiment, options_named
from tfrs_twotower.cli.progress import show_progress
from tfrs_twotower.cli.screen import err, out, print_line

_MAX_EXAMPLE_LENGTH = 40


@app.command()
def inspect(
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
    refit: options.Refit = None,
    resume: options.Resume = None,
    run_folder: options.RunFolder = None,
    deterministic: options.Deterministic = None,
) -> None:
    """Says what it understands of a table: columns, ratings, times, features, and the cost of training."""
    with options_named(context.params), show_progress(err) as progress:
        experiment = make_experiment(context.params)
        progress("Starting TensorFlow", 0, 0)
        import_tensorflow()

        from tfrs_twotower.experiment.inspection import inspect_table

        progress("Starting TensorFlow", 1, 1)
        inspection = inspect_table(experiment, progress=progress)
    table = Table(title="Columns", title_justify="left")
    for column in ("table", "column", "type", "values", "missing", "example"):
        table.add_column(column, justify="right" if column in ("values", "missing") else "left")
    for summary in inspection.columns:
        num_values = "" if summary.num_values is None else f"{summary.num_values:,}"
        example = summary.example[:_MAX_EXAMPLE_LENGTH]
        table.add_row(summary.table, summary.name, summary.type, num_values, f"{summary.num_missing:,}", example)
    out.print(table)
    for line in inspection.lines():
        print_line(line)
