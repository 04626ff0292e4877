#include "data_pipeline/strip_html.h"

#include <gtest/gtest.h>

#include <string>

#include "core/random.h"

namespace decant {
namespace {

std::string stripped(std::string_view text) {
  MappedText out;
  if (!strip_html(text, out)) {
    EXPECT_TRUE(out.text.empty());
    return std::string(text);
  }
  EXPECT_EQ(out.map.output_size(), out.text.size());
  return out.text;
}

TEST(StripHtml, TagsAndEntities) {
  EXPECT_EQ(stripped("<p>Hello <b>world</b></p>"), "Hello world\n");
  EXPECT_EQ(stripped("a<br>b<BR/>c<br />d"), "a\nb\nc\nd");
  EXPECT_EQ(stripped("<div><div>x</div></div><p class=\"a\">y</p>"), "x\ny\n");
  EXPECT_EQ(stripped("<table><tr><td>a</td><td>b</td></tr></table>"), "a b \n");
  EXPECT_EQ(stripped("Tom &amp; Jerry &lt;3 &quot;x&quot; &#39;y&#x27; a&nbsp;b"),
            "Tom & Jerry <3 \"x\" 'y' a b");
  EXPECT_EQ(stripped("&copy;&hellip;&ldquo;&#8220;&#147;&#x4f60;&#128512;"), "©…“““你😀");
  EXPECT_EQ(stripped("订单<span style='color:red'>已发货</span>，请&nbsp;查收"), "订单已发货，请 查收");
  EXPECT_EQ(stripped("<a href=\"http://x/?a=1>2\" title='>>'>link</a>"), "link");
  EXPECT_EQ(stripped("x<!-- hidden <b> a < b > --- -->y"), "xy");
  EXPECT_EQ(stripped("x<!-- <!-- -->y"), "xy");
  EXPECT_EQ(stripped("<style>p > a {color: red}</style>x<script type=\"a\">if (a<b && c>d) {}</script>y"),
            "xy");
  EXPECT_EQ(stripped("<!DOCTYPE html><html><head><meta charset=\"utf-8\"></head><body>x</body></html>"), "x");
  EXPECT_EQ(stripped("<o:p></o:p><v:shape id=1>x"), "x");
}

TEST(StripHtml, TextThatOnlyLooksLikeHtmlStays) {
  for (const char* text : {"a < b and c > d",
                           "I <3 you > me",
                           "<name>, please write to <x@example.com>",
                           "if x<y and z>w",
                           "a -> b <- c",
                           "<-- here -->",
                           "x --> y",
                           "AT&T; R&D",
                           "&notaname; &#xZZ; &#; &;",
                           "<123> <>",
                           "1 <p 2",
                           "<your order id>",
                           "plain",
                           "",
                           "<",
                           ">",
                           "&",
                           ";",
                           "<div",
                           "<a title=\"open>",
                           "<pre-order>",
                           "a;b&c"})
    EXPECT_EQ(stripped(text), text);
}

TEST(StripHtml, WhatComesTogetherGoesToo) {
  EXPECT_EQ(stripped("&amp;amp;amp;lt;"), "<");
  EXPECT_EQ(stripped("&lt;b&gt;x&lt;/b&gt;"), "x");
  EXPECT_EQ(stripped("<<b>i>x"), "x");
  EXPECT_EQ(stripped("&am<b></b>p;lt;"), "<");
  EXPECT_EQ(stripped("&amp&semi;"), "&");
}

TEST(StripHtml, EveryNameOfHtml) {
  ASSERT_GT(kNumHtmlEntities, 2100u);
  for (size_t i = 0; i < kNumHtmlEntities; ++i) {
    const std::string name = kHtmlEntities[i].name;
    if (i > 0) {
      ASSERT_LT(std::string(kHtmlEntities[i - 1].name), name);
    }
    if (name == "nbsp" || name == "NonBreakingSpace") continue;
    EXPECT_EQ(stripped("x&" + name + ";y"), "x" + std::string(kHtmlEntities[i].text) + "y") << name;
  }
}

TEST(StripHtml, TwiceIsOnceAndTheMapHolds) {
  const std::vector<std::string> parts = {"<",  ">",   "&",         ";",   "lt",   "gt",   "amp",   "#x3c",
                                          "b",  "/",   "br",        "!--", "--",   "-->",  "<!--",  "script",
                                          "</", "p",   "\"",        "'",   "=",    " ",    "\n",    "semi",
                                          "你", "<b>", "</script>", "x",   "&lt;", "&gt;", "&amp;", "style"};
  int changed = 0;
  for (uint64_t n = 0; n < 40000; ++n) {
    std::string text;
    for (uint64_t k = 0; k < 14; ++k) text += parts[philox(11, n, k)[0] % parts.size()];
    MappedText once, twice;
    if (!strip_html(text, once)) continue;
    ++changed;
    ASSERT_FALSE(strip_html(once.text, twice)) << text << " -> " << once.text << " -> " << twice.text;
    ASSERT_EQ(once.map.output_size(), once.text.size());
    size_t last = 0;
    for (const auto& run : once.map.runs()) {
      ASSERT_LE(last, run.source_begin) << text;
      ASSERT_LE(run.source_begin + run.source_length, text.size());
      last = run.source_begin;
      if (run.kind == SourceMap::Kind::kCopied) {
        ASSERT_EQ(text.substr(run.source_begin, run.length), once.text.substr(run.output_begin, run.length));
      }
    }
  }
  EXPECT_GT(changed, 10000);
}

TEST(StripHtml, HostileInputIsLinear) {
  const size_t n = 300000;
  std::string chain = "&", brackets, quotes, comments, semicolons(n, ';');
  for (size_t i = 0; i < n / 4; ++i) chain += "amp;";
  for (size_t i = 0; i < n / 4; ++i) brackets += "<a \"";
  brackets += std::string(n, '>');
  for (size_t i = 0; i < n / 8; ++i) quotes += "<a b=\">>>";
  for (size_t i = 0; i < n / 8; ++i) comments += "<!--<-->";
  EXPECT_EQ(stripped(chain), "&");
  EXPECT_EQ(stripped("&" + semicolons), "&" + semicolons);
  stripped(brackets);
  stripped(quotes);
  EXPECT_EQ(stripped(comments).find("-->"), std::string::npos);
  std::string nested;
  for (size_t i = 0; i < n / 5; ++i) nested += "&semi";
  stripped(nested + ";");
}

}  // namespace
}  // namespace decant
