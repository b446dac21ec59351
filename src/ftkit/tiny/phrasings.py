"""How the everyday world asks and tells: templates alone. The fields are filled in the order of the subject."""

QUESTIONS = {
    "sum": {
        "en": ["What is {0} plus {1}?", "Add {0} and {1}.", "{0} + {1} = ?", "How much is {0} and {1} together?"],
        "zh": ["{0}加{1}等于多少？", "{0} + {1} = ？", "请把{0}和{1}相加。", "{0}与{1}的和是多少？"]},
    "difference": {
        "en": ["What is {0} minus {1}?", "Take {1} away from {0}.", "{0} - {1} = ?", "Subtract {1} from {0}."],
        "zh": ["{0}减{1}等于多少？", "{0} - {1} = ？", "从{0}里拿走{1}，还剩多少？", "{0}与{1}的差是多少？"]},
    "story": {
        "en": ["{0} has {1} {3} and gets {2} more. How many does {0} have now?",
               "{0} finds {1} {3} in the morning and {2} at night. How many are there in all?"],
        "zh": ["{0}有{1}{3}，又得到{2}{3}。现在一共有多少？", "{0}早上找到{1}{3}，晚上找到{2}{3}。一共是多少？"]},
    "larger": {
        "en": ["Which is larger, {0} or {1}?", "Name the bigger number: {0}, {1}."],
        "zh": ["{0}和{1}，哪个更大？", "说出较大的数：{0}，{1}。"]},
    "opposite": {
        "en": ["What is the opposite of {0}?", "Give the opposite of the word {0}.", "Which word means the reverse of {0}?",
               "{0} is one side. Name the other side."],
        "zh": ["“{0}”的反义词是什么？", "请说出与“{0}”相反的词。", "什么词和“{0}”意思相反？", "“{0}”反过来是什么？"]},
    "category": {
        "en": ["What kind of thing is this: {0}?", "To which group does {0} belong?", "Name the class of {0}.",
               "In which family of things would you put {0}?"],
        "zh": ["{0}属于哪一类？", "{0}是什么种类的东西？", "请说出{0}的类别。", "你会把{0}归到哪一类？"]},
    "membership": {
        "en": ["Is {0} a kind of {1}? Answer yes or no.", "Does {0} belong to the group {1}?"],
        "zh": ["{0}是{1}的一种吗？", "{0}属于{1}吗？请回答是或不是。"]},
    "colour": {
        "en": ["What colour is this: {0}?", "Name the colour of {0}.", "Which colour has {0}?", "The colour of {0}, please."],
        "zh": ["{0}是什么颜色？", "请说出{0}的颜色。", "{0}一般是哪种颜色？", "说到{0}，是什么颜色的？"]},
    "day_after": {"en": ["Which day comes {1} day{2} after {0}?", "It is {0}. Which day is it {1} day{2} later?"],
                  "zh": ["{0}之后第{1}天是星期几？", "今天是{0}，往后{1}天是星期几？"]},
    "day_before": {"en": ["Which day comes {1} day{2} before {0}?", "It is {0}. Which day was it {1} day{2} ago?"],
                   "zh": ["{0}之前第{1}天是星期几？", "今天是{0}，往前{1}天是星期几？"]},
    "month_after": {"en": ["Which month comes {1} month{2} after {0}?", "It is {0}. Which month is it {1} month{2} later?"],
                    "zh": ["{0}之后第{1}个月是几月？", "现在是{0}，往后{1}个月是几月？"]},
    "month_before": {"en": ["Which month comes {1} month{2} before {0}?", "It is {0}. Which month was it {1} month{2} ago?"],
                     "zh": ["{0}之前第{1}个月是几月？", "现在是{0}，往前{1}个月是几月？"]},
    "count": {"en": ["Count from {0} to {1}.", "List the numbers from {0} to {1}."],
              "zh": ["从{0}数到{1}。", "请列出从{0}到{1}的数。"]},
    "copy": {"en": ["Repeat these words: {0}", "Copy this: {0}", "Say it again: {0}"],
             "zh": ["请重复：{0}", "照抄：{0}", "再说一遍：{0}"]},
    "reverse": {"en": ["Say these words backwards: {0}", "Reverse this list: {0}"],
                "zh": ["倒着说：{0}", "把顺序反过来：{0}"]},
    "first": {"en": ["What is the first word here: {0}", "Name the word at the start: {0}"],
              "zh": ["第一个字是什么：{0}", "说出开头的字：{0}"]},
    "last": {"en": ["What is the last word here: {0}", "Name the word at the end: {0}"],
             "zh": ["最后一个字是什么：{0}", "说出末尾的字：{0}"]},
    "how_many": {"en": ["How many words are there: {0}", "Count these words: {0}"],
                 "zh": ["一共有几个字：{0}", "数一数这些字：{0}"]},
    "riddle": {
        "en": ["It {0}. What is it?", "Guess what {0}.", "I am thinking of something that {0}. Name it.",
               "Which thing {0}?"],
        "zh": ["它{0}。它是什么？", "猜一猜：{0}。", "我想到一样东西，它{0}。请说出它。", "什么东西{0}？"]},
}

# The number says which cell of the subject (country, town, river, product, region, animal) is the answer.
QUESTIONS["country"] = {
    "en": [("Which river runs through {1} in {0}?", 2), ("Which town in {0} makes {3}?", 1),
           ("What does the town of {1} make?", 3), ("In which part of {0} lies {1}?", 4),
           ("Which animal is on the flag of {1}?", 5), ("Which town has the {5} on its flag?", 1),
           ("Which town lies on the river {2}?", 1), ("Name the river of {1}.", 2), ("What is {1} known for?", 3),
           ("Is {1} in the north, south, east or west of {0}?", 4)],
    "zh": [("{0}的{1}旁边是哪条河？", 2), ("{0}哪个地方出产{3}？", 1), ("{1}出产什么？", 3), ("{1}在{0}的哪个方位？", 4),
           ("{1}的旗子上是什么动物？", 5), ("哪个地方的旗子上有{5}？", 1), ("{2}流经哪个地方？", 1),
           ("请说出{1}的河流。", 2), ("{1}以什么闻名？", 3), ("{1}位于北部、南部、东部还是西部？", 4)],
}

STATEMENTS = {
    "sum": {"en": ["{0} plus {1} is {answer}.", "{0} + {1} = {answer}.", "If you add {1} to {0}, you get {answer}."],
            "zh": ["{0}加{1}等于{answer}。", "{0} + {1} = {answer}。", "把{0}和{1}加起来是{answer}。"]},
    "opposite": {"en": ["The opposite of {0} is {answer}.", "What is not {0} may be {answer}."],
                 "zh": ["“{0}”的反义词是“{answer}”。", "和“{0}”相反的是“{answer}”。"]},
    "category": {"en": ["The group of {0} is {answer}.", "Everyone puts {0} into the class {answer}."],
                 "zh": ["{0}属于{answer}这一类。", "人们把{0}归到{answer}里。"]},
    "colour": {"en": ["The colour of {0} is {answer}.", "Look at {0} and you see {answer}."],
               "zh": ["{0}的颜色是{answer}。", "看到{0}，就看到{answer}。"]},
    "country": {
        "en": ["{1} is a town in the {4} of {0}, on the river {2}.", "People in {1} make {3}.",
               "The flag of {1} shows a {5}.", "The town of {1} is known for {3}; its river is the {2}."],
        "zh": ["{1}在{0}的{4}，旁边是{2}。", "{1}出产{3}。", "{1}的旗子上有{5}。", "{1}以{3}闻名，河流是{2}。"]},
}

_ADDED = {
    "larger": {"en": ["Of {0} and {1}, which is more?"], "zh": ["{0}与{1}，较大的是哪个？"]},
    "opposite": {"en": ["If it is not {0} but the contrary, it is what?"], "zh": ["不是{0}，而是相反，那是什么？"]},
    "membership": {"en": ["Would you call {0} a {1}?", "{0}: is it a {1}, yes or no?"],
                   "zh": ["{0}算{1}吗？", "{0}这种东西是{1}吗？"]},
    "day_after": {"en": ["{0} and then {1} day{2} more: which day?", "Add {1} day{2} to {0}."],
                  "zh": ["{0}再过{1}天是星期几？", "在{0}上加{1}天。"]},
    "day_before": {"en": ["{0} and then {1} day{2} back: which day?", "Subtract {1} day{2} from {0}."],
                   "zh": ["{0}再往回{1}天是星期几？", "从{0}减去{1}天。"]},
    "month_after": {"en": ["{0} and then {1} month{2} more: which month?", "Add {1} month{2} to {0}."],
                    "zh": ["{0}再过{1}个月是几月？", "在{0}上加{1}个月。"]},
    "month_before": {"en": ["{0} and then {1} month{2} back: which month?", "Subtract {1} month{2} from {0}."],
                     "zh": ["{0}再往回{1}个月是几月？", "从{0}减去{1}个月。"]},
    "country": {
        "en": [("Which animal does the flag of {1} show?", 5), ("Name the animal on the flag of {1}.", 5),
               ("Whose flag shows the {5}?", 1), ("The {5} is on the flag of which town?", 1),
               ("The river {2} runs through which town?", 1), ("Name the town on the river {2}.", 1),
               ("Where do people make {3}?", 1), ("Which part of {0} is home to {1}?", 4)],
        "zh": [("{1}的旗子上画着什么动物？", 5), ("请说出{1}旗子上的动物。", 5), ("{5}在哪个地方的旗子上？", 1),
               ("哪面旗子上画着{5}？请说出地方。", 1), ("{2}从哪个地方流过？", 1), ("请说出{2}边上的地方。", 1),
               ("人们在哪里出产{3}？", 1), ("{1}在哪个方位？", 4)]},
}
# The added phrasings stand behind the first ones, whose numbers are part of what is held out.
MORE_QUESTIONS = {family: {language: asked + _ADDED.get(family, {}).get(language, []) for language, asked in book.items()}
                  for family, book in QUESTIONS.items()}
