"""A train split and a test split that share one coding of the labels."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ntpscore.errors import DataError, MissingColumnError, MissingSplitError
from ntpscore.options import with_keywords
from ntpscore.text.groups import (
    count_repetitions,
    draw_whole_groups,
    group_key,
    number_groups,
    text_key,
)
from ntpscore.text.labelled import LabelledText, hash_content, load_text, read_table
from ntpscore.text.open import open_table
from ntpscore.text.options import SplitOptions
from ntpscore.text.registry import fill_in, split_rule
from ntpscore.text.sample import draw_sample
from ntpscore.text.spellings import spelling_key
from ntpscore.text.split_names import common_split
from ntpscore.text.table import Table, quoted, shown

if TYPE_CHECKING:
    import datasets
    import pandas as pd


class Splits(NamedTuple):
    """Texts to fit and texts to test, with the classes, or the targets' units, of the first."""

    train: LabelledText
    test: LabelledText


def load_splits(
    data: "str | Path | datasets.Dataset | datasets.DatasetDict | pd.DataFrame",
    options: SplitOptions | None = None,
    *,
    seed: int = 0,
    otherwise: float | None = None,
    **keywords: Any,
) -> Splits:
    """Read a train split and a test split.

    Args:
        data: as for `load_text`.
        options: which splits, columns, …
        seed: of the samples.
        otherwise: the share of the train split that is held out, which the test split then says,
            where there is no other and the options name none; None raises.
        keywords: options by name, such as `hold_out=0.2`.

    Raises:
        DataError: as `load_text`; there is no such test split; or it has classes that the train
            split lacks.
    """
    options = with_keywords(keywords, options or SplitOptions())[0]
    if options.test_data is not None:
        train = load_text(data, options, seed=seed)
        return _join_splits(train, _load_test_data(train, options, seed))
    test_split, hold_out = split_rule(data, options.test_split, options.hold_out)
    wanted = test_split or "test"
    if hold_out is None and wanted == options.split:
        raise DataError(
            f"the split {shown(wanted)} can't be both fitted and tested: name another with "
            "--test-split, or use --hold-out 0.2"
        )
    data, filled_in = fill_in(data, options)
    table = open_table(data, filled_in)
    train = read_table(table, filled_in, seed)
    if hold_out is not None:
        train, test = hold_out_texts(train, hold_out, seed)
        return Splits(train, _sample(test, train, options.max_test_texts, seed))
    try:
        other = _other_split(table, wanted)
        test = read_table(other, _test_options(train, filled_in, wanted), seed)
    except MissingColumnError as error:
        raise DataError(
            f"the split {shown(wanted)} lacks what the split {shown(options.split)} has, as where "
            f"labels are hidden ({error}). Name another split with --test-split or another file "
            "with --test-data, or hold a share out with --hold-out 0.2"
        ) from error
    except MissingSplitError as error:
        if otherwise is not None and options.test_split is None:
            return _hold_out_instead(train, otherwise, options, seed)
        raise MissingSplitError(
            f"there is no test split {shown(wanted)} ({error}). Name one with --test-split, name "
            "another file with --test-data, or hold a share of the train split out with "
            "--hold-out 0.2"
        ) from error
    return _join_splits(train, test)


def _other_split(table: Table, split: str) -> Table:
    """Another split of what was opened, which is not read again.

    Raises:
        MissingSplitError: there is none; where a column tells the splits, its reader says so.
    """
    for name in (split, common_split(split)):
        if name in table.other_splits:
            return table.other_splits[name]()
    if table.split is None or table.split_column is not None:
        return replace(table, split=None)
    there = quoted([table.split, *table.other_splits])
    raise MissingSplitError(f"{table.id} has no split {shown(split)}: it has {there}")


def _hold_out_instead(text: LabelledText, share: float, options: SplitOptions, seed: int) -> Splits:
    train, test = hold_out_texts(text, share, seed)
    test = _sample(test, train, options.max_test_texts, seed)
    guess = (
        f"{text.source.id} has no test split: {share:.0%} of its texts are held out, {len(test)} "
        f"of {len(text)} (--hold-out, --test-split and --test-data choose)"
    )
    return Splits(train, _note(test, guesses=(guess,)))


def _note(
    text: LabelledText, *, guesses: tuple[str, ...] = (), warnings: tuple[str, ...] = ()
) -> LabelledText:
    """The same text, with more to be told of how it was read."""
    reading = text.source.reading
    reading = replace(
        reading,
        guesses=(*reading.guesses, *guesses),
        warnings=(*reading.warnings, *warnings),
    )
    return replace(text, source=replace(text.source, reading=reading))


def _join_splits(train: LabelledText, test: LabelledText) -> Splits:
    """Both splits in one coding; test texts that are no independent ones are warned of."""
    test = recode_labels(test, train)
    names = shown(test.source.split), shown(train.source.split)
    labels: dict[str, set[bytes]] = defaultdict(set)
    for text, label in zip(train.texts, train.labels, strict=True):
        labels[text_key(text)].add(np.asarray(label).tobytes())
    has_same_label = [
        np.asarray(label).tobytes() in labels[text_key(text)]
        for text, label in zip(test.texts, test.labels, strict=True)
        if text_key(text) in labels
    ]
    warnings = []
    if has_same_label:
        warnings.append(
            f"{len(has_same_label)} of {len(test)} texts of split {names[0]} are also in split "
            f"{names[1]}, {has_same_label.count(False)} of them with another label: what is "
            "measured on them is memory. --hold-out 0.2 keeps the same texts on one side"
        )
    of_train, of_test = (
        [key for key in map(group_key, text.chosen_groups or ()) if key is not None]
        for text in (train, test)
    )
    if shared := set(of_train) & set(of_test):
        n = sum(group in shared for group in of_test)
        warnings.append(
            f"{n} of {len(test)} texts of split {names[0]} are of {len(shared)} groups of "
            f"{shown(train.source.columns['group'])} that split {names[1]} has too, such as "
            f"{quoted(sorted(shared)[:3])}: they are no new groups. --hold-out 0.2 keeps groups on "
            "one side"
        )
    return Splits(train, _note(test, warnings=tuple(warnings)))


def _test_options(train: LabelledText, options: SplitOptions, split: str) -> SplitOptions:
    """How the split to test is read: its columns and its task are those of the train split."""
    columns = train.source.columns
    by_role: dict[str, Any] = {"label_column": columns["label"]}
    if train.source.template is None:
        by_role |= {"text_column": columns["text"]}
        by_role |= {"pair_column": columns["pair"]} if "pair" in columns else {}
    return replace(
        options, split=split, max_texts=options.max_test_texts, task=train.task, **by_role
    )


def _load_test_data(train: LabelledText, options: SplitOptions, seed: int) -> LabelledText:
    """Texts to test from other data than those to fit: its test split, or all if it has none."""
    wanted = options.test_split or "test"
    tested = replace(
        _test_options(train, options, wanted), data_configuration=None, data_revision=None
    )
    try:
        return load_text(options.test_data, tested, seed=seed)
    except MissingSplitError:
        if options.test_split is not None:
            raise
    test = load_text(options.test_data, replace(tested, split="train"), seed=seed)
    return replace(test, source=replace(test.source, split="test"))


def recode_labels(text: LabelledText, train: LabelledText) -> LabelledText:
    """The same texts with labels coded as in `train`: its class indices, its units of targets.

    Raises:
        DataError: the text has classes that `train` lacks, or is for another task.
    """
    if text.task != train.task:
        raise DataError(
            f"the split {shown(text.source.split)} is for {text.task}, not {train.task}"
        )
    text = _respell_classes(text, train)
    lacking = [name for name in text.classes if name not in train.classes]
    if lacking:
        what = "targets" if train.task == "regression" else "classes"
        raise DataError(
            f"the split {shown(text.source.split)} has the {what} {quoted(lacking)}, which the "
            f"split {shown(train.source.split)} lacks: nothing can be learned about them. Leave "
            "such rows out or fit on more texts"
        )
    columns = [train.classes.index(name) for name in text.classes]
    if text.task == "classification":
        labels: npt.NDArray[Any] = np.array(columns, dtype=np.int64)[text.labels.astype(np.int64)]
        return replace(text, labels=labels, classes=train.classes)
    if text.task == "multilabel":
        labels = np.zeros((len(text), len(train.classes)))
        labels[:, columns] = text.labels
        return replace(text, labels=labels, classes=train.classes)
    if len(columns) < len(train.classes):
        raise DataError(
            f"the split {shown(text.source.split)} lacks a target of {quoted(train.classes)}"
        )
    values = (text.labels * np.array(text.target_sd) + np.array(text.target_mean))[
        :, [text.classes.index(name) for name in train.classes]
    ]
    labels = (values - np.array(train.target_mean)) / np.array(train.target_sd)
    return replace(
        text,
        labels=labels,
        classes=train.classes,
        target_mean=train.target_mean,
        target_sd=train.target_sd,
    )


def _respell_classes(text: LabelledText, train: LabelledText) -> LabelledText:
    """Classes that differ from those of `train` in spelling only get its names."""
    if text.task == "regression" or train.source.reading.exact_labels:
        return text
    by_key = {spelling_key(name): name for name in train.classes}
    renamed = {
        name: by_key[spelling_key(name)]
        for name in text.classes
        if name not in train.classes and spelling_key(name) in by_key
    }
    classes = tuple(renamed.get(name, name) for name in text.classes)
    if not renamed or len(set(classes)) < len(classes):
        return text
    warning = (
        f"labels of split {shown(text.source.split)} are taken for those of split "
        f"{shown(train.source.split)} that differ in case, blanks, Unicode form or quotes only: "
        f"{quoted(list(renamed))} for {quoted(list(renamed.values()))} (--exact-labels keeps them "
        "apart)"
    )
    return _note(replace(text, classes=classes), warnings=(warning,))


def hold_out_texts(text: LabelledText, share: float, seed: int) -> Splits:
    """Divide texts at random; of each class the same share, as nearly as whole groups can give it.

    A class of one group stays in the train split. The test split is called "held out".

    Args:
        text: the texts.
        share: of the test split.
        seed: the same seed divides alike.

    Raises:
        DataError: the share is not between 0 and 1, or leaves one side without texts.
    """
    if not 0 < share < 1:
        raise DataError(f"--hold-out must be between 0 and 1, not {share}")
    rng = np.random.default_rng(seed)
    first = np.unique(text.fold_groups, return_index=True)[1]
    strata = np.zeros(len(text), dtype=np.int64)
    if text.task == "classification":
        strata = text.labels.astype(np.int64)[first][text.fold_groups]
    drawn = []
    for stratum in np.unique(strata):
        rows = np.flatnonzero(strata == stratum)
        groups = text.fold_groups[rows]
        size = min(max(round(share * len(rows)), 1), len(rows) - 1)
        if size and (groups != groups[0]).any():
            drawn.append(rows[draw_whole_groups(groups, size, rng)])
    is_test = np.zeros(len(text), dtype=bool)
    is_test[np.concatenate([*drawn, np.zeros(0, dtype=np.int64)])] = True
    if not is_test.any() or is_test.all():
        raise DataError(f"--hold-out {share} of {len(text)} texts leaves nothing to test")
    train = _take(text, np.flatnonzero(~is_test), text.source.split)
    return Splits(train, recode_labels(_take(text, np.flatnonzero(is_test), "held out"), train))


def _sample(test: LabelledText, train: LabelledText, size: int | None, seed: int) -> LabelledText:
    """At most so many of the held-out texts, of each class in proportion, coded as in `train`."""
    if size is None or size >= len(test):
        return test
    # Classes that were not held out have no share.
    is_classes = test.task == "classification"
    occurring = np.unique(test.labels, return_inverse=True)[1] if is_classes else None
    rows = draw_sample(test.groups, size, seed, occurring)
    return recode_labels(_take(test, np.array(rows), test.source.split), train)


def _take(text: LabelledText, rows: npt.NDArray[np.intp], split: str) -> LabelledText:
    """Some of the texts; targets keep their units, and classes that don't occur are left out."""
    texts = [text.texts[row] for row in rows]
    labels: npt.NDArray[Any] = text.labels[rows]
    classes, mean, sd = text.classes, text.target_mean, text.target_sd
    raw: list[tuple[Any, ...]]
    if text.task == "classification":
        occurring, labels = np.unique(labels, return_inverse=True)
        classes = tuple(classes[i] for i in occurring)
        raw = [(classes[i],) for i in labels]
    elif text.task == "multilabel":
        raw = [tuple(np.array(classes, dtype=object)[row > 0]) for row in labels]
    else:
        raw = list(map(tuple, (labels * np.array(sd) + np.array(mean)).tolist()))
    repeated, contradicting = count_repetitions(texts, labels)
    reading = replace(text.source.reading, repeated=repeated, contradicting=contradicting)
    source = replace(
        text.source, split=split, content_hash=hash_content(texts, raw), reading=reading
    )
    groups = number_groups(text.groups[rows])
    chosen = text.chosen_groups and [text.chosen_groups[row] for row in rows]
    return LabelledText(texts, labels, text.task, classes, mean, sd, source, groups, chosen)
