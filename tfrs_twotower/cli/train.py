"""`tfrs-twotower train`: MovieLens in, a published version out."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
import warnings
from collections.abc import Iterator
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
    from tfrs_twotower.model.recipe import Recipe
    from tfrs_twotower.training.recipe import Trained

# MovieLens's demographics, if a data set has them, and what its report shows of movies.
_SEGMENT_BY = ("gender", "occupation")
_NAME_COLUMN, _GROUP_COLUMN = "title", "genres"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Options:
    """The options of `train`, checked."""

    dataset: str
    archive: Path | None
    data_dir: Path | None
    directory: Path
    index: IndexKind
    with_portable: bool
    filter_by: tuple[str, ...]
    keep: int | None
    k: int
    epochs: int | None
    batch_size: int | None
    seed: int
    logs: Path | None

    def __post_init__(self) -> None:
        for option, value, minimum in (
            ("-k", self.k, 1),
            ("--epochs", self.epochs, 1),
            ("--batch-size", self.batch_size, 1),
            ("--seed", self.seed, 0),
            ("--keep", self.keep, 1),
        ):
            if value is not None and value < minimum:
                raise ValueError(f"`{option}` must be at least {minimum}. Received: {value}.")


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="TFDS name of the ratings.")] = "movielens/100k-ratings",
    archive: Annotated[
        Path | None, typer.Option(help="Local MovieLens folder or zip to prepare the ratings from.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="TFDS's data folder. Default: TFDS's own.")] = None,
    output: Annotated[Path, typer.Option(help="Where the model's folder is created.")] = Path("saved_models"),
    name: Annotated[str, typer.Option(help="Name of the model's folder.")] = "movielens-100k",
    index: Annotated[
        IndexKind, typer.Option(help="auto: ScaNN's if it is installed. portable: for every TensorFlow host.")
    ] = IndexKind.AUTO,
    with_portable: Annotated[
        bool, typer.Option("--with-portable", help="Publish a portable twin beside a bundle that needs ScaNN.")
    ] = False,
    filter_by: Annotated[
        list[str] | None,
        typer.Option(help="Column of the movies that may be filtered by, such as genres; repeatable."),
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Number of versions that stay, the newest. Default: all.")] = None,
    k: Annotated[int, typer.Option("-k", "--k", help="Recommendations per query that the bundle gives.")] = 100,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of each model. Default: those chosen by the validation part.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Users per step of each model. Default: those chosen by the validation part.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the split, the weights and the order of the users.")] = 0,
    logs: Annotated[
        Path | None, typer.Option(help="A folder for TensorBoard: curves, and the movies for its projector.")
    ] = None,
) -> None:
    """Trains on MovieLens, evaluates on the test split, and publishes a SavedModel."""
    _run(
        _Options(
            dataset=dataset,
            archive=archive,
            data_dir=data_dir,
            directory=output / name,
            index=index,
            with_portable=with_portable,
            filter_by=tuple(filter_by or ()),
            keep=keep,
            k=k,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            logs=logs,
        )
    )


def _run(options: _Options) -> None:
    from tfrs_twotower.publishing.publish import require_writable

    require_writable(options.directory)
    if options.data_dir is not None:
        require_writable(options.data_dir)
    with err.status("Starting TensorFlow"):
        tf = import_tensorflow()
        index_builder(options.index)  # an unusable ScaNN is an error now rather than after the training
    tf.keras.utils.set_random_seed(options.seed)
    ratings = _load_ratings(options)
    with _warnings_printed():
        split = _split(ratings, options.seed)
    start = time.perf_counter()
    with err.status("Training"):
        result = _fit(split, options)
    trained = time.perf_counter()
    with err.status("Evaluating on the test split"):
        report, page, notes = _evaluate(result, split, options, fit_s=trained - start)
    with err.status("Exporting, and checking the export in a fresh process"):
        path = _export(result, split, report, page, options)
    _print_report(report)
    for note in notes:
        print_line(f"Warning: {note}")
    print_line(f"{_epochs(result.recipe)} epochs in {trained - start:.0f} s. Published: {path}")
    print_line(f"Report: {path / 'assets.extra' / 'report.html'}")


def _load_ratings(options: _Options) -> Interactions:
    """Loads the ratings with this library's own progress instead of TFDS's, and prints the terms of use."""
    import tensorflow_datasets as tfds

    from tfrs_twotower.movielens.load import load_movielens
    from tfrs_twotower.movielens.ml_100k import TERMS

    tfds.disable_progress_bar()
    text = f"Loading {escape(options.dataset)}; the first time it is fetched and prepared, which takes half a minute"
    with err.status(text), contextlib.redirect_stdout(io.StringIO()):
        ratings = load_movielens(options.dataset, data_dir=options.data_dir, archive=options.archive)
    if options.k > ratings.num_candidates:
        raise ValueError(
            f"`-k` must be at most the catalogue's {ratings.num_candidates} candidates. Received: {options.k}."
        )
    print_line(f"Data: {ratings.source}")
    print_line(TERMS)
    return ratings


def _split(ratings: Interactions, seed: int) -> Split:
    from tfrs_twotower.data.splits import random_split

    return random_split(ratings, seed=seed)


def _fit(split: Split, options: _Options) -> Trained:
    """Trains the default recipe on all parts except the test part."""
    from tfrs_twotower.model.recipe import choose_recipe
    from tfrs_twotower.training.recipe import fit_recipe

    recipe = choose_recipe(split.train)
    changes = {"epochs": options.epochs, "batch_size": options.batch_size}
    given = {name: value for name, value in changes.items() if value is not None}
    recipe = dataclasses.replace(
        recipe,
        retrieval=dataclasses.replace(recipe.retrieval, **given),
        rating=None if recipe.rating is None else dataclasses.replace(recipe.rating, **given),
    )
    for line in recipe.lines():
        print_line(line)
    return fit_recipe(recipe, split, seed=options.seed, callbacks=_tensorboard(options.logs))


def _tensorboard(logs: Path | None) -> list[tf.keras.callbacks.Callback]:
    """Returns Keras's callback that writes curves for TensorBoard, if there is a folder for them."""
    import tensorflow as tf

    return [] if logs is None else [tf.keras.callbacks.TensorBoard(str(logs), write_graph=False)]


def _evaluate(trained: Trained, split: Split, options: _Options, *, fit_s: float) -> tuple[Report, str, list[str]]:
    """Returns the report, its page, and the warnings that came up."""
    from tfrs_twotower.evaluation.build import build_report
    from tfrs_twotower.evaluation.html.details import PageDetails
    from tfrs_twotower.evaluation.html.page import build_page
    from tfrs_twotower.evaluation.predictions import predict
    from tfrs_twotower.evaluation.projector import write_projector

    model, start = trained.model, time.perf_counter()
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        predictions = predict(model, split)
        segment_by = [column for column in _SEGMENT_BY if column in split.test.queries.column_names]
        report = build_report(predictions, split, threshold=model.threshold, segment_by=segment_by)
    timings = {"fit": fit_s, "evaluate": time.perf_counter() - start}
    if options.logs is not None and predictions.vectors is not None:
        write_projector(options.logs, predictions.vectors, split.test.candidates)  # where TensorBoard looks for it
    columns = split.test.candidates.column_names
    details = PageDetails(
        title=options.directory.name,
        curves=trained.history,
        name_column=_NAME_COLUMN if _NAME_COLUMN in columns else None,
        group_column=_GROUP_COLUMN if _GROUP_COLUMN in columns else None,
        model={
            "parameters": f"{model.count_params():,}",
            "epochs": _epochs(trained.recipe),
            "seed": str(options.seed),
            "positive": f"a rating of at least {model.threshold:g}",
        },
        timings=timings,
    )
    page = build_page(report, predictions, split, threshold=model.threshold, details=details)
    return report, page, [str(note.message) for note in notes]


def _export(trained: Trained, split: Split, report: Report, page: str, options: _Options) -> Path:
    from tfrs_twotower.bundle.layout import REPORT_FILE
    from tfrs_twotower.publishing.export import ExportConfig, export_bundle

    config = ExportConfig(
        k=options.k,
        build_index=index_builder(options.index),
        with_portable=options.with_portable,
        filter_by=options.filter_by,
        extra_files={Path(REPORT_FILE).name: page},
    )
    return export_bundle(
        trained.model,
        split.seen,
        options.directory,
        config=config,
        metrics=report,
        recipe=trained.recipe,
        keep=options.keep,
    )


def _epochs(recipe: Recipe) -> str:
    parts = [part for part in (recipe.retrieval, recipe.rating) if part is not None]
    return " and ".join(str(part.epochs) for part in parts)


@contextlib.contextmanager
def _warnings_printed() -> Iterator[None]:
    """Prints warnings as lines of the output."""
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        yield
    for note in notes:
        print_line(str(note.message))


def _print_report(report: Report) -> None:
    table = Table(title=f"On {report.num_events:,} test ratings", title_justify="left")
    table.add_column("")
    for case in report.cases:
        table.add_column(case, justify="right")
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
