"""What `import ntpscore` offers."""

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
