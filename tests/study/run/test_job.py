from pathlib import Path

from ntpscore.study.run.job import Job, lock_path
from ntpscore.study.run.plan import Cell


def test_a_job_reads_back_and_its_lock_is_its_own() -> None:
    options = {"layer": 3, "max_texts": 40, "pooling": "mean"}
    cell = Cell("gpt2", "emotion", "ridge", 1, options, "data/emotion.csv")
    job = Job(cell, Path("results"), Path("work"), ("ntpscore", "study", "run"), keep_work=True)
    assert Job.from_json(job.to_json()) == job
    assert lock_path(job.work, cell) == Path("work/gpt2--emotion/ridge-1.lock")
