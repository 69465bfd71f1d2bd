"""How much LoRA would gain over the linear probe, from what others gained.

Points of one data set are no independent evidence: a data set that LoRA helps, it helps under every
model. So everything here leaves out whole data sets, and counts them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ntpscore.errors import DataError

Values = npt.NDArray[np.float64]
Predictor = Literal["constant", "headroom", "headroom_and_score"]
# From the simplest to the richest.
PREDICTORS: tuple[Predictor, ...] = get_args(Predictor)
# What a headroom is: what an accuracy leaves, or the label variance that least squares leaves.
Basis = Literal["probe", "r2"]
POINT_COLUMNS = ("model", "data", "headroom", "score", "lora_gain")
# A gain or loss below this is not worth the price of training: two points of accuracy.
_SMALL_GAIN = 0.02
_FEWEST_DATA_SETS = 5
# A data set speaks for a headroom this near to its own.
_NEAR = 0.1
# Of a sum of weights.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Forecast:
    """What LoRA is expected to add to the accuracy of the linear probe.

    Attributes:
        gain: in accuracy, -1 … 1.
        low: lower end of the interval.
        high: its upper end, at most the headroom where that is one of accuracy.
        data_sets_near: how many of the calibration's data sets have a headroom within 0.1 of this.
    """

    gain: float
    low: float
    high: float
    data_sets_near: int

    @property
    def verdict(self) -> str:
        """In words: LoRA pays, it doesn't, or it can't be told. Two points are worth a training."""
        low, high = 100 * self.low, 100 * self.high
        if self.high < _SMALL_GAIN:
            return f"a probe is enough: LoRA is likely to add at most {max(high, 0):.0f} points"
        if self.low >= _SMALL_GAIN:
            return f"LoRA is likely to add {low:.0f} to {high:.0f} points"
        return f"too close to call: LoRA is likely to add {low:+.0f} to {high:+.0f} points"


@dataclass(frozen=True)
class Calibration:
    """Predictors of the LoRA gain, compared on data sets they had not seen, and the one to use.

    Attributes:
        predictor: the one that `forecast` uses.
        comparison: a row per predictor: its mean and root mean square error on the data sets left
            out, which weigh alike however many models they were run with (`mae`, `rmse`); and of
            the intervals made without them the share of points that they hold (`covered`), of data
            sets half of whose points they hold (`data_sets_covered`), and their mean width.
        hangs_on: data sets without which the choice would be another.
        coverage: what the intervals aim at.
        basis: what headrooms are.
        points: what it was made from, with `place`: the score's place among its model's data sets,
            0 for the lowest, 1 for the highest.
    """

    predictor: Predictor
    comparison: pd.DataFrame
    hangs_on: tuple[str, ...]
    coverage: float
    basis: Basis
    points: pd.DataFrame

    @property
    def headroom_range(self) -> tuple[float, float]:
        """The headrooms that were seen; no forecast is made outside."""
        return float(self.points["headroom"].min()), float(self.points["headroom"].max())

    def forecast(self, headroom: float, *, place: float | None = None) -> Forecast:
        """Forecast the gain on a data set that is not among the points.

        Args:
            headroom: one minus the test accuracy of the linear probe; or, where the basis is `r2`,
                one minus `r2_adjusted` of the last layer.
            place: where the score stands among scores of the same model on other data sets, 0 … 1;
                used by `headroom_and_score` alone.

        Returns:
            The gain with an interval by the jackknife+ over data sets, both cut to what an accuracy
            can be.

        Raises:
            DataError: the headroom is outside what was seen, or a place is needed or out of range.

        Source:
            Barber, Candès, Ramdas, Tibshirani 2021, Predictive inference with the jackknife+; Lee,
            Barber, Willett 2023, Distribution-free inference with hierarchical data.
        """
        low, high = self.headroom_range
        if not low <= headroom <= high:
            raise DataError(
                f"a headroom of {headroom:g} is outside the {low:.3f} to {high:.3f} that the "
                "points cover: no forecast is made there"
            )
        if self.predictor == "headroom_and_score" and (place is None or not 0 <= place <= 1):
            raise DataError(
                f"{self.predictor} needs the place of the score among its model's data sets, "
                f"0 to 1, not {place}"
            )
        where = pd.DataFrame(
            {"headroom": [headroom], "place": [np.nan if place is None else place]}
        )
        seen = _Points.of(self.points, self.predictor, self.basis)
        features, bounds = _features(where, self.predictor), _bounds(where, self.basis)
        guess = _fit_and_predict(seen, features)[0]
        ends = _jackknife_plus(seen, features, bounds, self.coverage)
        near = self.points.loc[(self.points["headroom"] - headroom).abs() <= _NEAR, "data"]
        return Forecast(
            gain=float(np.clip(guess, *bounds[0])),
            low=float(ends[0, 0]),
            high=float(ends[0, 1]),
            data_sets_near=int(near.nunique()),
        )


def calibrate_gain(
    points: pd.DataFrame, *, coverage: float = 0.8, basis: Basis = "probe"
) -> Calibration:
    """Compare the predictors of the LoRA gain and take the simplest that nothing richer beats.

    `constant` is the median gain, `headroom` a straight line in the headroom, `headroom_and_score`
    one in the headroom and the score's place among its model's data sets (scores of different
    models and configurations are on no common scale). Each is fitted without a data set, all models
    of it, and tried on that. A richer one is used only if its mean absolute error is below that
    of all simpler ones, every data set weighing alike.

    Args:
        points: one per model and data set: model, data, headroom, score and lora_gain.
        coverage: of the intervals. With K data sets it can't be above K / (K + 1).
        basis: what the points' headrooms are; an accuracy's bounds the gain.

    Raises:
        DataError: columns or values are missing, a point stands twice, there are fewer than five
            data sets, or they are too few for the coverage.
    """
    points = _checked(points, coverage)
    rows = []
    for predictor in PREDICTORS:
        seen = _Points.of(points, predictor, basis)
        off, weights = _left_out_errors(seen), seen.weights()
        rows.append(
            {
                "predictor": predictor,
                "mae": float(weights @ np.abs(off)),
                "rmse": float(np.sqrt(weights @ off**2)),
                **_left_out_coverage(seen, coverage),
            }
        )
    chosen = _chosen_predictor(points, basis)
    return Calibration(
        predictor=chosen,
        comparison=pd.DataFrame(rows),
        hangs_on=tuple(
            data
            for data in points["data"].unique()
            if _chosen_predictor(_placed(points[points["data"] != data]), basis) != chosen
        ),
        coverage=coverage,
        basis=basis,
        points=points,
    )


def _chosen_predictor(points: pd.DataFrame, basis: Basis) -> Predictor:
    errors = {}
    for predictor in PREDICTORS:
        seen = _Points.of(points, predictor, basis)
        errors[predictor] = float(seen.weights() @ np.abs(_left_out_errors(seen)))
    if errors["headroom_and_score"] < min(errors["headroom"], errors["constant"]):
        return "headroom_and_score"
    return "headroom" if errors["headroom"] < errors["constant"] else "constant"


def _checked(points: pd.DataFrame, coverage: float) -> pd.DataFrame:
    missing = [column for column in POINT_COLUMNS if column not in points.columns]
    if missing:
        raise DataError(f"the points lack the columns {', '.join(missing)}")
    points = points[list(POINT_COLUMNS)].reset_index(drop=True)
    if points.isna().any(axis=None):
        raise DataError("the points have missing values: leave those points out")
    if points.duplicated(["model", "data"]).any():
        raise DataError("a model and data set stand twice in the points")
    n = points["data"].nunique()
    if n < _FEWEST_DATA_SETS:
        raise DataError(f"{n} data sets are too few: a forecast needs {_FEWEST_DATA_SETS}")
    # One is left out to learn how well the intervals made from the others hold.
    most = (n - 1) / n
    if not 0 < coverage <= most:
        raise DataError(
            f"intervals of {n - 1} data sets can't promise a coverage of {coverage:g}: at most "
            f"{most:.3f}"
        )
    return _placed(points)


def _placed(points: pd.DataFrame) -> pd.DataFrame:
    by_model = points.groupby("model")["score"]
    places = (by_model.rank() - 1) / (by_model.transform("size") - 1).clip(lower=1)
    return points.assign(place=places)


@dataclass(frozen=True)
class _Points:
    """What a predictor sees of the points.

    Attributes:
        features: (n, p) a column of ones first.
        gains: (n,).
        bounds: (n, 2) the least and the largest gain there can be.
        data: (n,) the data set of each, 0 … K - 1.
    """

    features: Values
    gains: Values
    bounds: Values
    data: npt.NDArray[np.int64]

    @classmethod
    def of(cls, points: pd.DataFrame, predictor: Predictor, basis: Basis) -> Self:
        return cls(
            features=_features(points, predictor),
            gains=points["lora_gain"].to_numpy(dtype=np.float64),
            bounds=_bounds(points, basis),
            data=pd.factorize(points["data"])[0],
        )

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> Self:
        return type(self)(
            self.features[chosen],
            self.gains[chosen],
            self.bounds[chosen],
            np.unique(self.data[chosen], return_inverse=True)[1],
        )

    def weights(self) -> Values:
        """(n,) with a sum of 1, the same for each data set, shared by its points."""
        counts = np.bincount(self.data)
        return np.asarray(1 / (len(counts) * counts[self.data]))

    def data_sets(self) -> Iterator[npt.NDArray[np.bool_]]:
        for i in range(self.data.max() + 1):
            yield self.data == i


def _features(points: pd.DataFrame, predictor: Predictor) -> Values:
    columns = {
        "constant": [],
        "headroom": ["headroom"],
        "headroom_and_score": ["headroom", "place"],
    }
    features = points[columns[predictor]].to_numpy(dtype=np.float64)
    return np.column_stack([np.ones(len(points)), features])


def _bounds(points: pd.DataFrame, basis: Basis) -> Values:
    """(n, 2): an accuracy that leaves a headroom can rise by that and fall by the rest."""
    headroom = points["headroom"].to_numpy(dtype=np.float64)
    if basis == "probe":
        return np.column_stack([headroom - 1, headroom])
    return np.tile([-1.0, 1.0], (len(headroom), 1))


def _fit_and_predict(points: _Points, features: Values) -> Values:
    if points.features.shape[1] == 1:
        return np.full(len(features), np.median(points.gains))
    weights = np.linalg.lstsq(points.features, points.gains, rcond=None)[0]
    return np.asarray(features @ weights)


def _left_out_errors(points: _Points) -> Values:
    """Gain less forecast of each point, its data set unseen."""
    off = np.empty(len(points.gains))
    for out in points.data_sets():
        off[out] = points.gains[out] - _fit_and_predict(points[~out], points.features[out])
    return off


def _jackknife_plus(points: _Points, features: Values, bounds: Values, coverage: float) -> Values:
    """(places, 2): the ends of the intervals at places of these features, cut to these bounds.

    Each point offers the forecast made without its data set, less and plus its own error. Data sets
    weigh alike; the K of them and the new one are exchangeable, hence (K + 1) / K.
    """
    off = np.abs(_left_out_errors(points))
    guesses = np.empty((len(features), len(off)))
    data_sets = int(points.data.max()) + 1
    for out in points.data_sets():
        guesses[:, out] = _fit_and_predict(points[~out], features)[:, None]
    level = coverage * (data_sets + 1) / data_sets
    ends = (
        -_weighted_quantile(-(guesses - off), points.weights(), level),
        _weighted_quantile(guesses + off, points.weights(), level),
    )
    return np.clip(np.column_stack(ends), bounds[:, :1], bounds[:, 1:])


def _weighted_quantile(values: Values, weights: Values, level: float) -> Values:
    """Of each row the smallest value at or below which there is this much weight."""
    order = values.argsort(axis=1)
    # The sum of all weights may round to less than 1.
    reached = weights[order].cumsum(axis=1) >= min(level, 1) - _ROUNDING
    ordered = np.take_along_axis(values, order, axis=1)
    return np.asarray(np.take_along_axis(ordered, reached.argmax(axis=1)[:, None], axis=1)[:, 0])


def _left_out_coverage(points: _Points, coverage: float) -> dict[str, float]:
    held, widths, by_data = [], [], []
    for out in points.data_sets():
        new = points[out]
        low, high = _jackknife_plus(points[~out], new.features, new.bounds, coverage).T
        inside = (low <= new.gains) & (new.gains <= high)
        held.append(inside)
        widths.append(high - low)
        by_data.append(inside.mean() >= 0.5)
    return {
        "covered": float(np.concatenate(held).mean()),
        "data_sets_covered": float(np.mean(by_data)),
        "width": float(np.concatenate(widths).mean()),
    }
