"""The word lists of the everyday world, in English and Chinese: data alone, written for this project.

Each list is a block of text, one entry a line or a word, so that it reads as a table. Knows nothing about questions.
"""

LANGUAGES = ("en", "zh")


def _pairs(block: str) -> list[tuple[str, str]]:
    return [tuple(entry.split("=")) for entry in block.split()]


def _rows(block: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in block.strip().splitlines()]


OPPOSITES = {
    "en": _pairs("""hot=cold big=small long=short tall=low fast=slow old=new young=aged rich=poor full=empty open=closed
        wet=dry hard=soft heavy=light dark=bright clean=dirty strong=weak early=late near=far high=deep wide=narrow
        thick=thin loud=quiet sweet=bitter sharp=blunt smooth=rough happy=sad brave=timid kind=cruel true=false
        first=last up=down left=right in=out day=night begin=end buy=sell give=take push=pull win=lose arrive=leave
        remember=forget laugh=cry love=hate ask=answer lend=borrow rise=fall north=south east=west war=peace
        friend=enemy front=back inside=outside above=below before=after always=never many=few more=less"""),
    "zh": _pairs("""热=冷 大=小 长=短 高=矮 快=慢 新=旧 老=少 富=穷 满=空 开=关 湿=干 硬=软 重=轻 明=暗 干净=肮脏 强=弱 早=晚
        近=远 深=浅 宽=窄 厚=薄 吵闹=安静 甜=苦 锋利=迟钝 光滑=粗糙 快乐=悲伤 勇敢=胆小 善良=残忍 真=假 首=尾 上=下 左=右
        里=外 白天=黑夜 开始=结束 买=卖 给=拿 推=拉 赢=输 来=去 记住=忘记 笑=哭 爱=恨 问=答 借出=借入 升=降 南=北 东=西
        战争=和平 朋友=敌人 前=后 以前=以后 总是=从不 多=少数 进步=退步 成功=失败 简单=复杂 危险=安全 公开=秘密 完整=破碎"""),
}

CATEGORIES = {
    "en": _rows("""
        bird | robin sparrow eagle owl duck swan crow parrot pigeon hen
        fish | salmon trout shark carp cod tuna eel herring
        insect | ant bee fly moth beetle wasp cricket butterfly
        fruit | apple pear plum grape lemon peach cherry melon banana mango
        vegetable | carrot onion potato cabbage bean pea leek spinach radish
        tool | hammer saw spade drill axe rake chisel wrench
        metal | iron gold silver copper tin lead zinc steel
        garment | shirt coat hat sock glove scarf dress belt
        vehicle | car bus train boat bicycle truck plane tram
        flower | rose tulip lily daisy violet poppy orchid
        tree | oak pine birch maple willow elm cedar
        drink | tea milk coffee juice water cocoa lemonade
        instrument | drum flute violin piano trumpet harp guitar
        furniture | table chair bed desk shelf sofa stool
        body part | head arm leg hand foot eye ear nose mouth throat chest back skin knee tooth
        feeling | joy fear anger pride shame hope envy calm
        weather | rain snow wind fog hail frost thunder
        shape | circle square triangle oval cube sphere cone"""),
    "zh": _rows("""
        鸟 | 麻雀 老鹰 猫头鹰 鸭子 天鹅 乌鸦 鹦鹉 鸽子 母鸡 燕子
        鱼 | 鲑鱼 鲨鱼 鲤鱼 带鱼 金枪鱼 鳗鱼 草鱼 鲫鱼
        昆虫 | 蚂蚁 蜜蜂 苍蝇 飞蛾 甲虫 黄蜂 蟋蟀 蝴蝶
        水果 | 苹果 梨 李子 葡萄 柠檬 桃子 樱桃 西瓜 香蕉 芒果
        蔬菜 | 胡萝卜 洋葱 土豆 白菜 豆角 豌豆 韭菜 菠菜 萝卜
        工具 | 锤子 锯子 铁锹 电钻 斧头 耙子 凿子 扳手
        金属 | 铁 黄金 白银 铜 锡 铅 锌 钢
        衣物 | 衬衫 大衣 帽子 袜子 手套 围巾 裙子 腰带
        交通工具 | 汽车 公交车 火车 小船 自行车 卡车 飞机 电车
        花 | 玫瑰 郁金香 百合 菊花 紫罗兰 牡丹 兰花
        树 | 橡树 松树 白桦 枫树 柳树 榆树 雪松
        饮料 | 茶 牛奶 咖啡 果汁 白水 可可 汽水
        乐器 | 鼓 笛子 小提琴 钢琴 小号 竖琴 吉他
        家具 | 桌子 椅子 床 书桌 架子 沙发 凳子
        身体部位 | 头 胳膊 腿 手 脚 眼睛 耳朵 鼻子 嘴巴 喉咙 胸口 后背 皮肤 膝盖 牙齿
        情绪 | 喜悦 恐惧 愤怒 骄傲 羞愧 希望 嫉妒 平静
        天气 | 雨 雪 风 雾 冰雹 霜 雷
        形状 | 圆形 正方形 三角形 椭圆 立方体 球体 圆锥"""),
}

COLOURS = {
    "en": _pairs("""grass=green sky=blue snow=white coal=black blood=red lemon=yellow tomato=red milk=white banana=yellow
        carrot=orange leaf=green sea=blue ink=black strawberry=red plum=purple chocolate=brown salt=white pumpkin=orange
        elephant=grey mud=brown violet=purple flamingo=pink cloud=white crow=black sunflower=yellow frog=green
        cherry=red ash=grey wood=brown ruby=red emerald=green sapphire=blue"""),
    "zh": _pairs("""草=绿色 天空=蓝色 雪=白色 煤=黑色 血=红色 柠檬=黄色 番茄=红色 牛奶=白色 香蕉=黄色 胡萝卜=橙色 树叶=绿色
        大海=蓝色 墨水=黑色 草莓=红色 茄子=紫色 巧克力=棕色 盐=白色 南瓜=橙色 大象=灰色 泥土=棕色 紫罗兰=紫色 火烈鸟=粉色
        白云=白色 乌鸦=黑色 向日葵=黄色 青蛙=绿色 樱桃=红色 灰烬=灰色 木头=棕色 红宝石=红色 翡翠=绿色 蓝宝石=蓝色"""),
}

# The invented country: town | river | known for | region | animal on its flag
COUNTRY = {
    "en": ("Verdania", _rows("""
        Brell | Osk | glass | north | heron
        Tamor | Luin | bread | south | otter
        Quill | Fenn | paper | west | raven
        Sarn | Dova | salt | east | crab
        Pell | Miro | silk | north | spider
        Ost | Kaya | rope | west | goat
        Vinn | Ruse | cheese | south | cow
        Harl | Tock | bells | east | lion
        Lumo | Anda | lamps | north | moth
        Dray | Zell | wagons | south | horse
        Ebb | Nook | boats | east | seal
        Garn | Pold | boots | west | fox""")),
    "zh": ("绿原国", _rows("""
        白石城 | 青河 | 玻璃 | 北部 | 白鹭
        泉水镇 | 银河 | 面包 | 南部 | 水獭
        风铃镇 | 沙河 | 纸张 | 西部 | 渡鸦
        盐湾城 | 月河 | 海盐 | 东部 | 螃蟹
        云桥镇 | 柳河 | 丝绸 | 北部 | 蜘蛛
        石门镇 | 黑河 | 绳子 | 西部 | 山羊
        牧野镇 | 花河 | 奶酪 | 南部 | 奶牛
        钟楼城 | 雷河 | 铜钟 | 东部 | 狮子
        灯塔镇 | 星河 | 灯笼 | 北部 | 飞蛾
        车轮镇 | 平河 | 马车 | 南部 | 骏马
        船港城 | 海河 | 木船 | 东部 | 海豹
        靴子镇 | 松河 | 皮靴 | 西部 | 狐狸""")),
}

# Riddles: a thing and six things that are true of it; several hold for more than one thing.
RIDDLES = {
    "en": _rows("""
        elephant | has a trunk; has big ears; has grey skin; is very heavy; eats leaves; has tusks
        tiger | has stripes; roars; eats meat; lives in the forest; has sharp claws; swims well
        zebra | has stripes; eats grass; runs in herds; has hooves; lives on the plain; has a mane
        lion | has a mane; roars; eats meat; lives on the plain; has sharp claws; sleeps all day
        horse | has hooves; has a mane; eats grass; carries riders; runs fast; lives in a stable
        cow | has hooves; eats grass; gives milk; lives on a farm; has horns; moves slowly
        goat | has horns; has a beard; climbs rocks; gives milk; lives on a farm; has hooves
        rabbit | has big ears; hops; eats grass; digs holes; has soft fur; has a short tail
        frog | hops; has green skin; lives in ponds; catches flies; swims well; sings at night
        snake | has no legs; has scales; hides in holes; lays eggs; sheds its skin; moves silently
        fish | has scales; has fins; lives in ponds; lays eggs; swims well; has no legs
        duck | has feathers; swims well; lays eggs; lives in ponds; has a flat beak; walks funnily
        owl | has feathers; flies silently; sees in the dark; eats mice; has round eyes; sleeps all day
        eagle | has feathers; has sharp claws; flies high; eats meat; builds nests; has a hooked beak
        bat | flies silently; sees in the dark; sleeps upside down; catches flies; has soft fur; lives in caves
        bear | has soft fur; lives in caves; eats honey; climbs trees; is very heavy; sleeps all winter
        monkey | climbs trees; has a long tail; eats bananas; lives in the forest; swings on branches; loves to play
        cat | has whiskers; eats mice; loves to play; has a long tail; has soft fur; purrs
        dog | barks; loves to play; guards the house; wags its tail; chases cats; digs holes
        mouse | has whiskers; has a long tail; is very small; hides in holes; eats cheese; squeaks
        bee | is very small; makes honey; has stripes; stings; loves flowers; lives in a hive
        butterfly | loves flowers; has bright wings; is very small; was a caterpillar; flies by day; drinks nectar
        spider | has eight legs; spins webs; catches flies; is very small; hides in corners; lays eggs
        turtle | has a shell; moves slowly; lays eggs; lives very long; swims well; has no teeth
        snail | has a shell; moves slowly; is very small; eats leaves; leaves a trail; loves rain
        whale | is very heavy; lives in the sea; sings at night; has fins; breathes air; is very large
        crab | has a shell; lives in the sea; walks sideways; has claws that pinch; hides under stones; has eight legs
        clock | has hands; shows the time; ticks; hangs on a wall; has a round face; rings in the morning
        book | has pages; has a cover; tells stories; stands on a shelf; is made of paper; is read in bed
        umbrella | opens in rain; has a handle; keeps you dry; folds up; is made of cloth; stands by the door"""),
    "zh": _rows("""
        大象 | 有长鼻子；有大耳朵；皮肤是灰的；很重；吃树叶；有长牙
        老虎 | 身上有条纹；会吼叫；吃肉；住在森林里；有利爪；很会游泳
        斑马 | 身上有条纹；吃草；成群奔跑；有蹄子；住在草原上；有鬃毛
        狮子 | 有鬃毛；会吼叫；吃肉；住在草原上；有利爪；整天睡觉
        马 | 有蹄子；有鬃毛；吃草；能载人；跑得快；住在马厩里
        牛 | 有蹄子；吃草；能产奶；住在农场里；有角；走得慢
        山羊 | 有角；有胡子；会爬石头；能产奶；住在农场里；有蹄子
        兔子 | 有大耳朵；会蹦跳；吃草；会挖洞；有软毛；尾巴短
        青蛙 | 会蹦跳；皮肤是绿的；住在池塘里；捉苍蝇；很会游泳；夜里唱歌
        蛇 | 没有腿；有鳞片；躲在洞里；会下蛋；会蜕皮；悄悄移动
        鱼 | 有鳞片；有鳍；住在池塘里；会产卵；很会游泳；没有腿
        鸭子 | 有羽毛；很会游泳；会下蛋；住在池塘里；嘴巴扁；走路摇摆
        猫头鹰 | 有羽毛；悄悄飞行；夜里看得见；吃老鼠；眼睛圆；整天睡觉
        老鹰 | 有羽毛；有利爪；飞得高；吃肉；会筑巢；嘴巴弯
        蝙蝠 | 悄悄飞行；夜里看得见；倒挂睡觉；捉苍蝇；有软毛；住在山洞里
        熊 | 有软毛；住在山洞里；吃蜂蜜；会爬树；很重；冬天睡觉
        猴子 | 会爬树；尾巴长；吃香蕉；住在森林里；在树枝上荡；爱玩耍
        猫 | 有胡须；吃老鼠；爱玩耍；尾巴长；有软毛；打呼噜
        狗 | 会汪汪叫；爱玩耍；看家；摇尾巴；追猫；会挖洞
        老鼠 | 有胡须；尾巴长；很小；躲在洞里；吃奶酪；吱吱叫
        蜜蜂 | 很小；酿蜂蜜；身上有条纹；会蜇人；爱花；住在蜂箱里
        蝴蝶 | 爱花；翅膀鲜艳；很小；曾是毛虫；白天飞；吸花蜜
        蜘蛛 | 有八条腿；会织网；捉苍蝇；很小；躲在角落；会产卵
        乌龟 | 有壳；走得慢；会下蛋；寿命很长；很会游泳；没有牙
        蜗牛 | 有壳；走得慢；很小；吃树叶；留下痕迹；爱下雨
        鲸 | 很重；住在海里；夜里唱歌；有鳍；呼吸空气；很大
        螃蟹 | 有壳；住在海里；横着走；有钳子；躲在石头下；有八条腿
        钟 | 有指针；显示时间；滴答响；挂在墙上；脸是圆的；早上会响
        书 | 有很多页；有封面；讲故事；放在架子上；用纸做的；在床上读
        雨伞 | 下雨打开；有把手；让人不湿；能折起来；用布做的；放在门边"""),
}

DAYS = {"en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
        "zh": "星期一 星期二 星期三 星期四 星期五 星期六 星期日".split()}
MONTHS = {"en": "January February March April May June July August September October November December".split(),
          "zh": "一月 二月 三月 四月 五月 六月 七月 八月 九月 十月 十一月 十二月".split()}
NUMBERS = {"en": "one two three four five six seven eight nine ten eleven twelve".split(),
           "zh": "一 二 三 四 五 六 七 八 九 十 十一 十二".split()}
NAMES = {"en": "Anna Ben Clara David Ella Felix Grace Hugo Iris Jonas Kira Leo Mina Noah".split(),
         "zh": "小安 小白 小草 小东 小方 小光 小海 小江 小兰 小林 小美 小宁 小天 小雨".split()}
THINGS = {"en": "apples books coins pens cards stones shells stamps".split(),
          "zh": "个苹果 本书 枚硬币 支笔 张卡片 块石头 个贝壳 张邮票".split()}
PLAIN_WORDS = """time person year way thing man world life part child woman place work week case point company number
    group problem fact room area money story month lot right study book eye job word business issue side home water
    night head house service friend father power hour game line end member law car city name team minute idea body
    information face level office door health art history party result change morning reason research girl guy moment
    air teacher force breath fever cough pain rash itch ache sweat sleep tired swollen sore burn cold hot stiff numb
    dizzy cramp thirst taste smell voice finger toe neck shoulder stomach belly heart lung bone blood tear lip tongue
    cheek hair nail heavy slow blue red white pale dark shake tremble faint weak dry wet sharp dull loud ring itchy
    watery runny blurry hoarse sticky tight cracked yellow green grey rest drink warm cool tea salt soup honey wash
    cover walk stop wait call visit doctor desk visitor urgent advice care condition week days hours since morning
    evening today yesterday almost nearly about after eating bright light noise stairs garden window
    emergency urgency fiction medical advice condition self knee knees eye eyes lips ears legs leg hands fingers towel
    shivers shiver friend mother visitor urgent coffee cocoa gloves lemon skin rash nails salted honey lamp paper copper
    river marsh frost amber bell stone rope sailor pollen veil nerve spark note term thirst swollen limb clear soup
    explain decide report fill help please hello found began there says this""".split()
# Common characters: the copying games show each of them, so that no everyday character is a stranger to the model.
PLAIN_CHARACTERS = """的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行
    所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公
    此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表
    化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目
    太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完
    设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔识快慢热冷发烧咳嗽痛痒红肿喉咙鼻涕
    流泪眼睛皮肤疹汗睡眠累疲倦晕眩麻木抽筋口渴味嗅声音手指脚趾脖颈肩膀胃肚腹心肺骨血泪唇舌脸颊头发指甲沉重发蓝苍白颤抖昏厥虚弱
    干湿刺钝响痰哑黏紧裂黄绿灰休息喝温凉茶盐汤蜂蜜洗盖散步停等待叫访医生台客紧急建议护理病症状周天小时早晨傍晚昨几乎大约饭后亮
    噪楼梯花园窗户咽吞腰背膝关节耳鸣打喷嚏鼻塞恶心呕吐拉肚子胀气食欲怕光视模糊夜盗冒冷战寒皱纹斑点泡脱皮针扎灼烫酸胀无缓解加持续
    反复请问诊断自理就急救立即处置尽多敷药膏冰毛巾暖避免吹风吃清淡早观察记录填写虚构容嘱沼泽玻璃纱铜疹梯钟霜鼓琥珀肢毛衣坐呼柠檬
    纸条石绳梁灯花粉河夜静车布穿戴可平躺闭驾驶卡出现哪种怎觉帮朋友母亲说她他受苦判断读决定术语解释案例供应等号""".replace("\n", "").replace(" ", "")
