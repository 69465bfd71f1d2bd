"""The scores of a model while `transformers.Trainer` trains it, as a curve in the trainer's log."""

import inspect
import math
from typing import Any

import pandas as pd
import torch
from transformers import (
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from ntpscore.clock import Clock
from ntpscore.errors import NtpscoreError
from ntpscore.models.lent import borrow_model
from ntpscore.options import with_keywords
from ntpscore.scoring.arguments import read_text
from ntpscore.scoring.config import ScoreConfig
from ntpscore.scoring.run import STAGES, score_text
from ntpscore.text.options import TextOptions

PREFIX = "eval_ntps_"


class NtpscoreCallback(TrainerCallback):
    """Logs scores and held-out accuracy of the model in training, through the `Trainer`'s own log.

    What is logged goes to `trainer.state.log_history` and to whatever the trainer reports to, as
    `eval_ntps_NAME`: each of the six scores on the last of the layers at k half the width, as
    `r2`; `accuracy` (`macro_f1` of several labels, `r2_held_out` of targets) of the frozen readout
    on texts it was not fitted to. Training goes on as if nothing had happened: mode, gradients and
    random numbers are as they were. A LoRA model of `peft` is scored with its adapters.

    Args:
        eval_texts: labelled text, as `ntpscore.score` takes it.
        every: steps of the optimiser between two points, the first of them before training, the
            last after it; None means whenever the trainer evaluates.
        config: as `ntpscore.score`; by default the last layer, without shuffles.
        text_options: how to read the texts.
        keywords: options of either by name, such as `layers=(6, -1)`.

    Raises:
        NtpscoreError: the texts can't be read.

    Source:
        Next Token Perception Score, Table 2, for which training has two points.
    """

    def __init__(
        self,
        eval_texts: Any,
        every: int | None = None,
        config: ScoreConfig | None = None,
        *,
        text_options: TextOptions | None = None,
        **keywords: Any,
    ) -> None:
        if every is not None and every < 1:
            raise NtpscoreError(f"every must be at least 1 step, got {every}")
        # Training for classes may cost a model its English.
        default = ScoreConfig(layers=(-1,), shuffles=0, skip_sanity_check=True)
        self.config, how = with_keywords(keywords, config or default, text_options or TextOptions())
        self.every = every
        self.text = read_text(
            eval_texts, how, seed=self.config.seed, clock=Clock(STAGES), progress=False
        )

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """See `transformers`; where training begins."""
        if self.every is not None:
            self._log(state, control, kwargs)

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """See `transformers`; after a step of the optimiser."""
        last = state.global_step >= state.max_steps
        if self.every is not None and (last or state.global_step % self.every == 0):
            self._log(state, control, kwargs)

    def on_evaluate(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """See `transformers`; after an evaluation."""
        if self.every is None:
            self._log(state, control, kwargs)

    def _log(self, state: TrainerState, control: TrainerControl, told: dict[str, Any]) -> None:
        step = state.global_step
        if any(one["step"] == step and f"{PREFIX}r2" in one for one in state.log_history):
            return  # training went on from a checkpoint
        trainer = _trainer()
        figures = self.measure(told["model"], told["processing_class"])
        due = control.should_log  # what else is to be logged at this step, which a log settles
        trainer.log({f"{PREFIX}{name}": value for name, value in figures.items()})
        control.should_log = due

    def measure(self, model: Any, tokenizer: Any) -> dict[str, float]:
        """What is logged of a model as it is, by name.

        Args:
            model: of `transformers`, or of `peft` around one.
            tokenizer: its tokenizer, the trainer's `processing_class`.

        Raises:
            NtpscoreError: it is no such model, there is no tokenizer, or `score` refuses it.
        """
        if tokenizer is None:
            raise NtpscoreError("NtpscoreCallback needs the tokenizer: Trainer(processing_class=…)")
        model = _base_model(model)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), borrow_model(model, tokenizer) as language_model:
            result = score_text(
                language_model, self.text, config=self.config, progress=False, encoders=True
            )
            has_scores = not language_model.reads_both_ways
        return _figures(result.record, result.table() if has_scores else None)


def _base_model(model: Any) -> PreTrainedModel:
    """The model of `transformers` in which the adapters of `peft` are."""
    if hasattr(model, "get_base_model") and hasattr(model, "active_peft_config"):
        if model.active_peft_config.is_prompt_learning:
            raise NtpscoreError(
                "NtpscoreCallback takes no prompt that peft has learnt: it is no part of the model"
            )
        model = model.get_base_model()
    if not isinstance(model, PreTrainedModel):
        raise NtpscoreError(f"NtpscoreCallback needs a model of transformers, not {type(model)}")
    return model


def _trainer() -> Trainer:
    """The trainer that calls: it tells callbacks of everything but itself, and it alone logs."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back
    raise NtpscoreError("NtpscoreCallback logs through a Trainer: give it to one as a callback")


def _figures(record: dict[str, Any], table: pd.DataFrame | None) -> dict[str, float]:
    figures: dict[str, float] = {"r2": record["layers"][-1]["r2"]}
    if table is not None:
        last = table[table["layer"] == record["settings"]["layers"][-1]]
        middle = last["k"].iloc[(last["k_fraction"] - 0.5).abs().argmin()]
        at = last[last["k"] == middle]
        figures |= dict(zip(at["score"], at["value"], strict=True))
    accuracy = record["accuracy"]
    if accuracy["frozen"] is not None:
        measure = accuracy["measure"]
        name = "r2_held_out" if measure == "r2" else measure
        figures[name] = accuracy["frozen"][measure]
    return {name: float(value) for name, value in figures.items() if math.isfinite(value)}
