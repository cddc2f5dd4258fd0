"""For scripts/check_tensorflows: what a bundle answers here, and whether another TensorFlow's replies are the same."""

import json
import sys
from pathlib import Path

import numpy as np

import tfrs_twotower as tt
from tfrs_twotower.serving import fresh
from tfrs_twotower.serving.export import describe_requests

import tensorflow as tf  # isort: skip  # after tfrs_twotower
from tensorflow_serving.apis import prediction_log_pb2  # isort: skip

_TOLERANCE = 1e-5


def ask(bundle_path: str, folder: str) -> None:
    """Writes the requests of a bundle's warm-up file and what it answers here."""
    bundle = tt.load_bundle(bundle_path)
    requests, answers = [], []
    for record in tf.data.TFRecordDataset(str(bundle.path / "assets.extra" / "tf_serving_warmup_requests")):
        request = prediction_log_pb2.PredictionLog.FromString(record.numpy()).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(values)) for name, values in request.inputs.items()}
        outputs = bundle.module.signatures[request.model_spec.signature_name](**inputs)
        requests.append((request.model_spec.signature_name, inputs))
        answers.append({name: fresh.to_plain(values.numpy().tolist()) for name, values in outputs.items()})
    (Path(folder) / "bundle").write_text(str(bundle.path.resolve()))
    (Path(folder) / "requests.json").write_text(json.dumps(describe_requests(requests)))
    (Path(folder) / "answers.json").write_text(json.dumps(answers))


def compare(folder: str, host: str) -> None:
    """Fails if a reply differs by more than rounding."""
    answers, replies = (json.loads((Path(folder) / name).read_text()) for name in ("answers.json", "replies.json"))
    for answer, reply in zip(answers, replies, strict=True):
        for name, expected in answer.items():
            ours, theirs = np.array(expected), np.array(reply[name])
            is_text = ours.dtype.kind == "U"
            same = (
                np.array_equal(ours, theirs) if is_text else np.allclose(theirs, ours, rtol=_TOLERANCE, atol=_TOLERANCE)
            )
            if not same:
                raise SystemExit(f"{host} gives other {name}.")
    print(f"{host}: {len(answers)} requests, the same answers.")


if __name__ == "__main__":
    {"ask": ask, "compare": compare}[sys.argv[1]](*sys.argv[2:])
