"""Writes html_entities.cpp: the named character references of HTML, from Python's table of them (html.entities.html5)."""
import html.entities

rows = []
for name, text in sorted(html.entities.html5.items(), key=lambda item: item[0].rstrip(";")):
    if not name.endswith(";"):
        continue  # the legacy forms without a semicolon are left as text
    value = "".join(f"\\x{byte:02x}" for byte in text.encode())
    rows.append(f'{{"{name[:-1]}","{value}"}}')

with open("html_entities.cpp", "w", newline="\n") as out:
    out.write("// Made by make_html_entities.py from Python's html.entities.html5; do not edit.\n")
    out.write('#include "data_pipeline/strip_html.h"\n\nnamespace decant {\n\n')
    out.write("const HtmlEntity kHtmlEntities[] = {\n    // clang-format off\n")
    line = ""
    for row in rows:
        if len(line) + len(row) > 105:
            out.write(line + "\n")
            line = ""
        line += row + ","
    out.write(line + "\n    // clang-format on\n};\n")
    out.write("const size_t kNumHtmlEntities = sizeof(kHtmlEntities) / sizeof(kHtmlEntities[0]);\n\n}  // namespace decant\n")
