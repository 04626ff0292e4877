"""Writes han_sets.cpp: which Han characters only simplified Chinese, traditional Chinese or Japanese write.

    python make_han_sets.py > han_sets.cpp

A fact of the national character sets, as Python's codecs have them: GB 2312 (simplified), Big5 (traditional), JIS X 0208.
"""
import textwrap


def known(c, codec):
    try:
        chr(c).encode(codec)
        return True
    except UnicodeEncodeError:
        return False


def bits(c):
    simplified, traditional, japanese = known(c, "gb2312"), known(c, "big5"), known(c, "shift_jis")
    return ((simplified and not traditional) * 1 + (traditional and not simplified) * 2 +
            (japanese and not simplified and not traditional) * 4 + ((simplified or traditional) and not japanese) * 8)


print("// Made by make_han_sets.py; do not edit.")
print('#include "data_pipeline/language_model.h"\n\nnamespace decant {\n\n// clang-format off')
print("const char* const kHanSets[] = {")
digits = "".join(f"{bits(c):x}" for c in range(0x4E00, 0xA000))
print("\n".join(f'"{line}",' for line in textwrap.wrap(digits, 106)) + "\nnullptr};")
print("// clang-format on\n\n}  // namespace decant")
