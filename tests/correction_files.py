"""Small correctionlib files with formulas and numbers that a test can evaluate by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import correctionlib.schemav2 as schema


def _inputs(*names: str) -> list[schema.Variable]:
    kinds = {"systematic": "string", "working_point": "string", "flavor": "int"}
    kinds |= {"weights": "string", "scale_factors": "string", "year": "string"}
    return [schema.Variable(name=name, type=kinds.get(name, "real")) for name in names]


def _correction(name: str, inputs: tuple[str, ...], data: Any) -> schema.Correction:
    return schema.Correction(
        name=name, version=1, inputs=_inputs(*inputs), output=schema.Variable(name="value", type="real"), data=data
    )


def _formula(expression: str, *variables: str) -> dict[str, Any]:
    return {"nodetype": "formula", "expression": expression, "parser": "TFormula", "variables": list(variables)}


def _by(name: str, content: dict[Any, Any]) -> dict[str, Any]:
    return {"nodetype": "category", "input": name, "content": [{"key": k, "value": v} for k, v in content.items()]}


def _by_eta(edges: list[float], content: list[float]) -> dict[str, Any]:
    return {"nodetype": "binning", "input": "JetEta", "edges": edges, "content": content, "flow": "clamp"}


OFFSET, SCALE = 0.5, 1.05  # (pT − 0.5 · area · ρ) · 1.05
TOTAL = 0.04
FORWARD = 0.1  # for |η| > 2 only
RESOLUTION = 0.1
RATIOS = {"nom": 1.1, "up": 1.2, "down": 1.0}
HEAVY = {"central": 0.95, "up": 1.0, "down": 0.9}
LIGHT = {"central": 1.1, "up": 1.3, "down": 0.9}
MUON = {"nominal": 0.9, "systup": 0.95, "systdown": 0.8}
EFFICIENCY = {5: 0.8, 4: 0.2, 0: 0.02}


def write_jet_corrections(path: Path) -> Path:
    """``JEC`` (compound), ``Total``, ``Forward``, ``Resolution``, ``Ratio``, and ``Odd`` with an input nobody has."""
    offset = _formula("1 - 0.5*x*y/z", "JetA", "Rho", "JetPt")
    corrections = [
        _correction("Offset", ("JetA", "Rho", "JetPt"), offset),
        _correction("Relative", ("JetEta", "JetPt"), SCALE),
        _correction("Total", ("JetEta", "JetPt"), TOTAL),
        _correction("Forward", ("JetEta", "JetPt"), _by_eta([-10, -2, 2, 10], [FORWARD, 0.0, FORWARD])),
        _correction("Resolution", ("JetEta", "JetPt", "Rho"), RESOLUTION),
        _correction("Ratio", ("JetEta", "systematic"), _by("systematic", RATIOS)),
        _correction("Odd", ("JetColour",), 1.0),
    ]
    compound = schema.CompoundCorrection(
        name="JEC",
        inputs=_inputs("JetA", "JetEta", "JetPt", "Rho"),
        output=schema.Variable(name="value", type="real"),
        inputs_update=["JetPt"],
        input_op="*",
        output_op="*",
        stack=["Offset", "Relative"],
    )
    return _write(
        path, schema.CorrectionSet(schema_version=2, corrections=corrections, compound_corrections=[compound])
    )


def write_event_weights(path: Path) -> Path:
    """``pileup`` of the number of interactions, ``muon`` of |η| and pT (not beyond |η| = 2.4), and ``bins`` without overflow."""
    interactions, wide = (
        "NumTrueInteractions",
        {"nodetype": "binning", "input": "abseta", "edges": [0.0, 2.4], "flow": "error"},
    )
    by_interactions = {"nominal": _formula("x/35", interactions), "up": _formula("x/30", interactions)}
    by_interactions["down"] = _formula("x/40", interactions)
    muon = {name: {**wide, "content": [value]} for name, value in MUON.items()}
    corrections = [
        _correction("pileup", (interactions, "weights"), _by("weights", by_interactions)),
        _correction("muon", ("year", "abseta", "pt", "scale_factors"), _by("scale_factors", muon)),
        _correction("narrow", ("NumTrueInteractions", "weights"), _by("weights", {
            name: {"nodetype": "binning", "input": interactions, "edges": [0.0, 30.0], "content": [1.0], "flow": "error"}
            for name in ("nominal", "up", "down")
        })),
    ]  # fmt: skip
    path.write_text(schema.CorrectionSet(schema_version=2, corrections=corrections).model_dump_json(exclude_unset=True))
    return path


def write_btag_corrections(path: Path) -> Path:
    """``heavy`` and ``light`` scale factors, and ``efficiency`` by flavour."""
    inputs = ("systematic", "working_point", "flavor", "abseta", "pt")
    corrections = [
        _correction("heavy", inputs, _by("systematic", HEAVY)),
        _correction("light", inputs, _by("systematic", LIGHT)),
        _correction("efficiency", ("flavor", "pt"), _by("flavor", EFFICIENCY)),
    ]
    return _write(path, schema.CorrectionSet(schema_version=2, corrections=corrections))


def _write(path: Path, content: schema.CorrectionSet) -> Path:
    path.write_text(content.model_dump_json(exclude_unset=True))
    return path
