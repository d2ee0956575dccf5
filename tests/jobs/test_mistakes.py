"""Models, recipes, topologies and options with the mistakes of users: one line on stderr that names the file, exit code 2."""

import gzip
import json
import shutil

import pytest
from conftest import DEMO, REPOSITORY

from hhh_coffea.base.bundled import bundled_folder
from hhh_coffea.methods.bdt_model import BdtError, load_model
from hhh_coffea.run import main as run
from hhh_coffea.spanet.checkpoint import CheckpointError, describe
from hhh_coffea.spanet.original.lightning_checkpoint import import_original
from hhh_coffea.spanet.training.config import ConfigError, TrainingConfig
from hhh_coffea.spanet.training.dataset import DatasetError, read_schema
from hhh_coffea.topology.topology import Topology, TopologyError
from hhh_coffea.train import main as train

METADATA = {"format": "delphes", "n_higgs": 3}
NAMES = "there is no such user|no path has a NUL"


def fails(command, arguments, capsys):
    """The message of a command that must end with exit code 2."""
    try:
        code = command([str(a) for a in arguments])
    except SystemExit as error:  # of the parser
        code = error.code
    assert code == 2
    text = capsys.readouterr().err
    assert text.startswith("error: ")
    assert len(text.splitlines()) == 1
    return text


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bdt", "~nosuchuser/x", "--methods", "chi2+bdt"],
        ["--model", "~nosuchuser/x", "--methods", "spanet"],
        ["--processor", "~nosuchuser/x.py"],
        ["--methods", "~nosuchuser/x.py:M"],
        ["--output", "~nosuchuser/x"],
        ["--config", "~nosuchuser/run.yaml"],
        ["--executor", "dask", "--cluster", "slurm", "--cluster-config", "~nosuchuser/x.yaml"],
    ],
)
def test_nobodys_home_in_a_run(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert "~nosuchuser/" in (text := fails(run, ["--fileset", "demo", *arguments], capsys))
    assert "there is no such user" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["spanet", "--data", "~nosuchuser/x", "--config", "hhh", "--output", "o"],
        ["spanet", "--data", "x", "--config", "~nosuchuser/x.yaml", "--output", "o"],
        ["spanet", "--data", "x", "--config", "hhh", "--output", "~nosuchuser/x"],
        ["data", "--fileset", "demo", "--output", "~nosuchuser/x"],
        ["data", "--fileset", "demo", "--topology", "~nosuchuser/x.yaml", "--output", "o"],
        ["bdt", "--fileset", "demo", "--output", "~nosuchuser/x"],
        ["bdt", "--fileset", "demo", "--output", "o", "--compare", "~nosuchuser/x"],
        ["mass-price", "--model", "~nosuchuser/x", "--background", "b", "--slope", "1", "--output", "o"],
        ["export-onnx", "~nosuchuser/x", "--output", "o.onnx"],
        ["import-hdf5", "x.h5", "--topology", "~nosuchuser/x.yaml", "--output", "o"],
    ],
)
def test_nobodys_home_in_a_training(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    assert "there is no such user" in fails(train, arguments, capsys)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["output", "bdt", "model", "processor", "methods", "cluster_config"])
def test_no_path_of_a_configuration_has_a_nul(tmp_path, monkeypatch, capsys, key):
    monkeypatch.chdir(tmp_path)
    more = {"bdt": "methods: chi2+bdt", "model": "methods: spanet", "cluster_config": "executor: dask\ncluster: slurm"}
    value = {"processor": "a\\0b.py", "methods": "a\\0b.py:M"}.get(key, "a\\0b")
    (tmp_path / "run.yaml").write_text(f'fileset: demo\n{more.get(key, "")}\n{key}: "{value}"\n')
    assert "no path has a NUL character" in fails(run, ["--config", "run.yaml"], capsys)


@pytest.mark.parametrize("path", ["~nosuchuser/x", "a\0b"])
def test_paths_given_in_python(path):
    for read, error in ((load_model, ValueError), (TrainingConfig.read, ValueError)):
        with pytest.raises(error, match=NAMES):
            read(path)


def test_a_home_in_a_configuration_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run.yaml").write_text("fileset: demo\noutput: ~/r\ndatasets: HHH\nmetrics: default\nplots: false\n")
    assert run(["--config", "~/run.yaml", "--max-chunks", "1", "--chunksize", "500"]) == 0
    assert (tmp_path / "r" / "summary.json").is_file()


DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate: 0.1\nlearning_rate: 0.2", r"'learning_rate' is listed twice \(line 2, column 1\)"),
        (DEEP, "deep"),
    ],
)
def test_recipes_are_strict(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"mine\.yaml: cannot be read as YAML: .*{message}"):
        TrainingConfig.read(tmp_path / "mine.yaml")
    (tmp_path / "mine.yaml").write_text("network:\nepochs: 1\n")
    with pytest.raises(ConfigError, match=r"'loss={a: 1, a: 2}': cannot be read as YAML: 'a' is listed twice"):
        TrainingConfig.read(tmp_path / "mine.yaml", ["loss={a: 1, a: 2}"])
    with pytest.raises(ConfigError, match=r"'epochs=\[': cannot be read as YAML"):
        TrainingConfig.read(tmp_path / "mine.yaml", ["epochs=["])
    with pytest.raises(ConfigError, match=r"key 'learning-rate': there is no such key .did you mean 'learning_rate'"):
        TrainingConfig.from_mapping({"learning-rate": 1, "learning_rate": 2})


@pytest.mark.parametrize("name", ["spanet_hhh", "hbb_bdt"])
def test_models_are_strict(tmp_path, name):
    """A key twice, and a file that is nested deeply: no reader of ours or of xgboost dies of it."""
    folder = tmp_path / name
    shutil.copytree(bundled_folder("models") / name, folder)
    read, error = (describe, CheckpointError) if name == "spanet_hhh" else (load_model, BdtError)
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(f"{text}\nschema_version: 1\n")
    with pytest.raises(error, match=r"model\.yaml: cannot be read as YAML: 'schema_version' is listed twice"):
        read(folder)
    (folder / "model.yaml").write_text(DEEP)
    with pytest.raises(error, match=r"model\.yaml: cannot be read as YAML: nested too deeply"):
        read(folder)


def test_a_deep_xgboost_file(tmp_path):
    (tmp_path / "deep.json").write_text('{"a":' * 1_000_000)
    with pytest.raises(BdtError, match=r"deep\.json: not a model xgboost can load: nested too deeply"):
        load_model(tmp_path / "deep.json")


def test_topologies_schemas_and_checkpoints(tmp_path):
    event = tmp_path / "event.yaml"
    event.write_text(DEEP)
    with pytest.raises(TopologyError, match=r"event\.yaml: not valid YAML: nested too deeply"):
        Topology.from_file(event)
    event.write_bytes(b"\xff\xfe")
    with pytest.raises(TopologyError, match=r"event\.yaml: cannot be read"):
        Topology.from_file(event)
    text = (REPOSITORY / "hhh_coffea" / "topology" / "events" / "hhh.yaml").read_text()
    event.write_text(f"{text}\nINPUTS: {{}}\n")
    with pytest.raises(TopologyError, match="INPUTS: appears twice"):
        Topology.from_file(event)
    (tmp_path / "schema.json").write_text(DEEP)
    with pytest.raises(DatasetError, match=r"schema\.json: cannot be read as JSON"):
        read_schema(tmp_path)
    event.write_text(text)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_bytes(b"PK\3\4 no archive")
    for content, message in ((DEEP, r"options\.json: cannot be read"), ("{}", r"last\.ckpt: cannot be read")):
        (tmp_path / "options.json").write_text(content)
        with pytest.raises(CheckpointError, match=message):
            import_original(tmp_path)


def test_options_of_a_processor_are_strict(tmp_path, capsys):
    own = "from coffea.processor import ProcessorABC\nclass P(ProcessorABC):\n    def __init__(self, cuts):\n        pass\n"
    own += "    def process(self, events):\n        pass\n    def postprocess(self, a):\n        pass\n"
    (tmp_path / "p.py").write_text(own)
    base = ["--fileset", "demo", "--processor", tmp_path / "p.py", "--output", tmp_path / "r"]
    text = fails(run, [*base, "--set", "cuts={pt: 30, pt: 40}"], capsys)
    assert "'cuts={pt: 30, pt: 40}': 'pt' is listed twice" in text


def test_a_run_that_is_listed_twice_in_a_golden_json(relaid, tmp_path):
    (tmp_path / "golden.json").write_text('{"370000": [[1, 3]], "370000": [[7, 9]]}')
    metadata = {"format": "nanoaod", "n_higgs": 3, "is_signal": False, "nanoaod": {"golden_json": "golden.json"}}
    content = {"A": {"files": [str(relaid["data"])], "metadata": metadata}}
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    base = ["--fileset", str(tmp_path / "fileset.json"), "--no-plots", "--metrics", "default"]
    for text, message in (((tmp_path / "golden.json").read_text(), "'370000' is listed twice"), (DEEP, "recursion")):
        (tmp_path / "golden.json").write_text(text)
        assert run([*base, "--output", str(tmp_path / "r")]) == 1
        (failure,) = json.loads((tmp_path / "r" / "provenance.json").read_text())["failures"]
        assert "golden.json cannot be read" in failure["reason"]
        assert message in failure["reason"]


@pytest.mark.parametrize("damage", ["cut", "bytes"])
def test_damaged_corrections(relaid, tmp_path, capsys, damage):
    """A .json.gz of corrections that was cut off, or has other bytes."""
    packed = bytearray(
        gzip.compress(json.dumps({"schema_version": 2, "corrections": [], "x": list(range(2000))}).encode())
    )
    if damage == "cut":
        del packed[len(packed) // 2 :]
    else:
        packed[40:60] = b"\xff" * 20
    (tmp_path / "jec.json.gz").write_bytes(packed)
    jets = {"file": "jec.json.gz", "jec": "X", "uncertainties": {}}
    metadata = {"format": "nanoaod", "n_higgs": 3, "nanoaod": {"corrections": {"jets": jets}}}
    content = {"A": {"files": [str(relaid[12])], "metadata": metadata}}
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    base = ["--fileset", tmp_path / "fileset.json", "--no-plots", "--output", tmp_path / "r"]
    assert "jec.json.gz: not a file of corrections" in fails(run, base, capsys)


def test_a_training_warns_of_copies_too(tmp_path, capsys):
    """One file under two names, as signal and as background."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.root").write_bytes((DEMO / "hhh.root").read_bytes())
    content = {
        name: {"files": [f"{name.lower()}.root"], "metadata": {**METADATA, "is_signal": name == "A"}} for name in "AB"
    }
    (tmp_path / "fileset.json").write_text(json.dumps(content))
    base = ["--fileset", str(tmp_path / "fileset.json"), "--chunksize", "1500", "--output"]
    assert train(["bdt", "--no-search", *base, str(tmp_path / "bdt")]) == 0
    assert train(["data", *base, str(tmp_path / "data")]) == 0
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "b.root has the content of" in text.replace("\n", " ")
        assert "in dataset 'A' (same file uuid): its events count twice" in " ".join(text.split())
