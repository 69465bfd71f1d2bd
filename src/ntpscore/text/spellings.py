"""Spellings of one label, and labels joined in one string."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from ntpscore.text.source import Notes
from ntpscore.text.table import quoted, shown

# Characters that nobody sees: zero-width blanks, marks of direction, soft hyphens, emoji variants.
_UNSEEN = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufe0f\ufeff"))
_LOOK_ALIKES = {
    **dict.fromkeys(map(ord, "‘’‚‛`´′ʼ＇"), "'"),
    **dict.fromkeys(map(ord, "“”„‟«»″＂"), '"'),
    **dict.fromkeys(map(ord, "‐‑‒–—−"), "-"),
}
_MISSING_NAMES = frozenset((
    "nan", "<nan>", "na", "<na>", "n/a", "n.a.", "n.a", "#n/a", "#na", "null", "<null>", "(null)",
    "none", "<none>", "nil", "nat", "-", "--", "---", "–", "—",
))  # fmt: skip
_SEPARATORS = ("||", "|", "#", ";", ",", "/", "&", "+", "\t", "\n")
_MOST_TOLD = 5


def strip_label(label: str) -> str:
    """A label without the blanks and unseen characters around it."""
    return label.strip().strip("\ufeff\u200b\u200e\u200f\u2060").strip()


def is_missing_name(label: str) -> bool:
    """Whether a label is what programs and people write where there is none: `NA`, `null`, `-`."""
    return strip_label(label).casefold() in _MISSING_NAMES


def spelling_key(label: str) -> str:
    """What spellings of one label share: case, inner blanks, Unicode form and quotes aside."""
    seen = label.translate(_UNSEEN)
    plain = unicodedata.normalize("NFKC", seen.translate(_LOOK_ALIKES)).translate(_LOOK_ALIKES)
    folded = unicodedata.normalize("NFKC", plain.casefold())
    return re.sub(r"\s+", " ", folded).strip() or label


def merge_spellings(labels: Iterable[str], notes: Notes) -> dict[str, str]:
    """The class of each label: of spellings of one, the commonest (then the first)."""
    counts = Counter(labels)
    spellings: dict[str, list[str]] = defaultdict(list)
    for label in counts:
        spellings[spelling_key(label)].append(label)
    class_of: dict[str, str] = {}
    for group in spellings.values():
        name = max(group, key=lambda label: (counts[label], -group.index(label)))
        class_of |= dict.fromkeys(group, name)
        if len(group) > 1:
            notes.merged[name] = tuple(group)
    if notes.merged:
        groups = list(notes.merged.values())
        examples = "; ".join(quoted(group) for group in groups[:_MOST_TOLD])
        more = f"; and {len(groups) - _MOST_TOLD} more" if len(groups) > _MOST_TOLD else ""
        notes.warnings.append(
            "labels that differ in case, blanks, Unicode form or quotes only are taken for one "
            f"class: {examples}{more} (--exact-labels keeps them apart)"
        )
    return class_of


def find_separator(counts: Mapping[str, int]) -> str | None:
    """The separator that seems to join several labels in one string, if there is one.

    It must split the labels into fewer ones, most of whose parts serve in several labels.
    """
    for separator in _SEPARATORS:
        joined = [label for label in counts if len(split_label(label, separator)) > 1]
        if not joined:
            continue
        parts = {label: set(split_label(label, separator)) for label in counts}
        uses = Counter(part for of_label in parts.values() for part in of_label)
        of_joined = {part for label in joined for part in parts[label]}
        shared = sum(uses[part] > 1 for part in of_joined)
        if len(uses) <= len(counts) and shared >= 0.8 * len(of_joined):
            return separator
    return None


def split_label(label: str, separator: str) -> list[str]:
    """The labels that a string joins."""
    return [part for part in map(strip_label, label.split(separator)) if part]


def warn_of_separator(counts: Mapping[str, int], column: str, notes: Notes) -> None:
    """Say so if labels seem to be several in one string."""
    separator = find_separator(counts)
    if separator is None:
        return
    example = next(label for label in counts if len(split_label(label, separator)) > 1)
    parts = {part for label in counts for part in split_label(label, separator)}
    notes.warnings.append(
        f"labels of {shown(column)} such as {shown(example)} seem to be several, with "
        f"{separator!r} between them: --label-separator {separator!r} reads {len(parts)} labels "
        f"instead of {len(counts)} classes"
    )
