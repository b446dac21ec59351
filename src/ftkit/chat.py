"""Messages to token ids and labels: which tokens of a conversation carry loss.

Knows nothing about batches, models or training: a tokenizer with a chat template is all it is given.
"""

import copy
import re
import warnings
from bisect import bisect_left
from typing import NamedTuple

from ftkit.errors import Refusal, refusal, unknown

IGNORED = -100
ROLES = ("system", "user", "assistant")
_TOOL_ROLES = ("tool", "function", "ipython")
_ROLE_MARKS = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + eos_token + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


class Example(NamedTuple):
    """One conversation as ids; `labels[i]` is the label of token i itself (not shifted), IGNORED where no loss."""

    input_ids: list[int]
    labels: list[int]


class _Answer(NamedTuple):
    """Where one assistant turn stands in the rendered text."""

    prompt: str  # all the text before it, generation prompt included
    stop: int  # the character after its content; the end-of-turn token follows


class _Control(NamedTuple):
    """A tokenizer's control tokens, looked up once for all records."""

    marks: re.Pattern | None  # as text, to find them where they do not belong
    ids: frozenset[int]


def messages_of(record: dict | list | str) -> list[dict]:
    """The conversation in a record as messages with a role and content, checked.

    An instruction and its input become one user turn, joined by a newline; the output becomes the assistant's turn
    (none where the output is missing or empty). White space around an assistant's content is dropped: at its start it
    would merge with the prompt's last token.

    Args:
        record: `{"instruction", "input", "output"}` with or without "system", `{"messages": [...]}`, a list of
            messages, or the text of one user turn.

    Raises:
        Refusal: no instruction, an unknown role, a turn out of order, content that is not text or is empty, tools.

    Example:
        >>> messages_of({"instruction": "Add.", "input": "2 3", "output": "5"})
        [{'role': 'user', 'content': 'Add.\\n2 3'}, {'role': 'assistant', 'content': '5'}]

    Taught in: 03_data
    """
    if isinstance(record, str):
        record = [{"role": "user", "content": record}]
    if not isinstance(record, dict | list):
        raise refusal("record", "a dictionary, a list of messages or text", record)
    messages = record if isinstance(record, list) else record.get("messages") or _from_fields(record)
    if isinstance(record, dict) and record.get("tools"):
        raise _tools_refused("tools")
    check_messages(messages)
    return [{"role": m["role"], "content": m["content"].strip() if m["role"] == "assistant" else m["content"]}
            for m in messages]


def check_messages(messages: list[dict]) -> None:
    """Nothing, if the messages are a conversation: a system turn or none, then user and assistant in turn.

    Raises:
        Refusal: the sentence names the message by its place, as in `messages[2].role`.
    """
    if not isinstance(messages, list) or not messages:
        raise refusal("messages", "a list of at least one message", messages)
    due = "user"
    for place, message in enumerate(messages):
        name = f"messages[{place}]"
        if not isinstance(message, dict) or "role" not in message or "content" not in message:
            raise refusal(name, "an object with role and content", message)
        role, content = message["role"], message["content"]
        if role in _TOOL_ROLES or message.get("tool_calls"):
            raise _tools_refused(f"{role} in {name}" if role in _TOOL_ROLES else f"tool_calls in {name}")
        if role not in ROLES:
            raise unknown(f"{name}.role", role, ROLES)
        if not isinstance(content, str) or not content.strip():
            raise refusal(f"{name}.content", "text that is not empty", content)
        if role == "system" and place == 0:
            continue
        if role != due:
            raise refusal(f"{name}.role", f"{due} (system first if at all, then user and assistant in turn)", role)
        due = "assistant" if role == "user" else "user"
    if messages[-1]["role"] == "system":
        raise refusal("messages", "a conversation with a user turn", messages, "Add what the user says.")


def prompt_ids(record: dict | list | str, tokenizer) -> list[int]:
    """The ids a model is given to write the last assistant turn: all before it, and the generation prompt.

    Args:
        record: as for `messages_of`; a last turn that is the assistant's is left out.
        tokenizer: one with a chat template.
    """
    messages = messages_of(record)
    messages = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    return _tokens(_render(messages, tokenizer, generation_prompt=True), tokenizer)[0]


def encode(record: dict | list, tokenizer, seq_len: int | None = None) -> Example:
    """The record's ids, with loss on what each assistant turn says and on its end-of-turn token, and nowhere else.

    Labels are set by place, never by token id: a pad token that equals the end-of-turn token hides nothing.

    Args:
        record: as for `messages_of`, with at least one assistant turn.
        tokenizer: one with a chat template; see `with_template`.
        seq_len: the most tokens to keep, counted from the left; None keeps all.

    Raises:
        Refusal: no label is left; the text holds a control token; the template does not end an answer with an
            end-of-turn token, or writes the prompt otherwise when the answer follows.

    Taught in: 03_data
    """
    check_seq_len(seq_len)
    return _cut(_encode(messages_of(record), tokenizer, _control_tokens(tokenizer)), seq_len)


def encode_all(records: list, tokenizer, seq_len: int | None = None) -> tuple[list[Example], dict]:
    """All records encoded, and a report of what was cut or could not be used.

    Returns: the examples in the records' order; the report counts `kept`, `truncated` (of those kept) and `dropped`,
        and lists under `reasons` each dropped record's place and the sentence that says why.

    Raises:
        Refusal: nothing is left.
    """
    check_seq_len(seq_len)
    control, examples, reasons, truncated = _control_tokens(tokenizer), [], [], 0
    for place, record in enumerate(records):
        try:
            whole = _encode(messages_of(record), tokenizer, control)
            examples.append(_cut(whole, seq_len))
            truncated += len(examples[-1].input_ids) < len(whole.input_ids)
        except Refusal as error:
            reasons.append({"record": place, "reason": str(error)})
    if not examples:
        why = reasons[0]["reason"] if reasons else "There are no records."
        raise refusal("records", "at least one that can be trained on", f"{len(reasons)} that cannot", f"First: {why}")
    return examples, {"kept": len(examples), "truncated": truncated, "dropped": len(reasons), "reasons": reasons}


def with_template(tokenizer):
    """The tokenizer itself if it has a chat template, else a copy with a plain one; a warning says which.

    The plain template writes each turn as `<|role|>`, its content and the tokenizer's own end-of-text token as end of
    turn. The role marks are ordinary text: no token is added, so the model's embeddings keep their size.

    Raises:
        Refusal: there is no end-of-text token to end a turn with.
    """
    if getattr(tokenizer, "chat_template", None):
        return tokenizer
    if not tokenizer.eos_token:
        raise refusal("tokenizer", "one with an end-of-text token", "eos_token=None",
                      "Set tokenizer.eos_token to the token that ends a text.")
    begins = tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = ("{{ bos_token }}" if begins else "") + _ROLE_MARKS
    warnings.warn(f"The tokenizer has no chat template: ftkit's plain one is used, with {tokenizer.eos_token!r} as end "
                  "of turn and no token added.", stacklevel=2)
    return changed


def check_seq_len(seq_len: int | None) -> None:
    """Nothing, if rows can be cut at this length.

    Raises:
        Refusal: neither None nor a whole number of 1 or more.
    """
    if seq_len is not None and (not isinstance(seq_len, int) or isinstance(seq_len, bool) or seq_len < 1):
        raise refusal("seq_len", "1 or more tokens", seq_len, "None keeps all.")


def _tools_refused(found: str) -> Refusal:
    return refusal("record", "a conversation without tools", found, "Leave out records that call tools: each model's "
                   "template writes them its own way, and which tokens to train is not settled here.")


def _from_fields(record: dict) -> list[dict]:
    if not isinstance(record.get("instruction"), str):
        raise refusal("record", "one with an instruction or with messages", sorted(record))
    asked = "\n".join(part for part in (record["instruction"], record.get("input")) if part)
    turns = [("system", record.get("system")), ("user", asked), ("assistant", record.get("output"))]
    return [{"role": role, "content": text} for role, text in turns if text or role == "user"]


def _encode(messages: list[dict], tokenizer, control: _Control) -> Example:
    for place, message in enumerate(messages):
        found = control.marks and control.marks.search(message["content"])
        if found:
            raise refusal(f"messages[{place}].content", "free of the tokenizer's control tokens", found[0],
                          "Take it out of the text, or put a space inside it.")
    text, answers = _answers(messages, tokenizer)
    ids, offsets = _tokens(text, tokenizer)
    labels = [IGNORED] * len(ids)
    for answer in answers:
        first = _shared_prefix(answer.prompt, ids, tokenizer)
        last = _end_of_turn(answer.stop, text, ids, offsets, control.ids, tokenizer)
        labels[first:last + 1] = ids[first:last + 1]
    return Example(ids, labels)


def _answers(messages: list[dict], tokenizer) -> tuple[str, list[_Answer]]:
    text, answers = _render(messages, tokenizer, generation_prompt=False), []
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = _render(messages[:place], tokenizer, generation_prompt=True)
        if not text.startswith(prompt):
            raise refusal("chat template", "one that writes a prompt the same way with and without its answer",
                          f"a different text before messages[{place}]", "Some templates drop the reasoning of earlier "
                          "turns, or put the system text into the last user's: give one record a turn, or set a "
                          "simpler tokenizer.chat_template.")
        start = len(text) - len(text[len(prompt):].lstrip())
        if not text.startswith(message["content"], start):
            raise refusal("chat template", "one that writes an answer unchanged, right after the generation prompt",
                          text[start:start + 40], "Set a simpler tokenizer.chat_template.")
        answers.append(_Answer(prompt, start + len(message["content"])))
    if not answers:
        raise refusal("record", "one with an answer to learn", messages, "Add an output or an assistant turn.")
    return text, answers


def _shared_prefix(prompt: str, ids: list[int], tokenizer) -> int:
    """How many tokens the prompt has, when they are also the first ones of the whole."""
    alone = _tokens(prompt, tokenizer)[0]
    if ids[:len(alone)] != alone:
        raise refusal("chat template", "one whose prompt is the same tokens with and without its answer", prompt[-40:],
                      "End its generation prompt with a control token or a newline.")
    return len(alone)


def _end_of_turn(stop: int, text: str, ids: list[int], offsets: list | None, ends: set[int], tokenizer) -> int:
    """The place of the first control token after character `stop`, with nothing but white space between."""
    if offsets:
        place = bisect_left(offsets, stop, key=lambda span: span[0])
    else:
        place = _shared_prefix(text[:stop], ids, tokenizer)
    for last in range(place, len(ids)):
        if tokenizer.decode(ids[last:last + 1]).strip():
            if ids[last] in ends:
                return last
            break
    raise refusal("chat template", "one that ends every answer with an end-of-turn token", text[stop:stop + 20],
                  "Without it the model never learns to stop: add {{ eos_token }} after the assistant's content.")


def _render(messages: list[dict], tokenizer, generation_prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise refusal("tokenizer", "one with a chat template", "none", "Call chat.with_template(tokenizer) first.")
    try:
        # enable_thinking: reasoning models then write their empty thought in the prompt, where it belongs
        return tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=generation_prompt, enable_thinking=False)
    except Exception as error:  # a template may raise anything
        raise refusal("messages", "a conversation that the tokenizer's chat template accepts", str(error),
                      "If it objects to the system turn, write its text at the start of the user's.") from error


def _tokens(text: str, tokenizer) -> tuple[list[int], list | None]:
    fast = {"return_offsets_mapping": True} if getattr(tokenizer, "is_fast", False) else {}
    encoded = tokenizer(text, add_special_tokens=False, **fast)
    return list(encoded["input_ids"]), encoded.get("offset_mapping")


def _control_tokens(tokenizer) -> _Control:
    added = tokenizer.added_tokens_decoder
    marks = {str(token) for token in added.values() if token.special}
    marks = sorted((mark for mark in marks if mark.strip()), key=len, reverse=True)
    unknown_token = {tokenizer.unk_token_id} - {tokenizer.eos_token_id}  # stands for any character, and ends nothing
    return _Control(re.compile("|".join(map(re.escape, marks))) if marks else None,
                    (frozenset(added) | frozenset(tokenizer.all_special_ids)) - unknown_token)


def _cut(example: Example, seq_len: int | None) -> Example:
    first = next(place for place, label in enumerate(example.labels) if label != IGNORED)
    if seq_len is not None and first >= seq_len:
        raise refusal("seq_len", f"long enough to reach the answer ({first + 1} tokens or more)", seq_len,
                      "Raise it, or shorten the prompt.")
    return Example(example.input_ids[:seq_len], example.labels[:seq_len])
