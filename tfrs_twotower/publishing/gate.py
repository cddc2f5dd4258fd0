"""The quality gate: what a bundle must hold to be published in the place of the one that is served."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrs_twotower.bundle.layout import read_manifest, versions

# Metrics by which way is better; what follows an "@" in a name does not matter.
_HIGHER_IS_BETTER = (
    "auc", "gauc", "accuracy", "f1", "precision", "recall", "ndcg", "graded_ndcg", "hit_rate", "mrr", "map", "coverage"
)  # fmt: skip
_LOWER_IS_BETTER = ("loss", "log_loss", "catalogue_loss", "brier", "calibration_error", "gini", "rmse", "mse", "mae")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityGate:
    """What a bundle must hold to be published.

    Attributes:
        index_recall: k -> the least recall of its index, in 0..1, as measured when it was built.
        metrics: Name of a metric of the model -> by how much it may be worse than that of the newest published version
            that has it, >= 0, in the metric's own unit. Of losses and errors less is better.

    Raises:
        ValueError: If a number is out of range, or it is not known of a metric which way is better.
    """

    index_recall: Mapping[int, float] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for k, least in self.index_recall.items():
            if not 0 <= least <= 1:
                raise ValueError(f"`index_recall` must be in 0..1. Received for {k}: {least}.")
        for name, tolerance in self.metrics.items():
            known = _HIGHER_IS_BETTER + _LOWER_IS_BETTER
            if name.partition("@")[0] not in known:
                raise ValueError(f"`metrics` must be of {', '.join(known)}. Received: {name!r}.")
            if not 0 <= tolerance < math.inf:
                raise ValueError(f"`metrics` must give tolerances >= 0. Received for {name!r}: {tolerance}.")

    def require(self, manifest: Mapping[str, Any], directory: Path) -> None:
        """Compares a bundle with what is published.

        Args:
            manifest: Of the bundle that is to be published.
            directory: Where it is to be published.

        Raises:
            QualityError: If it does not hold what it must; names all that it lacks.
        """
        lacks = []
        for k, least in self.index_recall.items():
            index = manifest["index"]
            recall = 1.0 if index["is_exact"] else index["recall"].get(str(k))
            if recall is None:
                lacks.append(f"the index's recall at {k} was not measured")
            elif not recall >= least:
                lacks.append(f"the index's recall at {k} is {recall:.4f}, less than {least}")
        ours = figures_of(manifest)
        for name, tolerance in self.metrics.items():
            published = _published(name, directory)
            if ours.get(name) is None:
                lacks.append(f"{name} was not measured")
            elif published is not None:
                version, theirs = published
                sign = -1 if name.partition("@")[0] in _LOWER_IS_BETTER else 1
                if not sign * (ours[name] - theirs) >= -tolerance:
                    lacks.append(
                        f"{name} is {ours[name]:.4f}, worse than version {version}'s {theirs:.4f} by more than "
                        f"{tolerance}"
                    )
        if lacks:
            raise QualityError(f"Not published in {directory}: {'; '.join(lacks)}.")


class QualityError(RuntimeError):
    """A bundle does not hold what its quality gate asks for; nothing was published."""


def figures_of(manifest: Mapping[str, Any]) -> dict[str, float]:
    """Metric -> value of the model: of a report, or of a plain mapping."""
    metrics = manifest.get("metrics") or {}
    figures = metrics.get("cases", {}).get("model", metrics)
    return {name: value for name, value in figures.items() if isinstance(value, int | float)}


def _published(name: str, directory: Path) -> tuple[int, float] | None:
    """The newest published version that has a metric, and its value."""
    for number in reversed(versions(directory)):
        value = figures_of(read_manifest(directory / str(number))).get(name)
        if value is not None:
            return number, value
    return None
