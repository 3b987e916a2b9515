"""What Prometheus sees."""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable of prometheus_client: where several processes put their numbers together."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
_MODEL = ("model", "version")


class Metrics:
    """Numbers of this process; ``render`` gives those of all that share the service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "ppclas_requests",
            "Requests by route and status.",
            ("route", "status"),
            registry=registry,
        )
        self.latency = Histogram(
            "ppclas_request_seconds",
            "From the first byte of a request to its answer.",
            ("route",),
            buckets=_SECONDS,
            registry=registry,
        )
        self.batches = Histogram(
            "ppclas_batch_images",
            "Photos that the engine was given at a time.",
            _MODEL,
            buckets=_SIZES,
            registry=registry,
        )
        self.engine = Histogram(
            "ppclas_engine_seconds",
            "What the engine took for a batch.",
            _MODEL,
            buckets=_SECONDS,
            registry=registry,
        )
        self.waiting = Gauge(
            "ppclas_waiting_images",
            "Photos that are read or wait for an engine.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.ready = Gauge(
            "ppclas_model_ready",
            "1 where the model is proven and answers.",
            _MODEL,
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.loads = Counter(
            "ppclas_model_loads",
            "Times that a model was loaded, by outcome.",
            ("model", "version", "outcome"),
            registry=registry,
        )
        self.shadowed = Counter(
            "ppclas_shadow_images", "Photos that the shadow answered too.", registry=registry
        )
        self.disagreements = Counter(
            "ppclas_shadow_disagreements",
            "Photos to which the shadow gave another class.",
            registry=registry,
        )
        self.shadow_dropped = Counter(
            "ppclas_shadow_dropped", "Photos that the shadow had no time for.", registry=registry
        )

    def batch_observer(self, name: str, version: str) -> Callable[[int, float], None]:
        """A function that is told the size of a batch and the seconds that it took."""
        sizes, seconds = self.batches.labels(name, version), self.engine.labels(name, version)

        def observe(size: int, took: float) -> None:
            sizes.observe(size)
            seconds.observe(took)

        return observe

    def render(self) -> bytes:
        """In the text format of Prometheus."""
        if not os.environ.get(MULTIPROCESS):
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
