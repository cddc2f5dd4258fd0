"""Publishes a trained model: builds the bundle, writes it aside, checks it in a fresh process, and publishes it."""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tfrs_twotower._settings import require_model
from tfrs_twotower.bundle.build import Bundle, build_bundle, build_sides, require_extra_files
from tfrs_twotower.bundle.check import FreshCheck
from tfrs_twotower.bundle.layout import EXTRA_FOLDER, METRICS_FILE, portable_twin
from tfrs_twotower.bundle.manifest import Rerank
from tfrs_twotower.bundle.model_card import write_model_card
from tfrs_twotower.bundle.model_entry import CardDetails, require_metrics
from tfrs_twotower.bundle.warmup import require_batch_sizes, write_warmup
from tfrs_twotower.data.interactions import Interactions, require_interactions
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.index.filters import default_filters
from tfrs_twotower.index.kinds import build_best_index, build_portable_index
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.replicas import on_first_worker, outside_scopes, undistributed
from tfrs_twotower.model.untrained import warn_if_untrained
from tfrs_twotower.publishing.gate import QualityGate
from tfrs_twotower.publishing.pairs import has_twins, require_place
from tfrs_twotower.publishing.publish import Publication, publish, require_keep, require_publishable

#: Rows of the requests that TensorFlow Serving replays: one query, and a batch.
WARMUP_BATCH_SIZES = (1, 32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """Declares what a bundle holds.

    Attributes:
        k: Recommendations per query, 1 <= k <= num_candidates; by default 100, or all if there are fewer.
        build_index: `build_scann_index`, `build_portable_index`, `build_exact_index`, or a function of your own; by
            default ScaNN's index if scann is installed, else the portable one. `functools.partial` sets a target or
            limits.
        with_portable: Whether a twin for hosts without ScaNN, such as the stock image of TensorFlow Serving, is
            published in `<directory>-portable` if the index needs ScaNN's operations. Both appear under one number, or
            neither does.
        filter_by: Columns of the candidates that `recommend_filtered` takes: strings, integers or booleans, or lists of
            them; by default those whose values are categories (`default_filters`).
        rerank: How the first candidates that are found are reordered; None leaves them in the order of the retrieval
            model's scores.
        recommend_seen: Whether candidates that a query has seen may be recommended again, as for goods that are bought
            again and again.
        card: What people say about the model in its card, `MODEL_CARD.md`.
        extra_files: Name -> text of other files to keep in the version's `assets.extra`, such as `report.html`.
        write_more: Called with the version's `assets.extra` as it is written, to keep further files there; not for a
            twin.
        warmup_batch_sizes: Rows of the requests that TensorFlow Serving replays before it serves the version.

    Example:
        >>> ExportConfig(k=20, filter_by=("genres",)).with_portable
        True
    """

    k: int | None = None
    build_index: BuildIndex = build_best_index
    with_portable: bool = True
    filter_by: Sequence[str] | None = None
    rerank: Rerank | None = None
    recommend_seen: bool = False
    card: CardDetails = dataclasses.field(default_factory=CardDetails)
    extra_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    write_more: Callable[[Path], object] | None = None
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES

    def __post_init__(self) -> None:
        if self.k is not None and self.k < 1:
            raise ValueError(f"`k` must be at least 1. Received: {self.k}.")
        require_extra_files(self.extra_files)
        require_batch_sizes(self.warmup_batch_sizes)

    def num_recommended(self, num_candidates: int) -> int:
        """Returns the recommendations per query.

        Args:
            num_candidates: Size of the catalogue.

        Raises:
            ValueError: If `k` exceeds the number of candidates.
        """
        k = self.k if self.k is not None else min(100, num_candidates)
        if k > num_candidates:
            raise ValueError(f"`k` must be in 1..num_candidates. Received: k={k}, num_candidates={num_candidates}.")
        return k


def export_bundle(
    model: Recommender,
    known: Interactions,
    directory: str | Path,
    *,
    config: ExportConfig | None = None,
    metrics: Report | Mapping[str, float] | None = None,
    recipe: Recipe | None = None,
    gate: QualityGate | None = None,
    keep: int | None = None,
) -> Path:
    """Publishes a trained model as the next version in a folder.

    A warning says if the model seems never to have been trained. If several workers train the model, all must call
    this; one of them publishes, and the folder must be shared for the others to see it.

    Args:
        model: A trained model.
        known: The catalogue (`candidates`), the queries whose features the bundle remembers (`queries`), and what each
            has seen and is not recommended again (`events`).
        directory: `saved_models/<name>`.
        config: Contents of the bundle; by default `ExportConfig()`.
        metrics: The model's report, which the version keeps whole as `metrics.json`, or its metrics by name.
        recipe: The recipe that the model was built by, which the manifest keeps: `Trained.recipe`.
        gate: Requirements that the bundle must meet to be published.
        keep: Number of newest versions that stay in a folder, >= 1; by default all stay.

    Returns:
        The version's folder.

    Raises:
        ValueError: If `k` or another number is out of range, the embeddings are not finite, a column cannot be filtered
            by, `rerank` needs probabilities that the model does not predict, or the folder holds portable twins or
            has twins that would be left behind.
        ImportError: If a ScaNN index was requested and scann is unusable.
        OSError: If a folder cannot be written.
        QualityError: If the bundle does not meet the gate's requirements. Nothing is published then.
        RuntimeError: If the written bundle does not predict like the model in memory. Nothing is published then.

    Example:
        >>> import tempfile
        >>> import pyarrow as pa
        >>> from tfrs_twotower.features.categorical import Categorical
        >>> from tfrs_twotower.model.build import build_two_tower
        >>> from tfrs_twotower.model.sum_tower import SumTowerConfig
        >>> ratings = Interactions(
        ...     queries=pa.table({"user_id": ["a"]}), candidates=pa.table({"movie_id": ["x", "y"]}),
        ...     events=pa.table({"query_row": [0], "candidate_row": [0], "rating": [5.0]}),
        ...     query_id="user_id", candidate_id="movie_id",
        ... )
        >>> user, movie = (SumTowerConfig(features=(Categorical(name=name),)) for name in ("user_id", "movie_id"))
        >>> model = build_two_tower(ratings, query=user, candidate=movie)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     export_bundle(model, ratings, f"{folder}/movies").name
        '1'
    """
    require_model(model)
    require_interactions(known, "known")
    directory, catalogue, config = Path(directory), known.candidates, config or ExportConfig()
    k = config.num_recommended(catalogue.num_rows)
    require_keep(keep)
    require_publishable(directory)
    require_place(directory, with_portable=config.with_portable)
    figures = metrics.metrics if isinstance(metrics, Report) else dict(metrics or {})
    require_metrics(figures)
    extra_files = dict(config.extra_files)
    if isinstance(metrics, Report):
        extra_files[Path(METRICS_FILE).name] = json.dumps(metrics.to_dict(), indent=2, allow_nan=False) + "\n"
    warn_if_untrained(model)
    plain = undistributed(model)

    def build() -> tuple[Bundle, Bundle | None]:
        sides = build_sides(
            plain,
            known,
            filter_by=default_filters(catalogue, known.candidate_id) if config.filter_by is None else config.filter_by,
            rerank=config.rerank,
            recommend_seen=config.recommend_seen,
            metrics=figures,
            recipe=recipe,
            card=config.card,
        )
        embeddings = sides.embed(catalogue)
        bundle = build_bundle(sides, catalogue, embeddings, config.build_index, k=k)
        twin = None
        if config.with_portable and (bundle.manifest.needs_scann or has_twins(directory)):
            twin = build_bundle(sides, catalogue, embeddings, build_portable_index, k=k)
        return bundle, twin

    def publish_version() -> int:
        with FreshCheck() as check:
            bundle, twin = outside_scopes(build)
            version = publish_bundle(
                directory,
                dataclasses.replace(bundle, extra_files=extra_files),
                twin and dataclasses.replace(twin, extra_files=extra_files),
                check,
                report=metrics if isinstance(metrics, Report) else None,
                gate=gate,
                keep=keep,
                write_more=config.write_more,
                warmup_batch_sizes=config.warmup_batch_sizes,
            )
        return int(version.name)

    return directory / str(on_first_worker(publish_version, model.distribute_strategy))


def publish_bundle(
    directory: Path,
    bundle: Bundle,
    twin: Bundle | None,
    check: FreshCheck,
    *,
    report: Report | None = None,
    gate: QualityGate | None = None,
    keep: int | None = None,
    write_more: Callable[[Path], object] | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
    confirm: Callable[[], None] = lambda: None,
) -> Path:
    """Writes a bundle, and its twin, as the next version if each predicts in a fresh process as it does here.

    Args:
        directory: `saved_models/<name>`.
        bundle: What is published in it.
        twin: What is published under the same number in the twin's folder; None for no twin.
        check: A new check, which starts while the bundles are built.
        report: The model's report, for its card; None if it has none.
        gate: As in `export_bundle`.
        keep: As in `export_bundle`.
        write_more: As in `ExportConfig`.
        warmup_batch_sizes: As in `ExportConfig`, checked.
        confirm: As in `publish`.

    Returns:
        The version's folder.

    Raises:
        ValueError: If `keep` is less than 1.
        OSError: If a folder cannot be written.
        QualityError: If a bundle does not meet the gate's requirements. Nothing is published then.
        RuntimeError: If a written bundle does not predict like the one in memory. Nothing is published then.
    """
    export_id = uuid.uuid4().hex
    bundles = {directory: bundle} if twin is None else {directory: bundle, portable_twin(directory): twin}
    manifests = {
        place: dataclasses.replace(bundle.manifest, export_id=export_id, is_twin=place != directory)
        for place, bundle in bundles.items()
    }

    def publication(place: Path, bundle: Bundle) -> Publication:
        def write(path: Path) -> None:
            dataclasses.replace(bundle, manifest=manifests[place]).save(path)
            write_warmup(path, bundle.warmup, warmup_batch_sizes, name=place.name)
            write_model_card(path, manifests[place], report, name=place.name)
            if write_more is not None and place == directory:
                write_more(path / EXTRA_FOLDER)
            check.begin(path, bundle)

        return Publication(directory=place, write=write)

    if gate is not None:
        for place, manifest in manifests.items():
            gate.require(manifest, place)
    publications = [publication(place, bundle) for place, bundle in bundles.items()]
    return publish(publications, lambda _: check.finish(), keep=keep, confirm=confirm)[0]
