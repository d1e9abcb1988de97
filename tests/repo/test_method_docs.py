"""docs/methods: every method of the families has its section with all of its options, and every figure and file named there exists."""

import re
from pathlib import Path

import pytest

from slimline.commands.methods import PAGES
from slimline.methods import METHODS
from slimline.params import CONFIGS
from slimline.params.factorize import LowRankParams
from slimline.params.quantize import CalibratedParams
from slimline.params.section import Training, VariantParams
from slimline.params.student import GuidedTraining, StudentTraining

FAMILIES = {
    "prune": "docs/methods/pruning.md",
    "quantize": "docs/methods/quantization.md",
    "factorize": "docs/methods/low-rank.md",
    "distill": "docs/methods/distillation.md",
    "compile": "docs/methods/runtimes.md",
}
METHOD_PARTS = ("**Formula.**", "**What it does.**", "**Use it**", "**Not**", "**Options.**", "**Source.**")
PARTS = {
    "prune": METHOD_PARTS,
    "quantize": METHOD_PARTS,
    "factorize": METHOD_PARTS,
    "distill": METHOD_PARTS,
    "compile": ("**What it is.**", "**Use it**", "**Not**", "**Source.**"),
}
EVERY = [(stage, name) for stage in FAMILIES for name in METHODS[stage]]
LINK = re.compile(r"\]\((?!https?:)([^)#]+)\)")


def section(project: Path, stage: str, name: str) -> str:
    """The text below a method's own heading."""
    text = (project / FAMILIES[stage]).read_text()
    found = re.search(rf"^## {name}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert found, f"{FAMILIES[stage]} has no section {name!r}"
    return found[1]


def own_options(config: type[VariantParams]) -> set[str]:
    """What a section has to name: all but what every variant has, and what `static`, `svd`, `soft_targets` or every training has said."""
    shared = set()
    if config.__name__ not in ("StaticParams", "SvdParams", "SoftTargetsParams"):
        shared = set(CalibratedParams.model_fields) | set(LowRankParams.model_fields)
        shared |= set(GuidedTraining.model_fields) if issubclass(config, StudentTraining) else set()
    training = Training.model_fields.keys() if issubclass(config, Training) else set()
    return set(config.model_fields) - {"source", "method"} - set(shared) - set(training)


@pytest.mark.parametrize(("stage", "name"), EVERY)
def test_every_method_has_its_section_with_every_part(project: Path, stage: str, name: str) -> None:
    text = section(project, stage, name)
    assert [part for part in PARTS[stage] if part not in text] == []


@pytest.mark.parametrize(("stage", "name"), [entry for entry in EVERY if entry[0] in CONFIGS])
def test_a_section_names_every_option_of_its_method(project: Path, stage: str, name: str) -> None:
    text = section(project, stage, name)
    assert [option for option in sorted(own_options(CONFIGS[stage][name])) if f"`{option}`" not in text] == []


@pytest.mark.parametrize("page", sorted((Path(__file__).parents[2] / "docs/methods").glob("*.md")), ids=lambda page: page.name)
def test_every_figure_and_file_that_a_page_names_exists(page: Path) -> None:
    assert [target for target in LINK.findall(page.read_text()) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", FAMILIES.values())
def test_a_page_shows_a_figure_and_the_readme_leads_to_it(project: Path, page: str) -> None:
    assert re.search(r"!\[.+\]\(images/.+\.svg\)", (project / page).read_text())
    assert f"({page})" in (project / "README.md").read_text()


def test_slimline_methods_names_these_pages(project: Path) -> None:
    assert all(page == FAMILIES[stage] for stage, page in PAGES.items())
