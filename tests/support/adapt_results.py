"""A small result of adapt, made without a model."""

from dataclasses import asdict

from ntpscore.adapt import AdaptResult, Evaluation


def make_adapt_result() -> AdaptResult:
    """A result of a probe on 40 texts."""
    train = Evaluation("train", 40, 0.9, (0.8, 1.0), 0.5, 0.89, loss=0.3)
    test = Evaluation("test", 10, 0.8, (0.5, 1.0), 0.5, 0.79, loss=0.4)
    return AdaptResult(
        {
            "schema_version": 2,
            "kind": "adapt",
            "method": "probe",
            "model": {"id": "tiny"},
            "data": {"train": {"id": "small", "n_texts": 40}, "test": None},
            "layers": [3],
            "layer": 3,
            "pooling": "mean",
            "train": asdict(train),
            "test": asdict(test),
            "steps": 50,
            "samples_seen": 2000,
            "warnings": [],
            "seconds": {"fit": 1.0, "total": 1.0},
            "trainable_parameters": 66,
            "peak_memory_bytes": 10**8,
        }
    )
