"""Fixtures that several test modules share."""

import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import jaxtyping
import pytest
from threadpoolctl import threadpool_limits

from tests.support.untraced import trace_again

# Before torch is imported: threads that wait by spinning make every operation ten times slower as
# soon as another process wants the same cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
# Tests that run side by side share the cores between them. NumPy was imported by plugins before.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threadpool_limits(1)
    # Coverage would follow every call that importing these makes.
    tracer = sys.gettrace()
    sys.settrace(None)
    for library in ("torch", "transformers.modeling_utils", "pandas", "scipy.stats", "hypothesis",
                    "sklearn.ensemble", "sklearn.mixture", "sklearn.linear_model", "datasets",
                    "beartype.claw", "peft", "scipy.signal", "torchmetrics.functional",
                    "transformers.integrations.finegrained_fp8"):  # fmt: skip
        importlib.import_module(library)
    trace_again(tracer)

# Before the package is imported: calls into the mathematics are checked against their shapes. The
# tests marked `cuda` run on borrowed machines too, which may lack the checker.
if importlib.util.find_spec("beartype") is not None:
    jaxtyping.install_import_hook("ntpscore.core", "beartype.beartype")
# Checking takes as long as the calls themselves, and longer where coverage follows it: it is done
# in the rooms of the mathematics, in a module of each room that calls them, and, of those rooms,
# in whatever may take long; of tests with parameters for the first of them.
SHAPES_CHECKED = {"core", "reference", "test_features.py", "test_accuracy.py", "test_ridge.py"}
SHAPES_CHECKED_IF_SLOW = {"metrics", "reading", "scoring", "adapt"}
FIRST: dict[str, pytest.Item] = {}
# These test no code of the package, or such that other tests cover; they would take twice as long.
UNTRACED = {
    "reference", "fuzz", "test_architectures.py", "test_documentation.py", "test_layout.py"
}  # fmt: skip
# Most properties hold or break on the first few small inputs.
if importlib.util.find_spec("hypothesis") is not None:
    from hypothesis import settings

    settings.register_profile("suite", max_examples=30, deadline=None)
    settings.load_profile("suite")

TINY_WIDTH, TINY_LAYERS = 32, 3

_SENTENCES = [
    "the cat sat on the mat and looked at the rain",
    "a small dog ran over the hill to the market",
    "she bought bread, cheese and apples on Saturday morning",
    "he was very happy about the letter from his sister",
    "I am sad that the summer is over and school begins again",
    "they were angry because the train was late once more",
]


def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported stays: the collector need not walk through all of it again and again."""
    gc.freeze()
    for item in reversed(session.items):
        FIRST[item.nodeid.partition("[")[0]] = item


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Without coverage where it has nothing to tell."""
    tracer = sys.gettrace()
    if not UNTRACED.isdisjoint(item.path.parts):
        sys.settrace(None)
    try:
        return (yield)
    finally:
        trace_again(tracer)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before fixtures of any scope, which call the mathematics too."""
    slow = item.get_closest_marker("slow") is not None
    rooms = SHAPES_CHECKED | (SHAPES_CHECKED_IF_SLOW if slow else set())
    checked = not rooms.isdisjoint(item.path.parts)
    checked &= FIRST[item.nodeid.partition("[")[0]] is item
    jaxtyping.config.update("jaxtyping_disable", not checked)


@pytest.fixture(autouse=True)
def checks_reachable(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The hub's client is asked without a look at the network; returns what would look."""
    from ntpscore import hub

    check: Callable[[], None] = hub.check_reachable
    monkeypatch.setattr(hub, "check_reachable", lambda: None)
    return check


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random Llama (width 32, 3 blocks, context 128) and a byte-level tokenizer."""
    import torch  # in here, since not every test needs it
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(_SENTENCES, trainer)
    special_tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special_tokens)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=TINY_WIDTH,
        intermediate_size=64,
        num_hidden_layers=TINY_LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        initializer_range=0.15,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    folder = tmp_path_factory.mktemp("tiny_model")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def code_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where code that models bring along is copied to, here and in processes that tests start."""
    folder = tmp_path_factory.mktemp("code_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_MODULES_CACHE", str(folder))
        patch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(folder))
        yield folder
