"""What README and the docs hold: commands, examples, and outputs that they quote."""

import re

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_QUOTED = re.compile(
    r"```bash\n(ntpscore study (?:[^\n]*results/|plan )[^\n]*)\n```\n\n```text\n(.*?)```", re.DOTALL
)


def blocks(language: str) -> list[str]:
    """The blocks of code in one language."""
    return [
        body
        for page in PAGES
        for kind, body in _BLOCK.findall(page.read_text(encoding="utf-8"))
        if kind == language
    ]


def commands(first_word: str) -> list[str]:
    """The commands that begin so, each once."""
    lines = "\n".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return sorted({line.split("  #")[0].strip() for line in lines if line.startswith(first_word)})


def quotations() -> list[tuple[str, str]]:
    """Commands on a study's results or its plan, and what the docs say they print."""
    return [found for page in PAGES for found in _QUOTED.findall(page.read_text(encoding="utf-8"))]
