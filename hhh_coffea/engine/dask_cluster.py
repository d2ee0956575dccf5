"""dask clusters: one of this machine, one that is there already, or one that a batch system starts."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hhh_coffea.base.errors import UserError, why_unreadable
from hhh_coffea.base.user_files import load_yaml
from hhh_coffea.engine import dask_check as cluster_check

# of a local cluster: a chunk under which more workers die is tried alone; dask itself would give up a worker that takes
# longer than 15 s to start anew, as it may on a busy machine
SETTINGS = {"distributed.scheduler.allowed-failures": 2, "distributed.deploy.lost-worker-timeout": "10 minutes"}
BATCH_SYSTEMS = {"slurm": "SLURMCluster", "htcondor": "HTCondorCluster"}
LOCALHOST = "127.0.0.1"
CLOSE_SECONDS = 60  # for the workers of a cluster that was started here to end
WORKERS_SECONDS = 3600  # a batch system may be busy
_log = logging.getLogger(__name__)


class ExecutorError(UserError):
    """There is nothing to run on; the message names the option."""


@dataclass(frozen=True)
class ClusterOptions:
    """How to reach or start a cluster. ``packages``: what workers need beside the usual."""

    batch_system: str | None = None
    config: str | None = None  # YAML of the batch system's options
    dashboard: str | None = None
    ship_package: bool = False
    tls: tuple[str, str, str] | None = None  # files: certificate authority, certificate, key
    packages: tuple[str, ...] = ()

    @property
    def security(self) -> Any:
        """dask's security object; None without TLS."""
        if self.tls is None:
            return None
        from distributed import Security

        for option, file in zip(("tls_ca_file", "tls_cert", "tls_key"), self.tls, strict=True):
            if not Path(file).is_file():
                raise ExecutorError(f"option {option!r}: no file {file}")
        authority, certificate, key = self.tls
        roles = {f"tls_{role}_{what}": file for role in ("client", "scheduler", "worker")
                 for what, file in (("cert", certificate), ("key", key))}  # fmt: skip
        return Security(tls_ca_file=authority, require_encryption=True, **roles)


@contextlib.contextmanager
def joined(workers: int, scheduler: str | None, options: ClusterOptions) -> Iterator[Any]:
    """A dask client of the cluster asked for, its workers checked; what was started is closed again.

    Raises
    ------
    ExecutorError
        naming the option, if there is no such cluster or its workers cannot run our work.
    """
    import dask
    from distributed import Client
    from distributed.comm import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    security = options.security
    if scheduler is not None:
        address = scheduler
        try:
            address = _address(scheduler)
            protocol, place = parse_address(address)
            get_backend(protocol)  # a Client of another protocol or port would hold up the end of the process
            if protocol != "inproc":
                parse_host_port(place)
            client = Client(address, timeout="20s", set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError, TypeError, KeyError, RecursionError) as error:
            encrypted = security is None and address.startswith("tls:")
            hint = "; it is encrypted and needs --tls-ca-file, --tls-cert and --tls-key" if encrypted else ""
            raise ExecutorError(f"option 'scheduler': cannot join {scheduler!r}: {error}{hint}") from error
        with client:
            if not client.nthreads():
                raise ExecutorError(f"option 'scheduler': {scheduler!r} has no workers")
            with checked_workers(client, options):
                yield client
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(dask.config.set(SETTINGS if options.batch_system is None else {}))
        stack.enter_context(_quiet("distributed", "still alive after"))  # of a worker that is replaced
        started = batch_cluster(options) if options.batch_system else local_cluster(workers, options)
        stack.callback(_closed, started)
        with Client(started, set_as_default=False, security=security) as client:
            if options.batch_system:
                try:
                    client.wait_for_workers(1, timeout=WORKERS_SECONDS)
                except TimeoutError:
                    raise ExecutorError(f"option 'cluster': no worker started within {WORKERS_SECONDS} s") from None
                with checked_workers(client, options):
                    yield client
            else:
                yield client


def _address(scheduler: str) -> str:
    """The address itself, or the one in a scheduler file."""
    if "://" in scheduler or not Path(scheduler).is_file():
        return scheduler
    return str(json.loads(Path(scheduler).read_text(encoding="utf-8"))["address"])


def _closed(cluster: Any) -> None:
    # a worker that is slow to end gets killed, and dask then raises; one that is being restarted may keep dask waiting
    # for good: no reason to lose what was computed
    try:
        with _quiet("distributed", "", below=logging.ERROR):
            cluster.close(timeout=CLOSE_SECONDS)
    except TimeoutError:
        for worker in getattr(cluster, "workers", {}).values():
            pid = getattr(getattr(worker, "process", None), "pid", None)
            if pid is not None:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _quiet(name: str, text: str, below: int = logging.CRITICAL) -> Iterator[None]:
    """Hide records of a logger of dask that hold ``text`` and are ``below`` a level: a worker that is slow to end, say."""

    def shown(record: logging.LogRecord) -> bool:
        return record.levelno >= below or text not in record.getMessage()

    handlers = list(logging.getLogger(name).handlers)
    for handler in handlers:
        handler.addFilter(shown)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(shown)


def local_cluster(workers: int, options: ClusterOptions) -> Any:
    """Processes of one thread each, on localhost, that share the memory of the machine in equal limits."""
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    from hhh_coffea.engine.dask_quiet import QuietEnd

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=MEMORY_LIMIT // workers,
        host=LOCALHOST,
        dashboard_address=options.dashboard or f"{LOCALHOST}:{_free_port(8787)}",
        security=options.security,
        plugins=(QuietEnd(),),
    )


def batch_cluster(options: ClusterOptions, scale: bool = True) -> Any:
    """A cluster whose workers are jobs of a batch system, through dask-jobqueue.

    ``options.config`` is a YAML: ``jobs`` (how many), and the arguments of dask-jobqueue's class for that system.
    """
    try:
        import dask_jobqueue
    except ImportError:
        raise ExecutorError("option 'cluster' needs dask-jobqueue: pip install 'hhh-coffea[cluster]'") from None
    path = options.config
    if path is None:
        raise ExecutorError(
            "option 'cluster' needs 'cluster_config': a YAML with jobs, cores, memory … (docs/clusters.md)"
        )
    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExecutorError(
            f"option 'cluster_config': {path}: cannot be read as YAML: {why_unreadable(error)}"
        ) from error
    if not isinstance(content, dict):
        raise ExecutorError(f"option 'cluster_config': {path}: must be a mapping of options to values")
    jobs = content.pop("jobs", None)
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ExecutorError(
            f"option 'cluster_config': {path}: 'jobs' must be the number of jobs to submit (got {jobs!r})"
        )
    scheduler = dict(content.pop("scheduler_options", None) or {})
    if not {"interface", "host"} & {*content, *scheduler}:
        raise ExecutorError(
            f"option 'cluster_config': {path}: name the network that the nodes reach this machine by: 'interface' "
            "(ip address lists them)"
        )
    scheduler.setdefault("dashboard_address", options.dashboard or f"{LOCALHOST}:{_free_port(8787)}")
    try:
        kind = getattr(dask_jobqueue, BATCH_SYSTEMS[str(options.batch_system)])
        cluster = kind(**content, scheduler_options=scheduler, security=options.security)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        raise ExecutorError(f"option 'cluster_config': {path}: {error}") from error
    if scale:
        cluster.scale(jobs=jobs)
    return cluster


@contextlib.contextmanager
def checked_workers(client: Any, options: ClusterOptions) -> Iterator[None]:
    """Ship the package if asked, and make sure that every worker has what the driver has.

    Workers that come later get the package too, and those that differ are sent away.

    Raises
    ------
    ExecutorError
        with a table of what differs, worker by worker.
    """
    import cloudpickle

    cloudpickle.register_pickle_by_value(cluster_check)  # the workers may not have it
    try:
        if options.ship_package:
            content = cluster_check.zipped(Path(cluster_check.__file__).parents[1])
            client.register_plugin(_worker_plugin(cluster_check.ShippedPackage, content))
        here = cluster_check.versions_here(options.packages)
        there = client.run(cluster_check.versions_here, options.packages)
        if table := differences(here, there):
            hint = "" if options.ship_package else "; --ship-package sends this package"
            raise ExecutorError(
                f"the workers differ from this machine:\n{table}\nInstall the same versions there{hint}"
            )
        question = cloudpickle.dumps(cluster_check.clients_of)
        gate = _worker_plugin(cluster_check.Gate, here, options.packages, client.id, question)
        client.register_plugin(gate)
    finally:
        cloudpickle.unregister_pickle_by_value(cluster_check)

    def refused(event: tuple[float, dict[str, Any]]) -> None:
        worker, found = event[1]["worker"], event[1]["found"]
        _log.warning(
            "a worker that joined later was removed, because its versions differ:\n%s",
            differences(here, {worker: found}),
        )

    client.subscribe_topic(gate.topic, refused)
    try:
        yield
    finally:
        if client.status == "running":
            with contextlib.suppress(OSError, TimeoutError, ValueError):
                client.unregister_worker_plugin(gate.name)


def differences(here: dict[str, str], there: dict[str, dict[str, str]]) -> str:
    """Table of the versions that differ: package, here, there, on which workers; empty if none does."""
    rows: dict[tuple[str, str, str], list[str]] = {}
    for worker, found in there.items():
        for name, wanted in here.items():
            if (other := found.get(name, "missing")) != wanted:
                rows.setdefault((name, wanted, other), []).append(worker)
    if not rows:
        return ""
    lines = [("package", "here", "there", "workers")]
    for (name, wanted, other), workers in rows.items():
        shown = ", ".join(sorted(workers)[:3]) + (f" and {len(workers) - 3} more" if len(workers) > 3 else "")
        lines.append((name, wanted, other, shown))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join(
        "  " + "  ".join(f"{cell:{w}s}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _worker_plugin(kind: type, *arguments: Any) -> Any:
    """dask wants its own base class; put in here so that :mod:`cluster_check` needs no dask."""
    from distributed import WorkerPlugin

    # pickled by value: the workers do not have this module either
    return type(kind.__name__, (kind, WorkerPlugin), {"__module__": "__main__"})(*arguments)


def _free_port(wanted: int) -> int:
    """The wanted port if nothing listens there, else 0: any free one."""
    with socket.socket() as probe:
        return 0 if probe.connect_ex((LOCALHOST, wanted)) == 0 else wanted
