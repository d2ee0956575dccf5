"""The commands, and what the subpackage may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hhh_coffea.spanet
from hhh_coffea.base.bundled import bundled_folder
from hhh_coffea.spanet.checkpoint import describe, load
from hhh_coffea.train import COMMANDS, main

PACKAGE = Path(hhh_coffea.spanet.__file__).parent
# rooms below that need nothing but numpy and yaml themselves
OWN = (
    "hhh_coffea.spanet",
    "hhh_coffea.topology",
    *(f"hhh_coffea.base.{name}" for name in ("atomic", "errors", "mass_measures", "user_files")),
)


def test_import_spanet(shared_dir, tmp_path, capsys):
    source = shared_dir / "reference/spanet_checkpoints/ttbar"
    assert main(["import-spanet", str(source), "--output", str(tmp_path / "ttbar")]) == 0
    assert "largest difference" in capsys.readouterr().out
    assert describe(tmp_path / "ttbar")["architecture"] == "original"
    assert load(tmp_path / "ttbar").topology.target_names == ("t1", "t2")
    assert main(["import-spanet", str(source), "--output", str(tmp_path / "ttbar")]) == 2
    assert "already contains a model; name another --output, or add --overwrite" in capsys.readouterr().err
    assert main(["import-spanet", str(source), "--output", str(tmp_path / "ttbar"), "--overwrite"]) == 0


def test_errors_are_messages(tmp_path, capsys):
    assert main(["import-spanet", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert "options.json" in capsys.readouterr().err
    assert main(["export-onnx", str(tmp_path), "--output", str(tmp_path / "x.onnx")]) == 2
    assert "model.yaml" in capsys.readouterr().err


def test_export_takes_bundled_models_by_name(tmp_path, monkeypatch, capsys):
    """By name as by path, with the weights and the price on masses that belong to it."""
    from hhh_coffea.spanet import export

    monkeypatch.setattr(
        export, "export_onnx", lambda model, path, lengths, price, interface: (given.append((model, price)), path)[1]
    )
    given: list = []
    for name in ("spanet_hhh_decorrelated", str(bundled_folder("models") / "spanet_hhh_decorrelated")):
        assert main(["export-onnx", name, "--output", str(tmp_path / "x.onnx")]) == 0
    (model, price), (same, also) = given
    assert price == also
    assert price is not None
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    assert main(["export-onnx", "spanet_of_nobody", "--output", str(tmp_path / "x.onnx")]) == 2
    assert "spanet_of_nobody: not a model directory" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"hhh train {command}" in capsys.readouterr().out


BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
import torch
from hhh_coffea.spanet.decoding import decode
from hhh_coffea.spanet.training import loss
from hhh_coffea.spanet.original import lightning_checkpoint
from hhh_coffea.topology import topology
from hhh_coffea.spanet.training import trainer as training
from hhh_coffea.spanet import checkpoint, export
model = checkpoint.build(topology.Topology.bundled("hhh"), "default", {{"hidden_dim": 16}}).eval()
out = model([torch.zeros(2, 10, 8), torch.zeros(2, 3, 11)], [torch.ones(2, 10).bool(), torch.ones(2, 3).bool()])
print(tuple(decode.joint(out, model.topology, [10, 3]).objects.shape))
"""


def test_works_with_torch_alone():
    blocked = {"coffea", "awkward", "uproot", "hist", "pydantic", "dask", "scipy", "vector", "matplotlib", "numba"}
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED.format(blocked=blocked)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "(2, 6, 2)", done.stderr


def test_imports_are_torch_numpy_yaml_and_the_standard_library():
    allowed = {"torch", "numpy", "yaml"} | set(sys.stdlib_module_names)
    for path in PACKAGE.rglob("*.py"):
        special = {"state.py": {"safetensors"}, "checkpoint.py": {"safetensors"}, "export.py": {"onnxscript"}}
        extra = special.get(path.name, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            outside = {n for n in names if not n.startswith(OWN)}
            assert {n.split(".")[0] for n in outside} <= allowed | extra, path.name


def test_the_network_stays_readable():
    assert len((PACKAGE / "network" / "network.py").read_text(encoding="utf-8").splitlines()) <= 350
