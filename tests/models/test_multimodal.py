"""Models that read images too: their text part is scored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from ntpscore.adapt.lora_targets import find_lora_targets
from ntpscore.models import check_next_token_loss, load_model, stream_hidden_states
from ntpscore.scoring.run import score
from tests.support.labelled_texts import make_rows, write_rows

TEXT = {
    "vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
    "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "image_size": 28, "patch_size": 14,
}  # fmt: skip
TOKENS = {"image_token_id": 398, "video_token_id": 397}
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}
CONFIGS: dict[str, Callable[[], Any]] = {
    "llava": lambda: transformers.LlavaConfig(
        text_config={"model_type": "llama", **TEXT},
        vision_config={"model_type": "clip_vision_model", "projection_dim": 16, **VISION},
        image_token_index=398,
    ),
    "mistral3": lambda: transformers.Mistral3Config(
        text_config={"model_type": "mistral", **TEXT, "head_dim": 8},
        vision_config={"model_type": "pixtral", "head_dim": 8, **VISION},
        image_token_index=398,
    ),
    "qwen2_vl": lambda: transformers.Qwen2VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config={"depth": 3, "embed_dim": 16, "num_heads": 2, "hidden_size": 32},
        **TOKENS, vision_start_token_id=396, vision_end_token_id=395,
    ),
    "qwen3_vl": lambda: transformers.Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 8, "rope_parameters": ROPE},
        vision_config={
            "depth": 3, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16,
            "out_hidden_size": 32, "deepstack_visual_indexes": [0], "num_position_embeddings": 16,
        },
        **TOKENS, vision_start_token_id=396, vision_end_token_id=395,
    ),
    "gemma3": lambda: transformers.Gemma3Config(
        text_config={**TEXT, "head_dim": 8, "sliding_window": 16},
        vision_config=VISION, mm_tokens_per_image=4, image_token_index=398,
    ),
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("data") / "data.jsonl", make_rows(48))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_text_part_of_a_multimodal_model_is_scored(
    name: str, tiny_model_dir: Path, data: Path, tmp_path: Path
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForImageTextToText.from_config(CONFIGS[name]()).eval()
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(tiny_model_dir).save_pretrained(tmp_path)
    language_model = load_model(tmp_path)
    assert (language_model.width, language_model.n_layers) == (32, 3)
    assert language_model.streams
    (warning,) = language_model.warnings
    assert "its text part is used" in warning

    text_part = model.get_decoder()
    ids = torch.tensor([language_model.tokenizer("the cat sat on the mat")["input_ids"]])
    seen: dict[int, torch.Tensor] = {}
    stream_hidden_states(
        language_model, ids, None, lambda layer, states: seen.update({layer: states.clone()}),
        range(4),
    )  # fmt: skip
    with torch.inference_mode():
        output = text_part(input_ids=ids, use_cache=False, output_hidden_states=True)
    for layer in range(3):
        torch.testing.assert_close(seen[layer], output.hidden_states[layer])
    torch.testing.assert_close(seen[3], output.last_hidden_state)

    assert check_next_token_loss(language_model).loss > 0
    assert not any("vision" in target for target in find_lora_targets(language_model))
    result = score(language_model, data, progress=False, skip_sanity_check=True, feature_texts=0)
    assert warning in result.record["warnings"]
