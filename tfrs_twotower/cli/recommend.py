"""`tfrs-twotower recommend`: the best candidates for one query, as a person looks at them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import JustifyMethod
from rich.table import Table

from tfrs_twotower.cli.app import app, import_tensorflow
from tfrs_twotower.cli.screen import err, out, print_line, print_note
from tfrs_twotower.cli.unknown import note_on_candidates, note_on_filter, note_on_query_id

if TYPE_CHECKING:
    from tfrs_twotower.bundle.load import LoadedBundle, Recommendations
    from tfrs_twotower.bundle.model_entry import InputSpec

# Characters of a name, which may be a description.
_MAX_NAME = 100


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
    """Prints the best candidates for one query, with their names from the catalogue."""
    if k is not None and k < 1:
        raise ValueError(f"`-k` must be at least 1. Received: {k}.")
    pairs, filters = _parse_pairs("--query", query), _parse_pairs("--only", only or [])
    with err.status("Loading the bundle"):
        import_tensorflow()

        from tfrs_twotower.bundle.load import load_bundle
        from tfrs_twotower.bundle.values import by_input_names

        loaded = load_bundle(bundle)
        model, schema = loaded.manifest.model, loaded.manifest.model.query
        pairs = by_input_names(pairs, model.names_of([spec.name for spec in schema.inputs]), "--query")
        filters = by_input_names(filters, model.names_of(loaded.manifest.filter_by), "--only")
        features = {name: [_parse_value(schema.input(name), text)] for name, text in pairs.items()}
        allowed = {name: _parse_values(loaded, name, text) for name, text in filters.items()}
        found = loaded.recommend(
            features,
            k=min(10, loaded.manifest.k) if k is None else k,
            exclude=[exclude] if exclude else None,
            only=allowed,
        )
        note_of_id = note_on_query_id(loaded, pairs)
        notes = [
            *(note_on_candidates(loaded, name, features[name][0]) for name in schema.histories if name in features),
            note_on_candidates(loaded, "--exclude", exclude or []),
            *(note_on_filter(loaded, name, values) for name, values in allowed.items()),
        ]
    if note_of_id is not None:
        print_line(note_of_id)
    for note in notes:
        if note is not None:
            print_note(note)
    if not any(found.candidate_ids[0]):
        print_note("No candidate is left to recommend.")
    _print_found(loaded, found, title=f"For {', '.join(query)} (version {loaded.path.name})")


def _print_found(loaded: LoadedBundle, found: Recommendations, *, title: str) -> None:
    """Prints the recommendations for one query as a table, which has columns for what there is."""
    num_found = sum(map(bool, found.candidate_ids[0]))  # empty slots are at the end
    ids = found.candidate_ids[0, :num_found].tolist()
    ranks = [str(rank) for rank in range(1, num_found + 1)]
    scores = [f"{score:.3f}" for score in found.scores[0, :num_found]]
    columns: list[tuple[str, JustifyMethod, list[str]]] = [("rank", "right", ranks), ("id", "right", ids)]
    heading, names = _names(loaded, ids)
    if any(names):
        columns.append((heading, "left", names))
    columns.append(("score", "right", scores))
    if found.probabilities is not None:
        probabilities = [f"{probability:.3f}" for probability in found.probabilities[0, :num_found]]
        columns.append(("probability", "right", probabilities))
    table = Table(title=title, title_justify="left")
    for heading, justify, _ in columns:
        table.add_column(heading, justify=justify, overflow="fold")
    for cells in zip(*(cells for _, _, cells in columns), strict=True):
        table.add_row(*cells)
    out.print(table)


def _names(loaded: LoadedBundle, ids: list[str]) -> tuple[str, list[str]]:
    """Returns the user's name of the column that names candidates, and the names of some, "" for missing ones."""
    from tfrs_twotower.bundle.candidate_names import choose_name_column

    model, catalogue = loaded.manifest.model, loaded.candidates
    column = choose_name_column(catalogue, model.candidate.id, model.card.name_column)
    if column is None:
        return "", []
    name_of = dict(zip(catalogue[model.candidate.id].to_pylist(), catalogue[column].to_pylist(), strict=True))
    names = [str(name_of.get(candidate_id) or "") for candidate_id in ids]
    heading = model.original_names.get(column, column)
    return heading, [name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…" for name in names]


def _parse_values(loaded: LoadedBundle, name: str, text: str) -> list[str]:
    """Parses values of which a candidate must have one."""
    values = text.split(",")
    if "" in values:
        raise ValueError(f"`--only` must give values, separated by commas. Received: {f'{name}={text}'!r}.")
    is_truth = name in loaded.candidates.column_names and loaded.candidates[name].type == "bool"
    return [value.lower() for value in values] if is_truth else values


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
