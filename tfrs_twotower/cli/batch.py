"""Commands that compute something for all queries or candidates at once: recommendations, or vectors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.progress import show_progress
from tfrs_twotower.cli.screen import err, print_line


@app.command("batch-recommend")
def batch_recommend(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    queries: Annotated[
        Path,
        typer.Option(help="Parquet with a row per query: a file, a folder, or a pattern such as 'day=*/*'."),
    ],
    output: Annotated[Path, typer.Option(help="Folder for the Parquet files; created if it does not exist.")],
    k: Annotated[
        int | None, typer.Option("-k", "--k", help="Number of recommendations per query. Default: the bundle's.")
    ] = None,
    shard: Annotated[
        str, typer.Option(help="i/n computes every n-th part, from the i-th on, which is counted from 0.")
    ] = "0/1",
    rows_per_part: Annotated[int, typer.Option(help="Maximum number of rows of an output file.")] = 65_536,
) -> None:
    """Recommends for every query of Parquet files. The same command goes on where it was stopped."""
    numbers = _parse_shard(shard)
    with show_progress(err) as progress:
        progress("Loading the bundle", 0, 0)
        import_tensorflow()

        from tfrs_twotower.batches.pipeline import Shard
        from tfrs_twotower.bundle.batch import batch_recommend
        from tfrs_twotower.bundle.load import load_bundle

        loaded = load_bundle(bundle)
        progress("Loading the bundle", 1, 1)
        summary = batch_recommend(
            loaded,
            queries,
            output,
            k=k,
            shard=Shard(index=numbers[0], count=numbers[1]),
            rows_per_part=rows_per_part,
            progress=progress,
        )
    for line in summary.lines():
        print_line(line)
    print_line(f"Recommendations: {output}")


@app.command()
def vectors(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    output: Annotated[Path, typer.Option(help="Parquet file for the vectors, which is replaced if it exists.")],
    queries: Annotated[
        Path | None,
        typer.Option(help="Parquet with a row per query, whose vectors are written. Default: the candidates' vectors."),
    ] = None,
) -> None:
    """Writes the vectors of the candidates, or of queries, for other programs that search vectors."""
    with show_progress(err) as progress:
        progress("Loading the bundle", 0, 0)
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle
        from tfrs_twotower.bundle.vectors import write_candidate_vectors, write_query_vectors

        loaded = load_bundle(bundle)
        progress("Loading the bundle", 1, 1)
        if queries is None:
            num_vectors = write_candidate_vectors(loaded, output, progress=progress)
        else:
            num_vectors = write_query_vectors(loaded, queries, output, progress=progress)
    print_line(f"{num_vectors:,} vectors of version {loaded.path.name}: {output}")


def _parse_shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    numbers = tuple(map(int, match.groups())) if match else (0, 0)
    if not numbers[0] < numbers[1]:
        raise ValueError(f"`--shard` must be i/n with 0 <= i < n, such as 0/4 to 3/4. Received: {text!r}.")
    return numbers[0], numbers[1]
