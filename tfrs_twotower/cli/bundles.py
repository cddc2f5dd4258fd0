"""Commands for published bundles: refresh the catalogue, list versions, roll back, configure serving."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from tfrs_twotower.cli.app import IndexKind, app, import_tensorflow
from tfrs_twotower.cli.screen import err, out, print_line

if TYPE_CHECKING:
    from tfrs_twotower.bundle.load import LoadedBundle
    from tfrs_twotower.bundle.manifest import Manifest


@app.command()
def index(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    catalogue: Annotated[
        Path | None, typer.Option(help="The whole catalogue with its features: Parquet, CSV, Arrow, TFRecords.")
    ] = None,
    add: Annotated[
        Path | None, typer.Option(help="Candidates to add or to change, with their features, in such a file.")
    ] = None,
    remove: Annotated[Path | None, typer.Option(help="Ids of candidates to remove: a text with one in a line.")] = None,
    kind: Annotated[
        IndexKind | None,
        typer.Option("--index", help="For --catalogue. Default: the kind that the bundle was exported with."),
    ] = None,
    keep: Annotated[int | None, typer.Option(help="Number of versions that stay, the newest. Default: all.")] = None,
) -> None:
    """Publishes a bundle with another catalogue as the next version, without training and without training data."""
    if (catalogue is None) == (add is None and remove is None):
        raise ValueError("Give either --catalogue, or --add, --remove or both of these.")
    if catalogue is None and kind is not None:
        raise ValueError("`--index` goes with --catalogue: --add and --remove keep the kind of the index.")
    with err.status("Indexing the catalogue, and checking the bundle in a fresh process"):
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle

        before = load_bundle(bundle)
        if catalogue is not None:
            path, counts = _replace_catalogue(before, catalogue, kind, keep)
        else:
            path, counts = _change_catalogue(before, add, remove, keep)
    print_line(f"{counts}. Published: {path}")
    _mention_twin(path)


def _replace_catalogue(
    before: LoadedBundle, catalogue: Path, kind: IndexKind | None, keep: int | None
) -> tuple[Path, str]:
    """Publishes another catalogue, and says what is different."""
    from tfrs_twotower.experiment.index_choice import index_builder
    from tfrs_twotower.experiment.sections import IndexSection
    from tfrs_twotower.publishing.catalogue_file import read_catalogue
    from tfrs_twotower.publishing.refresh import refresh_bundle

    candidates = read_catalogue(catalogue, before)
    build_index = index_builder(IndexSection(kind=kind.value)) if kind else None
    path = refresh_bundle(before, candidates, build_index=build_index, keep=keep)
    old, new = _ids(before, before.candidates), _ids(before, candidates)
    return path, f"{len(new - old)} candidates added, {len(old - new)} removed, {len(old & new)} kept"


def _change_catalogue(
    before: LoadedBundle, add: Path | None, remove: Path | None, keep: int | None
) -> tuple[Path, str]:
    """Publishes the catalogue with candidates added, changed and removed, and says how many."""
    from tfrs_twotower.publishing.catalogue_file import read_catalogue, read_ids
    from tfrs_twotower.publishing.update import update_catalogue

    candidates = None if add is None else read_catalogue(add, before)
    removed = [] if remove is None else read_ids(remove)
    path = update_catalogue(before, add=candidates, remove=removed, keep=keep)
    old, added = _ids(before, before.candidates), set() if candidates is None else _ids(before, candidates)
    return path, (
        f"{len(added - old)} candidates added, {len(added & old)} changed, {len(old.intersection(removed))} removed"
    )


def _ids(bundle: LoadedBundle, candidates: Any) -> set[str]:
    return set(candidates[bundle.manifest.model.candidate.id].to_pylist())


@app.command("list")
def list_bundles(bundle: Annotated[Path, typer.Argument(help="The folder of all versions.")]) -> None:
    """Prints the versions in a folder, and which one a server takes."""
    from tfrs_twotower.bundle.layout import strays
    from tfrs_twotower.publishing.versions import list_versions

    table = Table(title=str(bundle), title_justify="left")
    for column in ("version", "", "created", "index", "candidates", "auc", "ndcg@10"):
        table.add_column(column, justify="left" if column in ("", "created", "index") else "right")
    listed = list_versions(bundle)
    for version in listed:
        state = "served" if version.is_served else "withdrawn" if version.is_withdrawn else ""
        table.add_row(str(version.number), state, *_described(version.manifest))
    out.print(table)
    for version in listed:
        if version.problem is not None:
            print_line(f"Version {version.number}: {version.problem}")
    for path in strays(bundle):
        print_line(f"{path} is not a version, but TensorFlow Serving takes it for version {int(path.name)}. Rename it.")


def _described(manifest: Manifest | None) -> list[str]:
    """Returns the cells of a table that describe a version."""
    if manifest is None:
        return ["no readable manifest", "", "", "", ""]
    metrics = manifest.model.metrics
    return [
        manifest.created,
        manifest.index.kind,
        f"{manifest.num_candidates:,}",
        *(f"{metrics[name]:.4f}" if name in metrics else "" for name in ("auc", "ndcg@10")),
    ]


@app.command()
def rollback(
    bundle: Annotated[Path, typer.Argument(help="The folder of all versions.")],
    to: Annotated[int | None, typer.Option(help="The version to go back to. Default: the one before.")] = None,
) -> None:
    """Withdraws the newest versions, so that a server goes back to an older one; nothing is removed."""
    from tfrs_twotower.publishing import versions

    path = versions.rollback(bundle, to=to)
    print_line(f"Served from now on: {path}")
    _mention_twin(path)


@app.command("serving-config")
def serving_config(
    bundles: Annotated[list[Path], typer.Argument(help="Folders of all versions; their names are the models'.")],
    output: Annotated[Path, typer.Option(help="Where the files go; created if it does not exist.")] = Path("serving"),
    image: Annotated[str | None, typer.Option(help="Image of TensorFlow Serving. Default: the stock one.")] = None,
    host: Annotated[
        str,
        typer.Option(help="IP address at which Compose publishes the ports; 0.0.0.0 opens them to the whole network."),
    ] = "127.0.0.1",
    batching: Annotated[bool, typer.Option("--batching", help="Join requests to batches.")] = False,
) -> None:
    """Writes files that start TensorFlow Serving: models.config, batching.config, compose.yaml, kubernetes.yaml."""
    from tfrs_twotower.publishing import tensorflow_serving

    image = tensorflow_serving.STOCK_IMAGE if image is None else image
    config = tensorflow_serving.serving_config(bundles, image=image, host=host, batching=batching)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in config.files.items():
        (output / name).write_text(text, encoding="utf-8")
        print_line(f"Written: {output / name}")
    for note in config.notes:
        print_line(note)


def _mention_twin(path: Path) -> None:
    from tfrs_twotower.bundle.layout import portable_twin

    if (twin := portable_twin(path.parent) / path.name).is_dir():
        print_line(f"Its portable twin: {twin}")
