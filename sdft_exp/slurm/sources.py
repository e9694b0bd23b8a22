"""Whether the code that a stage's key stands for is still there, when a job comes to it hours after its submission."""

from __future__ import annotations

from collections.abc import Iterator

from sdft_exp.errors import UserError
from sdft_exp.generation.engines import MODULES
from sdft_exp.stage import Stage, source_digest
from sdft_exp.stages.answer import Answer
from sdft_exp.stages.distill import Distill
from sdft_exp.stages.judge import Judging
from sdft_exp.stages.score import Score
from sdft_exp.stages.train import Train
from sdft_exp.tasks import registry
from sdft_exp.training.settings import Zero


def changed(stage: Stage) -> list[str]:
    """The modules and the task in the stage's key that are not any more as they were when the key was made."""
    found = [module for module, digest in keyed_modules(stage) if _digest(module) != digest]
    match stage.params:
        case (
            Answer(protocol=protocol, task=task, prompts=digest) | Judging(protocol=protocol, task=task, prompts=digest)
        ):
            same = _task(protocol, task).get("prompts") == digest
        case Score(protocol=protocol, task=task, rules=digest):
            same = _task(protocol, task).get("rules") == digest
        case _:
            return found
    return found if same else [*found, f"the task {task}"]


def keyed_modules(stage: Stage) -> Iterator[tuple[str, str]]:
    """Each module whose digest is in the key: the stage's own, and those that it loads by name."""
    yield f"sdft_exp.stages.{stage.name}", stage.key_inputs["source"]
    match stage.params:
        case Distill(engine=engine) | Answer(engine=engine):
            yield MODULES[engine.name], engine.source
        case Judging(rubric=rubric, source=source):
            yield f"sdft_exp.judging.{rubric}", source
        case Train(zero=Zero(source=source)):
            yield "sdft_exp.training.rank", source


def _digest(module: str) -> str:
    try:
        return source_digest(module)
    except (ModuleNotFoundError, SyntaxError):  # gone, or being edited
        return ""


def _task(protocol: str, name: str) -> dict[str, str]:
    try:
        found = registry.task(protocol, name)
    except (UserError, ValueError):  # gone, or it makes no sense any more
        return {}
    return {"prompts": found.prompts, "rules": found.rules}
