"""Candidates' vectors with what they are called, as TensorBoard's embedding projector reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

_CONFIG = """embeddings {
  tensor_name: "candidates"
  tensor_path: "vectors.tsv"
  metadata_path: "metadata.tsv"
}
"""


def write_projector(folder: str | Path, embeddings: np.ndarray, candidates: pa.Table) -> None:
    """Writes `projector_config.pbtxt`, `vectors.tsv` and `metadata.tsv`; `tensorboard --logdir FOLDER` shows them.

    Args:
        folder: Made if it is not there; older files of these names are replaced.
        embeddings: float [num_candidates, dim].
        candidates: The catalogue, in the same order; all its columns become metadata, lists joined by a bar.

    Raises:
        ValueError: If there is not one vector for each candidate.
        OSError: If the folder cannot be written.
    """
    if len(embeddings) != candidates.num_rows:
        raise ValueError(
            f"`embeddings` must be one for each of the {candidates.num_rows} candidates. Received: {len(embeddings)}."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "vectors.tsv", embeddings, fmt="%.6g", delimiter="\t")
    columns = [[_to_text(value) for value in column.to_pylist()] for column in candidates.columns]
    lines = ["\t".join(row) for row in zip(*columns, strict=True)]
    # TensorBoard takes a single column for values without a heading.
    heading = ["\t".join(candidates.column_names)] if len(columns) > 1 else []
    (folder / "metadata.tsv").write_text("\n".join([*heading, *lines]) + "\n", encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")


def _to_text(value: object) -> str:
    """One cell: no tab, and no end of a line."""
    text = "|".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return " ".join(text.split())
