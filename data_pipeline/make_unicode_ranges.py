"""Writes unicode_ranges.cpp: the general categories L, N, M, P, S as the regex engine of Hugging Face tokenizers sees them.

Run with the Python package tokenizers (made with 0.23.3, whose Oniguruma knows Unicode 16.0): every code point is shown to the
engine, so that the tables are what the ids depend on, and not a version number.
"""
import textwrap

import tokenizers
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

CLASSES = {"kLetter": r"\p{L}", "kNumber": r"\p{N}", "kMark": r"\p{M}", "kPunctuation": r"\p{P}", "kSymbol": r"\p{S}"}
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
BLOCK = 20000


def members(pattern):
    split = Split(Regex(pattern), "isolated")
    found = []
    for at in range(0, len(CODE_POINTS), BLOCK):
        block = CODE_POINTS[at : at + BLOCK]
        pieces = split.pre_tokenize_str("".join(chr(c) + "\ue000" for c in block))  # a private one matches none
        found += [block[a // 2] for _, (a, b) in pieces if b - a == 1 and a % 2 == 0]
    return found


rows = []
for name, pattern in CLASSES.items():
    for c in members(pattern):
        if rows and rows[-1][2] == name and rows[-1][1] == c - 1:
            rows[-1][1] = c
        else:
            rows.append([c, c, name])
rows.sort()
with open("unicode_ranges.cpp", "w") as out:
    out.write(f"// Made by make_unicode_ranges.py with tokenizers {tokenizers.__version__}; do not edit.\n")
    out.write('#include "data_pipeline/unicode.h"\n\nnamespace decant {\n\n')
    out.write(f"const UnicodeRange kUnicodeRanges[] = {{\n")
    out.write("// clang-format off\n")
    out.write("\n".join(textwrap.wrap(" ".join(f"{{0x{a:X},0x{b:X},{n}}}," for a, b, n in rows), 110, break_on_hyphens=False)))
    out.write("\n// clang-format on")
    out.write("\n};\nconst size_t kNumUnicodeRanges = sizeof(kUnicodeRanges) / sizeof(kUnicodeRanges[0]);\n\n}  // namespace decant\n")
