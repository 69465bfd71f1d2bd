"""A ranking, and the folder it is kept in."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ntpscore.errors import NtpscoreError
from ntpscore.files import to_csv, write_text
from ntpscore.result_folder import UNFINISHED, complete, hold_folder, read_result

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 3
KIND = "rank"
# What the rows can be in the order of, beside each metric.
ACCURACY, CONSENSUS = "accuracy", "consensus"
RECORD = "rank.json"
COLUMNS = ("at", "model", "metric", "layer", "k", "value", "rank", "tied", "reason")


class RankResult:
    """The outcome of `rank_models`.

    Attributes:
        record: the content of `rank.json`: data, settings, models, standings, metrics, rows.
    """

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record

    def __repr__(self) -> str:
        models = self.record["models"]
        return f"RankResult({len(models)} models on {self.record['data']['id']!r})"

    @property
    def failures(self) -> dict[str, str]:
        """The models that could not be ranked, and why."""
        return {m["name"]: m["error"] for m in self.record["models"] if m["error"] is not None}

    @property
    def standings(self) -> "pd.DataFrame":
        """One row per model, the best first: held-out accuracy, layer, forecast, size, seconds.

        `behind` is what the model loses more on a text than the first, with its paired 95 %
        interval: the share of texts it puts wrong more often, of labels if there are several, or
        its additional squared error, of targets in standard deviations.
        """
        import pandas as pd

        return pd.DataFrame(self.record["standings"])

    def table(self) -> "pd.DataFrame":
        """One row per place, model and metric; the columns of `metrics.csv`."""
        import pandas as pd

        frame = pd.DataFrame(self.record["rows"], columns=list(COLUMNS))
        return frame.astype({"layer": "Int64", "k": "Int64", "rank": "Int64"})

    def ranks(self, at: str | None = None) -> "pd.DataFrame":
        """The ranks, rows = models in order, columns = metrics; missing where there is none.

        Args:
            at: `last`, `best` or `chosen`; the first place there is if None.

        Raises:
            NtpscoreError: nothing was ranked there.
        """
        if not self.record["rows"]:
            raise NtpscoreError("no metric was computed: ask for one, or for all_metrics")
        places = list(dict.fromkeys(row["at"] for row in self.record["rows"]))
        at = places[0] if at is None else at
        if at not in places:
            raise NtpscoreError(f"nothing was ranked at {at!r}: choose from {', '.join(places)}")
        frame = self.table()
        frame = frame[frame["at"] == at]
        wide = frame.pivot_table(index="model", columns="metric", values="rank", dropna=False)
        return wide.loc[frame["model"].unique(), frame["metric"].unique()]

    def save(self, folder: str | Path) -> Path:
        """Write `rank.csv`, `rank.json` and, if there are any metrics, `metrics.csv` into a folder.

        Args:
            folder: made if it is missing; files of an earlier ranking are replaced.

        Raises:
            OutputError: the folder can't be written.
        """
        tables = {"rank.csv": self.standings}
        if self.record["rows"]:
            tables["metrics.csv"] = self.table()
        with hold_folder(folder) as held:
            for name, table in tables.items():
                write_text(held / UNFINISHED / name, to_csv(table))
            complete(held, self.record, tables, name=RECORD)
            return held


def load_ranking(folder: str | Path) -> RankResult:
    """Read the folder that `rank_models` or `RankResult.save` wrote.

    Raises:
        OutputError: the folder has no complete ranking, or one of another schema version.
    """
    return RankResult(read_result(folder, KIND, SCHEMA_VERSION, "ranking", RECORD).record)
