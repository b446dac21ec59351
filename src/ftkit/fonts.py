"""A font that has Chinese characters, where one is installed, for texts that have them; a stand-in where none is.

Knows nothing about figures: a text is anything with matplotlib's `get_text` and `set_fontfamily`.
"""

import re
from collections.abc import Iterable

STAND_IN = "(zh)"  # shown instead of Chinese that no font can draw

CHINESE = re.compile("[\u2e80-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]+")
_FONTS = ("Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "Microsoft YaHei",
          "PingFang SC", "Hiragino Sans GB", "Heiti SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "SimHei")
_FONT_LIKE = re.compile(r"CJK|Han (Sans|Serif)|Hei|Song|SimSun|Kai|UMing|Arial Unicode|Fallback")
_PROBE = "中文发烧医嘱"  # characters that a font must have to count


def legible(text: str) -> str:
    """The text as figures can show it: Chinese becomes "(zh)" where no installed font has it."""
    return text if not CHINESE.search(text) or font_for_chinese() else CHINESE.sub(STAND_IN, text)


def font_for_chinese() -> str | None:
    """The name of an installed font that has Chinese characters; None without one."""
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    candidates = [name for name in _FONTS if name in installed] + sorted(filter(_FONT_LIKE.search, installed))
    return next(filter(_has_chinese, candidates), None)


def _has_chinese(name: str) -> bool:
    from matplotlib import font_manager

    try:
        found = font_manager.get_font(font_manager.findfont(name, fallback_to_default=False)).get_charmap()
    except (OSError, RuntimeError, ValueError):  # a listed font that is gone, or can't be read
        return False
    return all(ord(character) in found for character in _PROBE)


def draw_chinese_(texts: Iterable) -> None:
    """Give texts with Chinese a font that has it, behind their own; no other text and no setting changes."""
    for text in texts:
        if CHINESE.search(text.get_text()) and (font := font_for_chinese()):
            text.set_fontfamily([*text.get_fontfamily(), font])
