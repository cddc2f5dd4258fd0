"""What a server measures, in the form that Prometheus reads."""

from __future__ import annotations

from collections.abc import Mapping

import prometheus_client as prometheus
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

#: TensorFlow Serving's path for them.
PATH = "/monitoring/prometheus/metrics"

_PREFIX = "tfrs_twotower"
_LATENCIES_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
#: Stands for a model or a signature that does not exist: names from requests would be labels without end.
NONE = ""


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        self.registry = prometheus.CollectorRegistry()
        self._requests = prometheus.Counter(
            f"{_PREFIX}_requests",
            "Requests by API, model, signature and code.",
            ("api", "model", "signature", "code"),
            registry=self.registry,
        )
        self._latency = prometheus.Histogram(
            f"{_PREFIX}_request_latency_seconds",
            "Seconds from the first byte of a successful prediction's request to its response.",
            ("api", "model", "signature"),
            buckets=_LATENCIES_S,
            registry=self.registry,
        )
        self._batch_rows = prometheus.Histogram(
            f"{_PREFIX}_batch_rows",
            "Rows of a call, in which the requests that waited are joined.",
            ("model", "signature"),
            buckets=_ROWS,
            registry=self.registry,
        )
        self._batch_requests = prometheus.Histogram(
            f"{_PREFIX}_batch_requests",
            "Requests of a call.",
            ("model", "signature"),
            buckets=_ROWS,
            registry=self.registry,
        )
        self._counts = {
            "slots": self._counter("slots", "Slots of recommendations."),
            "empty_slots": self._counter("empty_slots", "Slots for which no candidate was left."),
            "queries": self._counter("queries", "Queries with an id, or without one."),
            "unknown_queries": self._counter("unknown_queries", "Queries that the bundle does not know."),
        }
        self._queue = prometheus.Gauge(
            f"{_PREFIX}_queue_length",
            "Requests that wait for a version.",
            ("model", "version"),
            registry=self.registry,
        )
        self._versions = prometheus.Gauge(
            f"{_PREFIX}_version_available",
            "1 for each version that is served.",
            ("model", "version"),
            registry=self.registry,
        )
        self._refused = prometheus.Counter(
            f"{_PREFIX}_versions_refused", "Versions that could not be loaded.", ("model",), registry=self.registry
        )

    def _counter(self, name: str, text: str) -> prometheus.Counter:
        return prometheus.Counter(f"{_PREFIX}_{name}", text, ("model", "signature"), registry=self.registry)

    def count_request(self, api: str, model: str, signature: str, code: str, latency_s: float) -> None:
        """Notes a request.

        Args:
            api: "rest" or "grpc".
            model: Name of a model that is served, or `NONE`.
            signature: Name of one of its signatures, or `NONE`.
            code: Canonical code, "OK" for a success.
            latency_s: Seconds that it took.
        """
        self._requests.labels(api, model, signature, code).inc()
        if code == "OK" and signature:
            self._latency.labels(api, model, signature).observe(latency_s)

    def count_call(
        self, model: str, signature: str, num_requests: int, num_rows: int, counts: Mapping[str, int]
    ) -> None:
        """Notes a call of a signature.

        Args:
            model: Name of the model.
            signature: Name of the signature.
            num_requests: Requests that were joined.
            num_rows: Their rows.
            counts: What the worker counted.
        """
        self._batch_requests.labels(model, signature).observe(num_requests)
        self._batch_rows.labels(model, signature).observe(num_rows)
        for name, count in counts.items():
            self._counts[name].labels(model, signature).inc(count)

    def count_refused(self, model: str) -> None:
        """Notes a version that could not be loaded.

        Args:
            model: Name of the model.
        """
        self._refused.labels(model).inc()

    def show_versions(self, queues: Mapping[tuple[str, str], int]) -> None:
        """Notes which versions are served, and how many requests wait for each.

        Args:
            queues: (model, version) -> requests that wait.
        """
        self._queue.clear()
        self._versions.clear()
        for (model, version), length in queues.items():
            self._queue.labels(model, version).set(length)
            self._versions.labels(model, version).set(1)

    def text(self) -> tuple[bytes, str]:
        """Returns all of it, and the content type."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST
