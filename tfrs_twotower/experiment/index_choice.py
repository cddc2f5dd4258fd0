"""The function that builds the index which an experiment declares."""

from __future__ import annotations

import functools

from tfrs_twotower.experiment.sections import IndexSection
from tfrs_twotower.index.build import BuildIndex, BuildLimits
from tfrs_twotower.index.kinds import BUILDERS, build_best_index
from tfrs_twotower.index.tuning import IndexTarget


def index_builder(settings: IndexSection) -> BuildIndex:
    """Returns the function that builds an index.

    Args:
        settings: The kind of index, and the recall that it must have.

    Raises:
        ImportError: If it is ScaNN's, and scann is unusable.

    Example:
        >>> index_builder(IndexSection(kind="exact")).__name__
        'build_exact_index'
    """
    if settings.kind == "scann":
        from tfrs_twotower._scann import require_scann

        require_scann()
    build = build_best_index if settings.kind == "auto" else BUILDERS[settings.kind]
    given = {10: settings.recall_at_10, 100: settings.recall_at_100}
    recall = {k: share for k, share in given.items() if share is not None}
    options: dict[str, object] = {}
    if recall:
        options["target"] = IndexTarget(recall={**IndexTarget().recall, **recall})
    if settings.max_build_s is not None:
        options["limits"] = BuildLimits(build_s=settings.max_build_s)
    return functools.partial(build, **options) if options else build
