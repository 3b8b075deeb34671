"""Reading commands off a page, and comparing what they print with what the page shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.docs.sessions import Shell, Step, difference, steps_of

PAGE = """# First

```console
$ cat > a.csv <<'END'
> a,b
> END
$ sum a.csv
total  3
...
```

## Second

```sh
make run      # all of it
```

```python
print(1)
```
"""


def test_commands_and_what_they_print_are_read(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(PAGE)
    assert steps_of(tmp_path / "page.md") == [
        Step("cat > a.csv <<'END'\na,b\nEND", "", "First"),
        Step("sum a.csv", "total  3\n...\n", "First"),
        Step("make run      # all of it", "", "Second"),
        Step("print(1)\n", "", "Second", python=True),
    ]
    assert [step.command for step in steps_of(tmp_path / "page.md", "Second")][0].startswith("make run")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("a  1\n", "a 1\n\n"),
        ("NDCG 0.962\n", "NDCG 0.958\n"),
        ("...\nrows 5\n...\n", "x\ny\nrows 5\nz\n"),
        ("ready in 3 s\n", "ready in 41 s\n"),
        ("index ... written\n", "index 49297a808e8c written\n"),
        ("a\n...\n", "a\n"),
    ],
)
def test_what_is_the_same(shown: str, printed: str) -> None:
    assert difference(shown, printed) is None


@pytest.mark.parametrize(
    ("shown", "printed", "said"),
    [
        ("rows 5\n", "rows 6\n", "'rows 5' is shown; printed was 'rows 6'"),
        ("NDCG 0.962\n", "NDCG 0.862\n", "'NDCG 0.962' is shown"),
        ("MRR 12.5\n", "MRR 14.5\n", "'MRR 12.5' is shown"),
        ("a\n", "a\nb\n", "'b' was printed and is not shown"),
        ("a\nc\n", "a\nb\nc\n", "'c' is shown; printed was 'b'"),
        ("...\nrows 5\n", "rows\n", "and no such line after it"),
        ("a\n", "", "printed was 'nothing more'"),
    ],
)
def test_what_is_not(shown: str, printed: str, said: str) -> None:
    assert said in (difference(shown, printed) or "")


def test_a_shell_keeps_its_folder_and_its_variables(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    shell = Shell(tmp_path, tmp_path / "state", {"PATH": os.environ["PATH"]})
    assert shell.run("export X='1 2' && cd 'a folder'").returncode == 0
    assert shell.run('echo "$X in $(basename "$PWD")"').stdout == "1 2 in a folder\n"
    assert shell.run("exit 3").returncode == 3
