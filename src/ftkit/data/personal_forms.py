"""The forms that personal data is written in, as regular expressions (of the `regex` package), for each kind.

Each is looked for without case, in a text whose full-width signs are ordinary ones. What stands beside a number says
what it is not: an order, a price, a part of a formula or of a web address. In doubt nothing is found.
"""

_SEP = r"[ .·_\-–—]{1,3}"
_MAINLAND = r"(?:\(?(?:\+|00)?86\)?[ \-]{0,2}|0)?"
# what a number is when it stands behind one of these; Chinese says so with 号, English with "order" and the like
_NOT_A_PHONE = (r"(?=[\d(+])(?<!(?:单|编|流水|批|序列|货|发票|合同|工|学|案|档案)号码?[是为]?[\s:#]{0,3})"
                r"(?<!\b(?:order|invoice|tracking|parcel|serial|sku|item|ref|reference|ticket|case|batch|isbn)"
                r"(?:\s?(?:no\.?|number|id|code))?(?:\sis)?[\s:#]{0,3})"
                r"(?<!https?://[!-~]{0,200}/)(?<!\b(?:0x|rs))(?<![\d)]\s?=\s?)")
_NOT_A_PRICE = r"(?<![¥￥$€£]\s?)(?<!\d{3}\.)(?<!(?<!\d)0\.)(?!14159265358)"  # 1.138… is a list
_UNIT = (r"(?!\s?(?:元(?!旦)|块钱|[万亿年次个件篇页]|人(?:口|次|$|[\s，。,.、；;！!？?)])|%|(?:yuan|rmb|dollars|"
         r"users|people|members|times|bytes|km|[kmu]?g|m[lm]?|m/s|hz|px)(?![a-z])))")
_NO_MORE = rf"(?!\d)(?!\.\d)(?!,\d{{3}}(?!\d)){_UNIT}"
NUMERAL = "[0-9零〇一二三四五六七八九幺壹贰叁肆伍陆柒捌玖]"
_AREA = r"(?:10|2\d|[3-9]\d\d)"
_NAMES = r"(?:手机|手機|电话|電話|座机|固话|传真|(?<![a-z])(?:tel|telephone|phone|mobile|fax))"
_CALLED = rf"(?<={_NAMES}(?:号码?|號碼?)?[是为為]?[\s:.]{{0,3}})"
_NO_DATE = r"(?!(?:19|20)\d\d[01]\d[0-3]\d(?!\d))"
_CHAT = r"(?:QQ|扣扣|企鹅号|微信|薇信|威信|wechat|weixin|(?<![a-z])[vw]x)群?"
_BEFORE_ID = rf"(?<=(?:{_CHAT}(?:搜索?)?|加[v薇](?=[\s:])|(?<![a-z])v(?=:))"  # and what may stand between it and the id
_ID = r"[a-z](?=[a-z\-]*[\d_])[a-z0-9_\-]{5,19}(?!\.\d)"  # with a digit or underscore in it: a word has none
_ID18 = r"[1-9]\d\d[ \-]?\d{3}[ \-]?(?:18|19|20)\d\d[ \-]?[01]\d[ \-]?[0-3]\d[ \-]?\d{3}[ \-]?[\dX]"
_MOBILE = r"1[3-9]\d{9}"
_HOST = (r"(?:[a-z0-9\-]+\.)*(?:[a-z0-9\-]{2,}\.|[a-z0-9]\.(?=(?:com|cn|net|org)(?![a-z])))"
         r"(?!(?:png|jpe?g|gif|svg|webp|css|js|json|html?|mp4)(?![a-z]))[a-z]{2,24}")
PATTERNS = {
    "RESIDENT_ID": (
        rf"(?<!\d){_ID18}(?:(?!\d)|(?={_MOBILE}(?!\d)))",
        r"(?<=身份证(?:号码?)?[是为]?[\s:]{0,3})[1-9]\d{7}[01]\d[0-3]\d{4}(?!\d)"),  # of 15 digits, until 1999
    "EMAIL": (
        # not from the phone number on that an address may follow without a space, but 13812345678@163.com is one
        rf"(?<![a-z0-9._%+\-])(?!(?:\+?86)?1[3-9]\d{{9}}[a-z_])(?!git@)[a-z0-9._%+\-]+@{_HOST}",
        rf"(?<=(?<!\d)(?:\+?86)?1[3-9]\d{{9}})[a-z_][a-z0-9._%+\-]*@{_HOST}",
        r"(?<![a-z0-9._%+\-])[a-z0-9._%+\-]{3,}\s@\s?(?:[a-z0-9\-]+\.)+(?:com|cn|net|org)(?![a-z])"),
    "BANK_CARD": (_NOT_A_PHONE + r"(?<!\d)[2-6]\d{3}(?:[ \-]?\d){9,15}(?!\d)",),
    "PHONE": (
        _NOT_A_PHONE + _NOT_A_PRICE + rf"(?<!\d){_MAINLAND}1[3-9]\d{{9}}(?!@){_NO_MORE}",
        rf"(?<!\d){_MOBILE}(?={_MOBILE}(?!\d))", rf"(?<=(?<!\d){_MOBILE}){_MOBILE}(?!\d)",  # two run together
        rf"(?<=(?<!\d)[1-9]\d{{5}}(?:19|20)\d\d[01]\d[0-3]\d{{4}}[\dX]){_MOBILE}(?!\d)",  # behind a resident id
        r"\(1[3-9]\d\)[ \-]?\d{4}[ \-]?\d{4}(?!\d)",
        rf"(?<=(?<!\d)0{_AREA}[ \-]?[1-9]\d{{6,7}}[/、]\s?)[1-9]\d{{6,7}}(?!\d)",  # the second of two of a place
        *(rf"(?<!\d)(?<!\d[ \-.]){_MAINLAND}1[3-9]{grouped}(?!@){_NO_MORE}(?![ \-]\d)" for grouped in (
            rf"\d{_SEP}\d{{4}}{_SEP}\d{{4}}", rf"\d\d{_SEP}\d{{3}}{_SEP}\d{{4}}", rf"\d\d{_SEP}\d{{4}}{_SEP}\d{{3}}",
            rf"\d{_SEP}\d{{3}}{_SEP}\d{{5}}", rf"\d{_SEP}\d{{8}}", rf"\d{{5}}{_SEP}\d{{4}}",
            rf"\d{{3}}{_SEP}\d{{6}}")),
        rf"(?<!{NUMERAL})(?!\d{{11}})[1一幺壹][3-9三四五六七八九叁肆伍陆柒捌玖]{NUMERAL}{{9}}(?!{NUMERAL}|@|[.,]\d)",
        r"(?<!\d)(?<!\d )1 [3-9](?: \d){9}(?! ?\d)",
        rf"(?<!\d)(?<!\d-)(?:\(0{_AREA}\)[ \-]?|0{_AREA}[ \-–—]{{1,3}})[1-9]\d{{2,3}}[ \-]?\d{{4}}(?!\d)"
        r"(?:\s?(?:转|-|ext\.?)\s?\d{1,6}(?!\d))?",
        rf"(?<!\d)(?:\+|00)86[ \-]?\(?0?{_AREA}\)?[ \-]?[1-9]\d{{2,3}}[ \-]?\d{{4}}(?!\d)",
        rf"{_CALLED}0{_AREA}[2-9]\d{{6,7}}(?!\d)", rf"{_CALLED}{_NO_DATE}[2-8]\d{{2,3}}[ \-]?\d{{4}}(?![\d\-]){_UNIT}",
        rf"{_CALLED}09\d\d[ \-]?\d{{3}}[ \-]?\d{{3}}(?![\d\-])", r"(?<![\d.\-])09\d\d-\d{3}-\d{3}(?![\d\-])",  # Taiwan
        r"(?<![\d.\-])85[23]-[2-9]\d{3}[ \-]?\d{4}(?![\d\-])",  # Hong Kong, Macau
        r"(?<![\d\-])(?:\+?1[ .\-])?(?!\(?[2-9]00)(?:\([2-9]\d\d\) ?|[2-9]\d\d[.\-])[2-9]\d\d[ .\-]\d{4}(?![\d\-])",
        r"(?<![a-z0-9_)=+'])\+(?!86)(?=(?:\D{0,2}\d){8})[1-9]\d{0,2}[ \-]?(?:\(?\d{1,4}\)?[ \-]?){2,4}\d{2,4}(?!\d)"),
    "CHAT_ID": (
        rf"(?<={_CHAT}(?:号码?|\s?id|\s?number)?(?:[是为]|\sis\s)?[\s:]{{0,3}})[1-9]\d{{4,11}}(?!\d)(?!\.\d){_UNIT}",
        rf"(?<={_CHAT}号码?[是为]?[\s:]{{0,3}})[a-z][a-z0-9_\-]{{5,19}}(?![a-z])",
        rf"(?<={_CHAT}\s?id(?:\sis\s|\s?:\s?))(?=[a-z]+[\d_\-])[a-z][a-z0-9_\-]{{5,19}}(?![a-z])",
        rf"{_BEFORE_ID}(?:[是为]|\sis\s)?[\s:]{{0,3}}){_ID}"),
}
