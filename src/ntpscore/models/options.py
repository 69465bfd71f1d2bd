"""How a model is loaded."""

from dataclasses import dataclass
from typing import Any

from ntpscore.errors import ModelError
from ntpscore.options import check_options, option

DTYPE_NAMES = ("bfloat16", "float32", "float16")
_PANEL = "Model"


@dataclass(frozen=True)
class ModelOptions:
    """How a model is loaded.

    Attributes:
        revision: Branch, tag or commit of a hub id; in place of the one registered, if any.
        tokenizer: Folder or hub id of a tokenizer, in place of the model's own.
        dtype: "bfloat16", "float32", "float16", or "auto": the checkpoint's own; for a GGUF file
            bfloat16 where the processor computes fast with it, else float32.
        device: "cpu", "cuda", "cuda:N", "mps", or "auto": the first CUDA device, else the CPU.
        device_map: Spreads a model that is too large for one device, e.g. "auto"; see accelerate.
        trust_remote_code: Run Python code that comes with the model. Read it first.
    """

    revision: str | None = option(None, "Revision of a hub model.", panel=_PANEL)
    tokenizer: str | None = option(
        None, "Folder or hub id of a tokenizer, in place of the model's own.", panel=_PANEL
    )
    dtype: str = option(
        "auto", "auto, bfloat16, float32 or float16.", panel=_PANEL, choices=("auto", *DTYPE_NAMES)
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps.", panel=_PANEL)
    device_map: str | dict[str, Any] | None = option(
        None,
        "Handed to transformers, to spread a model over devices.",
        panel=_PANEL,
        typed=str | None,
    )
    trust_remote_code: bool = option(False, "Run code that a hub model brings along.", panel=_PANEL)

    def __post_init__(self) -> None:
        check_options(self, ModelError)
        if self.device != "auto" and self.device_map is not None:
            raise ModelError(
                f"device {self.device!r} and a device_map can't both be given: give one of them"
            )
