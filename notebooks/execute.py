"""Execute a notebook from its own folder and fail on the first error: ``execute.py FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main(path: Path) -> None:
    """Run every cell; the file itself is left as it is."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": path.parent}})
    client.execute()
    cells = sum(cell.cell_type == "code" for cell in notebook.cells)
    sys.stdout.write(f"{path.name}: {cells} cells executed\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
