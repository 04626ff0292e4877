"""Makes quality.json: what datatrove's filters (and data-juicer's formulas) compute for texts, to be compared with quality.h and
repetition.h.

    python make_quality.py > quality.json        (datatrove 0.10.1, numpy, regex)

The numbers are those that datatrove's own code compares with its thresholds: the filters run with their word tokenizer replaced by
the default word boundaries of Unicode (UAX #29, of the package regex), and with thresholds that catch every value. For C4 the lines
that its filter keeps are counted. data-juicer's two repetition filters are written again from their formulas.
"""
import json
import math
import random
import re
import sys

import numpy as np
import regex
import datatrove.utils.text as T
from datatrove.data import Document
from datatrove.pipeline.filters import c4_filters as C4
from datatrove.pipeline.filters import gopher_quality_filter as GQ
from datatrove.pipeline.filters import gopher_repetition_filter as GR


def words_of(text, language=None):
    return [w for w in regex.split(r"(?V1w)\b", text) if w.strip()]


def gopher_quality(text):
    """GopherQualityFilter.filter, with each number kept where it is compared."""
    words = words_of(text)
    n = len(words)
    solid = [w for w in words if any(c not in T.PUNCTUATION_SET for c in w)]
    lines = text.splitlines()
    return {
        "words": len(solid),
        "mean_word_length": float(np.mean([len(w) for w in solid])) if solid else 0,
        "hash_ratio": text.count("#") / n if n else 0,
        "ellipsis_ratio": (text.count("...") + text.count("…")) / n if n else 0,
        "bullet_line_fraction": sum(s.lstrip().startswith("•") or s.lstrip().startswith("-") for s in lines) / len(lines) if lines else 0,
        "ellipsis_line_fraction": sum(s.rstrip().endswith("...") or s.rstrip().endswith("…") for s in lines) / len(lines) if lines else 0,
        "alphabetic_word_fraction": sum(any(c.isalpha() for c in w) for w in words) / n if n else 0,
        "stop_words_en": len(set(GQ.STOP_WORDS).intersection(words)),
        "stop_words_zh": len(set("的 年 在 月 是 和 日 了 於 · 為 有 被 人 中 为 他 與 後 也 而 由".split()).intersection(words)),
    }


def verdicts(text, values):
    """datatrove's own filters must agree at thresholds just beside the numbers."""
    GQ.split_into_words = GR.split_into_words = words_of
    checked = 0
    for name, option, up in [("hash_ratio", "max_symbol_word_ratio", 1), ("bullet_line_fraction", "max_bullet_lines_ratio", 1),
                             ("ellipsis_line_fraction", "max_ellipsis_lines_ratio", 1),
                             ("alphabetic_word_fraction", "max_non_alpha_words_ratio", -1),
                             ("mean_word_length", "max_avg_word_length", 1), ("words", "max_doc_words", 1)]:
        value = values[name]
        if name == "hash_ratio" and values["ellipsis_ratio"] > value:
            continue
        if value <= 1e-6:
            continue
        for by, passes in ((1e-7, True), (-1e-7, False)):
            off = dict.fromkeys(["min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length", "max_symbol_word_ratio",
                                 "max_bullet_lines_ratio", "max_ellipsis_lines_ratio", "max_non_alpha_words_ratio", "min_stop_words"])
            off[option] = value + by * up
            got = GQ.GopherQualityFilter(**off).filter(Document(text=text, id="0"))
            assert (got is True) == passes, (name, value, got, text)
            checked += 1
    for key, option in [("dup_line_fraction", "dup_line_frac"), ("dup_paragraph_fraction", "dup_para_frac"),
                        ("dup_line_char_fraction", "dup_line_char_frac"), ("dup_paragraph_char_fraction", "dup_para_char_frac")] + [
                            (f"top_{n}gram", n) for n in (2, 3, 4)] + [(f"dup_{n}gram", n) for n in range(5, 11)]:
        value = values[key]
        if value <= 1e-6:
            continue
        for by, passes in ((1e-7, True), (-1e-7, False)):
            off = dict(dup_line_frac=None, dup_para_frac=None, dup_line_char_frac=None, dup_para_char_frac=None, top_n_grams=(), dup_n_grams=())
            if isinstance(option, str):
                off[option] = value + by
            else:
                off["top_n_grams" if key.startswith("top") else "dup_n_grams"] = ((option, value + by),)
            got = GR.GopherRepetitionFilter(**off).filter(Document(text=text, id="0"))
            assert (got is True) == passes, (key, value, got, text)
            checked += 1
    return checked


def repetition(text):
    out = {}
    paragraphs = re.compile(r"\n{2,}").split(text.strip())
    n, chars = GR.find_duplicates(paragraphs)
    out["dup_paragraph_fraction"], out["dup_paragraph_char_fraction"] = n / len(paragraphs), chars / len(text)
    lines = re.compile("\n+").split(text)
    n, chars = GR.find_duplicates(lines)
    out["dup_line_fraction"], out["dup_line_char_fraction"] = n / len(lines), chars / len(text)
    words = words_of(text)
    for k in (2, 3, 4):
        grams = GR.get_n_grams(words, k)
        out[f"top_{k}gram"] = GR.find_top_duplicate(grams) / len(text) if grams else 0
    for k in range(5, 11):
        out[f"dup_{k}gram"] = GR.find_all_duplicate(words, k) / len(text)
    out["unique_word_fraction"] = len(set(words)) / len(words) if words else 0
    grams = [" ".join(words[i:i + 10]) for i in range(len(words) - 9)]
    counts = [grams.count(g) for g in set(grams)] if len(grams) < 3000 else []
    out["word_repetition"] = sum(c for c in counts if c > 1) / len(grams) if grams else 0
    grams = {}
    for i in range(len(text) - 9):
        grams[text[i:i + 10]] = grams.get(text[i:i + 10], 0) + 1
    freqs = sorted(grams.values(), reverse=True)
    num = min(int(math.sqrt(len(freqs))), len(freqs) - freqs.count(1)) if freqs else 0
    out["char_repetition"] = sum(freqs[:num]) / sum(freqs) if freqs else 0
    return out


def fineweb(text):
    lines = [line for line in text.split("\n") if line.strip() != ""]
    out = {"terminal_line_fraction": 0, "short_line_fraction": 0, "char_dup_ratio": 0}
    if lines:
        out["terminal_line_fraction"] = sum(line.endswith(tuple(T.TERMINAL_PUNCTUATION)) for line in lines) / len(lines)
        out["short_line_fraction"] = sum(len(line) <= 30 for line in lines) / len(lines)
        out["char_dup_ratio"] = GR.find_duplicates(lines)[1] / len(text.replace("\n", ""))
    words = words_of(text)
    out["newline_ratio"] = text.count("\n") / len(words) if words else 0
    return out


def c4(text):
    f = C4.C4QualityFilter(min_num_sentences=-1, filter_curly_bracket=False)
    f.stat_update = lambda *a, **k: None
    lines = text.splitlines()
    kept = 0
    for line in lines:
        document = Document(text=line, id="0")
        kept += f.filter(document) is True and document.text != ""
    lengths = sorted((len(line) for line in text.split("\n")), reverse=True)
    return {"c4_line_fraction": kept / len(lines) if lines else 0, "curly_brackets": text.count("{"),
            "third_line_characters": lengths[2] if len(lengths) > 2 else 0,
            "longest_word": max([len(w) for w in text.split()], default=0)}


SENTENCES = ["I would like to return the shoes that I bought last week.", "Your order #12345 has shipped!", "Is that all?", "ok",
             "Thank you for your help, and have a nice day...", "- first item", "• second item", "我的订单什么时候发货？", "亲，您好，请问有什么可以帮您的吗",
             "抱歉给您带来不便。", "You can't use 3.14 or a_b, can you?", "See http://example.com/a?b=c for more {details}.",
             "We use cookies [1] to make it better.", "Lorem ipsum dolor sit amet.", "Enable JavaScript now, please.", "He said \"no.\"",
             "It is done.[12]", "It is done [edit].", "wait…", "สวัสดีครับ ยินดีต้อนรับ", "カタカナとひらがなの文です。", "한국어 문장입니다.", "🇨🇳🇺🇸 👨‍👩‍👧 ❤️",
             "price: 1,000.50 USD (approx.)", "x" * 1001 + " is long, too long.", "Ｆｕｌｌ１", "e\u0301te\u0301 naïve façade", "the be to of and that have with",
             "\u05d0\"\u05d1 \u05d0' 5", "a.b.c 1.2.3 a:b 1:2 a'b' 'c", "foo’s “quoted” — dash", "的 年 在 月 是 和 日 了", "\u200bzero\u200bwidth \u0301", "    ",
             "\tTabbed line.  ", "----", "...", "a  b   c"]
SEPARATORS = ["\n", "\n", "\n\n", "\n\n\n", " ", " ", "\r\n", "\u2028", "\x0b", "\x85", "\n \n"]


def texts():
    yield from SENTENCES
    yield from ["a", " ", "\n", "\n\n", "a\n", "\na", "\na\n", "a\n\na", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "a " * 40, "ab ab ab ab ab ab ab", "好" * 30,
                "哈哈哈哈哈哈哈哈", "{", "#", "\n".join(["same line."] * 12), "\n\n".join(["same paragraph here."] * 7), "#" * 30, "... … ....", "• a\n• b\n- c\nd...",
                "one two three four five six seven eight nine ten eleven " * 3]
    rand = random.Random(17)
    for n in range(120):
        pool = rand.sample(SENTENCES, rand.randint(1, 8))
        text = ""
        for _ in range(rand.randint(1, 24)):
            text += rand.choice(pool) + rand.choice(SEPARATORS[:4] if n % 3 else SEPARATORS)
        yield text.strip(" ") if n % 2 else text


def main():
    cases, checked = [], 0
    for text in texts():
        values = {**gopher_quality(text), **repetition(text), **fineweb(text), **c4(text)}
        checked += verdicts(text, values)
        cases.append({"text": text, "words": words_of(text) if len(cases) < 60 else None, "values": {k: round(v, 9) for k, v in values.items()}})
    assert checked > 2500
    print(f"{checked} verdicts of datatrove agree", file=sys.stderr)
    json.dump({"regex": regex.__version__, "datatrove": "0.10.1", "cases": cases}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


main()
