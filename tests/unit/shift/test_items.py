"""scores.json of the shift measures, of hand."""

from __future__ import annotations

from sdft_exp.shift.items import means, named, scores


def test_an_item_is_named_as_the_score_stage_names_it() -> None:
    assert named(3, {"id": "text-3", "family": "copy", "answer": "a"}) == {"id": "text-3", "group": "copy"}
    assert named(3, {"question": "?"}) == {"id": 3}


def test_a_mean_is_over_the_items_that_have_the_value() -> None:
    items = [{"id": "p", "group": 1, "a": 1.0, "b": 2.0}, {"id": "q", "a": 3.0, "b": None}, {"id": 7}]
    assert means(items) == {"a": 2.0, "b": 2.0}
    assert means([]) == {}
    assert scores("task", "1", items) == {
        "task": "task",
        "protocol": "shift",
        "version": "1",
        "n": 3,
        "metrics": {"a": 2.0, "b": 2.0},
        "items": items,
    }
