#include "data_pipeline/conversation.h"

#include <set>

#include "core/hash.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

Conversation parsed(const std::string& json) { return parse_conversation(parse_json(json, "test")); }

TEST(Conversation, RoundTrip) {
  const std::string text =
      R"({"id":"c-1","tenant":"acme","period":"2026-02","customer":"k7","messages":[{"role":"system","content":"s"},)"
      R"({"role":"user","content":"q"},{"role":"assistant","content":"","tool_calls":[{"name":"f"}]},)"
      R"({"role":"tool","content":"42"},{"role":"assistant","content":"a"}],)"
      R"("source":{"file":"x.jsonl","byte_offset":7,"line":2},"meta":{"lang":"zh"}})";
  Conversation c = parsed(text);
  c.source = {"x.jsonl", 7, 2};
  EXPECT_EQ(conversation_text(c), text);
  EXPECT_EQ(conversation_json(parse_conversation(conversation_json(c)))["messages"],
            conversation_json(c)["messages"]);
}

TEST(Conversation, OpenAiLineGetsWhatItLacks) {
  const std::string line =
      R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})";
  const Conversation c = parsed(line), again = parsed(line);
  EXPECT_EQ(c.tenant, "default");
  EXPECT_EQ(c.id.size(), 7u + 32);
  EXPECT_TRUE(c.id.starts_with("sha256-"));
  EXPECT_EQ(c.id, again.id);
  EXPECT_NE(c.id,
            parsed(R"({"messages":[{"role":"user","content":"r"},{"role":"assistant","content":"a"}]})").id);
  EXPECT_NE(
      c.id,
      parsed(
          R"({"tenant":"x","messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})")
          .id);
}

TEST(Conversation, TakesNumbersPartsAndUnknownTopLevelKeys) {
  const Conversation c = parsed(
      R"({"id":17,"customer":4,"channel":"app","meta":{"a":1},"messages":[{"role":"user","name":"n","content":[{"type":"text","text":"x"},)"
      R"({"type":"text","text":"y"}]},{"role":"tool","tool_call_id":"1","content":null}]})");
  EXPECT_EQ(c.id, "17");
  EXPECT_EQ(c.customer, "4");
  EXPECT_EQ(c.messages[0].content, "xy");
  EXPECT_EQ(c.messages[1].content, "");
  EXPECT_EQ(c.meta.dump(), R"({"channel":"app","a":1})");
}

TEST(Conversation, Errors) {
  EXPECT_ERROR(parsed("[]"), "a record must be a JSON object, found array");
  EXPECT_ERROR(parsed("{}"), "no 'messages'");
  EXPECT_ERROR(parsed(R"({"messages":"hello"})"), "'messages' must be a list, found string");
  EXPECT_ERROR(parsed(R"({"messages":[]})"), "'messages' is empty");
  EXPECT_ERROR(parsed(R"({"messages":[3]})"), "messages[0] must be an object, found number");
  EXPECT_ERROR(parsed(R"({"messages":[{"content":"x"}]})"), "messages[0] has no 'role'");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"agent","content":"x"}]})"),
               "messages[0].role must be system, user");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user"}]})"), "messages[0] has no 'content'");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":3}]})"),
               "messages[0].content must be text, found number");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
               "a part that is not text");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":"x","train":false}]})"),
               "has a key that is not understood");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":"x","weight":1}]})"),
               "messages[0].weight other than 0 belongs to an assistant");
  for (const char* weight : {"1.1", "-0.5", "true", "\"1\"", "1e999"})
    EXPECT_ERROR(parsed(concat(R"({"messages":[{"role":"assistant","content":"x","weight":)", weight, "}]}")),
                 "");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":"x","reasoning_content":"r"}]})"),
               "reasoning_content belongs to an assistant");
  EXPECT_ERROR(
      parsed(R"({"messages":[{"role":"assistant","content":"x","reasoning":"r","reasoning_content":"s"}]})"),
      "two different texts of reasoning");
  EXPECT_ERROR(parsed(R"({"messages":[{"role":"user","content":"x","tool_calls":[1]}]})"),
               "belongs to an assistant");
  EXPECT_ERROR(parsed(R"({"tools":3,"messages":[{"role":"user","content":"x"}]})"),
               "'tools' must be a list, found number");
  EXPECT_ERROR(parsed(R"({"period":"2026-13","messages":[{"role":"user","content":"x"}]})"),
               "'period' must be YYYY-MM");
  EXPECT_ERROR(parsed(R"({"id":[],"messages":[{"role":"user","content":"x"}]})"),
               "'id' must be text, found array");
  EXPECT_ERROR(parsed(R"({"id":"a\nb","messages":[{"role":"user","content":"x"}]})"), "control character");
}

TEST(Conversation, ToolsReasoningWeightsAndPairsComeBack) {
  const std::string text =
      R"({"id":"p#rejected","tenant":"t","period":"","customer":"","messages":[{"role":"user","content":"q"},)"
      R"({"role":"assistant","content":"a","tool_calls":[{"id":"1","type":"function","function":{"name":"f",)"
      R"("arguments":"{\"z\": 1, \"a\": 0.10}"}}],"reasoning_content":"hm","weight":0.5},)"
      R"({"role":"tool","content":"42","name":"f","tool_call_id":"1"}],)"
      R"("source":{"file":"","byte_offset":0,"line":0},"tools":[{"type":"function","function":{"name":"f"}}],)"
      R"("pair":"p","rejected":true,"meta":{"z":1,"a":2}})";
  EXPECT_EQ(conversation_text(parsed(text)), text);
}

// Recorded before there were tools, reasoning and weights: such records keep their ids.
TEST(Conversation, IdsOfPlainRecordsStay) {
  EXPECT_EQ(parsed(R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})").id,
            "sha256-" +
                sha256_hex(R"(["default",{"role":"user","content":"q"},{"role":"assistant","content":"a"}])")
                    .substr(0, 32));
  const std::string odd = "tab\t quote\" \x01 \x7f 你好 😀 / \\";
  Json record = {{"tenant", "x"}};
  record["messages"] = Json::array({Json{{"role", "user"}, {"content", odd}}});
  EXPECT_EQ(
      parse_conversation(record).id,
      "sha256-" +
          sha256_hex(Json::array({"x", Json{{"role", "user"}, {"content", odd}}}).dump()).substr(0, 32));
  std::set<std::string> ids;
  for (const char* extra : {"", R"(,"reasoning":"r")", R"(,"weight":0)", R"(,"weight":0.5)", R"(,"name":"n")",
                            R"(,"tool_call_id":"n")", R"(,"tool_calls":[1])"})
    ids.insert(parsed(concat(R"({"messages":[{"role":"assistant","content":"a")", extra, "}]}")).id);
  for (const char* extra : {R"("tools":[1],)", R"("pair":"1",)", R"("rejected":true,)"})
    ids.insert(parsed(concat("{", extra, R"("messages":[{"role":"assistant","content":"a"}]})")).id);
  EXPECT_EQ(ids.size(), 10u);
}

TEST(Conversation, NamesThatBecomePaths) {
  for (const char* good : {"a", "shop-1", "0"}) EXPECT_TRUE(is_tenant_name(good)) << good;
  for (const char* bad : {"", "A", "a/b", "..", "a b", "é"}) EXPECT_FALSE(is_tenant_name(bad)) << bad;
  EXPECT_TRUE(is_tenant_name(std::string(64, 'a')));
  EXPECT_FALSE(is_tenant_name(std::string(65, 'a')));
  for (const char* bad : {"", "2026-00", "2026-13", "2026-1", "20260-1", "2026/01", "2026-01-01"})
    EXPECT_FALSE(is_period(bad)) << bad;
}

}  // namespace
}  // namespace decant
