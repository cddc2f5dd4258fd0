"""Random requests to every signature of the bundle with every kind of feature, and what each must be answered.

A request whose inputs do not fit each other must be refused. All else must be answered: rankings as NumPy ranks the
catalogue by the embeddings of the signatures, and each row to the last bit as it is answered alone.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import tensorflow as tf

import tfrs_twotower as tt
from tests.every_kind import NUM_CANDIDATES, NUM_QUERIES, K
from tfrs_twotower.bundle.requests import raw_candidates
from tfrs_twotower.data.times import NO_TIME
from tfrs_twotower.index.ordering import NO_SCORE

_FLOAT32 = np.finfo(np.float32)
_ORDINARY = [np.nan, -1.0, 0.0, 1.0, 3.0, 5.0, 30.0, 170.0]
EXTREME = [*_ORDINARY, np.inf, -np.inf, _FLOAT32.max, _FLOAT32.min, 3e38, 1e20, -1e9, 1e-45]
TIMES = [NO_TIME, NO_TIME + 1, 2**63 - 1, -(2**55), -1, 0, 1_704_067_200, 1_704_153_600]
TEXTS = [b"", b" ", b"likes words 3", b"the title 7", b"x", b"y", b"city 1", b"a" * 300, b"\xff\xfe", b"nul\x00nul"]
TEXTS += ["Été, ÄÖ 東京".encode(), b"\x1a", b"\x1b", b"\n", b"a b c d e f g h i j k l m n o p"]
_FILTERS = {"filter_genres": [b"", b"Drama", b"War", b"none"], "filter_year": [b"", b"1990", b"1995", b"1800"]}
_MAX_ROWS, _MAX_WIDTH = 5, 9
# NumPy adds in another order, and rounds differently, relative to the largest numbers that it adds.
_TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        name: Name of the signature.
        inputs: Input name -> array.
        is_wrong: Whether it must be refused.
    """

    name: str
    inputs: dict[str, np.ndarray]
    is_wrong: bool


class Fuzzer:
    """Makes requests and checks what they are answered.

    Args:
        loaded: The bundle as TensorFlow loads it.
        known: The interactions that it remembers.
        seed: Seed of the requests.
    """

    def __init__(self, loaded: Any, known: tt.Interactions, *, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.numbers = np.array(_ORDINARY, np.float32)
        self.signatures = dict(loaded.signatures)
        self.ids = np.array([*known.candidates["movie_id"].to_pylist(), ""], object)
        self.row_of = {name.encode(): row for row, name in enumerate(self.ids[:-1])}
        self.query_rows = {name.encode(): row for row, name in enumerate(known.queries["user_id"].to_pylist())}
        self.seen = np.zeros([NUM_QUERIES, NUM_CANDIDATES], bool)
        self.seen[known.query_rows, known.candidate_rows] = True
        self.values = {
            "filter_genres": [set(genres) for genres in known.candidates["genres"].to_pylist()],
            "filter_year": [{str(year)} for year in known.candidates["year"].to_pylist()],
        }
        specs = list(self._specs("embed_candidate").values())
        embeddings = self._ask("embed_candidate", raw_candidates(known.candidates, specs))
        self.catalogue, self.rating = embeddings["retrieval"], embeddings["rating"]

    def run(self, num_requests: int) -> Counter[str]:
        """Makes requests and checks each.

        Returns:
            Signature, and "refused" -> number of requests.

        Raises:
            AssertionError: If a reply is wrong; names the request.
        """
        counts: Counter[str] = Counter()
        for number in range(num_requests):
            request = self.make()
            counts[request.name] += 1
            counts["refused"] += request.is_wrong
            try:
                self.check(request)
            except Exception as error:
                raise AssertionError(f"Request {number} fails: {request}") from error
        return counts

    def make(self) -> Request:
        """Makes a random request, one in five of which is wrong."""
        rng = self.rng
        name = str(rng.choice(sorted(self.signatures)))
        num_rows = int(rng.integers(0, _MAX_ROWS + 1))
        # Beside extreme numbers, errors of ordinary ones would be within the tolerance.
        self.numbers = np.array(EXTREME if rng.random() < 0.5 else _ORDINARY, np.float32)
        inputs = {spec.name: self._values(spec, num_rows) for spec in self._specs(name).values()}
        is_wrong = False
        if "history" in inputs:
            width = inputs["history"].shape[1]
            ratings = rng.choice(self.numbers, [num_rows, width])
            if rng.random() < 0.1:
                ratings = np.full([num_rows, rng.integers(0, _MAX_WIDTH)], np.nan, np.float32)
            elif rng.random() < 0.05:
                ratings = rng.choice(self.numbers, [num_rows, width + 1])
                is_wrong = not np.isnan(ratings).all()
            inputs["history_rating"] = ratings
        if len(inputs) > 1 and rng.random() < 0.15:
            changed = str(rng.choice(sorted(inputs)))
            other = int(rng.choice([rows for rows in range(_MAX_ROWS + 1) if rows != num_rows]))
            inputs[changed] = self._values(self._specs(name)[changed], other)
            is_wrong = True
        return Request(name, inputs, is_wrong)

    def check(self, request: Request) -> None:
        """Makes a request and checks its reply."""
        if request.is_wrong:
            try:
                self._ask(request.name, request.inputs)
            except tf.errors.InvalidArgumentError:
                return
            raise AssertionError("It must be refused.")
        outputs = self._ask(request.name, request.inputs)
        for name, values in outputs.items():
            assert len(values) == len(next(iter(request.inputs.values()))), name
            assert values.dtype == object or np.isfinite(values).all(), name
        self._check_rows_alone(request, outputs)
        if request.name.startswith("embed_"):
            assert {name: values.shape[1] for name, values in outputs.items()} == {"retrieval": 9, "rating": 8}
        elif request.name == "score":
            self._check_scores(request, outputs)
        elif request.name == "similar":
            self._check_similar(request, outputs)
        else:
            self._check_ranking(request, outputs)

    def _check_rows_alone(self, request: Request, outputs: dict[str, np.ndarray]) -> None:
        for row in range(len(next(iter(outputs.values())))):
            alone = {name: values[row : row + 1] for name, values in request.inputs.items()}
            if "history" in alone:  # without the padding that is there for the sake of others
                width = np.flatnonzero([True, *(alone["history"][0] != b"")])[-1]
                alone |= {name: alone[name][:, :width] for name in ("history", "history_rating")}
            for name, values in self._ask(request.name, alone).items():
                np.testing.assert_array_equal(values[0], outputs[name][row])

    def _check_scores(self, request: Request, outputs: dict[str, np.ndarray]) -> None:
        history, candidate_ids = request.inputs["history"], request.inputs["candidate_id"]
        others = np.where(history == candidate_ids[:, np.newaxis], b"", history)
        queries = self._embed_queries(dataclasses.replace(request, inputs={**request.inputs, "history": others}))
        is_remembered = (others == b"").all(axis=1)
        for row, candidate_id in enumerate(candidate_ids.tolist()):
            place = self.row_of.get(candidate_id)
            if place is None:
                assert (outputs["scores"][row], outputs["probabilities"][row]) == (NO_SCORE, 0)
                continue
            query = self.query_rows.get(request.inputs["user_id"][row])
            if is_remembered[row] and ((history[row] != b"").any() or (query is not None and self.seen[query, place])):
                continue  # a history without the candidate that no request can give; see test_query_side.py
            products = queries["retrieval"][row] * self.catalogue[place]
            _require_close(outputs["scores"][row], products.sum(), np.abs(products).max())
            self._check_probabilities(queries["rating"][row], [place], outputs["probabilities"][row : row + 1])

    def _check_similar(self, request: Request, outputs: dict[str, np.ndarray]) -> None:
        for row, candidate_id in enumerate(request.inputs["candidate_id"].tolist()):
            place = self.row_of.get(candidate_id)
            allowed = np.full(NUM_CANDIDATES, place is not None)
            if place is not None:
                allowed[place] = False
            query = self.catalogue[place or 0] * (np.arange(9) < 8)  # without the bias
            self._check_places(query, allowed, outputs["candidate_ids"][row], outputs["scores"][row])

    def _check_ranking(self, request: Request, outputs: dict[str, np.ndarray]) -> None:
        queries = self._embed_queries(request)
        for row in range(len(outputs["scores"])):
            inputs = {name: values.tolist()[row] for name, values in request.inputs.items()}
            allowed = np.ones(NUM_CANDIDATES, bool)
            user = inputs["user_id"].decode()
            if user.startswith("u") and user[1:].isdecimal() and int(user[1:]) < NUM_QUERIES:
                allowed &= ~self.seen[int(user[1:])]
            for name in (*inputs["history"], *inputs.get("exclude_ids", ())):
                if name in self.row_of:
                    allowed[self.row_of[name]] = False
            for name, values_of in self.values.items():
                wanted = {value.decode() for value in inputs.get(name, ()) if value}
                if wanted:
                    allowed &= [bool(values & wanted) for values in values_of]
            scores, probabilities = outputs["scores"][row], outputs["probabilities"][row]
            ids = outputs["candidate_ids"][row]
            places = self._check_places(queries["retrieval"][row], allowed, ids, scores)
            odds = self._check_probabilities(queries["rating"][row], places, probabilities[: len(places)])
            assert not probabilities[len(places) :].any()
            blend = (0.5 * odds + 0.5 * scores[: len(places)])[:5]
            bound = np.abs([*odds, *scores[: len(places)], 1.0]).max()
            assert (np.diff(blend) <= 1e-3 * bound).all(), "the first five are in the wrong order"

    def _check_places(self, query: np.ndarray, allowed: np.ndarray, ids: np.ndarray, scores: np.ndarray) -> list[int]:
        """Checks that the best allowed candidates are found, and returns their rows."""
        num_found = min(K, int(allowed.sum()))
        assert ids.shape == scores.shape == (K,)
        assert ids[num_found:].tolist() == [b""] * (K - num_found)
        assert scores[num_found:].tolist() == [NO_SCORE] * (K - num_found)
        places = [self.row_of[name] for name in ids[:num_found]]
        assert len(set(places)) == num_found
        assert allowed[places].all()
        products = query * self.catalogue
        bound = np.abs(products).max(initial=0)
        _require_close(scores[:num_found], products.sum(axis=1)[places], bound)
        best = np.sort(products.sum(axis=1)[allowed])[::-1][:num_found]
        _require_close(np.sort(scores[:num_found])[::-1], best, bound)
        return places

    def _check_probabilities(self, query: np.ndarray, places: list[int], probabilities: np.ndarray) -> np.ndarray:
        """Checks probabilities of candidates, and returns their log-odds."""
        products = (query * self.rating[places]).astype(np.float64)
        odds: np.ndarray = products.sum(axis=1)
        error = _TOLERANCE * np.abs(products).max(initial=1)
        low, high = (1 / (1 + np.exp(-np.clip(odds + sign * error, -500, 500))) for sign in (-1, 1))
        assert ((low - 1e-6 <= probabilities) & (probabilities <= high + 1e-6)).all()
        return odds

    def _embed_queries(self, request: Request) -> dict[str, np.ndarray]:
        names = self._specs("embed_query")
        return self._ask("embed_query", {name: request.inputs[name] for name in names})

    def _ask(self, name: str, inputs: dict[str, Any]) -> dict[str, np.ndarray]:
        specs = self._specs(name)
        tensors = {key: tf.constant(values, specs[key].dtype) for key, values in inputs.items()}
        return {key: values.numpy() for key, values in self.signatures[name](**tensors).items()}

    def _specs(self, name: str) -> dict[str, tf.TensorSpec]:
        specs = self.signatures[name].structured_input_signature[1].values()
        return {spec.name: spec for spec in sorted(specs, key=lambda spec: spec.name)}

    def _values(self, spec: tf.TensorSpec, num_rows: int) -> np.ndarray:
        """Makes random values of an input."""
        rng = self.rng
        shape = [num_rows, *(size or rng.integers(0, _MAX_WIDTH) for size in spec.shape[1:])]
        if spec.dtype != tf.string:
            return rng.choice(np.array(TIMES) if spec.dtype == tf.int64 else self.numbers, shape)
        if spec.name == "user_id":
            choices = [f"u{row}".encode() for row in range(NUM_QUERIES)] + [b"", b"stranger"]
        elif spec.name in ("history", "exclude_ids", "candidate_id", "movie_id"):
            choices = [*self.row_of, *[b""] * 20, b"unknown", b"\xff"]
        else:
            choices = _FILTERS.get(spec.name, TEXTS)
        return rng.choice(np.array(choices, object), shape)


def _require_close(found: Any, expected: Any, bound: float) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=_TOLERANCE * max(1.0, float(bound)))
