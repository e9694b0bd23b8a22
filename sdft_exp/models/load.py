"""Models in memory: one base is kept per process, adapters are put on and taken off without touching its weights."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdft_exp.data.encode import Encoder, load_encoder
from sdft_exp.errors import ConfigError
from sdft_exp.models.identity import ModelRef
from sdft_exp.progress import tell
from sdft_exp.verbose import verbose

SMALL = 100_000_000  # parameters under which a second thread costs more than it gives on a busy machine


def load(ref: ModelRef, adapter: Path | None = None) -> tuple[Any, Encoder]:
    """The model of `ref` for generation and evaluation, with the adapter of that folder on it, and its encoder.

    What an earlier call gave changes with the next one: one base serves all.

    Raises:
        ConfigError: a model that transformers cannot load, or a CUDA device that is not there.
    """
    key = (ref.path, ref.revision, ref.dtype, device_of(ref), ref.trust_remote_code, ref.digest)
    if _kept.get("key") != key:
        release()
        _kept.update(key=key, base=read_model(ref), adapter=None)
    _put_on(adapter)
    set_threads(ref, _kept["base"])
    return _kept["worn"], load_encoder(ref.path, ref.revision)


def read_model(ref: ModelRef) -> Any:
    """A fresh copy of the model from its files, in eval mode, on its device.

    Raises:
        ConfigError: files that transformers cannot load, or that lack weights (it would draw those at random).
    """
    import safetensors
    import torch
    import transformers

    # transformers declares a model alone, whatever output_loading_info says.
    from_pretrained: Any = transformers.AutoModelForCausalLM.from_pretrained
    if not verbose():
        transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tell(0, 0, f"loading the model{_size(ref)}")
    try:
        model, loaded = from_pretrained(
            ref.path,
            revision=ref.revision,
            dtype=getattr(torch, ref.dtype),
            use_safetensors=True,
            trust_remote_code=ref.trust_remote_code,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"model.path={ref.path}: transformers cannot load it ({first})") from None
    if loaded["missing_keys"]:
        lacking = sorted(loaded["missing_keys"])
        raise ConfigError(f"model.path={ref.path}: lacks {len(lacking)} weights, {lacking[0]} say; save it again")
    return model.to(device_of(ref)).eval()


def _size(ref: ModelRef) -> str:
    """`, 13.5 GB` of a folder's weights; "" of a hub model, whose files may not be here yet."""
    size = sum(path.stat().st_size for path in Path(ref.path).glob("*.safetensors"))
    return f", {size / 1e9:.1f} GB" if size >= 5e7 else f", {size / 1e6:.1f} MB" if size else ""


def release() -> None:
    """Forget the kept model before another, of another process even, needs the memory; `at_release` does so too."""
    _kept.clear()
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()  # nothing where CUDA was not used
    for give_up in at_release:
        give_up()


def device_of(ref: ModelRef) -> str:
    """ "cuda" or "cpu". Raises ConfigError where cuda was asked for and is not there."""
    import torch

    if ref.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if ref.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("launch.device=cuda: torch finds no CUDA device here; set launch.device=cpu")
    return ref.device


def set_threads(ref: ModelRef, model: Any) -> None:
    """Torch threads of this process as `launch.threads` says, else one for a small model on a CPU."""
    import torch

    own = _own_threads()
    small = device_of(ref) == "cpu" and model.num_parameters() < SMALL
    torch.set_num_threads(ref.threads or (1 if small else own))


@functools.cache
def _own_threads() -> int:
    """Torch's own choice, asked before we make ours."""
    import torch

    return torch.get_num_threads()


# What else in this process holds memory that a model may need, a server of ours say.
at_release: list[Callable[[], None]] = []

# key: what `base` was loaded as; adapter: identity of the files on it; worn: base, or base inside its adapter.
_kept: dict[str, Any] = {}


def _put_on(adapter: Path | None) -> None:
    identity = None if adapter is None else _file_identity(adapter / "adapter_model.safetensors")
    if "worn" in _kept and _kept["adapter"] == identity:
        return
    if _kept["adapter"] is not None:
        _kept["worn"].unload()  # gives the layers of the base back as they were: nothing was ever merged into them
    _kept.update(adapter=None, worn=_kept["base"])
    if adapter is not None:
        from sdft_exp.models.adapter import attach_adapter

        _kept.update(adapter=identity, worn=attach_adapter(_kept["base"], adapter))


def _file_identity(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return str(path), status.st_mtime_ns, status.st_size
