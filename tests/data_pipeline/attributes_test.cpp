#include "data_pipeline/attributes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "data_pipeline/dedup.h"
#include "tests/data_pipeline/real_conversations.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

using test::conversation_of;

TEST(ConversationQuality, WhoSaysHowMuch) {
  const auto q = measure_conversation(conversation_of({{"system", "Be kind."},
                                                       {"user", "你好"},
                                                       {"assistant", " 您好！ "},
                                                       {"tool", "x"},
                                                       {"assistant", "12345"}}));
  EXPECT_EQ(q.turns, 5);
  EXPECT_EQ(q.user_turns, 1);
  EXPECT_EQ(q.assistant_turns, 2);
  EXPECT_EQ(q.longest_turn, 5);
  EXPECT_EQ(q.shortest_answer, 3);
  EXPECT_EQ(q.mean_answer, 4);
  EXPECT_FLOAT_EQ(q.assistant_share, 0.8f);
  EXPECT_EQ(q.greeting_only, 1);
  EXPECT_EQ(q.unanswered, 0);
}

TEST(ConversationQuality, AnswersNotWorthLearning) {
  const std::string said = "Please restart the router first.";
  const auto q = measure_conversation(conversation_of({{"user", said},
                                                       {"assistant", said},
                                                       {"user", "I did"},
                                                       {"assistant", said},
                                                       {"user", "And now?"},
                                                       {"assistant", " "},
                                                       {"user", "Hello?"}}));
  EXPECT_FLOAT_EQ(q.echoed_answers, 1 / 3.0f);
  EXPECT_FLOAT_EQ(q.repeated_answers, 1 / 3.0f);
  EXPECT_FLOAT_EQ(q.empty_answers, 1 / 3.0f);
  EXPECT_EQ(q.unanswered, 1);
  EXPECT_EQ(q.greeting_only, 0);
  const auto refusing =
      measure_conversation(conversation_of({{"user", "写诗"},
                                            {"assistant", "作为一个人工智能，我不能。"},
                                            {"assistant", "As an AI language model, I can't."}}));
  EXPECT_EQ(refusing.refusals, 1);
  const auto automatic = measure_conversation(conversation_of(
      {{"user", "x"}, {"assistant", "【自动回复】您好，请勿回复。This is an automated message"}}));
  EXPECT_EQ(automatic.boilerplate, 3);
}

TEST(ConversationQuality, Greetings) {
  const auto only = [](const char* text) {
    return measure_conversation(conversation_of({{"user", text}, {"assistant", "x"}})).greeting_only == 1;
  };
  for (const char* text : {"Hi!", "hello", "你好~", "在吗？", "OK", "谢谢!!!", "good morning :)", "?"})
    EXPECT_TRUE(only(text)) << text;
  for (const char* text : {"hi, my order?", "你好，退款", "123456", "我要退货"})
    EXPECT_FALSE(only(text)) << text;
}

TEST(ConversationQuality, Placeholders) {
  EXPECT_EQ(count_placeholders("Dear {{customer_name}}, your ${order} [ORDER NUMBER] <NAME> 亲爱的【姓名】"),
            5);
  EXPECT_EQ(count_placeholders("{{}} {a} [OK] [1] [x] <BR> a[INDEX [INFO if (a) { b } $5 {{ x"), 0);
}

TEST(ConversationQuality, AnswersThatStopInTheMiddle) {
  for (const char* text :
       {"Please open the settings of your device and then,", "You will find it in the box that came with (",
        "您可以先打开设置页面，然后点击通用选项，接着往下翻到底部找到还原按钮，再点一下，然后等待，并且，",
        "Use this code, it will do what you need:\n```python\nprint(1)\n",
        "First open the app. Then choose the menu. After that you will have to select the pay"})
    EXPECT_TRUE(is_truncated(text)) << text;
  for (const char* text :
       {"", "ok,", "Please open the settings of your device and restart it.",
        "Your order has been shipped :)", "First open the app. Then choose the menu. Kind regards, Anna",
        "你可以试试看这样能不能解决你的问题，如果不行再来找我们的客服人员处理吧谢谢",
        "Use this code, it will do what you need:\n```python\nprint(1)\n```"})
    EXPECT_FALSE(is_truncated(text)) << text;
}

Attributes sample() {
  Attributes a = AttributeMeter().measure(conversation_of(
      {{"user", "我的订单 12345 什么时候发货？"}, {"assistant", "您好，已经为您催促，预计明天发出。"}}));
  a.pii[3] = 2;
  a.pii_spans = 2;
  a.near_duplicate_root = 77;
  return a;
}

TEST(Attributes, OfAConversation) {
  const Attributes a = sample();
  EXPECT_EQ(a.language, "zh");
  EXPECT_EQ(a.script, "Hans");
  EXPECT_EQ(a.characters, 36);
  EXPECT_EQ(a.conversation.user_turns, 1);
  EXPECT_GT(a.quality.number_ratio, 0.1);
  EXPECT_EQ(a.quality.newline_ratio > 0, true);
  const auto conversation = conversation_of(
      {{"user", "我的订单 12345 什么时候发货？"}, {"assistant", "您好，已经为您催促，预计明天发出。"}});
  const std::string key = duplicate_key(conversation);
  EXPECT_EQ(attributes_json(a)["exact_key"].get<std::string>(), key.substr(0, 32));
  const std::string given(64, 'a');
  EXPECT_EQ(attributes_json(AttributeMeter().measure(conversation, given))["exact_key"].get<std::string>(),
            given.substr(0, 32));
}

TEST(Attributes, ARowHoldsThemAll) {
  const Attributes a = sample();
  std::string row;
  append_attributes_row(a, row);
  ASSERT_EQ(row.size(), attributes_row_bytes());
  const Attributes back = read_attributes_row(row);
  EXPECT_EQ(attributes_json(back).dump(), attributes_json(a).dump());
  EXPECT_EQ(back.near_duplicate_root, 77u);
  EXPECT_EQ(back.pii[3], 2);
  std::string again;
  append_attributes_row(back, again);
  EXPECT_EQ(again, row);
  EXPECT_ERROR(read_attributes_row(row.substr(1)), "a row of attributes has");
}

TEST(Attributes, TheSchemaCoversTheRow) {
  const Json schema = attributes_schema();
  size_t end = 0;
  std::set<std::string> names;
  for (const Json& field : schema) {
    EXPECT_EQ(field["offset"].get<size_t>(), end) << field["name"];
    const auto type = field["type"].get<std::string>();
    end += type == "text4" || type == "f32" ? 4 : type == "u64" ? 8 : type == "u64[2]" ? 16 : 64;
    EXPECT_TRUE(names.insert(field["name"]).second) << "twice: " << field["name"];
    EXPECT_FALSE(field["help"].get<std::string>().empty());
  }
  EXPECT_EQ(end, attributes_row_bytes());
  EXPECT_EQ(attributes_json(sample()).size(), schema.size());
}

TEST(Attributes, JsonNamesKindsAndShortensNumbers) {
  Attributes a = sample();
  const char* const names[] = {"email", "mobile", "id_card", "plate"};
  const Json json = attributes_json(a, names);
  EXPECT_EQ(json["pii"].dump(), R"({"plate":2})");
  EXPECT_EQ(attributes_json(a)["pii"].dump(), R"({"kind_3":2})");
  EXPECT_EQ(json["near_duplicate_root"], 77);
  a.near_duplicate_root = kNoRoot;
  a.quality.hash_ratio = 0.3f;
  EXPECT_TRUE(attributes_json(a)["near_duplicate_root"].is_null());
  EXPECT_EQ(attributes_json(a)["hash_ratio"].dump(), "0.3");
  EXPECT_EQ(attributes_json(a)["characters"].dump(), "36");
}

TEST(Attributes, OfEdges) {
  AttributeMeter meter;
  std::string long_line(1 << 20, 'x');
  for (size_t i = 0; i < long_line.size(); i += 7) long_line[i] = ' ';
  for (const auto& turns :
       std::vector<std::vector<std::pair<std::string, std::string>>>{{},
                                                                     {{"user", ""}},
                                                                     {{"user", " "}},
                                                                     {{"assistant", "\n"}},
                                                                     {{"user", "a"}},
                                                                     {{"user", long_line}},
                                                                     {{"system", "only"}},
                                                                     {{"user", "\xEF\xBF\xBD"}}}) {
    const Attributes a = meter.measure(conversation_of(turns));
    Attributes::visit_numbers(a, [&](const char* name, float value, const char*) {
      EXPECT_TRUE(std::isfinite(value)) << name;
      EXPECT_GE(value, 0) << name;
    });
    EXPECT_FALSE(attributes_json(a).dump().empty());
  }
}

}  // namespace
}  // namespace decant
