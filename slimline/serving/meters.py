"""What a server counts, in Prometheus' format, in a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # a series more for each that there is, which nobody asks for

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Meters:
    """Counters of one server."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.registry = CollectorRegistry()
        given = {"registry": self.registry, "namespace": "slimline"}
        self.requests = Counter("requests", "Requests by route and HTTP status.", ("route", "status"), **given)
        self.seconds = Histogram("request_seconds", "Time from a request to the end of its answer.", ("route",), buckets=SECONDS, **given)
        self.in_flight = Gauge("requests_in_flight", "Requests that are being answered.", **given)
        self.queue = Gauge("queue_length", "Requests that wait for the model.", **given)
        self.batches = Histogram("batch_size", "Samples, or answers of a language model, worked on at once.", buckets=SIZES, **given)
        self.cache = Counter("output_cache", "Lookups of the output cache.", ("result",), **given)
        self.tokens = Counter("tokens", "Tokens of prompts, of those the cached ones, and of answers.", ("kind",), **given)
        self.first_token = Histogram("first_token_seconds", "Time to the first token of an answer.", buckets=SECONDS, **given)
        Gauge("model_info", "What is served.", tuple(facts), **given).labels(**facts).set(1)

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Ask for the queue's length whenever the figures are read."""
        self.queue.set_function(length)

    def text(self) -> bytes:
        """All figures, as /metrics gives them."""
        return generate_latest(self.registry)
