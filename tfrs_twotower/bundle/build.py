"""Builds a bundle in memory: query side, candidate side and catalogue, joined into signatures, with a manifest.

Only variables, lookup tables and index state are tracked, no Keras object: any program with TensorFlow loads it.
"""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from tfrs_twotower._version import __version__
from tfrs_twotower.bundle.candidate_side import CandidateSide, candidate_inputs, candidate_towers
from tfrs_twotower.bundle.catalogue import Catalogue
from tfrs_twotower.bundle.layout import (
    CANDIDATES_FILE,
    CARD_FILE,
    EXTRA_FOLDER,
    MANIFEST_FILE,
    METRICS_FILE,
    WARMUP_FILE,
)
from tfrs_twotower.bundle.manifest import IndexEntry, Manifest, Rerank
from tfrs_twotower.bundle.model_entry import CardDetails, DataSource, InputSpec, ModelEntry, QuerySchema, SideSchema
from tfrs_twotower.bundle.query_side import QuerySide, latest_contexts, query_inputs, query_towers
from tfrs_twotower.bundle.requests import NUM_CHECKED, Request, invented_requests, raw_candidates, sample_requests
from tfrs_twotower.bundle.signatures import Inputs, Signatures, build_signatures
from tfrs_twotower.bundle.stored_candidates import write_candidates
from tfrs_twotower.data.columns import require_columns
from tfrs_twotower.data.interactions import Interactions
from tfrs_twotower.features.config import describe
from tfrs_twotower.features.input_names import require_input_name
from tfrs_twotower.index.build import BuildIndex, BuiltIndex
from tfrs_twotower.index.embeddings import check_embeddings
from tfrs_twotower.index.filters import require_filterable
from tfrs_twotower.model.finite import require_finite_weights
from tfrs_twotower.model.recipe import Recipe
from tfrs_twotower.model.recommender import Recommender
from tfrs_twotower.model.tower import Tower

_EMBEDDED_AT_ONCE = 4096


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle in memory.

    Attributes:
        module: Everything the signatures need, and nothing else.
        signatures: Name -> concrete function over named tensors.
        candidates: The catalogue, in the order of the index's rows.
        manifest: Description of the bundle for people and tools.
        requests: Requests for every signature, by which the written bundle is compared with this one. They may hold
            features of known queries, and are not written.
        warmup: Requests for every signature that hold nothing about a known query, for hosts to replay.
        extra_files: Name -> text of further files that are kept beside the manifest.
    """

    module: tf.Module
    signatures: Signatures
    candidates: pa.Table
    manifest: Manifest
    requests: Sequence[Request]
    warmup: Sequence[Request]
    extra_files: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the SavedModel with its extra assets.

        Args:
            path: A folder that is empty or does not exist yet.

        Raises:
            OSError: If it cannot be written.
        """
        try:
            # ScaNN's ops live in a namespace of their own, which a SavedModel must be told to accept.
            options = tf.saved_model.SaveOptions(namespace_whitelist=["Scann"])
            tf.saved_model.save(self.module, str(path), signatures=self.signatures, options=options)
        except tf.errors.OpError as error:
            raise OSError(f"The SavedModel cannot be written to {path}: {error.message}") from error
        (path / EXTRA_FOLDER).mkdir()
        candidates_sha256 = write_candidates(path, self.candidates)
        dataclasses.replace(self.manifest, candidates_sha256=candidates_sha256).write(path)
        for name, text in self.extra_files.items():
            (path / EXTRA_FOLDER / name).write_text(text, encoding="utf-8")


def require_extra_files(extra_files: Mapping[str, str]) -> None:
    """Checks the names of files that are kept with a bundle.

    Args:
        extra_files: Name -> text.

    Raises:
        ValueError: If a name has a folder, or is that of a file which a bundle has anyway.
    """
    taken = [Path(file).name for file in (MANIFEST_FILE, CANDIDATES_FILE, METRICS_FILE, WARMUP_FILE, CARD_FILE)]
    for name in extra_files:
        if name != Path(name).name or name in ("", ".", "..", *taken):
            raise ValueError(f"`extra_files` must have names without folders, and none of {taken}. Received: {name!r}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sides:
    """A trained model's two sides, and everything else of a bundle that stays when the catalogue changes.

    Attributes:
        queries: A `QuerySide`, built or loaded.
        candidates: A `CandidateSide`, built or loaded.
        inputs: Inputs of the signatures.
        filter_by: Columns of the candidates that recommendations may be filtered by.
        rerank: How the first candidates that are found are reordered; None leaves them as they are found.
        recommend_seen: Whether candidates that a query has seen may be recommended again.
        known: Raw features of some known queries, at least their ids, for the bundle's requests.
        entry: Description of the sides for the manifest.
    """

    queries: Any
    candidates: Any
    inputs: Inputs
    filter_by: Sequence[str]
    rerank: Rerank | None
    recommend_seen: bool
    known: Mapping[str, tf.Tensor]
    entry: ModelEntry

    def embed(self, catalogue: pa.Table) -> dict[str, np.ndarray]:
        """Embeds a catalogue: "retrieval" and perhaps "rating" -> float32 [num_candidates, dim]."""
        parts = [
            self.candidates.embed(**raw_candidates(catalogue.slice(start, _EMBEDDED_AT_ONCE), self.inputs.candidate))
            for start in range(0, catalogue.num_rows, _EMBEDDED_AT_ONCE)
        ]
        return {name: np.concatenate([part[name].numpy() for part in parts]) for name in parts[0]}


def build_sides(
    model: Recommender,
    known: Interactions,
    *,
    filter_by: Sequence[str] = (),
    rerank: Rerank | None = None,
    recommend_seen: bool = False,
    metrics: Mapping[str, float] | None = None,
    recipe: Recipe | None = None,
    card: CardDetails | None = None,
) -> Sides:
    """Takes from a trained model what a bundle needs.

    Args:
        model: A trained model.
        known: The queries whose features the bundle remembers (`queries`), and what each has seen and is not
            recommended again (`events`).
        filter_by: Columns of the candidates that recommendations may be filtered by.
        rerank: How the first candidates that are found are reordered; None leaves them as they are found.
        recommend_seen: Whether candidates that a query has seen may be recommended again.
        metrics: Metric of the model -> value, for the manifest.
        recipe: The recipe that the model was built by, for the manifest.
        card: What people say about the model in its card.

    Raises:
        ValueError: If a weight is not finite, a column cannot be filtered by, the card names a column that the
            candidates do not have, or `rerank` needs probabilities that the model does not predict.
    """
    require_finite_weights(model)
    if card is not None and card.name_column is not None:
        require_columns(known.candidates, [card.name_column], "The catalogue, whose `name_column` the card gives,")
    if rerank is not None and model.rating_model is None:
        raise ValueError("`rerank` orders by probabilities: it needs a model that predicts them.")
    _check_filters(known.candidates, filter_by)
    past = [history for tower in query_towers(model) for history in tower.histories]
    inputs = Inputs(
        query=query_inputs(model, known),
        candidate=candidate_inputs(model),
        histories=sorted({history.name for history in past}),
        ratings_of={history.rating_name: history.name for history in past if history.by_rating},
        times_of={history.time_name: history.name for history in past if history.by_time},
    )
    asked = known.queries.slice(0, NUM_CHECKED)
    raw = {known.query_id: tf.constant(asked[known.query_id].to_pylist(), tf.string)}
    for tower in query_towers(model):
        raw.update(tower.raw_features(asked))
    raw.update(latest_contexts(model, known, np.arange(asked.num_rows)))
    return Sides(
        queries=QuerySide(model, known),
        candidates=CandidateSide(model),
        inputs=inputs,
        filter_by=filter_by,
        rerank=rerank,
        recommend_seen=recommend_seen,
        known=raw,
        entry=ModelEntry(
            query=QuerySchema(
                id=known.query_id,
                features=_features(query_towers(model)),
                inputs=tuple(map(InputSpec.of, inputs.query)),
                histories=tuple(inputs.histories),
                ratings_of=inputs.ratings_of,
                context=_context_inputs(model),
                times_of=inputs.times_of,
            ),
            candidate=SideSchema(
                id=known.candidate_id,
                features=_features(candidate_towers(model)),
                inputs=tuple(map(InputSpec.of, inputs.candidate)),
            ),
            num_queries=known.num_queries,
            positive_threshold=model.threshold,
            has_probabilities=model.rating_model is not None,
            metrics=dict(metrics or {}),
            data=DataSource(source=_as_utf_8(known.source), fingerprint=known.fingerprint()),
            recipe=None if recipe is None else recipe.to_dict(),
            original_names=dict(known.original_names),
            card=card or CardDetails(),
        ),
    )


def build_bundle(
    sides: Sides, catalogue: pa.Table, embeddings: Mapping[str, np.ndarray], build_index: BuildIndex, *, k: int
) -> Bundle:
    """Indexes a catalogue, and joins it with the sides of a trained model.

    Args:
        sides: The sides.
        catalogue: One row per candidate.
        embeddings: Those of the catalogue, from `Sides.embed`.
        build_index: `build_best_index`, or another function that builds an index of embeddings, ids and queries.
        k: Recommendations per query, >= 1; there are never more than candidates.

    Raises:
        ValueError: If the embeddings are not finite.
        RuntimeError: If the index does not hold what it was given.
    """
    queries, entry = sides.queries, sides.entry
    num_recommended = min(k, catalogue.num_rows)
    ids = catalogue[entry.candidate.id].to_pylist()
    sample = queries.sample.numpy()
    if not np.isfinite(sample).all():
        raise ValueError(
            "The embeddings of queries must be finite. Received NaN or infinity for known queries: the weights are so "
            "large that their products overflow. Train the model again with a lower learning rate."
        )
    built = build_index(check_embeddings(embeddings["retrieval"], ids), ids, sample)
    rating = embeddings.get("rating")
    if rating is not None:
        is_one_model = np.array_equal(rating, embeddings["retrieval"])
        rating = None if is_one_model else check_embeddings(rating, ids)
    served = Catalogue(
        catalogue,
        entry.candidate.id,
        built.index,
        rating,
        filter_by=sides.filter_by,
        known_ids=queries.candidate_ids,
    )
    module = tf.Module(name="two_tower_bundle")
    module.query_side, module.candidate_side, module.catalogue = queries, sides.candidates, served
    return Bundle(
        module=module,
        signatures=build_signatures(
            queries,
            sides.candidates,
            served,
            sides.inputs,
            k=num_recommended,
            rerank=sides.rerank,
            recommend_seen=sides.recommend_seen,
        ),
        candidates=catalogue,
        manifest=Manifest(
            versions=_versions(built),
            created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            model=entry,
            num_candidates=catalogue.num_rows,
            requested_k=k,
            k=num_recommended,
            filter_by=tuple(sides.filter_by),
            rerank=sides.rerank,
            recommend_seen=sides.recommend_seen,
            index=IndexEntry(
                requested=built.requested or built.index.kind,
                kind=built.index.kind,
                is_exact=built.index.is_exact,
                outcome=built.outcome,
            ),
        ),
        requests=sample_requests(
            sides.inputs, catalogue, id_column=entry.candidate.id, filter_by=sides.filter_by, known=sides.known
        ),
        warmup=invented_requests(sides.inputs, catalogue, id_column=entry.candidate.id, filter_by=sides.filter_by),
    )


def _check_filters(catalogue: pa.Table, filter_by: Sequence[str]) -> None:
    """Checks the columns before anything that takes time."""
    if isinstance(filter_by, str) or len(set(filter_by)) < len(filter_by):
        raise ValueError(f"`filter_by` must be a sequence of columns, none twice. Received: {filter_by!r}.")
    for name in filter_by:
        require_input_name(name)
        require_filterable(catalogue, name)


def _versions(built: BuiltIndex) -> dict[str, str]:
    versions = {"tfrs_twotower": __version__, "tensorflow": tf.__version__}
    return versions | {package: importlib.metadata.version(package) for package in built.index.required_packages}


def _features(towers: Sequence[Tower]) -> tuple[dict[str, Any], ...]:
    """Describes the towers' features, each once."""
    features: list[dict[str, Any]] = []
    for feature in (describe(feature) for tower in towers for feature in tower.config.features):
        if feature not in features:
            features.append(feature)
    return tuple(features)


def _context_inputs(model: Recommender) -> tuple[str, ...]:
    """Returns the names of the inputs that hold the context of a request, each once."""
    context = [feature for tower in query_towers(model) for feature in tower.context]
    return tuple(dict.fromkeys(spec.name for feature in context for spec in feature.raw_specs))


def _as_utf_8(text: str) -> str:
    """Returns a text that can be written: a file's name may hold bytes that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
