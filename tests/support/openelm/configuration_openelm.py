"""Settings by OpenELM's names; what is made of them, by a method named as of a dataclass."""

from typing import Any

from transformers import PretrainedConfig


class OpenELMConfig(PretrainedConfig):
    """Sizes of each block from two numbers: what the first and the last one have."""

    model_type = "openelm"

    def __init__(
        self,
        *,
        vocab_size: int = 32000,
        max_context_length: int = 2048,
        num_transformer_layers: int = 3,
        model_dim: int = 32,
        head_dim: int = 8,
        num_gqa_groups: int = 2,
        qkv_multipliers: tuple[float, float] = (0.5, 1.0),
        ffn_multipliers: tuple[float, float] = (0.5, 4.0),
        share_input_output_layers: bool = True,
        use_cache: bool = True,
        **others: Any,
    ) -> None:
        """Keep the settings, and make the sizes before the parent has its turn."""
        self.vocab_size = vocab_size
        self.max_context_length = max_context_length
        self.num_transformer_layers = num_transformer_layers
        self.model_dim = model_dim
        self.head_dim = head_dim
        self.num_gqa_groups = num_gqa_groups
        self.qkv_multipliers = qkv_multipliers
        self.ffn_multipliers = ffn_multipliers
        self.share_input_output_layers = share_input_output_layers
        self.__post_init__()
        super().__init__(use_cache=use_cache, **others)

    def __post_init__(self) -> None:
        """Numbers of heads and inner widths, block by block."""
        self.num_query_heads = [
            self.num_gqa_groups * max(1, round(wide / self.head_dim / self.num_gqa_groups))
            for wide in self._widths(self.qkv_multipliers)
        ]
        self.num_kv_heads = [heads // self.num_gqa_groups for heads in self.num_query_heads]
        self.ffn_widths = [8 * round(wide / 8) for wide in self._widths(self.ffn_multipliers)]

    def _widths(self, ends: tuple[float, float]) -> list[float]:
        first, last = ends
        step = (last - first) / (self.num_transformer_layers - 1)
        return [self.model_dim * (first + step * i) for i in range(self.num_transformer_layers)]
