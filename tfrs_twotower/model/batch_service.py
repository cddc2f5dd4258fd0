"""Batches for the workers of parameter servers, which run no Python: the coordinator computes them and serves them."""

from __future__ import annotations

import uuid
from typing import Any

import tensorflow as tf

from tfrs_twotower.model.replicas import outside_scopes


class BatchService:
    """A `tf.data` service in this process, the coordinator.

    Each batch goes to one worker, whichever asks first.

    Args:
        strategy: The strategy of a model.

    Raises:
        ValueError: If the cluster names no chief, whose host is where workers find the coordinator.
    """

    def __init__(self, strategy: tf.distribute.ParameterServerStrategy) -> None:
        cluster = strategy._cluster_resolver.cluster_spec()  # its `cluster_resolver` is None
        chiefs = cluster.as_dict().get("chief", [])
        if not chiefs:
            raise ValueError(
                "The cluster must have a chief, the address of the process that calls `fit`: workers read their "
                f"batches there. Received: {sorted(cluster.jobs)} in TF_CONFIG."
            )
        host = chiefs[0].rsplit(":", 1)[0]
        service = tf.data.experimental.service
        self._dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
        port = self._dispatcher.target.rsplit(":", 1)[1]
        self._target = f"grpc://{host}:{port}"
        self._worker = service.WorkerServer(
            service.WorkerConfig(dispatcher_address=f"{host}:{port}", worker_address=f"{host}:%port%")
        )

    def serve(self, batches: tf.data.Dataset) -> Any:
        """Returns what `fit` takes, which gives the workers batches from here without end.

        Args:
            batches: A data set, which is repeated.
        """
        service = tf.data.experimental.service
        endless, job_name = batches.repeat(), uuid.uuid4().hex
        dataset_id = outside_scopes(lambda: service.register_dataset(self._target, endless))

        def read(context: tf.distribute.InputContext) -> tf.data.Dataset:
            del context
            served = service.from_dataset_id(
                service.ShardingPolicy.OFF,
                self._target,
                dataset_id,
                element_spec=endless.element_spec,
                job_name=job_name,
                max_outstanding_requests=2,
            )
            # TensorFlow asks whether a data set of unknown length has ended, which fails where batches have no column.
            return served.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

        return tf.keras.utils.experimental.DatasetCreator(read)

    def close(self) -> None:
        """Ends the service; workers that still read from it fail."""
        self._worker._stop()
        self._dispatcher._stop()
