"""Read a page that `ntpscore study tables --write` wrote."""

import re
from pathlib import Path


def read_summary(path: Path) -> dict[str, str]:
    """The text of every section of a page, by its title."""
    parts = re.split(r"^## (.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def summary_row(section: str, title: str, name: str) -> dict[str, str]:
    """A line of a table of correlations, by short names of its columns.

    Args:
        section: of a page.
        title: of the table, such as "probe_accuracy: smollm2-135m".
        name: of the score.
    """
    table = re.split(rf"^ *{re.escape(title)}\n", section, flags=re.MULTILINE)[1]
    (line,) = re.findall(rf"^ {re.escape(name)} +.*", table.split("\n\n\n")[0], re.MULTILINE)[:1]
    values = line.split()
    head = ("score", "n", "fixed", "p", "tau", "regret", "best", "layer", "k", "best_p", "interval",
            "data_out")  # fmt: skip
    tail = ("sign", "given_error", "given_r2", "given_classes")
    row = dict(zip((*head, *tail), (*values[: len(head)], *values[-len(tail) :]), strict=True))
    if len(values) > len(head) + len(tail):
        row["model_out"] = values[len(head)]
    return row


def rule_row(section: str, title: str, rule: str) -> dict[str, str]:
    """r of every score by a rule, from a table of rules.

    Args:
        section: of a page.
        title: the beginning of the table's.
        rule: its name.

    Returns:
        By score; "" where a rule has none.
    """
    table = re.split(rf"^ *{re.escape(title)}.*\n", section, flags=re.MULTILINE)[1]
    table = table.split("\n\n\n")[0]
    (head,) = re.findall(r"^ rule .*", table, re.MULTILINE)[:1]
    (line,) = re.findall(rf"^ {re.escape(rule)} .*", table, re.MULTILINE)[:1]
    return dict(zip(head.split()[1:], re.findall(r"([+-]\d\.\d\d) \(|–", line), strict=True))
