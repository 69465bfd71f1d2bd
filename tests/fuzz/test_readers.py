"""Whatever a file holds, reading it ends in success or in a short message of an error of ours.

`make fuzz` draws mutants for `FUZZ_SECONDS` per reader; what fails is kept in `kept/`, to be read
again by the default suite.
"""

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutants import files_of, mutate
from tests.fuzz.readers import ENDINGS, read_or_refuse, readers
from tests.fuzz.worker import Worker

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0"))
KEPT = Path(__file__).parent / "kept"
# Those read in a process of their own, which loads everything anew.
SLOW = {name for name, reader in readers(Path()).items() if reader.is_native}


def case(value: object, reader: str, name: str) -> Any:
    """A parameter called `name`, which is slow where its reader is."""
    return pytest.param(value, id=name, marks=[pytest.mark.slow] * (reader in SLOW))


pytestmark = pytest.mark.filterwarnings("ignore")
Judge = Callable[[str, Path], str]


@pytest.fixture(scope="module")
def judge(tiny_model_dir: Path) -> Iterator[Judge]:
    """Says what is wrong with how a reader takes a file."""
    known, worker = readers(tiny_model_dir), Worker()
    yield (
        lambda name, path: (
            worker.read_or_refuse(name, path)
            if known[name].is_native
            else read_or_refuse(known[name], path)
        )
    )
    worker.close()


@pytest.mark.parametrize("name", [case(name, name, name) for name in readers(Path())])
def test_mutants_are_read_or_refused(
    name: str, judge: Judge, tiny_model_dir: Path, tmp_path: Path
) -> None:
    reader = readers(tiny_model_dir)[name]
    path = reader.make(tmp_path)
    assert judge(name, path) == ""
    files = {file: file.read_bytes() for file in files_of(path)}
    last: tuple[Path, bytes] = (path, b"")

    def check(data: st.DataObject) -> None:
        nonlocal last
        file = data.draw(st.sampled_from(list(files)))
        last = file, mutate(files[file], file.suffix, data)
        file.unlink()  # another may have it mapped
        file.write_bytes(last[1])
        try:
            assert judge(name, path) == ""
        finally:
            file.unlink()
            file.write_bytes(files[file])

    run = settings(
        max_examples=100 if SECONDS else reader.share, derandomize=not SECONDS, database=None,
        deadline=None, suppress_health_check=list(HealthCheck),
    )(given(data=st.data())(check))  # fmt: skip
    end = time.monotonic() + SECONDS
    try:
        run()
        while time.monotonic() < end:
            run()
    except BaseException:
        if SECONDS:
            file, content = last
            inside = str(file.relative_to(tmp_path)).replace("/", "~")
            kept = KEPT / name / f"{hashlib.sha256(content).hexdigest()[:8]}~{inside}"
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(content)
        raise


@pytest.mark.parametrize(
    "kept",
    [
        case(kept, kept.parent.name, f"{kept.parent.name}-{kept.name[:8]}")
        for kept in sorted(KEPT.glob("*/*"))
    ],
)
def test_kept_mutants_are_read_or_refused(
    kept: Path, judge: Judge, tiny_model_dir: Path, tmp_path: Path
) -> None:
    name = kept.parent.name
    path = readers(tiny_model_dir)[name].make(tmp_path)
    file = tmp_path / kept.name.partition("~")[2].replace("~", "/")
    file.unlink()
    shutil.copyfile(kept, file)
    assert judge(name, path) == ""


@pytest.mark.parametrize("name", [case(name, name, name) for name in (*ENDINGS, "gguf")])
@settings(max_examples=20, deadline=None, derandomize=True, database=None,
          suppress_health_check=list(HealthCheck))  # fmt: skip
@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_read_or_refused(
    name: str, judge: Judge, tiny_model_dir: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / f"a.{name}"
    path.write_bytes(content)
    assert judge(name, path) == ""
