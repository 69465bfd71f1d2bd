"""A hook of mkdocs: what of the site is derived from the repository rather than written under docs.

The README is the home page. Files outside docs that a page links to come along, at the path that
they have in the repository, and links are turned to where their target lies on the site. Every
command has a page: docs/commands/NAME.md, if there is one, and its options. Every package that
names what is public has a page of its docstrings.
"""

import json
import pkgutil
import re
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import ntpscore
from ntpscore.cli.main import app

ROOT = Path(__file__).parents[1]
# Pages that nothing needs to link to.
_BROUGHT = ("CHANGELOG.md", "CONTRIBUTING.md")
_LINK = re.compile(r"(\[(?P<label>[^\]]*)\]\()(?P<target>[^)\s:#]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"\[/?(?:b|bold|i|italic|dim|cyan|green|yellow)\]")


def _source(site: str) -> str:
    """Where in the repository a page of the site comes from."""
    if site == "index.md":
        return "README.md"
    return f"docs/{site}" if (ROOT / "docs" / site).exists() else site


def _site(source: str) -> str:
    """Where on the site a file of the repository lies."""
    return "index.md" if source == "README.md" else source.removeprefix("docs/")


def _outside_code(markdown: str, change: Callable[[re.Match[str]], str]) -> str:
    """Links changed, but for what looks like one in code."""
    parts, end = [], 0
    for block in _CODE.finditer(markdown):
        # A code span may be the label of a link: it is left in.
        if block.group().startswith("```"):
            parts += [_LINK.sub(change, markdown[end : block.start()]), block.group()]
            end = block.end()
    return "".join([*parts, _LINK.sub(change, markdown[end:])])


def _commands(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        yield f"{prefix}{name}", command


def _help(text: str) -> str:
    """A help text as Markdown."""
    text = text if "`" in text else text.replace("*", "\\*")
    return _MARKUP.sub(lambda tag: "**" if tag.group().strip("[/]") in {"b", "bold"} else "", text)


def _described(name: str, command: Any, level: int = 2) -> str:
    """Arguments and options of a command, or of those below it."""
    if hasattr(command, "commands"):
        parts = [
            f"{'#' * level} `ntpscore {name} {below}`\n\n"
            f"{_as_text(sub.help)}\n\n{_described(f'{name} {below}', sub, level + 1)}"
            for below, sub in _commands(command)
        ]
        return "\n\n".join(parts)
    rows = []
    for parameter in command.params:
        if getattr(parameter, "hidden", False) or parameter.name == "help":
            continue
        named = parameter.param_type_name == "option"
        flags = ", ".join(f"`{flag}`" for flag in [*parameter.opts, *parameter.secondary_opts])
        shown = flags if named else f"`{parameter.name.upper()}`"
        text = _help(parameter.help or "").replace("|", "\\|").replace("\n", " ")
        default = parameter.default
        has_default = default not in (None, False, "") and not callable(default)
        if has_default and named and not isinstance(default, (list, tuple)):
            text += f" Default: `{getattr(default, 'value', default)}`."
        rows.append(f"| {shown} | {text} |")
    return "\n".join(["| option | what it does |", "| --- | --- |", *rows])


def _as_text(text: str | None) -> str:
    """A command's help; its lines of example as code."""
    paragraphs = []
    for paragraph in _help(text or "").strip().split("\n\n"):
        if re.match(r"(\s{2,}|echo |torchrun |ntpscore )", paragraph):
            paragraphs.append("```bash\n" + paragraph.strip() + "\n```")
        else:
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs).replace("\n```\n\n```bash\n", "\n")


def _command_page(name: str, command: Any) -> str:
    written = ROOT / "docs" / "commands" / f"{name}.md"
    told = written.read_text(encoding="utf-8") if written.exists() else (
        f"# ntpscore {name}\n\n{_as_text(command.help)}\n"
    )  # fmt: skip
    heading = "Commands below it" if hasattr(command, "commands") else "Arguments and options"
    return f"{told}\n## {heading}\n\n{_described(name, command, 3)}\n"


def _public_packages() -> list[str]:
    """The packages that name what is public."""
    below = [f"ntpscore.{found.name}" for found in pkgutil.iter_modules(ntpscore.__path__)
             if found.ispkg]  # fmt: skip
    return ["ntpscore", *(p for p in below if getattr(import_module(p), "__all__", None))]


def _reference_page(package: str) -> str:
    module = import_module(package)
    names = [name for name in module.__all__ if not name.startswith("__")]
    told = (module.__doc__ or "").strip()
    return f"# {package}\n\n{told}\n\n" + "\n\n".join(f"::: {package}.{name}" for name in names)


def _derived() -> dict[str, str | bytes]:
    """The pages that are derived."""
    pages: dict[str, str | bytes] = {"index.md": (ROOT / "README.md").read_text(encoding="utf-8")}
    for name, command in _commands(typer.main.get_command(app)):
        pages[f"commands/{name}.md"] = _command_page(name, command)
    for package in _public_packages():
        pages[f"reference/{package}.md"] = _reference_page(package)
    for path in sorted((ROOT / "docs").rglob("*.ipynb")):
        site = path.relative_to(ROOT / "docs").with_suffix(".md").as_posix()
        pages[site] = _notebook_page(path)
    return pages


def _notebook_page(path: Path) -> str:
    """A notebook with its outputs, as Markdown."""
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                image = "".join(data["image/png"]).replace("\n", "")
                parts.append(f"![What the cell above draws](data:image/png;base64,{image})")
            else:
                text = "".join(output.get("text") or data.get("text/plain", ""))
                parts.append(f"```text\n{text.rstrip()}\n```")
    source = path.relative_to(ROOT).as_posix()
    return "\n\n".join([*parts, f"This page is the notebook `{source}`.", ""])


def _note_target(found: list[str], link: re.Match[str]) -> str:
    found.append(link["target"])
    return link.group()


def _linked(pages: dict[str, str | bytes]) -> Iterator[str]:
    """Files of the repository outside docs that pages link to."""
    for site, text in pages.items():
        if isinstance(text, bytes):
            continue
        found: list[str] = []
        _outside_code(text, partial(_note_target, found))
        for target in found:
            source = normpath(f"{dirname(_source(site))}/{target}".lstrip("/"))
            if not source.startswith(("docs/", "..")) and (ROOT / source).is_file():
                yield source


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the derived pages into the navigation."""
    commands = [name for name, _ in _commands(typer.main.get_command(app))]
    filled = {
        "Commands": [{name: f"commands/{name}.md"} for name in commands],
        "Reference": [{package: f"reference/{package}.md"} for package in _public_packages()],
    }
    for section in config.nav or []:
        for title in section.keys() & filled.keys():
            section[title] = filled[title]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the derived pages, and what pages link to outside docs."""
    pages = _derived()
    brought = [name for name in _BROUGHT if (ROOT / name).exists()]
    written = {file.src_uri: file.content_string for file in files.documentation_pages()}
    queue = [*brought, *_linked({**written, **pages})]
    while queue:
        source = queue.pop()
        site = _site(source)
        if site in pages or site in written:
            continue
        path = ROOT / source
        is_page = path.suffix == ".md"
        pages[site] = path.read_text(encoding="utf-8") if is_page else path.read_bytes()
        if is_page:
            queue += _linked({site: pages[site]})
    for site, content in pages.items():
        known = files.get_file_from_path(site)
        if known is not None:
            files.remove(known)
        file = File.generated(config, site, content=content)
        if site.startswith(("results/", "benchmarks/")):
            file.inclusion = file.inclusion.__class__.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: Any) -> str:
    """Turn links of the repository into links of the site."""
    site = page.file.src_uri

    def turn(link: re.Match[str]) -> str:
        source = normpath(f"{dirname(_source(site))}/{link['target']}".lstrip("/"))
        target = files.get_file_from_path(_site(source))
        if target is None:
            return link.group()
        label = link["label"]
        if label == source and target.is_documentation_page():
            heading = re.search(r"^# (.+)$", target.content_string, re.MULTILINE)
            label = heading[1] if heading else label
        turned = relpath(target.src_uri, dirname(site) or ".")
        return f"[{label}]({turned}{link['anchor'] or ''})"

    return _outside_code(markdown, turn)
