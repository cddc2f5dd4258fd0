"""Requests for every signature of the small bundle, in the forms of both APIs."""

import numpy as np

from tfrs_twotower.server.joined_calls import Received

USERS = ["u0", "u7", "", "nobody", "u39"]
NO_RATING = float("nan")
IDS = ["m0", "m5", "m23", "unknown"]


def query(number: int) -> dict:
    """Returns the features of one query: known, unknown or nameless, with a history of its own or none."""
    history = [[], ["m1"], ["m2", "m3", "m4"]][number % 3]
    return {
        "user_id": USERS[number % len(USERS)],
        "age": [20.0, NO_RATING, 55.5][number % 3],
        "history": history,
        "history_rating": [[], [5.0], [1.0, NO_RATING, 4.0]][number % 3],
    }


def row(signature: str, number: int) -> dict:
    """Returns one row of a request for a signature."""
    candidate = {
        "movie_id": IDS[number % 4],
        "genres": [["Even"], ["Odd", "Rare"], []][number % 3],
    }
    return {
        "serving_default": query(number),
        "recommend": query(number),
        "recommend_excluding": {**query(number), "exclude_ids": [["m8"], [], ["m9", "m10"]][number % 3]},
        "recommend_filtered": {
            **query(number),
            "exclude_ids": [[], ["m9", "m10"]][number % 2],
            "filter_genres": [["Even"], [], ["Rare", "Even"]][number % 3],
        },
        "similar": {"candidate_id": IDS[number % 4]},
        "score": {**query(number), "candidate_id": IDS[number % 4]},
        "embed_query": query(number),
        "embed_candidate": candidate,
    }[signature]


SIGNATURES = (
    "serving_default",
    "recommend",
    "recommend_excluding",
    "recommend_filtered",
    "similar",
    "score",
    "embed_query",
    "embed_candidate",
)


def arrays(rows: list[dict]) -> dict[str, np.ndarray]:
    """Joins rows to arrays, with lists padded by "" and NaN."""
    joined = {}
    for name, first in rows[0].items():
        values = [row[name] for row in rows]
        if isinstance(first, list):
            width = max(map(len, values))
            padding = NO_RATING if name == "history_rating" else ""
            values = [value + [padding] * (width - len(value)) for value in values]
            array = np.array(values, np.float32 if name == "history_rating" else object).reshape(len(rows), width)
        else:
            array = np.array(values, np.float32 if name == "age" else object)
        is_text = array.dtype == object
        joined[name] = np.frompyfunc(str.encode, 1, 1)(array) if is_text and array.size else array
    return joined


def expected(bundle, signature: str, rows: list[dict]) -> dict[str, np.ndarray]:
    """Returns what the bundle gives for a request, as `load_bundle` loads it."""
    import tensorflow as tf

    inputs = {
        name: tf.constant(
            values.tolist() if values.dtype == object else values,
            tf.string if values.dtype == object else None,
            shape=values.shape,
        )
        for name, values in arrays(rows).items()
    }
    return {name: values.numpy() for name, values in bundle.module.signatures[signature](**inputs).items()}


def received(requests: list[list[dict]]) -> tuple[list[int], dict[str, Received]]:
    """Returns several requests as a worker receives them."""
    joined = [arrays(rows) for rows in requests]
    inputs = {}
    for name in joined[0]:
        parts = [request[name] for request in joined]
        values = np.concatenate([part.ravel() for part in parts])
        widths = [part.shape[1] for part in parts] if parts[0].ndim > 1 else []
        inputs[name] = Received(widths, values.tolist() if values.dtype == object else values)
    return [len(rows) for rows in requests], inputs
