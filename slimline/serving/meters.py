"""What a server counts, in Prometheus' format, in a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each that there is, which nobody asks for

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Meters:
    """Counters of one server."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.registry = registry = CollectorRegistry()
        route, status = "route", "status"
        self.requests = Counter("slimline_requests", "Requests by route and HTTP status.", (route, status), registry=registry)
        told = "Time from a request to the end of its answer."
        self.seconds = Histogram("slimline_request_seconds", told, (route,), buckets=SECONDS, registry=registry)
        self.in_flight = Gauge("slimline_requests_in_flight", "Requests that are being answered.", registry=registry)
        self.queue = Gauge("slimline_queue_length", "Requests that wait for the model.", registry=registry)
        told = "Samples, or answers of a language model, worked on at once."
        self.batches = Histogram("slimline_batch_size", told, buckets=SIZES, registry=registry)
        self.cache = Counter("slimline_output_cache", "Lookups of the output cache.", ("result",), registry=registry)
        told = "Tokens of prompts, of those the cached ones, and of answers."
        self.tokens = Counter("slimline_tokens", told, ("kind",), registry=registry)
        self.first_token = Histogram("slimline_first_token_seconds", "Time to the first token.", buckets=SECONDS, registry=registry)
        Gauge("slimline_model_info", "What is served.", tuple(facts), registry=registry).labels(**facts).set(1)

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Ask for the queue's length whenever the figures are read."""
        self.queue.set_function(length)

    def text(self) -> bytes:
        """All figures, as /metrics gives them."""
        return generate_latest(self.registry)
