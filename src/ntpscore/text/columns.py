"""Find the columns of text, second text, label and split by their usual names."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ntpscore.errors import DataError, MissingColumnError
from ntpscore.text.options import TextOptions
from ntpscore.text.source import Notes
from ntpscore.text.table import Table, quoted, shown

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
    "label_coarse", "label_fine", "gold_label", "is_duplicate",
)  # fmt: skip
# Words in names such as `commentText` or `review_body`, and those that say it is no text itself.
_TEXT_WORDS = ("texts", "sentences", "comments", "reviews", "tweets", "messages", "selftext")
_NO_TEXT_WORDS = frozenset((
    "id", "ids", "idx", "index", "date", "time", "timestamp", "year", "url", "link", "lang",
    "language", "length", "len", "count", "num", "number", "score", "rating", "stars", "label",
    "type", "hash", "author", "user", "name",
))  # fmt: skip
_TEXT_OPTIONS = "--text-column, with --pair-column for a second text, or with --template"
_MUCH_LONGER = 1.5


@dataclass(frozen=True)
class Columns:
    """Which columns are used.

    Attributes:
        text: One column, two for a pair, or the template's fields.
        label: One column, or several targets.
        split: The column that says which split a row belongs to, if there is one.
        group: The column that says which texts belong together, if there is one.
    """

    text: tuple[str, ...]
    label: tuple[str, ...]
    split: str | None
    group: str | None = None

    def describe(self, *, with_text: bool) -> dict[str, str]:
        """Role to column name; the text's are left out where a template names them."""
        named = {"label": ",".join(self.label)}
        if with_text:
            named = dict(zip(("text", "pair"), self.text, strict=False)) | named
        if self.split is not None:
            named |= {"split": self.split}
        return named if self.group is None else named | {"group": self.group}


def find_columns(
    table: Table, options: TextOptions, fields: Sequence[str] | None, notes: Notes
) -> Columns:
    """Find the columns: those that are named, else those of a usual name, in either case.

    A column called `text` or `label` is taken before all others. Of several texts the longest is
    taken, if it is much longer; of several labels none.

    Args:
        table: Where to look.
        options: Name columns.
        fields: The columns of a template, which takes the place of the text's.
        notes: Are told of columns that would do as well.
    """
    split = table.split_column
    label = _label_columns(table, options.label_column, notes)
    group = options.group_column
    roles = (options.text_column, options.pair_column)
    text = find_text_columns(table, *roles, fields, notes, {*label, split, group})
    if group is not None:
        _named(table, group, "--group-column")
    return Columns(text, label, split, group)


def find_text_columns(
    table: Table,
    text_column: str | None,
    pair_column: str | None,
    fields: Sequence[str] | None,
    notes: Notes,
    taken: Collection[str | None] | None = None,
) -> tuple[str, ...]:
    """The columns of the text alone; see `find_columns`.

    Columns that are taken are something else; None means those of a usual name for label or split.
    """
    if fields is not None:
        return tuple(_named(table, name, "the template") for name in fields)
    if taken is None:
        taken = [name for name in table.names if name.lower() in {"split", *LABEL_NAMES}]
    names = [name for name in dict.fromkeys(table.names) if name not in taken]
    return _text_columns(table, names, text_column, pair_column, notes)


def _label_columns(table: Table, label_column: str | None, notes: Notes) -> tuple[str, ...]:
    if label_column in table.names:
        return (str(label_column),)
    if label_column is not None:
        names = [name.strip() for name in label_column.split(",")]
        if len(set(names)) < len(names):
            raise DataError(f"--label-column {shown(label_column)} names a column twice")
        return tuple(_named(table, name, "--label-column") for name in names)
    usual = [name for name in dict.fromkeys(table.names) if name.lower() in LABEL_NAMES]
    # `star_rating` and `Review Rating` say it in their last word.
    usual = usual or [name for name in table.names if (_words(name) or [""])[-1] in LABEL_NAMES]
    label = _only(table, usual, "label", "--label-column")
    notes.not_taken |= {name: "--label-column" for name in usual if name != label}
    return (label,)


def _text_columns(
    table: Table,
    names: list[str],
    text_column: str | None,
    pair_column: str | None,
    notes: Notes,
) -> tuple[str, ...]:
    if pair_column is not None:
        second = _named(table, pair_column, "--pair-column")
        names = [name for name in names if name != second]
    if text_column is not None:
        first = _named(table, text_column, "--text-column")
        return (first,) if pair_column is None else (first, second)
    singles = [name for name in names if _is_text_name(name)]
    if pair_column is not None:
        partners = [first for first, its_second in PAIR_NAMES if its_second == second.lower()]
        named = [name for name in names if name.lower() in partners]
        return (_longest(table, named or singles, notes), second)
    by_name = {name.lower(): name for name in names}
    pairs = [
        (by_name[first], by_name[second])
        for first, second in PAIR_NAMES
        if first in by_name and second in by_name
    ]
    in_pairs = [name for pair in pairs for name in pair]
    singles = [name for name in singles if name not in in_pairs]
    canonical = [pair for pair in pairs if pair[0].lower() == "text"]
    if not canonical and not any(name.lower() in TEXT_NAMES for name in singles):
        canonical = pairs
    if len(canonical) == 1:
        notes.not_taken |= dict.fromkeys(singles, "--text-column")
        return canonical[0]
    if pairs:
        return (_only(table, in_pairs + singles, "text", _TEXT_OPTIONS),)
    return (_longest(table, singles, notes),)


def _is_text_name(name: str) -> bool:
    """Whether a name is a usual one for text, or holds one as a word: `Review Text`."""
    words = _words(name)
    return name.lower() in TEXT_NAMES or (
        not set(words) & _NO_TEXT_WORDS and bool(set(words) & {*TEXT_NAMES, *_TEXT_WORDS})
    )


def _words(name: str) -> list[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", apart.lower())


def _longest(table: Table, names: list[str], notes: Notes) -> str:
    """The column of the longest texts, or the one called `text`; what else there is, is noted."""
    if len(names) < 2 or any(name.lower() == "text" for name in names):
        best = _only(table, names, "text", _TEXT_OPTIONS)
    else:
        lengths = {name: _mean_length(table, name) for name in names}
        names = [name for name in names if lengths[name]] or names
        best, *others = sorted(names, key=lambda name: -lengths[name])
        if others and lengths[best] < _MUCH_LONGER * lengths[others[0]]:
            best = _only(table, names, "text", _TEXT_OPTIONS)
    notes.not_taken |= {name: "--text-column" for name in names if name != best}
    return best


def _mean_length(table: Table, name: str) -> float:
    values = table.column(name)
    return sum(len(value) for value in values if isinstance(value, str)) / len(values)


def _named(table: Table, name: str, option: str) -> str:
    if name not in table.names:
        raise MissingColumnError(
            f"{table.id} has no column {shown(name)}, which {option} asks for: it has "
            f"{quoted(table.names)}{table.hint}"
        )
    return name


def _only(table: Table, candidates: list[str], role: str, options: str) -> str:
    canonical = [name for name in candidates if name.lower() == role]
    if len(canonical) == 1:
        return canonical[0]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise DataError(
            f"{table.id}: {quoted(candidates)} could each be the {role}. Say which with {options}. "
            f"The columns are {quoted(table.names)}"
        )
    raise DataError(
        f"{table.id}: no column has a usual name for the {role}. Say which it is with {options}. "
        f"The columns are {quoted(table.names)}{table.hint}"
    )
