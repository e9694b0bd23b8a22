"""Rows out of every form of record, and a line for every record that cannot be one."""

from __future__ import annotations

from typing import Any

import pytest

from sdft_exp.config import Columns
from sdft_exp.data.files import Record
from sdft_exp.data.schema import ALPACA, Incomplete, Row, gsm8k_form, rows_of
from sdft_exp.errors import DataError

GSM8K = Columns(instruction="question", input=None, response="answer", history=None, messages=None, id=None)


def rows(*values: dict[str, Any], columns: Columns = ALPACA, **options: bool) -> list[Row]:
    records = [Record(line, value) for line, value in enumerate(values, start=1)]
    return rows_of(records, columns, "my.jsonl", **options)


def named(**names: str | None) -> Columns:
    return ALPACA.model_copy(update=names)


def test_alpaca() -> None:
    made = rows(
        {"instruction": "Add.", "input": "1 and 2", "output": "3"},
        {"instruction": "Say hi.", "input": "", "output": "hi"},
        {"instruction": "Say ho.", "input": None, "output": "ho"},
    )
    assert [row.instruction for row in made] == ["Add.\n1 and 2", "Say hi.", "Say ho."]
    assert [row.id for row in made] == ["row-000000", "row-000001", "row-000002"]
    assert [row.line for row in made] == [1, 2, 3]


def test_an_input_that_says_it_is_none_is_none() -> None:
    made = rows(
        *({"instruction": "Add.", "input": said, "output": "3"} for said in ("<noinput>", " <NOINPUT>\n", "<no>"))
    )
    assert [row.instruction for row in made] == ["Add.", "Add.", "Add.\n<no>"]


INCOMPLETE: dict[str, dict[str, Any]] = {
    "no question": {"instruction": " ", "output": "a"},
    "no answer": {"instruction": "q", "output": None},
    "an empty message": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": ""}]},
    "a message that is null": {"messages": [{"role": "user", "content": None}, {"role": "assistant", "content": "a"}]},
    "nobody answers": {"messages": [{"role": "user", "content": "q"}]},
    "out of turn": {"messages": [{"role": "assistant", "content": "a"}, {"role": "user", "content": "q"}]},
    "no messages": {"messages": []},
}


@pytest.mark.parametrize("name", INCOMPLETE)
def test_an_incomplete_row_is_an_error_or_left_out_and_the_others_keep_their_names(name: str) -> None:
    given = [INCOMPLETE[name], {"instruction": "q", "output": "a"}]
    with pytest.raises(Incomplete, match=r"^my\.jsonl:1: "):
        rows(*given)
    (row,) = rows(*given, leave_out=True)
    assert (row.id, row.line, row.position) == ("row-000001", 2, 1)


@pytest.mark.parametrize(
    "wrong", [{"instruction": "q"}, {"instruction": "q", "output": 3}, {"messages": "q"}, {"messages": [{"role": "x"}]}]
)
def test_what_is_of_another_form_is_never_left_out(wrong: dict[str, Any]) -> None:
    with pytest.raises(DataError) as raised:
        rows(wrong, leave_out=True)
    assert not isinstance(raised.value, Incomplete)


def test_lima_history() -> None:
    (row,) = rows({"instruction": "q2", "input": "", "output": "a2", "history": [["q1", "a1"]]})
    assert row.history == (("q1", "a1"),)


@pytest.mark.parametrize(
    "messages",
    [
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "q1"},
            {"role": "assistant", "content": "a1"},
            {"role": "user", "content": "q2"},
            {"role": "assistant", "content": "a2"},
        ],
        [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "q1"},
            {"from": "gpt", "value": "a1"},
            {"from": "human", "value": "q2"},
            {"from": "gpt", "value": "a2"},
        ],
    ],
)
def test_messages(messages: list[dict[str, str]]) -> None:
    (row,) = rows({"messages": messages})
    assert (row.history, row.instruction, row.response) == ((("Be brief.\n\nq1", "a1"),), "q2", "a2")


def test_one_turn_with_a_system_text() -> None:
    (row,) = rows({"messages": [{"role": "system", "content": "S"}, *turn("q", "a")]})
    assert (row.history, row.instruction, row.response) == ((), "S\n\nq", "a")


def test_texts_in_turn() -> None:
    (row,) = rows({"conversations": ["q1", "a1", "q2", "a2"]}, columns=named(messages="conversations"))
    assert (row.history, row.instruction, row.response) == ((("q1", "a1"),), "q2", "a2")


def test_a_last_question_without_an_answer_is_left_out() -> None:
    (row,) = rows({"messages": [*turn("q", "a"), {"role": "user", "content": "thanks"}]})
    assert (row.history, row.instruction, row.response) == ((), "q", "a")


def turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_ids_of_the_file_are_kept() -> None:
    assert [row.id for row in rows({"id": 7, **pair()}, {"id": "x", **pair()}, pair())] == ["7", "x", "row-000002"]


def pair() -> dict[str, str]:
    return {"instruction": "q", "output": "a"}


def test_a_local_copy_may_be_in_the_alpaca_form() -> None:
    dolly = named(input="context", response="response")
    local = {"instruction": "q", "input": "more", "output": "a"}
    assert rows(local, columns=dolly, alpaca_too=True)[0].instruction == "q\nmore"
    hub = {"instruction": "q", "context": "more", "response": "a"}
    assert rows(hub, columns=dolly, alpaca_too=True)[0].instruction == "q\nmore"
    with pytest.raises(DataError, match="field 'response' is missing"):
        rows(local, columns=dolly)


MISTAKES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "missing": ([{"instruction": "q"}], r":1: field 'output' is missing.*dataset\.columns\.response="),
    "missing later": ([pair(), {"output": "a"}], r":2: field 'instruction' is missing"),
    "near": ([{"instruction": "q", "outputs": "a"}], r"did you mean outputs\?"),
    "other form": ([{"question": "q", "answer": "a"}], r"there are: answer, question"),
    "empty": ([{"instruction": "q", "output": " \n"}], r":1: field 'output' is empty"),
    "null": ([{"instruction": None, "output": "a"}], r":1: field 'instruction' is empty"),
    "number": ([{"instruction": 3, "output": "a"}], r":1: field 'instruction' must be a text, not int"),
    "input": ([{**pair(), "input": ["x"]}], r":1: field 'input' must be a text, not list"),
    "repeated id": ([{"id": "x", **pair()}, {"id": "x", **pair()}], r":2: the id 'x' stands already on line 1"),
    "id like a position": ([{"id": "row-000001", **pair()}, pair()], r":2: the id 'row-000001' stands already"),
    "id type": ([{"id": [1], **pair()}], r":1: field 'id' must be a text or a whole number"),
    "history type": ([{**pair(), "history": "x"}], r":1: field 'history' must be a list"),
    "history turn": ([{**pair(), "history": [["q", "a"], ["q"]]}], r":1: field 'history', turn 2"),
    "history empty": ([{**pair(), "history": [["q", ""]]}], r":1: field 'history', turn 1"),
    "no list": ([{"messages": "hi"}], r":1: field 'messages' must be a list"),
    "no message": ([{"messages": []}], r":1: field 'messages' must be a list"),
    "no answer": ([{"messages": turn("q", "a")[:1]}], r":1: field 'messages': has no answer"),
    "two questions": ([{"messages": turn("q", "a")[:1] * 2}], r"message 2: is by user, expected assistant"),
    "begins with the answer": ([{"messages": turn("q", "a")[1:]}], r"message 1: is by assistant, expected user"),
    "late system": ([{"messages": [*turn("q", "a"), {"role": "system", "content": "x"}]}], r"message 3: is by system"),
    "after system": (
        [{"messages": [{"role": "system", "content": "x"}, *turn("q", "a")[1:]]}],
        r"message 2: is by assistant, expected user",
    ),
    "only system": ([{"messages": [{"role": "system", "content": "x"}]}], r"has no question and no answer"),
    "role": ([{"messages": [{"role": "tool", "content": "x"}]}], r"message 1: role 'tool'; take system, user"),
    "content": ([{"messages": [{"role": "user", "content": ["x"]}]}], r"message 1: content must be a text"),
    "empty content": ([{"messages": [*turn("q", "")]}], r"message 2: content must be a text, not empty"),
    "message type": ([{"messages": [1]}], r"message 1: must have role and content"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_one_line_that_names_line_and_field(name: str) -> None:
    values, complaint = MISTAKES[name]
    with pytest.raises(DataError, match=complaint) as caught:
        rows(*values)
    assert str(caught.value).startswith("my.jsonl:") and "\n" not in str(caught.value)


def test_a_named_column_that_no_row_has() -> None:
    with pytest.raises(DataError, match=r"no row has dataset\.columns\.input=contxt; did you mean context\?"):
        rows({**pair(), "context": "x"}, columns=named(input="contxt"))


def test_messages_alone() -> None:
    only = named(instruction=None, response=None, messages="chat")
    assert rows({"chat": turn("q", "a")}, columns=only)[0].response == "a"
    with pytest.raises(DataError, match=r":1: field 'chat' is missing.*dataset\.columns\.messages="):
        rows(pair(), columns=only)


def test_gsm8k_forms() -> None:
    official = {"question": "q", "answer": "He has 2*3=<<2*3=6>>6 eggs.\n#### 6"}
    assert gsm8k_form(rows(official, columns=GSM8K)[0].response) == "He has 2*3=6 eggs.\nThe answer is 6."
    assert gsm8k_form("He has 6.\nThe answer is 6.") == "He has 6.\nThe answer is 6."
