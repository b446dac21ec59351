"""The turns of a conversation, in whichever of the usual forms, to messages with a role and content.

Forms: role/content (OpenAI, its content a text or a list of parts), from/value (ShareGPT), one object or pair for a
question and its answer (MOSS, ChatGLM). Knows nothing about rows and columns.
"""

import unicodedata

from ftkit.errors import refusal

SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
            "developer": "system", "bot": "assistant", "chatgpt": "assistant", "model": "assistant",
            "prompter": "user", "用户": "user", "助手": "assistant", "系统": "system", "patient": "user",
            "doctor": "assistant", "患者": "user", "病人": "user", "医生": "assistant"}
_EXCHANGE = SPEAKERS | {"question": "user", "query": "user", "prompt": "user", "q": "user", "问题": "user",
                        "问": "user", "answer": "assistant", "response": "assistant", "a": "assistant",
                        "回答": "assistant",
                        "答": "assistant", "moss": "assistant"}
_ROLE, _CONTENT = ("role", "from", "speaker", "角色"), ("content", "value", "text", "内容")


def messages_from(turns: list) -> list:
    """The turns as messages; one that is in no known form is left as it is, and system turns without text go.

    Raises:
        Refusal: the content of a turn has parts that are no text, such as an image.

    Example:
        >>> messages_from([{"human": "Hot?", "assistant": "Rest."}])
        [{'role': 'user', 'content': 'Hot?'}, {'role': 'assistant', 'content': 'Rest.'}]

    Taught in: 03_data
    """
    messages = [message for turn in turns for message in _expanded(turn)]
    for number, message in enumerate(messages):
        if isinstance(message, dict) and isinstance(message.get("content"), list):
            messages[number] = {**message, "content": _joined(message["content"], number)}
    return [message for message in messages if not _silent(message)]


def _expanded(turn: object) -> list:
    """One turn, or the two of a question and its answer."""
    if isinstance(turn, list | tuple) and len(turn) == 2:
        return [{"role": role, "content": said} for role, said in zip(("user", "assistant"), turn, strict=True)]
    if not isinstance(turn, dict):
        return [turn]
    if not any(key in turn for key in _ROLE):
        spoken = {_EXCHANGE.get(_plain(key)): said for key, said in turn.items()}
        if {"user", "assistant"} <= set(spoken):
            return [{"role": role, "content": spoken[role]} for role in ("system", "user", "assistant")
                    if role in spoken]
    role = next((turn[key] for key in _ROLE if key in turn), None)
    content = next((turn[key] for key in _CONTENT if key in turn), None)
    return [{"role": SPEAKERS.get(_plain(role), role) if isinstance(role, str) else role, "content": content}]


def _joined(parts: list, number: int) -> str:
    """The text of a content in parts."""
    kinds = [part.get("type") if isinstance(part, dict) else type(part).__name__ for part in parts]
    if set(kinds) != {"text"} or not all(isinstance(part.get("text"), str) for part in parts):
        raise refusal(f"messages[{number}].content", 'text, or a list of parts of type "text"',
                      ", ".join(map(str, kinds)))
    return "\n".join(part["text"] for part in parts)


def _silent(message: object) -> bool:
    """Whether it is a system turn that says nothing, as many exports write where there is none."""
    if not isinstance(message, dict) or message.get("role") != "system":
        return False
    said = message.get("content")
    return said is None or isinstance(said, str) and not said.strip()


def _plain(name: object) -> str:
    return unicodedata.normalize("NFKC", str(name)).strip().casefold()
