"""The command line: `tfrs-twotower train` and `tfrs-twotower recommend`.

A mistake of the user's is one line and exit code 2. TensorFlow is imported by the commands, not for their help.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import io
import json
import logging
import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import tensorflow as tf

    from tfrs_twotower.data.interactions import Interactions
    from tfrs_twotower.data.splits import Split
    from tfrs_twotower.evaluation.report import Report
    from tfrs_twotower.model.joint import JointModel
    from tfrs_twotower.model.two_tower import TwoTowerModel

# MovieLens's demographics, where a data set has them.
_SEGMENTED_BY = ("gender", "occupation")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
_out = Console()
_err = Console(stderr=True)


class Configuration(str, enum.Enum):
    """Which model is trained."""

    JOINT = "joint"
    REFERENCE = "reference"


class IndexKind(str, enum.Enum):
    """Which index an export carries."""

    AUTO = "auto"
    SCANN = "scann"
    PORTABLE = "portable"
    EXACT = "exact"


def main() -> None:
    """Runs the command line; the entry point of `tfrs-twotower`."""
    _silence_tensorflow()
    try:
        app()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if "--debug" in sys.argv:
            raise
        _err.print(f"[bold red]Error:[/] {escape(' '.join(str(error).split()))}", soft_wrap=True, highlight=False)
        sys.exit(2)


@app.callback()
def _root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the whole traceback of an error.")] = False,
) -> None:
    """Two-tower recommenders: trains on ratings, publishes a SavedModel, asks it for recommendations."""
    del debug  # `main` looks for it, since an error may come before the arguments are parsed


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
    ):
        if value is not None and value < least:
            raise ValueError(f"`{option}` must be at least {least}. Received: {value}.")
    directory = output / name
    from tfrs_twotower.serving import publish

    publish.require_writable(directory)
    if data_dir is not None:
        publish.require_writable(data_dir)
    with _err.status("Starting TensorFlow"):
        import tensorflow as tf

        from tfrs_twotower.data.splits import random_split
        from tfrs_twotower.evaluation.page import Background, build_page
        from tfrs_twotower.evaluation.projector import write_projector
        from tfrs_twotower.evaluation.report import answer, judge
        from tfrs_twotower.serving.export import export_bundle

        build_index = _index_builder(index)
    tf.keras.utils.set_random_seed(seed)
    ratings = _load_ratings(dataset, data_dir, archive)
    if k > ratings.num_candidates:
        raise ValueError(f"`-k` must be at most the catalogue's {ratings.num_candidates} candidates. Received: {k}.")
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        split = random_split(ratings, seed=seed)
    for note in notes:
        _print_line(str(note.message))
    start = time.perf_counter()
    fit = _fit_joint if configuration is Configuration.JOINT else _fit_reference
    model, histories = fit(split, seed, epochs, batch_size, logs)
    timings = {"fit": time.perf_counter() - start}
    num_epochs = " and ".join(str(len(history.epoch)) for history in histories.values())
    start = time.perf_counter()
    with _err.status("Evaluating on the test split"), warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always", UserWarning)
        answers = answer(model, split)
        segment_by = [column for column in _SEGMENTED_BY if column in ratings.queries.column_names]
        report = judge(answers, split, threshold=model.threshold, segment_by=segment_by)
    timings["evaluate"] = time.perf_counter() - start
    if logs is not None and answers.vectors is not None:
        write_projector(logs, answers.vectors, ratings.candidates)  # where TensorBoard looks for it
    with _err.status("Writing the report"):
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
    with _err.status("Exporting, and asking the export in a fresh process"):
        path = export_bundle(
            model,
            split.seen,
            directory,
            k=k,
            build_index=build_index,
            metrics=figures,
            extra_files={
                "report.html": page,
                "metrics.json": json.dumps(figures, indent=2, allow_nan=False) + "\n",
            },
        )
    _print_report(report)
    for note in notes:
        _print_line(f"Warning: {note.message}")
    _print_line(f"{num_epochs} epochs in {timings['fit']:.0f} s. Published: {path}")
    _print_line(f"Report: {path / 'assets.extra' / 'report.html'}")


@app.command()
def recommend(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    query: Annotated[list[str], typer.Option(help="feature=value, such as user_id=42 or history=50,172; repeatable.")],
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
) -> None:
    """Prints the best candidates for one query, with what the catalogue calls them."""
    if k < 1:
        raise ValueError(f"`-k` must be at least 1. Received: {k}.")
    pairs = _parse_pairs(query)
    with _err.status("Loading the bundle"):
        from tfrs_twotower.serving.loading import load_bundle

        loaded = load_bundle(bundle)
        inputs = {spec["name"]: spec for spec in loaded.manifest["query"]["inputs"]}
        features = {name: [_parse_value(inputs.get(name), text)] for name, text in pairs.items()}
        outputs = loaded.recommend(features, k=k)
    titles = _titles(loaded.candidates, loaded.manifest["candidate"]["id"])
    table = Table(title=escape(f"For {', '.join(query)} (version {loaded.path.name})"), title_justify="left")
    for column, justify in (
        ("rank", "right"),
        ("id", "right"),
        ("title", "left"),
        ("score", "right"),
        ("probability", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    ids, scores = outputs["candidate_ids"][0].tolist(), outputs["scores"][0].tolist()
    # A model that only ranks knows no probabilities.
    probabilities = [f"{value:.3f}" for value in outputs["probabilities"][0]] if "probabilities" in outputs else None
    for rank, (candidate_id, score) in enumerate(zip(ids, scores, strict=True), start=1):
        if candidate_id:
            title = escape(titles.get(candidate_id) or "")
            probability = probabilities[rank - 1] if probabilities else ""
            table.add_row(str(rank), escape(candidate_id), title, f"{score:.3f}", probability)
    _out.print(table)


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

    from tfrs_twotower.data.archives import TERMS
    from tfrs_twotower.data.movielens import load_movielens

    tfds.disable_progress_bar()
    text = f"Loading {escape(dataset)}; the first time it is fetched and prepared, which takes half a minute"
    with _err.status(text), contextlib.redirect_stdout(io.StringIO()):
        ratings = load_movielens(dataset, data_dir=data_dir, archive=archive)
    _print_line(f"Data: {ratings.source}")
    _print_line(TERMS)
    return ratings


def _index_builder(kind: IndexKind) -> Any:
    from tfrs_twotower.serving import build_index

    if kind is IndexKind.SCANN:
        from tfrs_twotower._scann import require_scann

        require_scann()  # now rather than after the training
    return {
        IndexKind.AUTO: build_index.build_best_index,
        IndexKind.SCANN: build_index.build_scann_index,
        IndexKind.PORTABLE: build_index.build_portable_index,
        IndexKind.EXACT: build_index.build_exact_index,
    }[kind]


def _print_report(report: Report) -> None:
    table = Table(title=f"On {report.num_events:,} test ratings", title_justify="left")
    table.add_column("")
    for case in report.cases:
        table.add_column(case, justify="right")
    for metric in report.cases["model"]:
        if metric != "num_queries":
            values = [report.cases[case].get(metric) for case in report.cases]
            table.add_row(metric, *("" if value is None else f"{value:.4f}" for value in values))
    _out.print(table)
    confusion = report.confusion
    if confusion is None:
        return
    _print_line(
        f"At probability 0.5: {confusion.true_positives:,} true and {confusion.false_positives:,} false positives, "
        f"{confusion.true_negatives:,} true and {confusion.false_negatives:,} false negatives."
    )


def _print_line(text: str) -> None:
    """Prints text as it is: no markup, no colours, broken by the terminal alone."""
    _out.print(text, markup=False, highlight=False, soft_wrap=True)


def _titles(candidates: Any, id_column: str) -> dict[str, str]:
    if "title" not in candidates.column_names:
        return {}
    return dict(zip(candidates[id_column].to_pylist(), candidates["title"].to_pylist(), strict=True))


def _parse_pairs(texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"`--query` must be feature=value, such as user_id=42. Received: {text!r}.")
        if name in pairs:
            raise ValueError(f"`--query` must name a feature once. Received {name!r} twice.")
        pairs[name] = value
    return pairs


def _parse_value(spec: dict[str, Any] | None, text: str) -> Any:
    """A value as its input wants it, a list from parts with commas between; an unknown feature is named later."""
    if spec is None:
        return text
    parts = text.split(",") if len(spec["shape"]) > 1 else [text]
    parse = {"string": lambda name, part: part, "float32": _parse_number, "int64": _parse_seconds}[spec["dtype"]]
    values = [parse(spec["name"], part) for part in parts]
    return values if len(spec["shape"]) > 1 else values[0]


def _parse_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`{name}` must be a number. Received: {text!r}.") from None


def _parse_seconds(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"`{name}` must be whole seconds since 1970. Received: {text!r}.") from None


def _silence_tensorflow() -> None:
    """Keeps TensorFlow's and TFDS's logs off the screen; their errors still arrive as exceptions.

    This library's own one log line, on the source of the data, is printed by `train` as part of its output.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for logger in ("tensorflow", "absl", "tfrs_twotower"):
        logging.getLogger(logger).setLevel(logging.ERROR)


if __name__ == "__main__":
    main()
