#!/usr/bin/env python3
"""No two files define types of one name in one namespace: the linker would take the functions of either for both, in silence.

    one_name_one_type.py SOURCE_FOLDER

Types in anonymous namespaces are a file's own, and a nested type (`Outer::Inner`) is its outer type's."""
import collections
import pathlib
import re
import sys

FOLDERS = ["core", "data_pipeline", "train", "distill", "lora", "export", "recipes"]
COMMENTS_AND_LITERALS = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.S)
TOKENS = re.compile(r"namespace\s*(?P<space>[\w:]*)\s*\{|(?:struct|class|enum class|enum|union)\s+(?P<type>[\w:]+)(?:\s+final)?"
                    r"(?:\s*:(?!:)[^;{()]*)?\s*\{|(?P<open>\{)|(?P<close>\})")


def types(text):
    """Names of the types that a file defines for all, with their namespaces."""
    inside = []  # of each open brace: a namespace's name, or None
    for token in TOKENS.finditer(COMMENTS_AND_LITERALS.sub(" ", text)):
        if token["close"]:
            if inside:
                inside.pop()
        elif token["space"] is not None:
            inside.append(token["space"] or None)
        else:
            if token["type"] and None not in inside:
                yield "::".join([*inside, token["type"]])
            inside.append(None)


def twice(texts):
    where = collections.defaultdict(set)
    for name, text in texts.items():
        for one in types(text):
            where[one].add(name)
    return {name: sorted(files) for name, files in where.items() if len(files) > 1}, len(where)


assert twice({"a.h": "namespace x {\nstruct A { struct B {}; };\nnamespace {\nstruct C {};\n}  // {\n}",
              "b.h": "namespace x {\nclass A final : public Z {\n};\nstruct B {};\nstruct C {};\nstruct D::A { int i = '{'; };\n}"}
             ) == ({"x::A": ["a.h", "b.h"]}, 4), "the check does not see what it should"
root = pathlib.Path(sys.argv[1])
files = [p for folder in FOLDERS for p in (root / folder).rglob("*") if p.suffix in (".h", ".cpp", ".inc")]
found, count = twice({str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in files})
for name, files in found.items():
    print(f"{name} is defined in {' and '.join(files)}")
print(f"{count} types, {len(found)} of them twice")
sys.exit(1 if found or count < 300 else 0)
