"""What LoRA reached on the data sets of a study, beside what each rule reads off them."""

from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from ntpscore.errors import DataError, StudyError
from ntpscore.files import read_record, to_json, write_text
from ntpscore.forecast.rules import RULES

SCHEMA_VERSION = 2
KIND = "forecast evidence"
# `estimate` is what a rule says before its shift, `frozen` the held-out accuracy of the best
# frozen readout.
POINT_COLUMNS = ("model", "data", "n_texts", "classes", "width", "estimate", "frozen",
                 "lora_accuracy")  # fmt: skip
_FEWEST_DATA_SETS = 5
# Of the intervals; nine data sets can promise it.
COVERAGE = 0.8
# Of a sum of weights.
_ROUNDING = 1e-9

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """A rule's estimates and what LoRA reached.

    Points of one data set are no independent evidence: a data set that LoRA helps, it helps under
    every model. So data sets weigh alike, and are left out whole.

    Attributes:
        points: a row per model and data set, with `POINT_COLUMNS`.
        rule: which of `RULES` the estimates are of.
        source: where the points are from, in words.
        coverage: of the intervals; with K data sets it can't be above (K − 1) / (K + 1).
        samples_seen: texts that a run of LoRA saw, for its price.
    """

    points: pd.DataFrame
    rule: str
    source: str
    coverage: float = COVERAGE
    samples_seen: int = 5000

    def __post_init__(self) -> None:
        """Check the points.

        Raises:
            DataError: columns or values are missing, a point stands twice, or data sets are too few
                for the coverage.
        """
        missing = [column for column in POINT_COLUMNS if column not in self.points.columns]
        if missing:
            raise DataError(f"the points lack the columns {', '.join(missing)}")
        of_points = self.points[list(POINT_COLUMNS)].replace([np.inf, -np.inf], np.nan)
        if of_points.isna().any(axis=None):
            raise DataError("the points have missing or infinite values: leave those points out")
        if self.points.duplicated(["model", "data"]).any():
            raise DataError("a model and data set stand twice in the points")
        n = self.points["data"].nunique()
        if n < _FEWEST_DATA_SETS:
            raise DataError(f"{n} data sets are too few: a forecast needs {_FEWEST_DATA_SETS}")
        if not 0 < self.coverage <= (n - 1) / (n + 1):
            raise DataError(
                f"intervals of {n} data sets can't promise a coverage of {self.coverage:g}: at "
                f"most {(n - 1) / (n + 1):.3f}"
            )

    def forecast(self, estimate: float) -> tuple[float, float, float]:
        """LoRA's accuracy on a data set that is not among the points, with its interval.

        The interval is that of the jackknife+ over data sets, each end for itself, since LoRA goes
        beyond a rule more than it falls short of it: every point offers the forecast made without
        its data set and what that missed it by. With a shift alone to fit, the two add up to the
        estimate and what LoRA reached beyond it at that point.

        Args:
            estimate: of the rule, before its shift.

        Returns:
            The accuracy, and the lower and upper end of its interval.

        Source:
            Barber, Candès, Ramdas, Tibshirani 2021, Predictive inference with the jackknife+; Lee,
            Barber, Willett 2023, Distribution-free inference with hierarchical data.
        """
        beyond, weights = self.beyond(), self._weights()
        order = beyond.argsort(kind="stable")
        n = self.points["data"].nunique()
        level = min((1 + self.coverage) / 2 * (n + 1) / n, 1.0) - _ROUNDING
        high = order[int((weights[order].cumsum() >= level).argmax())]
        falling = order[::-1]
        low = falling[int((weights[falling].cumsum() >= level).argmax())]
        shifts = [float(weights @ beyond), beyond[low], beyond[high]]
        accuracy, low_end, high_end = np.clip(estimate + np.array(shifts), 0.0, 1.0)
        return float(accuracy), float(low_end), float(high_end)

    def beyond(self) -> Values:
        """(n,) what LoRA reached beyond the rule's estimate."""
        beyond = self.points["lora_accuracy"] - self.points["estimate"]
        return beyond.to_numpy(dtype=np.float64)

    def without(self, data: str) -> Self:
        """The same without a data set."""
        return replace(self, points=self.points[self.points["data"] != data])

    def save(self, path: str | Path) -> None:
        """Write a file of evidence."""
        record = {"schema_version": SCHEMA_VERSION, "kind": KIND, **asdict(self)}
        record["points"] = self.points[list(POINT_COLUMNS)].to_dict(orient="records")
        write_text(Path(path), to_json(record))

    @classmethod
    def load(cls, path: str | Path | None = None) -> Self:
        """Read a file of evidence.

        Args:
            path: the file; None means that of ntpscore's own study.

        Raises:
            StudyError: it can't be read, is no evidence of this version, or of an unknown rule.
            DataError: nothing can be forecast from its points.
        """
        folder = resources.files("ntpscore.forecast") / "data"
        with resources.as_file(folder / "evidence.json") as packaged:
            record = read_record(
                packaged if path is None else Path(path), KIND, SCHEMA_VERSION, KIND, StudyError
            )
        if record.get("rule") not in [*RULES]:  # which may be of any type
            raise StudyError(
                f"{path} is of the rule {record.get('rule')!r}: known are {', '.join(RULES)}"
            )
        kinds = {"rule": str, "source": str, "coverage": float, "samples_seen": int}
        try:
            points = pd.DataFrame(record["points"])
            numbers = points.columns.intersection(list(POINT_COLUMNS)).drop(["model", "data"])
            points[numbers] = points[numbers].apply(pd.to_numeric)
            return cls(points=points, **{n: kind(record[n]) for n, kind in kinds.items()})
        except (LookupError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise StudyError(f"{path} is damaged ({error!r}): make it anew") from error

    def _weights(self) -> Values:
        counts = self.points.groupby("data")["data"].transform("size").to_numpy()
        return np.asarray(1 / (self.points["data"].nunique() * counts), dtype=np.float64)
