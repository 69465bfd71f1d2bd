"""What docs/study.md says of our own study is what the commands print, and what the pages hold."""

import importlib.util
import re
import shlex
from typing import Any

import pytest

from ntpscore.forecast.evidence import Evidence
from tests.support.cli_run import run_cli
from tests.support.documentation import quotations
from tests.support.paths import ROOT
from tests.support.summaries import read_summary, rule_row, summary_row

PAGE = ROOT / "docs" / "study.md"
GEMMA, SMOLLM = "gemma3-270m", "smollm2-135m"
TOGETHER = "all models together"


# They compare every layer and k, or every rule on every data set left out.
_LONG = ("ntpscore study paper ", "ntpscore study forecast ")
QUOTED = [
    pytest.param(command, text, marks=[pytest.mark.slow] * command.startswith(_LONG), id=command)
    for command, text in quotations()
]


@pytest.mark.parametrize(("command", "text"), QUOTED)
def test_tables_of_our_own_study_are_what_the_commands_print(
    command: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "120")
    assert run_cli(*shlex.split(command)[1:]) == 0
    printed = "\n".join(line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert printed.strip("\n") == text.strip("\n")


def said() -> str:
    """The page as one line."""
    return " ".join(PAGE.read_text(encoding="utf-8").split())


def r(outcome: str, model: str, score: str, column: str = "fixed", study: str = "smollm2") -> str:
    """A number of a page, as the prose writes it."""
    sections = read_summary(ROOT / "results" / study / "summary.md")
    section = sections[f"Scores and `{outcome}`"]
    return summary_row(section, f"{outcome}: {model}", score)[column].removeprefix("+")


def test_numbers_of_the_argument_are_those_of_the_pages() -> None:
    probe, mse, fit = "probe_accuracy", "ols_mse", "logistic_accuracy"
    sentences = [
        (
            f"by the probe's held-out accuracy: r = {r(probe, SMOLLM, 'r2')} with "
            f"SmolLM2-135M-Instruct"
        ),
        f"`retained` does nearly as well ({r(probe, SMOLLM, 'retained')})",
        f"they reach {r(probe, GEMMA, 'r2')} and {r(probe, GEMMA, 'retained')}",
        f"together r is {r(probe, TOGETHER, 'r2')} and {r(probe, TOGETHER, 'retained')}",
        (
            f"the other one is best gives {r(probe, TOGETHER, 'r2', 'model_out')} and "
            f"{r(probe, TOGETHER, 'retained', 'model_out')}"
        ),
        f"`retained` still gives {r(probe, SMOLLM, 'retained', study='smollm2-500')}",
        (
            f"order as well ({r('lora_accuracy', SMOLLM, 'r2')} and "
            f"{r('lora_accuracy', SMOLLM, 'retained')})"
        ),
        (
            f"r of `algorithm1` with the error of least squares is {r(mse, SMOLLM, 'algorithm1')} "
            f"(SmolLM2) and {r(mse, GEMMA, 'algorithm1')} (Gemma)"
        ),
        (
            f"with the accuracy of logistic regression {r(fit, SMOLLM, 'algorithm1')} and "
            f"{r(fit, GEMMA, 'algorithm1')}"
        ),
        (
            f"({r(mse, SMOLLM, 'smallest_first')}, {r(mse, GEMMA, 'smallest_first')}, "
            f"{r(fit, SMOLLM, 'smallest_first')}, {r(fit, GEMMA, 'smallest_first')})"
        ),
        (
            f"the corrected p of `algorithm1` are {r(mse, SMOLLM, 'algorithm1', 'best_p')} and "
            f"{r(mse, GEMMA, 'algorithm1', 'best_p')} for the error, "
            f"{r(fit, SMOLLM, 'algorithm1', 'best_p')} and "
            f"{r(fit, GEMMA, 'algorithm1', 'best_p')} for the accuracy"
        ),
        (
            f"an r of {r(fit, TOGETHER, 'algorithm1', 'model_out')} in the mean, though the error "
            f"{r(mse, TOGETHER, 'algorithm1', 'model_out')}"
        ),
        (
            f"(together {r(probe, TOGETHER, 'lda')}, {r(probe, TOGETHER, 'nearest_neighbours')} "
            f"and {r(probe, TOGETHER, 'ridge_cv')}, against {r(probe, TOGETHER, 'r2')})"
        ),
        (
            f"N-LEEP ({r(probe, TOGETHER, 'n_leep')}), GBC ({r(probe, TOGETHER, 'gbc')}) and "
            f"LEEP ({r(probe, TOGETHER, 'leep')})"
        ),
        (
            f"RankMe ({r(probe, SMOLLM, 'rank_me')} with SmolLM2, {r(probe, GEMMA, 'rank_me')} "
            f"with Gemma)"
        ),
    ]
    page = said()
    assert [sentence for sentence in sentences if sentence not in page] == []


def test_bounds_that_the_argument_names_hold_on_the_pages() -> None:
    fixed = [
        float(r("probe_accuracy", model, score))
        for model in (SMOLLM, GEMMA)
        for score in ("algorithm1", "smallest_first", "expected")
    ]
    assert f"r lies between {min(fixed):.2f} and {max(fixed):.2f}" in said()
    p = [
        float(r("probe_accuracy", model, score, "best_p"))
        for model in (SMOLLM, GEMMA)
        for score in ("algorithm1", "smallest_first", "expected")
    ]
    assert "(corrected p above 0.5)" in said()
    assert min(p) > 0.5
    section = read_summary(ROOT / "results" / "smollm2" / "summary.md")["Scores and `lora_gain`"]
    rivals = ("ridge_cv", "h_score", "log_me", "leep", "n_leep", "trans_rate", "gbc",
              "nearest_neighbours", "lda", "rank_me", "alpha_req")  # fmt: skip
    p = [float(summary_row(section, f"lora_gain: {SMOLLM}", name)["best_p"]) for name in rivals]
    assert "no p is below 0.05, before any correction" in said()
    assert min(p) >= 0.05
    gain = "lora_gain"
    assert f"({r(gain, SMOLLM, 'r2')} with SmolLM2, {r(gain, GEMMA, 'r2')} with Gemma)" in said()
    rivals = f"(LDA {r(gain, GEMMA, 'lda')}, neighbours {r(gain, GEMMA, 'nearest_neighbours')})"
    assert f"`r2` ({r(gain, GEMMA, 'r2')}) and the rivals that are probes themselves {rivals}" in (
        said()
    )


def test_rules_that_the_argument_names_are_those_of_the_page() -> None:
    rules = read_summary(ROOT / "results" / "smollm2" / "summary.md")["Rules and `probe_accuracy`"]
    retained = [
        rule_row(rules, f"probe_accuracy: {model}", rule)["retained"]
        for model in (SMOLLM, GEMMA)
        for rule in ("last layer, k/d 0.5", "depth 2/3, k/d 0.5")
    ]
    assert f"({min(retained)[1:]} to {max(retained)[1:]}, against" in said()
    peaks = [rule_row(rules, f"probe_accuracy: {m}", "z peak") for m in (GEMMA, SMOLLM)]
    assert f"({peaks[1]['retained'][1:]} and {peaks[0]['retained'][1:]})" in said()
    at_last = [
        rule_row(rules, f"probe_accuracy: {m}", "last layer, k/d 0.5")["subspace"]
        for m in (GEMMA, SMOLLM)
    ]
    assert f"({at_last[0][1:]} with Gemma, {at_last[1][1:]} with SmolLM2, p" in said()


def test_what_is_left_of_the_gain_and_of_float32_is_what_the_pages_hold() -> None:
    gain = "lora_gain"
    pairs = [(score, model) for score in ("published", "algorithm1") for model in (SMOLLM, GEMMA)]
    p, fixed = ([r(gain, m, score, column) for score, m in pairs] for column in ("best_p", "fixed"))
    page = said()
    assert (
        f"p of `published` with the gain is {p[0]} (SmolLM2) and {p[1]} (Gemma), of `algorithm1` "
        f"{p[2]} and {p[3]}; at the configuration fixed in advance their r is {fixed[0]} and "
        f"{fixed[1]}, and {fixed[2]} and {fixed[3]}"
    ) in page
    assert f"(corrected p {min(p)} at the least for" in page
    fit = "logistic_accuracy"
    assert (
        f"the training accuracy of the other an r of {r(fit, TOGETHER, 'published', 'model_out')} "
        f"(corrected p over both {r(fit, TOGETHER, 'published', 'best_p')},"
    ) in page
    accuracies = ("probe_accuracy", "lora_accuracy", fit)
    of_both = [float(r(one, m, "published")) for one in accuracies for m in (SMOLLM, GEMMA)]
    assert f"(r between {min(of_both):.2f} and {max(of_both):.2f} with the accuracies)" in page


def script(name: str) -> Any:
    """A module of `scripts/`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_table_of_float32_is_what_its_script_prints() -> None:
    printed = script("published_noise").table(str(ROOT / "results/smollm2"))
    lines = [line.rstrip() for line in printed.splitlines()]
    assert len(lines) == 1 + 2 * 6
    assert "\n".join(lines).strip("\n") in PAGE.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_table_of_sum_and_mean_is_what_its_script_prints() -> None:
    studies = (str(ROOT / "results" / name) for name in ("smollm2", "smollm2-sum"))
    lines = [line.rstrip() for line in script("pooling_agreement").table(*studies).splitlines()]
    assert len(lines) == 1 + 8
    assert "\n".join(lines).strip("\n") in PAGE.read_text(encoding="utf-8")


def test_the_table_of_lora_by_seed_is_what_its_script_prints() -> None:
    studies = (str(ROOT / "results" / name) for name in ("smollm2", "smollm2-seed1"))
    lines = [line.rstrip() for line in script("lora_seeds").table(*studies).splitlines()]
    assert len(lines) == 1 + 12 + 2
    assert "\n".join(lines) in PAGE.read_text(encoding="utf-8")


def test_what_a_second_run_of_lora_does_to_scores_is_what_the_page_says() -> None:
    sections = read_summary(ROOT / "results" / "smollm2-seed1" / "summary.md")
    (table,) = (text for title, text in sections.items() if "LoRA does to each" in title)
    rows = re.findall(r"^\| (\w+) \| (\d+)\.00 \| (\d+)\.00 \|", table, re.MULTILINE)
    rises = {score: int(risen) for score, risen, _ in rows}
    for score in (
        "published",
        "smallest_first",
        "algorithm1",
        "expected",
        "supervised",
        "subspace",
    ):
        assert f"`{score}` on {rises[score]}" in said()


def test_lora_raises_the_published_score_as_often_as_the_page_says() -> None:
    sections = read_summary(ROOT / "results" / "smollm2" / "summary.md")
    (after,) = (text for title, text in sections.items() if "before and after LoRA" in title)
    changes = re.findall(r"^\| \w+ \|.*\| (-?[\d.]+) \|$", after, re.MULTILINE)
    assert len(changes) == 12
    risen = sum(float(change) > 0 for change in changes)
    assert f"`smallest_first` is higher on {risen} of the 12 data sets" in said()


def test_what_lora_does_to_each_score_is_what_the_page_says() -> None:
    sections = read_summary(ROOT / "results" / "smollm2" / "summary.md")
    (table,) = (text for title, text in sections.items() if "LoRA does to each" in title)
    rows = re.findall(r"^\| (\w+) \| (\d+)\.00 \| (\d+)\.00 \|", table, re.MULTILINE)
    falls = {score: fallen for score, _, fallen in rows}
    assert f"falls on {falls['expected']} of 12" in said()
    assert f"`supervised` on {falls['supervised']} and `subspace` on {falls['subspace']}" in said()
    assert falls["r2"] == falls["retained"] == "0"


def test_what_is_left_given_the_classes_is_what_the_page_says() -> None:
    left = {
        (outcome, model): r(outcome, model, "algorithm1", "given_classes")
        for outcome in ("logistic_accuracy", "ols_mse")
        for model in (SMOLLM, GEMMA)
    }
    fit, mse = "logistic_accuracy", "ols_mse"
    assert (
        f"fixed in advance {left[fit, SMOLLM]} (SmolLM2) and {left[fit, GEMMA]} (Gemma) are left "
        f"with the training accuracy, {left[mse, SMOLLM]} and {left[mse, GEMMA]} with the error"
    ) in said()


def test_the_table_of_methods_on_its_page_is_the_summarys() -> None:
    table = read_summary(ROOT / "results" / "adapt" / "summary.md")["Methods"].strip()
    page = (ROOT / "docs" / "adapt.md").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 2 + 3 * 7
    assert table in page


def test_numbers_of_the_forecasts_argument_are_those_of_its_table() -> None:
    page = " ".join((ROOT / "docs" / "forecast.md").read_text(encoding="utf-8").split())
    table, by_seed = (text for command, text in quotations() if command.split()[2] == "forecast")
    known, new = table.split("new cells: gemma3-270m")
    again = by_seed.split("new cells: smollm2-135m")[1]

    def numbers(part: str, predictor: str) -> list[str]:
        return re.findall(rf"^ {predictor} +(.*)$", part, re.MULTILINE)[0].split()

    rule, constant = numbers(new, "mean_token"), numbers(new, "constant")
    others = ("constant", "probe_error", "unexplained", "ridge_last", "lda")
    assert min(others, key=lambda name: float(numbers(new, name)[1])) == "constant"
    assert (
        f"it misses LoRA's accuracy by {100 * float(rule[1]):.1f} points, the best of the others, "
        f"the constant gain over the probe, by {100 * float(constant[1]):.1f}"
    ) in page
    assert rule[0] == "8"
    assert (rule[3], constant[3], rule[4]) == ("0.88", "0.62", "1.00")
    assert f"(r = {rule[2]}, as the constant's)" in page
    assert rule[2] == constant[2]
    before, of_constant = numbers(known, "mean_token"), numbers(known, "constant")
    assert (
        f"it misses by {100 * float(before[1]):.1f} points, the constant by "
        f"{100 * float(of_constant[1]):.1f}; its intervals, made without the data set, hold "
        f"{100 * float(before[4]):.0f} %"
    ) in page
    for name in ("last_token", "kernels"):
        old, new_ones = (numbers(part, name) for part in (known, new))
        assert (old[0], new_ones[0]) == ("16", "8")
        assert float(new_ones[1]) > float(rule[1])
        errors = (f"{100 * float(old[1]):.1f}", f"{100 * float(new_ones[1]):.1f}")
        between = " points on known cells and by " if name == "last_token" else " and "
        assert f"{errors[0]}{between}{errors[1]}" in page
    second_run = {
        name: numbers(again, name) for name in (*others, "mean_token", "last_token", "kernels")
    }
    missed = {name: f"{100 * float(row[1]):.1f}" for name, row in second_run.items()}
    assert min(others, key=lambda name: float(missed[name])) == "ridge_last"
    assert (
        f"it misses by {missed['mean_token']} points, the best of the others, the last layer's "
        f"held-out accuracy, by {missed['ridge_last']}; it tells eleven times in twelve whether "
        "LoRA gains five points, and its intervals hold eleven of twelve"
    ) in page
    assert second_run["mean_token"][0] == "12"
    assert second_run["mean_token"][3:] == [f"{11 / 12:.2f}"] * 2
    assert f"; with seed 1 by {missed['last_token']} and {missed['kernels']}." in page
    beyond = Evidence.load().points.assign(beyond=Evidence.load().beyond())
    found = beyond.set_index(["model", "data"])["beyond"]
    pairs = [(GEMMA, "emotion"), (GEMMA, "medical"), (SMOLLM, "emotion"), (SMOLLM, "medical")]
    first, second, third, fourth = (round(100 * float(found.loc[pair])) for pair in pairs)
    assert (
        f"by {first} points on emotion with Gemma, by {second} on medical, and by {third} and "
        f"{fourth} with SmolLM2"
    ) in page
