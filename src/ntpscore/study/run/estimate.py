"""What a cell takes of a machine, before anything is loaded: memory, and hours of a card."""

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ntpscore.models.registry import find_model
from ntpscore.study.run.plan import Cell
from ntpscore.text.registry import DATA_SETS

# Where nothing is known of the data.
_CLASSES = 10


@dataclass(frozen=True)
class Shape:
    """What of a model decides what it costs: width d, decoder blocks L, weights, inner width."""

    width: int
    layers: int
    parameters: int
    inner: int


@cache
def shape_of(model: str) -> Shape | None:
    """The shape of a registered model, or of a folder by its configuration; None if unknown.

    Nothing is downloaded, no weight is read, and no code of the model's own is run.
    """
    entry = find_model(model)
    if entry is not None and entry.width and entry.layers and entry.parameters:
        # Not known without its configuration; most are between three and six times as wide.
        return Shape(entry.width, entry.layers, entry.parameters, 4 * entry.width)
    if not (Path(model) / "config.json").is_file():
        return None
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from ntpscore.reading.memory import inner_width

    try:
        config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        with torch.device("meta"):
            empty = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, ImportError):
        return None  # the run itself tells what is wrong with it
    text = config.get_text_config(decoder=True)
    n_parameters = sum(weight.numel() for weight in empty.parameters())
    return Shape(text.hidden_size, text.num_hidden_layers, n_parameters, inner_width(config))


def memory_of(cell: Cell) -> int | None:
    """Bytes that a cell's run takes at its peak; None for a model that nothing is known of.

    Weights (of scratch their gradients too) in the numbers that they are kept in; for `score` and
    `rank` the plan of a run that finds memory enough.
    """
    from ntpscore.reading import BATCH_TOKENS, BATCH_TOKENS_ON_CUDA
    from ntpscore.reading.memory import How, MemoryPlan, Room, Sizes

    shape = shape_of(cell.model)
    if shape is None:
        return None
    narrow = cell.options.get("dtype", "auto") in {"auto", "bfloat16", "float16"}
    number = 2 if narrow and cell.method != "scratch" else 4
    weights = shape.parameters * number * (2 if cell.method == "scratch" else 1)
    if cell.method in {"score", "rank"} or cell.options.get("rescore"):
        entry = DATA_SETS.get(cell.data)
        classes = _CLASSES if entry is None else entry.classes
        sizes = Sizes(
            layers=shape.layers + 1, width=shape.width, inner=shape.inner, outputs=classes,
            shuffles=int(cell.options.get("shuffles", 20)), number=number,
        )  # fmt: skip
        on_card = cell.model_options().device != "cpu"
        usual = BATCH_TOKENS_ON_CUDA if on_card else BATCH_TOKENS
        how = How(cell.options.get("batch_tokens") or usual)
        return MemoryPlan(sizes, Room((weights,), (sys.maxsize,)), how, how).peak
    return weights
