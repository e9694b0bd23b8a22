"""Rows and columns of "A Closer Look at the Limitations of Instruction Tuning" (arXiv 2402.05119), a `Spec` a study.

LoRA is compared with full fine-tuning on the same rows. The test set behind the print's token shift is not stated, nor
is the direction of its KL: ours is never subtracted from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from analysis.tables.shape import NONE, NUMBER, POINTS, SCORE, SEED, Column, Key, PaperRow, Source, Spec, Unit, shift
from sdft_exp.config import RunConfig
from sdft_exp.reference.published import limits_tables

_MODELS = {
    "llama2_7b": "Llama-2-7b",
    "llama2_13b": "Llama-2-13b",
    "llama2_70b": "Llama-2-70b",
    "mistral_7b": "Mistral-7B-v0.1",
    "phi1_5": "Phi-1.5",
}
_DATASETS = {
    "lima": "LIMA",
    "dolly": "Dolly",
    "alpaca": "Alpaca",
    "medinstruct": "MedInstruct",
    "tulu_v2_mix": "Tulu-V2-Mix",
    "evol_instruct": "Evol-Instruct",
}
_THOUSAND = 1000
_JUDGE = ("gpt-4-1106-preview",)
_ASPECTS = ("Helpfulness", "Clarity", "Factuality", "Depth", "Engagement")
_PROMPTS = ("just_eval", "medinstruct_test", "micro_chat")
_OF_PEOPLE = (
    "section 4: the print's shares are of one full tuning, its likelihood and similarity of phrases that people marked"
)
_UNSTATED = "figures 1 and 4: neither the direction of the KL nor the test set is stated"
_NOT_ALIKE = (
    "tables 13 to 15: the print's judge had other words (just-eval's script, which takes N/A for a 5), and LoRA's "
    "alpha and layers, the schedule, the prompt template and the length of an answer are not stated (docs/limits.md)"
)
_DIGITISED = "figure 1 counts ranks from 0, we from 1; its numbers are read off the drawing"


def _rows(config: RunConfig) -> str:
    """`1K`, `52K`, or the number of rows where it is no thousands."""
    count = config.dataset.max_samples or config.dataset.size
    if count is None:
        return "all"
    return f"{round(count / _THOUSAND)}K" if count >= _THOUSAND else str(count)


def _trained_on(config: RunConfig) -> str:
    return f"{_DATASETS.get(config.dataset.name, config.dataset.name)} {_rows(config)}"


def _model(config: RunConfig) -> str:
    return _MODELS.get(config.model.name, config.model.name)


def _tuning(config: RunConfig) -> str:
    return {"lora": "LoRA"}.get(config.tuning.name, config.tuning.name)


def _key(config: RunConfig) -> Key:
    return _model(config), _trained_on(config), _tuning(config)


def _seed(config: RunConfig) -> Key:
    return _model(config), NONE, SEED


def _printed(columns: Sequence[Column], unknown: Mapping[str, str]) -> tuple[PaperRow, ...]:
    """A row for each fine-tuning that the print has a number of, model by model in its order, LoRA before full.

    Args:
        unknown: by table or figure, what of the print's setting is not known.
    """
    benchmarks, models = {column.benchmark for column in columns}, list(_MODELS.values())
    found: dict[tuple[str, str], dict[str, str]] = {}  # model and data set -> tuning -> table
    for cell in limits_tables().cells:
        if cell.table in unknown and cell.model in models and cell.method == "vanilla" and cell.benchmark in benchmarks:
            found.setdefault((cell.model, str(cell.finetune_dataset)), {})[cell.tuning] = cell.table
    return tuple(
        PaperRow((model, dataset, label), (tables[tuning],), dataset, "vanilla", model, tuning, unknown[tables[tuning]])
        for (model, dataset), tables in sorted(found.items(), key=lambda one: models.index(one[0][0]))
        for label, tuning in (("LoRA", "lora"), ("full", "full"))
        if tuning in tables
    )


def _moved(title: str, benchmark: str, metric: str) -> Column:
    return shift(title, benchmark, "token_shift", metric, *_PROMPTS)


def _caused(title: str, benchmark: str, metric: str, unit: Unit = POINTS) -> Column:
    return shift(title, benchmark, "causes", metric, *_PROMPTS, unit=unit)


def _judged(aspect: str, task: str, test: str) -> Column:
    """One of the judge's five aspects, 1 to 5."""
    sources = (Source((task,), aspect.lower()),)
    return Column(f"{test}: {aspect}", f"{test}: {aspect}", sources, judges=_JUDGE, unit=SCORE)


_SHARES = tuple(
    shift(f"{name} tokens", f"{name} tokens", "token_shift", name, *_PROMPTS, unit=POINTS)
    for name in ("unshifted", "marginal", "shifted")
)
_HEADERS = ("model", "trained on", "tuning")

_MOVED = (
    _moved("KL", "KL divergence", "kl_base_tuned"),
    _moved("KL, first 5 %", "KL divergence, first 5 %", "kl_first"),
    _moved("KL, the rest", "KL divergence, the rest", "kl_rest"),
    _moved("base probability", "base probability", "base_probability"),
    _moved("base rank", "base rank", "base_rank"),
    *_SHARES,
)
_SCALED = (
    *(_judged(aspect, "just_eval", "just-eval") for aspect in _ASPECTS),
    *(_judged(aspect, "medinstruct_test", "MedInstruct-test") for aspect in _ASPECTS),
    *(
        Column(task, task, (Source((task,), metric),))
        for task, metric in (
            ("micro_chat", "accuracy"),
            ("micro_functions", "accuracy"),
            ("micro_math", "accuracy"),
            ("micro_harmful", "safe_rate"),
        )
    ),
)

LIMITS = {
    "limits/lora_vs_full": Spec(
        "How far LoRA and full fine-tuning move the next-token distribution, by number of rows (figures 1 and 4)",
        _HEADERS,
        _MOVED,
        _printed(_MOVED, {"Figure 1": f"{_UNSTATED}; {_DIGITISED}", "Figure 4": _UNSTATED}),
        _key,
        _seed,
        vanilla="full",
        baseline_title="full",
        published=limits_tables,
    ),
    "limits/scaling": Spec(
        "What more rows bring, by LoRA and in full (tables 13 to 15)",
        _HEADERS,
        _SCALED,
        _printed(_SCALED, dict.fromkeys(("Table 13", "Table 14", "Table 15"), _NOT_ALIKE)),
        _key,
        _seed,
        vanilla="full",
        baseline_title="full",
        published=limits_tables,
    ),
    "limits/pattern_copy": Spec(
        "Where shifted tokens come from: words found again in the rows that were trained on (section 4)",
        _HEADERS,
        (
            _caused(
                "shifted words in the data",
                "words beginning with a shifted token that also occur in the IT data",
                "shifted_in_data",
            ),
            _caused(
                "marginal words in the data",
                "words beginning with a marginal token that also occur in the IT data",
                "marginal_in_data",
            ),
            _caused("unshifted words in the data", "unshifted words", "unshifted_in_data"),
            _caused("style among shifted words", "style words", "shifted_style"),
            _caused(
                "similarity to the causing row",
                "mean semantic similarity between test instance and causing IT instance",
                "causing_similarity",
                NUMBER,
            ),
            _caused(
                "keyword likelihood",
                "keyword likelihood (share of 1-3-gram keywords present in the causing instance)",
                "keyword_likelihood",
            ),
            _caused("keyword likelihood, a drawn row", "drawn", "keyword_likelihood_random"),
            *_SHARES,
        ),
        (
            PaperRow(
                ("not stated", "not stated", "full"),
                ("text",),
                None,
                "vanilla",
                "not stated",
                "full",
                unknown=_OF_PEOPLE,
            ),
        ),
        _key,
        _seed,
        vanilla="full",
        baseline_title="full",
        published=limits_tables,
    ),
}
