"""Writes candidates' vectors and their metadata for TensorBoard's embedding projector."""

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
        folder: Destination folder, created if it does not exist; existing files of these names are replaced.
        embeddings: float [num_candidates, dim], the candidates' vectors.
        candidates: The catalogue, in the same order. All its columns become metadata; the entries of a list are joined
            by a vertical bar.

    Raises:
        ValueError: If the number of vectors differs from the number of candidates.
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> candidates = pa.table({"movie_id": ["m1", "m2"], "genres": [["Comedy", "Drama"], []]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_projector(folder, np.array([[0.5, -1.0], [0.0, 3.25]]), candidates)
        ...     print((Path(folder) / "vectors.tsv").read_text().expandtabs(8))
        0.5     -1
        0       3.25
        <BLANKLINE>
    """
    if len(embeddings) != candidates.num_rows:
        raise ValueError(
            f"`embeddings` must have a row for each of the {candidates.num_rows} candidates. "
            f"Received: {len(embeddings)} rows."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "vectors.tsv", embeddings, fmt="%.6g", delimiter="\t")
    columns = [[_to_text(value) for value in column.to_pylist()] for column in candidates.columns]
    lines = ["\t".join(row) for row in zip(*columns, strict=True)]
    # TensorBoard reads a file with a single column as values without a heading.
    heading = ["\t".join(candidates.column_names)] if len(columns) > 1 else []
    (folder / "metadata.tsv").write_text("\n".join([*heading, *lines]) + "\n", encoding="utf-8")
    (folder / "projector_config.pbtxt").write_text(_CONFIG, encoding="utf-8")


def _to_text(value: object) -> str:
    """Formats a value as one cell, without tabs and line breaks."""
    text = "|".join(map(str, value)) if isinstance(value, list) else "" if value is None else str(value)
    return " ".join(text.split())
