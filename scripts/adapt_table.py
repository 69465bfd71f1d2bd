"""Print the results of `make adapt-runs` as a Markdown table.

Usage: python scripts/adapt_table.py [FOLDER], where FOLDER/DATA/METHOD/result.json are results of
`ntpscore adapt` and FOLDER/DATA/score/result.json those of `ntpscore score`.
"""

import json
import sys
from pathlib import Path
from typing import Any

METHODS = ("ols", "logistic", "probe", "lora", "scratch")
HEAD = (
    "data", "method", "test accuracy", "95 %", "macro-F1", "train accuracy", "seconds", "÷ score",
)  # fmt: skip


def read(path: Path) -> dict[str, Any] | None:
    """A result, if it is there."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def row(method: str, found: dict[str, Any], seconds: float, of_score: float | None) -> list[str]:
    """The cells of one method, behind the data's name."""
    test, train = found["test"], found["train"]
    low, high = test["accuracy_interval"]
    return [
        method,
        f"{test['accuracy']:.3f}",
        f"{low:.3f}–{high:.3f}",
        f"{test['macro_f1']:.3f}",
        f"{train['accuracy']:.3f}",
        f"{seconds:.0f}",
        "–" if of_score is None else f"{seconds / of_score:.1f}",
    ]


def rows_of(folder: Path) -> list[list[str]]:
    """The rows of one data set: the majority, then every method that was run."""
    score = read(folder / "score" / "result.json")
    # Loading a model is no part of either.
    loading = ("load_data", "load_model", "sanity_check")
    of_score = score and score["seconds"]["total"] - sum(score["seconds"][one] for one in loading)
    rows: list[list[str]] = []
    for method in METHODS:
        found = read(folder / method / "result.json")
        if found is None:
            continue
        seconds = found["seconds"]["total"]
        if not rows:
            majority = f"{found['test']['majority_accuracy']:.3f}"
            rows.append([folder.name, "(majority)", majority, "", "", "", "", ""])
        rows.append(["", *row(method, found, seconds, of_score)])
        if "converged" in found:
            rows.append(["", *row("logistic, converged", found["converged"], seconds, of_score)])
    return rows


def main() -> None:
    """Print the table."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "results/adapt")
    rows = [one for data in sorted(folder.iterdir()) if data.is_dir() for one in rows_of(data)]
    if not rows:
        sys.exit(f"no results under {folder}: run make adapt-runs DATA=FOLDER first")
    print("| " + " | ".join(HEAD) + " |")
    print("|" + " --- |" * len(HEAD))
    for cells in rows:
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
