"""Raw text, web pages and PDF files to records: read, cut into chunks at paragraphs, made into training records.

Knows nothing about what the text is about. What cannot be read is set aside with the reason, as bad rows are.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ftkit.data.normalising import normalised
from ftkit.data.pages import HEADING, from_html, from_pdf
from ftkit.decoding import decode
from ftkit.errors import Refusal, nearest, refusal, unknown

KINDS = {".txt": "text", ".text": "text", ".md": "text", ".markdown": "text", ".html": "html", ".htm": "html",
         ".xhtml": "html", ".pdf": "pdf"}
PROMPTS = {
    "continue": ("Continue the text.", "请续写下面的文字。"),
    "title": ('Write the section "{}".', "请写出“{}”这一节的内容。"),
}
_SENTENCE = re.compile(r"(?<=[。！？!?；;])|(?<=[.])\s+|\n")
_CHINESE = re.compile("[\u3400-\u9fff]")
_LEAST_TEXT = 20  # characters that a page or document must have to hold anything


class Document(NamedTuple):
    """One file's text with its name and title; `title` is empty where the file says none."""

    name: str
    title: str
    text: str


@dataclass(frozen=True, repr=False)
class Documents:
    """What could be read, and what could not: `rejected` holds the file's name and the reason."""

    documents: list[Document]
    rejected: list[dict] = field(default_factory=list)

    def __repr__(self) -> str:
        aside = "; ".join(f"{entry['file']}: {entry['reason']}" for entry in self.rejected) or "none"
        return f"{len(self.documents)} documents; set aside: {aside}"


def read_documents(source: str | Path) -> Documents:
    """The text of a file, or of all files under a folder: plain text, Markdown, HTML and PDF.

    Args:
        source: a file, which is refused if it cannot be read, or a folder, whose bad files are set aside.

    Raises:
        Refusal: there is no such source, it is of no known kind, or nothing in it could be read.

    Taught in: 03_data
    """
    source = Path(source).expanduser()
    if source.is_file():
        return Documents([_read(source, source.name)])
    if not source.is_dir():
        beside = [item.name for item in source.parent.iterdir()] if source.parent.is_dir() else []
        near = nearest(source.name, beside)
        raise refusal("source", "an existing file or folder", str(source),
                      f"Did you mean {' or '.join(near)}?" if near else "Check the path.")
    found, rejected = [], []
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            try:
                found.append(_read(path, "/".join(parts)))
            except Refusal as error:
                rejected.append({"file": "/".join(parts), "reason": str(error)})
    if not found:
        raise refusal("source", "a folder with documents that can be read", str(source.name),
                      rejected[0]["reason"] if rejected else "It is empty.")
    return Documents(found, rejected)


def chunks(text: str, longest: int = 800, overlap: int = 0) -> list[str]:
    """The text in chunks of whole paragraphs, none longer than asked for.

    A paragraph that is too long alone is cut at sentences, and a sentence that is too long at characters.

    Args:
        text: paragraphs with an empty line between them.
        longest: characters in a chunk, 1 or more.
        overlap: characters of whole sentences at the end of a chunk that the next one begins with again, at most, from
            0 up to half of `longest`.

    Raises:
        Refusal: a length is out of range.

    Example:
        >>> chunks("One. Two.\\n\\nThree.", longest=12)
        ['One. Two.', 'Three.']

    Taught in: 03_data
    """
    for length, value in (("longest", longest), ("overlap", overlap)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise refusal(length, "a whole number of characters", value)
    if longest < 1:
        raise refusal("longest", "1 or more characters", longest, "800 is about half a page.")
    if not 0 <= overlap <= longest / 2:
        raise refusal("overlap", "between 0 and half of longest", overlap, "0 repeats nothing.")
    made, current = [], ""
    for glue, piece in _pieces(text, longest):
        if current and len(current) + len(glue) + len(piece) > longest:
            made.append(current)
            tail = _tail(current, overlap)
            current = tail if tail and len(tail) + len(glue) + len(piece) <= longest else ""
        current = f"{current}{glue}{piece}" if current else piece
    return [*made, current] if current else made


def records_of(documents: Documents | list[Document], longest: int = 800, overlap: int = 0,
               prompt: str | None = None) -> list[dict]:
    """Training records out of documents, each with its `place`: the file and which chunk of it.

    Args:
        documents: as `read_documents` gives them.
        longest: characters in a record's text.
        overlap: characters that one repeats of the one before.
        prompt: None makes texts alone, for continued pretraining; "continue" gives a chunk's first half and asks for
            the rest; "title" gives a heading and asks for the section under it (text without headings gives none).

    Returns: `{"text"}` or `{"instruction", "input", "output"}`; prompts are Chinese where the text is.

    Raises:
        Refusal: an unknown prompt, a length out of range, or no document gives a record.

    Taught in: 03_data
    """
    if prompt not in (None, *PROMPTS):
        raise unknown("prompt", prompt, PROMPTS, "None makes records of text alone.")
    documents = documents.documents if isinstance(documents, Documents) else documents
    records = []
    for document in documents:
        made = _asked(document, longest, overlap, prompt)
        records += [{**record, "place": f"{document.name}, chunk {number}"} for number, record in enumerate(made, 1)]
    if not records:
        raise refusal("documents", "ones that give a record" + (f' for prompt="{prompt}"' if prompt else ""),
                      [document.name for document in documents][:3], 'prompt="title" takes headings such as "# Fever".')
    return records


def _asked(document: Document, longest: int, overlap: int, prompt: str | None) -> list[dict]:
    if prompt == "title":
        return [{"instruction": _worded("title", body).format(title), "input": "", "output": chunk}
                for title, body in _sections(document.text) for chunk in chunks(body, longest)[:1]]
    made = chunks(document.text, longest, overlap)
    if prompt is None:
        return [{"text": chunk} for chunk in made]
    halves = [(chunk, _middle(chunk)) for chunk in made]
    return [{"instruction": _worded("continue", chunk), "input": chunk[:at].rstrip(), "output": chunk[at:].lstrip()}
            for chunk, at in halves if at]


def _worded(prompt: str, text: str) -> str:
    return PROMPTS[prompt][_CHINESE.search(text) is not None]


def _middle(chunk: str) -> int:
    """The end of the sentence nearest to the middle; 0 where there is but one sentence."""
    ends = [match.start() for match in _SENTENCE.finditer(chunk) if 0 < match.start() < len(chunk.rstrip())]
    return min(ends, key=lambda end: abs(end - len(chunk) / 2), default=0)


def _sections(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, list[str]]] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if fenced else HEADING.fullmatch(line.strip())
        if heading:
            found.append((next(filter(None, heading.groups())).strip(), []))
        elif found:
            found[-1][1].append(line)
    sections = [(title, "\n".join(body).strip()) for title, body in found]
    return [(title, body) for title, body in sections if body]


def _pieces(text: str, longest: int):
    """Paragraphs, or sentences of long ones, each with what stands before it."""
    for paragraph in filter(None, (part.strip() for part in re.split(r"\n\s*\n", text))):
        if len(paragraph) <= longest:
            yield "\n\n", paragraph
            continue
        glue, end = "\n\n", 0
        for match in [*_SENTENCE.finditer(paragraph), None]:
            stop = match.start() if match else len(paragraph)
            sentence, space = paragraph[end:stop], match[0] if match else ""
            for start in range(0, len(sentence), longest):
                yield glue, sentence[start:start + longest]
                glue = ""
            glue, end = glue + space, match.end() if match else stop


def _tail(chunk: str, overlap: int) -> str:
    """The last whole sentences of a chunk that fit into the overlap."""
    starts = [match.end() for match in _SENTENCE.finditer(chunk) if len(chunk) - match.end() <= overlap]
    return chunk[starts[0]:] if overlap and starts else ""


def _read(path: Path, name: str) -> Document:
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise refusal(name, f"a file that ends in {', '.join(KINDS)}", path.suffix or "no suffix",
                      "Save it as plain text.")
    if kind == "pdf":
        title, text = from_pdf(path, name)
    else:
        title, text = (from_html if kind == "html" else _from_text)(path.read_bytes(), name)
    text = normalised(text).strip()
    if len(text) < _LEAST_TEXT:
        raise refusal(name, f"a document with {_LEAST_TEXT} characters of text or more", f"{len(text)} characters",
                      "A scanned PDF holds pictures of its pages: run text recognition (OCR) over it first."
                      if kind == "pdf" else "Check that it was saved whole.")
    return Document(name, normalised(title).strip(), text)


def _from_text(raw: bytes, name: str) -> tuple[str, str]:
    text = decode(raw, name)[0]
    first = HEADING.fullmatch(text.strip().partition("\n")[0].strip())
    return next(filter(None, first.groups())) if first else "", text
