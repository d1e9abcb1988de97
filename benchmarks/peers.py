"""Slimline beside its peers: every family of ours and every tool, on the same teacher, data and machine. `make bench` runs it.

    python benchmarks/peers.py                                            # all of it: hours
    python benchmarks/peers.py --workloads digits --peers nncf,onnxruntime-static --seeds 0

For each workload and seed the stages of the line run one by one in a folder of --out; then every tool, at its documented defaults and in an
environment of its own where it needs one, makes something of the same teacher. All of it is answered by the test split, and on the first
seed timed in turns. What is there is kept, so that a second call goes on, unless parameters, the workload's code or the tool changed; the
results name the commits that made it. Writes benchmarks/results/DATE.{json,md,html} and README's first table after each workload; beside it
stand the others as they were measured last, each with its day and its machine.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import chdir
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent / "peers"))

import headline
import page
from bench_workloads import SETTINGS, Setting, params_of
from environments import PEERS, interpreter
from handover import PROJECT, Made, packed, write_handover
from kept import COSTS, commits, keep_cost, kept_cost, stage_checksum, tool_checksum
from measuring import MODELS, Cost, Refused, quality_of, ran, stage_ran, times_of
from results import Results, measured_on, read_results, write_results

from slimline.artifact.json_file import read_json
from slimline.artifact.missed import read_missed
from slimline.measure.machine import fingerprint, record
from slimline.params import TEACHER, Params
from slimline.stage import Stage
from slimline.verdict.gate import findings, together
from slimline.workloads import get_workload

RESULTS = Path(__file__).parent / "results"
TEMPLATES = PROJECT / "reports/templates"
LIMIT_S = 3600
BATCH = 32
TAKES_ONE = ("inductor",)
"""Targets whose tools make a package of each batch size: the test samples are answered one by one."""


def project_of(folder: Path, setting: Setting, seed: int) -> Path:
    """A plain project of a seed; its data are made once a workload."""
    data, project = folder / "data", folder / f"seed{seed}"
    if setting.prepare and not data.is_dir():
        draft = folder / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        setting.prepare(draft)
        draft.rename(data)
    (project / "workloads").mkdir(parents=True, exist_ok=True)
    shutil.copytree(TEMPLATES, project / "reports/templates", dirs_exist_ok=True)
    for name in setting.files:
        shutil.copy(PROJECT / "benchmarks/workloads" / name, project / "workloads" / name)
    for path in data.iterdir() if data.is_dir() else ():
        if not (project / path.name).exists():
            (project / path.name).symlink_to(path, target_is_directory=path.is_dir())
    (project / "params.yaml").write_text(yaml.safe_dump(params_of(setting, seed), sort_keys=False), encoding="utf-8")
    return project


def run_line(params: Params, setting: Setting) -> dict[str, Cost | Refused]:
    """All stages up to evaluate, what stands being kept; what each cost."""
    costs: dict[str, Cost | Refused] = {}
    for stage, made in (("data", "data/prepared"), ("teacher", "data/models/teacher"), ("calibrate", "data/calibration")):
        costs[stage] = _stage(params, stage, made)
        if isinstance(found := costs[stage], Refused):
            raise SystemExit(f"{Path.cwd()}: {stage}: {found.reason}")
    for name, (section, config) in _sources_first(params):
        del config
        costs[name] = _stage(params, section, f"data/models/{name}", "--variant", name)
    for target, names in setting.ours.items():
        for name in (TEACHER, *names):
            pair = ("--variant", name, "--target", target)
            costs[f"{name}-{target}"] = _stage(params, "compile", f"data/compiled/{name}-{target}", *pair)
            costs[f"evaluate {name}-{target}"] = _stage(params, "evaluate", f"reports/metrics/evaluate/{name}-{target}.json", *pair)
    return costs


def _stage(params: Params, name: str, made: str, *arguments: str) -> Cost | Refused:
    """Run a stage whose result is not there; its cost is kept beside, for the next call."""
    kept, of = COSTS / f"{'-'.join((name, *arguments[1::2]))}.json", _of(params.lineage(arguments[1]) if arguments else ())
    kept.parent.mkdir(exist_ok=True)
    if Path(made).exists() and (cost := kept_cost(kept, of)):
        return cost
    found = stage_ran(name, kept.with_suffix(".log"), *arguments)
    if isinstance(found, Cost):
        keep_cost(kept, of, found)
    return found


def _of(lineage: Iterable[str]) -> str:
    return stage_checksum(yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8")), lineage, Path("workloads"))


def _sources_first(params: Params) -> Iterator[tuple[str, tuple[str, Any]]]:
    for name in sorted(params.variants, key=lambda name: len(params.lineage(name))):
        yield name, params.variants[name]


def tried(
    stage: Stage, setting: Setting, names: Sequence[str], environments: Path
) -> Iterator[tuple[str, str, Made | Refused, Cost | None]]:
    """Every tool of the workload: name, target, what it made, what it took."""
    handover = Path("handover").resolve()
    write_handover(stage, handover)
    for name in [one for one in setting.peers if not names or one in names]:
        peer, out = PEERS[name], Path("peers").resolve() / name
        found = _tool(name, handover, out, environments)
        for target in [one for one in peer.targets if one in setting.ours]:
            if isinstance(found, Refused):
                yield name, target, found, None
                continue
            try:
                yield name, target, packed(name, target, out), found
            except (OSError, RuntimeError) as error:
                yield name, target, Refused(" ".join(str(error).split())[:400]), found


def _tool(name: str, handover: Path, out: Path, environments: Path) -> Cost | Refused:
    script, kept = Path(__file__).parent / "peers/tools" / f"{PEERS[name].script}.py", out / "cost.json"
    of = tool_checksum(_of(()), script, PEERS[name].packages)
    if cost := kept_cost(kept, of):
        return cost
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    try:
        python = interpreter(PEERS[name], environments)
    except SystemExit as error:
        return Refused(str(error))
    found = ran([python, script, handover, out], out / "log.txt", LIMIT_S)
    if isinstance(found, Cost):
        keep_cost(kept, of, found)
    return found


def measured(setting: Setting, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """All rows of one seed, in the project that this process is in."""
    params = Params.load(Path("params.yaml"))
    costs = run_line(params, setting)
    record(Path.cwd())
    workload = get_workload(params.workload, Path.cwd())
    stage = Stage("evaluate", TEACHER, next(iter(setting.ours)), params, workload)
    rows = list(_ours(setting, params, costs))
    made: dict[str, list[Made]] = {target: [] for target in setting.ours}
    for name, target, found, cost in tried(stage, setting, arguments.peers, arguments.out / "environments"):
        facts = found if isinstance(found, Refused) else quality_of(stage, found, 1 if target in TAKES_ONE else BATCH)
        if isinstance(found, Made) and not isinstance(facts, Refused):
            made[target].append(found)
        rows.append(_row(name, target, facts, cost, peer=True))
    if seed == setting.seeds[0]:
        for target in setting.ours:
            _add_times(stage, target, rows, made[target], params)
    return {"seed": seed, "commits": commits(), "samples": next(row["samples"] for row in rows if "samples" in row), "rows": rows}


def _ours(setting: Setting, params: Params, costs: Mapping[str, Cost | Refused]) -> Iterator[dict[str, Any]]:
    for target, names in setting.ours.items():
        for name in (TEACHER, *names):
            steps = [costs[one] for one in (*params.lineage(name), f"{name}-{target}") if one != TEACHER]
            failed = [one for one in (*steps, costs[f"evaluate {name}-{target}"]) if isinstance(one, Refused)]
            path, missed = Path(f"reports/metrics/evaluate/{name}-{target}.json"), read_missed(MODELS / name)
            if failed or missed:
                yield _row(name, target, failed[0] if failed else Refused(missed.reason if missed else ""), None, peer=False)
                continue
            facts = read_json(path)
            if "missed" in facts:
                yield _row(name, target, Refused(facts["reason"]), None, peer=False)
                continue
            done = [one for one in steps if isinstance(one, Cost)]
            cost = Cost(sum(one.seconds for one in done), sum(one.cpu_seconds for one in done), max(one.peak_memory_bytes for one in done))
            yield _row(name, target, facts, cost, peer=False)


def _row(name: str, target: str, facts: Mapping[str, Any] | Refused, cost: Cost | None, *, peer: bool) -> dict[str, Any]:
    known = {"variant": name, "target": target, "peer": peer}
    if isinstance(facts, Refused):
        return {**known, "refused": facts.reason}
    return {**facts, **known, "cost": cost and asdict(cost)}


def _add_times(stage: Stage, target: str, rows: list[dict[str, Any]], made: Sequence[Made], params: Params) -> None:
    """Time all of a target in turns and judge it, row by row in place; a tool's result has no parameters to remark on."""
    here = [row for row in rows if row["target"] == target and "refused" not in row]
    ours = [row["variant"] for row in here if not row["peer"] and row["variant"] != TEACHER]
    times = times_of(stage, target, ours, made)
    for row in here:
        if reason := times["failures"].get(row["variant"]):
            row["refused"] = reason
        elif found := times["variants"].get(row["variant"]):
            row |= found | {"verdict": together(findings(row, found, params.gate))}


def main() -> None:
    """Measure what is asked, and write it beside what stands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / ".slimline/bench")
    parser.add_argument("--workloads", type=lambda given: given.split(","), default=list(SETTINGS))
    parser.add_argument("--peers", type=lambda given: given.split(","), default=[], help="names of tools; default: all")
    parser.add_argument("--seeds", type=lambda given: [int(one) for one in given.split(",")], default=[])
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    for name in arguments.workloads:
        setting, found = SETTINGS[name], []
        for seed in arguments.seeds or setting.seeds:
            with chdir(project_of(arguments.out / name, setting, seed)):
                found.append(measured(setting, seed, arguments))
        stands = read_results(RESULTS)
        written(stands | {name: measured_on(fingerprint(), found, stands.get(name))})


def written(found: Results) -> None:
    """Write today's results, their page and README's table."""
    results, path = write_results(found, SETTINGS, RESULTS)
    page.write(results, path, TEMPLATES)
    headline.write(results, f"{path.name}.md", PROJECT / "README.md")
    sys.stdout.write(f"{path}.md, .html and .json\n")


if __name__ == "__main__":
    main()
