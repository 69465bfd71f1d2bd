"""The compiled part and the index page's text; everything else is in pyproject.toml."""

import re
from pathlib import Path

from setuptools import Extension, setup

REPOSITORY = "https://github.com/ntpscore/ntpscore"


def index_page(readme: str) -> str:
    """The README with links that hold outside of the repository."""
    return re.sub(
        r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)",
        lambda link: (
            f"{link[1]}[{link[2]}]({REPOSITORY}/{'raw' if link[1] else 'blob'}/main/{link[3]})"
        ),
        readme,
    )


if __name__ == "__main__":
    setup(
        long_description=index_page(Path("README.md").read_text(encoding="utf-8")),
        long_description_content_type="text/markdown",
        ext_modules=[
            # Without a compiler, or on another processor, torch does the same.
            Extension(
                "ntpscore.core._prefix_products",
                ["src/ntpscore/core/_prefix_products.c"],
                optional=True,
            )
        ],
    )
