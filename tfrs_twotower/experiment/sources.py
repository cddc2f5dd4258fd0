"""Loading the data of an experiment."""

from __future__ import annotations

import contextlib
import dataclasses
import io

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.data.schema import Schema
from tfrs_twotower.data.tables import load_ratings
from tfrs_twotower.data.text_format import TextFormat
from tfrs_twotower.experiment.column_names import read_column_names
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.id_columns import find_candidate_id, find_query_id
from tfrs_twotower.experiment.sections import DataSection, MovieLensSection


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """The data of an experiment.

    Attributes:
        interactions: The data.
        experiment: The experiment, with the id columns that were found.
        notes: What was assumed and what holds for the data, as full sentences.
    """

    interactions: Interactions
    experiment: Experiment
    notes: tuple[str, ...]


def load_data(experiment: Experiment, *, progress: Progress = no_progress) -> Loaded:
    """Loads the data that an experiment names.

    Args:
        experiment: The experiment.
        progress: Called while data are read.

    Raises:
        ValueError: If the data cannot be used, or the id columns are not named and cannot be found.
        OSError: If a file cannot be read, or MovieLens cannot be downloaded.
    """
    if experiment.data is None:
        assert experiment.movielens is not None
        return _load_movielens(experiment, experiment.movielens, progress)
    data, notes = _with_ids(experiment.data)
    interactions = load_ratings(
        data.ratings,
        schema_of(data),
        queries=data.queries,
        candidates=data.candidates,
        on_invalid=data.on_invalid,
        repeats=data.repeats,
        text_format=_text_format(data),
        progress=progress,
    )
    found = dataclasses.replace(experiment, data=data)
    return Loaded(interactions=interactions, experiment=found, notes=(*notes, *interactions.notes))


def schema_of(data: DataSection) -> Schema:
    """Returns the schema that a section declares; both ids must be named.

    Args:
        data: The section.

    Example:
        >>> schema_of(DataSection(ratings="r.csv", query_id="customer", candidate_id="sku")).event_columns
        ('customer', 'sku')
    """
    assert data.query_id is not None
    assert data.candidate_id is not None
    names = [field.name for field in dataclasses.fields(Schema)]
    return Schema(**{name: getattr(data, name) for name in names})


def _with_ids(data: DataSection) -> tuple[DataSection, list[str]]:
    """Finds the id columns that are not named.

    Returns:
        (data, notes): the section with both; sentences about what was found.
    """
    if data.query_id is not None and data.candidate_id is not None:
        return data, []
    columns = read_column_names(data.ratings, _text_format(data))
    notes = []
    if data.query_id is None:
        data = dataclasses.replace(data, query_id=find_query_id(columns))
        notes.append(f"The column `{data.query_id}` is taken as the id of the query.")
    if data.candidate_id is None:
        data = dataclasses.replace(data, candidate_id=find_candidate_id(columns))
        notes.append(f"The column `{data.candidate_id}` is taken as the id of the candidate.")
    return data, notes


def _text_format(data: DataSection) -> TextFormat:
    return TextFormat(encoding=data.encoding, delimiter=data.delimiter, column_names=data.column_names)


def _load_movielens(experiment: Experiment, movielens: MovieLensSection, progress: Progress) -> Loaded:
    """Loads MovieLens without the progress bars of TensorFlow Datasets."""
    import tensorflow_datasets as tfds

    from tfrs_twotower.movielens.load import load_movielens
    from tfrs_twotower.movielens.ml_100k import TERMS

    tfds.disable_progress_bar()
    task = f"Loading {movielens.dataset}, which is prepared the first time"
    progress(task, 0, 0)
    with contextlib.redirect_stdout(io.StringIO()):
        interactions = load_movielens(movielens.dataset, data_dir=movielens.data_dir, archive=movielens.archive)
    progress(task, 1, 1)
    return Loaded(interactions=interactions, experiment=experiment, notes=(*interactions.notes, TERMS))
