"""Checkpoints whose weights are packed, where the packages that unpack them are there."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from ntpscore import load_model, score
from ntpscore.adapt import LoraConfig, fit_lora
from ntpscore.errors import ModelError
from ntpscore.models import LanguageModel, stream_hidden_states
from ntpscore.text import load_splits
from tests.support.labelled_texts import make_rows, write_rows

IDS = torch.tensor([[5, 80, 41, 7, 300, 12]])
# What these packages say of themselves when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore")


def _pack_with_torchao(plain: Path, folder: Path) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = transformers.AutoModelForCausalLM.from_pretrained(
        plain,
        dtype=torch.float32,
        quantization_config=transformers.TorchAoConfig(quantization.Int8WeightOnlyConfig()),
    )
    model.save_pretrained(folder)


def _pack_with_compressed_tensors(plain: Path, folder: Path) -> None:
    quantization: Any = pytest.importorskip("compressed_tensors.quantization")
    compressors: Any = pytest.importorskip("compressed_tensors.compressors")
    model = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
    scheme = quantization.QuantizationScheme(
        targets=["Linear"], weights=quantization.QuantizationArgs(num_bits=8, strategy="channel")
    )
    config = quantization.QuantizationConfig(config_groups={"all": scheme}, ignore=["lm_head"])
    quantization.apply_quantization_config(model, config)
    for module in model.modules():
        if hasattr(module, "weight_scale"):
            module.weight_scale.data = module.weight.abs().amax(1, keepdim=True) / 127
    compressor = compressors.ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder, state_dict=model.state_dict())
    compressor.update_config(folder)


PACKAGES = {"torchao": _pack_with_torchao, "compressed_tensors": _pack_with_compressed_tensors}


@pytest.fixture(params=PACKAGES)
def packed(request: pytest.FixtureRequest, tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The random Llama with weights of 8 bits."""
    folder = tmp_path / request.param
    PACKAGES[request.param](tiny_model_dir, folder)
    transformers.AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(folder)
    return folder


def _states(model: LanguageModel) -> list[torch.Tensor]:
    states: list[torch.Tensor] = []
    layers = range(model.n_layers + 1)
    stream_hidden_states(
        model, IDS, None, lambda _, one: states.append(one.float().clone()), layers
    )
    return states


def test_hidden_states_are_those_of_the_rounded_weights(
    packed: Path, tiny_model_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rounded = transformers.AutoModelForCausalLM.from_pretrained(tiny_model_dir).eval()
    theirs: Any = None
    if packed.name == "torchao":  # which rounds in a way of its own
        theirs = transformers.AutoModelForCausalLM.from_pretrained(packed, dtype=torch.float32)
    for name, module in rounded.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            weight = module.weight.data
            scale = weight.abs().amax(1, keepdim=True) / 127
            module.weight.data = (weight / scale).round() * scale
            if theirs is not None:
                module.weight.data = theirs.get_submodule(name).weight.dequantize()
            assert (module.weight.data - weight).abs().amax() < 1.01 * scale.amax()
    with torch.inference_mode():
        output = rounded.model(IDS, output_hidden_states=True)
    capsys.readouterr()
    got = _states(load_model(packed))
    assert capsys.readouterr() == ("", "")
    plain = _states(load_model(tiny_model_dir))
    for layer, states in enumerate([*output.hidden_states[:-1], output.last_hidden_state]):
        error, size = (got[layer] - states).norm(), states.norm()
        assert error <= 1e-5 * size  # float32
        assert layer == 0 or (got[layer] - plain[layer]).norm() > 1e-4 * size


def test_packed_weights_are_scored_and_adapted(packed: Path, tmp_path: Path) -> None:
    model, data = load_model(packed), write_rows(tmp_path / "data.jsonl", make_rows(60))
    result = score(model, data, shuffles=1, skip_sanity_check=True, progress=False)
    assert result.record["accuracy"]["frozen"]["accuracy"] > 0
    splits = load_splits(data)
    fitted = fit_lora(model, *splits, config=LoraConfig(steps=2, rank=2, batch_size=4))
    assert fitted.record["targets"] == ["k_proj", "q_proj", "v_proj"]


@pytest.mark.parametrize("package", ["torchao", "compressed-tensors"])
def test_a_package_that_is_missing_is_named(
    package: str, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = transformers.AutoConfig.from_pretrained(tiny_copy)
    config.quantization_config = {"quant_method": package, "quant_type": {"default": {}}}
    config.save_pretrained(tiny_copy)

    def from_pretrained(*_: Any, **__: Any) -> None:
        __import__(f"no_such_{package.replace('-', '_')}")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", from_pretrained)
    with pytest.raises(ModelError, match=f"weights of .* pip install no-such-{package}"):
        load_model(tiny_copy)
