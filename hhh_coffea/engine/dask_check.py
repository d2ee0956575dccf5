"""What a dask worker has, asked of it before it gets work.

Sent to workers by value, for they may not have this package: it uses the standard library alone.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import io
import os
import platform
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

NEEDED = (
    "coffea",
    "awkward",
    "uproot",
    "numpy",
    "hist",
    "boost-histogram",
    "pyarrow",
    "dask",
    "distributed",
    "cloudpickle",
)


def code_here() -> str:
    """Short sum over the Python files of the package ``hhh_coffea`` as it would be imported here; empty if it is not there."""
    spec = importlib.util.find_spec("hhh_coffea")
    if spec is None or spec.origin is None:
        return ""
    folder = Path(spec.origin).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        if "_bundled" not in file.parts:
            digest.update(str(file.relative_to(folder)).encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def versions_here(extra: tuple[str, ...] = ()) -> dict[str, str]:
    """Name → version of all that must agree between driver and workers."""
    found = {"Python": ".".join(platform.python_version_tuple()[:2]), "hhh_coffea (code)": code_here() or "missing"}
    for name in (*NEEDED, *extra):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def gpu_here(device: str) -> tuple[str, str]:
    """(host, the GPU that ``device`` means in this process); empty where it has none."""
    try:
        import torch

        if device == "cpu" or not torch.cuda.is_available():
            return platform.node(), ""
        index = torch.device(device if device.startswith("cuda") else "cuda").index or 0
        properties: Any = torch.cuda.get_device_properties(index)
        return platform.node(), str(
            getattr(properties, "uuid", "") or f"{os.environ.get('CUDA_VISIBLE_DEVICES')}:{index}"
        )
    except (ImportError, RuntimeError, AssertionError):
        return platform.node(), ""


class ShippedPackage:
    """A dask worker plugin: puts a zipped package first on the worker's path, also of workers that come later."""

    name = "hhh_coffea-shipped"

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.digest = hashlib.sha256(content).hexdigest()[:12]

    def setup(self, worker: Any) -> None:
        """Unpack, and forget what was imported of the package before."""
        folder = Path(worker.local_directory) / f"shipped-{self.digest}"
        with zipfile.ZipFile(io.BytesIO(self.content)) as archive:
            archive.extractall(folder)
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
        for module in [m for m in sys.modules if m.split(".")[0] == "hhh_coffea"]:
            del sys.modules[module]
        importlib.invalidate_caches()


class Gate:
    """A dask worker plugin: sends workers away that come later and differ from the driver.

    dask starts a worker all the same when a plugin's ``setup`` raises, and hands it the chunks it was assigned meanwhile: their
    results would be kept as if they were ours. So it is paused before it takes its first task, and leaves.
    """

    topic = "hhh_coffea-refused"

    def __init__(self, wanted: dict[str, str], extra: tuple[str, ...], client: str, clients_of: bytes) -> None:
        self.wanted, self.extra, self.client, self.clients_of = wanted, extra, client, clients_of
        self.name = f"hhh_coffea-gate-{client}"

    async def setup(self, worker: Any) -> None:
        """Let the worker in, or tell the driver why not and close it, its nanny too."""
        from distributed.core import Status

        found = versions_here(self.extra)
        if found == self.wanted:
            return
        answer = await worker.scheduler.run_function(function=self.clients_of)
        if self.client not in answer["result"]:
            return  # the driver was killed before it could take the plugin back
        worker.status = Status.closing_gracefully
        address = worker.address
        await worker.scheduler.log_event(topic=self.topic, msg={"worker": address, "found": found})
        await worker.scheduler.retire_workers(
            workers=[address], close_workers=False, remove=True, stimulus_id=f"{self.topic}-{address}"
        )
        # not here: the nanny answers only once the worker has started
        worker.loop.call_later(1.0, worker.close, nanny=True, reason=self.topic)


def clients_of(dask_scheduler: Any) -> list[str]:
    """The clients that a scheduler, on which this runs, is connected to."""
    return list(dask_scheduler.clients)


def zipped(package: Path) -> bytes:
    """The package's files as a zip, without caches."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(package.rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, Path(package.name) / file.relative_to(package))
    return buffer.getvalue()
