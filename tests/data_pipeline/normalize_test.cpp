#include "data_pipeline/normalize.h"

#include <gtest/gtest.h>
#include <unicode/normalizer2.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <cstdio>
#include <cstdlib>
#include <functional>

#include "core/random.h"
#include "data_pipeline/unicode.h"
#include "tests/support/config_text.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

TEST(Normalize, EachRule) {
  EXPECT_EQ(normalize_text("a\xff\xe4\xbd z"), "a\xef\xbf\xbd\xef\xbf\xbd z");  // one per maximal subsequence
  EXPECT_EQ(normalize_text("\xed\xa0\x80"),
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate: three bad bytes
  EXPECT_EQ(normalize_text("a\r\nb\rc\u0085d\u2028e\u2029f"), "a\nb\nc\nd\ne\nf");
  EXPECT_EQ(normalize_text(std::string("a\0b\x01\x7f\t\nc", 8)), "ab\t\nc");
  EXPECT_EQ(normalize_text("\ufeffa\u200bb\u2060c\u00add\u202ee"), "abcde");
  EXPECT_EQ(normalize_text("e\u0301 \u212a"), "\u00e9 K");
  EXPECT_EQ(normalize_text("１３８　x"), "１３８　x");  // compatibility forms stay
  EXPECT_EQ(normalize_text(" \n\u3000 x y \t\n"), "x y");
  EXPECT_EQ(normalize_text(" \u200b\n"), "");
  EXPECT_EQ(normalize_text("e\u200b\u0301"), "\u00e9");  // composed after what stood between is gone
}

TEST(Normalize, JoinersStayWhereTheyJoin) {
  const std::string family = "\U0001F468\u200d\U0001F469", persian = "\u0645\u06cc\u200c\u062e";
  EXPECT_EQ(normalize_text(family), family);
  EXPECT_EQ(normalize_text(persian), persian);
  EXPECT_EQ(normalize_text("1\u200d3\u200c8"), "138");
  EXPECT_EQ(normalize_text("\u200d你\u200d"), "你");
}

TEST(Normalize, TwiceIsOnce) {
  const std::vector<std::string> parts = {
      "a",  "é", "e\u0301", "\u200d", "\u200b", "\r",           "\n",         "\xff",   "\xe4\xbd",
      "你", " ", "\u212a",  "\u037e", "\u0301", "\u1100\u1161", "\U0001F468", "\u2028", "\x01"};
  for (uint64_t n = 0; n < 3000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 8; ++k) text += parts[philox(5, n, k)[0] % parts.size()];
    const std::string once = normalize_text(text);
    ASSERT_EQ(normalize_text(once), once) << n;
  }
}

TEST(Normalize, MatchingText) {
  EXPECT_EQ(matching_text("  Ａ１ \n\t x　y "), "A1 x y");
  EXPECT_NE(matching_text("A"), matching_text("a"));
}

Conversation talk(const std::vector<std::pair<std::string, std::string>>& turns) {
  Conversation c;
  for (const auto& [role, content] : turns) c.messages.push_back({role, content, nullptr});
  return c;
}

std::string shape(const Conversation& c) {
  std::string text;
  for (const auto& m : c.messages) text += m.role.substr(0, 1) + ":" + m.content + "|";
  return text;
}

TEST(Normalize, ConversationForm) {
  Conversation c = talk(
      {{"user", " hi "}, {"user", "there\r\n"}, {"assistant", "a"}, {"assistant", "b"}, {"user", "bye"}});
  const Cleaned cleaned = clean_conversation(c);
  EXPECT_EQ(cleaned.reason, "");
  EXPECT_EQ(shape(c), "u:hi\nthere|a:a\nb|");
  EXPECT_EQ(cleaned.merged, 2);
  EXPECT_EQ(cleaned.trimmed, 1);

  Conversation greeting = talk({{"system", "s"},
                                {"assistant", "hello"},
                                {"user", "q"},
                                {"assistant", "a"},
                                {"tool", "t"},
                                {"tool", "u"},
                                {"assistant", "b"}});
  const std::string before = shape(greeting);
  EXPECT_EQ(clean_conversation(greeting).reason, "");
  EXPECT_EQ(shape(greeting), before);
}

TEST(Normalize, ConversationReasons) {
  const auto reason = [](Conversation c) { return clean_conversation(c).reason; };
  EXPECT_EQ(reason(talk({{"user", "q"}})), "no_answer");
  EXPECT_EQ(reason(talk({{"assistant", "hello"}, {"user", "q"}})), "no_answer");
  EXPECT_EQ(reason(talk({{"assistant", "hello"}})), "no_question");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"assistant", " \u200b"}})), "empty_message");
  EXPECT_EQ(reason(talk({{"user", ""}, {"assistant", "a"}})), "empty_message");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"system", "s"}, {"assistant", "a"}})), "bad_roles");
  EXPECT_EQ(reason(talk({{"user", "q"}, {"tool", "t"}, {"assistant", "a"}})), "bad_roles");
  Conversation calls = talk({{"user", "q"}, {"assistant", ""}, {"tool", "t"}, {"assistant", "a"}});
  calls.messages[1].tool_calls = Json::array({1});
  EXPECT_EQ(reason(calls), "");
}

// The rules on the whole text at once, with ICU's strings: slow, and by other means.
std::string by_icu(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  const auto composed = nfc->normalize(
      icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size()))), status);
  icu::UnicodeString plain, joined;
  for (int32_t i = 0; i < composed.length(); i = composed.moveIndex32(i, 1)) {
    const UChar32 c = composed.char32At(i);
    if (c == '\r' && i + 1 < composed.length() && composed.charAt(i + 1) == '\n') continue;
    if (c == '\r' || c == 0x85 || c == 0x2028 || c == 0x2029) {
      plain.append(static_cast<UChar32>('\n'));
    } else if (c == '\n' || c == '\t' ||
               !(c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xfeff || c == 0x200b || c == 0x2060 ||
                 c == 0xad || c == 0x200e || c == 0x200f || (c >= 0x202a && c <= 0x202e) ||
                 (c >= 0x2066 && c <= 0x2069))) {
      plain.append(c);
    }
  }
  for (int32_t i = 0; i < plain.length(); i = plain.moveIndex32(i, 1)) {
    const UChar32 c = plain.char32At(i);
    if (c == 0x200c || c == 0x200d) {
      const UChar32 before = joined.isEmpty() ? 0 : joined.char32At(joined.length() - 1);
      const UChar32 after = i + 1 < plain.length() ? plain.char32At(i + 1) : 0;
      if (before < 0x80 || after < 0x80 || after == 0x200c || after == 0x200d || u_isUWhiteSpace(before) ||
          u_isUWhiteSpace(after))
        continue;
    }
    joined.append(c);
  }
  icu::UnicodeString result = nfc->normalize(joined, status);
  EXPECT_TRUE(U_SUCCESS(status));
  int32_t begin = 0, end = result.length();
  while (begin < end && u_isUWhiteSpace(result.char32At(begin))) begin = result.moveIndex32(begin, 1);
  while (end > begin && u_isUWhiteSpace(result.char32At(result.moveIndex32(end, -1))))
    end = result.moveIndex32(end, -1);
  std::string utf8;
  result.tempSubStringBetween(begin, end).toUTF8String(utf8);
  return utf8;
}

// Each byte of the output is the source's, or what the rules make of the range that it replaces.
void expect_map_holds(std::string_view source, std::string_view output, const SourceMap& map) {
  ASSERT_EQ(map.output_size(), output.size());
  size_t last = 0;
  for (const auto& run : map.runs()) {
    ASSERT_LE(last, run.source_begin);
    ASSERT_LE(run.source_begin + run.source_length, source.size());
    last = size_t{run.source_begin} + run.source_length;
    const auto from = source.substr(run.source_begin, run.source_length);
    const auto made = output.substr(run.output_begin, run.length);
    if (run.kind == SourceMap::Kind::kCopied) {
      ASSERT_EQ(from, made);
    } else {
      ASSERT_EQ(by_icu("你" + std::string(from) + "你"), "你" + std::string(made) + "你");
    }
  }
}

std::string normalized_with_map(std::string_view text) {
  static const TextNormalizer normalizer;
  std::string buffer;
  SourceMap map;
  const std::string result(normalizer.normalize(text, buffer, &map));
  expect_map_holds(text, result, map);
  return result;
}

const std::vector<std::string> kParts = {"a",
                                         "é",
                                         "e\u0301",
                                         "\u200d",
                                         "\u200b",
                                         "\r",
                                         "\n",
                                         "\xff",
                                         "\xe4\xbd",
                                         "你",
                                         " ",
                                         "\u212a",
                                         "\u037e",
                                         "\u0301",
                                         "\u1100\u1161",
                                         "\u11a8",
                                         "\ud55c",
                                         "\u0323",
                                         "\u2028",
                                         "\x01",
                                         "。",
                                         "\u200c",
                                         "\u3099",
                                         "か",
                                         "\ufeff",
                                         "가",
                                         "\u0f71\u0f72",
                                         "\u1025",
                                         "\u102e",
                                         "１",
                                         "\u00a0",
                                         "\u3000",
                                         "\U0001F468",
                                         "\ufe0f",
                                         "\t",
                                         "\u202e",
                                         "\u2260",
                                         "=",
                                         "\u0338",
                                         "\U0002F800",
                                         "\u0344",
                                         "\u09c7",
                                         "\u09be",
                                         "\xf0\x9f",
                                         "\u0d46",
                                         "\u0d3e",
                                         "plain words of a longer text, in a block "};

TEST(Normalize, IsWhatIcuMakesOfTheWholeTextWithAMap) {
  size_t views = 0;
  for (uint64_t n = 0; n < 30000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 1 + n % 12; ++k) text += kParts[philox(6, n, k)[0] % kParts.size()];
    const std::string once = normalized_with_map(text);
    ASSERT_EQ(once, by_icu(text)) << n;
    ASSERT_EQ(normalize_text(text), once);
    ASSERT_EQ(normalized_with_map(once), once) << n;
    views += once == text ? 1 : 0;
  }
  EXPECT_GT(views, 300u);
}

TEST(Normalize, EveryCharacterAlone) {
  for (uint32_t c = 1; c < 0x110000; c += c < 0x30000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text = "x";
    append_utf8(text, c);
    text += "\u0301y";
    ASSERT_EQ(normalize_text(text), by_icu(text)) << std::hex << c;
  }
}

TEST(Normalize, UnicodeConformance) {
  DECANT_NEEDS_SHARED("conformance/unicode-15.0/NormalizationTest.txt.bz2");
  const std::string path =
      (test::shared_folder() / "conformance/unicode-15.0/NormalizationTest.txt.bz2").string();
  FILE* pipe = popen(("bzip2 -dc '" + path + "'").c_str(), "r");
  ASSERT_NE(pipe, nullptr);
  char line[4096];
  size_t lines = 0, exact = 0;
  while (std::fgets(line, sizeof line, pipe) != nullptr) {
    if (line[0] == '#' || line[0] == '@') continue;
    std::vector<std::string> columns(1);
    for (const char* p = line; *p != '\0' && columns.size() < 4;) {
      if (*p == ';') {
        columns.emplace_back(), ++p;
      } else if (*p == ' ') {
        ++p;
      } else {
        char* end = nullptr;
        append_utf8(columns.back(), static_cast<uint32_t>(std::strtoul(p, &end, 16)));
        p = end;
      }
    }
    ASSERT_GE(columns.size(), 4u);
    const std::string first = normalized_with_map(columns[0]);
    ASSERT_EQ(normalized_with_map(columns[1]), first) << line;
    ASSERT_EQ(normalized_with_map(columns[2]), first) << line;
    ++lines;
    exact += first == columns[1] ? 1 : 0;  // but for spaces, marks and controls that the rules remove
  }
  pclose(pipe);
  EXPECT_GT(lines, 19000u);
  EXPECT_GT(exact, lines - 60);
}

TEST(Normalize, CleanTextIsNotCopied) {
  const std::string chinese = "您好，请问有什么可以帮您？ order 123\n",
                    ascii = "plain ASCII\ttext, of more than one block of bytes";
  for (const std::string& text : {chinese, ascii}) {
    std::string buffer = "untouched";
    SourceMap map;
    const auto result = TextNormalizer().normalize(" " + text, buffer, &map);
    static_cast<void>(result);
    const auto view = TextNormalizer().normalize(text, buffer, &map);
    EXPECT_EQ(view.data(), text.data());
    EXPECT_EQ(buffer, "untouched");
    EXPECT_EQ(map.runs().size(), 1u);
  }
}

TEST(Normalize, StepsOfTheRecipe) {
  NormalizeConfig config;
  config.repair_mojibake = config.strip_html = config.strip_quoted_mail = config.strip_signatures = true;
  config.emoji = EmojiRule::kRemove;
  config.max_repeated_punctuation = 2;
  config.boilerplate = {"请对我评价"};
  const TextNormalizer normalizer(config);
  const std::string text =
      "<p>登录不了&#x200b;！！！！😀</p><p>请对我评价</p>\r\n发自我的iPhone\r\n&gt; 您好\r\n&gt; 再见";
  std::string buffer;
  SourceMap map;
  const auto result = normalizer.normalize(text, buffer, &map);
  EXPECT_EQ(result, "登录不了！！");
  EXPECT_EQ(map.source_range(0, result.size()), (SourceMap::Range{3, 3 + 12 + 8 + 6}));
  EXPECT_EQ(TextNormalizer(config).normalize("ä½\u00a0å¥½", buffer), "你好");
  EXPECT_EQ(TextNormalizer().normalize("<b>a</b>!!!", buffer), "<b>a</b>!!!");

  NormalizeConfig marks;
  marks.remove_invisible = false;
  EXPECT_EQ(TextNormalizer(marks).normalize("a\u200bb\u202ec\ufeff\r\n", buffer), "a\u200bb\u202ec");
}

TEST(Normalize, StepsTwiceAreOnce) {
  NormalizeConfig config;
  config.repair_mojibake = config.strip_html = config.strip_quoted_mail = config.strip_signatures = true;
  config.emoji = EmojiRule::kRemove;
  config.max_repeated_punctuation = 2;
  config.boilerplate = {"ok"};
  const TextNormalizer normalizer(config);
  std::vector<std::string> parts = kParts;
  for (const char* more : {"<b>",
                           "&",
                           "amp;",
                           "lt;",
                           ">",
                           "> ",
                           "\n",
                           "\n-- \n",
                           "ok",
                           "😀",
                           "!!",
                           "？",
                           "Ã©",
                           "â€",
                           "On 1 wrote:",
                           "写道：",
                           "发件人：",
                           "主题：",
                           "发自我的iPhone",
                           "&#x200b;",
                           "<br>",
                           "\u2026",
                           "3",
                           "\u20e3",
                           "&gt;"})
    parts.emplace_back(more);
  int changed = 0;
  for (uint64_t n = 0; n < 20000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 12; ++k) text += parts[philox(8, n, k)[0] % parts.size()];
    std::string buffer, again;
    SourceMap map;
    const std::string once(normalizer.normalize(text, buffer, &map));
    ASSERT_EQ(map.output_size(), once.size());
    ASSERT_EQ(normalizer.normalize(once, again), once) << n;
    changed += once != text ? 1 : 0;
  }
  EXPECT_GT(changed, 10000);
}

TEST(Normalize, MessagesOfDifferentWeightNameOrReasoningStayApart) {
  const auto with = [](const std::function<void(Conversation&)>& change) {
    Conversation c = talk({{"user", "q"}, {"assistant", "a"}, {"assistant", "b"}});
    change(c);
    EXPECT_EQ(clean_conversation(c).reason, "");
    return c;
  };
  EXPECT_EQ(with([](Conversation&) {}).messages.size(), 2u);
  EXPECT_EQ(with([](Conversation& c) { c.messages[1].weight = 0; }).messages.size(), 3u);
  EXPECT_EQ(with([](Conversation& c) { c.messages[1].weight = c.messages[2].weight = 0.5; }).messages.size(),
            2u);
  EXPECT_EQ(with([](Conversation& c) { c.messages[2].reasoning = "r"; }).messages.size(), 3u);
  EXPECT_EQ(with([](Conversation& c) { c.messages[1].name = "Ann"; }).messages.size(), 3u);
  const Conversation first = with([](Conversation& c) { c.messages[1].reasoning = " so\r\n\u200bit is "; });
  ASSERT_EQ(first.messages.size(), 2u);
  EXPECT_EQ(first.messages[1].reasoning, "so\nit is");
  EXPECT_EQ(first.messages[1].content, "a\nb");

  Conversation tool = talk({{"user", "q"}, {"assistant", ""}, {"tool", " t "}, {"assistant", "a"}});
  tool.messages[1].tool_calls = Json::array({1});
  tool.messages[2].name = "f", tool.messages[2].tool_call_id = "call 1";
  ASSERT_EQ(clean_conversation(tool).reason, "");
  EXPECT_EQ(tool.messages[2].content, "t");
  EXPECT_EQ(tool.messages[2].name, "f");
  EXPECT_EQ(tool.messages[2].tool_call_id, "call 1");

  Conversation silent = talk({{"user", "q"}, {"assistant", "a"}});
  silent.messages[1].weight = 0;
  EXPECT_EQ(clean_conversation(silent).reason, "no_answer");
  Conversation thought = talk({{"user", "q"}, {"assistant", ""}});
  thought.messages[1].reasoning = "r";
  EXPECT_EQ(clean_conversation(thought).reason, "empty_message");
}

TEST(Normalize, StepsAreForWhatPeopleWrote) {
  NormalizeConfig config;
  config.strip_html = true;
  Conversation c = talk({{"system", "<b>s</b>"}, {"user", "<b>q</b>"}, {"assistant", "<b>a</b>"}});
  c.messages[2].reasoning = "<b>r</b>";
  ASSERT_EQ(clean_conversation(c, TextNormalizer(config)).reason, "");
  EXPECT_EQ(shape(c), "s:<b>s</b>|u:q|a:a|");
  EXPECT_EQ(c.messages[2].reasoning, "<b>r</b>");
}

TEST(Normalize, Config) {
  const NormalizeConfig c = {true, true, true, true, {"请评价", "a: b"}, false, EmojiRule::kRemove, 3};
  EXPECT_EQ(test::read_config_text<NormalizeConfig>(write_config(c)), c);
  EXPECT_EQ(test::read_config_text<NormalizeConfig>(""), NormalizeConfig());
  EXPECT_ERROR(test::read_config_text<NormalizeConfig>("max_repeated_punctuation: -1"), "must be 0 to 1000");
  EXPECT_ERROR(test::read_config_text<NormalizeConfig>("boilerplate: ['a', ' ']"), "an entry is empty");
  EXPECT_ERROR(test::read_config_text<NormalizeConfig>("boilerplate: [\"a\\nb\"]"), "each entry is one line");
}

}  // namespace
}  // namespace decant
