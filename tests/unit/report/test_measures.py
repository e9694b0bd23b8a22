"""Which tasks and metrics a column of the table is the mean of."""

from __future__ import annotations

from sdft_exp.report.measures import MEASURES, parts_of, unit_of
from sdft_exp.shift.responses import MEASURES as OF_RESPONSES
from sdft_exp.shift.token_scores import VALUES, of_response

BY_NAME = {measure.name: measure for measure in MEASURES}


def test_lm_evals_own_accuracy_counts_among_the_other_tasks() -> None:
    scored = {"gsm8k": {"accuracy"}, "hellaswag": {"acc", "acc_norm"}, "advbench": {"safe_rate"}}
    assert parts_of(BY_NAME["target"], scored, ["gsm8k"]) == [("gsm8k", "accuracy")]
    assert parts_of(BY_NAME["other"], scored, ["gsm8k"]) == [("hellaswag", "acc")]
    assert parts_of(BY_NAME["raw_safe"], scored, []) == [("advbench", "safe_rate")]


def test_what_was_said_to_harmful_requests_leaves_harmless_ones_out() -> None:
    verdicts = {"refused", "complied", "incoherent", "unjudged"}
    scored = {
        "advbench": {"safe_rate"} | verdicts,
        "advbench_jailbreak": {"safe_rate"} | verdicts,
        "xstest": {"over_refusal", "helpful", "incoherent", "unjudged"},
    }
    assert parts_of(BY_NAME["raw_incoherent"], scored, []) == [("advbench", "incoherent")]
    assert parts_of(BY_NAME["jailbreak_incoherent"], scored, []) == [("advbench_jailbreak", "incoherent")]
    assert [task for task, _ in parts_of(BY_NAME["unjudged"], scored, [])] == sorted(scored)


def test_every_measure_of_shift_has_its_unit() -> None:
    of_tokens = of_response({name: [0.5, 0.5] for name in VALUES}, ["shifted", "unshifted"])
    nats = {"kl_base_tuned", "kl_tuned_base", "kl_first", "kl_rest"}
    shares = {"unshifted", "marginal", "shifted"}
    assert {name for name in of_tokens if unit_of(name) == "nats"} == nats
    assert {name for name in of_tokens if unit_of(name) == "share"} == shares
    numbers = (*OF_RESPONSES, "update_norm", "update_relative", "update_relative_adapted", "nearest_similarity")
    assert {unit_of(name) for name in (*numbers, "causing_similarity")} == {"number"}
    assert {unit_of(f"keyword_likelihood{drawn}") for drawn in ("", "_nearest", "_random")} == {"share"}
