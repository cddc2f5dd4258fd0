"""`tfrs-twotower inspect`: what would be understood of a table, and what would be done, without training."""

from __future__ import annotations

import typer
from rich.table import Table

from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.options import make_experiment, options_named, with_options_of
from tfrs_twotower.cli.progress import show_progress
from tfrs_twotower.cli.screen import err, out, print_line
from tfrs_twotower.cli.train import train

_MAX_EXAMPLE_LENGTH = 40


@app.command()
@with_options_of(train, without=("start_from", "drop_unseen_after_days", "gate"))
def inspect(context: typer.Context) -> None:
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
