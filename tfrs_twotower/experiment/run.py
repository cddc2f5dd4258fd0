"""Running an experiment: from its data to a published bundle."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.bundle.layout import METRICS_FILE, REPORT_FILE, portable_twin
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.experiment.curves import PerModelTensorBoard
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.index_choice import index_builder
from tfrs_twotower.experiment.preparation import Prepared, our_name, prepare
from tfrs_twotower.experiment.reporting import Evaluated, evaluate_trained
from tfrs_twotower.experiment.resolution import resolve
from tfrs_twotower.experiment.writing import format_experiment
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.publishing.export import ExportConfig, export_bundle
from tfrs_twotower.publishing.pairs import require_place
from tfrs_twotower.publishing.publish import require_publishable, require_writable
from tfrs_twotower.training.recipe import Trained, fit_recipe
from tfrs_twotower.training.run_folder import RunFolder

#: Name of the file in a version's `assets.extra` with the resolved experiment.
EXPERIMENT_FILE = "experiment.toml"

_HEADER = "# Everything that was given or chosen. To run it again: tfrs-twotower train --config experiment.toml\n\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What running an experiment gives.

    Attributes:
        path: Folder of the published version.
        report: The report of the test part.
        trained: The model, its recipe and the values of its metrics, epoch by epoch.
        experiment: The experiment with everything that was chosen. It runs again with the same result.
        notes: What was decided in the training and noticed in the evaluation, as full sentences.
        fit_s: Seconds that training took.

    Example:
        >>> [field.name for field in dataclasses.fields(Outcome)]
        ['path', 'report', 'trained', 'experiment', 'notes', 'fit_s']
    """

    path: Path
    report: Report
    trained: Trained
    experiment: Experiment
    notes: tuple[str, ...]
    fit_s: float

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained."""
        return self.trained.recipe


def run_experiment(
    experiment: Experiment,
    *,
    progress: Progress = no_progress,
    on_prepared: Callable[[Prepared], None] = lambda prepared: None,
) -> Outcome:
    r"""Reads the data, trains the model of the recipe, evaluates it on the test part, and publishes a bundle.

    Args:
        experiment: What to do.
        progress: Called with what is being done, and how far it is.
        on_prepared: Called before training with the data, their split, the recipe, and notes for people.

    Raises:
        ValueError: If the data cannot be used, or a setting does not fit them.
        TypeError: If a column has the wrong type.
        OSError: If a file cannot be read, or the model's folder cannot be written.
        ImportError: If ScaNN's index is wanted and scann is unusable.
        RuntimeError: If the written bundle does not predict like the model in memory. Nothing is published then.

    Example:
        >>> import tempfile
        >>> from tfrs_twotower.experiment.reading import parse_experiment
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pairs = [(query, item) for query in range(8) for item in range(8)]
        ...     lines = [f"c{query},s{item},{1 + (query + item) % 5}" for query, item in pairs]
        ...     _ = Path(folder, "ratings.csv").write_text("customer,sku,stars\n" + "\n".join(lines))
        ...     outcome = run_experiment(parse_experiment(f'''
        ...         [data]
        ...         ratings = "{folder}/ratings.csv"
        ...         query_id = "customer"
        ...         candidate_id = "sku"
        ...         rating = "stars"
        ...         [retrieval_model]
        ...         epochs = 1
        ...         [rating_model]
        ...         epochs = 1
        ...         [index]
        ...         kind = "exact"
        ...         [export]
        ...         output = "{folder}"
        ...     '''))
        ...     outcome.path.relative_to(folder).as_posix()
        'ratings/1'
    """
    directory = experiment.directory
    require_publishable(directory)
    require_place(directory, with_portable=experiment.export.with_portable)
    if experiment.export.with_portable:
        require_publishable(portable_twin(directory))
    if experiment.movielens is not None and experiment.movielens.data_dir is not None:
        require_writable(Path(experiment.movielens.data_dir))
    build_index = index_builder(experiment.index)  # an unusable ScaNN is an error now rather than after the training
    prepared = prepare(experiment, progress=progress)
    config = _export_config(prepared, build_index)
    on_prepared(prepared)
    start = time.perf_counter()
    trained = _fit(prepared, progress)
    fit_s = time.perf_counter() - start
    evaluated = evaluate_trained(trained, prepared, fit_s=fit_s, progress=progress)
    resolved = resolve(
        prepared.experiment,
        prepared.interactions,
        trained.recipe,
        is_trained_again=trained.trained_again,
    )
    path = _export(trained, evaluated, prepared, resolved, config, progress)
    if experiment.run_folder is not None:
        _end_run(RunFolder(experiment.run_folder), path, resolved)
    return Outcome(
        path=path,
        report=evaluated.report,
        trained=trained,
        experiment=resolved,
        notes=(*trained.notes, *evaluated.notes),
        fit_s=fit_s,
    )


def _fit(prepared: Prepared, progress: Progress) -> Trained:
    training = prepared.experiment.training
    tf.keras.utils.set_random_seed(training.seed)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    return fit_recipe(
        prepared.recipe,
        prepared.split,
        seed=training.seed,
        retrain=training.retrain,
        recommend_seen=prepared.experiment.export.recommend_seen,
        progress=progress,
        callbacks=[] if training.logs is None else [PerModelTensorBoard(training.logs)],
        run_folder=prepared.experiment.run_folder,
    )


def _end_run(run: RunFolder, path: Path, resolved: Experiment) -> None:
    """Leaves in the folder of a run what came of it."""
    run.add(EXPERIMENT_FILE, _HEADER + format_experiment(resolved))
    run.add(Path(METRICS_FILE).name, (path / METRICS_FILE).read_text(encoding="utf-8"))
    run.end()


def _export_config(prepared: Prepared, build_index: BuildIndex) -> ExportConfig:
    settings = prepared.experiment.export
    columns = settings.filter_by
    return ExportConfig(
        k=settings.k,
        build_index=build_index,
        with_portable=settings.with_portable,
        filter_by=None if columns is None else [our_name(column, prepared.interactions) for column in columns],
        recommend_seen=settings.recommend_seen,
    )


def _export(
    trained: Trained,
    evaluated: Evaluated,
    prepared: Prepared,
    resolved: Experiment,
    config: ExportConfig,
    progress: Progress,
) -> Path:
    files = {Path(REPORT_FILE).name: evaluated.page, EXPERIMENT_FILE: _HEADER + format_experiment(resolved)}
    task = "Exporting, and checking the export in a fresh process"
    progress(task, 0, 0)
    path = export_bundle(
        trained.model,
        prepared.split.seen,
        prepared.experiment.directory,
        config=dataclasses.replace(config, extra_files=files),
        metrics=evaluated.report,
        keep=prepared.experiment.export.keep,
        recipe=trained.recipe,
    )
    progress(task, 1, 1)
    return path
