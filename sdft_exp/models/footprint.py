"""What a model costs to train and to ask, from its shape alone: operations, seconds and bytes. Imports no torch.

Operations: Kaplan et al., 2020 (arXiv 2001.08361), section 2.1, and Chowdhery et al., 2022 (PaLM, arXiv 2204.02311),
appendix B: a weight takes one multiplication and one addition a token, 2 operations, and as many again for the gradient
of its input; frozen weights need no gradient of their own, which would be 2 more. Attention looks at half of a causal
row on average. Bytes: Korthikanti et al., 2022 (arXiv 2205.05198), section 4, restated for Llama's layers, a fused
attention, and what LoRA leaves out; `tests/unit/models/test_footprint.py` compares with what torch holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sdft_exp.models.shape import Shape

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_SINGLE = 4  # bytes of a float32, in which norms, adapters and losses are kept whatever the model's precision
# DeepSpeed's own choices for stage 3, in numbers: weights are kept for their way back where it is no more than 10^9
# weights away (stage3_max_reuse_distance), so the last half of that; AdamW steps on so many at a time (sub_group_size).
_REUSED = 500_000_000
_SUB_GROUP = 1_000_000_000


@dataclass(frozen=True)
class Gpu:
    """The accelerator that hours are told for: its published peaks, and the shares of them that are reached.

    Attributes:
        tflops: 10^12 operations a second in the model's precision.
        bandwidth: 10^12 bytes a second.
        training: share of `tflops` in training and in reading prompts.
        decoding: share of `bandwidth` in writing token by token.
    """

    tflops: float
    bandwidth: float
    training: float
    decoding: float

    def compute_seconds(self, operations: float) -> float:
        """Seconds of work that arithmetic limits."""
        return operations / (self.tflops * 1e12 * self.training)

    def memory_seconds(self, moved: float) -> float:
        """Seconds of work that reading `moved` bytes limits."""
        return moved / (self.bandwidth * 1e12 * self.decoding)


def forward_operations(shape: Shape, tokens: float, length: float) -> float:
    """Of reading `tokens` tokens in rows of `length`: 2 a weight, and 2 * attention * length a layer."""
    return tokens * (2 * shape.multiplied + 2 * shape.layers * shape.attention * length)


def lora_operations(shape: Shape, adapter: int, tokens: float, length: float) -> float:
    """Of training an adapter of `adapter` parameters: 4 a frozen weight, 6 a trained one, attention thrice."""
    return tokens * (4 * shape.multiplied + 6 * adapter + 6 * shape.layers * shape.attention * length)


def full_operations(shape: Shape, tokens: float, length: float) -> float:
    """Of training every weight: 6 each, and attention thrice."""
    return tokens * (6 * shape.multiplied + 6 * shape.layers * shape.attention * length)


def cache_bytes(shape: Shape, dtype: str) -> int:
    """Keys and values that one token leaves in the cache."""
    return 2 * shape.layers * shape.key_value * BYTES[dtype]


def writing_seconds(
    shape: Shape, dtype: str, gpu: Gpu, requests: int, prompt: float, new_tokens: int, batch_tokens: int
) -> float:
    """Of `requests` prompts of `prompt` tokens, each continued by all of `new_tokens`.

    Prompts are read at the speed of arithmetic; then each step of a batch reads the weights once and its cache, half of
    the new tokens long on average, at the speed of memory.
    """
    rows = batch_rows(requests, prompt, new_tokens, batch_tokens)
    steps = requests / rows * new_tokens
    step = shape.parameters * BYTES[dtype] + rows * (prompt + new_tokens / 2) * cache_bytes(shape, dtype)
    reading = gpu.compute_seconds(forward_operations(shape, requests * prompt, prompt))
    return reading + gpu.memory_seconds(steps * step)


def batch_rows(requests: int, prompt: float, new_tokens: int, batch_tokens: int) -> int:
    """Rows of a full batch: see `generation.batches`."""
    return max(1, min(requests, int(batch_tokens / (prompt + new_tokens))))


def lora_bytes(
    shape: Shape, dtype: str, rank: int, targets: Sequence[str], dropout: float, tokens: int, responses: int
) -> int:
    """Peak of training an adapter: one forward pass of `tokens` tokens with loss on `responses` of them.

    Frozen weights; the adapter, its gradient and AdamW's two moments in float32; what the backward pass needs of every
    layer, nothing being recomputed; and on top the larger of the loss's buffers and one layer's gradients. CUDA's own
    context and the allocator's waste are not in it.

    Raises:
        KeyError: a target that is none of a layer's projections.
    """
    adapter = rank * shape.layers * sum(sum(shape.linear[target]) for target in targets)
    layer = _kept_of_layer(shape, BYTES[dtype]) + _kept_by_adapter(shape, dtype, rank, targets, dropout)
    kept = tokens * (shape.layers * layer + _SINGLE * shape.hidden)  # and the last norm's
    # Log-probabilities, their gradient and the logits', in float32.
    loss = 3 * _SINGLE * responses * shape.vocabulary
    gradients = tokens * _passing(shape, BYTES[dtype])
    return shape.parameters * BYTES[dtype] + 4 * _SINGLE * adapter + kept + max(loss, gradients)


def full_bytes(shape: Shape, dtype: str, tokens: int, responses: int, passes: int, *, foreach: bool) -> int:
    """Peak of training every weight in one process: forward passes of `tokens` tokens, `passes` of them a step.

    Float32 weights, AdamW's two moments and gradients, and in bfloat16 the copies that autocast works with; what the
    backward pass needs. In the only pass of a step gradients come as activations go; later passes find them there.

    Args:
        foreach: AdamW takes the roots of all second moments at once, as torch does on CUDA, not weight by weight.
    """
    weights = _SINGLE * shape.parameters
    copies = BYTES[dtype] * shape.multiplied if dtype != "float32" else 0
    passing = kept_by_pass(shape, dtype, tokens, responses, autocast=True)
    states, stepping = 3 * weights, 4 * weights + (weights if foreach else 2 * _SINGLE * _largest(shape))
    return max(states + copies + passing + (weights if passes > 1 else 0), stepping)


@dataclass(frozen=True)
class Cut:
    """How DeepSpeed's ZeRO cuts a training.

    Attributes:
        stage: 1 cuts AdamW's moments over the processes, 2 gradients as well, 3 weights as well.
        bucket: numbers that are reduced or gathered in one go.
        offload: what is cut lies on the host.
    """

    stage: int
    processes: int
    bucket: int
    offload: bool = False


def zero_bytes(
    shape: Shape, dtype: str, cut: Cut, trained: int, passing: int, passes: int, *, gpu: bool
) -> tuple[int, int]:
    """Peak of one process under DeepSpeed (0.19), and what it holds on the host beside, with `cut.offload`.

    All tensors, from the model's load to the end of the last step; not Python, libraries and CUDA's own context.

    Args:
        trained: parameters that are, the adapter's or all.
        passing: what a forward pass holds: see `kept_by_pass`.
        passes: forward passes of a step.
        gpu: a bucket takes all of its memory at once, and AdamW is torch's for CUDA: see `full_bytes`.
    """
    size, share = BYTES[dtype], _SINGLE * trained / cut.processes
    # Gradients reduced, and weights fetched, in one go; the bucket of the former is there for longer.
    reduced, fetched = size * min(cut.bucket, trained), size * min(cut.bucket, shape.parameters)
    bucket = size * cut.bucket if gpu else reduced
    # The float32 copy that AdamW steps on, beside weights in float32 too, and its moments.
    lasting = size * shape.parameters / (cut.processes if cut.stage == 3 else 1) + 3 * share
    roots = 1 if gpu else 2  # vectors as long as what AdamW steps on
    if cut.stage == 3:
        meeting = cut.processes > 1
        # Gathered weights stay until their way back, beside the vector that the next ones came in.
        gathered = size * min(shape.parameters, _REUSED + cut.bucket) if meeting or (cut.offload and gpu) else 0
        turned: float = passing + gathered + (fetched if meeting else 0)
        if cut.offload:  # gradients lie there twice, as they come and as AdamW, which is fused, takes them
            return round(bucket + max(turned, 2 * reduced)), round(lasting + 2 * share)
        stepped = (1 + roots) * min(share, _SINGLE * _SUB_GROUP)  # gradients, copied into one vector
        return round(lasting + share + bucket + max(turned, stepped)), 0
    gradients = share if cut.stage == 2 else _SINGLE * trained
    # In float32 what a pass adds comes in a vector of its own; it outlives its copy for AdamW, since the norms, which
    # AdamW takes last, are a part of it. In bfloat16 each weight's share is cast and added to the sum.
    beside, cast = (share, 0.0) if dtype == "float32" else (0, min(share, _SINGLE * _largest(shape)))
    turned = passing + (gradients if passes > 1 else 0) + (bucket if gpu else 0)
    ended = gradients + (beside if passes > 1 else 0) + bucket + reduced + cast  # a bucket is copied to be reduced
    stepped = share + beside + roots * share
    return round(lasting + max(turned, ended, stepped)), 0


def kept_by_pass(shape: Shape, dtype: str, tokens: int, responses: int, *, autocast: bool) -> int:
    """What a pass holds for its way back where every weight is trained, and the larger of loss and a layer's own.

    Args:
        autocast: norms and the states between layers are in float32 whatever the precision.
    """
    size = BYTES[dtype]
    between = _SINGLE if autocast else size
    # Beside what frozen layers keep: the projections' inputs, and the normed states for the norms' own gradients.
    inputs = size * (2 * shape.hidden + shape.intermediate) + 2 * between * shape.hidden
    last = (_SINGLE + 2 * between) * shape.hidden  # the last norm's input, normed, and the output layer's input
    kept = tokens * (shape.layers * (_kept_of_layer(shape, size) + inputs) + last)
    return kept + max(3 * _SINGLE * responses * shape.vocabulary, tokens * _passing(shape, size))


def _largest(shape: Shape) -> int:
    """Numbers of the largest weight."""
    return max(shape.vocabulary * shape.hidden, *(inputs * outputs for inputs, outputs in shape.linear.values()))


def _kept_of_layer(shape: Shape, size: int) -> int:
    """Bytes a token that one frozen layer keeps: frozen projections keep nothing of their input."""
    norms = 2 * _SINGLE * shape.hidden
    attention = size * (2 * shape.attention + 2 * shape.key_value) + _SINGLE * shape.heads  # q, k, v, output; log-sums
    gated = 3 * size * shape.intermediate  # the gate before and after its activation, and what it multiplies
    return norms + attention + gated


def _kept_by_adapter(shape: Shape, dtype: str, rank: int, targets: Sequence[str], dropout: float) -> int:
    """Bytes a token that one layer's adapters keep: the input of each A in float32, and of each B."""
    between = _SINGLE * rank * len(targets)
    if dropout:  # each target drops on its own: what is left, and which
        return between + sum((_SINGLE + 1) * shape.linear[target][0] for target in targets)
    if dtype != "float32":  # each target casts on its own
        return between + sum(_SINGLE * shape.linear[target][0] for target in targets)
    shared = {"k_proj": "q_proj", "v_proj": "q_proj", "up_proj": "gate_proj"}  # that read the same input
    return between + sum(_SINGLE * shape.linear[one][0] for one in {shared.get(target, target) for target in targets})


def _passing(shape: Shape, size: int) -> int:
    """Bytes a token that are held for a moment while a layer's MLP is passed, forward or backward."""
    return 3 * size * shape.intermediate + 2 * _SINGLE * shape.hidden


def writing_bytes(
    shape: Shape, dtype: str, adapter: int, rows: int, prompt: float, new_tokens: int, batch_tokens: int
) -> int:
    """Peak of writing: weights, adapter, a full batch's cache, and the larger of reading its prompts and of its logits.

    Logits: the last position's in the model's precision, and as float32 four times over while a token is drawn.
    """
    cached = min(batch_tokens, rows * (prompt + new_tokens))
    logits = rows * shape.vocabulary * (BYTES[dtype] + 4 * _SINGLE)
    passing = rows * prompt * _passing(shape, BYTES[dtype])
    weights = shape.parameters * BYTES[dtype] + _SINGLE * adapter
    return round(weights + cached * cache_bytes(shape, dtype) + max(logits, passing))


def comparing_bytes(shape: Shape, dtype: str, adapter: int, rows: int, prompt: float) -> int:
    """Peak of comparing likelihoods: weights, adapter, and the logits of every position with their log-softmax."""
    logits = 2 * rows * prompt * shape.vocabulary * BYTES[dtype]
    return round(shape.parameters * BYTES[dtype] + _SINGLE * adapter + logits)


def shifting_bytes(shape: Shape, dtype: str, adapter: int | None, tokens: int, chunk: int) -> int:
    """Peak of comparing two models' distributions: weights, of both where the tuned one is no adapter; then the larger
    of what is held while a batch of `tokens` tokens passes a layer, and of `chunk` logits of either with their float32
    copies and difference. Either model's last states of the batch are there all the time.
    """
    size = BYTES[dtype]
    weights = 2 * size * shape.parameters if adapter is None else size * shape.parameters + _SINGLE * adapter
    copies = _SINGLE if dtype == "float32" else 3 * _SINGLE  # float32 logits are worked on in place
    passing = tokens * _passing(shape, size)
    return weights + 2 * tokens * size * shape.hidden + max(passing, chunk * (2 * size + copies))
