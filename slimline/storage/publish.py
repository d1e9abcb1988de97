"""Publish what passed the gate: releases first, each whole, then the alias, then reports/releases.json.

Publishing acts on the world and is idempotent: the same bytes again change nothing, and whatever an interrupted
publication left is mended by the next one.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slimline.artifact.compiled import CompiledManifest, read_compiled
from slimline.artifact.folder import json_text, write_json
from slimline.artifact.json_file import read_json
from slimline.errors import ArtifactError, InputError, NothingPassed
from slimline.params import PublishParams
from slimline.storage.aliases import Alias, Standing, advance, alias_key, author
from slimline.storage.bom import PAPER, bill_of_materials
from slimline.storage.card import model_card
from slimline.storage.client import Store
from slimline.storage.moves import turn
from slimline.storage.releases import MANIFEST, Release, release_base, release_id, upload_release
from slimline.storage.server import opened_store
from slimline.storage.signing import SIGNATURE, signature_of
from slimline.targets import CODE_CARRYING

SUMMARY = Path("reports/summary.json")
RELEASES = Path("reports/releases.json")
COMPILED = Path("data/compiled")
EVALUATION = ("quality", "drop", "size_ratio", "speed_ratio", "verdict")


@dataclass(frozen=True)
class Draft:
    """An accepted variant, verified on disk and ready to upload."""

    release: Release
    files: Mapping[str, Path]
    papers: Mapping[str, bytes]


@dataclass(frozen=True)
class Publication:
    """What stands in the store after publishing.

    `releases` maps variant-target to its URL, `uploaded` names those that were not there before, `preferred` is the
    smallest; `withheld` is true where the alias stays because somebody rolled the preferred release back.
    """

    releases: dict[str, str]
    uploaded: tuple[str, ...]
    preferred: str
    alias_url: str
    moved: bool
    withheld: bool


@dataclass(frozen=True)
class Prepared:
    """Everything that a publication uploads, the key below which it goes, and of which run it is, in words."""

    base: str
    drafts: tuple[Draft, ...]
    run: str


def publish_project(root: Path, config: PublishParams, announce: Callable[[str], None]) -> Publication:
    """Publish the project's last run to its store (the embedded server is up meanwhile); `announce` gets lines of progress.

    Raises:
        NothingPassed: the report accepts nothing; the alias stays, reports/releases.json becomes empty.
        InputError: there is no report, or a compiled variant is not the one that was judged; nothing was uploaded.
        StorageUnavailable, StorageRefused: the store says no or nothing; the alias still points at whole releases.
    """
    prepared = prepare(root, config.bucket)
    with opened_store(root, config) as store:
        return publish(root, store, config.alias, prepared, announce)


def prepare(root: Path, bucket: str) -> Prepared:
    """Verify every accepted variant on disk; touches no store.

    Raises:
        NothingPassed, InputError: as `publish_project`.
    """
    summary = read_summary(root)
    accepted = [row for row in summary["variants"] if row["verdict"] == "accept"]
    if not accepted:
        write_json(root / RELEASES, {})
        judged = len(summary["variants"])
        raise NothingPassed(f"nothing to publish: none of {judged} judged variants was accepted; {root / 'reports/index.html'} says why")
    base = release_base(summary["workload"])
    return Prepared(base, tuple(drafted(root, row, summary, f"s3://{bucket}/{base}") for row in accepted), _run(summary))


def publish(root: Path, store: Store, alias: str, prepared: Prepared, announce: Callable[[str], None]) -> Publication:
    """Upload each release whole, move the alias, write reports/releases.json.

    Raises:
        StorageUnavailable, StorageRefused: as `publish_project`.
    """
    base, uploaded = prepared.base, []
    for draft in prepared.drafts:
        new = upload_release(store, base, draft.release, draft.files, draft.papers)
        uploaded += [draft.release.label] if new else []
        announce(f"{draft.release.label}: {'released as' if new else 'stands already as'} {draft.release.release}")
    standing = preferred_standing(prepared.drafts)
    with turn(store, base):
        _upload_what_went(store, prepared, announce)
        after, moved = advance(store, base, alias, standing, author(prepared.run))
        _upload_what_went(store, prepared, announce)
    urls = {draft.release.label: store.url(f"{base}/{draft.release.release}/") for draft in prepared.drafts}
    write_json(root / RELEASES, urls)
    alias_url = store.url(alias_key(base, alias))
    announce(_alias_line(alias_url, after, moved, standing))
    return Publication(urls, tuple(uploaded), standing.release, alias_url, moved, after.standing != standing)


def _upload_what_went(store: Store, prepared: Prepared, announce: Callable[[str], None]) -> None:
    """What `slimline gc` took since it was found or uploaded, before the alias needed it."""
    for draft in prepared.drafts:
        if upload_release(store, prepared.base, draft.release, draft.files, draft.papers):
            announce(f"{draft.release.label}: {draft.release.release} was removed meanwhile, and is released again")


def read_summary(root: Path) -> dict[str, Any]:
    """reports/summary.json.

    Raises:
        InputError: it is missing or damaged.
    """
    path = root / SUMMARY
    if not path.is_file():
        raise InputError(f"{path}: no report to publish from; run `make run` or `dvc repro` first")
    summary = read_json(path)
    if not isinstance(summary, dict) or not {"workload", "variants", "baseline", "run", "machines"} <= summary.keys():
        raise ArtifactError(f"{path}: is no summary of a run; make it again: dvc repro --force --single-item report")
    return summary


def refuse_another_workload(root: Path, workload: str, params_file: str) -> None:
    """See that the report is of the workload whose params file was given: its releases would go where the other's belong.

    Raises:
        InputError: it is of another; or as `read_summary`.
    """
    judged = read_summary(root)["workload"]
    if release_base(judged) != release_base(workload):
        raise InputError(
            f"{root / SUMMARY}: is of the workload {judged!r}, {params_file} is of {workload!r}; "
            f"bring its run in first (`dvc exp apply NAME`), or let it publish itself: slimline run --params {params_file}"
        )


def drafted(root: Path, row: Mapping[str, Any], summary: Mapping[str, Any], base_url: str) -> Draft:
    """Verify one accepted variant on disk and gather all that its release holds.

    Raises:
        ArtifactError: a file is missing or altered, or it is not the one that was judged.
        InputError, MachineError: a key to sign with is named, and it or the package is not there.
    """
    label = f"{row['variant']}-{row['target']}"
    folder = root / COMPILED / label
    manifest, identity = read_compiled(folder), release_id(folder)
    if identity != row["release"]:
        raise ArtifactError(f"{folder}: is {identity}, the report judged {row['release']}; run `dvc repro` so that both are of one run")
    release = _release(manifest, identity, row)
    papers = {
        "MODEL_CARD.md": model_card(root, manifest, row, summary, f"{base_url}/{identity}/").encode(),
        "report.html": _report_page(root, label).read_bytes(),
        "machine.json": json_text(summary["machines"][row["measured_on"]]).encode(),
        PAPER: bill_of_materials(manifest, identity),
    }
    if (signature := signature_of(folder, os.environ)) is not None:
        papers[SIGNATURE] = signature
    return Draft(release, {name: folder / name for name in (*manifest.files, MANIFEST)}, papers)


def _run(summary: Mapping[str, Any]) -> str:
    """Which run it is: the commit and the parameters."""
    run = summary["run"]
    return f"commit {str(run.get('git'))[:12]}, params {str(run.get('params_sha256'))[:12]}"


def preferred_standing(drafts: Sequence[Draft]) -> Standing:
    """What the alias will point at: of all accepted releases the smallest that carries no code, by name where equal."""
    best = min((draft.release for draft in drafts), key=_preference)
    every = {draft.release.label: draft.release.release for draft in drafts}
    return Standing(release=best.release, variant=best.variant, target=best.target, releases=every)


def _preference(release: Release) -> tuple[bool, int, str, str]:
    return release.target in CODE_CARRYING, release.size_bytes, release.variant, release.target


def _release(manifest: CompiledManifest, identity: str, row: Mapping[str, Any]) -> Release:
    return Release(
        release=identity,
        workload=manifest.workload,
        variant=manifest.variant,
        target=manifest.target,
        precision=manifest.precision,
        size_bytes=row["size_bytes"],
        evaluation={key: row[key] for key in EVALUATION if key in row},
    )


def _report_page(root: Path, label: str) -> Path:
    for page in (root / "reports/stages/evaluate" / f"{label}.html", root / "reports/index.html"):
        if page.is_file():
            return page
    raise ArtifactError(f"{root / 'reports'}: no page of {label}; run `dvc repro`, or fetch it: slimline s3 -- dvc pull")


def _alias_line(url: str, after: Alias, moved: bool, wanted: Standing) -> str:
    if moved:
        return f"{url} now points at {after.variant}-{after.target} ({after.release})"
    if after.standing == wanted:
        return f"{url} points at {after.variant}-{after.target} ({after.release}) as before"
    return f"{url} stays at {after.release}: {wanted.release} was rolled back; `slimline promote {wanted.release}` brings it back"
