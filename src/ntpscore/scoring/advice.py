"""One sentence in plain words: what a result means and how sure it is."""

import math
from collections.abc import Mapping
from typing import Any

from ntpscore.core.scores import ScoreName

# Below this share of label variance beyond chance a linear probe has little to work with.
_WEAK = 0.1
_STRONG = 0.6
_SURE_Z = 4.0


def write_advice(
    layers: list[dict[str, Any]], best: Mapping[ScoreName, dict[str, Any]], n_texts: int, width: int
) -> str:
    """The advice for a result.

    It speaks of the linear probe, which the closed forms are exact for. What LoRA would gain is
    forecast by `ntpscore.forecast.evidence`, from evidence.

    Args:
        layers: the rows of `result.json`'s `layers`.
        best: the entries of `result.json`'s `best`.
        n_texts: how many independent texts there are.
        width: d.
    """
    if all(math.isnan(row["r2_adjusted"]) for row in layers):
        return (
            f"Nothing can be said: with {n_texts} independent texts and {width} features a linear "
            "probe fits any labels perfectly, so r2 is 1 whatever they are; use well over "
            f"{width} texts."
        )
    top = max(layers, key=lambda row: -math.inf if math.isnan(row["r2_adjusted"])
              else row["r2_adjusted"])  # fmt: skip
    adjusted, r2 = top["r2_adjusted"], top["r2"]
    mean, sd = top["r2_shuffled_mean"], top["r2_shuffled_sd"]
    z = (r2 - mean) / sd if sd and sd > 0 else math.nan
    found = (
        f"Layer {top['layer']} knows most about these labels: a linear probe there explains "
        f"{max(adjusted, 0):.0%} of their variance after correction for its {width} features "
        f"(r2 {r2:.2f} in sample, {mean:.2f} with shuffled labels, z = {z:.0f})"
        if not math.isnan(z)
        else f"Layer {top['layer']} knows most about these labels: a linear probe there explains "
        f"{max(adjusted, 0):.0%} of their variance after correction for its {width} features "
        f"(r2 {r2:.2f} in sample; without at least two shuffles it is not known how sure that is)"
    )
    if not math.isnan(z) and z < _SURE_Z:
        meaning = "which shuffled labels nearly reach: don't trust a frozen model here"
    elif adjusted < _WEAK:
        meaning = "which is little: a frozen model will not be enough"
    elif adjusted < _STRONG:
        meaning = "which leaves much unexplained: compare a probe with LoRA before settling"
    else:
        meaning = "which is most of it: try a linear probe first"
    kept = best.get("retained")
    where = ""
    if kept is not None:
        where = (
            f"; at layer {kept['layer']} the first {kept['k_fraction']:.0%} of next-token "
            f"directions keep {kept['value']:.0%} of the probe's fit, random directions "
            f"{kept['chance']:.0%}"
        )
    return f"{found}, {meaning}{where}."
