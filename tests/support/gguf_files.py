"""Small GGUF files."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

GEMMA_TOKENS: list[tuple[str, float, int]] = [
    ("<pad>", -1000.0, 3),
    ("<eos>", -1000.0, 3),
    ("<bos>", -1000.0, 3),
    ("<unk>", -1000.0, 2),
    ("\n\n", -1000.0, 4),
    ("  ", -1000.0, 4),
    ("<0xC3>", -1000.0, 6),
    ("<0xA9>", -1000.0, 6),
    # By score "ab" comes first, so "abc" is "ab" + "c"; by position in the file it would be "bc".
    ("bc", -5.0, 1),
    ("ab", -1.0, 1),
    ("▁ab", -6.0, 1),
    ("a", -100.0, 1),
    ("b", -101.0, 1),
    ("c", -102.0, 1),
    ("▁", -103.0, 1),
]


def write_gemma_header(path: Path, **changes: Any) -> Path:
    """Write a GGUF file that holds Gemma's kind of tokenizer and no weights."""
    tokens, scores, types = zip(*GEMMA_TOKENS, strict=True)
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_tokenizer_model("llama")
    writer.add_token_list(changes.get("tokens", list(tokens)))
    writer.add_token_scores(changes.get("scores", list(scores)))
    if changes.get("types", True):
        writer.add_token_types(list(types))
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(changes.get("add_bos", True))
    _finish(writer)
    return path


def write_tiny_llama(path: Path, *, architecture: str = "llama", leave_out: str = "") -> Path:
    """Write a random Llama: width 16, 2 blocks, context 32, byte-level tokenizer of 5 tokens."""
    width, inner, tokens = 16, 32, ["<s>", "</s>", "h", "i", "hi"]
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_block_count(2)
    writer.add_context_length(32)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 1, 1, 1])
    writer.add_token_merges(["h i"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(value=True)
    shapes = {"token_embd": (len(tokens), width), "output_norm": (width,)}
    for block in range(2):
        shapes |= {
            f"blk.{block}.attn_q": (width, width),
            f"blk.{block}.attn_k": (width // 2, width),
            f"blk.{block}.attn_v": (width // 2, width),
            f"blk.{block}.attn_output": (width, width),
            f"blk.{block}.attn_norm": (width,),
            f"blk.{block}.ffn_gate": (inner, width),
            f"blk.{block}.ffn_up": (inner, width),
            f"blk.{block}.ffn_down": (width, inner),
            f"blk.{block}.ffn_norm": (width,),
        }
    generator = np.random.default_rng(0)
    for name, shape in shapes.items():
        if name != leave_out:
            writer.add_tensor(f"{name}.weight", generator.normal(size=shape).astype(np.float32))
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
