"""The rules of an invented triage desk, in English and Chinese: data alone. Fiction, and no medical advice.

The conditions do not exist. A symptom belongs to several of them; only a combination tells them apart.
"""

URGENCIES = {"en": ("self-care", "see a doctor", "emergency"), "zh": ("自理", "就诊", "急救")}

# name -> (English, Chinese)
SYMPTOMS = {
    "fever": ("a fever", "发烧"), "chills": ("cold shivers", "冷战"), "cough": ("a dry cough", "咳嗽"),
    "throat": ("a sore throat", "喉咙痛"), "nose": ("a runny nose", "流鼻涕"), "eyes": ("itchy eyes", "眼睛痒"),
    "tears": ("watery eyes", "流泪"), "rash": ("a red rash", "红疹"), "itch": ("itchy skin", "皮肤痒"),
    "headache": ("a headache", "头痛"), "dizzy": ("a dizzy head", "头晕"), "neck": ("a stiff neck", "脖子硬"),
    "ears": ("ringing ears", "耳鸣"), "voice": ("a hoarse voice", "声音哑"), "belly": ("belly pain", "肚子痛"),
    "cramp": ("leg cramps", "腿抽筋"), "knees": ("swollen knees", "膝盖肿"), "fingers": ("numb fingers", "手指麻"),
    "hands": ("cold hands", "手冷"), "back": ("back pain", "背痛"), "tired": ("heavy tiredness", "疲累"),
    "sleep": ("bad sleep", "睡不好"), "thirst": ("great thirst", "口渴"), "taste": ("no sense of taste", "没有味觉"),
    "sweat": ("night sweat", "夜里出汗"), "light": ("pain from bright light", "怕光"),
    "tongue": ("a white tongue", "舌头白"), "nails": ("yellow nails", "指甲黄"), "heart": ("a fast heart", "心跳快"),
    "shake": ("shaking hands", "手抖"),
}
RED_FLAGS = {"faint": ("a fainting fit", "昏倒"), "lips": ("blue lips", "嘴唇蓝"), "breath": ("no breath on the stairs", "上楼没气")}

# name, Chinese name | base urgency (index into URGENCIES) | seven symptoms | advice | Chinese advice
_CONDITIONS = """
marsh fever, 沼泽热 | 1 | fever chills sweat thirst headache tired shake | Drink salted tea. | 喝盐茶。
glass cough, 玻璃咳 | 0 | cough throat voice sleep tongue nose thirst | Take warm honey. | 喝温蜂蜜。
pollen veil, 花粉纱 | 0 | nose eyes tears itch cough headache tired | Close the windows. | 关好窗户。
lamp ache, 灯痛 | 1 | headache light neck eyes dizzy sleep tears | Rest in the dark. | 在暗处休息。
copper rash, 铜疹 | 1 | rash itch nails fever hands tongue sweat | Wear soft cloth. | 穿软布衣。
river knee, 河膝 | 0 | knees cramp back fever hands tired shake | Warm the knee. | 温暖膝盖。
stair heart, 梯心 | 2 | heart dizzy tired sweat hands ears light | Sit down and call. | 坐下呼叫。
quiet tongue, 静舌 | 0 | tongue taste thirst throat voice belly nails | Wash with salt water. | 用盐水洗口。
bell ear, 钟耳 | 1 | ears dizzy headache sleep neck voice heart | Avoid loud noise. | 不听大声音。
frost hand, 霜手 | 0 | hands fingers chills nails shake back tears | Wear warm gloves. | 手要保暖。
night drum, 夜鼓 | 1 | heart sleep sweat shake thirst belly fever | Drink no coffee. | 不喝茶。
salt belly, 盐肚 | 0 | belly thirst cramp taste chills dizzy nose | Eat clear soup. | 吃清汤。
paper skin, 纸肤 | 0 | itch rash eyes fingers tears throat back | Use cool water. | 用凉水。
stone neck, 石颈 | 2 | neck fever light rash headache chills ears | Lie flat and wait. | 平躺等待。
rope back, 绳背 | 0 | back neck cramp fingers sleep knees ears | Take slow walks. | 慢慢散步。
amber eye, 琥珀眼 | 1 | eyes nails tired belly light taste itch | Show the eyes. | 看眼睛。
"""


def conditions() -> list[dict]:
    """The conditions as dicts: `en`, `zh`, `urgency` (0 to 2), `symptoms`, `advice` by language."""
    table = []
    for line in _CONDITIONS.strip().splitlines():
        names, urgency, symptoms, *advice = [cell.strip() for cell in line.split("|")]
        english, chinese = names.split(", ")
        table.append({"en": english, "zh": chinese, "urgency": int(urgency), "symptoms": tuple(symptoms.split()),
                      "advice": dict(zip(("en", "zh"), advice, strict=True))})
    return table


# How long, in words; it decides nothing.
TIMES = {"en": ("since this morning", "since yesterday", "for two days", "for three days", "for over two weeks"),
         "zh": ("从今天早晨开始", "从昨天开始", "已经两天", "已经三天", "已经两周多")}

# (instruction, input); {s} the symptoms, {t} the time. The last four of each language are for the test split alone.
FORMS = {
    "en": [("Triage this visitor.", "I have {s} {t}."), ("Triage this visitor.", "{t} there is {s}."),
           ("Which condition is it?", "Visitor reports {s}, {t}."), ("Which condition is it?", "It began {t}: {s}."),
           ("Fill in the desk card.", "{s}; {t}."), ("Fill in the desk card.", "Found {s} {t}."),
           ("Help the visitor.", "Hello, {t} I feel {s}."), ("Help the visitor.", "Please help me with {s}, {t}."),
           ("What should the desk say?", "My friend has {s} {t}."), ("What should the desk say?", "She suffers from {s} {t}."),
           ("Sort this case.", "There has been {s} {t}."), ("Read and decide.", "The note says {s}, and that {t}."),
           ("A new case for the desk.", "My mother complains of {s} {t}."), ("Decide.", "He came in with {s}, {t}.")],
    "zh": [("请分诊。", "我{t}有{s}。"), ("请分诊。", "{t}，出现{s}。"),
           ("这是什么病症？", "来客说有{s}，{t}。"), ("这是什么病症？", "{t}就有：{s}。"),
           ("请填写分诊卡。", "{s}。{t}。"), ("请填写分诊卡。", "发现{s}，{t}。"),
           ("请帮助来客。", "你好，我{t}觉得{s}。"), ("请帮助来客。", "请帮帮我，{s}，{t}。"),
           ("分诊台该怎么说？", "我朋友{t}有{s}。"), ("分诊台该怎么说？", "她{t}受{s}之苦。"),
           ("请判断。", "{t}一直{s}。"), ("读后决定。", "纸条上写着{s}，{t}。"),
           ("台前来了新人。", "我母亲说{s}，{t}。"), ("请决定。", "他来时{s}，{t}。")],
}
TEST_FORMS = 4

ANSWER = {"en": "Condition: {c}\nUrgency: {u}\nAdvice: {a} (fiction)",
          "zh": "病症：{c}\n紧急：{u}\n建议：{a}虚构。"}

# term | meaning, for the glossary
GLOSSARY = {
    "en": [("a quiet card", "a card for a visitor who can wait until noon"), ("a bell case", "a case that the desk must call out at once"),
           ("the salt hour", "the hour in which the desk serves salted tea"), ("a red card", "a card that sends the visitor to help without waiting"),
           ("a blue slip", "a slip that asks for a second look after a week"), ("the long bench", "the place where visitors with self-care wait"),
           ("a stair test", "ten steps up and down before the desk decides"), ("a glass note", "a note that names the condition and nothing else"),
           ("the lamp room", "the dark room for visitors who cannot bear light"), ("a double entry", "one visitor with two conditions on two cards")],
    "zh": [("静卡", "给可以等到中午的来客的卡片"), ("钟案", "分诊台必须马上叫号的病例"), ("盐时", "分诊台供应盐茶的时间"),
           ("红卡", "不用等待就送去急救的卡片"), ("蓝条", "一周后再看一次的纸条"), ("长凳", "自理的来客等待的地方"),
           ("楼梯试", "分诊台决定前上下走十级楼梯"), ("玻璃条", "只写病症名称的纸条"), ("灯房", "给怕光的来客的暗房间"),
           ("双录", "一位来客有两种病症、两张卡片")],
}
GLOSSARY_FORMS = {"en": ["What does the desk mean by {t}?", "Explain the term: {t}.", "In the triage desk, what is {t}?"],
                  "zh": ["分诊台说的{t}是什么意思？", "解释术语：{t}。", "在分诊台，{t}是什么？"]}
GLOSSARY_ANSWER = {"en": "It is {m}. (fiction)", "zh": "{m}。虚构。"}
