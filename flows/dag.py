"""The DAG as DVC sees it. All use of DVC's internal graph is here; a contract test compares it with `dvc dag --dot`."""

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.errors import InputError


@dataclass(frozen=True)
class Node:
    """One stage: what it needs, what it makes, whether it is up to date.

    `depth` is the number of stages in the longest chain that waits for it. In dvc.yaml `meta: {alone: true}` says that nothing may run
    beside it, `meta: {gathers: true}` that it works on what stands, also where a stage before it has failed, and `meta: {admits: true}`
    that what others take of it is the same whenever it ends well: they wait for it, and its running again does not undo them. `altered`
    are the outs that stand there and are not what the stage last made.
    """

    name: str
    needs: tuple[str, ...]
    outs: tuple[str, ...]
    clean: bool
    depth: int
    alone: bool
    gathers: bool = False
    admits: bool = False
    altered: tuple[str, ...] = ()

    @property
    def page(self) -> str | None:
        """The stage's Markdown page."""
        return next((out for out in self.outs if out.endswith(".md")), None)


@dataclass(frozen=True)
class Dag:
    """The stages of a run by name, and what the project's DVC is set up with.

    `outs` is every path that DVC knows here, also of stages that are not run: of other pipelines, of `dvc add`.
    """

    nodes: Mapping[str, Node]
    remote: str | None
    cache: Path
    outs: frozenset[str]

    def above(self, names: Iterable[str]) -> set[str]:
        """The stages that these stand on, and theirs."""
        needed = {need for name in names for need in self.nodes[name].needs}
        return needed | self.above(needed) if needed else needed

    def maker(self, out: str) -> str | None:
        """The stage that makes this path."""
        return next((node.name for node in self.nodes.values() if out in node.outs), None)


def read_dag(root: Path, targets: Sequence[str] = ()) -> Dag:
    """Read dvc.yaml and what is up to date, in this process.

    Raises:
        InputError: dvc.yaml or dvc.lock is wrong, or a target matches no stage.
    """
    from dvc.exceptions import DvcException
    from dvc.lock import LockError
    from dvc.repo import Repo, lock_repo

    try:
        with Repo(os.path.realpath(root), _wait_for_lock=True) as repo, lock_repo(repo):
            graph = _selected(repo, targets)
            try:
                status = repo.status()
            except LockError:
                status = {stage.addressing: [] for stage in graph}
            remote = repo.config["core"].get("remote")
            return Dag(_nodes(repo, graph, status), remote, Path(repo.cache.local_cache_dir), frozenset(_outs(repo)))
    except DvcException as error:
        raise InputError(f"dvc.yaml: {_told(error)}") from None


def _told(error: BaseException | None) -> str:
    """All that DVC says, its causes included: the reason is often the last of them."""
    said: list[str] = []
    while error is not None:
        text = " ".join(str(error).split())
        said += [text] if text and not any(text in before for before in said) else []
        error = error.__cause__
    return ": ".join(said)


def _name(repo: Any, stage: Any) -> str:
    """The stage's name from the root of the project, wherever this process works."""
    relative, name = os.path.relpath(stage.path, repo.root_dir), getattr(stage, "name", None)
    if name is None:
        return relative
    return str(name) if relative == "dvc.yaml" else f"{relative}:{name}"


def _selected(repo: Any, targets: Sequence[str]) -> Any:
    """The graph (an edge goes from a stage to the one it needs), cut down to the targets and their ancestors.

    Without targets it is what a plain `dvc repro` runs: the stages of the project's own dvc.yaml, not those of folders below.
    """
    import networkx

    graph = repo.index.graph
    names = {stage: _name(repo, stage) for stage in graph}
    own = {stage: name for stage, name in names.items() if os.path.relpath(stage.path, repo.root_dir) == "dvc.yaml"}
    for target in targets:
        if not fnmatch.filter(names.values(), target):
            raise InputError(f"target {target!r}: no such stage; there are: {', '.join(sorted(own.values()))}")
    wanted = (
        {stage for stage, name in names.items() if any(fnmatch.fnmatchcase(name, target) for target in targets)} if targets else set(own)
    )
    return graph.subgraph(wanted.union(*(networkx.descendants(graph, stage) for stage in wanted)))


def _outs(repo: Any) -> Iterator[str]:
    for stage in repo.index.stages:
        yield os.path.relpath(stage.path, repo.root_dir)
        yield from (os.path.relpath(out.fs_path, repo.root_dir) for out in stage.outs if out.protocol == "local")


def _altered(repo: Any, stage: Any, said: Any) -> Iterator[str]:
    """The outs that DVC's status of a stage calls neither the same nor deleted."""
    states = {out: state for change in said if isinstance(change, dict) for out, state in change.get("changed outs", {}).items()}
    for out in stage.outs:
        if states.get(str(out), "deleted") != "deleted":
            yield os.path.relpath(out.fs_path, repo.root_dir)


def _nodes(repo: Any, graph: Any, status: Mapping[str, Any]) -> dict[str, Node]:
    import networkx

    def name(stage: Any) -> str:
        return _name(repo, stage)

    order = list(networkx.lexicographical_topological_sort(graph.reverse(copy=True), key=name))
    depth: dict[str, int] = {}
    for stage in reversed(order):
        depth[name(stage)] = 1 + max((depth[name(waiting)] for waiting in graph.predecessors(stage)), default=0)
    nodes: dict[str, Node] = {}
    for stage in order:
        needs = tuple(sorted(name(needed) for needed in graph.successors(stage)))
        clean = stage.addressing not in status and all(nodes[needed].clean or nodes[needed].admits for needed in needs)
        outs = tuple(os.path.relpath(out.fs_path, repo.root_dir) for out in stage.outs)
        meta = getattr(stage, "meta", None) or {}
        alone, gathers, admits = (bool(meta.get(key)) for key in ("alone", "gathers", "admits"))
        altered = tuple(_altered(repo, stage, status.get(stage.addressing, ())))
        nodes[name(stage)] = Node(name(stage), needs, outs, clean, depth[name(stage)], alone, gathers, admits, altered)
    return nodes
