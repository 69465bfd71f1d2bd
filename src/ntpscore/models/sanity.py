"""Does the model predict plain English? If not, its hidden states mean nothing."""

import math
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import torch
from torch.nn import functional

from ntpscore.errors import ModelError
from ntpscore.models.failures import as_model_error
from ntpscore.models.language_model import LanguageModel
from ntpscore.models.vocabulary import check_token_ids

# A working model of 100 million parameters has a loss below 4 nats on plain English; guessing by
# word frequency alone costs about 7, and uniformly among 50,000 tokens 10.8.
WARN_ABOVE = 4.5
REFUSE_ABOVE = 6.5
_MAX_TOKENS = 512
_CHUNK = 64  # positions whose logits are held in float32 at once


@dataclass(frozen=True)
class NextTokenLoss:
    """What a model makes of a page of plain English.

    Attributes:
        loss: Mean next-token loss in nats; nan where it can't be computed.
        n_tokens: Tokens of the page that went in.
        verdict: "ok", "warn" (above 4.5 nats) or "refuse" (above 6.5 nats, or not finite).
        message: One sentence for the reader, with what to do.
    """

    loss: float
    n_tokens: int
    verdict: Literal["ok", "warn", "refuse"]
    message: str


def check_next_token_loss(language_model: LanguageModel) -> NextTokenLoss:
    """Compute the mean next-token loss on a page of plain English and judge it.

    A wrong tokenizer, a missing beginning-of-sequence token and broken weights all leave a model
    that runs without complaint, and whose hidden states are worthless; all three show here.

    Args:
        language_model: The model, as `load_model` returns it.

    Returns:
        The loss in nats with its verdict; nothing is raised, the caller decides.
    """
    page = resources.files(__package__).joinpath("data/plain_english.txt").read_text("utf-8")
    with as_model_error(f"the tokenizer of {language_model.id} failed"):
        tokens = language_model.tokenizer(page, verbose=False)["input_ids"]
    tokens = tokens[: min(_MAX_TOKENS, language_model.max_length or _MAX_TOKENS)]
    if len(tokens) < 2:
        message = (
            f"The tokenizer of {language_model.id} turns a page of English into {len(tokens)} "
            "tokens: it is another model's tokenizer."
        )
        return NextTokenLoss(math.nan, len(tokens), "refuse", message)
    try:
        check_token_ids(language_model, [tokens])
    except ModelError as error:
        return NextTokenLoss(math.nan, len(tokens), "refuse", str(error))
    with as_model_error(f"the forward pass of {language_model.id} failed on a page of English"):
        loss = _mean_loss(language_model, tokens)
    return NextTokenLoss(loss, len(tokens), *_judge(language_model, loss, len(tokens)))


@torch.inference_mode()
def _mean_loss(language_model: LanguageModel, tokens: list[int]) -> float:
    input_ids = torch.tensor([tokens], device=language_model.device)
    logits = language_model.model(input_ids=input_ids, use_cache=False, return_dict=True).logits[
        0, :-1
    ]
    targets = input_ids[0, 1:].to(logits.device)
    total = sum(
        functional.cross_entropy(chunk.float(), chunk_targets, reduction="sum").item()
        for chunk, chunk_targets in zip(logits.split(_CHUNK), targets.split(_CHUNK), strict=True)
    )
    return total / len(targets)


def _judge(
    language_model: LanguageModel, loss: float, n_tokens: int
) -> tuple[Literal["ok", "warn", "refuse"], str]:
    measured = f"{language_model.id} has a next-token loss of {loss:.2f} nats on a page of English"
    causes = (
        "a tokenizer that is not the model's own, a missing beginning-of-sequence token, or "
        "weights that were damaged or wrongly converted"
    )
    if not math.isfinite(loss) and language_model.dtype == torch.float16:
        return "refuse", (
            f"{measured}: its numbers go beyond the range of float16, which ends at 65,504. Use "
            "--dtype bfloat16 or float32."
        )
    if not loss <= REFUSE_ABOVE:
        return "refuse", (
            f"{measured}, above {REFUSE_ABOVE}: it can't read English as it was loaded. Usual "
            f"causes: {causes}. Load it from its original repository and check the tokenizer."
        )
    if loss > WARN_ABOVE:
        return "warn", (
            f"{measured}, above {WARN_ABOVE}: it reads English badly. Either it was hardly trained "
            f"on English, or it was loaded wrongly ({causes}). Judge its scores with care."
        )
    return "ok", f"{measured} ({n_tokens} tokens), as a working model has."
