"""The check for graphics cards runs to its end on a processor, whatever a part does."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.paths import ROOT

# Of these one succeeds, one fails, one hangs.
PARTS = """
import pathlib, sys, time
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
if options["--part"] == "rates":
    pathlib.Path(options["--out"], "rates.json").write_text('{"machine": {"device": "made up"}}')
if options["--part"] == "tests":
    sys.exit(3)
if options["--part"] == "solve":
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "scripts" / "gpu_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_models_and_solves_are_measured(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "REPEATS", 1)
    found = {}
    for part in ("qwen2-0.5b", "llama-3-8b", "solve"):
        script._run_part(part, tmp_path, 60)
        found[part] = json.loads((tmp_path / f"{part}.json").read_text())
        assert "error" not in found[part]
    table = script.make_table(found)
    for precision in script._precisions():
        for model in script.SHAPES:
            (measured,) = [one for key, one in found[model].items() if key.startswith("pass of")]
            assert measured[precision]["ratio"] > 0
            assert f"| {model} | {measured['tokens']} | {precision} |" in table
            errors = found[model]["errors"][precision]
            assert len(errors) == len(found[model]["errors"]["layers"])
            allowed = {"float64": 0.0, "exact-int8": 1e-6, "float32-pairs": 1e-5, "float32": 1e-3}[
                precision
            ]
            assert max(error for row in errors for error in row.values()) <= allowed
    assert "| layer, d = 64, cpu | seconds |" in table


def test_a_part_that_fails_or_hangs_leaves_the_others_alone(
    script: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    parts = tmp_path / "parts.py"
    parts.write_text(PARTS)
    monkeypatch.setattr(script, "__file__", str(parts))
    kept = tmp_path / "kept.json"
    kept.write_text('{"sums": {"d = 9": {"all": 0.5}}, "solve": {"d = 9": {"all": 0.25}}}')
    arguments = [
        "",
        "--kept",
        str(kept),
        "--out",
        str(tmp_path),
        "--seconds",
        "4",
        "--parts",
        "rates,tests,solve",
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(script, "PARTS", {"rates": 7, "tests": 7, "solve": 1e-3})
    assert script.main() == 1
    found = json.loads((tmp_path / "GPU.json").read_text())
    assert "error" not in found["rates"]
    assert found["tests"]["error"] == "ended with 3"
    assert found["solve"]["error"].startswith("stopped after")
    assert found["sums"] == {"d = 9": {"all": 0.5}}
    assert "device made up" in (tmp_path / "GPU.md").read_text()
    assert "tests was not finished" in capsys.readouterr().out
