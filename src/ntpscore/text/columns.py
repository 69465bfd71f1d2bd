"""Find the columns of text, second text, label and split by their usual names."""

from collections.abc import Sequence
from dataclasses import dataclass

from ntpscore.errors import DataError
from ntpscore.text.table import Table, quoted

PAIR_NAMES = (
    ("text", "text_pair"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("text_1", "text_2"),
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("question1", "question2"),
    ("question_1", "question_2"),
    ("premise", "hypothesis"),
)
TEXT_NAMES = (
    "text", "sentence", "content", "question", "title", "tweet", "message", "utterance", "review",
    "document", "premise", "comment", "body", "headline", "query", "post", "abstract", "statement",
    "claim", "prompt", "sms", "article",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "target", "targets", "class", "category", "categories", "intent", "score",
    "emotion", "sentiment", "topic", "rating", "stars", "coarse_label", "fine_label",
    "label_coarse", "label_fine",
)  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which columns are used.

    Attributes:
        text: One column, two for a pair, or the template's fields.
        label: One column, or several targets.
        split: The column that says which split a row belongs to, if there is one.
    """

    text: tuple[str, ...]
    label: tuple[str, ...]
    split: str | None

    def describe(self, *, with_text: bool) -> dict[str, str]:
        """Role to column name; the text's are left out where a template names them."""
        named = {"label": ",".join(self.label)}
        if with_text:
            named = dict(zip(("text", "pair"), self.text, strict=False)) | named
        return named if self.split is None else named | {"split": self.split}


def find_columns(
    table: Table,
    *,
    text_column: str | None,
    pair_column: str | None,
    label_column: str | None,
    fields: Sequence[str] | None,
) -> Columns:
    """Find the columns: those that are named, else those of a usual name, in either case.

    A column called `text` or `label` is taken before all others; otherwise one column, or pair of
    columns, must have a usual name.

    Args:
        table: Where to look.
        text_column: The text's.
        pair_column: The second text's.
        label_column: The label's, or several with commas in between.
        fields: The columns of a template, which takes the place of the text's.

    Raises:
        DataError: a column is absent, or several could be meant.
    """
    label = _label_columns(table, label_column)
    split = next((name for name in table.names if name.lower() == "split"), None)
    if fields is not None:
        text = tuple(_named(table, name, "the template") for name in fields)
    else:
        rest = [name for name in table.names if name not in {*label, split}]
        text = _text_columns(table, rest, text_column, pair_column)
    return Columns(text, label, split)


def _label_columns(table: Table, label_column: str | None) -> tuple[str, ...]:
    if label_column in table.names:
        return (str(label_column),)
    if label_column is not None:
        names = [name.strip() for name in label_column.split(",")]
        if len(set(names)) < len(names):
            raise DataError(f"--label-column {label_column!r} names a column twice")
        return tuple(_named(table, name, "--label-column") for name in names)
    found = [name for name in table.names if name.lower() in LABEL_NAMES]
    return (_only(table, found, "label", "--label-column"),)


def _text_columns(
    table: Table, names: list[str], text_column: str | None, pair_column: str | None
) -> tuple[str, ...]:
    if pair_column is not None:
        second = _named(table, pair_column, "--pair-column")
        names = [name for name in names if name != second]
    if text_column is not None:
        first = _named(table, text_column, "--text-column")
        return (first,) if pair_column is None else (first, second)
    singles = [name for name in names if name.lower() in TEXT_NAMES]
    if pair_column is not None:
        partners = [first for first, its_second in PAIR_NAMES if its_second == second.lower()]
        named = [name for name in names if name.lower() in partners]
        return (_only(table, named or singles, "text", "--text-column"), second)
    by_name = {name.lower(): name for name in names}
    pairs = [
        (by_name[first], by_name[second])
        for first, second in PAIR_NAMES
        if first in by_name and second in by_name
    ]
    for pair in pairs:
        singles = [name for name in singles if name not in pair]
    canonical = [pair for pair in pairs if pair[0].lower() == "text"]
    if len(canonical) == 1:
        return canonical[0]
    if len(pairs) == 1 and not singles:
        return pairs[0]
    found = [name for pair in pairs for name in pair] + singles
    options = "--text-column, with --pair-column for a second text, or with --template"
    return (_only(table, found, "text", options),)


def _named(table: Table, name: str, option: str) -> str:
    if name not in table.names:
        raise DataError(
            f"{table.id} has no column {name!r}, which {option} asks for: it has "
            f"{quoted(table.names)}"
        )
    return name


def _only(table: Table, found: list[str], role: str, options: str) -> str:
    canonical = [name for name in found if name.lower() == role]
    if len(canonical) == 1:
        return canonical[0]
    if len(found) == 1:
        return found[0]
    if found:
        raise DataError(
            f"{table.id}: {quoted(found)} could each be the {role}. Say which with {options}. "
            f"The columns are {quoted(table.names)}"
        )
    raise DataError(
        f"{table.id}: no column has a usual name for the {role}. Say which it is with {options}. "
        f"The columns are {quoted(table.names)}"
    )
