"""The compiled part; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        # Without a compiler, or on another processor, torch does the same.
        Extension(
            "ntpscore.core._prefix_products",
            ["src/ntpscore/core/_prefix_products.c"],
            optional=True,
        )
    ]
)
