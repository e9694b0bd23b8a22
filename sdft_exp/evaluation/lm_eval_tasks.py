"""lm-eval's own tasks, built as it builds them, over our commit of their data set or a copy of it in a folder."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import datasets
from lm_eval.api.group import Group
from lm_eval.tasks import TaskManager

from sdft_exp.errors import DataError, UserError
from sdft_exp.tasks import lm_eval_files
from sdft_exp.tasks.registry import Task


def load(task: Task, data: Path | None) -> dict[str, Any]:
    """What lm-eval's `evaluate` takes: the tasks, and the group that aggregates them, if there is one.

    Args:
        task: one that names tasks of lm-eval's own.
        data: a copy of their data set; None: the hub's.

    Raises:
        DataError: the questions cannot be had.
        UserError: one of the tasks has a text written.
    """
    assert task.lm_eval is not None
    own = task.lm_eval
    manager = _manager(own.files)
    source = {"dataset_kwargs": {"revision": own.revision}} if data is None else {"dataset_path": str(data)}
    index = manager.task_index
    by_file = {entry.yaml_path: entry for entry in index.values() if entry.yaml_path}
    try:
        built = [
            # `load` takes no overrides for a task that it knows by name; the factory behind it does.
            manager._factory.build(by_file[lm_eval_files.root() / file], overrides=source, registry=index)
            for file in own.files
        ]
    except Exception as error:  # offline, gated, another form: each its own class, none with a way out
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        place = own.hub if data is None else data
        raise DataError(
            f"{place}: the questions of {task.name} cannot be had ({first}); download {own.hub} whole, as a folder "
            f"{own.hub.rpartition('/')[2]}, and name the folder that it lies in, eval.data=DIR"
        ) from None
    if own.aggregate:
        metrics = [dict(metric) for metric in own.aggregate]
        group = Group.from_config({"group": task.name, "aggregate_metric_list": metrics})
        for each in built:
            group.add(each)
        built = [group]
    loaded: dict[str, Any] = manager.load(built)
    for name, leaf in loaded["tasks"].items():
        if leaf.OUTPUT_TYPE == "generate_until":
            raise UserError(
                f"eval.tasks: {task.name} has a text written by {name}, past our prompt templates; leave it out"
            )
        if leaf.get_config("num_fewshot") is None:  # as lm-eval's own `simple_evaluate` has it
            leaf.set_config("num_fewshot", 0)
    return loaded


@functools.cache
def _manager(files: tuple[str, ...]) -> TaskManager:
    # All of lm-eval's tasks would take it seconds to read.
    datasets.disable_progress_bars()
    folders = sorted({str((lm_eval_files.root() / file).parent) for file in files})
    return TaskManager(include_path=folders, include_defaults=False)


def without_places(task: Task, configs: dict[str, Any]) -> None:
    """Put names in the place of this machine's paths in the `configs` of lm-eval's results."""
    assert task.lm_eval is not None
    for config in configs.values():
        config["dataset_path"] = task.lm_eval.hub
        source = Path(config["metadata"]["config_source"])
        config["metadata"]["config_source"] = (
            Path("lm_eval/tasks") / source.relative_to(lm_eval_files.root())
        ).as_posix()
