"""The example in docs/tops.md runs and prints what the page shows."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "tops.md"


def test_example_prints_what_the_page_shows(shared_dir, capsys):
    page = PAGE.read_text(encoding="utf-8")
    code, shown = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("python", "text"))
    assert "../shared/" in code
    exec(compile(code.replace("../shared/", f"{shared_dir}/"), str(PAGE), "exec"), {})
    assert capsys.readouterr().out == shown
