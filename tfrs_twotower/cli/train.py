"""`tfrs-twotower train`: MovieLens in, a published version out."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import json
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from tfrs_twotower.cli.app import IndexKind, app, err, import_tensorflow, index_builder, out, print_line

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrs_twotower.data.interactions import Interactions
    from tfrs_twotower.data.splits import Split
    from tfrs_twotower.evaluation.report import Report
    from tfrs_twotower.model.joint import JointModel
    from tfrs_twotower.model.two_tower import TwoTowerModel

# MovieLens's demographics, where a data set has them.
_SEGMENTED_BY = ("gender", "occupation")


class Configuration(str, enum.Enum):
    """Which model is trained."""

    JOINT = "joint"
    REFERENCE = "reference"


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="TFDS name of the ratings.")] = "movielens/100k-ratings",
    archive: Annotated[
        Path | None, typer.Option(help="Local MovieLens folder or zip to prepare the ratings from.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="TFDS's data folder. Default: TFDS's own.")] = None,
    configuration: Annotated[
        Configuration,
        typer.Option(help="joint: a head that ranks and one that knows probabilities. reference: the notebook's MLPs."),
    ] = Configuration.JOINT,
    output: Annotated[Path, typer.Option(help="Where the model's folder is made.")] = Path("saved_models"),
    name: Annotated[str, typer.Option(help="Name of the model's folder.")] = "movielens-100k",
    index: Annotated[
        IndexKind, typer.Option(help="auto: ScaNN's where it is installed. portable: for any TensorFlow.")
    ] = IndexKind.AUTO,
    with_portable: Annotated[
        bool, typer.Option("--with-portable", help="Publish the same for any TensorFlow beside a bundle with ScaNN.")
    ] = False,
    filter_by: Annotated[
        list[str] | None, typer.Option(help="Column of the items that may be filtered by, such as genres; repeatable.")
    ] = None,
    keep: Annotated[int | None, typer.Option(help="How many versions stay, the newest. Default: all.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Recommendations per query that the bundle gives.")] = 100,
    epochs: Annotated[
        int | None, typer.Option(help="joint: of each head; reference: at most so many. Default: the configuration's.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="joint: users per step; reference: events. Default: the configuration's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the weights and the order of the events.")] = 0,
    logs: Annotated[
        Path | None, typer.Option(help="A folder for TensorBoard: curves, and the items for its projector.")
    ] = None,
) -> None:
    """Trains on MovieLens, evaluates on the test split, and publishes a SavedModel."""
    for option, value, least in (
        ("-k", k, 1),
        ("--epochs", epochs, 1),
        ("--batch-size", batch_size, 1),
        ("--seed", seed, 0),
        ("--keep", keep, 1),
    ):
        if value is not None and value < least:
            raise ValueError(f"`{option}` must be at least {least}. Received: {value}.")
    directory = output / name
    from tfrs_twotower.publishing import publish

    publish.require_writable(directory)
    if data_dir is not None:
        publish.require_writable(data_dir)
    with err.status("Starting TensorFlow"):
        tf = import_tensorflow()

        from tfrs_twotower.data.splits import random_split
        from tfrs_twotower.evaluation.html.page import Background, build_page
        from tfrs_twotower.evaluation.projector import write_projector
        from tfrs_twotower.evaluation.report import answer, judge
        from tfrs_twotower.publishing.export import export_bundle

        build_index = index_builder(index)
    tf.keras.utils.set_random_seed(seed)
    ratings = _load_ratings(dataset, data_dir, archive)
    if k > ratings.num_candidates:
        raise ValueError(f"`-k` must be at most the catalogue's {ratings.num_candidates} candidates. Received: {k}.")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        split = random_split(ratings, seed=seed)
    for note in notes:
        print_line(str(note.message))
    start = time.perf_counter()
    fit = _fit_joint if configuration is Configuration.JOINT else _fit_reference
    model, histories = fit(split, seed, epochs, batch_size, logs)
    timings = {"fit": time.perf_counter() - start}
    num_epochs = " and ".join(str(len(history.epoch)) for history in histories.values())
    start = time.perf_counter()
    with err.status("Evaluating on the test split"), warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        answers = answer(model, split)
        segment_by = [column for column in _SEGMENTED_BY if column in ratings.queries.column_names]
        report = judge(answers, split, threshold=model.threshold, segment_by=segment_by)
    timings["evaluate"] = time.perf_counter() - start
    if logs is not None and answers.vectors is not None:
        write_projector(logs, answers.vectors, ratings.candidates)  # where TensorBoard looks for it
    with err.status("Writing the report"):
        columns = ratings.candidates.column_names
        background = Background(
            title=f"{name}, {configuration.value}",
            curves={head: history.history for head, history in histories.items()},
            text="title" if "title" in columns else None,
            group="genres" if "genres" in columns else None,
            model={
                "configuration": configuration.value,
                "parameters": f"{model.count_params():,}",
                "epochs": num_epochs,
                "seed": str(seed),
                "positive": f"a rating of at least {model.threshold:g}",
            },
            timings=timings,
        )
        page = build_page(report, answers, split, threshold=model.threshold, background=background)
    figures = report.to_dict()
    with err.status("Exporting, and asking the export in a fresh process"):
        path = export_bundle(
            model,
            split.seen,
            directory,
            k=k,
            build_index=build_index,
            with_portable=with_portable,
            filter_by=filter_by or (),
            keep=keep,
            metrics=figures,
            extra_files={
                "report.html": page,
                "metrics.json": json.dumps(figures, indent=2, allow_nan=False) + "\n",
            },
        )
    _print_report(report)
    for note in notes:
        print_line(f"Warning: {note.message}")
    print_line(f"{num_epochs} epochs in {timings['fit']:.0f} s. Published: {path}")
    print_line(f"Report: {path / 'assets.extra' / 'report.html'}")


def _fit_joint(
    split: Split, seed: int, epochs: int | None, batch_size: int | None, logs: Path | None
) -> tuple[JointModel, dict[str, tf.keras.callbacks.History]]:
    """Trains on all but the test part: validation has chosen the configuration, and the number of epochs."""
    from tfrs_twotower.model.joint_movielens import build_movielens_joint
    from tfrs_twotower.training.callbacks import ProgressLine
    from tfrs_twotower.training.fit import RATING_TRAINING, RETRIEVAL_TRAINING, fit_joint

    model = build_movielens_joint(split.seen)
    changes = {"epochs": epochs, "batch_size": batch_size}
    given = {name: value for name, value in changes.items() if value is not None}
    retrieval, rating = (dataclasses.replace(training, **given) for training in (RETRIEVAL_TRAINING, RATING_TRAINING))
    with ProgressLine("catalogue_loss", "log_loss") as line:
        histories = fit_joint(
            model,
            split.seen,
            seed=seed,
            retrieval=retrieval,
            rating=rating,
            retrieval_callbacks=[line, *_tensorboard(logs, "retrieval")],
            rating_callbacks=[line, *_tensorboard(logs, "rating")],
        )
    return model, histories


def _fit_reference(
    split: Split, seed: int, epochs: int | None, batch_size: int | None, logs: Path | None
) -> tuple[TwoTowerModel, dict[str, tf.keras.callbacks.History]]:
    """Trains on the training part, and stops by the validation part."""
    from tfrs_twotower.model.build import build_two_tower
    from tfrs_twotower.model.reference import MOVIELENS_CANDIDATE, MOVIELENS_QUERY, with_columns_of
    from tfrs_twotower.training.callbacks import ProgressLine
    from tfrs_twotower.training.fit import fit_two_tower

    query = with_columns_of(MOVIELENS_QUERY, split.train.queries)
    model = build_two_tower(split.train, query=query, candidate=MOVIELENS_CANDIDATE)
    with ProgressLine("val_log_loss") as line:
        history = fit_two_tower(
            model,
            split,
            seed=seed,
            epochs=epochs or 100,
            batch_size=batch_size or 1024,
            callbacks=[line, *_tensorboard(logs, "rating")],
        )
    return model, {"rating": history}


def _tensorboard(logs: Path | None, name: str) -> list[tf.keras.callbacks.Callback]:
    """Keras's callback that writes curves for TensorBoard, if they are wanted."""
    import tensorflow as tf

    return [] if logs is None else [tf.keras.callbacks.TensorBoard(str(logs / name), write_graph=False)]


def _load_ratings(dataset: str, data_dir: Path | None, archive: Path | None) -> Interactions:
    """Loads the ratings with this library's own progress instead of TFDS's, and says whose they are."""
    import tensorflow_datasets as tfds

    from tfrs_twotower.movielens.load import load_movielens
    from tfrs_twotower.movielens.ml_100k import TERMS

    tfds.disable_progress_bar()
    text = f"Loading {escape(dataset)}; the first time it is fetched and prepared, which takes half a minute"
    with err.status(text), contextlib.redirect_stdout(io.StringIO()):
        ratings = load_movielens(dataset, data_dir=data_dir, archive=archive)
    print_line(f"Data: {ratings.source}")
    print_line(TERMS)
    return ratings


def _print_report(report: Report) -> None:
    table = Table(title=f"On {report.num_events:,} test ratings", title_justify="left")
    table.add_column("")
    for case in report.cases:
        table.add_column(case, justify="right")
    for metric in report.cases["model"]:
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
