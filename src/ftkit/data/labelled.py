"""A set of sentences with personal data marked in them, and how much of it `personal.find` finds.

All is invented: ids have birth years in which nobody alive was born, cards are the numbers that payment providers
publish for tests. Written by the author of the recognisers, so that the figures are what to expect at best; names,
addresses and spelled-out numbers are in it because people write them, not because they are found.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from ftkit.data.personal import Span, find

_MARK = re.compile(r"\{([A-Z_]+)\|([^}]*)\}")
_SENTENCES = """
请联系{PHONE|13812345678}{EMAIL|zhangsan@example.com}谢谢
我的手机号是{PHONE|13900010002}，有事打我电话。
{NAME|李小梅}，电话{PHONE|138-0000-1234}，住{ADDRESS|北京市海淀区杏花路12号3单元501室}。
联系电话：{PHONE|+86 13700001111}，微信同号。
国外打来请拨{PHONE|0086-13600002222}。
加我微信{CHAT_ID|xiaomei_1990}聊聊病情。
微信号：{CHAT_ID|wangdaifu88}，白天在线。
QQ：{CHAT_ID|123456789}，备注“复诊”。
患者{NAME|王建国}，身份证号{RESIDENT_ID|110101190001010014}，男，主诉头痛三天。
身份证：{RESIDENT_ID|31010119010203002X}，请核对。
老身份证号码是{RESIDENT_ID|110101000101001}，还没换。
请把报告发到{EMAIL|li.xiaomei@example.com.cn}，不要寄纸质的。
邮箱是{EMAIL|zhang-san_88@mail.example.org}。
我邮箱{EMAIL|13912345678@163.com}，也是手机号。
发{EMAIL|doctor＠example．com}也行。
退款请打到银行卡{BANK_CARD|6212 3456 7890 1232}，户名{NAME|赵敏}。
卡号：{BANK_CARD|4111111111111111}，有效期12/30。
用{BANK_CARD|5555-5555-5555-4444}付的款。
座机{PHONE|010-88886666}，转分机8。
医院电话是{PHONE|(0571)8888 7777}，周末没人接。
预约请打{PHONE|021-66668888转301}。
电话：{PHONE|057188887777}
传真{PHONE|0755-2666 1234}，电话{PHONE|0755-2666 1235}。
手机１开头的：{PHONE|１３８００００５６７８}。
{PHONE|138 0000 4321}这个号打不通，换{PHONE|159 0000 4321}试试。
家属电话{PHONE|15000003333}/{PHONE|15000004444}。
他留的是{PHONE|1 3 8 0 0 0 0 9 9 9 9}，怕被屏蔽。
手机{PHONE|138.0000.7777}，晚上打。
{PHONE|86-18800001212}是我国内的号。
打{PHONE|13800002468}找{NAME|陈医生}。
我叫{NAME|刘洋}，{PHONE|17700009876}，想咨询过敏的事。
孩子{NAME|张小宝}，2岁，妈妈电话{PHONE|18911112222}，反复咳嗽。
您好我是{NAME|孙丽}，请回电{PHONE|19900001357}谢谢
快递小哥电话{PHONE|13500006666}，药放{ADDRESS|上海市徐汇区桂林路88弄6号}门口。
寄到{ADDRESS|广东省深圳市南山区学府路9号2栋1203}，收件人{NAME|周杰}，{PHONE|13622223333}。
本人{NAME|吴芳}（{RESIDENT_ID|440101189912311238}）自愿签署同意书。
证件号码：{RESIDENT_ID|110101 19000101 0014}
身份证后面再写一遍{RESIDENT_ID|31010119010203002x}。
医保卡关联手机{PHONE|18600007890}，密码忘了。
有问题发邮件：{EMAIL|help+clinic@example.net}或打{PHONE|13100008888}
{EMAIL|zhaoliu@example.cn}{PHONE|13212345678}都可以找到我
扣扣{CHAT_ID|87654321}，加的时候说明来意。
VX：{CHAT_ID|yishi_zixun}，预约复查。
微信{PHONE|13700005555}，同号。
加v {CHAT_ID|kangfu2020}
手机号{PHONE|一三八零零零零五六七八}，麻烦记一下。
我的号码是{PHONE|壹叁捌零零零零一二三四}。
我电话{PHONE|138零零零零5678}，中间是四个零。
邮箱 {EMAIL|zhangsan#example.com（把#换成@）}，防垃圾邮件。
邮箱{EMAIL|zhangsan 艾特 example 点 com}。
号码分两段写：{PHONE|13800，再接006543}。
尾号5678，前面是{PHONE|1380000}。
我身份证{RESIDENT_ID|110101，1900年1月1日，0014}。
{RESIDENT_ID|110101000101001}是我妈的证件。
我住{ADDRESS|杏花小区3号楼}，离医院很近。
{NAME|小李}说{NAME|老王}又犯病了。
病人家住{ADDRESS|河南省郑州市金水区}，职业司机。
{NAME|欧阳娜娜}女士于上午就诊。
护照{PASSPORT|E00000001}，签证快到期了。
车牌{PLATE|京A·D0001}停在急诊门口，请挪车。
生日是{BIRTHDAY|1990年3月5日}，属马。
我是{BIRTHDAY|92年2月}出生的，今年备孕。
住院号不记得了，名字叫{NAME|黄晓明明}。
在{WORKPLACE|杏花中学}教书，嗓子总哑。
订单号13812345678901还没发货。
订单号：13800001234，请尽快处理。
快递单号：13900005678，已签收。
流水号 15000001111 查不到。
发票号码是13600009999，请重开。
这套设备13800000000元，太贵了。
总价￥13812345678，一分不少。
圆周率3.14159265358，背到这里。
体温37.5，血压120/80，心率72。
白细胞12.3，血小板230，CRP 13800。
2023年10月11日到2024年12月31日住院。
请拨打120或110，不要自己开车。
咨询热线400-800-1234，全国统一。
客服95588，银行电话。
编号：6222021381234567，设备序列。
卡号4111111111111112好像输错了。
身份证110101190001010015校验不过。
从一九七八年到二〇一八年，四十年。
学号20230101001，大三。
时间戳1638123456789，单位毫秒。
剂量0.5mg，每日3次，共14天。
坐标39.9042,116.4074附近。
ISBN 9787111213826这本书不错。
药品批号：20231105，有效期至2025-11-04。
国药准字H20003263，一次两片。
数列1 3 5 7 9 11 13，下一项是多少？
13、14、15、16、17、18床都满了。
IP是192.168.1.101，路由器重启过。
版本号3.11.7，升级到3.12。
微信支付失败怎么办？
QQ群里都在说这个药。
@张医生 请看一下。
价格：13，800，001，234元是笔误吧？
从1978到2018，四十年。
QQ音乐上可以听。
样本量n=18612345，p<0.001。
邮编100080，区号010。
库存共15012345678件，够用了。
设备码13912345678已离线。
样本管4000056655665556号存放。
处方笺第13800138页，共两联。
Please call {PHONE|+86 138 1234 5678} or write to {EMAIL|li.wei@example.com}.
My cell is {PHONE|13812340000}, thanks.
Reach {NAME|Dr. Amanda Reyes} at {PHONE|(415) 555-0132} after five.
Her number is {PHONE|212-555-0147}.
Call {PHONE|+44 20 7946 0958} from abroad.
Office: {PHONE|+1 650 555 0199}, ask for {NAME|Tom}.
Fax {PHONE|+86-10-6666-8888}, phone {PHONE|010-66668888}.
Send it to {EMAIL|first.last+tag@sub.example.co.uk}.
Contact:{EMAIL|a_b-c@example.io};{PHONE|13912340000}
Email {EMAIL|JOHN.DOE@EXAMPLE.COM} today.
My card {BANK_CARD|4242 4242 4242 4242} was charged twice.
Card number {BANK_CARD|378282246310005}, amex.
Paid with {BANK_CARD|6011111111111117}.
Use {BANK_CARD|3530111333300000} please.
ID card no. {RESIDENT_ID|110101190001010014} of the patient.
Resident id: {RESIDENT_ID|440101-18991231-1238}.
WeChat: {CHAT_ID|drli2024}, mornings only.
My WeChat id is {CHAT_ID|lily-wong}.
QQ number {CHAT_ID|234567890}.
Mobile:{PHONE|86 139 0000 8888}
Tel {PHONE|021 66668888 ext 12}.
{NAME|Li Wei}'s phone: {PHONE|150-1234-5678}.
Two numbers, {PHONE|13800001111} {PHONE|13900002222}, try both.
mail me at {EMAIL|zhangsan@例子.com}
write to {EMAIL|jane (at) example (dot) com}.
It is {EMAIL|bob at example dot com}, no capitals.
Ring {PHONE|one three eight, 1234 5678}.
Ring me on {PHONE|020 7946 0958} in London.
Call {PHONE|555-0143} and ask for {NAME|Maria}.
{NAME|Jonathan Smith} lives at {ADDRESS|12 Orchard Lane, Springfield}.
Ship to {ADDRESS|Flat 3, 45 Harbour Road, Wan Chai}.
{NAME|Mei Chen}, born {BIRTHDAY|5 March 1990}, has had asthma since childhood.
Her passport is {PASSPORT|E00000002}.
Patient {NAME|O'Brien} was seen twice.
I teach at {WORKPLACE|Hilltop Primary School}.
Social security {SSN|078-05-1120} on file.
Licence plate {PLATE|7ABC123} blocks the gate.
{NAME|小红} aka {NAME|Lucy}, 13 years old, feels dizzy.
Order number 13812345678 has shipped.
Invoice no. 15900001234 is overdue.
Tracking number: 13812340001 says delivered.
It costs 13812345678 dollars in this joke.
Pi is 3.14159265358 and so on.
The ticket 18812345678 is closed.
Call 911 in an emergency.
Take 200 mg every 6-8 hours for 10 days.
Blood pressure 120/80, pulse 72, 37.5 degrees.
The years 2019-2023 were hard.
ISBN 978-0-13-468599-1 is out of print.
Card 4111 1111 1111 1112 was refused.
Sample of 13900 patients, 12345678 reads.
Version 1.13.8 of the firmware.
See figure 13, 14 and 15 on page 186.
Meet at 10:30 on 2024-01-15.
user@localhost is the default account.
Decorators such as @property are fine.
git clone git@example:team/repo
The WeChat official account is down.
doi 10.1038/s41586-020-2649-2 has the details.
MAC 00:1B:44:11:3A:B7 of the device.
Room 1380, floor 13, bed 8.
Scores: 13 14 15 16 17 18 19.
Serial 15012345678 is on the label.
The checksum is 18812345678 as expected.
"""


class Labelled(NamedTuple):
    """A sentence and where there is personal data in it, of kinds that may or may not be among those found."""

    text: str
    spans: tuple[Span, ...]


def labelled() -> list[Labelled]:
    """The marked sentences, Chinese ones first; some have nothing in them, though they look as if they had.

    Example:
        >>> labelled()[1].text
        '我的手机号是13900010002，有事打我电话。'

    Taught in: 03_data
    """
    return [_parsed(line) for line in _SENTENCES.strip().splitlines()]


def measure(sentences: Iterable[Labelled] | None = None) -> list[dict]:
    """How much is found of each kind: a row a kind, the last one for all of them.

    A marked piece counts as found if one found piece of its kind covers it whole; a found piece counts as wrong if it
    touches nothing marked of its kind.

    Args:
        sentences: marked ones of your own; None takes those of `labelled`.

    Returns: mappings with `kind`, `labelled`, `found`, `missed`, `wrong`, `recall` and `precision`; recall is None
        where nothing was marked, precision where nothing was found.

    Taught in: 03_data
    """
    counts: Counter = Counter()
    for text, spans in labelled() if sentences is None else sentences:
        guesses = find(text)
        for span in spans:
            covered = any(guess.kind == span.kind and guess.start <= span.start and span.end <= guess.end
                          for guess in guesses)
            counts[span.kind, "found" if covered else "missed"] += 1
        for guess in guesses:
            counts[guess.kind, "wrong"] += not any(
                span.kind == guess.kind and span.start < guess.end and guess.start < span.end for span in spans)
    kinds = sorted({kind for kind, _ in counts}, key=lambda kind: -counts[kind, "found"] - counts[kind, "missed"])
    total = {what: sum(counts[kind, what] for kind in kinds) for what in ("found", "missed", "wrong")}
    return [_row(kind, *(counts[kind, what] for what in total)) for kind in kinds] + [_row("all", *total.values())]


def _row(kind: str, found: int, missed: int, wrong: int) -> dict:
    return {"kind": kind, "labelled": found + missed, "found": found, "missed": missed, "wrong": wrong,
            "recall": found / (found + missed) if found + missed else None,
            "precision": found / (found + wrong) if found + wrong else None}


def _parsed(line: str) -> Labelled:
    text, spans, end = "", [], 0
    for mark in _MARK.finditer(line):
        text += line[end:mark.start()]
        spans.append(Span(mark[1], len(text), len(text) + len(mark[2])))
        text, end = text + mark[2], mark.end()
    return Labelled(text + line[end:], tuple(spans))
