"""What only reads results, lists or explains starts without the libraries that are slow to load."""

import subprocess
import sys
from pathlib import Path

from tests.support.adapt_results import make_adapt_result
from tests.support.paths import ROOT
from tests.support.rankings import make_ranking
from tests.support.score_results import make_moments, make_result

SLOW = ("torch", "transformers", "sklearn", "matplotlib", "scipy", "datasets", "peft", "textblob")
# One process, the quickest first: each step may load no more than is named beside it.
_STEPS = """
import sys
from pathlib import Path
folder, study, slow = Path(sys.argv[1]), sys.argv[2], set(sys.argv[3].split(","))

def check(step, *more):
    if loaded := {*slow, *more} & set(sys.modules):
        sys.exit(f"{step} loads {', '.join(sorted(loaded))}")

def run(*arguments):
    try:
        ntpscore.cli.main.run([str(argument) for argument in arguments])
    except SystemExit as ended:
        if ended.code:
            sys.exit(f"{arguments} ended with {ended.code}")

import ntpscore
check("import ntpscore", "numpy", "pandas", "rich", "typer", "huggingface_hub", "pyarrow")
import ntpscore.cli.main
for command in ([], ["score"], ["rank"], ["adapt"], ["predict"], ["show"], ["study"],
                ["study", "run"]):
    run(*command, "--help")
    check(f"{command} --help", "numpy", "pandas", "huggingface_hub", "pyarrow")
run("datasets"), run("models")
check("datasets, models", "numpy", "pandas", "huggingface_hub", "pyarrow")
run("study", "status", study)
check("study status")
assert ntpscore.load_result(folder / "score").best
check("load_result")
for kind in ("score", "rank", "adapt"):
    run("show", folder / kind)
    check(f"show of {kind}")
run("show", folder / "score", "--scores"), run("show", folder / "rank", "--json")
check("show --scores, --json")
print("all is light")
"""


def test_what_reads_results_and_lists_loads_nothing_slow(tmp_path: Path) -> None:
    make_result(make_moments()).save(tmp_path / "score")
    make_ranking().save(tmp_path / "rank")
    make_adapt_result().save(tmp_path / "adapt")
    study = ROOT / "studies" / "smollm2-500.toml"
    ended = subprocess.run(
        [sys.executable, "-c", _STEPS, tmp_path, study, ",".join(SLOW)],
        capture_output=True, encoding="utf-8", check=False, cwd=ROOT,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith("all is light\n")
