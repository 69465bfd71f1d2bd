"""What belongs to the caller: a model, and the settings of the process."""

import logging
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from ntpscore import LanguageModel


def describe(language_model: LanguageModel) -> dict[str, Any]:
    """Whatever could be changed, by module and parameter."""
    model = language_model.model
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return {
        "training": {name: module.training for name, module in model.named_modules()},
        "hooks": {
            (name, kind): list(getattr(module, kind))
            for name, module in model.named_modules()
            for kind in hooks
        },
        "gradients": {
            name: (value.requires_grad, value.grad) for name, value in model.named_parameters()
        },
        "dtypes": {name: value.dtype for name, value in model.state_dict().items()},
        "attention": model.config._attn_implementation,
        "use_cache": model.config.use_cache,
        "tokenizer": (language_model.tokenizer.padding_side, len(language_model.tokenizer)),
        "attributes": sorted(vars(model)),
    }


def settings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "between operations": torch.get_num_interop_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "products": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "show warning": warnings.showwarning,
        "loggers": {
            name: (logger.level, list(logger.handlers), logger.disabled, logger.propagate)
            for name in (None, "ntpscore", "transformers", "datasets", "huggingface_hub", "torch")
            for logger in [logging.getLogger(name)]
        },
        "transformers": (
            transformers.logging.get_verbosity(),
            transformers.logging.is_progress_bar_enabled(),
        ),
        "numpy": np.geterr(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "signals": [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)],
        "streams": (sys.stdout, sys.stderr, sys.excepthook, sys.getrecursionlimit()),
    }


def random_states() -> tuple[Any, ...]:
    """Of torch and NumPy; not of Python itself: beartype, which checks shapes here, draws there."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), kind, keys.tolist(), rest
