"""Secrets go, the rest stays."""

from __future__ import annotations

import pytest

from sdft_exp.tracking.redact import HIDDEN, redact


@pytest.mark.parametrize(
    "name",
    [
        "api_key",
        "judge.api_key",
        "WANDB_API_KEY",
        "hf_token",
        "token",
        "apiToken",
        "password",
        "client-secret",
        "SSH_KEY",
    ],
)
def test_a_value_under_a_secrets_name_goes(name: str) -> None:
    assert redact({"a": [{name: "CANARY"}]}) == {"a": [{name: HIDDEN}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_tokens", 2048),
        ("max_new_tokens", "64"),
        ("tokenizer", "llama"),
        ("monkey", "chimp"),
        ("token", None),
        ("revision", "f5db02db724555f92da89c216ac04704f23d4590"),
        ("key", "5f0c7be0a1f2"),
        ("token_shift/gsm8k", f"token_shift/{'0a' * 32}"),
    ],
)
def test_what_only_sounds_alike_stays(name: str, value: object) -> None:
    assert redact({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("use hf_abcdefghijklmnopqrstuvwxyz now", f"use {HIDDEN} now"),
        ("sk-proj-0123456789abcdef", HIDDEN),
        ("http://me:CANARY@host:80/x", f"http://{HIDDEN}@host:80/x"),
        ("judge.api_key=CANARY seed=1", f"judge.api_key={HIDDEN} seed=1"),
        ("0123456789abcdef0123456789abcdef01234567", HIDDEN),
        ("method.mix_ratio=0.25 seed=1", "method.mix_ratio=0.25 seed=1"),
    ],
)
def test_a_text_that_looks_like_a_secret_goes(text: str, left: str) -> None:
    assert redact(text) == left
    assert redact(redact(text)) == left


def test_values_of_the_environment_go_wherever_they_stand() -> None:
    environment = {"MY_SERVICE_TOKEN": "plainlooking", "SHORT_TOKEN": "1", "HOME": "/home/plain"}
    found = redact({"note": "got plainlooking and /home/plain 1"}, environment)
    assert found == {"note": f"got {HIDDEN} and /home/plain 1"}
