"""Engine openai: a running server that speaks OpenAI's completions protocol; each text is on disk as it comes.

Built on the `openai` package, whose client retries what a server could not answer, with growing pauses, and waits as
long as Retry-After asks for. Its draws are the server's: see docs/generation.md for what that means.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sdft_exp.config import Sampling
from sdft_exp.data.encode import Encoder, load_encoder
from sdft_exp.data.tokenizer_files import tokenizer_folder
from sdft_exp.errors import UserError
from sdft_exp.generation import context, decoding
from sdft_exp.generation import journal as journals
from sdft_exp.generation.engines import Asking, Openai
from sdft_exp.generation.requests import Completion, Request
from sdft_exp.models.identity import ModelRef
from sdft_exp.tracking.redact import redact

if TYPE_CHECKING:
    from openai import OpenAI


@dataclass(frozen=True)
class Address:
    """Where a server is, and what it calls the model. `ours`: on the loopback, to which no proxy leads."""

    base_url: str
    model: str
    ours: bool = False


def write(
    engine: Openai,
    model: ModelRef,
    adapter: Path | None,
    requests: Sequence[Request],
    sampling: Sampling,
    journal: Path,
    done: Callable[[int], None],
    stop: tuple[str, ...],
) -> None:
    """Write the completions that `journal` lacks: see `generation.generate`."""
    assert adapter is None  # `engines.answering_engine` refuses it: the server holds the seed LM
    server = Address(engine.base_url, engine.model or model.path)
    ask(server, engine.asking, model, requests, sampling, journal, done, stop)


def ask(
    server: Address,
    asking: Asking,
    model: ModelRef,
    requests: Sequence[Request],
    sampling: Sampling,
    journal: Path,
    done: Callable[[int], None],
    stop: tuple[str, ...],
) -> None:
    """Have `server` continue the requests that `journal` lacks, and write what it says there.

    Args:
        model: whose tokenizer and context the prompts are made for.

    Raises:
        ConfigError: the context has no room for prompt and new tokens.
        UserError: the server cannot be reached, refuses a request, or says what is no completion; or a prompt that
            reads otherwise as text. What was written is in the journal.
    """
    made = journals.read(journal)
    waiting = [request for request in requests if request.id not in made]
    done(len(requests) - len(waiting))
    encoder = load_encoder(model.path, model.revision)
    most = _context(model)
    context.check(most, model, waiting, sampling.max_new_tokens)
    # All of them before the first is sent: a prompt that cannot be told is found in a second, not in an hour.
    bounds = [context.limits(request, most, sampling.max_new_tokens, encoder.bos_id) for request in waiting]
    told = [
        _as_text(encoder, request.id, ids) if asking.prompts == "text" else list(ids)
        for request, (ids, _) in zip(waiting, bounds, strict=True)
    ]
    client = _client(server, asking)
    pool = ThreadPoolExecutor(asking.concurrency)

    def one(request: Request, bound: tuple[tuple[int, ...], int], prompt: str | list[int]) -> Completion:
        ids, new_tokens = bound
        how = sampling.model_copy(update={"max_new_tokens": new_tokens})
        said = _said(client, server, _fields(asking, encoder, how, request.id, stop) | {"prompt": prompt})
        return _completion(said, asking, encoder, request, len(request.prompt) - len(ids), stop)

    try:
        for future in as_completed([pool.submit(one, *each) for each in zip(waiting, bounds, told, strict=True)]):
            journals.append(journal, [future.result()])
            done(1)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # after an error, those in flight are not waited for


def _context(model: ModelRef) -> int | None:
    config = json.loads((tokenizer_folder(model.path, model.revision) / "config.json").read_text(encoding="utf-8"))
    found: int | None = config.get("max_position_embeddings")
    return found


def _as_text(encoder: Encoder, name: str, ids: tuple[int, ...]) -> str:
    """The text that a server reads as `ids`, the BOS left to it."""
    bare = ids[1:] if encoder.bos_id is not None and ids[:1] == (encoder.bos_id,) else ids
    text = encoder.text(bare)
    if tuple(encoder.reads(text)) != ids:
        raise UserError(
            f"generation.prompts=text: the prompt {name} reads otherwise as text (several turns, or a special token in "
            "somebody's words); set generation.prompts=ids for a server that takes them, or generation=hf"
        )
    return text


def _client(server: Address, asking: Asking) -> OpenAI:
    import openai

    return openai.OpenAI(
        api_key=os.environ.get(asking.key_variable or "") or "none",  # the package insists on one
        base_url=server.base_url,
        timeout=asking.timeout,
        max_retries=asking.retries,
        http_client=openai.DefaultHttpxClient(trust_env=not server.ours),
    )


def _fields(
    asking: Asking, encoder: Encoder, sampling: Sampling, request: str, stop: tuple[str, ...]
) -> dict[str, Any]:
    """What is asked for beside model and prompt, in the words of the server's dialect."""
    greedy = sampling.temperature == 0
    top_p, top_k = (1.0, 0) if greedy else (sampling.top_p, sampling.top_k)
    seed = int.from_bytes(hashlib.sha256(f"{sampling.seed}\0{request}".encode()).digest()[:4]) >> 1  # 31 bits
    fields: dict[str, Any] = {"max_tokens": sampling.max_new_tokens, "seed": seed}
    if stop:
        fields["stop"] = list(stop)
    if asking.dialect == "transformers":
        # It refuses top_k, and at a temperature alone decodes greedily; but it takes a whole GenerationConfig.
        config = decoding.settings(encoder, sampling.max_new_tokens)
        if not greedy:
            config |= {"do_sample": True, "temperature": sampling.temperature, "top_p": top_p, "top_k": top_k}
        return fields | {"extra_body": {"generation_config": json.dumps(config)}}
    fields |= {"temperature": sampling.temperature, "top_p": top_p}
    if asking.dialect == "vllm":
        # Unsaid, they are taken from the model's generation_config.json, as by transformers.
        own = {"top_k": top_k or -1, "min_p": 0.0, "repetition_penalty": 1.0, "stop_token_ids": encoder.eos_ids}
        fields["extra_body"] = own
    return fields


def _said(client: OpenAI, server: Address, asked: dict[str, Any]) -> Any:
    import openai

    try:
        return client.completions.create(model=server.model, **asked)
    except (openai.OpenAIError, ValueError) as error:  # ValueError: a body that is no JSON
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"generation: the server at {redact(server.base_url)}, asked for {server.model}: "
            f"{redact(first, os.environ)}; mend it and run again; what was written is kept"
        ) from None


def _completion(
    said: Any, asking: Asking, encoder: Encoder, request: Request, cut: int, stop: tuple[str, ...]
) -> Completion:
    choice = next(iter(getattr(said, "choices", None) or ()), None)
    text, finish = getattr(choice, "text", None), getattr(choice, "finish_reason", None)
    if not isinstance(text, str) or finish not in ("stop", "length"):
        shown = " ".join(str(said).split())[:200]
        raise UserError(
            f"generation: for {request.id} the server said what is no completion: {shown}; mend it and run again; "
            "what was written is kept"
        )
    # Some servers leave the stop string in the text; the others name it.
    text, found = decoding.cut_at(text, stop)
    found = found or isinstance(getattr(choice, "stop_reason", None), str)
    usage = getattr(said, "usage", None)
    tokens = len(encoder.reads(text)) if usage is None else usage.completion_tokens
    if usage is not None and asking.dialect != "openai" and finish == "stop" and not found:
        tokens -= 1  # both count the end token
    return Completion(request.id, text, "stop" if found else finish, max(tokens, 0), cut)
