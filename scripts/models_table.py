"""Writes docs/models.md: what of transformers' language models is read, and how."""

import sys
import warnings
from pathlib import Path

import transformers

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.architectures import (  # noqa: E402
    ARCHITECTURES,
    ENCODERS,
    ENCODERS_NOT_TINY,
    NOT_TINY,
    describe_architecture,
)

_HEAD = """\
# Architectures

Every causal language model that transformers {version} knows, as a tiny random model
(`make architectures`): its hidden states equal transformers' own, one text at a time and without
padding, at every layer; a probe and LoRA are trained on them. This table is written by
`python scripts/models_table.py`.

- **layer by layer**: hidden states are handed over as they arise, and none is kept. **All layers at
  once**: they are kept for one batch. The numbers are the same.
- **residual streams merged**: blocks hand on several states, and what counts is the one that the
  final norm reads.
- **LoRA goes into** the projections to queries, keys and values; of layers that have a state in the
  place of attention, into the projections in and out of it. `--target-modules` chooses others.

| architecture | hidden states | LoRA goes into |
|---|---|---|
"""
_ENCODERS_HEAD = """
Checkpoints packed by compressed-tensors and torchao are read where these packages are there
(`tests/models/test_quantized.py`); of others the message names the package.

## Encoders

Models that read a text both ways have no next token: `score` refuses them, and the six scores and
LEEP are not defined. `rank` (held-out accuracy, LDA, LogME and the other metrics) and `adapt` take
them, with their padding masked, beside causal models. A folder of sentence-transformers is read as
the transformer in it: its texts are pooled here, by mean or last token, and what it puts behind
that (a dense layer, a norm) is left out. Tested as above.

| architecture | hidden states | LoRA goes into |
|---|---|---|
"""


def main() -> None:
    """Write the page."""
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    version = ".".join(transformers.__version__.split(".")[:2])
    page = ""
    for head, names, encoder in (
        (_HEAD.format(version=version), {*ARCHITECTURES, *NOT_TINY}, False),
        (_ENCODERS_HEAD, {*ENCODERS, *ENCODERS_NOT_TINY}, True),
    ):
        rows = [describe_architecture(name, encoder=encoder) for name in sorted(names)]
        page += head + "\n".join(rows) + "\n"
    (ROOT / "docs" / "models.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
