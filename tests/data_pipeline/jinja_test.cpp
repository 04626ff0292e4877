#include <chrono>

#include "data_pipeline/jinja/template.h"
#include "tests/data_pipeline/tokenizer_support.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using jinja::Arena;
using jinja::Template;

std::string render(const std::string& text, const Json& variables = Json::object(),
                   const jinja::Limits& limits = {}) {
  const Template t(text, "t");
  Arena arena;
  arena.reset(limits.memory_bytes);
  std::vector<jinja::Value> values;
  for (const std::string& name : t.variables())
    values.push_back(variables.contains(name) ? from_json(arena, variables[name], 2) : jinja::missing());
  const auto r = t.render(arena, values.data(), jinja::parse_clock("2026-11-23 12:00"), limits);
  std::string out;
  for (uint32_t i = 0; i < r.count; ++i) out.append(r.pieces[i].data, r.pieces[i].size);
  return out;
}

// What jinja2 in transformers' environment gives for some hundred expressions and statements.
TEST(Jinja, IsJinja2) {
  const Json golden = read_json("tests/golden/jinja.json");
  int rendered = 0, failed = 0;
  for (const Json& c : golden["cases"]) {
    const auto text = c["t"].get<std::string>();
    if (c.contains("error")) {
      EXPECT_THROW(render(text, golden["variables"]), Error) << text;
      ++failed;
    } else {
      std::string out;
      EXPECT_NO_THROW(out = render(text, golden["variables"])) << text;
      EXPECT_EQ(out, c["out"].get<std::string>()) << text;
      ++rendered;
    }
  }
  EXPECT_GT(rendered, 550);
  EXPECT_GT(failed, 100);
}

TEST(Jinja, ErrorsNameTheLine) {
  EXPECT_ERROR(Template("a\nb {{ 'x }}", "m"), "m: line 2: ");
  EXPECT_ERROR(Template("{% if a %}\n{% endfor %}", "m"), "m: line 2: encountered unknown tag 'endfor'");
  EXPECT_ERROR(Template("\n\n{{ x|nosuch }}", "m"), "m: line 3: No filter named 'nosuch'.");
  EXPECT_ERROR(render("a\n{{ missing.x }}"), "line 2: 'missing' is undefined");
  EXPECT_ERROR(render("{{ {}.x.y }}"), "line 1: 'dict object' has no attribute 'x'");
  EXPECT_ERROR(render("{{ raise_exception('no') }}"), "line 1: the template says: no");
  EXPECT_ERROR(Template("\xff", "m"), "m: the chat template is not UTF-8");
}

TEST(Jinja, IntegersAreExactOrAnError) {
  EXPECT_EQ(render("{{ 9223372036854775807 }} {{ 99999999999999999999 }} {{ n }}",
                   {{"n", 18446744073709551615ull}}),
            "9223372036854775807 99999999999999999999 18446744073709551615");
  EXPECT_ERROR(render("{{ 9223372036854775807 + 1 }}"), "beyond 64 bits");
  EXPECT_ERROR(render("{{ 2 ** 64 }}"), "beyond 64 bits");
  EXPECT_ERROR(render("{{ -9223372036854775807 - 2 }}"), "beyond 64 bits");
  EXPECT_ERROR(render("{{ 10 // 0 }}"), "by zero");
}

// What never ends ends in an Error, and soon.
TEST(Jinja, RunawaysAreErrors) {
  const auto start = std::chrono::steady_clock::now();
  const auto again = [](const char* first, int times, const char* next, const char* end) {
    return concat("{% set ns = namespace(x=", first, ") %}{% for i in range(", times,
                  ") %}{% set ns.x = ", next, " %}{% endfor %}", end);
  };
  const std::vector<std::string> runaways = {
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m() %}{% set x = m() %}{% endmacro %}{{ m() }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% for a in range(1000000) %}{% endfor %}",
      again("'ab'", 100, "ns.x + ns.x", ""),
      again("'ab'", 100, "ns.x ~ ns.x", ""),
      again("'ab'", 100, "ns.x * 2", "{{ ns.x }}"),
      again("[1]", 100, "ns.x + ns.x", ""),
      again("[1]", 100, "[ns.x, ns.x]", "{{ ns.x }}"),
      again("[]", 5000, "[ns.x]", "{{ ns.x }}"),
      again("[]", 5000, "[ns.x]", "{{ ns.x|tojson }}"),
      again("[]", 5000, "[ns.x]", "{{ ns.x == [ns.x] }}"),
      "{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}",
      "{{ 'x' * 9999999999 }}",
      "{{ 'abc' * 999999999 }}",
      "{{ [1] * 9999999999 }}",
      "{{ '%999999999d' % 1 }}",
      "{{ '{:999999999}'.format(1) }}",
      "{{ 'a'.center(9999999999) }}",
      "{{ ('a' * 1000000)|replace('a', 'b' * 1000000) }}",
      "{{ ('a' * 1000000).replace('', 'b' * 1000000) }}",
      "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
      again("range(3)", 100000, "ns.x|map('string')", "{{ ns.x|list }}"),
      "{{ ('a,' * 10000000).split(',')|map('upper')|join|length }}{{ 1 / 0 }}",
      "{{ 'a'|indent(99999999) }}",
      "{{ [1]|tojson(indent=99999999) }}",
      "{{ range(0, 99999999999, 1) }}",
  };
  for (const std::string& text : runaways) EXPECT_THROW(render(text), Error) << text;
  std::string nested = "1";
  for (int i = 0; i < 100000; ++i) nested = "(" + nested;
  EXPECT_THROW(Template("{{ " + nested + " }}", "t"), Error);
  std::string text = "{{ 1";
  for (int i = 0; i < 100000; ++i) text += " - 1";
  EXPECT_THROW(Template(text + " }}", "t"), Error);
  for (const char* unit :
       {"{% if a %}", "{% for a in b %}", "{{ not ", "{{ - ", "{% set a %}", "{{ [", "{{ a if "}) {
    std::string deep;
    for (int i = 0; i < 20000; ++i) deep += unit;
    EXPECT_THROW(Template(deep, "t"), Error) << unit;
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

// Every cut of real templates is a template or an Error, nothing else.
TEST(Jinja, CutTemplates) {
  DECANT_NEEDS_SHARED("conformance/chat-templates/templates");
  int files = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(test::shared_folder() / "conformance/chat-templates/templates")) {
    const std::string text = read_file(entry.path());
    for (size_t n = 0; n < text.size(); n += 37) {
      try {
        render(text.substr(0, n), {{"messages", Json::array({{{"role", "user"}, {"content", "q"}}})}});
      } catch (const Error&) {
      }
    }
    ++files;
  }
  EXPECT_EQ(files, 13);
}

}  // namespace
}  // namespace decant
