"""transformers' Trainer over planned steps: its optimizer, schedule, clipping and checkpoints, our layout and loss."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sdft_exp.data.encode import Example
from sdft_exp.data.jsonl import write_json
from sdft_exp.errors import UserError
from sdft_exp.stage import Progress
from sdft_exp.stopping import Stopped, asked, deferred
from sdft_exp.store import MEASURED
from sdft_exp.training import checkpoints
from sdft_exp.training.loss import collate, response_loss
from sdft_exp.training.schedule import plan_micro_batches, plan_steps
from sdft_exp.training.settings import Optimisation


def tune(
    model: Any,
    examples: Sequence[Example],
    pad_id: int,
    settings: Optimisation,
    micro_batch_tokens: int,
    checkpoint_steps: int,
    folder: Path,
    progress: Progress,
    *,
    autocast: bool = False,
) -> list[dict[str, float]]:
    """Train what of `model` wants gradients, going on from the checkpoint in `folder`; returns its curve.

    A line of the curve: "step" (from 1), "loss" (mean over the step's response tokens, nats), "learning_rate",
    "grad_norm" (before clipping), "tokens" (response tokens of the step). How fast it went is left in `measured.json`
    beside `folder`: "steps", with "step", "tokens_per_second" (prompt and response) and, on a GPU, "gpu_memory_gb" (the
    most that was allocated so far, in 10^9 bytes).

    Args:
        autocast: float32 weights work in bfloat16.

    Raises:
        UserError: the loss is not finite.
        Stopped: a signal asked for it; the checkpoint is of the step at which it came.
    """
    arguments = {"use_cpu": model.device.type == "cpu", "bf16": autocast}
    if arguments["use_cpu"]:
        # accelerate imports DeepSpeed where it is installed, which prints that it finds no GPU unless it is told.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    trainer = StepTrainer(
        model, examples, pad_id, settings, micro_batch_tokens, checkpoint_steps, folder, progress, **arguments
    )
    return trainer.tune()


class StepTrainer(Trainer):
    """A Trainer one batch of which is a whole optimizer step: a list of forward passes of any number and shape.

    Trainer's own accumulation knows only a constant number of equal batches; here the rows of a step are the plan's,
    the loss is normalised over all of the step's response tokens, and the layout changes no number beyond rounding.
    """

    parts: tuple[str, ...] = checkpoints.ALONE  # that a checkpoint must have

    def __init__(
        self,
        model: Any,
        examples: Sequence[Example],
        pad_id: int,
        settings: Optimisation,
        micro_batch_tokens: int,
        checkpoint_steps: int,
        folder: Path,
        progress: Progress,
        **arguments: Any,
    ):
        """See `tune`; `arguments` are TrainingArguments' own."""
        steps = plan_steps(len(examples), settings.epochs, settings.batch_size, settings.seed)
        super().__init__(
            model=model,
            args=_arguments(settings, len(steps), checkpoint_steps, folder, arguments),
            train_dataset=[[examples[row] for row in step] for step in steps],
            data_collator=lambda items: {
                "passes": self.lay_out(items[0], pad_id, micro_batch_tokens),
                "tokens": sum(example.supervised for example in items[0]),
            },
            callbacks=[_Watch(progress, self.stopping)],
        )
        self.remove_callback(PrinterCallback)

    def tune(self) -> list[dict[str, float]]:
        """Train, going on from the last whole checkpoint; returns the curve."""
        begun = checkpoints.latest(Path(str(self.args.output_dir)), self.parts)
        with deferred():
            self.train(resume_from_checkpoint=None if begun is None else str(begun))
        if self.state.global_step < self.state.max_steps:  # a signal of another process's
            raise Stopped(signal.SIGTERM)
        steps: Any = self.train_dataset
        logged = [entry for entry in self.state.log_history if "loss" in entry]
        if self.args.process_index == 0:
            measured = [_speed(entry, step) for entry, step in zip(logged, steps, strict=True)]
            write_json(Path(str(self.args.output_dir)).parent / MEASURED, {"steps": measured})
        return [
            {
                "step": entry["step"],
                "loss": entry["loss"],
                "learning_rate": entry["learning_rate"],
                "grad_norm": entry["grad_norm"],
                "tokens": sum(example.supervised for example in step),
            }
            for entry, step in zip(logged, steps, strict=True)
        ]

    def stopping(self) -> bool:
        """Whether to stop after this step."""
        return asked()

    def lay_out(self, step: Sequence[Example], pad_id: int, budget: int) -> list[dict[str, torch.Tensor]]:
        """The forward passes of a step."""
        return lay_out(step, pad_id, budget)

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Forward and backward of all passes; returns the mean loss of the step's response tokens."""
        model.train()
        total = torch.zeros((), device=self.args.device)
        for batch in inputs["passes"]:
            loss = response_loss(model, batch["input_ids"], batch["labels"]) / inputs["tokens"]
            self.accelerator.backward(loss)
            total += loss.detach()
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Nobody reads it, and counting the parameters anew at every step takes longer than a small one's work."""
        return 0


class _Watch(TrainerCallback):
    """Tells the progress, seals checkpoints, and ends a training that has diverged or was asked to stop."""

    def __init__(self, progress: Progress, stopping: Callable[[], bool]):
        self._progress = progress
        self._stopping = stopping
        self._begun = 0.0

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self._progress(state.global_step, state.max_steps, "steps")
        if self._stopping():
            control.should_save = control.should_training_stop = True

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        line = state.log_history[-1]
        if "loss" in line:  # it was read from the device: the step is over
            line["seconds"] = time.perf_counter() - self._begun
            if torch.cuda.is_available():
                line["gpu_memory_gb"] = torch.cuda.max_memory_allocated() / 1e9
        if not math.isfinite(line.get("loss", 0.0)):
            raise UserError(
                f"training: the loss is no longer finite at step {state.global_step}; "
                f"lower tuning.learning_rate={args.learning_rate:g}"
            )

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if args.world_size > 1:
            torch.distributed.barrier()  # its parts are several processes'
        if state.is_world_process_zero:
            checkpoints.seal(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")


def _speed(entry: Mapping[str, float], step: Sequence[Example]) -> dict[str, float]:
    tokens = sum(len(example.input_ids) for example in step)
    memory = {"gpu_memory_gb": entry["gpu_memory_gb"]} if "gpu_memory_gb" in entry else {}
    return {"step": entry["step"], "tokens_per_second": round(tokens / entry["seconds"], 1), **memory}


def lay_out(examples: Sequence[Example], pad_id: int, budget: int) -> list[dict[str, torch.Tensor]]:
    """Rows in right-padded forward passes of at most `budget` tokens."""
    passes = plan_micro_batches([len(example.input_ids) for example in examples], budget)
    return [collate([examples[place] for place in places], pad_id) for places in passes]


def _arguments(
    settings: Optimisation, steps: int, checkpoint_steps: int, folder: Path, more: Mapping[str, Any]
) -> TrainingArguments:
    warms_up = settings.scheduler == "constant" and settings.warmup_ratio > 0
    told = {"optim": "adamw_torch", **more}
    made = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=1,  # one planned step
        max_steps=steps,
        train_sampling_strategy="sequential",  # the plan is the order
        remove_unused_columns=False,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant_with_warmup" if warms_up else settings.scheduler,
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        neftune_noise_alpha=settings.neftune_alpha,
        seed=settings.seed,
        save_strategy="steps",
        save_steps=checkpoint_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        **told,
    )
    assert made.device  # settles what follows, once and for all
    made._n_gpu = min(made.n_gpu, 1)  # or Trainer wraps the model in DataParallel, which knows nothing of the plan
    return made
