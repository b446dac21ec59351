"""Columns to records: the usual names, the learner's own, and rows that are wrong."""

import json

import pytest

from ftkit.data.columns import Problem, mapping_of, record_of
from ftkit.errors import Refusal

PAIR = {"instruction": "q", "input": "", "output": "a"}
TALK = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(("row", "record"), [
    ({"instruction": "q", "input": "i", "output": "a"}, PAIR | {"input": "i"}),
    ({"instruction": "q", "output": "a", "id": 7}, PAIR),
    ({"Instruction": "q", " OUTPUT ": "a", "Input": None, "system": "s"}, PAIR | {"system": "s"}),
    ({"prompt": "q", "completion": "a", "input": "unrelated"}, PAIR),
    ({"question": "q", "answer": "a"}, PAIR),
    ({"messages": TALK}, {"messages": TALK}),
    ({"messages": json.dumps(TALK)}, {"messages": TALK}),
    ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, {"messages": TALK}),
    ({"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a"}], "system": "s"},
     {"messages": [{"role": "system", "content": "s"}, *TALK]}),
    ({"conversations": TALK}, {"messages": TALK}),
    ({"指令": "q", "输入": "i", "输出": "a"}, PAIR | {"input": "i"}),
    ({"问题": "q", "回答": "a"}, PAIR), ({"问题": "q", "答案": "a", "来源": "x"}, PAIR),
    ({"提问": "q", "回复": "a"}, PAIR),
    ({"query": "q", "response": "a"}, PAIR), ({"Prompt": "q", "Response": "a"}, PAIR),
    ({"instruction": "q", "context": "i", "response": "a", "category": "x"}, PAIR | {"input": "i"}),
    ({"department": "x", "title": "t", "ask": "q", "answer": "a"}, PAIR),
    ({"question": "q", "context": "i", "answer": "a"}, PAIR | {"input": "i"}),
    ({"input": "q", "output": "a"}, PAIR), ({"输入": "q", "输出": "a"}, PAIR),
    ({"\ufeffQuestion_Text": "q", "Answer Text": "a"}, PAIR), ({"Ｑ": "q", "Ａ": "a"}, PAIR),
    ({"text": "t"}, {"text": "t"}), ({"id": 1, "内容": "t"}, {"text": "t"}), ({"content": "t"}, {"text": "t"}),
    ({"对话": [{"角色": "患者", "内容": "q"}, {"角色": "医生", "内容": "a"}]}, {"messages": TALK}),
    ({"instruction": "q", "output": "a", "history": [["x", "y"]]},
     {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}, *TALK]}),
    ({"instruction": "q", "output": "a", "history": "[]"}, PAIR),
    ({"instruction": "q", "output": "a", "system": "s", "history": TALK},
     {"messages": [{"role": "system", "content": "s"}, *TALK, *TALK]}),
    ({"conversation": [{"human": "q", "assistant": "a"}]}, {"messages": TALK}),
    ({"conversations": [["q", "a"], {"问题": "q", "回答": "a"}]}, {"messages": TALK * 2}),
    ({"messages": [{"role": "system", "content": ""}, *TALK]}, {"messages": TALK}),
    ({"messages": [{"role": "system", "content": None}, *TALK]}, {"messages": TALK}),
    ({"messages": [{"role": "developer", "content": "s"}, *TALK]},
     {"messages": [{"role": "system", "content": "s"}, *TALK]}),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}, TALK[1]]}, {"messages": TALK}),
    ({"messages": str(TALK)}, {"messages": TALK}),
    ({"prompt": TALK[:1], "completion": TALK[1:]}, {"messages": TALK}),
    ({"prompt": TALK[:1], "completion": "a"}, {"messages": TALK}),
])
def test_the_usual_column_names_are_understood(row, record):
    assert record_of(row, mapping_of(None, list(row))) == record


@pytest.mark.parametrize(("columns", "row", "record"), [
    ("instruction=ask,output=reply", {"ask": "q", "reply": "a", "answer": "no"}, PAIR),
    (" instruction = ask , input=more, output=the reply ", {"ask": "q", "more": "i", "the reply": "a"},
     PAIR | {"input": "i"}),
    ("text=body", {"body": "t", "question": "x", "answer": "y"}, {"text": "t"}),
    ("messages=talk", {"talk": TALK, "question": "x", "answer": "y"}, {"messages": TALK}),
    ("conversations=talk,system=rule", {"talk": TALK, "rule": "s"},
     {"messages": [{"role": "system", "content": "s"}, *TALK]}),
])
def test_the_learners_own_column_names_are_understood(columns, row, record):
    assert record_of(row, mapping_of(columns, list(row))) == record


BAD_COLUMNS = [
    (None, ["text", "label"], "a.csv: columns must be one of instruction/output, prompt/completion, question/answer, "
     "问题/回答, messages, conversations, text, got 'text, label'. Say which with "
     "columns=\"instruction=<column>,output=<column>\""),
    (None, ["text", "content"], "a.csv: columns must be ones with one text, got 'text, content'. There are text and"),
    (None, ["messages", "问题", "回答"],
     "a.csv: columns must be of one known kind, .* There are 问题/回答 and messages."),
    (None, ["question", "id"], "a.csv: columns must be one of instruction/output"),
    ("text=t,system=s", ["t", "s"], "columns must be either a conversation or instruction and output, or a text alone"),
    (None, [], r"a.csv: columns must be one of .*, got '\(none\)'."),
    (None, ["question", "answer", "prompt", "completion"], "a.csv: columns must be of one known kind, got 'question, "
     "answer, prompt, completion'. There are prompt/completion and prompt/answer and .* Say which"),
    ("ask", ["ask"], 'columns must be pairs such as "instruction=ask,output=answer", got \'ask\'.'),
    ("instruction=,output=b", ["b"], 'columns must be pairs such as "instruction=ask,output=answer"'),
    ("", ["b"], 'columns must be pairs such as "instruction=ask,output=answer"'),
    ("instrution=a,output=b", ["a", "b"], "columns must be one of instruction, input, .*, got 'instrution'. "
     r"Did you mean instruction\? The part stands left of the ="),
    ("instruction=a,instruction=b", ["a", "b"], "columns must be one column for each part, got .* instruction is"),
    ("instruction=ask,output=answr", ["ask", "answer"],
     r"columns: output must be a column of a.csv \(ask, answer\), got 'answr'. Did you mean answer\?"),
    ("instruction=ask", ["ask"], "columns must be complete: instruction and output, or messages, or conversations,"),
    ("messages=m,output=b", ["m", "b"], "columns must be either a conversation or instruction and output, or"),
    ("messages=m,conversations=c", ["m", "c"], "columns must be either a conversation or instruction and output"),
]


@pytest.mark.parametrize(("columns", "present", "sentence"), BAD_COLUMNS)
def test_columns_that_do_not_fit_are_refused_with_those_present(columns, present, sentence):
    with pytest.raises(Refusal, match=sentence):
        mapping_of(columns, present, "a.csv")


@pytest.mark.parametrize(("row", "field", "reason"), [
    ({"question": "q"}, "answer", "answer is missing."),
    ({"question": "", "answer": "a"}, "question", "question must be text that is not empty, got ''."),
    ({"question": "q", "answer": " \n"}, "answer", r"answer must be text that is not empty, got ' \n'."),
    ({"question": "q", "answer": 5}, "answer", "answer must be text, got 5."),
    ({"question": None, "answer": "a"}, "question", "question must be text, got None."),
    ({"question": "q", "answer": ["a"]}, "answer", "answer must be text, got ['a']."),
    ({"question": "q", "answer": "a\ud83d"}, "answer", "answer holds half of a character (a lone surrogate)."),
    ({"question": "q", "answer": "a", "system": 1}, "system", "system must be text, got 1."),
])
def test_a_bad_field_is_named_with_its_reason(row, field, reason):
    assert record_of(row, mapping_of(None, ["question", "answer"])) == Problem(field, reason)


@pytest.mark.parametrize(("row", "reason"), [
    ({}, "talk is missing."),
    ({"talk": "[{]"}, "talk is not JSON: Expecting property name enclosed in double quotes"),
    ({"talk": None}, "talk must be a list of at least one message, got None."),
    ({"talk": {"role": "user"}, "rule": "s"}, "talk must be a list of at least one message"),
    ({"talk": ["hi"], "rule": "s"}, "talk[1] must be an object with role and content, got 'hi'."),
    ({"talk": [{"from": "bing", "value": "q"}]}, "talk[0].role must be one of system, user, assistant, got 'bing'."),
    ({"talk": [{"role": ["user"], "content": "q"}]},
     "talk[0].role must be one of system, user, assistant, got ['user']."),
    ({"talk": [{"from": "human"}]}, "talk[0].content must be text that is not empty, got None."),
    ({"talk": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "image_url"}]}]},
     "talk[0].content must be text, or a list of parts of type \"text\", got 'text, image_url'."),
    ({"talk": TALK[:1]}, "talk has no assistant turn to learn from."),
    ({"talk": TALK[:1] * 2}, "talk[1].role must be assistant (system first if at all"),
    ({"talk": [TALK[0], {"role": "assistant", "content": "\udc00"}]}, "talk holds half of a character"),
    ({"talk": TALK, "rule": 7}, "rule must be text, got 7."),
])
def test_a_broken_conversation_is_named_with_its_turn(row, reason):
    problem = record_of(row, {"messages": "talk", "system": "rule"})
    assert isinstance(problem, Problem)
    assert problem.reason.startswith(reason)


@pytest.mark.parametrize(("history", "reason"), [
    ("[", "history is not JSON: Expecting value"),
    ([["x"]], "history[0] must be an object with role and content, got ['x']"),
    ([["x", ""]], "history[1].content must be text that is not empty"), ("{}", "history must be a list of pairs"),
])
def test_a_broken_history_is_named(history, reason):
    row = {"instruction": "q", "output": "a", "history": history}
    problem = record_of(row, mapping_of(None, list(row)))
    assert problem.field == "history" and problem.reason.startswith(reason)
