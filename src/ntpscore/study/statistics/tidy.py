"""The columns that a figure or a table of a study needs, with the seeds averaged."""

from collections.abc import Sequence

import pandas as pd

from ntpscore.errors import DataError
from ntpscore.study.statistics.tables import mean_over_seeds


def pick_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Those columns, and one value in place of one per seed: the mean of those there are.

    Args:
        table: cells or outcomes of a study.
        columns: `value` and what tells one value from another but the seed.
        name: of the table, for the message.

    Raises:
        DataError: the table is empty or lacks a column.
    """
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise DataError(f"the {name} lack the columns {', '.join(missing)}")
    picked = mean_over_seeds(table[list(columns)].dropna(subset="value"))
    if picked.empty:
        raise DataError(f"the {name} hold no value: nothing was run yet")
    return picked
