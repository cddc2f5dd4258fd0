"""The quality gate: requirements that a bundle must meet to be published in place of the one that is served."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

from tfrs_twotower.bundle.layout import versions
from tfrs_twotower.bundle.manifest import Manifest, read_manifest

# Metrics by which direction is better; what follows an "@" in a name does not matter.
_HIGHER_IS_BETTER = (
    "auc", "gauc", "accuracy", "f1", "precision", "recall", "ndcg", "graded_ndcg", "hit_rate", "mrr", "map", "coverage"
)  # fmt: skip
_LOWER_IS_BETTER = ("loss", "log_loss", "softmax_loss", "brier", "calibration_error", "gini", "rmse", "mse", "mae")


@dataclasses.dataclass(frozen=True, kw_only=True)
class QualityGate:
    """Declares the requirements that a bundle must meet to be published.

    Attributes:
        index_recall: k -> minimum recall of the bundle's index, in 0..1, as measured when it was built.
        metrics: Name of a metric of the model -> the amount by which it may be worse than in the newest published
            version that has it, >= 0, in the metric's own unit. For losses and errors, lower is better.

    Raises:
        ValueError: If a number is out of range, or it is not known which direction of a metric is better.

    Example:
        >>> QualityGate(index_recall={10: 0.98}, metrics={"ndcg@10": 0.01}).metrics
        {'ndcg@10': 0.01}
    """

    index_recall: Mapping[int, float] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for k, minimum in self.index_recall.items():
            if not 0 <= minimum <= 1:
                raise ValueError(f"`index_recall` must be in 0..1. Received for {k}: {minimum}.")
        for name, tolerance in self.metrics.items():
            known = _HIGHER_IS_BETTER + _LOWER_IS_BETTER
            if name.partition("@")[0] not in known:
                raise ValueError(f"`metrics` must be among {', '.join(known)}. Received: {name!r}.")
            if not 0 <= tolerance < math.inf:
                raise ValueError(f"`metrics` must give tolerances >= 0. Received for {name!r}: {tolerance}.")

    def require(self, manifest: Manifest, directory: Path) -> None:
        """Compares a bundle with what is published.

        Args:
            manifest: Manifest of the bundle that is to be published.
            directory: Where it is to be published.

        Raises:
            QualityError: If it does not meet all requirements; the message names all failures.
        """
        failures = []
        for k, minimum in self.index_recall.items():
            recall = 1.0 if manifest.index.is_exact else manifest.index.outcome.recall.get(k)
            if recall is None:
                failures.append(f"the index's recall at {k} was not measured")
            elif not recall >= minimum:
                failures.append(f"the index's recall at {k} is {recall:.4f}, less than {minimum}")
        ours = manifest.model.metrics
        for name, tolerance in self.metrics.items():
            published = _published(name, directory)
            if name not in ours:
                failures.append(f"{name} was not measured")
            elif published is not None:
                version, theirs = published
                sign = -1 if name.partition("@")[0] in _LOWER_IS_BETTER else 1
                if not sign * (ours[name] - theirs) >= -tolerance:
                    failures.append(
                        f"{name} is {ours[name]:.4f}, worse than version {version}'s {theirs:.4f} by more than "
                        f"{tolerance}"
                    )
        if failures:
            raise QualityError(f"Not published in {directory}: {'; '.join(failures)}.")


class QualityError(RuntimeError):
    """Raised if a bundle does not meet the requirements of its quality gate; nothing was published.

    Example:
        >>> issubclass(QualityError, RuntimeError)
        True
    """


def _published(name: str, directory: Path) -> tuple[int, float] | None:
    """Returns the newest published version that has a metric, and its value."""
    for number in reversed(versions(directory)):
        manifest = read_manifest(directory / str(number))
        if manifest is not None and name in manifest.model.metrics:
            return number, manifest.model.metrics[name]
    return None
