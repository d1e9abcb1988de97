"""List scheduling: what is ready starts, the longest remaining chain first, at most `jobs` at once.

Prefect's thread pool would let a waiting stage occupy a thread, so the ready list is kept here; `wait_for` draws the edges in the UI.
"""

import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flows.dag import Dag, Node
from flows.sharing import waiting as waiting_elsewhere
from flows.sharing import when_one_waits
from flows.stages import CommandFailedError, run_stage

Future = Any


def startable(waiting: Mapping[str, Node], futures: Mapping[str, Future], running: Mapping[str, Node], jobs: int) -> list[Node]:
    """The stages to start now. One that must be alone waits until nothing runs, and lets the others go first."""
    if any(node.alone for node in running.values()):
        return []
    ready = [node for node in waiting.values() if all(need in futures and need not in running for need in node.needs)]
    ready.sort(key=lambda node: (node.alone and not node.clean, -node.depth, node.name))
    chosen: list[Node] = []
    for node in ready[: max(0, jobs - len(running))]:
        if node.alone and not node.clean:
            return chosen or ([] if running else [node])
        chosen.append(node)
    return chosen


def run_dag(
    dag: Dag, root: str, *, jobs: int, force: bool, fail_fast: bool, on_progress: Callable[[int, int], object]
) -> Iterator[tuple[str, Any]]:
    """Run every stage and give (name, final state) as each ends.

    After a failure the stages that need the failed one end as NotReady, but for those that gather what stands; with `fail_fast` no other
    is started either.
    """
    futures: dict[str, Future] = {}
    waiting, running = dict(dag.nodes), dict[str, Node]()
    done: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    when_one_waits(lambda: done.put(None))
    stopped = False
    while waiting or running:
        for node in [] if stopped else startable(waiting, futures, running, jobs + waiting_elsewhere()):
            needs = [futures[need] for need in node.needs if _counts(node, futures[need])]
            futures[node.name] = _submit(node, root, str(dag.cache), needs, force=force)
            running[node.name] = waiting.pop(node.name)
            futures[node.name].add_done_callback(lambda _, name=node.name: done.put(name))
        if not running:
            return
        if (name := done.get()) is None:  # one waits for another machine, or no longer does
            continue
        futures[name].wait()
        del running[name]
        on_progress(len(futures) - len(running), len(dag.nodes))
        stopped = stopped or (fail_fast and not futures[name].state.is_completed())
        yield name, futures[name].state


@dataclass(frozen=True)
class Failure:
    """How a stage failed: its exit code (1 where it has none), what it said, and whether by the machine instead of its own work."""

    code: int
    reason: str
    is_machines: bool


def failure_of(state: Any) -> Failure | None:
    """The failure in a stage's final state; None for a state that is no failure."""
    if not (state.is_failed() or state.is_crashed()):
        return None
    error = state.result(raise_on_failure=False)
    if isinstance(error, CommandFailedError):
        return Failure(1 if error.code is None else error.code, error.reason, error.is_machines)
    return Failure(1, " ".join(str(error).split()) or state.name, is_machines=True)


def failure_code(state: Any) -> int | None:
    """The exit code of a failed stage; None for a state that is no failure."""
    failure = failure_of(state)
    return None if failure is None else failure.code


def _counts(node: Node, need: Future) -> bool:
    """Whether a stage depends on how one that it needs has ended."""
    return not node.gathers or bool(need.state.is_completed())


def _submit(node: Node, root: str, cache: str, needs: list[Future], *, force: bool) -> Future:
    return run_stage.submit(node.name, root, node.page, cache=cache, clean=node.clean, force=force, wait_for=needs)
