"""Local dask workers end quietly; apart from :mod:`.dask_check`, for this needs dask, and the workers this package."""

from __future__ import annotations

import logging
from typing import Any

from distributed import WorkerPlugin


class QuietEnd(WorkerPlugin):  # type: ignore[misc]  # dask has no types
    """A worker that closes does not report that its last heartbeat got no answer.

    ``Worker.close`` ends the connections of the worker. A heartbeat that is on its way then fails, and dask logs a traceback
    (https://github.com/dask/distributed/issues/7192). A worker that is not closing still reports a lost heartbeat.
    """

    name = "hhh_coffea-quiet-end"

    def setup(self, worker: Any) -> None:
        """Filter what this process logs from now on."""

        def shown(record: logging.LogRecord) -> bool:
            return "during heartbeat" not in record.getMessage() or worker.status.name not in ("closing", "closed")

        logging.getLogger("distributed.worker").addFilter(shown)
