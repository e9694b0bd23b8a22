"""Tables from a store that the test fills by hand: what a cell says, what is compared, and what is not."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from safetensors.numpy import save_file

from analysis.tables import show
from analysis.tables.__main__ import look_up, main
from analysis.tables.build import Row, Table
from analysis.tables.cells import Scores
from analysis.tables.formats import NOT_PUBLISHED, NOT_RUN, as_csv, as_json, grids, latex, markdown
from analysis.tables.presets import preset_configs
from analysis.tables.settings import departures, setting
from analysis.tables.shape import Source
from analysis.tables.specs import SPECS
from analysis.tables.terminal import print_table
from sdft_exp.errors import ConfigError
from sdft_exp.experiment import Experiment, experiment
from sdft_exp.reference.published import limits_tables, sdft_tables
from sdft_exp.stage import Stage
from sdft_exp.store import Store

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

ACCURACY = Source(("t",), "accuracy")
ROW = {"instruction": "add 1 and 1", "output": "1 + 1 = 2\n#### 2"}


@dataclass(frozen=True)
class Judged:
    """What `fill` reads of a score stage's parameters."""

    name: str
    task: str = "t"
    protocol: str = "micro"
    version: str = "1"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def real(tmp_path: Path, tiny_tokenizer: Path) -> list[str]:
    return put_real(tmp_path, tiny_tokenizer)


def put_real(folder: Path, tokenizer: Path) -> list[str]:
    """Overrides that put a row and a folder without weights in place of what the hub has."""
    data, model = folder / "rows.jsonl", folder / "model"
    data.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    model.mkdir()
    for path in tokenizer.iterdir():
        (model / path.name).write_bytes(path.read_bytes())
    (model / "config.json").write_text('{"vocab_size": 320}')
    save_file({f"layers.0.{name}.weight": np.zeros((1, 1)) for name in PROJECTIONS}, model / "model.safetensors")
    return [f"dataset.path={data}", f"model.path={model}", "model.revision=null", f"paths.store={folder}/store"]


def fill(store: Store, stage: Stage, metrics: dict[str, Sequence[float]]) -> None:
    """Put a score artifact with these values, one an item, into the store."""
    count = len(next(iter(metrics.values())))
    score = {
        "task": stage.params.task,
        "protocol": stage.params.protocol,
        "version": getattr(stage.params, "version", "1"),  # which a measure of shift has elsewhere
        "n": count,
        "metrics": {name: float(np.nanmean(values)) for name, values in metrics.items()},
        "items": [
            {"id": str(at)} | {name: values[at] for name, values in metrics.items() if not np.isnan(values[at])}
            for at in range(count)
        ],
    }

    def write(out: Path) -> None:
        (out / "scores.json").write_text(json.dumps(score), encoding="utf-8")

    store.produce(stage, write)


def stories(name: str, overrides: Sequence[str]) -> list[Experiment]:
    return [experiment(config) for config in preset_configs(name, overrides)]


def story_of(found: Sequence[Experiment], dataset: str, method: str, seed: int = 0) -> Experiment:
    (only,) = [
        story
        for story in found
        if (story.config.dataset.name, story.config.method.name, story.config.seed) == (dataset, method, seed)
    ]
    return only


def row_of(table: Table, *key: str) -> Row:
    (only,) = [row for row in table.rows if row.key == key]
    return only


def run_of(store: Store, name: str, values: Sequence[float], task: str = "t") -> dict[str, str]:
    """A run that was asked one task, with these values of `accuracy`."""
    stage = Stage("score", Judged(name, task))
    fill(store, stage, {"accuracy": values})
    return {task: stage.address}


# Cells


def test_a_cell_is_the_mean_over_seeds_and_items(store: Store) -> None:
    runs = {0: run_of(store, "a", [1, 1, 0, 0]), 1: run_of(store, "b", [1, 1, 1, 0])}
    cell = Scores(store, 200, 0.95).estimate(runs, ACCURACY)
    assert cell and cell.mean == pytest.approx((0.5 + 0.75) / 2)
    assert cell.low < cell.mean < cell.high
    assert cell.seeds == (0, 1)


def test_values_that_are_all_alike_have_an_interval_of_no_width(store: Store) -> None:
    cell = Scores(store, 50, 0.95).estimate({0: run_of(store, "a", [1, 1, 1])}, ACCURACY)
    assert cell and (cell.mean, cell.low, cell.high) == (1, 1, 1)


def test_a_difference_is_paired_by_item(store: Store) -> None:
    # Each has a wide interval of its own; item by item one is the other plus one, or the very same.
    scores = Scores(store, 200, 0.95)
    vanilla = {0: run_of(store, "vanilla", [0, 1, 0, 1])}
    same, better = {0: run_of(store, "same", [0, 1, 0, 1])}, {0: run_of(store, "better", [1, 2, 1, 2])}
    nothing, gain = scores.difference(same, vanilla, ACCURACY), scores.difference(better, vanilla, ACCURACY)
    assert nothing and (nothing.mean, nothing.low, nothing.high, nothing.significant) == (0, 0, 0, False)
    assert gain and gain.significant
    assert (gain.mean, gain.low, gain.high) == pytest.approx((1, 1, 1))


def test_a_difference_takes_the_seeds_that_both_have(store: Store) -> None:
    scores = Scores(store, 50, 0.95)
    runs = {seed: run_of(store, f"sdft {seed}", [seed, seed]) for seed in (0, 1, 2)}
    vanilla = {1: run_of(store, "vanilla 1", [0, 0])}
    found = scores.difference(runs, vanilla, ACCURACY)
    assert found and (found.mean, found.seeds) == (1, (1,))
    assert scores.difference(runs, {7: run_of(store, "vanilla 7", [0, 0])}, ACCURACY) is None


def test_other_questions_are_not_paired(store: Store) -> None:
    longer, shorter = {0: run_of(store, "longer", [0, 1, 1])}, {0: run_of(store, "shorter", [0, 1])}
    assert Scores(store, 50, 0.95).difference(longer, shorter, ACCURACY) is None


def test_the_average_is_over_tasks_and_wants_them_all(store: Store) -> None:
    both = run_of(store, "a", [1, 1], "t") | run_of(store, "b", [0, 1, 0, 0], "u")
    scores, average = Scores(store, 50, 0.95), Source(("t", "u"), "accuracy")
    cell = scores.estimate({0: both}, average)
    assert cell and cell.mean == pytest.approx((1 + 0.25) / 2)
    assert scores.estimate({0: {"t": both["t"]}}, average) is None


def test_what_is_absent_damaged_or_without_the_metric_is_not_run(store: Store) -> None:
    run = run_of(store, "a", [1, 0])
    assert Scores(store, 50, 0.95).estimate({0: run}, Source(("t",), "helpful")) is None
    assert Scores(store, 50, 0.95).estimate({0: {"t": "score/not-there"}}, ACCURACY) is None
    (store.path(run["t"]) / "scores.json").write_text("{}")
    assert Scores(store, 50, 0.95).estimate({0: run}, ACCURACY) is None


# Tables


def test_without_any_run_the_print_stands_alone(real: list[str]) -> None:
    table = look_up("table1", real)
    assert table.apart == ""
    assert [row.key for row in table.rows] == [row.key for row in SPECS["table1"].rows]
    (grid,) = grids(table)
    assert [line.cells for line in grid.lines if line.kind == "paper"][:2] == [
        ("19.6", "29.4", "13.4", "20.8"),
        ("34.8", "21.5", "9.8", "22.0"),
    ]
    assert {cell for line in grid.lines if line.kind == "ours" for cell in line.cells} == {NOT_RUN}


def test_ours_stands_beside_the_print_with_both_differences(store: Store, real: list[str]) -> None:
    found = stories("table1", real)
    values = {"vanilla": [1, 0, 0, 0], "sdft": [1, 1, 0, 0]}
    for method, accuracy in values.items():
        story = story_of(found, "openfunctions", method)
        fill(store, story.scores["openfunctions"], {"accuracy": accuracy})
    table = look_up("table1", real)
    assert table.apart == ""
    vanilla, sdft = row_of(table, "OpenFunctions", "vanilla"), row_of(table, "OpenFunctions", "SDFT")
    assert vanilla.cells[0].difference == pytest.approx(25 - 34.8)
    assert sdft.cells[0].difference == pytest.approx(50 - 36.6)
    assert vanilla.cells[0].against is None
    against = sdft.cells[0].against
    assert against and against.mean == pytest.approx(0.25)
    lines = {line.kind: line.cells for line in grids(table)[0].lines if line.labels == ("OpenFunctions", "SDFT")}
    assert lines["ours"][0].startswith("50.0 [") and lines["ours"][1:] == (NOT_RUN,) * 3
    assert lines["ours - paper"] == ("+13.4", "", "", "")
    assert lines["ours - vanilla"][0].startswith("+25.0 [")


def test_the_average_needs_every_benchmark(store: Store, real: list[str]) -> None:
    seed_scores = stories("table1", real)[0].seed_scores
    fill(store, seed_scores["openfunctions"], {"accuracy": [1, 0]})
    fill(store, seed_scores["gsm8k"], {"accuracy": [1, 1]})
    assert row_of(look_up("table1", real), "-", "seed LM").cells[3].ours is None
    fill(store, seed_scores["humaneval"], {"accuracy": [0, 0]})
    average = row_of(look_up("table1", real), "-", "seed LM").cells[3]
    assert average.ours and average.ours.mean == pytest.approx(0.5)
    assert average.difference == pytest.approx(50 - 20.8)


def test_another_model_stands_apart_and_is_never_subtracted(store: Store) -> None:
    one_row = ["dataset=micro_functions", "row=table4/using"]
    overrides = ["model=micro", f"paths.store={store.root}", *one_row]
    for story in stories("table4", overrides):
        fill(store, story.scores["micro_functions"], {"accuracy": [1, 0, story.config.seed == 0]})
    table = look_up("table4", overrides)
    assert table.apart == "another model, micro"
    ours, published = grids(table)
    assert ours.heading == "Ours (another model, micro)"
    assert published.heading == "Published for Llama-2-7b-chat: not compared with ours"
    assert ours.header[3:6] == ("micro_functions", "micro_chat", "micro_math")
    assert published.header[3:6] == ("OpenFunctions", "HumanEval", "GSM8K")
    assert {line.kind for line in ours.lines} == {"ours"}
    assert {line.kind for line in published.lines} == {"paper", "author rerun"}
    cell = row_of(table, "micro_functions", "SDFT (using)").cells[0]
    assert cell.ours and cell.ours.mean == pytest.approx((2 / 3 + 1 / 3 + 1 / 3) / 3)
    assert all(cell.difference is None for row in table.rows for cell in row.cells)


def test_another_setting_stands_apart_too(real: list[str]) -> None:
    table = look_up("figure9", [*real, "eval.limit=50"])
    assert table.apart == "another setting, eval.limit=50"
    assert look_up("figure9", [*real, "seed=0,1,2", "launch.threads=1", "generation.batch_tokens=99"]).apart == ""


def test_settings_that_share_a_row_are_told_apart(real: list[str]) -> None:
    table = look_up("figure9", [*real, "tuning.rank=8,16", "method=sdft"])
    own = [row.key for row in table.rows if row.own and "SDFT" in row.key[-1]]
    assert own == [("SDFT, tuning.rank=8",), ("SDFT, tuning.rank=16",)]


def test_a_print_of_an_unknown_setting_is_not_subtracted(real: list[str]) -> None:
    table = look_up("figure9", real)
    assert [row.cells[0].paper.value for row in table.rows if row.cells[0].paper] == [0.75, 0.85]
    assert any("data set behind the print is not known" in note for note in table.notes)


@pytest.mark.parametrize(
    ("judge", "subtracted"),
    [
        (["eval.judge.model=gpt-4"], True),
        (["eval.judge.model=gpt-4", "eval.judge.base_url=http://localhost:1/v1"], False),
        (["eval.judge.model=gpt-4", "eval.judge.annotator=chatgpt"], False),
        (["eval.judge.model=gpt-4", "eval.judge.temperature=1.0"], False),
        (["eval.judge.model=my-judge"], False),
        (["eval.judge.model=gpt-4", "eval.judge.both_orders=true"], False),
    ],
)
def test_a_win_rate_is_compared_with_the_print_where_its_judge_is_gpt_4(
    store: Store, real: list[str], judge: list[str], subtracted: bool
) -> None:
    mine = [*real, *judge, "row=single_task/gsm8k", "seed=0"]
    story = story_of(stories("table2", mine), "gsm8k", "sdft")
    fill(store, story.scores["alpaca_eval"], {"win_rate": [1, 0.5, 0, 1]})
    fill(store, story.scores["advbench"], {"safe_rate": [1, 0, 0, 0]})
    table = look_up("table2", mine)
    raw, _, wins = row_of(table, "GSM8K", "SDFT").cells
    assert table.apart == ""  # who judges is no matter of the columns that rules judge
    assert wins.ours and wins.ours.mean == 0.625
    assert raw.difference is not None and raw.paper and raw.difference == pytest.approx(25 - raw.paper.value)
    assert wins.paper
    if subtracted:
        assert wins.difference == pytest.approx(62.5 - wins.paper.value)
    else:
        assert wins.difference is None
    (note,) = [note for note in table.notes if note.startswith("AlpacaEval: judged with model=")]
    assert ("not subtracted" in note) == (not subtracted)


def test_without_a_judge_a_table_says_what_is_missing(real: list[str]) -> None:
    table = look_up("table2", real)
    assert table.apart == ""
    assert any("eval.judge.model=NAME" in note for note in table.notes)
    assert not any("judge" in note for note in look_up("table1", real).notes)


def test_what_cannot_be_looked_up_is_said_and_the_print_is_shown() -> None:
    table = look_up("table1", ["dataset.path=/not/there.jsonl"])
    assert any(note.startswith("ours, not looked up: /not/there.jsonl") for note in table.notes)
    assert row_of(table, "GSM8K", "SDFT").cells[1].paper


def test_the_full_tuning_of_table_5_is_not_run(real: list[str]) -> None:
    row = row_of(look_up("table5", real), "Llama-2-7b-chat, full", "GSM8K", "SDFT")
    assert [cell.ours for cell in row.cells] == [None] * 6
    printed = [cell.paper.text for cell in row.cells if cell.paper]
    assert printed == ["35.03", "16.07", "15.85", "88.46", "63.46", "61.19"]


@pytest.mark.parametrize("name", SPECS)
def test_every_published_cell_of_a_table_is_in_it(name: str) -> None:
    titles = {"table1": "Table 1", "table2": "Table 2", "table3": "Table 3", "table4": "Table 4", "table5": "Table 5"}
    spec = SPECS[name]
    shown = {
        (cell.model, cell.tuning, cell.finetune_dataset, cell.method, cell.benchmark)
        for row in spec.rows
        for column in spec.columns
        if (
            cell := sdft_tables().find(
                "paper", row.model, row.tuning, row.dataset, row.method, column.benchmark, tables=row.tables
            )
        )
    }
    wanted = {
        (cell.model, cell.tuning, cell.finetune_dataset, cell.method, cell.benchmark)
        for cell in sdft_tables().cells
        if cell.table == titles.get(name)
    }
    assert wanted <= shown


@pytest.mark.parametrize(
    ("name", "tables"),
    [("limits/scaling", ("Table 13", "Table 14", "Table 15")), ("limits/lora_vs_full", ("Figure 1", "Figure 4"))],
)
def test_the_studies_of_limits_show_every_plain_fine_tuning_of_the_print(name: str, tables: tuple[str, ...]) -> None:
    spec, table = SPECS[name], look_up(name, ["dataset.path=/not/there.jsonl"])
    benchmarks = {column.benchmark for column in spec.columns}
    wanted = [
        cell
        for cell in limits_tables().cells
        if cell.table in tables and cell.method == "vanilla" and cell.benchmark in benchmarks
    ]
    shown = [cell.paper for row in table.rows for cell in row.cells if cell.paper]
    assert sorted(map(str, shown)) == sorted(map(str, wanted))
    assert all(any(cell.paper for cell in row.cells) for row in table.rows)
    keys = [row.key for row in table.rows]
    assert len(set(keys)) == len(keys) and any(key[0] == "Llama-2-70b" for key in keys)


def test_departures_of_an_option_are_its_name_alone() -> None:
    base: dict[str, object] = {"model.name": "a", "dataset.name": "x", "dataset.size": 1, "eval.limit": None}
    assert departures(base | {"dataset.name": "y", "dataset.size": 2, "eval.limit": 5}, base) == [
        "dataset=y",
        "eval.limit=5",
    ]
    assert departures(base | {"model.name": "b", "eval.limit": 5}, base) == ["model=b"]


# Formats


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Table:
    folder = tmp_path_factory.mktemp("filled")
    overrides = put_real(folder, tiny_tokenizer)
    story = story_of(stories("table1", overrides), "gsm8k", "sdft")
    fill(Store(folder / "store"), story.scores["gsm8k"], {"accuracy": [1, 0]})
    return look_up("table1", overrides)


def test_json_holds_every_cell_with_its_sources(filled: Table) -> None:
    content = json.loads(as_json(filled))
    assert len(content["cells"]) == 7 * 4
    (cell,) = [
        cell
        for cell in content["cells"]
        if (cell["fine-tuned on"], cell["method"], cell["column"]) == ("GSM8K", "SDFT", "GSM8K")
    ]
    assert (cell["paper"], cell["author_rerun"], cell["ours"], cell["ours_minus_paper"]) == (34.4, None, 50.0, 15.6)
    assert cell["ours_low"] <= 50 <= cell["ours_high"]
    assert cell["paper_source"].startswith("Table 1") and cell["seeds"] == [0]
    assert cell["baseline"] == "vanilla" and cell["ours_minus_baseline"] is None


def test_csv_says_what_is_not_there(filled: Table) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(filled))))
    assert len(rows) == 7 * 4
    average = next(row for row in rows if row["column"] == "Average" and row["method"] == "SDFT")
    assert (average["paper"], average["author_rerun"], average["ours"]) == ("27.0", NOT_PUBLISHED, NOT_RUN)


def test_markdown_and_latex_say_the_same(filled: Table) -> None:
    text, tex = markdown(filled), latex(filled)
    assert "| GSM8K | SDFT | paper | 17.9 | 34.4 | 14.6 | 22.3 |" in text
    assert r"GSM8K & SDFT & paper & 17.9 & 34.4 & 14.6 & 22.3 \\" in tex
    assert NOT_PUBLISHED in text and NOT_RUN in text
    assert tex.count(r"\begin{tabular}{lllrrrr}") == tex.count(r"\end{tabular}") == 1
    assert r"ours $-$ paper" in tex


def test_the_terminal_puts_columns_that_do_not_fit_below(filled: Table) -> None:
    for width, parts in ((80, 1), (60, 2)):
        console = Console(width=width, record=True, file=io.StringIO())
        print_table(filled, console)
        text = console.export_text()
        assert text.count("fine-tuned on, method") == parts
        assert max(map(len, text.splitlines())) <= width
        assert "50.0" in text and "+15.6" in text


def test_show_prints_and_leaves_the_table_of_a_preset(store: Store, real: list[str], tmp_path: Path) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    found = stories("table1", real)
    show("demo", found, store, console, tmp_path)
    show(None, found, store, console, tmp_path)
    assert console.export_text() == ""
    show("table1", found, store, console, tmp_path)
    assert "Table 1" in console.export_text()
    assert (tmp_path / "table.md").read_text().startswith("# Table 1") and (tmp_path / "table.csv").is_file()


def test_the_command_prints_a_format_and_refuses_in_one_line(
    real: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["table1", "--format", "csv", *real]) == 0
    assert capsys.readouterr().out.startswith("fine-tuned on,method,column")
    assert main(["tabel1"]) == 2
    assert capsys.readouterr().err.startswith("error: tabel1: no such table; did you mean table1?")
    assert main(["table1", "method.mix_ration=1"]) == 2
    assert "did you mean method.mix_ratio?" in capsys.readouterr().err


def test_general_knowledge_stands_beside_the_authors_later_values(real: list[str], tmp_path: Path) -> None:
    found, store = stories("figure4", real), Store(tmp_path / "store")
    assert [list(story.scores) for story in found] == [["mmlu", "truthfulqa", "ai2_arc", "hellaswag", "winogrande"]] * 2
    fill(store, found[0].seed_scores["hellaswag"], {"acc": [1, 1, 0, 0], "acc_norm": [1, 1, 1, 1]})
    table = look_up("figure4", real)
    assert table.apart == ""
    seed = dict(zip(table.columns, row_of(table, "-", "seed LM").cells, strict=True))
    assert seed["HellaSwag"].ours and seed["HellaSwag"].ours.mean == 0.5
    authors = {name: cell.authors.value for name, cell in seed.items() if cell.authors}
    assert authors == {"MMLU": 46.42, "TruthfulQA": 35.26, "ARC": 64.06, "HellaSwag": 57.8, "Winogrande": 66.38}
    assert all(cell.paper is None for cell in seed.values())


def test_a_preset_is_expanded_as_its_sweep_is() -> None:
    configs = preset_configs("figure4", ["model=micro", "seed=3,4"])
    assert [(config.dataset.name, config.method.name, config.seed) for config in configs] == [
        ("micro_functions", method, seed) for method in ("vanilla", "sdft") for seed in (3, 4)
    ]
    with pytest.raises(ConfigError, match=r"experiment=figure44: no such option; did you mean figure4\?"):
        preset_configs("figure44")


def test_a_judge_that_failed_at_some_answers_of_one_run_makes_no_difference(store: Store) -> None:
    judged = [1.0] * 40 + [0.0] * 40
    some = [np.nan if at < 20 else value for at, value in enumerate(judged)]  # it failed at answers that won
    one, other = run_of(store, "one", judged), run_of(store, "other", some)
    scores = Scores(store, 200, 0.95)
    mean = scores.estimate({0: other}, ACCURACY)
    assert mean and mean.mean == pytest.approx(20 / 60)
    difference = scores.difference({0: one}, {0: other}, ACCURACY)
    assert difference and (difference.mean, difference.low, difference.high) == (0, 0, 0)
    assert scores.without_value({0: one, 1: other}, ACCURACY) == (20, 160)
    nothing = run_of(store, "nothing", [*[np.nan] * 79, 1.0])
    rest = run_of(store, "rest", [*judged[:79], np.nan])
    assert scores.difference({0: nothing}, {0: rest}, ACCURACY) is None
    for have, told in ((4, False), (5, True)):  # a difference over a few that are left would look certain
        few = run_of(store, f"few {have}", [1.0] * have + [np.nan] * (80 - have))
        assert (scores.difference({0: few}, {0: other | rest}, ACCURACY) is not None) == told


def test_a_table_tells_of_unjudged_answers(store: Store, real: list[str]) -> None:
    mine = [*real, "eval.judge.model=gpt-4", "row=single_task/gsm8k", "seed=0"]
    story = story_of(stories("table2", mine), "gsm8k", "sdft")
    fill(store, story.scores["alpaca_eval"], {"win_rate": [1, np.nan, 0, 1]})
    notes = look_up("table2", mine).notes
    assert any("SDFT: the judge failed at 1 of 4 answers, which are in no mean" in note for note in notes)


def put_words(store: Store, story: Experiment, values: Sequence[float]) -> None:
    """Shares of shifted words in the data, and nothing else, of a job of limits/pattern_copy."""
    (stage,) = [stage for name, stage in story.shifts.items() if name.startswith("causes/")]
    fill(store, stage, {"shifted_in_data": values} if not np.isnan(values).all() else {"shifted_style": [0.0]})


def test_what_no_judge_judges_is_no_judges_failure(store: Store) -> None:
    overrides = ["model=micro", f"paths.store={store.root}", "dataset=micro_chat", "seed=0,1"]
    for story in stories("limits/pattern_copy", overrides):
        lora, first = story.config.tuning.name == "lora", story.config.seed == 0
        put_words(store, story, [1.0, np.nan, np.nan, 0.5] if lora and first else [np.nan] * 4 if lora else [1.0] * 4)
    notes = look_up("limits/pattern_copy", overrides).notes
    assert not any("judge" in note for note in notes)
    (some,) = [note for note in notes if "2 of 4 answers have no value and are in no mean" in note]
    assert some.startswith("shifted words in the data, ") and ", LoRA: " in some
    (seed,) = [note for note in notes if "no answer of seed 1 has a value" in note and "shifted words in" in note]
    assert ", LoRA: " in seed


def test_aspects_are_judged_once_and_never_subtracted_from_a_print_of_another_prompt(
    store: Store, real: list[str]
) -> None:
    mine = ["row=limits/alpaca_1k", "seed=0", "eval.judge.both_orders=true", f"paths.store={store.root}"]
    mine += [one for one in real if not one.startswith("paths.store=")]
    story = next(one for one in stories("limits/scaling", mine) if one.config.tuning.name == "full")
    fill(store, story.scores["just_eval"], {"helpfulness": [4.0, 5.0], "clarity": [3.0, 3.0]})
    table = look_up("limits/scaling", mine)
    cell = row_of(table, "Llama-2-7b", "Alpaca 1K", "full").cells[0]
    assert table.apart == "" and cell.paper and cell.ours and cell.ours.mean == 4.5
    assert cell.difference is None
    assert any("takes N/A for a 5" in note and "ours is not subtracted" in note for note in table.notes)
    (note,) = [note for note in table.notes if "judged with" in note]
    assert note.startswith("just-eval, MedInstruct-test: judged with model=gpt-4-1106-preview, ")
    assert "annotator" not in note and "both_orders" not in note
    (record,) = [
        one
        for one in json.loads(as_json(table))["cells"]
        if (one["model"], one["trained on"], one["tuning"]) == ("Llama-2-7b", "Alpaca 1K", "full")
        and one["column"] == "just-eval: Helpfulness"
    ]
    assert record["baseline"] == "full" and record["ours"] == 4.5


@pytest.mark.parametrize(
    ("encoder", "revision", "other"),
    [
        ("package:minilm", "null", False),  # its weights are checked to be the preset's
        ("package:minilm", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf", False),
        ("sentence-transformers/all-MiniLM-L6-v2", "c9745ed1d9f207416be6d2e6f8de32d1f16199bf", False),
        ("sentence-transformers/all-MiniLM-L6-v2", "another", True),
        ("some/encoder", "another", True),
    ],
)
def test_an_encoder_of_the_same_weights_is_the_same_setting(encoder: str, revision: str, other: bool) -> None:
    (standing, *_), (own, *_) = (
        preset_configs("figure9", overrides)
        for overrides in ([], [f"shift.encoder={encoder}", f"shift.encoder_revision={revision}"])
    )
    assert bool(departures(setting(own), setting(standing))) == other
