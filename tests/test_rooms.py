"""Each folder of the package is a room; a room imports only rooms before it, so that a value travels one way."""

import ast

from conftest import REPOSITORY

PACKAGE = REPOSITORY / "hhh_coffea"
ORDER = (
    "base",
    "datasets",
    "topology",
    "inference",
    "spanet",
    "events",
    "reconstruction",
    "methods",
    "analyses",
    "engine",
    "results",
)
ORDER += ("training", "figures", "jobs", "study")
DOORS = {"cli", "config"}  # what the commands were told: jobs and studies, which the commands call, may look at it


def imported_rooms(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hhh_coffea":
            parts = node.module.split(".")
            yield from parts[1:2] or [alias.name for alias in node.names if alias.name != "__version__"]


def test_no_import_goes_up():
    upward = []
    for file in sorted(PACKAGE.rglob("*.py")):
        here = file.relative_to(PACKAGE).parts[0]
        if "_bundled" in file.parts or here.endswith(".py"):
            continue
        for room in imported_rooms(file):
            allowed = room in DOORS and here in {"jobs", "study"}
            if not allowed and (room not in ORDER or ORDER.index(room) > ORDER.index(here)):
                upward.append(f"{file.relative_to(PACKAGE)} imports {room}")
    assert upward == []


def test_the_docs_list_the_rooms_in_their_order():
    text = (REPOSITORY / "docs" / "how_it_works.md").read_text(encoding="utf-8")
    rows = [line.split("`")[1] for line in text.partition("| folder |")[2].splitlines()[2:] if line.startswith("| `")]
    assert tuple(rows[: len(ORDER)]) == ORDER


def test_the_top_of_the_package_stays_small():
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_no_room_is_crowded():
    crowded = {
        str(folder.relative_to(PACKAGE)): n
        for folder in [PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())]
        if "_bundled" not in folder.parts and (n := len([f for f in folder.glob("*.py") if f.name[0] != "_"])) > 18
    }
    assert not crowded
