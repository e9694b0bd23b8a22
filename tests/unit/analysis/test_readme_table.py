from __future__ import annotations

from analysis.readme_table import BEGIN, END, FIGURE, ROOT, main_tables, with_table


def test_the_table_takes_the_place_of_the_old_one() -> None:
    readme = f"before\n{BEGIN}\n```text\nold\n```\n{END}\nafter\n"
    assert with_table(readme, "new") == f"before\n{BEGIN}\n```text\nnew\n```\n{END}\nafter\n"


def test_only_the_tables_of_headline_measures_are_taken() -> None:
    cell = {"mean": 0.5, "std": None, "per_seed": [0.5], "low": 0.4, "high": 0.6}
    row = {
        "name": "seed LM",
        "kind": "seed",
        "seeds": [],
        "tasks": {},
        "measures": {"target": cell, "raw_refused": cell},
    }
    group = {
        "dataset": "a",
        "model": "m",
        "setting": {},
        "target": ["t"],
        "tasks": {"t": 4},
        "protocols": [],
        "rows": [row],
    }
    summary = {
        "measures": [],
        "groups": [group, group | {"dataset": "b"}],
        "interval": {"confidence": 0.95},
        "limits": ["a limit"],
        "warnings": ["a warning"],
        "failed": [],
    }
    shown = main_tables(summary)
    assert shown.startswith("a on m, target: t\n")
    assert shown.count("target task") == shown.count("50.0") == 2
    assert "refused" not in shown and "note:" not in shown and "warning" not in shown


def test_the_readme_shows_a_table_and_a_small_figure() -> None:
    assert "seed LM" in (ROOT / "README.md").read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    assert FIGURE.stat().st_size < 300_000
