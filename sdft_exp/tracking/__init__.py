"""Weights & Biases: `told` says what there is to log, `handing` hands it to a child process, `child` logs it.

What is logged under which name: docs/wandb.md.
"""
