"""A short form of ``make chaos``: a worker struck by several faults in one run, and the command itself killed."""

import pytest
from chaos import scenarios
from conftest import DEMO


@pytest.mark.slow
def test_faults_cost_nothing_or_are_named(tmp_path):
    chaos = scenarios.Chaos(tmp_path, [DEMO / "hhh.root"], chunksize=500, timeout=60)
    output = tmp_path / "short"
    kinds = {"oserror": 1, "kill": 1, "memoryerror": scenarios.ALWAYS, "bug": scenarios.ALWAYS}
    faults = dict(zip(chaos.names()[2:], kinds.items(), strict=False))
    process = chaos.start(output, faults)
    chaos.wait_for(output, 2, process)
    process.kill()
    process.wait()
    known = chaos.done(output)
    provenance = chaos.check(output, chaos.run(output, faults), lost=chaos.names()[4:6])
    assert provenance["resumed_chunks"] >= known >= 2
