"""A server that is asked for completions: what is sent, what is kept, and what becomes of its failures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdft_exp.config import Sampling
from sdft_exp.data.encode import load_encoder
from sdft_exp.errors import ConfigError, UserError
from sdft_exp.generation import Completion, Request, generate
from sdft_exp.generation.engines import Asking, Openai
from sdft_exp.models.identity import ModelRef
from tests.unit.generation.completions_server import Answer, Script, said, serving

GREEDY = Sampling(temperature=0.0, top_p=0.7, top_k=50, max_new_tokens=12, seed=0)
SAMPLED = Sampling(temperature=0.95, top_p=0.7, top_k=50, max_new_tokens=12, seed=7)
IDS = Asking("ids", "vllm", concurrency=4, timeout=20.0, retries=0)
TEXT = replace(IDS, prompts="text", dialect="transformers")


@pytest.fixture
def ref(tiny_tokenizer: Path) -> ModelRef:
    """A model whose tokenizer and context are there, and no weights: none are read here."""
    (tiny_tokenizer / "config.json").write_text('{"max_position_embeddings": 40}')
    return ModelRef("d", "alpaca", "float32", str(tiny_tokenizer), None, False, "cpu", 1)


def requests(ref: ModelRef, *texts: str) -> list[Request]:
    encoder = load_encoder(ref.path)
    return [Request(f"r/{number}", tuple(encoder.reads(text))) for number, text in enumerate(texts)]


def asked_for(
    script: Script,
    ref: ModelRef,
    given: list[Request],
    journal: Path,
    asking: Asking = IDS,
    sampling: Sampling = GREEDY,
    stop: tuple[str, ...] = (),
) -> tuple[list[Completion], list[dict[str, Any]]]:
    with serving(script) as (url, asked):
        engine = Openai(asking, "served", url)
        return generate(ref, None, given, sampling, engine, journal, lambda *_: None, stop), asked


def test_each_dialect_is_asked_in_its_own_words(ref: ModelRef, tmp_path: Path) -> None:
    given = requests(ref, "the cat")
    # The first 31 bits of SHA-256 over seed, NUL and request id.
    seeds = [int(hashlib.sha256(f"{seed}\0r/0".encode()).hexdigest()[:8], 16) // 2 for seed in (0, 7)]

    def body(name: str, **how: Any) -> dict[str, Any]:
        _, (asked,) = asked_for(lambda _: said("x"), ref, given, tmp_path / name, **how)
        return {key: value for key, value in asked.items() if key not in ("at", "key")}

    both = {"model": "served", "prompt": list(given[0].prompt), "max_tokens": 12}
    warpers = {"temperature": 0.95, "top_p": 0.7, "top_k": 50, "min_p": 0.0, "repetition_penalty": 1.0}
    ends = {"stop": ["\n"], "stop_token_ids": [2]}
    assert body("a", sampling=SAMPLED, stop=("\n",)) == both | warpers | ends | {"seed": seeds[1]}
    greedy = body("b")
    assert (greedy["temperature"], greedy["top_p"], greedy["top_k"], greedy["seed"]) == (0.0, 1.0, -1, seeds[0])
    plain = {"temperature": 0.95, "top_p": 0.7, "seed": seeds[1]}
    assert body("c", asking=replace(IDS, dialect="openai"), sampling=SAMPLED) == both | plain
    own = body("d", asking=TEXT, sampling=SAMPLED)
    config = json.loads(own.pop("generation_config"))
    assert own == both | {"prompt": "the cat", "seed": seeds[1]}  # the BOS is the server's to add
    assert (config["do_sample"], config["temperature"], config["top_p"], config["top_k"]) == (True, 0.95, 0.7, 50)
    assert (config["max_new_tokens"], config["eos_token_id"], config["repetition_penalty"]) == (12, [2], 1.0)
    assert not json.loads(body("e", asking=TEXT)["generation_config"])["do_sample"]


def test_texts_come_in_the_requests_order_and_what_is_there_is_not_asked_again(ref: ModelRef, tmp_path: Path) -> None:
    given = requests(ref, *(f"the cat ate {number} fish" for number in range(9)))

    def script(body: dict[str, Any]) -> Answer:
        return said(f"heard {body['prompt']}", tokens=5)

    whole, asked = asked_for(script, ref, given, tmp_path / "j")
    assert whole == [Completion(one.id, f"heard {list(one.prompt)}", "stop", 4) for one in given]
    assert len(asked) == 9
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "torn").write_bytes(b"".join(lines[:5]) + lines[5][:9])
    again, asked = asked_for(script, ref, given, tmp_path / "torn")
    assert again == whole and len(asked) == 4


def test_how_a_completion_is_read(ref: ModelRef, tmp_path: Path) -> None:
    (given,) = requests(ref, "the cat")
    cases = [
        (said("8.", "stop", 3), ("8.", "stop", 2)),  # the end token is not counted
        (said("8 and on", "length", 12), ("8 and on", "length", 12)),
        (said("8.\nNext", "length", 12), ("8.", "stop", 12)),  # the stop string was left in
        (said("8.", "stop", 4, stop_reason="\n"), ("8.", "stop", 4)),  # it was cut off, and named
        (said("8.", "stop", 3, stop_reason=2), ("8.", "stop", 2)),  # an end token by its id
        (said("the cat", "stop", None), ("the cat", "stop", len(given.prompt))),  # counted by our tokenizer, with BOS
    ]
    for number, (answer, expected) in enumerate(cases):
        (made,), _ = asked_for(lambda _, a=answer: a, ref, [given], tmp_path / str(number), stop=("\n",))
        assert (made.text, made.finish, made.tokens) == expected


def test_a_prompt_longer_than_the_context_keeps_its_bos_and_its_end(ref: ModelRef, tmp_path: Path) -> None:
    long = Request("a", (1, *range(3, 53)))
    (made,), (asked,) = asked_for(lambda _: said("x"), ref, [long], tmp_path / "j")
    assert asked["prompt"] == [1, *range(26, 53)]  # 40 less 12 new ones
    assert made.cut == 23
    with pytest.raises(ConfigError, match=r"max_new_tokens=40.*40 tokens in all"):
        full = GREEDY.model_copy(update={"max_new_tokens": 40})
        asked_for(lambda _: said("x"), ref, [long], tmp_path / "k", sampling=full)


def test_a_bound_of_prompt_and_new_tokens_is_the_requests_own(ref: ModelRef, tmp_path: Path) -> None:
    given = [Request("a", (1, 5, 6), max_length=9), Request("b", (1, *range(5, 20)), max_length=60)]
    asking = replace(IDS, concurrency=1)
    wide = GREEDY.model_copy(update={"max_new_tokens": 50})
    _, asked = asked_for(lambda _: said("x"), ref, given, tmp_path / "j", asking=asking, sampling=wide)
    assert [one["max_tokens"] for one in asked] == [9 - 3, 40 - 16]  # of the second the context is the bound


def test_a_prompt_that_reads_otherwise_as_text_is_refused_before_anything_is_sent(
    ref: ModelRef, tmp_path: Path
) -> None:
    plain, special = requests(ref, "the cat", "the mat")
    encoder = load_encoder(ref.path)
    spelt = encoder.prompt("alpaca", "alpaca", "</s>")[-20:]  # three characters of somebody's, not the end token
    assert 2 not in spelt
    given = [plain, replace(special, prompt=(1, *spelt))]
    with serving() as (url, asked), pytest.raises(UserError, match=r"r/1 reads otherwise as text.*prompts=ids"):
        generate(ref, None, given, GREEDY, Openai(TEXT, "m", url), tmp_path / "j", lambda *_: None)
    assert asked == []


def test_a_key_is_sent_from_the_environment(ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sesame")
    given = requests(ref, "a")
    _, (asked,) = asked_for(lambda _: said("x"), ref, given, tmp_path / "j", asking=replace(IDS, key_variable="MY_KEY"))
    assert asked["key"] == "Bearer sesame"
    monkeypatch.setenv("OPENAI_API_KEY", "for OpenAI alone")
    _, (asked,) = asked_for(lambda _: said("x"), ref, given, tmp_path / "k")
    assert asked["key"] == "Bearer none"


def test_an_error_tells_no_secret(ref: ModelRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "open sesame")
    refused = (401, {}, {"error": {"message": "open sesame is no key of ours"}})
    with pytest.raises(UserError, match=r"\[redacted\] is no key of ours") as caught:
        asked_for(lambda _: refused, ref, requests(ref, "a"), tmp_path / "j")
    assert "sesame" not in str(caught.value)


def test_what_a_server_could_not_answer_is_asked_again_when_it_says(ref: ModelRef, tmp_path: Path) -> None:
    given = requests(ref, "a")
    answers = iter(
        [
            (500, {}, {"error": {"message": "hiccup"}}),
            (429, {"Retry-After": "1"}, {"error": {"message": "slow down"}}),
            said("at last"),
        ]
    )
    (made,), asked = asked_for(lambda _: next(answers), ref, given, tmp_path / "j", asking=replace(IDS, retries=2))
    assert made.text == "at last" and len(asked) == 3
    assert asked[2]["at"] - asked[1]["at"] >= 1.0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((500, {}, {"error": {"message": "hiccup"}}), "hiccup"),
        ((404, {}, {"error": {"message": "no such model"}}), "no such model"),
        ((401, {}, {"error": {"message": "bad key"}}), "bad key"),
        ((200, {}, {"choices": []}), "what is no completion"),
        ((200, {}, {"choices": [{"index": 0, "text": None, "finish_reason": "stop"}]}), "what is no completion"),
        ((200, {}, {"choices": [{"index": 0, "text": "x", "finish_reason": "abort"}]}), "what is no completion"),
        ((200, {"Content-Type": "text/html"}, "<p>Please log in</p>"), "no completion: <p>Please log in</p>"),
        ((200, {}, '{"choices": [{"te'), "mend it and run again"),
    ],
)
def test_a_failure_is_one_line_and_loses_nothing(ref: ModelRef, tmp_path: Path, answer: Answer, told: str) -> None:
    given = requests(ref, "the cat", "a mat", "fish")
    asking = replace(IDS, concurrency=1)

    def script(body: dict[str, Any]) -> Answer:
        return answer if body["prompt"] == list(given[2].prompt) else said("good")

    with pytest.raises(UserError, match=told) as caught:
        asked_for(script, ref, given, tmp_path / "j", asking=asking)
    assert len(str(caught.value).splitlines()) == 1 and "what was written is kept" in str(caught.value)
    made, asked = asked_for(lambda _: said("better"), ref, given, tmp_path / "j", asking=asking)
    assert [done.text for done in made] == ["good", "good", "better"] and len(asked) == 1


def test_a_server_that_goes_away_in_the_middle(ref: ModelRef, tmp_path: Path) -> None:
    given = requests(ref, *(f"fish {number}" for number in range(6)))
    asking = replace(IDS, concurrency=1)
    count = 0

    def script(body: dict[str, Any]) -> Answer:
        nonlocal count
        count += 1
        if count > 4:
            raise ConnectionAbortedError  # closes the line without an answer
        return said("good")

    with pytest.raises(UserError, match="Connection error"):
        asked_for(script, ref, given, tmp_path / "j", asking=asking)
    made, asked = asked_for(lambda _: said("better"), ref, given, tmp_path / "j", asking=asking)
    assert [done.text for done in made] == ["good"] * 4 + ["better"] * 2 and len(asked) == 2


def test_a_server_that_is_not_there(ref: ModelRef, tmp_path: Path) -> None:
    with serving() as (url, _):
        pass
    engine = Openai(IDS, "", url)
    with pytest.raises(UserError, match=rf"{url}, asked for .*: Connection error"):
        generate(ref, None, requests(ref, "a"), GREEDY, engine, tmp_path / "j", lambda *_: None)
