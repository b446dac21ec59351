"""Text, pages and PDF files to records; what cannot be read is refused in one sentence, or set aside from a folder."""

import io

import pytest

from ftkit.data import documents, pages
from ftkit.data.documents import Document, chunks, read_documents, records_of
from ftkit.errors import Refusal

PAGE = """<html><head><meta charset="{charset}"><title>发热护理指南</title></head><body>
<nav><a href="/">首页</a><a href="/about">关于我们</a></nav>
<article><h1>发热护理指南</h1><p>发热时应当多喝水，注意休息，并且每四个小时测量一次体温。</p>
<h2>什么时候就医</h2><p>体温超过三十九度，或者持续三天不退，请尽快到医院就诊，不要自己加大药量。</p></article>
<footer>版权所有</footer></body></html>"""
LINES = ["Fever is a rise of body temperature above", "the usual range. Most fevers pass within a",
         "few days and need rest and water.", "See a doctor when it lasts."]


def pdf_of(lines, password=None):
    """A PDF of one page, written by hand with pypdf: text in the standard Helvetica, one line a row."""
    from pypdf import PdfWriter
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = PdfWriter()
    page = writer.add_blank_page(width=600, height=800)
    font = DictionaryObject({NameObject("/Type"): NameObject("/Font"), NameObject("/Subtype"): NameObject("/Type1"),
                             NameObject("/BaseFont"): NameObject("/Helvetica")})
    page[NameObject("/Resources")] = DictionaryObject({NameObject("/Font"): DictionaryObject({
        NameObject("/F1"): writer._add_object(font)})})
    stream = DecodedStreamObject()
    rows = "".join(f"({line}) Tj 0 -14 Td " for line in lines)
    stream.set_data(f"BT /F1 12 Tf 50 700 Td {rows} ET".encode("latin-1"))
    page[NameObject("/Contents")] = writer._add_object(stream)
    writer.add_metadata({"/Title": "On fever"})
    if password is not None:
        writer.encrypt(password, algorithm="RC4-128")
    held = io.BytesIO()
    writer.write(held)
    return held.getvalue()


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(("charset", "encoding"), [("utf-8", "utf-8"), ("gb2312", "gb18030"), ("big5", "utf-8"),
                                                   ("", "gb18030"), ("nonsense", "gb18030")])
def test_a_page_is_read_without_its_menu_in_the_encoding_it_says_or_has(tmp_path, charset, encoding):
    path = written(tmp_path / "a.html", PAGE.format(charset=charset).encode(encoding))
    document = read_documents(path).documents[0]
    assert "每四个小时测量一次体温" in document.text and "尽快到医院就诊" in document.text
    assert "关于我们" not in document.text
    assert document.title == "发热护理指南"


def test_a_page_without_a_main_part_gives_all_of_its_text(tmp_path):
    path = written(tmp_path / "a.htm", "<html><body><div>Just a few words of text in a bare page.</div></body></html>")
    assert "Just a few words" in read_documents(path).documents[0].text


def test_a_pdf_s_lines_are_joined_to_sentences(tmp_path):
    document = read_documents(written(tmp_path / "a.pdf", pdf_of(LINES))).documents[0]
    assert document.text == " ".join(LINES[:3]) + "\n" + LINES[3]
    assert document.title == "On fever"


@pytest.mark.parametrize(("name", "content", "words"), [
    ("scan.pdf", pdf_of([]), "scan.pdf must be a document with 20 characters of text or more, got '0 characters'. A"),
    ("locked.pdf", pdf_of(LINES, "secret"), "locked.pdf must be a PDF that opens without a password, got 'an"),
    ("broken.pdf", b"%PDF-1.4 and no more", "broken.pdf must be a readable PDF, got .* Download or save it again."),
    ("cut.pdf", pdf_of(LINES)[:300], "cut.pdf must be a readable PDF, got .*|cut.pdf must be a document with 20"),
    ("a.docx", b"PK\x03\x04", "a.docx must be a file that ends in .txt, .*, got '.docx'. Save it as plain text."),
    ("empty.txt", b"", "empty.txt must be a document with 20 characters of text or more, got '0 characters'. Check"),
    ("image.txt", b"\x89PNG\r\n\x1a\n" + bytes(range(128, 256)) * 3,
     "image.txt must be text in UTF-8, UTF-16, GB18030"),
])
def test_a_document_that_cannot_be_read_is_refused_and_set_aside_in_a_folder(tmp_path, name, content, words):
    path = written(tmp_path / "docs" / name, content)
    with pytest.raises(Refusal, match=words):
        read_documents(path)
    with pytest.raises(Refusal, match="source must be a folder with documents that can be read, got 'docs'."):
        read_documents(tmp_path / "docs")
    written(tmp_path / "docs" / "deep" / "good.txt", "发热时应当多喝水，注意休息，并且每四个小时测量一次体温。")
    written(tmp_path / "docs" / ".hidden.txt", "not this one, whatever it may say to us")
    read = read_documents(tmp_path / "docs")
    assert [document.name for document in read.documents] == ["deep/good.txt"]
    assert [entry["file"] for entry in read.rejected] == [name]
    assert f"1 documents; set aside: {name}:" in str(read)


def test_a_pdf_with_an_empty_password_opens(tmp_path):
    assert "Fever is a rise" in read_documents(written(tmp_path / "a.pdf", pdf_of(LINES, ""))).documents[0].text


@pytest.mark.parametrize("name", ["nothing", "a.tx"])
def test_a_source_that_is_not_there_is_refused(tmp_path, name):
    written(tmp_path / "a.txt", "x")
    with pytest.raises(Refusal, match="source must be an existing file or folder, got"):
        read_documents(tmp_path / name)


def test_chunks_are_whole_paragraphs_or_sentences_and_never_too_long():
    text = "第一段很短。\n\n第二段也短。\n\n" + "长句子一。" * 30 + "\n\n" + "字" * 100
    for longest in (7, 20, 50, 1000):
        made = chunks(text, longest)
        assert all(0 < len(chunk) <= longest for chunk in made)
        assert "".join("".join(made).split()) == "".join(text.split())
    assert chunks("One. Two.\n\nThree. Four.", 100) == ["One. Two.\n\nThree. Four."]
    assert chunks("Alpha beta. Gamma delta. Epsilon zeta.", 25) == ["Alpha beta. Gamma delta.", "Epsilon zeta."]
    assert chunks("  \n\n ", 10) == []


def test_an_overlap_repeats_whole_sentences_of_the_chunk_before():
    made = chunks("甲句到此。乙句到此。丙句到此。丁句到此。", 10, 5)
    assert made == ["甲句到此。乙句到此。", "乙句到此。丙句到此。", "丙句到此。丁句到此。"]


DOCUMENT = Document("guide.md", "Guide", "# Fever\n\nDrink water. Rest a lot. Measure it often.\n\n"
                                         "# 咳嗽\n\n多喝水。少说话。")


def test_records_are_texts_alone_unless_a_prompt_is_asked_for():
    assert records_of([DOCUMENT], 40) == [
        {"text": "# Fever\n\nDrink water. Rest a lot.", "place": "guide.md, chunk 1"},
        {"text": "Measure it often.\n\n# 咳嗽\n\n多喝水。少说话。", "place": "guide.md, chunk 2"}]
    made = records_of([DOCUMENT], prompt="title")
    assert [(record["instruction"], record["output"]) for record in made] == [
        ('Write the section "Fever".', "Drink water. Rest a lot. Measure it often."),
        ("请写出“咳嗽”这一节的内容。", "多喝水。少说话。")]
    first = records_of([Document("a.txt", "", "Drink water. Rest a lot.")], prompt="continue")[0]
    assert (first["instruction"], first["input"], first["output"]) == (
        "Continue the text.", "Drink water.", "Rest a lot.")


@pytest.mark.parametrize(("settings", "words"), [
    ({"prompt": "titel"}, "prompt must be one of continue, title, got 'titel'. Did you mean title"),
    ({"longest": 0}, "longest must be 1 or more characters, got 0."),
    ({"longest": "8"}, "longest must be a whole number of characters, got '8'."),
    ({"overlap": 0.5}, "overlap must be a whole number of characters, got 0.5."),
    ({"overlap": 500}, "overlap must be between 0 and half of longest, got 500."),
])
def test_settings_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(Refusal, match=words):
        records_of([DOCUMENT], **settings)


def test_documents_without_headings_give_no_sections():
    with pytest.raises(Refusal, match=r"documents must be ones that give a record for prompt=.title., got \['a."):
        records_of([Document("a.txt", "", "No heading here at all.")], prompt="title")


def test_a_heading_on_a_pdf_page_stays_apart_from_the_text_under_it():
    page = ("第一章 感冒的诊断与治疗\n感冒是由病毒引起的上呼吸道感染，常见的症状有发热、咳嗽、流\n"
            "鼻涕，一般一周内好转。\n一、概述\n多休息，多喝水。")
    assert documents._sections(pages.unwrapped(page)) == [
        ("第一章 感冒的诊断与治疗", "感冒是由病毒引起的上呼吸道感染，常见的症状有发热、咳嗽、流鼻涕，一般一周内好转。"),
        ("一、概述", "多休息，多喝水。")]
    english = "Introduction\nFever is a rise of the body's temperature above what is usual for\nthe time of day."
    assert pages.unwrapped(english).strip() == (
        "Introduction\n\nFever is a rise of the body's temperature above what is usual for the time of day.")


MARKED = """<html><head><title>T</title></head><body><article><h1>发热 *指南* a_b</h1>
<p>研究（p&lt;0.05），5*3=15，a_b_c，[注]，~5%，`x`，很<b>重要</b>的
H<sub>2</sub>O，5×10<sup>9</sup>/L，反斜杠 \\ 在此。</p>
<h2>用药</h2><p>第一行<br>第二行，体温超过三十九度，或者持续三天不退，请尽快就诊。</p>
<ul><li>多 <i>喝水</i></li><li>外<ul><li>内</li></ul></li></ul><ol><li>first</li><li>second</li></ol>
<table><tr><th>药</th><th>量 a*b</th></tr><tr><td>A</td><td>5|6</td></tr></table>
<pre><code># comment
x = a_b * 2</code></pre><p>an emoji 😀 and two bad marks &#0;&#x0B; here</p></article></body></html>"""


def test_a_page_keeps_its_own_characters_and_no_markup(tmp_path):
    text = read_documents(written(tmp_path / "a.html", MARKED)).documents[0].text
    for said in ("# 发热 *指南* a_b", "研究（p<0.05），5*3=15，a_b_c，[注]，~5%，`x`，很重要的",
                 "H₂O，5×10⁹/L，反斜杠 \\ 在此。",
                 "第一行\n第二行", "- 多 喝水\n- 外\n- 内", "1. first\n2. second", "药 | 量 a*b\nA | 5|6",
                 "```\n# comment\nx = a_b * 2\n```", "an emoji 😀 and two bad marks here"):
        assert said in text
    assert "**" not in text and "<su" not in text and "\\<" not in text


@pytest.mark.parametrize(("charset", "encoding"), [
    ("iso-8859-1", "utf-8"), ("latin1", "utf-8"), ("unicode_escape", "utf-8"), ("gbk", "utf-8"), ("utf-16", "utf-8"),
    ("iso-8859-1", "gb18030"), ("GBK", "gb18030"), ("gb2312", "gb18030"), ("x-gbk", "gb18030"), ("big5", "gb18030"),
    ("utf-8", "gb18030"), ("utf-8", "utf-16")])
def test_a_page_that_says_a_wrong_encoding_is_read_by_its_bytes(tmp_path, charset, encoding):
    path = written(tmp_path / "a.html", PAGE.format(charset=charset).encode(encoding))
    document = read_documents(path).documents[0]
    assert document.title == "发热护理指南" and "每四个小时测量一次体温" in document.text


@pytest.mark.parametrize(("said", "charset", "encoding"), [
    ("발열이 있을 때는 물을 많이 마시고 충분히 쉬는 것이 좋습니다", "euc-kr", "euc_kr"),
    ("発熱のときは水をたくさん飲んで、ゆっくり休んでください。", "shift_jis", "shift_jis"),
    ("При простуде пейте больше воды и отдыхайте", "windows-1251", "cp1251"),
    ("發燒的時候要多喝水，注意休息，每四個小時量一次體溫。", "big5", "big5"),
    ("Bei Fieber viel trinken: größere Mengen Tee, für den Körper", "iso-8859-1", "cp1252"),
    ("A plain page that says something it is not at all", "utf-16", "ascii")])
def test_a_page_in_another_encoding_is_read_as_it_says(tmp_path, said, charset, encoding):
    page = f'<html><head><meta charset="{charset}"></head><body><article><p>{said}</p></article></body></html>'
    assert said in read_documents(written(tmp_path / "a.html", page.encode(encoding))).documents[0].text


def test_a_page_in_no_encoding_is_refused(tmp_path):
    path = written(tmp_path / "a.html", b"<p>" + bytes(range(128, 256)) * 3)
    with pytest.raises(Refusal, match="a.html must be text in UTF-8"):
        read_documents(path)


def test_a_comment_inside_a_code_fence_is_no_heading():
    text = "# Title\n```python\n# comment\nx = 1\n```\nMore of it.\n# Next\nSomething else."
    made = records_of([Document("a.md", "", text)], prompt="title")
    assert [(record["instruction"], record["output"]) for record in made] == [
        ('Write the section "Title".', "```python\n# comment\nx = 1\n```\nMore of it."),
        ('Write the section "Next".', "Something else.")]


def test_sections_of_a_chinese_pdf_page_have_their_headings_and_no_page_numbers():
    page = ("第二节 诊断\n（一）症状\n发热、咳嗽、流鼻涕是感冒最常见的症状，一般在一周之内好\n转，不必用药。\n"
            "一、多数病人不发热，或者只有低热。\n（二）体征\n咽部充血。\n- 12 -")
    assert documents._sections(pages.unwrapped(page)) == [
        ("（一）症状", "发热、咳嗽、流鼻涕是感冒最常见的症状，一般在一周之内好转，不必用药。\n\n"
         "一、多数病人不发热，或者只有低热。"),
        ("（二）体征", "咽部充血。")]
    for number in ("12", "- 3 -", "第 3 页", "Page 3 of 9", "3 / 9"):
        assert pages.unwrapped(f"Some text of the page.\n{number}") == "Some text of the page."
    assert pages.unwrapped("A temperature of\n39℃") == "A temperature of\n39℃"


def test_an_english_chapter_is_a_heading_and_a_sentence_about_it_is_none():
    text = "Chapter 3 Fever\nDrink water.\nSection 2 says so.\nChapter 4 Cough\nRest a lot."
    assert documents._sections(text) == [
        ("Chapter 3 Fever", "Drink water.\nSection 2 says so."), ("Chapter 4 Cough", "Rest a lot.")]
