"""`slimline export-hf`: a variant as a directory that transformers loads."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from slimline.commands.completion import variants
from slimline.errors import InputError
from slimline.params import Params
from slimline.project import find_project
from slimline.workloads.huggingface.directory import is_directory, located

if TYPE_CHECKING:
    from slimline.artifact.manifest import Manifest

SAMPLES = 8


def export_hf(
    variant: Annotated[str, typer.Argument(help="A variant of params.yaml that was made, or teacher.", autocompletion=variants)],
    directory: Annotated[Path, typer.Argument(help="A new folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print {directory, variant, changed} for a machine.")] = False,
) -> None:
    """Write a float variant of a Hugging Face net back as a directory for `from_pretrained`, where its layers are of one width.

    Example: `slimline export-hf mlp50 compressed/`
    """
    if directory.exists():
        raise InputError(f"{directory}: is there already; name a new folder")
    target = directory.absolute()
    os.chdir(root := find_project())
    params = Params.load(root / "params.yaml")
    from slimline.artifact.variant import load_variant
    from slimline.data.prepared import load_split
    from slimline.data.samples import head
    from slimline.data.windows import Windows
    from slimline.workloads import get_workload
    from slimline.workloads.huggingface.written import write_back

    workload, architecture = get_workload(params.workload), params.model.architecture
    if getattr(workload.their, "net", None) is None:
        raise InputError(f"params.yaml: model.architecture: {architecture} is no Hugging Face net; there is none to write")
    found = load_variant(Path("data/models") / variant, workload)
    if found.plan is not None:
        raise InputError(
            f"{variant}: is {found.manifest.method}, and a Hugging Face directory holds float weights; export its source instead"
        )
    net = net_of(found.manifest, workload.their.net, params)
    samples = head(load_split(workload.samples, "validation"), SAMPLES).inputs
    beside = located(architecture) if is_directory(architecture) else workload.preprocessing
    if not isinstance(beside, Path | Windows):
        raise InputError(f"params.yaml: model.architecture: {architecture} is no Hugging Face directory; there is none to write")
    ends = getattr(workload.preprocessing, "ends", ())
    changed = write_back(found.model, net, samples, target, beside, workload.carried, ends)
    if as_json:
        sys.stdout.write(json.dumps({"directory": str(target), "variant": variant, "changed": changed}) + "\n")
        return
    told = ", ".join(f"{name}: {value}" for name, value in changed.items())
    sys.stdout.write(f"{directory}: {variant} as from_pretrained loads it{f'; config.json has {told}' if told else ''}\n")


def net_of(manifest: "Manifest", net: Mapping[str, Any], params: Params) -> dict[str, Any]:
    """What describes a variant's net before anything was taken out: the workload's, as params.yaml or a student's config changes it."""
    is_student = manifest.architecture.role == "student"
    changes = params.model.config | (dict(manifest.architecture.config) if is_student else {})
    return {**net, "config": {**net["config"], **changes}}
