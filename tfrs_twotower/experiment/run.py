"""Running an experiment: from its data to a published bundle."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import tensorflow as tf

from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower.bundle.evaluate import evaluate_bundle
from tfrs_twotower.bundle.layout import METRICS_FILE, REPORT_FILE, portable_twin
from tfrs_twotower.bundle.load import load_bundle
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.experiment.curves import PerModelTensorBoard
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.index_choice import index_builder
from tfrs_twotower.experiment.preparation import STATE_FOLDER, Prepared, our_name, prepare
from tfrs_twotower.experiment.reporting import Evaluated, describe_card, evaluate_trained
from tfrs_twotower.experiment.resolution import resolve
from tfrs_twotower.experiment.writing import format_experiment
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.publishing.export import ExportConfig, export_bundle
from tfrs_twotower.publishing.gate import QualityError
from tfrs_twotower.publishing.pairs import require_place
from tfrs_twotower.publishing.publish import require_publishable, require_writable
from tfrs_twotower.training.recipe import Trained, fit_recipe
from tfrs_twotower.training.refit import refit
from tfrs_twotower.training.run_folder import RunFolder, hold
from tfrs_twotower.training.warm_start import warm_start

#: Name of the file in a version's `assets.extra` with the resolved experiment.
EXPERIMENT_FILE = "experiment.toml"

# Queries by which a version is compared with the one that it started from.
_MAX_GATE_QUERIES = 5_000

_HEADER = "# Everything that was given or chosen. To run it again: tfrs-twotower train --config experiment.toml\n\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What running an experiment gives.

    Attributes:
        path: Folder of the published version.
        report: The report of the test part.
        trained: The model, its recipe and the values of its metrics, epoch by epoch.
        known: The events that the version knows: all, or those that are not of the test part.
        experiment: The experiment with everything that was chosen. It runs again with the same result.
        notes: What was decided in the training and noticed in the evaluation, as full sentences.
        fit_s: Seconds that training took.

    Example:
        >>> [field.name for field in dataclasses.fields(Outcome)]
        ['path', 'report', 'trained', 'known', 'experiment', 'notes', 'fit_s']
    """

    path: Path
    report: Report
    trained: Trained
    known: Interactions
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
        QualityError: If the model ranks worse than the version that training started from. Nothing is published then.

    Example:
        >>> import tempfile
        >>> from tfrs_twotower.experiment.reading import parse_experiment
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     lines = [f"c{query},s{item}" for query in range(8) for item in range(8) if (query + item) % 3]
        ...     _ = Path(folder, "purchases.csv").write_text("customer,sku\n" + "\n".join(lines))
        ...     outcome = run_experiment(parse_experiment(f'''
        ...         [data]
        ...         ratings = "{folder}/purchases.csv"
        ...         query_id = "customer"
        ...         candidate_id = "sku"
        ...         [retrieval_model]
        ...         epochs = 1
        ...         [index]
        ...         kind = "exact"
        ...         [export]
        ...         output = "{folder}"
        ...     '''))
        ...     outcome.path.relative_to(folder).as_posix()
        'purchases/1'
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
    with hold(experiment.run_folder) as run:
        return _run(prepared, config, run, progress)


def _run(prepared: Prepared, config: ExportConfig, run: RunFolder | None, progress: Progress) -> Outcome:
    """Trains, evaluates and publishes what was prepared."""
    start = time.perf_counter()
    trained = _fit(prepared, run, progress)
    fit_s = time.perf_counter() - start
    evaluated = evaluate_trained(trained, prepared, fit_s=fit_s, progress=progress)
    resolved = resolve(
        prepared.experiment,
        prepared.interactions,
        trained.recipe,
        is_trained_again=trained.trained_again,
    )
    notes = [*trained.notes, *evaluated.notes, *_require_quality(evaluated.report, prepared, progress)]
    notes.append(_say_what_is_known(prepared))
    known = prepared.split.seen
    if prepared.experiment.training.refit:
        known = prepared.interactions
        trained = refit(
            trained,
            known,
            seed=prepared.experiment.training.seed,
            earlier=prepared.state,
            progress=progress,
        )
    path = _export(trained, known, evaluated, prepared, resolved, config, progress)
    if run is not None:
        _end_run(run, path, resolved)
    return Outcome(
        path=path,
        report=evaluated.report,
        trained=trained,
        known=known,
        experiment=resolved,
        notes=tuple(notes),
        fit_s=fit_s,
    )


def _fit(prepared: Prepared, run: RunFolder | None, progress: Progress) -> Trained:
    training = prepared.experiment.training
    tf.keras.utils.set_random_seed(training.seed)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    callbacks = [] if training.logs is None else [PerModelTensorBoard(training.logs)]
    if prepared.state is not None:
        return warm_start(
            prepared.state,
            prepared.split,
            seed=training.seed,
            progress=progress,
            callbacks=callbacks,
            run_folder=run,
        )
    return fit_recipe(
        prepared.recipe,
        prepared.split,
        seed=training.seed,
        retrain=training.retrain,
        recommend_seen=prepared.experiment.export.recommend_seen,
        progress=progress,
        callbacks=callbacks,
        run_folder=run,
    )


def _require_quality(report: Report, prepared: Prepared, progress: Progress) -> list[str]:
    """Compares the model with the version that training started from, if any, on the same test events.

    Returns:
        A sentence about the comparison.

    Raises:
        QualityError: If it ranks too much worse.
    """
    version, share = prepared.experiment.training.start_from, prepared.experiment.export.gate
    if version is None:
        return []
    bundle = load_bundle(version)
    k = min(10, prepared.experiment.evaluation.k, bundle.manifest.k)
    ours = report.metrics.get(f"ndcg@{k}")
    if ours is None:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how good the older version is on these events is no news
        older = evaluate_bundle(bundle, prepared.split, k=k, max_queries=_MAX_GATE_QUERIES, progress=progress)
    theirs = older.metrics[f"ndcg@{k}"]
    compared = (
        f"On the same {prepared.split.test.num_events:,} test events, NDCG@{k} is {ours:.4f}, and that of {version}, "
        f"which does not know the newer events, {theirs:.4f}."
    )
    if ours < share * theirs:
        raise QualityError(
            f"{compared} That is less than {share:g} of it, the share that `export.gate` asks for. Nothing was "
            "published: train from nothing, or lower `export.gate`."
        )
    return [compared]


def _say_what_is_known(prepared: Prepared) -> str:
    """Returns a sentence about what the published version knows of the test part."""
    test = prepared.split.test
    if prepared.experiment.training.refit:
        return (
            f"After they were measured, the models were trained again on all events, the {test.num_events:,} of the "
            "test part included. The figures are those before."
        )
    since = ""
    if prepared.experiment.split.kind == "temporal" and test.timestamps is not None:
        since = f", which begin on {datetime.fromtimestamp(float(test.timestamps.min()), timezone.utc):%Y-%m-%d}"
    return (
        f"The published version does not know the {test.num_events:,} events of the test part{since}: it has not "
        "learnt from them, and recommends what was chosen in them. For a version that serves people, give `--refit`, "
        "or set `training.refit`."
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
        card=describe_card(prepared),
    )


def _export(
    trained: Trained,
    known: Interactions,
    evaluated: Evaluated,
    prepared: Prepared,
    resolved: Experiment,
    config: ExportConfig,
    progress: Progress,
) -> Path:
    state = None
    if prepared.experiment.export.keep_state and trained.state is not None:
        state = dataclasses.replace(trained.state, known=prepared.interactions)
    files = {Path(REPORT_FILE).name: evaluated.page, EXPERIMENT_FILE: _HEADER + format_experiment(resolved)}
    task = "Exporting, and checking the export in a fresh process"
    progress(task, 0, 0)
    path = export_bundle(
        trained.model,
        known,
        prepared.experiment.directory,
        config=dataclasses.replace(
            config,
            extra_files=files,
            write_more=None if state is None else lambda folder: state.save(folder / STATE_FOLDER),
        ),
        metrics=evaluated.report,
        keep=prepared.experiment.export.keep,
        recipe=trained.recipe,
    )
    progress(task, 1, 1)
    return path
