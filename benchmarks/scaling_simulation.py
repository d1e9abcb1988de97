"""From 1 to 1,000 workers: runs an hour of a line that shares its stages, where it saturates, and by what.

    python benchmarks/scaling_simulation.py --project FOLDER         # a project whose line has run: its DAG, and the seconds of each stage

A discrete-event simulation (simpy). Measured: the seconds of each stage of the project's last run, and results/scaling-costs.json of
scaling_costs.py. Assumed, and said in the table's text: lists of LIST runs, each list of a model of its own; the runs of a list differ in
one variant each, so that they share all stages but those that stand on it; one worker a machine, one stage at a time; a worker that finds a
lease taken waits for it, where the real one gives its place to other ready stages (pessimistic).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import simpy
from scaling_costs import COSTS, Costs

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from flows.dag import read_dag  # noqa: E402
from flows.durations import durations  # noqa: E402
from slimline.storage.stage_leases import POLL_S, TTL_S  # noqa: E402

WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
LIST = 12
LISTS_A_WORKER = 1 / 3
LEASE_REQUESTS, ENTRY_REQUESTS = 4, 3
"""Of the store: a lease is read, written, read and freed; the entries of a stage are looked for, listed and carried."""
S3_A_SECOND = 3500.0
"""Writes a second that Amazon promises for one prefix (S3 User Guide, Optimizing performance); an own S3 in the tables."""
POSTGRES_TIMES = 4.0
"""Assumed, not measured: how many servers of Prefect with PostgreSQL stand behind one address on the larger set-up."""


@dataclass(frozen=True)
class Stage:
    """A stage of a run: what names its result in the world, and the seconds of its own work."""

    key: str
    work_s: float


@dataclass(frozen=True)
class Setup:
    """What serves the workers. `every_entry`: each stage carries all entries of the run cache, as `dvc repro --pull` would."""

    name: str
    store_a_second: float
    prefect_servers: float
    every_entry: bool = False


@dataclass
class World:
    """The simulation's clock, what serves it, what has been computed, and what is being computed: its end."""

    env: Any
    costs: Costs
    setup: Setup
    store: Any = None
    prefect: Any = None
    done: set[str] = field(default_factory=set)
    held: dict[str, Any] = field(default_factory=dict)
    busy_s: dict[str, float] = field(default_factory=lambda: {"store": 0.0, "prefect": 0.0, "work": 0.0, "wait": 0.0})

    def __post_init__(self) -> None:
        """A server answers one request after another, as fast as it was measured to."""
        self.store, self.prefect = simpy.Resource(self.env), simpy.Resource(self.env)

    def ask(self, what: str, seconds: float) -> Iterator[Any]:
        """Wait for one's turn at a server, and for its answer."""
        with getattr(self, what).request() as turn:
            yield turn
            self.busy_s[what] += seconds
            yield self.env.timeout(seconds)

    def asks(self, requests: float) -> Iterator[Any]:
        """So many requests of the store, one after another: its own time, and the way there and back."""
        yield from self.ask("store", requests / self.setup.store_a_second)
        yield self.env.timeout(requests * self.costs.store_request_s)


def line(folder: Path) -> tuple[list[Stage], list[set[str]]]:
    """The stages of the project's line in an order that can run, and for each variant those that stand on its own stage."""
    dag, seconds = read_dag(folder), durations(folder)
    order: list[str] = []
    while len(order) < len(dag.nodes):
        order += [name for name, node in dag.nodes.items() if name not in order and set(node.needs) <= set(order)]
    if lacking := [name for name in order if name not in seconds]:
        raise SystemExit(f"{folder}: nobody knows how long {lacking[0]} takes; slimline run --force there first")
    own = [name for name in order if name.partition("@")[0] in ("prune", "quantize", "factorize", "distill")]
    above = {name: dag.above([name]) | {name} for name in order}
    return [Stage(name, seconds[name]) for name in order], [{name for name in order if one in above[name]} for one in own]


def runs_of(stages: Sequence[Stage], variants: Sequence[set[str]], lists: int) -> list[list[Stage]]:
    """The runs of so many lists, in turn of the lists: a night in which every model has its list."""

    def key(one: Stage, model: int, number: int) -> str:
        return f"{model}/{one.key}/{number}" if one.key in variants[number % len(variants)] else f"{model}/{one.key}"

    return [[Stage(key(one, model, number), one.work_s) for one in stages] for number in range(LIST) for model in range(lists)]


def stage(world: World, one: Stage) -> Iterator[Any]:
    """One stage on one worker: its lease, its result or its work."""
    yield from world.ask("prefect", world.costs.prefect_stage_s / world.setup.prefect_servers)
    yield from world.asks(LEASE_REQUESTS)
    began = world.env.now
    while one.key in world.held:
        yield world.held[one.key]
    if waited := world.env.now - began:
        yield from world.ask("store", waited / POLL_S / world.setup.store_a_second)  # what it has looked meanwhile
        yield world.env.timeout(POLL_S / 2)
    world.busy_s["wait"] += world.env.now - began
    entries = len(world.done) if world.setup.every_entry else 1
    if one.key in world.done:
        yield from world.asks(ENTRY_REQUESTS * entries)
        yield world.env.timeout(world.costs.restored_s)
        return
    world.held[one.key] = world.env.event()
    yield world.env.timeout(one.work_s + world.costs.computed_s)
    world.busy_s["work"] += one.work_s
    yield from world.ask("store", one.work_s / (TTL_S / 4) / world.setup.store_a_second)  # what it has written anew meanwhile
    yield from world.asks(ENTRY_REQUESTS * entries)
    world.done.add(one.key)
    world.held.pop(one.key).succeed()


def worker(world: World, todo: list[list[Stage]]) -> Iterator[Any]:
    """Take run after run."""
    while todo:
        for one in todo.pop(0):
            yield from stage(world, one)


def simulated(workers: int, setup: Setup, costs: Costs, stages: Sequence[Stage], variants: Sequence[set[str]]) -> dict[str, float]:
    """What so many workers come to on a night that grows with them."""
    todo = runs_of(stages, variants, max(1, round(workers * LISTS_A_WORKER)))
    runs, world = len(todo), World(simpy.Environment(), costs, setup)
    ended = [world.env.process(worker(world, todo)) for _ in range(workers)]
    world.env.run(simpy.AllOf(world.env, ended))
    hours = world.env.now / 3600
    busy = {name: seconds / world.env.now for name, seconds in world.busy_s.items()}
    return {"workers": workers, "runs": runs, "hours": hours, "runs_an_hour": runs / hours, **busy, "wait": busy["wait"] / workers}


def table(rows: Sequence[dict[str, float]]) -> str:
    """Markdown: a row a number of workers."""
    names = ("workers", "runs", "hours", "runs an hour", "of N times one", "store busy", "Prefect busy", "waiting for others")
    lines = [f"| {' | '.join(names)} |", "|" + "--:|" * len(names)]
    for row in rows:
        share = row["runs_an_hour"] / rows[0]["runs_an_hour"] / row["workers"]
        shares = " | ".join(f"{row[name]:.0%}" for name in ("store", "prefect", "wait"))
        lines.append(f"| {row['workers']:,} | {row['runs']:,} | {row['hours']:.2f} | {row['runs_an_hour']:,.1f} | {share:.2f} | {shares} |")
    return "\n".join(lines)


def main() -> int:
    """Simulate every set-up and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path, default=PROJECT, help="a project whose line has run here")
    parser.add_argument("--workers", type=lambda given: [int(one) for one in given.split(",")], default=list(WORKERS))
    chosen = parser.parse_args()
    costs = Costs(**json.loads(COSTS.read_text(encoding="utf-8")))
    stages, variants = line(chosen.project)
    embedded = costs.store_requests_a_second
    setups = (
        Setup("the embedded store, one server of Prefect with SQLite", embedded, 1.0),
        Setup("the same, where each stage carries every entry of the run cache", embedded, 1.0, every_entry=True),
        Setup(f"an S3 that takes {S3_A_SECOND:,.0f} requests a second, one server of Prefect", S3_A_SECOND, 1.0),
        Setup(f"the same S3, Prefect's server {POSTGRES_TIMES:g} times over", S3_A_SECOND, POSTGRES_TIMES),
    )
    work_s = sum(one.work_s for one in stages)
    parts = [f"# Simulated: 1 to {max(chosen.workers):,} workers"]
    parts += [
        f"{len(stages)} stages, {work_s:,.0f} s of work a run; lists of {LIST} runs. Costs of this machine: {json.dumps(asdict(costs))}."
    ]
    for setup in setups:
        rows = [simulated(number, setup, costs, stages, variants) for number in chosen.workers]
        parts.append(f"## {setup.name[0].upper()}{setup.name[1:]}\n\n{table(rows)}")
        sys.stdout.write(f"{parts[-1]}\n\n")
    (COSTS.parent / "scaling-simulation.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
