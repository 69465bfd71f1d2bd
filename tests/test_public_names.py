"""What `import ntpscore` offers, and that it is quick."""

import subprocess
import sys

import pytest

import ntpscore


def test_public_names_are_few_and_load() -> None:
    assert len(ntpscore.__all__) <= 20
    for name in ntpscore.__all__:
        assert getattr(ntpscore, name) is not None
    assert dir(ntpscore) == ntpscore.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = ntpscore.nonsense


def test_importing_ntpscore_loads_nothing_heavy() -> None:
    code = (
        "import sys, ntpscore\n"
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'numpy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert printed.strip() == "[]"
