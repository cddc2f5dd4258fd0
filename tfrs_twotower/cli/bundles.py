"""Commands on published bundles: what they recommend, another catalogue, and which version is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from tfrs_twotower.cli.app import IndexKind, app, err, import_tensorflow, index_builder, out, print_line

if TYPE_CHECKING:
    import pyarrow as pa

    from tfrs_twotower.bundle.load import LoadedBundle


@app.command()
def recommend(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    query: Annotated[list[str], typer.Option(help="feature=value, such as user_id=42 or history=50,172; repeatable.")],
    k: Annotated[int, typer.Option("-k", "--k", help="How many.")] = 10,
    exclude: Annotated[list[str] | None, typer.Option(help="Id of a candidate to leave out; repeatable.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="feature=value,value that a candidate must have one of, such as genres=Drama; repeatable."),
    ] = None,
) -> None:
    """Prints the best candidates for one query, with what the catalogue calls them."""
    if k < 1:
        raise ValueError(f"`-k` must be at least 1. Received: {k}.")
    pairs, filters = _parse_pairs("--query", query), _parse_pairs("--only", only or [])
    with err.status("Loading the bundle"):
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle

        loaded = load_bundle(bundle)
        inputs = {spec["name"]: spec for spec in loaded.manifest["query"]["inputs"]}
        features = {name: [_parse_value(inputs.get(name), text)] for name, text in pairs.items()}
        outputs = loaded.recommend(
            features,
            k=k,
            exclude=[exclude] if exclude else None,
            only={name: _parse_values(loaded, name, text) for name, text in filters.items()},
        )
    titles = _titles(loaded.candidates, loaded.manifest["candidate"]["id"])
    table = Table(title=escape(f"For {', '.join(query)} (version {loaded.path.name})"), title_justify="left")
    for column, justify in (
        ("rank", "right"),
        ("id", "right"),
        ("title", "left"),
        ("score", "right"),
        ("probability", "right"),
    ):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    ids, scores = outputs["candidate_ids"][0].tolist(), outputs["scores"][0].tolist()
    # A model that only ranks knows no probabilities.
    probabilities = [f"{value:.3f}" for value in outputs["probabilities"][0]] if "probabilities" in outputs else None
    for rank, (candidate_id, score) in enumerate(zip(ids, scores, strict=True), start=1):
        if candidate_id:
            title = escape(titles.get(candidate_id) or "")
            probability = probabilities[rank - 1] if probabilities else ""
            table.add_row(str(rank), escape(candidate_id), title, f"{score:.3f}", probability)
    out.print(table)


@app.command()
def index(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, or the folder of all versions.")],
    catalogue: Annotated[Path, typer.Option(help="The candidates and their features: Parquet, CSV, Arrow, TFRecords.")],
    kind: Annotated[
        IndexKind | None, typer.Option("--index", help="Default: the kind that the bundle was exported with.")
    ] = None,
    keep: Annotated[int | None, typer.Option(help="How many versions stay, the newest. Default: all.")] = None,
) -> None:
    """Publishes a bundle with another catalogue, as the next version: without training, and without its data."""
    with err.status("Indexing the catalogue, and asking the bundle in a fresh process"):
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle
        from tfrs_twotower.data.files import read_files
        from tfrs_twotower.publishing.refresh import refresh_bundle

        before = load_bundle(bundle)
        inputs = before.manifest["candidate"]["inputs"]
        id_column = before.manifest["candidate"]["id"]
        text_columns = {id_column}
        text_columns.update(spec["name"] for spec in inputs if spec["dtype"] == "string")
        text_columns.update(field.name for field in before.candidates.schema if field.type == "string")
        candidates = read_files(catalogue, text_columns=sorted(text_columns))
        for name in before.manifest["filter_by"]:
            candidates = _with_type(candidates, name, before.candidates.schema.field(name).type)
        path = refresh_bundle(before, candidates, build_index=index_builder(kind) if kind else None, keep=keep)
    old, new = set(before.candidates[id_column].to_pylist()), set(candidates[id_column].to_pylist())
    print_line(f"{len(new - old)} candidates added, {len(old - new)} removed, {len(old & new)} kept. Published: {path}")
    _mention_twin(path.parent)


@app.command("list")
def list_bundles(bundle: Annotated[Path, typer.Argument(help="The folder of all versions.")]) -> None:
    """Prints the versions in a folder, and which of them a server takes."""
    from tfrs_twotower.publishing.gate import figures_of
    from tfrs_twotower.publishing.versions import list_versions

    table = Table(title=escape(str(bundle)), title_justify="left")
    for column in ("version", "", "created", "index", "candidates", "auc", "ndcg@10"):
        table.add_column(column, justify="left" if column in ("", "created", "index") else "right")
    for version in list_versions(bundle):
        manifest, figures = version.manifest, figures_of(version.manifest)
        table.add_row(
            str(version.number),
            "served" if version.is_served else "withdrawn" if version.is_withdrawn else "",
            manifest.get("created", ""),
            (manifest.get("index") or {}).get("kind", ""),
            f"{manifest['num_candidates']:,}" if "num_candidates" in manifest else "",
            *(f"{figures[name]:.4f}" if name in figures else "" for name in ("auc", "ndcg@10")),
        )
    out.print(table)


@app.command()
def rollback(
    bundle: Annotated[Path, typer.Argument(help="The folder of all versions.")],
    to: Annotated[int | None, typer.Option(help="The version to go back to. Default: the one before.")] = None,
) -> None:
    """Withdraws the newest versions, so that a server goes back to an older one; nothing is removed."""
    from tfrs_twotower.publishing import versions

    print_line(f"Served from now on: {versions.rollback(bundle, to=to)}")
    _mention_twin(bundle)


@app.command("serving-config")
def serving_config(
    bundles: Annotated[list[Path], typer.Argument(help="Folders of all versions; their names are the models'.")],
    output: Annotated[Path, typer.Option(help="Where the files go; made if it is not there.")] = Path("serving"),
    image: Annotated[str | None, typer.Option(help="Of TensorFlow Serving. Default: the stock one.")] = None,
    batching: Annotated[bool, typer.Option("--batching", help="Join requests to batches.")] = False,
) -> None:
    """Writes what starts TensorFlow Serving: models.config, batching.config, compose.yaml and kubernetes.yaml."""
    from tfrs_twotower.publishing import serving_config as config_files

    config = config_files.serving_config(bundles, image=image or config_files.STOCK_IMAGE, batching=batching)
    output.mkdir(parents=True, exist_ok=True)
    for name, text in config.files.items():
        (output / name).write_text(text, encoding="utf-8")
        print_line(f"Written: {output / name}")
    for note in config.notes:
        print_line(note)


def _with_type(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    """A table whose column `name`, by which the bundle filters, has the type that it had."""
    import pyarrow as pa

    if name not in table.column_names:
        return table  # `refresh_bundle` says so
    place = table.column_names.index(name)
    try:
        return table.set_column(place, name, table[name].cast(kind))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"`{name}` must hold {kind}, by which the bundle filters. It holds {table[name].type}."
        ) from error


def _mention_twin(directory: Path) -> None:
    from tfrs_twotower.bundle.layout import portable_twin

    twin = portable_twin(directory)
    if twin.is_dir():
        print_line(f"Its portable twin {twin} has versions of its own and stays as it is: do the same there.")


def _parse_values(loaded: LoadedBundle, name: str, text: str) -> list[str]:
    """The values that a candidate must have one of."""
    values = text.split(",")
    if "" in values:
        raise ValueError(f"`--only` must give values, with commas between. Received: {f'{name}={text}'!r}.")
    is_truth = name in loaded.candidates.column_names and loaded.candidates[name].type == "bool"
    return [value.lower() for value in values] if is_truth else values


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


def _parse_value(spec: dict[str, Any] | None, text: str) -> Any:
    """A value as its input wants it, a list from parts with commas between; an unknown feature is named later."""
    if spec is None:
        return text
    parts = text.split(",") if len(spec["shape"]) > 1 else [text]
    parse = {"string": lambda name, part: part, "float32": _parse_number, "int64": _parse_seconds}[spec["dtype"]]
    values = [parse(spec["name"], part) for part in parts]
    return values if len(spec["shape"]) > 1 else values[0]


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
