"""Searching for better settings of a model: trials in processes, measured by the validation part."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tensorflow as tf

from tfrs_twotower._locks import try_lock
from tfrs_twotower._progress import Progress, no_progress
from tfrs_twotower._settings import whole_number
from tfrs_twotower.data.splits import Split
from tfrs_twotower.experiment.experiment import Experiment
from tfrs_twotower.experiment.preparation import Prepared, prepare
from tfrs_twotower.experiment.ranges import ModelName, NumberRange, TuneSection
from tfrs_twotower.experiment.reading import parse_experiment
from tfrs_twotower.experiment.writing import format_experiment
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.training.recency import choose_half_life
from tfrs_twotower.training.trial import try_recipe

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

#: Trials of a search.
DEFAULT_TRIALS = 30
#: Name of the file, in the folder of a search, with the experiment and the best settings.
TUNED_FILE = "tuned.toml"
_JOURNAL, _STUDY, _DESCRIBED = "trials.log", "settings", "experiment"
# Trials before those that learn from earlier ones, and before one may be stopped for being worse than the median.
_NUM_RANDOM_TRIALS, _NUM_WHOLE_TRIALS = 8, 5
_HEADER = "# The best settings that a search has found. To train with them: tfrs-twotower train --config {}\n\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search has found.

    Attributes:
        experiment: The experiment with the best settings.
        path: File of this experiment.
        model: Name of the section that was searched.
        settings: Key of this section -> the best value.
        value: The best NDCG@10, or the lowest log loss, of the validation part.
        own_value: That of the experiment's own settings; None if some of them are outside the ranges.
        num_trials: Number of trials that were finished or stopped early.
        num_stopped: Number of trials that were stopped early, since they were worse than others.

    Example:
        >>> [field.name for field in dataclasses.fields(Tuned)][:3]
        ['experiment', 'path', 'model']
    """

    experiment: Experiment
    path: Path
    model: ModelName
    settings: Mapping[str, Any]
    value: float
    own_value: float | None
    num_trials: int
    num_stopped: int


def tune_experiment(
    experiment: Experiment,
    *,
    folder: str | os.PathLike[str] | None = None,
    num_trials: int = DEFAULT_TRIALS,
    num_processes: int = 1,
    max_s: float | None = None,
    progress: Progress = no_progress,
) -> Tuned:
    """Searches the ranges of an experiment for the settings that the validation part likes best.

    Each trial trains the model on the training part. It is stopped early if it is worse than the median of the earlier
    ones. The first trial has the experiment's own settings. The test part is never used.

    Args:
        experiment: What to do. Its section `tune` says what is searched.
        folder: Folder in which trials and the best experiment are kept; `tuning/<name of the model>` by default. The
            same call with the same folder goes on with the search, also after its process was killed.
        num_trials: Number of trials of the search, those of earlier calls included, >= 1.
        num_processes: Number of processes that make trials at the same time, >= 1.
        max_s: Seconds after which no further trial begins; None for no limit.
        progress: Told how many trials have been made.

    Raises:
        ImportError: If Optuna is not installed.
        ValueError: If the data cannot be used, the split has no validation part, there is no such model, or the folder
            is that of a search with other data, settings or ranges, or of one that is running.
        OSError: If a file cannot be read or written.
        RuntimeError: If no trial was finished.

    Example:
        >>> from tfrs_twotower.experiment.sections import DataSection
        >>> tune_experiment(Experiment(data=DataSection(ratings="ratings.csv")), num_trials=0)
        Traceback (most recent call last):
        ValueError: `num_trials` must be at least 1. Received: 0.
    """
    whole_number(num_trials, "`num_trials`", 1)
    whole_number(num_processes, "`num_processes`", 1)
    optuna = _import_optuna()
    experiment = dataclasses.replace(experiment, tune=experiment.tune or TuneSection())
    place = Path("tuning") / experiment.name if folder is None else Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    with _hold(place):
        searched = _prepare(experiment, progress)
        study = _begin(optuna, place, searched)
        text = format_experiment(experiment)
        context = multiprocessing.get_context("spawn")
        helpers = [
            context.Process(target=_search_in_process, args=(text, str(place), num_trials, number, max_s), daemon=True)
            for number in range(1, num_processes)
        ]
        for helper in helpers:
            helper.start()
        try:
            _search(study, searched, num_trials, 0, max_s, progress)
            for helper in helpers:
                helper.join()
        finally:
            for helper in helpers:
                helper.terminate()
        return _finish(optuna, study, searched, place)


@dataclasses.dataclass(frozen=True)
class _Searched:
    """What the trials share."""

    prepared: Prepared
    recipe: Recipe
    split: Split
    section: TuneSection

    @property
    def model(self) -> Literal["retrieval", "rating"]:
        return "retrieval" if self.section.model == "retrieval_model" else "rating"

    def own_settings(self) -> dict[str, Any]:
        """The recipe's settings, as far as they lie in the ranges."""
        settings, own = getattr(self.recipe, self.model), {}
        for name, values in self.section.parsed.items():
            value = getattr(settings, name)
            is_inside = value in values if isinstance(values, tuple) else values.min <= (value or 0.0) <= values.max
            if is_inside:
                own[name] = value or 0.0 if name == "decay" else value
        return own

    def with_settings(self, chosen: Mapping[str, Any]) -> Recipe:
        """The recipe with some settings of the model that is searched."""
        changes = {name: None if name == "decay" and not value else value for name, value in chosen.items()}
        settings = dataclasses.replace(getattr(self.recipe, self.model), **changes)
        return dataclasses.replace(self.recipe, **{self.model: settings})


def _prepare(experiment: Experiment, progress: Progress) -> _Searched:
    assert experiment.tune is not None
    prepared = prepare(experiment, progress=progress)
    recipe, split = prepared.recipe, prepared.split
    if not split.validation.num_events:
        raise ValueError("`split.validation` must leave a validation part: it is what settings are compared by.")
    if experiment.tune.model == "rating_model" and recipe.rating is None:
        raise ValueError(f"`tune.model` must be a model that there is. The rating model: {recipe.rating_reason}")
    if recipe.half_life_days is None:
        recipe = dataclasses.replace(recipe, half_life_days=choose_half_life(split, threshold=recipe.threshold))
    return _Searched(prepared, recipe, split, experiment.tune)


def _begin(optuna: Any, folder: Path, searched: _Searched) -> Study:
    """Creates the study, or opens it and gives back the trials that a killed process has left."""
    study = _open(optuna, folder, searched, 0)
    described = format_experiment(searched.prepared.experiment)
    known = study.user_attrs.get(_DESCRIBED)
    if known is None:
        study.set_user_attr(_DESCRIBED, described)
        study.enqueue_trial(searched.own_settings())
    elif known != described:
        raise ValueError(
            f"{folder} is the folder of a search with another experiment. Name another folder, or remove this one."
        )
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return study


def _open(optuna: Any, folder: Path, searched: _Searched, process: int) -> Study:
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(folder / _JOURNAL)))
    study = optuna.create_study(
        storage=storage,
        study_name=_STUDY,
        direction="maximize" if searched.model == "retrieval" else "minimize",
        load_if_exists=True,
    )
    # A sampler that starts from the same seed again would draw what it has drawn before.
    seed = searched.prepared.experiment.training.seed + 1_000 * process + len(study.trials)
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_NUM_RANDOM_TRIALS)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_NUM_WHOLE_TRIALS)
    return study


def _search_in_process(text: str, folder: str, num_trials: int, process: int, max_s: float | None) -> None:
    optuna = _import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the first process has shown them
        searched = _prepare(parse_experiment(text), no_progress)
    study = _open(optuna, Path(folder), searched, process)
    _search(study, searched, num_trials, process, max_s, no_progress)


def _search(
    study: Study, searched: _Searched, num_trials: int, process: int, max_s: float | None, progress: Progress
) -> None:
    """Makes trials until there are enough of them."""
    optuna = _import_optuna()
    ended = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    k = min(10, searched.split.train.num_candidates)
    monitor = f"val_ndcg@{k}" if searched.model == "retrieval" else "val_log_loss"

    def count() -> int:
        return len(study.get_trials(deepcopy=False, states=ended))

    def try_settings(trial: Trial) -> float:
        recipe = searched.with_settings(
            {name: _suggest(trial, name, values) for name, values in searched.section.parsed.items()}
        )
        tf.keras.backend.clear_session()
        try:
            return try_recipe(
                recipe,
                searched.split,
                searched.model,
                seed=searched.prepared.experiment.training.seed,
                recommend_seen=searched.prepared.experiment.export.recommend_seen,
                callbacks=[_StopBadTrials(trial, monitor)],
            )
        except FloatingPointError as error:  # a learning rate that is too high
            raise optuna.TrialPruned(str(error)) from error

    def tell(study: Study, trial: FrozenTrial) -> None:
        del trial
        progress("Trying settings", min(count(), num_trials), num_trials)
        if count() >= num_trials:
            study.stop()

    if process == 0:
        progress("Trying settings", count(), num_trials)
    if count() < num_trials:
        study.optimize(try_settings, timeout=max_s, callbacks=[tell])


def _suggest(trial: Trial, name: str, values: NumberRange | Sequence[Any]) -> Any:
    if not isinstance(values, NumberRange):
        return trial.suggest_categorical(name, list(values))
    if values.is_whole:
        return trial.suggest_int(name, int(values.min), int(values.max), log=values.log)
    return trial.suggest_float(name, values.min, values.max, log=values.log)


class _StopBadTrials(tf.keras.callbacks.Callback):
    """Stops a trial whose validation part is worse than the median of the earlier trials at the same epoch."""

    def __init__(self, trial: Trial, monitor: str) -> None:
        super().__init__()
        self._trial, self._monitor = trial, monitor

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Tells the study the value of the epoch."""
        self._trial.report(float((logs or {})[self._monitor]), epoch)
        if self._trial.should_prune():
            raise _import_optuna().TrialPruned


def _finish(optuna: Any, study: Study, searched: _Searched, folder: Path) -> Tuned:
    state = optuna.trial.TrialState
    trials = study.get_trials(states=(state.COMPLETE, state.PRUNED))
    stopped = sum(trial.state == state.PRUNED for trial in trials)
    if stopped == len(trials):
        raise RuntimeError(f"None of {len(trials)} trials was finished. Give the search more time, or other ranges.")
    experiment, best = searched.prepared.experiment, study.best_trial
    section = dataclasses.replace(getattr(experiment, searched.section.model), **best.params, epochs=None)
    tuned = dataclasses.replace(experiment, **{searched.section.model: section})
    path = folder / TUNED_FILE
    partial = path.with_suffix(".partial")
    partial.write_text(_HEADER.format(path) + format_experiment(tuned), encoding="utf-8")
    partial.replace(path)
    own = searched.own_settings()
    own_values = [trial.value for trial in trials if trial.state == state.COMPLETE and trial.params == own]
    return Tuned(
        experiment=tuned,
        path=path,
        model=searched.section.model,
        settings=best.params,
        value=study.best_value,
        own_value=own_values[0] if own_values else None,
        num_trials=len(trials),
        num_stopped=stopped,
    )


@contextlib.contextmanager
def _hold(folder: Path) -> Iterator[None]:
    with try_lock(folder) as is_mine:
        if is_mine is False:
            raise ValueError(f"Another process is searching in {folder}. Wait for it, or name another folder.")
        yield


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError('A search needs Optuna. Run: pip install "tfrs-twotower[tune]"') from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
