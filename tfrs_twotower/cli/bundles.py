"""Commands for published bundles: recommend, refresh the catalogue, list versions, roll back, configure serving."""

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
    from tfrs_twotower.bundle.model_entry import InputSpec


@app.command()
def recommend(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    query: Annotated[list[str], typer.Option(help="feature=value, such as user_id=42 or history=50,172; repeatable.")],
    k: Annotated[
        int | None, typer.Option("-k", "--k", help="Number of recommendations. Default: 10, or all if there are fewer.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="Id of a candidate to leave out; repeatable.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="feature=value,value: a candidate must have one of the values; such as genres=Drama; repeatable."
        ),
    ] = None,
) -> None:
    """Prints the best candidates for one query, with their titles from the catalogue."""
    if k is not None and k < 1:
        raise ValueError(f"`-k` must be at least 1. Received: {k}.")
    pairs, filters = _parse_pairs("--query", query), _parse_pairs("--only", only or [])
    with err.status("Loading the bundle"):
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle

        loaded = load_bundle(bundle)
        schema = loaded.manifest.model.query
        features = {name: [_parse_value(schema.input(name), text)] for name, text in pairs.items()}
        found = loaded.recommend(
            features,
            k=min(10, loaded.manifest.k) if k is None else k,
            exclude=[exclude] if exclude else None,
            only={name: _parse_values(loaded, name, text) for name, text in filters.items()},
        )
        note = _note_on_unknown_id(loaded, pairs)
    if note:
        print_line(note)
    titles = _titles(loaded.candidates, loaded.manifest.model.candidate.id)
    table = Table(title=f"For {', '.join(query)} (version {loaded.path.name})", title_justify="left")
    for column, justify in (
        ("rank", "right"),
        ("id", "right"),
        ("title", "left"),
        ("score", "right"),
        ("probability", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    ids, scores = found.candidate_ids[0].tolist(), found.scores[0].tolist()
    # A model that only ranks predicts no probabilities.
    probabilities = None if found.probabilities is None else [f"{value:.3f}" for value in found.probabilities[0]]
    for rank, (candidate_id, score) in enumerate(zip(ids, scores, strict=True), start=1):
        if candidate_id:
            title = titles.get(candidate_id) or ""
            probability = probabilities[rank - 1] if probabilities else ""
            table.add_row(str(rank), candidate_id, title, f"{score:.3f}", probability)
    out.print(table)


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


def _parse_values(loaded: LoadedBundle, name: str, text: str) -> list[str]:
    """Parses values of which a candidate must have one."""
    values = text.split(",")
    if "" in values:
        raise ValueError(f"`--only` must give values, separated by commas. Received: {f'{name}={text}'!r}.")
    is_truth = name in loaded.candidates.column_names and loaded.candidates[name].type == "bool"
    return [value.lower() for value in values] if is_truth else values


def _note_on_unknown_id(loaded: LoadedBundle, given: dict[str, str]) -> str | None:
    """Says that the recommendations are not for the query that was named, since the bundle does not know it."""
    name = loaded.manifest.model.query.id
    query_id = given.get(name)
    if not query_id:
        return None
    others = dict.fromkeys((query_id.strip(), query_id.lower(), query_id.upper(), query_id.strip().lstrip("0")))
    try:
        is_known, *are_known = loaded.knows([query_id, *others]).tolist()
    except ValueError:  # it knows no query by its id, or cannot tell
        return None
    if is_known:
        return None
    meant = [other for other, is_other_known in zip(others, are_known, strict=True) if is_other_known]
    what = "only the other features count" if len(given) > 1 else "these are general recommendations"
    hint = f" It knows {meant[0]!r}." if meant else ""
    return f"The bundle does not know {name} {query_id!r}: {what}.{hint}"


def _titles(candidates: Any, id_column: str) -> dict[str, str]:
    if "title" not in candidates.column_names:
        return {}
    return dict(zip(candidates[id_column].to_pylist(), candidates["title"].to_pylist(), strict=True))


def _parse_pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise ValueError(f"`{option}` must be feature=value, such as user_id=42. Received: {text!r}.")
        if name in pairs:
            raise ValueError(f"`{option}` must name a feature once. Received {name!r} twice.")
        pairs[name] = value
    return pairs


def _parse_value(spec: InputSpec | None, text: str) -> Any:
    """Parses a value as its input wants it, a list from comma-separated parts; an unknown feature is refused later."""
    if spec is None:
        return text
    parts = (text.split(",") if text else []) if spec.is_list else [text]
    parse = {"string": lambda name, part: part, "float32": _parse_number, "int64": _parse_seconds}[spec.dtype]
    values = [parse(spec.name, part) for part in parts]
    return values if spec.is_list else values[0]


def _parse_number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`{name}` must be a number. Received: {text!r}.") from None


def _parse_seconds(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"`{name}` must be whole seconds since 1970. Received: {text!r}.") from None
