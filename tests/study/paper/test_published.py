"""The published points give the published correlations."""

import json
from pathlib import Path

import pytest

from ntpscore.errors import DataError
from ntpscore.study.paper.published import COLUMNS, correlate_published, load_published
from tests.support.cli_run import run_cli
from tests.support.paths import ROOT
from tests.tolerances import PUBLISHED_R

# |r| of accuracy, mse and LoRA gain that the authors' points were said to have.
STATED = {
    "Qwen2-0.5B": (0.69, 0.70, 0.77),
    "Qwen2-1.5B": (0.64, 0.68, 0.67),
    "Qwen2-7B": (0.82, 0.68, 0.59),
    "OpenELM-270M": (0.57, 0.42, 0.87),
    "OpenELM-450M": (0.52, 0.46, 0.87),
    "OpenELM-1_1B": (0.73, 0.43, 0.90),
    "OpenELM-3B": (0.66, 0.73, 0.52),
    "Meta-Llama-3-8B": (0.72, 0.52, 0.40),
}


def test_there_are_96_points_of_eight_models_and_twelve_data_sets() -> None:
    points = load_published()
    assert len(points) == 96
    assert points.groupby("model")["data"].nunique().tolist() == [12] * 8
    assert ((points["lora"] - points["probe"]) == points["lora_gain"]).all()
    assert ((1 - points["probe"]) == points["headroom"]).all()


def test_published_correlations_are_reproduced() -> None:
    table = correlate_published()
    assert tuple(table.columns) == COLUMNS
    everything = table[table["without"] == ""]
    for model, stated in STATED.items():
        rows = everything[everything["model"].str.endswith("/" + model)].set_index("outcome")
        for outcome, r, sign in zip(("accuracy", "mse", "lora_gain"), stated, (1, -1, -1),
                                    strict=True):  # fmt: skip
            if (model, outcome) != ("Meta-Llama-3-8B", "mse"):
                assert rows.loc[outcome, "r"] == pytest.approx(sign * r, abs=PUBLISHED_R)
        assert (rows["n"] == 12).all()
    # Stated as .52; the points give .54.
    llama = everything[everything["model"].str.contains("Llama")].set_index("outcome")
    assert llama.loc["mse", "r"] == pytest.approx(-0.54, abs=PUBLISHED_R)


def test_without_medical_headroom_says_about_as_much_of_the_gain() -> None:
    table = correlate_published()
    gains = table[(table["outcome"] == "lora_gain") & (table["without"] == "medical")]
    assert (gains["n"] == 11).all()
    assert gains["r_headroom"].mean() == pytest.approx(0.61, abs=PUBLISHED_R)
    assert gains["r"].mean() == pytest.approx(-0.66, abs=PUBLISHED_R)
    others = table[table["outcome"] != "lora_gain"]
    assert others[["r_headroom", "r_given_headroom"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("without", "message"), [("nothing", "no data set is called"), ("", "there are"),
                             ("i", "fewer than 4")]
)  # fmt: skip
def test_data_sets_that_cant_be_left_out_are_refused(without: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        correlate_published(without)


def test_command_prints_a_table_json_and_csv(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("study", "published") == 0
    table = capsys.readouterr().out
    assert "without medical: score -0.66, headroom +0.61" in table
    assert run_cli("study", "published", "--json", "--without", "sst2") == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 48
    assert {row["without"] for row in rows} == {"", "sst2"}
    assert run_cli("study", "published", "--csv") == 0
    assert capsys.readouterr().out.splitlines()[0] == ",".join(COLUMNS)
    assert run_cli("study", "published", "--csv", "--json") == 2
    assert "give one of them" in capsys.readouterr().err


def test_figure_is_drawn_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "published.png"
    assert run_cli("study", "published", "--json", "--figure", str(picture)) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(json.loads(capsys.readouterr().out)) == 48
    assert run_cli("study", "published", "--figure", str(tmp_path / "picture.nothing")) == 2
    assert "can't draw into" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["published.png"]


def test_numbers_in_the_documentation_are_those_of_the_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_cli("study", "published")
    page = ROOT / "docs" / "study.md"
    documented = page.read_text(encoding="utf-8")
    for line in capsys.readouterr().out.splitlines():
        assert line.strip() in documented
