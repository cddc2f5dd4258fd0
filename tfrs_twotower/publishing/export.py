"""Publishes a trained model: builds the bundle, writes it aside, checks it in a fresh process, and publishes it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfrs_twotower.bundle.build import Bundle, build_bundle, build_sides, require_extra_files
from tfrs_twotower.bundle.check import check_in_fresh_process
from tfrs_twotower.bundle.layout import METRICS_FILE, portable_twin
from tfrs_twotower.bundle.manifest import Rerank, require_metrics
from tfrs_twotower.bundle.warmup import require_batch_sizes, write_warmup
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.evaluation.report import Report
from tfrs_twotower.index.build import BuildIndex
from tfrs_twotower.index.kinds import build_best_index, build_portable_index
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.publishing.gate import QualityGate
from tfrs_twotower.publishing.publish import Publication, publish, require_keep

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
        with_portable: Whether a twin for hosts without ScaNN is published in `<directory>-portable` if the index needs
            ScaNN's operations. Either both appear or neither.
        filter_by: Columns of the candidates that `recommend_filtered` takes: strings, integers or booleans, or lists of
            them.
        rerank: How the first candidates that are found are reordered; None leaves them in the order of the retrieval
            model's scores.
        recommend_seen: Whether candidates that a query has seen may be recommended again, as for goods that are bought
            again and again.
        extra_files: Name -> text of other files to keep in the version's `assets.extra`, such as `report.html`.
        warmup_batch_sizes: Rows of the requests that TensorFlow Serving replays before it serves the version.

    Example:
        >>> ExportConfig(k=20, filter_by=("genres",)).with_portable
        False
    """

    k: int | None = None
    build_index: BuildIndex = build_best_index
    with_portable: bool = False
    filter_by: Sequence[str] = ()
    rerank: Rerank | None = None
    recommend_seen: bool = False
    extra_files: Mapping[str, str] = dataclasses.field(default_factory=dict)
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
            by, or `rerank` needs probabilities that the model does not predict.
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
    directory, catalogue, config = Path(directory), known.candidates, config or ExportConfig()
    k = config.num_recommended(catalogue.num_rows)
    require_keep(keep)
    figures = metrics.metrics if isinstance(metrics, Report) else dict(metrics or {})
    require_metrics(figures)
    extra_files = dict(config.extra_files)
    if isinstance(metrics, Report):
        extra_files[Path(METRICS_FILE).name] = json.dumps(metrics.to_dict(), indent=2, allow_nan=False) + "\n"
    sides = build_sides(
        model,
        known,
        filter_by=config.filter_by,
        rerank=config.rerank,
        recommend_seen=config.recommend_seen,
        metrics=figures,
        recipe=recipe,
    )
    embeddings = sides.embed(catalogue)
    bundles = {directory: build_bundle(sides, catalogue, embeddings, config.build_index, k=k)}
    if config.with_portable and bundles[directory].manifest.needs_scann:
        bundles[portable_twin(directory)] = build_bundle(sides, catalogue, embeddings, build_portable_index, k=k)
    bundles = {path: dataclasses.replace(bundle, extra_files=extra_files) for path, bundle in bundles.items()}
    return publish_bundles(bundles, gate=gate, keep=keep, warmup_batch_sizes=config.warmup_batch_sizes)[0]


def publish_bundles(
    bundles: Mapping[Path, Bundle],
    *,
    gate: QualityGate | None = None,
    keep: int | None = None,
    warmup_batch_sizes: Sequence[int] = WARMUP_BATCH_SIZES,
) -> list[Path]:
    """Writes bundles as the next versions in their folders, if each predicts in a fresh process as it does here.

    Args:
        bundles: Folder -> what is published in it.
        gate: As in `export_bundle`.
        keep: As in `export_bundle`.
        warmup_batch_sizes: As in `ExportConfig`, checked.

    Returns:
        The versions' folders.

    Raises:
        ValueError: If `keep` is less than 1.
        OSError: If a folder cannot be written.
        QualityError: If a bundle does not meet the gate's requirements. Nothing is published then.
        RuntimeError: If a written bundle does not predict like the one in memory. Nothing is published then.
    """

    def publication(directory: Path, bundle: Bundle) -> Publication:
        def write(path: Path) -> None:
            bundle.save(path)
            write_warmup(path, bundle.warmup, warmup_batch_sizes, name=directory.name)

        def check(path: Path) -> None:
            check_in_fresh_process(path, bundle)
            if gate is not None:
                gate.require(bundle.manifest, directory)

        return Publication(directory=directory, write=write, check=check)

    return publish([publication(*item) for item in bundles.items()], keep=keep)
