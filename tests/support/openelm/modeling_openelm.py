"""A small decoder by OpenELM's names of modules, as code for transformers 4 was written."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, StaticCache  # noqa: F401  # as it has
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

# Beside it in a model's folder, where this file is a module of a package of its own.
from .configuration_openelm import OpenELMConfig


class RMSNorm(nn.Module):
    """Root mean square of the last dimension."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, states: Tensor) -> Tensor:
        power = states.float().square().mean(-1, keepdim=True)
        return (states.float() * torch.rsqrt(power + 1e-6)).type_as(states) * self.weight


class Rotation(nn.Module):
    """Turns pairs by angles from tables of the constructor's, in no checkpoint and no buffers."""

    def __init__(self, width: int, longest: int) -> None:
        super().__init__()
        frequencies = 10000 ** (-torch.arange(0, width, 2, dtype=torch.float32) / width)
        self.register_buffer("inv_freq", frequencies, persistent=False)
        angles = torch.outer(torch.arange(longest).float(), frequencies).repeat(1, 2)
        # A copy to where texts may come from.
        self._cosines = angles.cos().to(device=torch.device("cpu"))
        self._sines = angles.sin().to(device=torch.device("cpu"))

    def forward(self, states: Tensor) -> Tensor:
        length = states.shape[-2]
        first, second = states.float().chunk(2, dim=-1)
        turned = torch.cat((-second, first), dim=-1) * self._sines[:length].to(states.device)
        return (states.float() * self._cosines[:length].to(states.device) + turned).type_as(states)


class Attention(nn.Module):
    """Attention with one projection for queries, keys and values."""

    def __init__(self, config: OpenELMConfig, layer_idx: int) -> None:
        super().__init__()
        self.heads = config.num_query_heads[layer_idx]
        self.groups = config.num_kv_heads[layer_idx]
        self.head_dim = config.head_dim
        inner = self.heads * self.head_dim
        wide = inner + 2 * self.groups * self.head_dim
        self.qkv_proj = nn.Linear(config.model_dim, wide, bias=False)
        self.pos_embedding = Rotation(self.head_dim, 2 * config.max_context_length)
        self.q_norm = RMSNorm(self.head_dim)
        self.k_norm = RMSNorm(self.head_dim)
        self.out_proj = nn.Linear(inner, config.model_dim, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        b, t, _ = states.shape
        parts = self.qkv_proj(states).view(b, t, -1, self.head_dim).transpose(1, 2)
        queries, keys, values = parts.split([self.heads, self.groups, self.groups], dim=1)
        queries = self.pos_embedding(self.q_norm(queries))
        keys = self.pos_embedding(self.k_norm(keys))
        repeat = self.heads // self.groups
        keys = keys.repeat_interleave(repeat, dim=1)
        values = values.repeat_interleave(repeat, dim=1)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, mask[..., :t, :t])
        return self.out_proj(mixed.transpose(1, 2).reshape(b, t, -1))


class FeedForward(nn.Module):
    """A gated network, its width that of its block."""

    def __init__(self, config: OpenELMConfig, layer_idx: int) -> None:
        super().__init__()
        inner = config.ffn_widths[layer_idx]
        self.proj_1 = nn.Linear(config.model_dim, 2 * inner, bias=False)
        self.proj_2 = nn.Linear(inner, config.model_dim, bias=False)

    def forward(self, states: Tensor) -> Tensor:
        gate, value = self.proj_1(states).chunk(2, dim=-1)
        return self.proj_2(functional.silu(gate) * value)


class Block(nn.Module):
    """A block; it returns a tuple."""

    def __init__(self, config: OpenELMConfig, layer_idx: int) -> None:
        super().__init__()
        self.attn = Attention(config, layer_idx)
        self.ffn = FeedForward(config, layer_idx)
        self.ffn_norm = RMSNorm(config.model_dim)
        self.attn_norm = RMSNorm(config.model_dim)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        states = hidden_states + self.attn(self.attn_norm(hidden_states), attention_mask)
        return (states + self.ffn(self.ffn_norm(states)),)


class Beginning(PreTrainedModel):
    """How weights begin."""

    config_class = OpenELMConfig
    base_model_prefix = "transformer"
    _no_split_modules = ["Block"]  # noqa: RUF012  # as transformers reads it

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            module.weight.data.normal_(std=0.15)


class OpenELMModel(Beginning):
    """Embeddings, blocks, and a mask of the whole context, copied for every text."""

    def __init__(self, config: OpenELMConfig) -> None:
        super().__init__(config)
        self.token_embeddings = nn.Embedding(config.vocab_size, config.model_dim)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_transformer_layers))
        self.norm = RMSNorm(config.model_dim)
        context = config.max_context_length
        ahead = torch.full((context, context), fill_value=True)
        self.register_buffer("causal_mask", torch.triu(ahead, diagonal=1), persistent=False)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.token_embeddings

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        if use_cache if use_cache is not None else self.config.use_cache:
            DynamicCache.from_legacy_cache(None)  # which transformers 5 lacks
        states = self.token_embeddings(input_ids)
        mask = self.causal_mask[None, None].repeat(len(states), 1, 1, 1).to(states.dtype)
        mask = mask * torch.finfo(states.dtype).min
        if attention_mask is not None:
            hidden = attention_mask[:, None, None, :].eq(0) & mask[..., : states.shape[1]].eq(0)
            mask[..., : states.shape[1]].masked_fill_(hidden, torch.finfo(states.dtype).min)
        every: tuple[Tensor, ...] = ()
        for layer in self.layers:
            every = (*every, states)
            (states,) = layer(states, attention_mask=mask)
        states = self.norm(states)
        every = (*every, states) if output_hidden_states else ()
        if not (return_dict if return_dict is not None else self.config.use_return_dict):
            return (states, *([every] if every else []))
        return BaseModelOutputWithPast(last_hidden_state=states, hidden_states=every or None)


class OpenELMForCausalLM(Beginning):
    """Logits by the embeddings of the input: there is no head."""

    _tied_weights_keys = ["lm_head.weight"]  # noqa: RUF012  # a list, where transformers 5 has dicts

    def __init__(self, config: OpenELMConfig) -> None:
        super().__init__(config)
        self.transformer = OpenELMModel(config)
        self.lm_head = None
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.token_embeddings

    def get_output_embeddings(self) -> None:
        return self.lm_head

    def forward(self, input_ids: Tensor | None = None, **options: Any) -> CausalLMOutputWithPast:
        output = self.transformer(input_ids=input_ids, **{**options, "return_dict": True})
        logits = functional.linear(output[0], self.transformer.token_embeddings.weight)
        return CausalLMOutputWithPast(logits=logits, hidden_states=output.hidden_states)
