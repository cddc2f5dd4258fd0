"""`tfrs-twotower tune`: the experiment file's ranges in, the best settings out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.progress import show_progress
from tfrs_twotower.cli.screen import err, print_line


@app.command()
def tune(
    config: Annotated[Path, typer.Option(help="Experiment file (TOML). Its section `tune` says what is searched.")],
    trials: Annotated[int, typer.Option(help="Trials of the search, those of earlier commands included.")] = 30,
    processes: Annotated[int, typer.Option(help="Processes that make trials at the same time.")] = 1,
    minutes: Annotated[float | None, typer.Option(help="Minutes after which no further trial begins.")] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where trials are kept. The same command goes on there. Default: tuning/NAME.")
    ] = None,
) -> None:
    """Searches better settings of a model by the validation part, and writes them to an experiment file."""
    with show_progress(err) as progress:
        from tfrs_twotower.experiment.reading import read_experiment

        experiment = read_experiment(config)
        progress("Starting TensorFlow", 0, 0)
        import_tensorflow()

        from tfrs_twotower.experiment.tuning import tune_experiment

        progress("Starting TensorFlow", 1, 1)
        tuned = tune_experiment(
            experiment,
            folder=folder,
            num_trials=trials,
            num_processes=processes,
            max_s=None if minutes is None else 60 * minutes,
            progress=progress,
        )
    metric = "NDCG@10" if tuned.model == "retrieval_model" else "log loss"
    own = "" if tuned.own_value is None else f"; the experiment's own settings have {tuned.own_value:.4f}"
    print_line(f"{tuned.num_trials} trials, {tuned.num_stopped} of them stopped early.")
    print_line(f"Best {metric} of the validation part: {tuned.value:.4f}{own}.")
    for name, value in tuned.settings.items():
        print_line(f"{tuned.model}.{name} = {value:.4g}")
    print_line(f"To train with them: tfrs-twotower train --config {shlex.quote(str(tuned.path))}")
