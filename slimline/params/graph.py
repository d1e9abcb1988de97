"""What params.yaml says about variants as a graph, and every way in which it can be wrong."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from slimline.params.distill import ScratchParams
from slimline.params.section import LONGEST_NAME, VariantParams
from slimline.targets import GENERATING

if TYPE_CHECKING:
    from slimline.params import Params

VARIANT_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
TEACHER = "teacher"
SAME = ("source", "student", "source_layers", "epochs", "steps", "batch_size", "learning_rate", "weight_decay", "patience", "precision")
"""What a control has as the student that it controls has it."""
Variants = Mapping[str, tuple[str, VariantParams]]
"""Name -> (stage, config)."""


def name_problems(raw: Mapping[str, Any], sections: tuple[str, ...]) -> Iterator[str]:
    """Say what is wrong with the variants' names, before anything else is known of them."""
    names = [(section, str(name)) for section in sections for name in (raw.get(section) or {})]
    for section, name in names:
        if len(name) > LONGEST_NAME:
            yield f"params.yaml: {section}.{name[:LONGEST_NAME]}…: a variant's name has at most {LONGEST_NAME} characters; rename it"
        elif not VARIANT_NAME.fullmatch(name):
            yield f"params.yaml: {section}.{name}: a variant's name is made of a-z, 0-9 and '-', never a path; rename it"
        elif name == TEACHER:
            yield f"params.yaml: {section}.{name}: 'teacher' is the baseline's own name; rename this variant"
    for name, count in Counter(name for _, name in names).items():
        if count > 1:
            where = ", ".join(section for section, other in names if other == name)
            yield f"params.yaml: {name}: used {count} times ({where}); names are unique over all sections"


def graph_problems(params: "Params") -> Iterator[str]:
    """Say which sources are unknown, form a cycle or come in an order that their method cannot follow."""
    variants = params.variants
    known = [TEACHER, *variants]
    for name, (section, variant) in variants.items():
        where = f"params.yaml: {section}.{name}.source"
        if variant.source not in known:
            yield f"{where}: unknown variant {variant.source!r}; known: {', '.join(known)}"
        elif variant.source != TEACHER:
            yield from _order_problems(where, section, variant, _made_by(variants, variant.source))
    yield from _cycle_problems(variants)
    yield from _student_problems(params, known)
    yield from _control_problems(params)
    yield from _sensitivity_problems(params)
    for name in params.teach:
        if name not in known:
            yield f"params.yaml: teach.{name}: no such variant; known: {', '.join(known)}"
    yield from _deploy_problems(params, known)
    yield from _asked_problems(params, "cache", "caches are tried")
    yield from _asked_problems(params, "harness", "tasks are tried")


def _deploy_problems(params: "Params", known: list[str]) -> Iterator[str]:
    if params.calibrate.samples > params.data.calibration_samples:
        asked, there = params.calibrate.samples, params.data.calibration_samples
        yield f"params.yaml: calibrate.samples: {asked} is more than data.calibration_samples, {there}; raise that or lower this"
    for name in params.deploy.variants:
        if name not in known:
            yield f"params.yaml: deploy.variants: unknown variant {name!r}; known: {', '.join(known)}"
    if TEACHER not in params.deploy.variants:
        yield f"params.yaml: deploy.variants: {TEACHER!r} is missing; add it, every speed is compared with it on the same runtime"
    for key in ("variants", "targets"):
        for name, count in Counter(getattr(params.deploy, key)).items():
            if count > 1:
                yield f"params.yaml: deploy.{key}: {name!r} is listed {count} times; list it once"
    for name in params.deploy.variants:
        for target in params.deploy.targets if name in params.variants else ():
            if (why := _refused(params.variants, name, target)) is not None:
                yield f"params.yaml: deploy: {name!r} cannot run on {target!r}: {why}"


def _asked_problems(params: "Params", section: str, what: str) -> Iterator[str]:
    """Caches and tasks are for what is deployed, and for targets where a language model generates."""
    for name, entry in getattr(params, section).items():
        where = f"params.yaml: {section}.{name}"
        if name != (label := f"{entry.variant}-{entry.target}"):
            yield f"{where}: is of {entry.variant} on {entry.target}; call it {label}"
        for key, deployed in (("variant", params.deploy.variants), ("target", params.deploy.targets)):
            if getattr(entry, key) not in deployed:
                yield f"{where}.{key}: {getattr(entry, key)!r} is not in deploy.{key}s; {what} on what is deployed"
        if entry.target not in GENERATING:
            generating = ", ".join(sorted(GENERATING))
            yield f"{where}.target: {entry.target!r} scores texts and goes on from none; name {generating}"


def _sensitivity_problems(params: "Params") -> Iterator[str]:
    for name, (section, variant) in params.variants.items():
        if getattr(variant, "scope", None) == "sensitivity" and not params.calibrate.sensitivity_samples:
            yield f"params.yaml: {section}.{name}.scope: sensitivity is not measured with calibrate.sensitivity_samples: 0; raise that"


def _made_by(variants: Variants, name: str) -> str:
    """The stage whose kind of variant this is: one that is a student of its teacher is still what it was, quantized or not."""
    seen = set[str]()
    while name not in seen and (kept := _kept_student(variants, name)):
        seen.add(name)
        name = kept
    return variants[name][0]


def _refused(variants: Variants, name: str, target: str) -> str | None:
    """Why a target cannot take a variant, or, where that is another one's student, what that one is."""
    kept = _kept_student(variants, name)
    why = variants[name][1].refused_by(target)
    return _refused(variants, kept, target) if why is None and kept else why


def _kept_student(variants: Variants, name: str) -> str | None:
    """The variant that this one is when it begins to learn, where it is one; its source, else a mistake that is told elsewhere."""
    config = variants[name][1]
    student = getattr(config, "student_variant", None)
    return student if student in variants and student == config.source != name else None


def _student_problems(params: "Params", known: list[str]) -> Iterator[str]:
    """A variant that learns is the source: DVC follows that key alone."""
    for name, config in params.distill.items():
        if (student := config.student_variant) is None:
            continue
        where = f"params.yaml: distill.{name}"
        if student not in known or student == TEACHER:
            others = ", ".join(one for one in known if one not in (TEACHER, name))
            yield f"{where}.student.variant: no variant {student!r} that could learn from the teacher; known: {others}"
        elif config.source != student:
            yield f"{where}.source: write source: {student}, the student itself, which DVC follows; it learns from the teacher all the same"
        if config.takes_no_variant:
            yield f"{where}.student: {config.takes_no_variant}; take another student"


def _order_problems(where: str, section: str, variant: VariantParams, source_stage: str) -> Iterator[str]:
    learns = getattr(variant, "student_variant", None) == variant.source
    if source_stage not in variant.may_follow and not learns:
        allowed = ", ".join(sorted(variant.may_follow))
        yield f"{where}: {section} ({variant.method}) may not follow {source_stage} ({variant.source!r}); it may follow: {allowed}"


def _cycle_problems(variants: Variants) -> Iterator[str]:
    for start in variants:
        path = [start]
        while (source := variants[path[-1]][1].source) in variants and source not in path:
            path.append(source)
        if source == start and start == min(path):
            yield f"params.yaml: cycle of sources: {' -> '.join([*path, start])}; one of them must start from the teacher"


def _control_problems(params: "Params") -> Iterator[str]:
    for name, control in params.distill.items():
        if not isinstance(control, ScratchParams):
            continue
        where = f"params.yaml: distill.{name}"
        studied = params.distill.get(control.control_of)
        if studied is None or studied.method == "scratch":
            yield f"{where}.control_of: {control.control_of!r} is no distilled variant of this section"
            continue
        fields = (
            "source",
            "student",
            "source_layers",
            "epochs",
            "steps",
            "batch_size",
            "learning_rate",
            "weight_decay",
            "patience",
            "precision",
        )
        for field in fields:
            if getattr(control, field) != getattr(studied, field):
                yield f"{where}.{field}: differs from distill.{control.control_of}.{field}; a control has the same student and budget"
