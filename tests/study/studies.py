"""Small studies: a tiny model, files of labelled text, a study file."""

import json
from pathlib import Path

from tests.labelled_texts import make_rows, write_rows

FAST = """
[options]
shuffles = 1
skip_sanity_check = true
steps = 2
epochs = 2
"""


def write_study(
    folder: Path,
    model: Path,
    *,
    data: tuple[str, ...] = ("one",),
    runs: str = '[[runs]]\nmethods = ["score"]\n',
    n: int = 40,
) -> Path:
    """A study file and its data sets, in one folder; the model by its path."""
    for seed, name in enumerate(data):
        write_rows(folder / f"{name}.jsonl", make_rows(n, seed))
    path = folder / "small.toml"
    path.write_text(
        f'models = [{json.dumps(str(model))}]\ndata = {json.dumps(list(data))}\ndata_folder = "."\n'
        + FAST
        + runs,
        encoding="utf-8",
    )
    return path
