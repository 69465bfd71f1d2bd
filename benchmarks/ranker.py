"""Times transformer-ranker on labelled text, for `bench.py --ranker` in its own environment.

Arguments: a folder of weights, and a JSON file of `texts` and `labels`. Prints the seconds of one
run without loading, and the version.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path

import datasets
import torch
from transformer_ranker import TransformerRanker
from transformers import AutoModel

weights, path = sys.argv[1:]
content = json.loads(Path(path).read_text(encoding="utf-8"))
data = datasets.Dataset.from_dict({"text": content["texts"], "label": content["labels"]})
model = AutoModel.from_pretrained(weights, dtype=torch.bfloat16).eval()
start = time.perf_counter()
ranker = TransformerRanker(data, text_column="text", label_column="label")
ranker.run([model], batch_size=32, estimator="hscore", layer_aggregator="bestlayer", device="cpu")
took = time.perf_counter() - start
print(json.dumps({"seconds": took, "version": version("transformer-ranker")}))
