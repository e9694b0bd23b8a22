"""What training leaves, as it is put to use: an adapter for the seed LM, or a model of its own. Imports no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from sdft_exp.models.identity import ModelRef

ADAPTER, MODEL = "adapter", "model"  # folders in a training's artifact, which holds one of the two


def tuned(seed: ModelRef, train: Path | None) -> tuple[ModelRef, Path | None]:
    """The model to load, and the adapter to put on it, for what was trained into the folder `train`.

    The seed LM itself where that is None. A model of its own is asked like the seed LM: in its format and precision.
    """
    if train is None:
        return seed, None
    folder = train / MODEL
    if not folder.is_dir():
        return seed, train / ADAPTER
    weights = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in folder.glob("*.safetensors")]
    # The digest is of this loading alone and in no key: it tells a model that was made again in the same place.
    return dataclasses.replace(seed, digest=f"{seed.digest} {sorted(weights)}", path=str(folder), revision=None), None
