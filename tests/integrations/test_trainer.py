"""The callback in a real Trainer: a curve in its log, and training that is none the wiser."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

import ntpscore
from ntpscore import NtpscoreCallback
from ntpscore.errors import NtpscoreError
from ntpscore.models.lent import borrow_model
from tests.support.labelled_texts import make_rows

# Which transformers is to call otherwise one day, and peft asks it for.
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing")
ROWS = make_rows(48)
TEXTS, LABELS = [row["text"] for row in ROWS], [row["label"] for row in ROWS]
EVAL = (TEXTS, LABELS)


class Texts(torch.utils.data.Dataset):
    def __init__(self, tokenizer: Any) -> None:
        self.ids = [tokenizer(text)["input_ids"][:8] for text in TEXTS if len(text) > 12]
        self.ids = [torch.tensor(ids) for ids in self.ids if len(ids) == 8]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


def train(
    folder: Path, out: Path, *callbacks: Any, lora: bool = False, **arguments: Any
) -> Trainer:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, attention_dropout=0.1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if lora:
        model = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj"]))
    settings = {
        "max_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-2,
        "logging_steps": 1, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
        "use_cpu": True, "seed": 3, "dataloader_pin_memory": False,
    }  # fmt: skip
    data = Texts(tokenizer)
    trainer = Trainer(
        model, TrainingArguments(str(out), **(settings | arguments)), train_dataset=data,
        eval_dataset=data, processing_class=tokenizer, callbacks=list(callbacks),
    )  # fmt: skip
    trainer.train()
    return trainer


def curve(trainer: Trainer) -> dict[int, dict[str, float]]:
    return {
        row["step"]: {
            name.removeprefix("eval_ntps_"): value
            for name, value in row.items()
            if name.startswith("eval_ntps_")
        }
        for row in trainer.state.log_history
        if "eval_ntps_r2" in row
    }


@pytest.mark.parametrize(
    ("lora", "arguments"),
    [
        pytest.param(False, {}, marks=pytest.mark.slow),
        pytest.param(
            False,
            {"gradient_accumulation_steps": 3, "gradient_checkpointing": True},
            marks=pytest.mark.slow,
        ),
        (True, {"gradient_accumulation_steps": 2, "gradient_checkpointing": True}),
    ],
)
def test_training_is_the_same_with_and_without(
    lora: bool, arguments: dict[str, Any], tiny_model_dir: Path, tmp_path: Path
) -> None:
    alone = train(tiny_model_dir, tmp_path, lora=lora, **arguments)
    callback = NtpscoreCallback(EVAL, every=2)
    watched = train(tiny_model_dir, tmp_path, callback, lora=lora, **arguments)
    assert list(curve(watched)) == [0, 2, 4]
    for one, other in zip(alone.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.requires_grad == other.requires_grad
    losses = [
        [row["loss"] for row in t.state.log_history if "loss" in row] for t in (alone, watched)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    assert watched.model.training == alone.model.training
    # What is trained is what is scored.
    assert curve(watched)[0]["expected"] != curve(watched)[4]["expected"]


def test_figures_are_those_of_score(tiny_model_dir: Path, tmp_path: Path) -> None:
    trainer = train(tiny_model_dir, tmp_path, NtpscoreCallback(EVAL, every=4))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    with borrow_model(trainer.model, tokenizer) as model:
        result = ntpscore.score(model, EVAL, shuffles=0, layers=(-1,), skip_sanity_check=True)
    found = curve(trainer)[4]
    assert found["accuracy"] == result.record["accuracy"]["frozen"]["accuracy"]
    assert found["r2"] == result.record["layers"][-1]["r2"]
    table = result.table()
    at = table[table["k"] == 16].set_index("score")["value"]
    for name in ("expected", "supervised", "subspace", "retained"):
        assert found[name] == pytest.approx(at[name], abs=1e-12)
    assert list(curve(trainer)) == [0, 4]


@pytest.mark.slow
def test_without_every_it_follows_the_evaluations(tiny_model_dir: Path, tmp_path: Path) -> None:
    callback = NtpscoreCallback(EVAL)
    trainer = train(tiny_model_dir, tmp_path, callback, eval_strategy="steps", eval_steps=2)
    assert list(curve(trainer)) == [2, 4]
    assert any("eval_loss" in row for row in trainer.state.log_history)


@pytest.mark.slow
def test_it_reaches_what_the_trainer_reports_to(
    tiny_model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    callback = NtpscoreCallback(EVAL, every=2)
    trainer = train(tiny_model_dir, tmp_path, callback, report_to="tensorboard")
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    found = {one.step: one.value for one in board.Scalars("eval/ntps_accuracy")}
    expected = {step: figures["accuracy"] for step, figures in curve(trainer).items()}
    assert found == pytest.approx(expected, rel=1e-6)  # float32
    assert list(found) == [0, 2, 4]


def test_what_it_can_not_do_is_told(tiny_model_dir: Path) -> None:
    with pytest.raises(NtpscoreError, match="at least 1 step"):
        NtpscoreCallback(EVAL, every=0)
    callback = NtpscoreCallback(EVAL, every=1)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    with pytest.raises(NtpscoreError, match="needs the tokenizer"):
        callback.measure(model, None)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    with pytest.raises(NtpscoreError, match="model of transformers"):
        callback.measure(torch.nn.Linear(1, 1), tokenizer)
    learnt = peft.get_peft_model(
        model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    with pytest.raises(NtpscoreError, match="prompt that peft"):
        callback.measure(learnt, tokenizer)
