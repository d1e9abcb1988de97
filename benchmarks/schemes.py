"""Every scheme of a family on every runtime that can take it, on one workload: by the real line, in a clone of its own.

    python benchmarks/schemes.py --workload digits --out /tmp/digits                    # quantization, all of it
    python benchmarks/schemes.py --workload cnn11m --out /tmp/cnn11m --schemes static,bf16 --targets onnxruntime --jobs 2
    python benchmarks/schemes.py --family pruning --workload digits --out /tmp/pruned --targets onnxruntime,openvino

Works on the last commit. Writes schemes.md (the table), schemes.json (the rows, as in reports/summary.json), size.svg and
latency.svg into --out, and with --docs into docs/methods too. The clone stays in --out/clone: a second call runs only what is not
there yet and keeps the rows of earlier calls; with --update it is brought to the last commit first. What fails is named below the
table, and the rest goes on. The teacher is always measured, and beside quantization bf16 and fp16: every other row is held
against them.
"""

import argparse
import copy
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scheme_list import FAMILIES, Family, Scheme
from scheme_run import PROJECT, prepared_clone, run_line
from scheme_table import markdown, write_figures
from scheme_workloads import WORKLOADS, Setting

from slimline.commands.check import lacking
from slimline.errors import ArtifactError, ParamsError, StageError
from slimline.params import CONFIGS, TARGETS, TEACHER, Params
from slimline.report.summary import Evaluation, machine_of, read_measured, summarise
from slimline.verdict.gate import judge

DOCS = PROJECT / "docs/methods"
NO_FAILURES: Mapping[str, str] = MappingProxyType({})


def params_of(setting: Setting, schemes: Sequence[str], target: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole params.yaml of the run on one target."""
    data, samples = setting.data, setting.data["calibration_samples"]
    entries = with_sources(FAMILIES[arguments.family], setting, schemes)
    teacher = {"source": "train", "batch_size": 64, "patience": 15, "threads": 2, **setting.teacher}
    return {
        "workload": setting.workload,
        "seed": arguments.seed,
        "data": {"path": "workloads", **data},
        "model": {"path": "workloads"},
        "teacher": teacher,
        "calibrate": {"samples": samples, "batch_size": 32},
        **{stage: {name: entry for name, (where, entry) in entries.items() if where == stage} for stage in CONFIGS},
        "deploy": {"variants": [TEACHER, *schemes], "targets": [target]},
        "evaluate": {"batch_size": 32, "pairs": arguments.pairs, "threads": 1, "resamples": 2000},
        "gate": {"metric": "accuracy", "max_drop": 0.02, "min_size_ratio": 1.5, "min_speed_ratio": 1.0, "confidence": 0.95},
        "publish": {"bucket": "slimline", "alias": "latest"},
    }


def with_sources(family: Family, setting: Setting, names: Sequence[str]) -> dict[str, tuple[str, Scheme]]:
    """The named schemes and those that they start from: name -> (section of params.yaml, entry)."""
    known, found = family.schemes(setting), {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        entry = {"source": TEACHER, **copy.deepcopy(known[name])}
        found[name] = (entry.pop("stage", family.stage), entry)
        waiting += [] if entry["source"] in (TEACHER, *found) else [entry["source"]]
    return found


def known_schemes(setting: Setting, family: Family) -> list[str]:
    """The names of a family's schemes whose methods this commit has."""
    return [name for name, entry in family.schemes(setting).items() if entry["method"] in CONFIGS[entry.get("stage", family.stage)]]


def possible(setting: Setting, schemes: Sequence[str], target: str, arguments: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The schemes that `slimline check` lets run on a target, and why it refuses the others: one line a reason."""
    fine: list[str] = []
    refused: dict[str, list[str]] = {}
    for name in schemes:
        try:
            Params.parse(params_of(setting, [name], target, arguments))
            fine.append(name)
        except ParamsError as error:
            for problem in error.problems:
                refused.setdefault(problem.rpartition(f"cannot run on {target!r}: ")[2], []).append(name)
    return fine, [f"{target}: {', '.join(names)}: {why}" for why, names in refused.items()]


def measured(clone: Path, content: dict[str, Any], failures: Mapping[str, str] = NO_FAILURES) -> Iterator[Evaluation | str]:
    """What was measured of each variant, judged; of one that has no such files, a line that says so, and why if its stage did."""
    params, (target,) = Params.parse(content), content["deploy"]["targets"]
    for variant in params.deploy.variants:
        made = [clone / "data/models" / variant, clone / "data/compiled" / f"{variant}-{target}"]
        if lost := [path.relative_to(clone) for path in made if not path.is_dir()]:
            yield f"{variant} on {target}: {failures.get(variant, f'{lost[0]} was not made; see the output of its stage')}"
            continue
        try:
            quality, timing = read_measured(clone / "reports/metrics", variant, target)
        except (ArtifactError, StageError) as error:
            yield f"{variant} on {target}: {' '.join(str(error).split())}"
            continue
        verdict = judge(quality, timing, params.gate)
        yield Evaluation(quality, timing, verdict.verdict, verdict.reasons)


def measure_all(clone: Path, setting: Setting, arguments: argparse.Namespace) -> tuple[list[Evaluation], list[str]]:
    """Run target after target; a finished one is written before the next begins, beside what earlier calls have measured."""
    found: list[Evaluation] = []
    failed: list[str] = []
    family = FAMILIES[arguments.family]
    known = known_schemes(setting, family)
    wanted = [name for name in known if name in (arguments.schemes or known) or name in family.beside]
    for target in arguments.targets:
        if needed := lacking(target):
            failed.append(f"{target}: needs {' and '.join(needed)}; {'; '.join(needed.values())}")
            continue
        fine, _ = possible(setting, wanted, target, arguments)
        content = params_of(setting, fine, target, arguments)
        failures = run_line(clone, content, arguments.jobs)
        failed += [one for one in measured(clone, content, failures) if isinstance(one, str)]
        found = measured_so_far(clone, setting, arguments)
        write(arguments, found, [*refused_of(found, setting, arguments), *failed])
    return found, failed


def refused_of(found: Sequence[Evaluation], setting: Setting, arguments: argparse.Namespace) -> list[str]:
    """Why schemes that one target ran are not there on another of the targets: one line a target and reason."""
    variants, targets = ({str(one.quality[key]) for one in found} for key in ("variant", "target"))
    names = [name for name in known_schemes(setting, FAMILIES[arguments.family]) if name in variants]
    return [line for target in TARGETS if target in targets for line in possible(setting, names, target, arguments)[1]]


def measured_so_far(clone: Path, setting: Setting, arguments: argparse.Namespace) -> list[Evaluation]:
    """Every row that the clone holds, of this call and of earlier ones, in the order of the two tables."""
    known = known_schemes(setting, FAMILIES[arguments.family])
    contents = [params_of(setting, possible(setting, known, target, arguments)[0], target, arguments) for target in TARGETS]
    return [one for content in contents for one in measured(clone, content) if isinstance(one, Evaluation)]


def write(arguments: argparse.Namespace, found: Sequence[Evaluation], failed: Sequence[str]) -> None:
    """The table, the rows and the figures, of what has been measured so far."""
    if not found:
        return
    machine = machine_of(found[0])
    summary = summarise(arguments.workload, {"machine": machine, "seed": arguments.seed}, found)
    command = command_of(summary["variants"], arguments)
    (arguments.out / "schemes.json").write_text(json.dumps({**summary, "failed": list(failed)}, indent=2) + "\n", encoding="utf-8")
    text = markdown(summary, failed, command, arguments.family)
    (arguments.out / "schemes.md").write_text(text, encoding="utf-8")
    write_figures(summary, arguments.out)
    if arguments.docs:
        name = f"{arguments.family}-{arguments.workload}"
        (DOCS / f"{name}.md").write_text(text, encoding="utf-8")
        write_figures(summary, DOCS / "images", f"{name}-")


def command_of(rows: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> str:
    """The command that makes these rows again."""
    known = known_schemes(WORKLOADS[arguments.workload], FAMILIES[arguments.family])
    chosen = {"--schemes": ("variant", known), "--targets": ("target", list(TARGETS))}
    found = {flag: [name for name in every if any(row[key] == name for row in rows)] for flag, (key, every) in chosen.items()}
    lists = "".join(f" {flag} {','.join(names)}" for flag, names in found.items() if names != chosen[flag][1])
    family = "" if arguments.family == "quantization" else f" --family {arguments.family}"
    return f"python benchmarks/schemes.py{family} --workload {arguments.workload} --out FOLDER --docs{lists} --pairs {arguments.pairs}"


def _names(known: Sequence[str], given: str) -> list[str]:
    names = [name for name in given.split(",") if name]
    if unknown := [name for name in names if name not in known]:
        raise argparse.ArgumentTypeError(f"unknown {unknown[0]!r}; known: {', '.join(known)}")
    return names


def main() -> None:
    """Read the flags, make the clone, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=tuple(WORKLOADS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results and of the clone")
    parser.add_argument("--family", choices=tuple(FAMILIES), default="quantization")
    parser.add_argument("--schemes", type=lambda given: [name for name in given.split(",") if name], default=[], help="default: all")
    parser.add_argument("--targets", type=lambda given: _names(TARGETS, given), default=list(TARGETS))
    parser.add_argument("--pairs", type=int, default=40, help="interleaved timings a ratio")
    parser.add_argument("--jobs", type=int, default=1, help="stages side by side, by the flow; timings get noisier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", action="store_true", help="write docs/methods/WORKLOAD.md and its images as well")
    parser.add_argument("--update", action="store_true", help="bring an existing clone to the project's last commit")
    arguments = parser.parse_args()
    setting = WORKLOADS[arguments.workload]
    known = known_schemes(setting, FAMILIES[arguments.family])
    if unknown := [name for name in arguments.schemes if name not in known]:
        parser.error(f"--schemes: unknown {unknown[0]!r}; known: {', '.join(known)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    arguments.out = arguments.out.resolve()
    clone = prepared_clone(arguments.out / "clone", setting, update=arguments.update)
    found, failed = measure_all(clone, setting, arguments)
    sys.stdout.write((arguments.out / "schemes.md").read_text(encoding="utf-8") if found else "\n".join(failed) + "\n")
    raise SystemExit(0 if found else 1)


if __name__ == "__main__":
    main()
