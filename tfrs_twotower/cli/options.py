"""The options that say what an experiment is, shared by `train` and `inspect`, and the experiment that they make."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from tfrs_twotower.experiment.experiment import Experiment

_Command: TypeAlias = Callable[..., None]

Ratings = Annotated[
    str | None,
    typer.Argument(metavar="FILE", help="Table of ratings: CSV, Parquet, Arrow, TFRecords, or a folder of them."),
]
Config = Annotated[Path | None, typer.Option(help="Experiment file (TOML). Options override what it says.")]
QueryId = Annotated[str | None, typer.Option(help="Column that says who rates. Default: found by its name.")]
CandidateId = Annotated[str | None, typer.Option(help="Column that says what is rated. Default: found by its name.")]
Rating = Annotated[str | None, typer.Option(help="Column of ratings. Default: none, every event is positive.")]
Timestamp = Annotated[str | None, typer.Option(help="Column of times. Default: none.")]
Weight = Annotated[str | None, typer.Option(help="Column of weights in the loss. Default: none.")]
Impressions = Annotated[
    str | None, typer.Option(help="Column of the candidates that were shown, as lists such as a|b. Default: none.")
]
EventFeatures = Annotated[
    list[str] | None,
    typer.Option(help="Column that differs from event to event, such as the hour: context; repeatable. Default: none."),
]
Catalogue = Annotated[str | None, typer.Option(help="File with one row per candidate, with its features.")]
Queries = Annotated[str | None, typer.Option(help="File with one row per query, with its features.")]
OnInvalid = Annotated[str | None, typer.Option(help="What to do with unusable rows: fail or drop. Default: fail.")]
Repeats = Annotated[
    str | None,
    typer.Option(help="Events of the same pair: keep, or merge by last, mean, sum or count. Default: keep."),
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of text files. Default: found.")]
Delimiter = Annotated[str | None, typer.Option(help="What separates columns in text files. Default: found.")]
ColumnNames = Annotated[
    str | None, typer.Option(help="Names of the columns of a file without a header, separated by commas.")
]
Dataset = Annotated[str | None, typer.Option(help="MovieLens data set, without FILE. Default: movielens/100k-ratings.")]
Archive = Annotated[str | None, typer.Option(help="Local MovieLens folder or zip to prepare the ratings from.")]
DataDir = Annotated[str | None, typer.Option(help="TFDS's data folder, for MovieLens. Default: TFDS's own.")]
SplitKind = Annotated[str | None, typer.Option(help="random, temporal or leave-last-out. Default: random.")]
Threshold = Annotated[float | None, typer.Option(help="Lowest rating that is positive. Default: by the scale.")]
Epochs = Annotated[
    int | None, typer.Option(help="Epochs of each model. Default: those that the validation part chooses.")
]
BatchSize = Annotated[int | None, typer.Option(help="Queries per step of each model. Default: by the data's size.")]
Seed = Annotated[
    int | None, typer.Option(help="Seed of the split, the weights and the order of the queries. Default: 0.")
]
K = Annotated[
    int | None, typer.Option("-k", "--k", help="Recommendations per query that the bundle gives. Default: 100.")
]
FilterBy = Annotated[
    list[str] | None,
    typer.Option(help="Column of the candidates to filter by; repeatable. Default: those that hold categories."),
]
RecommendSeen = Annotated[
    bool | None, typer.Option("--recommend-seen", help="Recommend what a query has seen again, and evaluate so.")
]
Output = Annotated[str | None, typer.Option(help="Where the model's folder is created. Default: saved_models.")]
Name = Annotated[str | None, typer.Option(help="Name of the model's folder. Default: that of the data.")]
Index = Annotated[
    str | None,
    typer.Option(help="auto, scann, portable or exact. Default: auto, ScaNN's if it is installed."),
]
WithPortable = Annotated[
    bool | None,
    typer.Option(
        "--with-portable/--without-portable",
        help="Whether a portable twin is published beside a bundle that needs ScaNN. Default: it is.",
    ),
]
Keep = Annotated[int | None, typer.Option(help="Number of versions that stay, the newest. Default: all.")]
Logs = Annotated[
    str | None, typer.Option(help="A folder for TensorBoard: curves, and the candidates for its projector.")
]

Resume = Annotated[
    bool | None,
    typer.Option("--resume", help="Keep the training in a folder, so that the same command goes on if it is stopped."),
]
RunFolder = Annotated[str | None, typer.Option(help="The folder of --resume. Default: runs/ and the name.")]
StartFrom = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="A version, or the newest of a folder, whose training goes on with FILE's events and its settings.",
    ),
]
Refit = Annotated[
    bool | None,
    typer.Option("--refit", help="Publish models that are trained on the test part, too, once it has measured them."),
]
Gate = Annotated[
    float | None,
    typer.Option(help="With --from: lowest share of the older version's NDCG@10 that is published. Default: 0.95."),
]
DropUnseenAfterDays = Annotated[
    float | None,
    typer.Option(help="With --from: drop ids whose newest event is older than these days. Default: none."),
]
Deterministic = Annotated[
    bool | None, typer.Option("--deterministic", help="Give the same weights each time, to the last bit; slower.")
]

# Parameter of a command -> keys of the experiment that it sets.
_KEYS: Mapping[str, tuple[str, ...]] = {
    "ratings": ("data.ratings",),
    "query_id": ("data.query_id",),
    "candidate_id": ("data.candidate_id",),
    "rating": ("data.rating",),
    "timestamp": ("data.timestamp",),
    "weight": ("data.weight",),
    "impressions": ("data.impressions",),
    "event_features": ("data.event_features",),
    "catalogue": ("data.candidates",),
    "queries": ("data.queries",),
    "on_invalid": ("data.on_invalid",),
    "repeats": ("data.repeats",),
    "encoding": ("data.encoding",),
    "delimiter": ("data.delimiter",),
    "column_names": ("data.column_names",),
    "dataset": ("movielens.dataset",),
    "archive": ("movielens.archive",),
    "data_dir": ("movielens.data_dir",),
    "split": ("split.kind",),
    "threshold": ("training.threshold",),
    "epochs": ("retrieval_model.epochs", "rating_model.epochs"),
    "batch_size": ("retrieval_model.batch_size", "rating_model.batch_size"),
    "seed": ("training.seed",),
    "logs": ("training.logs",),
    "resume": ("training.resume",),
    "run_folder": ("training.run_folder",),
    "start_from": ("training.start_from",),
    "drop_unseen_after_days": ("training.drop_unseen_after_days",),
    "deterministic": ("training.deterministic",),
    "refit": ("training.refit",),
    "gate": ("export.gate",),
    "k": ("export.k",),
    "filter_by": ("export.filter_by",),
    "recommend_seen": ("export.recommend_seen",),
    "output": ("export.output",),
    "name": ("export.name",),
    "keep": ("export.keep",),
    "with_portable": ("export.with_portable",),
    "index": ("index.kind",),
}
# Argument of a function of the library -> parameter of a command, where errors about it may come from the library.
_ARGUMENTS = {
    "queries": "queries",
    "candidates": "catalogue",
    "event_features": "event_features",
    "on_invalid": "on_invalid",
    "repeats": "repeats",
    "encoding": "encoding",
    "delimiter": "delimiter",
    "column_names": "column_names",
    "threshold": "threshold",
    "filter_by": "filter_by",
    "run_folder": "run_folder",
}

# Advice of the library to give an argument, such as `on_invalid='drop'` or `text_format=TextFormat(delimiter=...)`.
_ADVICE = re.compile(
    r"(?:text_format=TextFormat\()?\b(encoding|delimiter|column_names|on_invalid|repeats)="
    r"(?:'([^']*)'|\(\.\.\.\)|\.\.\.)\)?"
)


def make_experiment(parameters: Mapping[str, Any]) -> Experiment:
    """Makes the experiment that a command's options describe: those of its file, with the options given instead.

    Args:
        parameters: Name of a parameter -> value, as Typer gives them.

    Raises:
        ValueError: If a value is impossible; names the option, or the key of the file.
        TypeError: If a value of the file has the wrong type.
        FileNotFoundError: If there is no such file.
    """
    from tfrs_twotower.bundle.layout import find_version
    from tfrs_twotower.experiment.experiment import Experiment
    from tfrs_twotower.experiment.reading import SECTIONS, read_experiment

    given = _given(parameters)
    sections: dict[str, Any] = {}
    if parameters.get("config") is not None:
        experiment = read_experiment(parameters["config"])
    elif "start_from" in given:
        experiment = _experiment_of(find_version(Path(given["start_from"])))
    else:
        experiment = None
    if experiment is not None:
        sections = {field.name: getattr(experiment, field.name) for field in dataclasses.fields(experiment)}
    _choose_source(sections, given)
    for name, value in given.items():
        for key in _KEYS[name]:
            section, _, field = key.partition(".")
            if sections.get(section) is None:
                sections[section] = SECTIONS[section](**({"ratings": value} if key == "data.ratings" else {}))
            sections[section] = dataclasses.replace(sections[section], **{field: value})
    return Experiment(**sections)


def _experiment_of(version: Path) -> Experiment:
    """Returns the experiment of a version, which is published beside it again."""
    from tfrs_twotower.experiment.reading import read_experiment

    file = version / "assets.extra" / "experiment.toml"
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no experiment at {file}. `--from` must name a version that `train` published."
        )
    experiment = read_experiment(file)
    place = version.resolve().parent
    export = dataclasses.replace(experiment.export, output=str(place.parent), name=place.name)
    return dataclasses.replace(experiment, export=export)


def with_options_of(
    command: Callable[..., None], *, without: Sequence[str]
) -> Callable[[_Command], Callable[..., None]]:
    """Makes a command, a function of Typer's context alone, take the options of another one.

    Args:
        command: The other command.
        without: Names of its parameters that the new one does not take.
    """
    signature = inspect.signature(command, eval_str=True)
    taken = [parameter for name, parameter in signature.parameters.items() if name not in without]

    def decorate(function: _Command) -> _Command:
        @functools.wraps(function)
        def run(context: typer.Context, **_: Any) -> None:
            function(context)

        run.__signature__ = signature.replace(parameters=taken)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in taken}
        return run

    return decorate


@contextlib.contextmanager
def options_named(parameters: Mapping[str, Any]) -> Iterator[None]:
    """Names options in errors in place of keys of an experiment file and of the library's arguments.

    A key that comes from an experiment file keeps its name.

    Args:
        parameters: Name of a parameter -> value, as Typer gives them.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        named = _given(parameters) if parameters.get("config") is not None else _KEYS
        words = {key: _option(name) for name in named for key in _KEYS[name]}
        words |= {argument: _option(name) for argument, name in _ARGUMENTS.items()}
        text = re.sub(r"`([a-z_.]+)`", lambda match: f"`{words.get(match[1], match[1])}`", str(error))
        text = _ADVICE.sub(lambda match: f"{_option(match[1])} {match[2] or ''}".rstrip(), text)
        if "that `--catalogue` does not have" in text and parameters.get("start_from") and not parameters["catalogue"]:
            text += " The catalogue is that of the version: give the whole new one with --catalogue."
        if type(error) in (ValueError, TypeError) and text != str(error):
            raise type(error)(text) from error
        raise


def _given(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters that were given and set a key, in the order of `_KEYS`."""
    given: dict[str, Any] = {name: parameters.get(name) for name in _KEYS}
    given = {name: value for name, value in given.items() if value is not None and value != ()}
    given = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items() if value != []}
    if "column_names" in given:
        given["column_names"] = [name.strip() for name in given["column_names"].split(",")]
    if "delimiter" in given:
        given["delimiter"] = given["delimiter"].replace("\\t", "\t")  # a tab is hard to type
    return given


def _choose_source(sections: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Decides between a table and MovieLens, and removes the other section."""
    of_data = [name for name in given if _KEYS[name][0].startswith("data.")]
    of_movielens = [name for name in given if _KEYS[name][0].startswith("movielens.")]
    if of_data and of_movielens:
        raise ValueError(
            f"`{_option(of_movielens[0])}` is for MovieLens, and `{_option(of_data[0])}` for a table of your own. "
            "Received: both; leave one out."
        )
    if of_data and "ratings" not in given and sections.get("data") is None:
        raise ValueError(
            f"`{_option(of_data[0])}` needs a table of ratings. Name its file first, as in: "
            "tfrs-twotower train ratings.csv --query-id customer --candidate-id sku"
        )
    if of_data:
        sections["movielens"] = None
    elif of_movielens or sections.get("data") is None:
        sections["data"] = None
        _default_movielens(sections)


def _default_movielens(sections: dict[str, Any]) -> None:
    from tfrs_twotower.experiment.sections import MovieLensSection

    if sections.get("movielens") is None:
        sections["movielens"] = MovieLensSection()


def _option(name: str) -> str:
    if name == "ratings":
        return "FILE"
    if name == "start_from":
        return "--from"
    return "-k" if name == "k" else f"--{name.replace('_', '-')}"
