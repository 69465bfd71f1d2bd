"""The paper's own protocol, against loops over every layer and k."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata, spearmanr

from ntpscore.errors import DataError
from ntpscore.study.paper.protocol import protocol_limits, protocol_table
from ntpscore.study.paper.published import load_published
from tests.support.studies import made_up_records


def records() -> list[dict[str, Any]]:
    """Cells of eight data sets with 2, 3, … classes and a training accuracy."""
    cells = made_up_records(8)
    rng = np.random.default_rng(1)
    for i, cell in enumerate(c for c in list(cells) if c["method"] == "score"):
        cell["record"]["data"] = {"classes": list(range(2 + i % 5)), "n_texts": 80}
        train = {"accuracy": 1.0 if i < 3 else rng.random()}
        record = {"train": train, "converged": {"test": {"accuracy": rng.random()}}}
        keys = {key: cell[key] for key in ("status", "model", "data", "seed")}
        cells.append({**keys, "method": "logistic", "record": record})
    return cells


@pytest.fixture(scope="module")
def protocol() -> pd.DataFrame:
    return protocol_table(records())


def test_the_best_configuration_below_the_last_layer_is_shown_with_its_sign(
    protocol: pd.DataFrame,
) -> None:
    cells = records()
    table = protocol.set_index(["outcome", "score"])
    scored = [c for c in cells if c["method"] == "score"]
    mse = np.array([[row["ols_mse"] for row in c["record"]["layers"]] for c in scored])
    classes = np.array([len(c["record"]["data"]["classes"]) for c in scored])
    values = np.array([c["scores"]["expected"]["value"] for c in scored])  # (data, layer, k)
    for outcome, reached in (
        ("ols_mse", lambda _: mse[:, -1]),
        ("own_layer_mse", mse.T.__getitem__),
    ):
        r = np.array(
            [
                [spearmanr(values[:, i, j], reached(i)).statistic for j in range(19)]
                for i in range(values.shape[1] - 1)
            ]
        )
        layer, k = np.unravel_index(r.argmin(), r.shape)
        row = table.loc[(outcome, "expected")]
        assert row["r"] == pytest.approx(r.min())
        assert (row["layer"], row["k_fraction"]) == (layer, pytest.approx((k + 1) / 20))
        x, y = values[:, layer, k], reached(layer)
        a, b = (
            np.linalg.lstsq(np.c_[np.ones(8), rankdata(classes)], rankdata(v), rcond=None)[0]
            for v in (x, y)
        )
        left = [rankdata(v) - np.c_[np.ones(8), rankdata(classes)] @ w for v, w in ((x, a), (y, b))]
        assert row["r_given_classes"] == pytest.approx(np.corrcoef(*left)[0, 1])
        assert row["r_classes"] == pytest.approx(spearmanr(x, classes).statistic)
        assert row["r_classes_outcome"] == pytest.approx(spearmanr(classes, y).statistic)
    assert table.loc[("ols_mse", "retained"), "expected"] == -1
    assert math.isnan(table.loc[("ols_mse", "r2"), "k_fraction"])


def test_the_papers_range_is_that_of_its_points(protocol: pd.DataFrame) -> None:
    row = protocol.set_index("outcome").loc["logistic_accuracy"].iloc[0]
    r = [
        spearmanr(part["ntps_fig2_accuracy"], part["accuracy"]).statistic
        for _, part in load_published().groupby("model")
    ]
    assert (row["published_low"], row["published_high"]) == pytest.approx((min(r), max(r)))


def test_limits_count_texts_and_fits_without_error() -> None:
    limits = protocol_limits(records()).loc["m"]
    assert limits.to_dict() == {"texts_per_dimension": 2.0, "saturated": 3, "n": 8}


def test_too_few_data_sets_are_told() -> None:
    few = [cell for cell in records() if cell["data"] in {"d0", "d1", "d2"}]
    with pytest.raises(DataError, match="of four data sets"):
        protocol_table(few)
