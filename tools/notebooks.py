"""Open the notebooks in JupyterLab; `--render` executes them and writes them for the documentation.

Both need the extra: `make notebook`.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from tools.environment import ROOT

NOTEBOOKS = ROOT / "notebooks"
RENDERED = ROOT / "docs" / "notebooks"
PARAMETERS = "parameters"
"""The tag of the cell that says which pipeline a notebook is about."""
_SECONDS = 600
"""That a cell may take."""
_NAMED_INDEX = re.compile(
    r"<tr>\s*<th></th>((?:\s*<th>[^<]*</th>)*)\s*</tr>\s*<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)*\s*</tr>"
)
"""The head of a DataFrame whose index has a name: two lines, where one will do."""
_HEADER = "<!-- Made by `make notebook ARGS=--render` of notebooks/{}: do not edit. -->\n\n"


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments ask for; those that are unknown are JupyterLab's."""
    parser = argparse.ArgumentParser(prog="make notebook", description=__doc__)
    parser.add_argument("--render", action="store_true", help="write docs/notebooks")
    parser.add_argument("--clear", nargs="+", metavar="FILE", help="remove outputs from notebooks")
    parser.add_argument("--config", default="configs/flights.toml", help="whose runs are rendered")
    parser.add_argument("--set", action="append", default=[], help="a setting of theirs, key=value")
    options, others = parser.parse_known_args(arguments)
    if options.clear:
        for file in options.clear:
            clear(Path(file))
    elif options.render:
        return render_all(options.config, options.set)
    else:
        command = [sys.executable, "-m", "jupyterlab", f"--notebook-dir={NOTEBOOKS}", *others]
        os.execve(sys.executable, command, environment())
    return 0


def files() -> list[Path]:
    """The notebooks, in the order of their names."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def environment() -> dict[str, str]:
    """In which the packages of the project are found, whatever folder a kernel starts in."""
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "2", "JUPYTER_PLATFORM_DIRS": "1"}
    return {**os.environ, **quiet, "PYTHONPATH": str(ROOT)}


def execute(file: Path, config: str, settings: Sequence[str] = ()) -> Any:
    """Execute a notebook in a kernel of its own.

    Args:
        file: The notebook, which stays as it is.
        config: The configuration whose runs it shows, seen from the project's folder.
        settings: What is different in them, as in "root=output/other".

    Returns:
        The notebook with its outputs.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    (cell,) = (c for c in notebook.cells if PARAMETERS in c.metadata.get("tags", ()))
    cell.source = f"CONFIG, SET = {config!r}, {list(settings)!r}"
    client = NotebookClient(
        notebook,
        timeout=_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(file.parent)}},
    )
    return client.execute(env=environment())


def clear(file: Path) -> None:
    """Remove from a notebook all that executing it has added."""
    notebook = nbformat.read(file, as_version=4)
    for cell in notebook.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = nbformat.writes(notebook) + "\n"
    if text != file.read_text(encoding="utf-8"):
        file.write_text(text, encoding="utf-8")


def render_all(config: str, settings: Sequence[str]) -> int:
    """Render every notebook; give the exit code."""
    from nbclient.exceptions import CellExecutionError

    from pipeline.errors import UserError

    try:
        for file in files():
            print(render(file, config, settings).relative_to(ROOT))
    except (CellExecutionError, UserError) as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 1
    return 0


def render(file: Path, config: str, settings: Sequence[str] = ()) -> Path:
    """Execute a notebook, and write it with its outputs to docs/notebooks, pictures as files.

    Raises:
        UserError: If there is no such configuration.
        nbclient.exceptions.CellExecutionError: If a cell fails; what was written before stays.
    """
    from nbconvert import MarkdownExporter

    named = places(config, settings)
    written = nbformat.read(file, as_version=4)
    notebook = execute(file, config, settings)
    for cell, own in zip(notebook.cells, written.cells, strict=True):
        cell.source = own.source
        if cell.cell_type == "code":
            # what libraries say to standard error is of the machine, not of the data
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
            for output in cell.outputs:
                _make_presentable(output, named)
    names = {"unique_key": file.stem, "output_files_dir": "images"}
    text, found = MarkdownExporter().from_notebook_node(notebook, resources=names)
    pictures: dict[str, bytes] = found["outputs"]
    (RENDERED / "images").mkdir(parents=True, exist_ok=True)
    for old in (RENDERED / "images").glob(f"{file.stem}_*"):
        old.unlink()
    for name, content in pictures.items():
        (RENDERED / name).write_bytes(content)
        text = re.sub(rf"!\[\w+\]\({re.escape(name)}\)", f"![{_said(content)}]({name})", text)
    lines = [line.rstrip() for line in text.strip().splitlines()]
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    page = RENDERED / f"{file.stem}.md"
    page.write_text(_HEADER.format(file.name) + text + "\n", encoding="utf-8")
    return page


def places(config: str, settings: Sequence[str]) -> dict[str, str]:
    """What stands for places of this machine: the root's usual name, seen from the project."""
    from pipeline.config_file import load

    found = load(ROOT / config, settings)
    return {found.pipeline_root: f"output/{found.name}", f"{ROOT}/": ""}


def _make_presentable(output: Any, places: dict[str, str]) -> None:
    """Make an output fit for a page on GitHub, which takes neither styles nor SVG in HTML."""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        data["image/svg+xml"] = _sized(data["image/svg+xml"])
        data.pop("text/html", None)
    if "text/html" in data:
        html = re.sub(r"<style.*?</style>", "", data["text/html"], flags=re.DOTALL)
        html = re.sub(r' (style|class|border)=("[^"]*"|\'[^\']*\')', "", html)
        html = re.sub(r"\n\s*\n", "\n", html)
        data["text/html"] = _NAMED_INDEX.sub(r"<tr><th>\2</th>\1</tr>", html)
    for holder in (data, output):
        for key in ("text/html", "text/plain", "image/svg+xml", "text"):
            for place, name in places.items() if key in holder else ():
                holder[key] = holder[key].replace(place, name)


def _sized(svg: str) -> str:
    """A chart with the size that it has where no page gives it one, and a ground to stand on."""
    head, mark, rest = svg.partition(">")
    widest = re.search(r"max-width: ?([\d.]+)px", head)
    if widest is None:
        return svg
    width, height = map(float, head.partition('viewBox="')[2].partition('"')[0].split()[2:])
    size = float(widest[1])
    head = head.replace('style="', 'style="background: var(--page, #ffffff); ', 1)
    return f'{head} width="{size:.0f}" height="{size * height / width:.0f}"{mark}{rest}'


def _said(content: bytes) -> str:
    """What a picture says to those who cannot see it."""
    found = re.search(rb'aria-label="([^"]*)"|<title[^>]*>([^<]*)', content[:5000])
    said = next(filter(None, found.groups()), b"").decode() if found else ""
    return said.replace("[", "(").replace("]", ")").replace("\n", " ") or "A chart"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
