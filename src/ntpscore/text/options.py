"""How labelled text is read."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from ntpscore.errors import DataError
from ntpscore.options import check_options, option

TaskChoice = Literal["auto", "classification", "regression", "multilabel"]
_PANEL = "Data"


def _with_line_breaks(template: str) -> str:
    r"""A shell hands `\n` over as two characters."""
    return template.replace("\\n", "\n")


@dataclass(frozen=True)
class TextOptions:
    r"""How labelled text is read.

    Attributes:
        split: Which split. A column `split` says which rows are of it; in a file without such a
            column all are "train".
        max_texts: Draw a sample of at most so many texts; of classes, each in proportion.
        text_column: The column of the text, if its name is not a usual one.
        pair_column: The column of a second text, which a line break joins to the first.
        label_column: The column of the label, or several with commas in between.
        template: Builds the text from columns: `"Question: {question}\nAnswer: {answer}"`.
        task: What the labels are for. "auto": strings, integers, truth values and whole floats of
            few values are classes, other floats are targets of regression, lists and several
            columns of truth values are multilabel, but lists of one label each are classes.
        skip_bad_rows: Leave out rows that are malformed or without text, label or split, and count
            them, instead of stopping at the first.
        exact_labels: Keep labels apart that differ in case, blanks, Unicode form or quotes only.
        label_separator: What stands between several labels in one cell.
        keep_missing_names: Take `nan`, `NA`, `null`, `none`, `n/a` and `-` for names of classes.
        group_column: The column that says which texts belong together (patient, thread, author);
            texts that are the same do so anyway.
        encoding: Of files of text; None means UTF-8.
        data_configuration: Which configuration of a hub data set.
        data_revision: Which commit, tag or branch of a hub data set.
    """

    split: str = option("train", "The part of the data to use.", panel=_PANEL)
    max_texts: int | None = option(
        None, "Draw a stratified sample of so many texts.", panel=_PANEL, least=1
    )
    text_column: str | None = option(None, "Column of the text.", panel=_PANEL)
    pair_column: str | None = option(None, "Column of the second text.", panel=_PANEL)
    label_column: str | None = option(
        None, "Column of the label; several with commas between.", panel=_PANEL
    )
    template: str | None = option(
        None,
        "Build the text from columns: '{title}: {body}'.",
        panel=_PANEL,
        read=_with_line_breaks,
    )
    task: TaskChoice = option(
        "auto", "What the labels are for.", panel=_PANEL, choices=get_args(TaskChoice)
    )
    skip_bad_rows: bool = option(
        False, "Leave out and count rows without text or label.", panel=_PANEL
    )
    exact_labels: bool = option(
        False, "Keep labels apart that differ in case or blanks only.", panel=_PANEL
    )
    label_separator: str | None = option(
        None, "What stands between several labels in one cell, such as '#'.", panel=_PANEL
    )
    keep_missing_names: bool = option(
        False, "Take nan, NA, null, none, n/a and - for names of classes.", panel=_PANEL
    )
    group_column: str | None = option(
        None, "Column of what texts have in common: patient, thread, author.", panel=_PANEL
    )
    encoding: str | None = option(
        None, "Of files of text, such as utf-16, cp1252 or latin-1; default UTF-8.", panel=_PANEL
    )
    data_configuration: str | None = option(None, "Configuration of a hub data set.", panel=_PANEL)
    data_revision: str | None = option(None, "Revision of a hub data set.", panel=_PANEL)

    def __post_init__(self) -> None:
        check_options(self, DataError)
        if self.template is not None and (self.text_column or self.pair_column):
            raise DataError(
                "--template names the text's columns itself: leave out --text-column and "
                "--pair-column"
            )
        if self.label_separator is not None and not self.label_separator.strip(" "):
            raise DataError("--label-separator must not be blank")


@dataclass(frozen=True)
class SplitOptions(TextOptions):
    """How a split to fit and a split to test are read.

    Attributes:
        test_split: The split to test; None means what is registered for a short name, else "test",
            unless `hold_out` is given.
        hold_out: Instead of a test split, this share of the train split is left aside, of each
            class in proportion. Some short names have a share registered.
        max_test_texts: Draw a sample of at most so many texts to test.
        test_data: Where the texts to test are, if not in the data: as for `load_text`.
    """

    test_split: str | None = option(
        None, "The part of the data to test; default test, or what is registered.", panel=_PANEL
    )
    hold_out: float | None = option(None, "Test on this share of the split instead.", panel=_PANEL)
    max_test_texts: int | None = option(
        None, "Draw a sample of the test split.", panel=_PANEL, least=1
    )
    test_data: Any = option(
        None, "File or folder of the texts to test.", panel=_PANEL, typed=str | None
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_out is not None and not 0 < self.hold_out < 1:
            raise DataError(f"--hold-out must be between 0 and 1, not {self.hold_out}")
        if self.hold_out is not None and self.test_split is not None:
            raise DataError("give --test-split or --hold-out, not both")
        if self.hold_out is not None and self.test_data is not None:
            raise DataError("give --test-data or --hold-out, not both")
