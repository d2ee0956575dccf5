"""Fileset JSON → validated datasets.

The shape is coffea's: ``{dataset: {"files": {path: tree} | [paths], "metadata": {...}}}``. Relative paths are taken
from the folder of the JSON, globs are expanded, ``.json.gz`` is read too, and URLs (``root://``, ``https://``) pass
through untouched.
"""

from __future__ import annotations

import glob
import gzip
import json
import zlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, StringConstraints, ValidationError, model_validator

from hhh_coffea.base.bundled import OF_THE_PROJECT, SAMPLES, find_bundled, list_bundled
from hhh_coffea.base.errors import UserError, did_you_mean, listed
from hhh_coffea.base.strict import Positive, Strict, in_plain_words
from hhh_coffea.base.user_files import expanded, unique_keys
from hhh_coffea.datasets.couplings import CouplingInput
from hhh_coffea.datasets.nanoaod_options import NanoAODOptions, with_absolute_paths
from hhh_coffea.datasets.normalisation import Normalisation

DEFAULT_TREE = {"delphes": "Delphes", "nanoaod": "Events"}
DELPHES_ONLY = (
    "event",
    "jets",
    "fatjets",
    "particles",
    "electrons",
    "muons",
    "met",
    "sum_et",
    "btag_bit",
    "btagging",
    "btag_seed",
)
RATE = ("cross_section", "branching", "filter_efficiency", "k_factor", "sum_of_weights")  # of simulated events alone
DatasetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class FilesetError(UserError):
    """The fileset cannot be used; the message names the file, dataset and field."""


class Selection(Strict):
    """Object thresholds (GeV) and event selection; the defaults are the published ones (§1)."""

    jet_pt_min: float = Field(20.0, ge=0, allow_inf_nan=False)
    jet_abs_eta_max: Positive | None = None
    fatjet_pt_min: float = Field(200.0, ge=0, allow_inf_nan=False)
    fatjet_abs_eta_max: Positive | None = None
    max_jets: int | None = Field(
        None,
        ge=2,
        description="small-radius jets kept, b-tagged first, then by pT; 10 unless the analysis says otherwise",
    )
    max_fatjets: int | None = Field(
        None, ge=1, description="large-radius jets kept; default: as many as the analysis has particles"
    )
    min_jets: int | None = Field(None, ge=0, description="small-radius jets required; those the analysis needs")


ParameterName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class DatasetMetadata(Strict):
    """What the program must know of a dataset beyond its files."""

    format: Literal["delphes", "nanoaod"]
    analysis: str = Field("", description="what is looked for: a declared analysis, or my_analysis.py:ANALYSIS")
    n_higgs: int | None = Field(None, ge=1, le=4, exclude=True, description="short for analysis h, hh, hhh or hhhh")
    label: str = Field("", description="legend entry; the dataset's name when not given")
    is_signal: bool = Field(True, description="the generator record holds the decays that the analysis looks for")
    is_data: bool = Field(False, description="observed events: no truth, no cross section")
    cross_section: Positive | None = Field(
        None, validation_alias=AliasChoices("cross_section", "cross_section_pb"), description="pb"
    )
    branching: Positive = Field(1.0, description="product of branching fractions of the generated decays")
    filter_efficiency: float = Field(1.0, gt=0, le=1, description="fraction of generated events that were written")
    k_factor: Positive = Field(1.0, description="higher orders relative to the cross section")
    sum_of_weights: Positive | None = Field(None, description="of all events generated; else of those processed")
    event: str | None = Field("Event", description="its Weight is the generator's; null: every event has weight 1")
    jets: str = "Jet"
    fatjets: str | None = Field("FatJet", description="null: the files have none")
    particles: str = "Particle"
    electrons: str = "Electron"
    muons: str = "Muon"
    met: str = "MissingET"
    sum_et: str = "ScalarHT"
    btag_bit: int = Field(0, ge=0, le=31, description="bit of Jet.BTag that holds the working point")
    btagging: Literal["stored", "upart", "csv"] = Field("stored", description="stored tags, or re-sampled ones")
    btag_seed: int = Field(0, ge=0, lt=2**63, description="of re-sampled tags: another number, other tags")
    couplings: CouplingInput | None = Field(None, description="a sample at other couplings, or weights in the file")
    nanoaod: NanoAODOptions | None = Field(None, description="reading, event cuts and corrections of NanoAOD")
    skim: bool = Field(False, description="files of hhh run --skim: cuts and corrections are done")
    selection: Selection = Selection()
    parameters: dict[ParameterName, Finite] = Field(
        default_factory=dict, description="at which the sample was generated, as kl: results are shown along them"
    )
    user: dict[str, Any] = Field(default_factory=dict, description="yours: handed to the processor untouched")

    @model_validator(mode="before")
    @classmethod
    def _data_have_no_truth(cls, given: Any) -> Any:
        """Data are never signal: only simulated events need to say that they are not."""
        if isinstance(given, dict) and given.get("is_data") is True and "is_signal" not in given:
            return {**given, "is_signal": False}
        return given

    @model_validator(mode="after")
    def _only_new_tags_have_a_seed(self) -> DatasetMetadata:
        if self.btag_seed and self.btagging == "stored":
            raise ValueError("field 'btag_seed' is for re-sampled b tags: set 'btagging' to upart or csv")
        return self

    @model_validator(mode="after")
    def _only_simulation_has_a_rate(self) -> DatasetMetadata:
        if self.is_data and self.is_signal:
            raise ValueError("is_data and is_signal are both true: data have no generator record")
        given = [name for name in RATE if getattr(self, name) != type(self).model_fields[name].default]
        if self.couplings is not None and not self.is_signal:
            raise ValueError("field 'couplings' is for signal, and is_signal is false")
        if self.is_data and given:
            raise ValueError(f"data have no field {given[0]!r}")
        if given and self.cross_section is None and given != ["sum_of_weights"]:
            raise ValueError(f"field {given[0]!r} scales the cross section: set 'cross_section' (pb) too")
        return self

    @model_validator(mode="after")
    def _one_analysis(self) -> DatasetMetadata:
        if self.n_higgs is not None:
            short = "h" * self.n_higgs
            if self.analysis not in ("", short):
                raise ValueError(
                    f"n_higgs: {self.n_higgs} is short for analysis {short!r}, and {self.analysis!r} is given"
                )
            object.__setattr__(self, "analysis", short)  # validated models do not change
            self.model_fields_set.add("analysis")
        if not self.analysis:
            raise ValueError(
                'field \'analysis\' is missing: set what is looked for, as "analysis": "hhh" (docs/fileset.md)'
            )
        return self

    @model_validator(mode="after")
    def _fields_of_the_format(self) -> DatasetMetadata:
        foreign = {"delphes": ("nanoaod",), "nanoaod": DELPHES_ONLY}[self.format]
        if given := [name for name in foreign if name in self.model_fields_set]:
            raise ValueError(f"format {self.format!r} has no field {given[0]!r}")
        if self.skim and (given := [name for name in (*DELPHES_ONLY, "nanoaod") if name in self.model_fields_set]):
            raise ValueError(f"a skim has no field {given[0]!r}: its events were read and corrected when it was made")
        return self

    @property
    def normalisation(self) -> Normalisation | None:
        """What the rate of the events is made of; None without a cross section."""
        if self.cross_section is None:
            return None
        return Normalisation(
            cross_section=self.cross_section,
            branching=self.branching,
            filter_efficiency=self.filter_efficiency,
            k_factor=self.k_factor,
        )


class Dataset(Strict):
    """A named list of files of one process."""

    name: DatasetName
    files: dict[str, str] = Field(min_length=1, description="path or URL → tree name")
    known: dict[str, tuple[str, int]] = Field(default_factory=dict, description="path → uuid and events, where given")
    metadata: DatasetMetadata

    @property
    def label(self) -> str:
        """How figures and tables call it."""
        return self.metadata.label or self.name


def load_fileset(name: str | Path, only: list[str] | None = None) -> dict[str, Dataset]:
    """Read and validate a fileset.

    Parameters
    ----------
    name
        path of a ``.json`` or ``.json.gz``; a bare name is looked for in the current folder, then among the bundled
        filesets
    only
        datasets to keep (all when not given)

    Raises
    ------
    FilesetError
        naming the file, and the dataset and field at fault.
    """
    path = _find(str(name))
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as stream:
            raw = json.loads(text := stream.read(), object_pairs_hook=unique_keys)
    except UnicodeDecodeError:
        hint = ", but a ROOT file: list it in a JSON, see docs/fileset.md" if path.suffix == ".root" else ""
        raise FilesetError(f"{path}: not a fileset{hint}") from None
    except RecursionError:
        raise FilesetError(f"{path}: cannot be read as a fileset: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise FilesetError(f"{path}: cannot be read as a fileset: {_what_is_wrong(error, text)}") from None
    except (OSError, EOFError, zlib.error, UserError) as error:
        raise FilesetError(f"{path}: cannot be read as a fileset: {error}") from error
    if not isinstance(raw, dict) or not raw:
        raise FilesetError(
            f'{path}: a fileset is a mapping of datasets: {{"NAME": {{"files": […], "metadata": {{…}}}}}}'
        )
    datasets = {key: _dataset(path, key, value) for key, value in raw.items()}
    _no_file_twice(path, datasets)
    if only is not None:
        for wanted in only:
            if wanted not in datasets:
                raise FilesetError(
                    f"{name}: no dataset {wanted!r}{did_you_mean(wanted, datasets)}; it has {listed(datasets)}"
                )
        datasets = {key: value for key, value in datasets.items() if key in only}
    return datasets


def _what_is_wrong(error: json.JSONDecodeError, text: str) -> str:
    """The parser's message, or what the usual mistakes are called."""
    if not text.strip():
        return "it is empty"
    at = f"(line {error.lineno}, column {error.colno})"
    before, after = text[: error.pos].rstrip(), text[error.pos :].lstrip()
    if before.endswith(",") and after[:1] in ("}", "]"):
        return f"there is a comma before {after[0]!r}, and JSON allows none {at}"
    if after.startswith("'"):
        return f"JSON needs double quotes {at}"
    return f"{error.msg} {at}"


def _find(name: str) -> Path:
    path = expanded(name)
    if path.is_file():
        return path
    if path.parent == Path() and (bundled := find_bundled("fileset", name)) is not None:
        return bundled
    meant = did_you_mean(name, list_bundled("fileset")) if path.parent == Path() else ""
    raise FilesetError(f"{name}: no such fileset, neither here nor among the bundled ones{meant}")


def _dataset(path: Path, name: str, raw: Any) -> Dataset:
    where = f"{path}: dataset {name!r}"
    if not isinstance(raw, dict):
        raise FilesetError(f"{where}: must be a mapping with 'files' and 'metadata', not {_kind(raw)}")
    if unknown := set(raw) - {"files", "metadata", "form", "format", "compressed_form", "did"}:
        raise FilesetError(f"{where}: unknown field {sorted(unknown)[0]!r}; it may have 'files' and 'metadata'")
    for required in ("files", "metadata"):
        if required not in raw:
            raise FilesetError(f"{where}: field {required!r} is missing")
    try:
        metadata = DatasetMetadata.model_validate(raw["metadata"])
        if ".py" in metadata.analysis:
            metadata = metadata.model_copy(update={"analysis": _beside(path.parent, metadata.analysis)})
        if metadata.nanoaod is not None:
            nanoaod = with_absolute_paths(metadata.nanoaod, path.parent)
            metadata = metadata.model_copy(update={"nanoaod": nanoaod})
        files, known = _files(
            where, raw["files"], path.parent, DEFAULT_TREE["nanoaod" if metadata.skim else metadata.format]
        )
        return Dataset(name=name, files=files, known=known, metadata=metadata)
    except FilesetError:
        raise
    except FileNotFoundError as error:
        raise FilesetError(f"{where}, field {error.args[0]!r}: no such file {error.args[1]!r}") from None
    except UserError as error:
        raise FilesetError(f"{where}: {error}") from None
    except ValidationError as error:
        raise FilesetError("\n".join(_explain(where, problem) for problem in error.errors())) from None


def _beside(folder: Path, name: str) -> str:
    """``my_analysis.py:ANALYSIS`` with the path taken from the fileset's folder."""
    file, colon, variable = name.partition(".py")
    return f"{(folder / expanded(file + colon)).resolve()}{variable}"


def _files(where: str, raw: Any, folder: Path, default_tree: str) -> tuple[dict[str, str], dict[str, tuple[str, int]]]:
    """Expand ``files`` to path → tree, in the order given (globs sorted), and path → what is known of the file."""
    if isinstance(raw, list):
        pairs: list[tuple[Any, Any]] = [(item, default_tree) for item in raw]
    elif isinstance(raw, dict):
        pairs = list(raw.items())
    else:
        raise FilesetError(f"{where}, field 'files': must be {{path: tree}} or a list of paths, not {_kind(raw)}")
    files: dict[str, str] = {}
    known: dict[str, tuple[str, int]] = {}
    for pattern, given in pairs:
        # coffea's preprocessed filesets hold {"object_path": tree, "steps": …, "num_entries": …, "uuid": …}
        tree = given.get("object_path") if isinstance(given, dict) else given
        if not isinstance(pattern, str):
            raise FilesetError(f"{where}, field 'files': a path must be a text, not {_kind(pattern)}")
        if not isinstance(tree, str):
            raise FilesetError(
                f"{where}, field 'files': {pattern}: the name of a tree must be a text, not {_kind(given)}"
            )
        expanded = _expand(where, pattern, folder)
        for file in expanded:
            if file in files:
                raise FilesetError(f"{where}, field 'files': {file} is listed twice")
            files[file] = tree
        if len(expanded) == 1 and isinstance(given, dict) and (found := _known(where, pattern, given)):
            known[expanded[0]] = found
    return files, known


def _known(where: str, pattern: str, given: dict[str, Any]) -> tuple[str, int] | None:
    """The uuid and the events that the fileset states of a file; None unless it states both."""
    uuid, entries = given.get("uuid"), given.get("num_entries")
    if uuid is None or entries is None:
        return None
    if not isinstance(uuid, str) or not isinstance(entries, int) or isinstance(entries, bool) or entries < 0:
        raise FilesetError(
            f"{where}, field 'files': {pattern!r}: uuid {uuid!r} and num_entries {entries!r} must be text and a count"
        )
    return uuid, entries


def _expand(where: str, pattern: str, folder: Path) -> list[str]:
    if "://" in pattern:
        return [pattern]
    full = str(folder / expanded(pattern))
    if not glob.has_magic(pattern) or Path(full).exists():
        return [str(Path(full).resolve())]  # a missing file is reported by name when it is opened, beside the others
    found = sorted(glob.glob(full, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not found:
        hint = OF_THE_PROJECT if SAMPLES in pattern else ""
        raise FilesetError(f"{where}, field 'files': no file matches {pattern!r} in {folder.resolve()}{hint}")
    return [str(Path(file).resolve()) for file in found]


def _no_file_twice(path: Path, datasets: dict[str, Dataset]) -> None:
    owner: dict[tuple[str, int], str] = {}
    for dataset in datasets.values():
        for file in dataset.files:
            one = file, dataset.metadata.btag_seed  # other b tags, other events
            if one in owner:
                raise FilesetError(f"{path}: {file} is listed in dataset {owner[one]!r} and again in {dataset.name!r}")
            owner[one] = dataset.name


def _kind(value: Any) -> str:
    kinds = {str: "a text", dict: "a mapping", list: "a list", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _explain(where: str, problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    at = f"{where}, field {place!r}" if place else where
    if problem["type"] == "extra_forbidden":
        name = str(problem["loc"][-1])
        inside = [
            part for part, of in (("nanoaod", NanoAODOptions), ("selection", Selection)) if name in of.model_fields
        ]
        if inside and problem["loc"][:-1] != (inside[0],):
            return f'{at}: belongs inside \'{inside[0]}\': {{"{inside[0]}": {{"{name}": …}}}}'
        known = [*DatasetMetadata.model_fields, *Selection.model_fields, *NanoAODOptions.model_fields]
        return f"{at}: unknown field{did_you_mean(name, known)}; your own fields go under 'user'"
    if problem["type"] == "missing":
        return f"{at} is missing"
    if problem["type"] == "too_short" and not problem["input"]:
        return f"{at}: is empty; name at least one"
    if place == "name" and problem["type"] == "string_pattern_mismatch":
        return (
            f"{where}: the name of a dataset has letters, digits and . _ + - alone, and begins with a letter or digit"
        )
    return f"{at}: {in_plain_words(problem)}"
