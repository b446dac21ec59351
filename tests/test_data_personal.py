"""Personal data in running Chinese and English text, the labelled set, and what is out of reach."""

import socket

import pytest

from ftkit.data.labelled import Labelled, labelled, measure
from ftkit.data.personal import KINDS, Span, find, luhn, personal, scrubbed, valid_resident_id
from ftkit.errors import Refusal


@pytest.mark.parametrize(("text", "want"), [
    ("请联系13812345678zhangsan@example.com谢谢", "请联系<PHONE><EMAIL>谢谢"),
    ("邮箱zhangsan@example.com13812345678。", "邮箱<EMAIL><PHONE>。"),
    ("13812345678@163.com也行", "<EMAIL>也行"),
    ("电话+86 138-1234-5678，或0086 13812345678", "电话<PHONE>，或<PHONE>"),
    ("电话：０１０－８８８８６６６６转８", "电话：<PHONE>"),
    ("打13912345678，13812345678、137-0000-1111", "打<PHONE>，<PHONE>、<PHONE>"),
    ("(+86)13912345678/021-12345678;tel:+8613912345678", "<PHONE>/<PHONE>;tel:<PHONE>"),
    ("Phone:13912345678Email:a@b.com", "Phone:<PHONE>Email:<EMAIL>"),
    ("1.13912345678 2.13912345679", "1.<PHONE> 2.<PHONE>"),
    ("3.14159265358，0.13912345678，1391234567，139123456789",) * 2,
    ("手机一三八零零零零五六七八", "手机<PHONE>"),
    ("身份证11010119000101001412号", "身份证11010119000101001412号"),
    ("身份证110101190001010014,卡6212 3456 7890 1232", "身份证<RESIDENT_ID>,卡<BANK_CARD>"),
    ("订单号：13812345678，￥13812345678，13812345678元", "订单号：13812345678，￥13812345678，13812345678元"),
    ("没有什么", "没有什么"), ("", ""),
])
def test_each_piece_is_replaced_by_its_kind_and_the_rest_stays(text, want):
    assert scrubbed(text) == want
    assert scrubbed(want) == want  # a placeholder is no personal data


def test_the_stock_recogniser_swallows_what_ours_tells_apart():
    from presidio_analyzer.predefined_recognizers import EmailRecognizer

    text = "请联系13812345678zhangsan@example.com谢谢"
    stock = EmailRecognizer().patterns[0].regex
    import regex

    swallowed = regex.search(stock, text)
    assert swallowed is None or swallowed[0].startswith(("1", "请"))
    assert [text[span.start:span.end] for span in find(text)] == ["13812345678", "zhangsan@example.com"]


def test_nothing_is_asked_of_the_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    from ftkit.data import personal as module

    module._analyzer.cache_clear()
    assert scrubbed("a@example.com 13812345678") == "<EMAIL> <PHONE>"


@pytest.mark.parametrize("base", ["11010119000101001", "31010119010203002", "44010118991231123"])
def test_a_resident_id_has_exactly_one_right_check_digit(base):
    weights = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]  # as printed in the standard
    right = "10X98765432"[sum(int(digit) * weight for digit, weight in zip(base, weights, strict=True)) % 11]
    assert [digit for digit in "0123456789X" if valid_resident_id(base + digit)] == [right]
    assert valid_resident_id(f"{base[:6]} {base[6:14]} {base[14:]}{right.lower()}")


@pytest.mark.parametrize("text", ["110101190002300010", "000101190001010014", "1101011900010100", "", "X" * 18])
def test_what_has_no_province_no_day_or_not_eighteen_digits_is_no_resident_id(text):
    assert not valid_resident_id(text)


@pytest.mark.parametrize("number", ["4111111111111111", "5555 5555 5555 4444", "378282246310005", "6011111111111117"])
def test_published_test_cards_pass_and_fail_with_any_digit_changed(number):
    assert luhn(number)
    for place, digit in enumerate(number):
        if digit.isdigit():
            assert not luhn(number[:place] + str((int(digit) + 1) % 10) + number[place + 1:])


def test_only_the_kinds_asked_for_are_replaced():
    text = "13812345678 a@example.com"
    assert scrubbed(text, ["EMAIL"]) == "13812345678 <EMAIL>"
    assert find(text, ["PHONE"]) == [Span("PHONE", 0, 11)]


@pytest.mark.parametrize(("kinds", "got"), [(["NAME"], "'NAME'"), ("PHONE", "'PHONE'"), (["PHONES"], "'PHONES'")])
def test_an_unknown_kind_is_refused(kinds, got):
    with pytest.raises(Refusal, match=f"kinds must be one of {', '.join(KINDS)}, got {got}."):
        find("13812345678", kinds)


def test_every_text_of_a_record_is_searched_and_none_is_dropped():
    talk = [{"role": "user", "content": "我是13812345678"}, {"role": "assistant", "content": "a@example.com"}]
    given = [{"instruction": "打13812345678", "input": "或13912345678", "output": "好", "id": "13812345678",
              "title": "张先生13812345678"},
             {"messages": talk}, {"text": "无"}]
    records, report = personal(given)
    assert records[0] == {"instruction": "打<PHONE>", "input": "或<PHONE>", "output": "好", "id": "13812345678",
                          "title": "张先生<PHONE>", "place": 0}
    assert [turn["content"] for turn in records[1]["messages"]] == ["我是<PHONE>", "<EMAIL>"]
    assert (report.records_in, report.records_out, report.changed, report.notes) == (3, 3, 2, {"PHONE": 4, "EMAIL": 1})
    assert given[1]["messages"] is talk and talk[0]["content"] == "我是13812345678"


def test_the_labelled_set_is_large_bilingual_and_has_hard_negatives():
    sentences = labelled()
    assert len(sentences) >= 150 and len({sentence.text for sentence in sentences}) == len(sentences)
    assert sum(sentence.text.isascii() for sentence in sentences) >= 50
    assert sum(not sentence.spans for sentence in sentences) >= 50
    assert {"NAME", "ADDRESS", *KINDS} <= {span.kind for sentence in sentences for span in sentence.spans}


def test_recall_and_precision_are_measured_and_below_all():
    rows = {row["kind"]: row for row in measure()}
    assert rows["NAME"]["recall"] == rows["ADDRESS"]["recall"] == 0
    assert 0.85 < rows["PHONE"]["recall"] < 1 and 0.9 < rows["PHONE"]["precision"] < 1
    assert rows["BANK_CARD"]["recall"] == 1 and 0.6 < rows["EMAIL"]["recall"] < 0.9
    assert 0.5 < rows["all"]["recall"] < 0.75 and 0.9 < rows["all"]["precision"] < 1
    assert rows["all"]["labelled"] == rows["all"]["found"] + rows["all"]["missed"]


def test_a_piece_counts_as_found_only_when_all_of_it_is_covered():
    row = measure([Labelled("13812345678转5", (Span("PHONE", 0, 13),)), Labelled("13912345678", ())])[-1]
    assert (row["found"], row["missed"], row["wrong"], row["recall"], row["precision"]) == (0, 1, 1, 0, 0)
    assert measure([Labelled("无", ())])[-1]["recall"] is None


@pytest.mark.parametrize("text", [
    "WeChat is popular in China.", "QQ is similar to ICQ", "Vx is voltage across x", "vx: 123456 m/s",
    "wx:config initialized", "WeChat: download it", "微信：WeChat官方应用", "WeChat ID is required for login",
    "QQ 20000 users", "微信 10000 元红包", "微信群500000人", "加VC2000mg", "iPhone 20230922", "microphone 20001000",
    "电话3000-5000次", "电话: 20231112", "x+100 200 300", "y = x +10 20 30", "2^34=17179869184",
    "宇宙年龄13800000000年", "13812345678次", "13812345678kg", "13812345678 bytes", "0x13812345678",
    "https://x.com/item/13812345678", "rs13812345678", "[200.300.4000]", "Ratio 300-200-1000", "(300) 200-1000",
    "icon@2x.png", "x = A@B.sum", "C@D.inv", "git@github.com:a/b", "Decimal('1.2345E+12345680')",
    "Decimal('+35236450.6')", "a wx:for-item", "V: version one", "全世界有13812345678人。", "威信很高的人",
    "书信20000封",
])
def test_prose_code_quantities_and_web_addresses_are_no_personal_data(text):
    assert scrubbed(text) == text


@pytest.mark.parametrize(("text", "want"), [
    ("1381234567813912345678", "<PHONE><PHONE>"),
    ("手機0912345678", "手機<PHONE>"),
    ("打0912-345-678", "打<PHONE>"),
    ("香港电话852-91234567", "香港电话<PHONE>"),
    ("V：abc12345", "V：<CHAT_ID>"),
    ("➕V：abc12345", "➕V：<CHAT_ID>"),
    ("薇信：abc_123", "薇信：<CHAT_ID>"),
    ("威信zhangsan888", "威信<CHAT_ID>"),
    ("加薇:abc_1234", "加薇:<CHAT_ID>"),
    ("邮箱 zhangsan @ 163.com", "邮箱 <EMAIL>"),
    ("13812345678元旦打给我", "<PHONE>元旦打给我"),
    ("微信号是 a1234567", "微信号是 <CHAT_ID>"),
    ("打13812345678人工", "打<PHONE>人工"),
    ("电话：0571-87654321/87654322", "电话：<PHONE>/<PHONE>"), ("打(138)12345678", "打<PHONE>"),
    ("微信搜索：keshi_mama", "微信搜索：<CHAT_ID>"), ("企鹅号12345678", "企鹅号<CHAT_ID>"),
    ("身份证11010119000101001413812345678", "身份证<RESIDENT_ID><PHONE>"),
    ("身份证110 101 1900 0101 0014", "身份证<RESIDENT_ID>"),
    ("网址https://x.com，电话13812345678", "网址https://x.com，电话<PHONE>"),
    ("phone=13812345678", "phone=<PHONE>"),
    ("加v kangfu2020", "加v <CHAT_ID>"),
    ("Telephone: 66668888", "Telephone: <PHONE>"),
])
def test_numbers_run_together_of_other_regions_and_in_disguise_are_found(text, want):
    assert scrubbed(text) == want
