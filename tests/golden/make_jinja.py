"""Makes jinja.json: what transformers' Jinja environment makes of many small templates.

    python make_jinja.py > jinja.json

Each case: template `t`, and `out`, or `error` true when it fails (its words are Python's and are not compared). The variables are the
same for all. Run with --fuzz N SEED for N random compositions instead (for a look at rare corners, not kept).
"""
import copy
import json
import random
import sys
import warnings
from datetime import datetime

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

VARIABLES = {
    "s": "Hello, World", "u": "Grüße aus 北京 😀", "w": "  padded\t\n", "e": "", "n": 7, "neg": -3, "f": 2.5, "big": 1e300, "b": True, "z": None,
    "l": [3, 1, 2], "ll": [[1, 2], [3, 4]], "words": ["apple", "Banana", "cherry", "apple"], "mixed": [1, "a", 2.5, None, True, [1], {"k": "v"}],
    "d": {"b": 1, "a": 2, "items": 3, "c d": 4}, "people": [{"name": "Bo", "age": 30, "tags": ["x"]}, {"name": "al", "age": 25, "tags": []}, {"name": "Cy", "age": 30}],
    "q": "it's \"quoted\" \\ and\nnew\tline", "h": "<b>&amp; 'x'</b>", "lines": "one\ntwo\r\nthree\n\nfive", "think": "<think>\nadd\n</think>\n\n2", "m": {"a": {"b": {"c": [10, 20]}}},
    "js": {"name": "查询", "args": {"x": [1, 2.0, True, None], "e": {}, "l": []}}, "sep": "a,b,,c", "num": "42", "fl": "4.75", "ver": [1.0, 1e16, 1e15, 1e-5, 0.0001, 123456789.125, -0.0],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4|7 // 2|-7 // 2|7 % 3|-7 % 3|7 % -3|2 ** 10|2 ** -1|7 / 2|6 / 2|1.5 + 1|0.1 + 0.2|1e16|1e15|1e-5|123456789012345.0|1e22 + 1|-2 ** 2|5.0 // 2|-5.5 % 2|n / 0|1 // 0|
9223372036854775807|9223372036854775808|0xff|0b101|0o17|1_000_000|1.5e3|n + b|b + b|b * 3|true and 1|e or 'x'|z or 0|not n|not not e|n and s|1 < 2 < 3|1 < 2 > 3|3 > n|n == 7.0|1 == true|'a' < 'b'|[1,2] < [1,3]|(1,2) == (1,2)|[1] == (1,)|'1' == 1|
z is none|missing is none|missing is defined|missing|missing == missing|missing == none|missing.x|missing['x']|missing + 1|missing ~ 'x'|missing|length|missing|list|missing|default('d')|z|default('d')|z|default('d', true)|e|d('x', boolean=true)|
s|upper|s.upper()|u|upper|u|lower|s|lower|u.title()|u|title|'hello-world (foo) [bar] <baz>'|title|"they're bill's".title()|'ǆ ß ŉ'.title()|'ß'.upper()|'İ'.lower()|'ΑΣ ΣΑΣ'.lower()|'hELLO'.capitalize()|'hELLO'|capitalize|'aBc'.swapcase()|'Straße'.casefold()|
s|length|u|length|u[0]|u[-1]|u[2:5]|u[::-1]|s[::2]|s[-5:]|s[5:1]|s[1:100]|s[100]|s[7]|s['x']|l[0]|l[-1]|l[5]|l[1:]|l[::-1]|l[::-2]|ll[0][1]|l[b]|d.b|d['b']|d.items|d['items']|d.keys()|d.values()|d.items()|d.items()|list|d|list|d|items|list|d.get('zz')|d.get('zz', 1)|d.get('a')|d.zz|'a' in d|'zz' not in d|'ell' in s|1 in l|5 not in l|2.0 in l|none in mixed|'x' in missing|1 in 's'|
w.strip()|w|trim|w.lstrip()|w.rstrip()|s.strip('Hd')|u.strip('Gü😀')|s.lstrip('Hel')|s.rstrip('dl')|s|trim('H')|sep.split(',')|sep.split(',', 1)|sep.rsplit(',', 1)|s.split()|w.split()|lines.splitlines()|lines.splitlines(true)|sep.split('')|' a  b  c '.split(none, 1)|' a  b  c '.rsplit(none, 1)|'a'.split('b')|''.split()|''.split(',')|sep.partition(',')|sep.rpartition(',')|sep.partition('zz')|sep.rpartition('zz')|
think.split('</think>')[-1]|think.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')|think.split('</think>')[-1].lstrip('\n')|s.replace('l', 'L')|s.replace('l', 'L', 1)|s.replace('', '-')|s|replace('o', '0')|s|replace('l', 'L', 2)|s.replace('zz', 'y')|n|replace(7, 8)|
s.startswith('Hell')|s.startswith(('x', 'H'))|s.endswith('ld')|s.endswith('x')|s.startswith('e', 1)|s.find('o')|s.find('o', 5)|s.rfind('o')|s.find('zz')|s.index('W')|s.index('zz')|u.find('北')|s.count('l')|s.count('')|u.count('京')|s.count('l', 4)|'aaa'.count('aa')|s.removeprefix('Hello')|s.removesuffix('World')|s.center(20)|s.center(21, '*')|'ab'.center(5)|'abc'.center(6)|s|center(20)|s.ljust(15) ~ '.'|s.rjust(15, '0')|'42'.zfill(5)|'-42'.zfill(5)|'a\tb'.expandtabs(4)|
'abc'.isalpha()|'ab1'.isalnum()|'12'.isdigit()|'²'.isdigit()|'²'.isdecimal()|'½'.isnumeric()|' '.isspace()|''.isspace()|'Abc'.istitle()|'abc'.islower()|'ABC1'.isupper()|'a b'.isidentifier()|'abc'.isascii()|'é'.isprintable()|'\n'.isprintable()|u.isascii()|
','.join(words)|','.join([1])|words|join(', ')|l|join('-')|people|join(',', attribute='name')|words|join|s|join('.')|{'a':1}|join|'%s and %d' % ('x', 3)|'%5.2f|%-6s|%06d|%x|%X|%o|%e|%g|%%|%r|%c' % (3.14159, 'ab', 42, 255, 255, 8, 12345.678, 0.0001, 'q', 'z')|'%s' % s|'%s' % l|'%d' % 3.9|'%d' % 'x'|'%(a)s %(b)s' % d|'%s'|format('x')|'%s %s'|format('x')|'%s' % ('a', 'b')|'%+d % d %#x' % (3, 3, 255)|'%5s|%-5s|%.2s' % ('a', 'b', 'abc')|'%.3d' % 5|
'{} {}'.format(1, 'a')|'{1} {0}'.format('a', 'b')|'{a} {b!r}'.format(a=1, b='x')|'{:>8}|{:<8}|{:^8}|{:*^9}'.format('a', 'b', 'c', 'd')|'{:05d} {:+d} {:,} {:x} {:#b} {:o} {:e} {:.2f} {:.0%} {:10.3f}|'.format(42, 7, 1234567, 255, 5, 8, 12345.678, 3.14159, 0.25, 2.5)|'{0[a]} {0[b]}'.format(d)|'{{}}'.format()|'{'.format()|'{}'.format()|'{:{w}}|'.format('x', w=5)|'{:.2}'.format('abcdef')|'{}'.format(l)|'{!s:>5}'.format(3)|'{:g} {:g} {}'.format(1e10, 0.5, 1e20)|'{:_}'.format(1000000)|'{:c}'.format(65)|'{0} {}'.format(1)|
mixed|d|ver|js|q|[q]|['a', "b'c", 'd"e']|(1,)|()|(1, 2)|{}|[]|{'a': [1, (2, 3)], 4: none, 1.5: true}|u ~ [u]|['\x00\x7f\u200b\xa0']|range(5)|range(5)|list|range(1, 10, 3)|list|range(5, 0, -2)|list|range(0)|list|range(3)[1]|range(10)[2:5]|list|range(200000)|1 in range(3)|range(3)|length|range(1, 2) == range(1, 2)|
js|tojson|js|tojson(indent=2)|mixed|tojson|d|tojson(sort_keys=true)|d|tojson(separators=(',', ':'))|u|tojson|u|tojson(ensure_ascii=true)|q|tojson|ver|tojson|h|tojson|{1: 2, none: 3, true: 4, 1.5: 5}|tojson|missing|tojson|[missing]|tojson|(1, 2)|tojson|{}|tojson(indent=4)|[]|tojson(indent=4)|[[], {}]|tojson(indent=1)|js|tojson(indent='\t')|'\u2028\x7f\x1f'|tojson|[1,[2]]|tojson(indent=0)|big|tojson|{'a':1}|tojson(2)|
l|sort|l|sort(reverse=true)|words|sort|words|sort(case_sensitive=true)|people|sort(attribute='age')|map(attribute='name')|list|people|sort(attribute='age,name')|map(attribute='name')|list|mixed|sort|words|unique|list|words|unique(case_sensitive=true)|list|l|min|l|max|words|max|[]|min|people|min(attribute='age')|people|max(attribute='name')|l|sum|people|sum(attribute='age')|[]|sum|l|sum(start=10)|['a']|sum|
l|first|l|last|[]|first|[]|last|s|first|s|last|d|first|l|reverse|list|s|reverse|d|reverse|list|l|length|l|count|words|map('upper')|list|words|map('replace', 'a', 'A')|list|people|map(attribute='tags')|list|people|map(attribute='tags', default='none')|list|people|map(attribute='zz')|list|people|selectattr('age', 'equalto', 30)|map(attribute='name')|join(' ')|people|rejectattr('tags')|list|people|selectattr('tags')|list|length|people|selectattr('name', 'in', ['Bo'])|list|l|select('odd')|list|l|reject('gt', 1)|list|[0, 1, '', 'x']|select|list|l|select('nope')|list|l|map('nope')|list|l|map|list|
l|batch(2)|list|l|batch(2, 'x')|list|range(7)|slice(3)|list|range(7)|slice(3, 'x')|list|people|groupby('age')|list|length|people|groupby('age')|map(attribute='grouper')|list|people|groupby('age')|map(attribute='list')|map('length')|list|people|groupby('tags', default='q')|list|length|d|dictsort|d|dictsort(by='value')|d|dictsort(reverse=true)|d|dictsort(false, 'value', true)|{'B':1,'a':2}|dictsort|{'B':1,'a':2}|dictsort(true)|
num|int|num|int + 1|fl|int|'x'|int|'x'|int(5)|'0x1f'|int(base=16)|'0b11'|int(0, 2)|'12_3'|int|' 7 '|int|2.9|int|-2.9|int|z|int|fl|float|'x'|float|'x'|float(1.5)|'1e3'|float|'inf'|float|'nan'|float|true|int|'1_0.5'|float|42.55|round|42.55|round(1)|42.55|round(1, 'floor')|42.55|round(1, 'ceil')|2.5|round|3.5|round|-2.5|round|2.675|round(2)|1234.5|round(-2)|15|round(-1)|25|round(-1)|n|round|n|abs|neg|abs|-2.5|abs|s|abs|neg|string|n|string ~ 'x'|s|wordcount|u|wordcount|
h|escape|h|e|h|safe|h|safe + '<i>'|'<i>' + h|safe|h|safe ~ '<i>'|h|forceescape|h|safe|forceescape|h|striptags|'<p>a  b</p>\n<!-- c -->d &lt;'|striptags|[h|safe]|(h|safe)|length|(h|e).upper()|('<' + ('x'|safe)) * 2|'%s' % ('<'|safe)|('<%s>'|safe) % '<'|('<{}>'|safe).format('<')|('a'|safe).join(['<'])|(h|safe) is escaped|h is escaped|(h|safe)|replace('b', '<')|
s|truncate(8)|s|truncate(8, true)|s|truncate(5, true, '..')|s|truncate(8, leeway=0)|'foo bar baz qux'|truncate(9)|'foo bar baz qux'|truncate(11, false, '...', 0)|s|truncate(255)|lines|indent|lines|indent(2, true)|lines|indent('>> ', blank=true)|lines|indent(width=1)|'a'|indent|'foo bar baz'|wordwrap(5)|'foobarbaz'|wordwrap(4)|'a/b c&d=ü'|urlencode|{'a b': 'c/d'}|urlencode|[('x', 1)]|urlencode|1000|filesizeformat|1|filesizeformat|999|filesizeformat|1500000|filesizeformat|1048576|filesizeformat(true)|{'a': 'x<', 'b': none, 'c': 3}|xmlattr|{'a': 1}|xmlattr(false)|{'a b': 1}|xmlattr|[1, {'b': 1, 'a': 2}]|pprint|
n is odd|n is even|n is divisibleby 7|n is divisibleby(2)|n is number|f is float|n is integer|b is integer|b is boolean|b is number|s is string|u is string|l is string|d is mapping|l is mapping|l is sequence|s is sequence|d is sequence|n is sequence|missing is sequence|l is iterable|n is iterable|missing is iterable|range is callable|s is callable|n is sameas n|b is sameas true|1 is sameas true|none is sameas none|'a' is lower|'A' is upper|'1' is lower|n is eq 7|n is ne 7|n is gt 3|n is ge 7|n is lt 7|n is le 7|n is greaterthan 3|n is lessthan 3|n is equalto 7|1 is in l|'upper' is filter|'zz' is filter|'odd' is test|n is not odd|n is defined and s is string|z is not none|b is true|b is false|n is true|n is in([7])|n is == 7|
n is nope|s|nope|s.nope()|s.nope|l.append(1)|d.pop('a')|d.update({})|d.clear|l.sort()|s.__class__|d.__len__|s.format_map(d)|'{a}'.format_map(d)|''.__class__.__mro__|l.index(2)|l.index(9)|l.count(1)|(1,2,1).count(1)|(3).bit_length()|2.0.is_integer()|f.is_integer()|l.copy()|d.copy()|dict(a=1, b=2)|dict([('x', 1)])|dict(d, z=1)|dict.fromkeys(['a'], 0)|namespace(a=1).a|namespace(a=1)|namespace(_a=1)|namespace({'x': 2}).x|cycler('a', 'b').next()|raise_exception('no ' ~ n)|strftime_now('%d %b %Y %H:%M %A %j %U %-d %p %I %y')|strftime_now('%B %d, %Y')|lipsum|length > 3|
'a' if n else 'b'|'a' if e|('a' if e) is defined|'a' if e else 'b' if b else 'c'|(s if n > 5 else e) ~ '!'|[1, 2] + [3]|[1] + (2,)|(1,) + (2,)|[1, 2] * 2|'ab' * 3|3 * 'ab'|'ab' * -1|'a' + 1|1 + 'a'|'a' ~ 1 ~ none ~ true ~ 1.0|s - 1|-s|+n|-b|l - l|d + d|d == {'a': 2, 'b': 1, 'items': 3, 'c d': 4}|[1, 2.0, true] == [1.0, 2, 1]|{1: 'a', true: 'b'}|{'a': 1, 'a': 2}|{[1]: 2}|mixed[6].k|m.a.b.c[1]|m['a']['b'].c.0|m.a.zz.c|m.a.zz|d['c d']|people[0].name|people[-1]['age']|people[9]|people[9].name|people|map(attribute='tags.0')|list|
"\x41\u4e2d\n\t\\ \' \" \q \0 \101 \N{BULLET}"|'a' 'b' "c"|'中\é'|l|list|tojson|s|list|d.items()|map('first')|list|d.items()|map('join', '=')|list|s|attr('upper')|d|attr('b')|u.encode|n.real|words[1:] | map('lower') | select('ne', 'cherry') | list | join('/')|(l | length) > 2 and (s | upper | lower) == (s | lower)|l|map('string')|map('upper')|join|[1,2,3]|sum is odd|not l is string|n in [1, 7] and not n in [2]|(n, s)[0]|[n, *l]|
"""

STATEMENTS = [
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}",
    "{% if b %}{% set x = 5 %}{% endif %}{{ x }}", "{% if not b %}{% set s = 5 %}{% endif %}{{ s }}", "{% for i in l %}{% set y = i %}{% endfor %}{{ y }}",
    "{% set ns = namespace(x=0) %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}", "{% set ns.x = 1 %}", "{% set d.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, b = [1, 2, 3] %}", "{% set (a, b) = 'xy' %}{{ b }}{{ a }}", "{% set x %}a{{ n }}b{% endset %}[{{ x }}]{{ x|length }}", "{% set x | upper %}a{{ s }}{% endset %}{{ x }}", "{% set x | replace('l', 'L') | upper %}hello{% endset %}{{ x }}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }};{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(i > 1) }} {% endfor %}", "{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}:{{ i }} {% endfor %}", "{% for i in [] %}x{% else %}empty{% endfor %}", "{% for i in l if i > 9 %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }};{% endfor %}", "{% for a, b in ll %}{{ a }}{{ b }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}", "{% for i in n %}{% endfor %}", "{% for i in missing %}x{% else %}y{% endfor %}", "{% for i in z %}{% endfor %}",
    "{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i == 6 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for x in [1, [2, [3]]] recursive %}{{ loop.depth }}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}{% endif %}{% endfor %}", "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for i in l %}{{ loop }}{% endfor %}", "{% for i in l|map('string') %}{{ i }}{{ loop.last }}{{ loop.length }} {% endfor %}", "{% for i in l %}{{ loop.nosuch }}{% endfor %}", "{{ loop }}", "{% for loop in l %}{% endfor %}", "{% for i in l %}{% set outer = loop %}{% for j in ll %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% macro m(a, b=2, *c) %}{% endmacro %}", "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1) }}|{{ m(1, 3, 4) }}|{{ m(b=1, a=2, z=3) }}|{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}", "{% macro m(x, y=x) %}{{ y }}{% endmacro %}{{ m(3) }}",
    "{% macro m() %}{{ n }}{{ later }}{% endmacro %}{{ m() }}{% set later = 'L' %}{{ m() }}", "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}in {{ n }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }}{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{{ m }}{% macro m() %}{% endmacro %}{{ m }}",
    "{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m('x') ~ m('y') }}{{ m('x') | upper }}{{ m.name }}{{ m.arguments }}", "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(5) }}", "{% macro m() %}{% set q = 1 %}{{ q }}{% endmacro %}{{ m() }}{{ q|length }}", "{% for i in l %}{% macro mm() %}{{ i }}{% endmacro %}{{ mm() }}{% endfor %}",
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x }}", "{% with n = n + 1 %}{{ n }}{% endwith %}{{ n }}", "{% with %}{% set k = 3 %}{{ k }}{% endwith %}{{ k }}",
    "{% block a %}x{{ n }}{% endblock %}", "{% set v = 3 %}{% block a %}{{ v }}{% endblock a %}", "{% for i in l %}{% block a scoped %}{{ i }}{% endblock %}{% endfor %}", "{% for i in l %}{% block a %}{{ i }}{% endblock %}{% endfor %}", "{% block a %}{% endblock %}{% block a %}{% endblock %}", "{% autoescape true %}{{ h }}{{ h|safe }}<i>{% endautoescape %}{{ h }}", "{% autoescape true %}{{ h ~ ('<'|safe) }}{{ '<' }}{% endautoescape %}",
    "a\n  {% if b %}\n  x\n  {% endif %}\nb\n", "a  {%- if b -%}  x  {%- endif -%}  b", "a\n  {%+ if b %}\n x {% endif +%}\nb", "{{ 'x' }}\n\ny\n", "  {# c #}\nx{# c -#}  \n y", "{#- c #} x  {#- d -#} y", "  {{ n }}  \n  {{- n -}}  \n z", "{% raw %}{{ x }} {% if %}{% endraw %}", " {%- raw -%} {{ x }} {%- endraw -%} y", "x {% raw %}\n a{% endraw %}\nb", "{% raw %}", "{# open", "{{ 'a' }", "{{ a", "{% if", "\ta\r\nb\rc\n", "a{% if b %}\r\nx{% endif %}", "{{ {'a': {'b': 1}}['a']['b'] }}", "{{ {'a': {'b': 1}} }}", "{%if b%}{{n}}{%endif%}", "a\u00a0{%- if b %}x{% endif %}",
    "{% if n == 7 and s %}y{% elif b %}z{% else %}w{% endif %}", "{% if missing %}a{% elif e %}b{% else %}c{% endif %}", "{% if b %}{% if e %}1{% else %}2{% endif %}{% endif %}", "{% endif %}", "{% if b %}", "{% for i in l %}", "{% nope %}", "{% if %}{% endif %}", "{{ }}", "{{ 1 2 }}", "{{ a. }}", "{{ [1, }}", "{{ 'a }}", "{% set %}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% for true in l %}{% endfor %}", "{% break %}", "{% macro m() %}{% break %}{% endmacro %}", "{% for i in l %}{% set x %}{% break %}{% endset %}{% endfor %}ok", "{{ n is is odd }}", "{{ n is odd is true }}", "{{ a(b=1, 2) }}", "{{ a(**d, *l) }}", "{% include 'x' %}", "{% extends 'x' %}", "{% import 'x' as y %}", "{% from 'x' import y %}",
    "{% if false %}{{ s|nope }}{% endif %}ok", "{{ (s|nope) if false else 'ok' }}", "{% for i in [] %}{{ s|nope }}{% endfor %}", "{% print n, s %}", "{% print %}x", "{% do l %}", "{% generation %}{{ n }}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}", "x{% for i in l %}{% generation %}{{ i }}{{ loop.index }}{% endgeneration %}-{% endfor %}",
    "{% set messages = [1] %}{% set x = messages + [2] %}{{ x }}{{ messages }}", "{% set x = x or 'dflt' %}{{ x }}", "{% set n = n + 1 %}{{ n }}", "{% set l = l + [9] %}{% for i in l %}{{ i }}{% endfor %}", "{% for m in people %}{% set content = m.name if m.name is string else '' %}{% if m.age == 30 %}{{ '<|' + m.name + '|>' }}{% endif %}{% endfor %}", "{{ range(3) | list + [1] }}", "{{ s.split(',')[1] | trim }}", "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}", "{% set j = joiner(', ') %}{% for i in l %}{{ j() }}{{ i }}{% endfor %}", "{{ dict(d, **{'q': 1}) }}", "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 1, 'b': 2}) }}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}", "{% set g = l | select('odd') %}{{ g | first }}{{ g | list }}", "{{ l | map('nope') is iterable }}", "{{ (l | reverse) | last }}", "{{ people | map(attribute='name') | sort | join(',') }}", "{% for g, items in people | groupby('age') %}{{ g }}:{{ items | map(attribute='name') | join('/') }};{% endfor %}", "{% for g in people | groupby('age') %}{{ g.grouper }}{{ g.list | length }}{{ g[0] }};{% endfor %}{{ (people | groupby('age'))[0] }}", "{{ loop is defined }}{{ caller is defined }}", "{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{{ ns.a }}{{ ns }}{{ ns.b }}{{ ns.b is defined }}", "{% set a = b = 1 %}", "{{ 10 - 2 - 3 }}{{ 2 ** 3 ** 2 }}{{ -n | abs }}{{ (-n) | abs }}{{ not n == 7 }}", "{{ 'a' 'b' ~ 'c' + 'd' }}", "{{ n.__class__ is defined }}", "{% for x in 'ab' %}{% for y in 'cd' %}{{ x ~ y }}{% if not loop.last %},{% endif %}{% endfor %};{% endfor %}",
]


FILTER_NAMES = [*jinja2.Environment().filters, "nope"]


def expressions():
    """The lines cut at '|', but for those before a filter's name: a list of expressions."""
    for line in EXPRESSIONS.strip().split("\n"):
        pieces, begin = line.split("|"), 0
        while begin < len(pieces):
            end = begin + 1
            while end < len(pieces) and is_filter(pieces[end]):
                end += 1
            yield "{{ " + "|".join(pieces[begin:end]) + " }}"
            begin = end


def is_filter(piece):
    return piece.strip().split("(")[0].split(" ")[0].split("~")[0] in FILTER_NAMES


def render(template):
    try:
        compiled = _compile_jinja_template(template)
        compiled.environment.globals["strftime_now"] = lambda f: datetime(2026, 11, 23, 12, 0).strftime(f)
        compiled.globals["strftime_now"] = compiled.environment.globals["strftime_now"]
        return {"t": template, "out": compiled.render(**copy.deepcopy(VARIABLES))}
    except Exception as error:
        return {"t": template, "error": True, "why": f"{type(error).__name__}: {error}"}


def fuzz(count, seed):
    rng = random.Random(seed)
    filters = ["upper", "lower", "title", "trim", "length", "list", "first", "last", "reverse", "sort", "unique", "join('-')", "tojson", "string", "int", "float", "abs", "round", "sum", "min", "max", "default('x')",
               "replace('a', 'b')", "capitalize", "escape", "indent", "truncate(5)", "wordcount", "map('string')", "select", "reject", "batch(2)", "items", "dictsort", "safe", "center(9)", "striptags", "urlencode", "map('upper')", "tojson(indent=1)"]
    atoms = list(VARIABLES) + ["1", "0", "-1", "2.5", "'a'", "''", "none", "true", "[]", "{}", "(1, 'a')", "missing", "'x y'", "range(3)"]
    methods = ["strip()", "split()", "upper()", "items()", "keys()", "lstrip('<')", "split('\\n')", "replace('l', '')", "get('a')", "startswith('H')", "format(n)", "title()", "find('o')", "count('a')", "index(1)", "splitlines()"]
    operators = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", ">", "<=", "in", "not in", "and", "or"]

    def expression(depth):
        kind = rng.randrange(9 if depth > 0 else 1)
        if kind == 0:
            return rng.choice(atoms)
        if kind <= 2:
            return f"({expression(depth - 1)})|{rng.choice(filters)}"
        if kind == 3:
            return f"({expression(depth - 1)}).{rng.choice(methods)}"
        if kind <= 5:
            return f"({expression(depth - 1)} {rng.choice(operators)} {expression(depth - 1)})"
        if kind == 6:
            return f"({expression(depth - 1)})[{rng.choice(['0', '-1', '1:', ':2', '::-1', '1:-1', chr(39) + 'a' + chr(39)])}]"
        if kind == 7:
            return f"({expression(depth - 1)} if {expression(depth - 1)} else {expression(depth - 1)})"
        return f"[{expression(depth - 1)}, {expression(depth - 1)}]"

    return ["{{ " + expression(3) + " }}" for _ in range(count)]


def main():
    warnings.simplefilter("ignore")
    if len(sys.argv) > 1:
        templates = fuzz(int(sys.argv[2]), int(sys.argv[3]))
    else:
        templates = list(dict.fromkeys(list(expressions()) + STATEMENTS))
    cases = [render(t) for t in templates]
    # What names an address in memory cannot be compared.
    cases = [c for c in cases if " object at 0x" not in c.get("out", "") and " at 0x" not in c.get("out", "")]
    if len(sys.argv) <= 1:
        for c in cases:
            c.pop("why", None)
    json.dump({"made_with": {"transformers": transformers.__version__, "jinja2": jinja2.__version__}, "variables": VARIABLES, "cases": cases}, sys.stdout, ensure_ascii=False, separators=(",", ":"))
    print()


main()
