"""The compiled parts; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Without a compiler, or on another processor, torch does the same.
        Extension(f"ntpscore.{name}", [f"src/ntpscore/{name.replace('.', '/')}.c"], optional=True)
        for name in ("core._prefix_products", "models._causal_softmax")
    ]
)
