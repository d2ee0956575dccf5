"""docs/pdnn.md: the example runs, and every setting of the training stands on the page with its default."""

import re
from pathlib import Path

from hhh_coffea.lazy import event_record, open_events
from hhh_coffea.training.pdnn_options import PdnnTraining

PAGE = Path(__file__).parents[3] / "docs" / "pdnn.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_example_runs():
    space = {"record": event_record(open_events("demo_tops", "ttbar", mode="virtual"))}
    exec(compile(re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)[1], str(PAGE), "exec"), space)
    found = space["found"]
    assert found.objects["ht"].shape == (1000, 3)
    assert ((found.score > 0) & (found.score < 1)).all()


def test_settings_are_all_on_the_page():
    table = TEXT.partition("| `--set` |")[2].partition("\n\n")[0]
    rows = [row.split("|")[1:3] for row in table.splitlines()[2:]]
    shown = {}
    for names, defaults in rows:
        shown |= dict(zip(re.findall(r"`(\w+)`", names), re.split(r", (?=\S)", defaults.strip()), strict=True))
    expected = {name: field.default for name, field in PdnnTraining.model_fields.items()}
    assert set(shown) == set(expected)
    for name, text in shown.items():
        value = expected[name]
        own = text.strip("`")
        assert own == (str(value).lower() if isinstance(value, bool | str) else own)
        if not isinstance(value, bool | str):
            assert float(own) == value
