#include "data_pipeline/record_form.h"

#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

std::vector<Conversation> read(RecordFormat format, const std::string& json, const std::string& fields = "") {
  SourceConfig source;
  if (!fields.empty()) source = read_config<SourceConfig>(parse_settings("paths: [x]\n" + fields, "y"), "s");
  JsonTree tree;
  EXPECT_EQ(tree.parse(json, 0), JsonFault::kNone) << json;
  NestedJson nested;
  std::vector<Conversation> list;
  read_form(format, tree.root(), source, nested, list);
  return list;
}

// "user:q|assistant:a"
std::string turns(const Conversation& c) {
  std::string text;
  for (const Message& m : c.messages) {
    text += (text.empty() ? "" : "|") + m.role + ":" + m.content;
    if (!m.tool_calls.is_null()) text += m.tool_calls.dump();
  }
  return text;
}

TEST(RecordForm, OpenAi) {
  const auto c = read(RecordFormat::kMessages, R"({"messages":[{"role":"developer","content":"s"},
    {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"name":"bob"},
    {"role":"assistant","content":null,"refusal":null,"annotations":[],
     "tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{}"}}]},
    {"role":"tool","tool_call_id":"1","content":"r"},
    {"role":"assistant","content":null,"function_call":{"name":"g","arguments":"{\"b\": 1}"}},
    {"role":"function","name":"g","content":"r"},
    {"role":"assistant","content":"x","reasoning_content":"y","weight":0}],
    "functions":[{"name":"f"}],"parallel_tool_calls":false})");
  ASSERT_EQ(c.size(), 1u);
  EXPECT_EQ(turns(c[0]),
            "system:s|user:ab|assistant:[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
            "\"arguments\":\"{}\"}}]|tool:r|assistant:[{\"type\":\"function\",\"function\":{\"name\":\"g\","
            "\"arguments\":\"{\\\"b\\\": 1}\"}}]|tool:r|assistant:x");
  EXPECT_EQ(c[0].messages[1].name, "bob");
  EXPECT_EQ(c[0].messages[3].tool_call_id, "1");
  EXPECT_EQ(c[0].messages[6].reasoning, "y");
  EXPECT_EQ(c[0].messages[6].weight, 0);
  EXPECT_EQ(c[0].tools.dump(), R"([{"type":"function","function":{"name":"f"}}])");
  EXPECT_EQ(c[0].meta.dump(), R"({"parallel_tool_calls":false})");
  const auto text =
      read(RecordFormat::kMessages, R"({"messages":"[{\"role\":\"user\",\"content\":\"q\"}]"})");
  EXPECT_EQ(turns(text.at(0)), "user:q");
}

TEST(RecordForm, ShareGpt) {
  const auto c = read(RecordFormat::kShareGpt,
                      R"({"system":"s","conversations":[{"from":"human","value":"q"},
    {"from":"function_call","value":"{\"name\": \"f\", \"arguments\": {\"b\": 2, \"a\": 0.5}}"},
    {"from":"observation","value":"r"},{"from":"gpt","value":"a","weight":0.5}],
    "tools":"[{\"name\": \"f\", \"parameters\": {}}]","lang":"en"})");
  EXPECT_EQ(turns(c.at(0)),
            "system:s|user:q|assistant:[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":{"
            "\"b\":2,\"a\":0.5}}}]|tool:r|assistant:a");
  EXPECT_EQ(c[0].messages.back().weight, 0.5);
  EXPECT_EQ(c[0].tools.dump(), R"([{"type":"function","function":{"name":"f","parameters":{}}}])");
  EXPECT_EQ(c[0].meta.dump(), R"({"lang":"en"})");
  const auto roles = read(
      RecordFormat::kShareGpt,
      R"({"conversations":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],"tools":""})");
  EXPECT_EQ(turns(roles.at(0)), "user:q|assistant:a");
  const auto bad = [](const std::string& turn) {
    (void)read(RecordFormat::kShareGpt, R"({"conversations":[)" + turn + "]}");
  };
  EXPECT_ERROR(bad(R"({"from":"alice","value":"q"})"), "conversations[0].from must be human");
  EXPECT_ERROR(bad(R"({"from":"gpt"})"), "has no 'value'");
  EXPECT_ERROR(bad(R"({"value":"q"})"), "has no 'from'");
  EXPECT_ERROR(bad(R"({"from":"function_call","value":"f"})"), "is text that is not JSON");
  EXPECT_ERROR(bad(R"({"from":"function_call","value":"{}"})"), "without a 'name'");
  EXPECT_ERROR(bad(R"({"from":"function_call","value":"{\"name\":\"f\",\"arguments\":{\"a\":1e999}}"})"),
               "more digits than 64 bits hold");
  EXPECT_ERROR(bad(R"({"from":"gpt","value":"a","mask":1})"), "a key that is not understood");
}

TEST(RecordForm, Alpaca) {
  const auto c = read(RecordFormat::kAlpaca, R"({"instruction":"i","input":"n","output":"o","system":"s",
    "history":[["h1","h2"],["h3","h4"]]})");
  EXPECT_EQ(turns(c.at(0)), "system:s|user:h1|assistant:h2|user:h3|assistant:h4|user:i\nn|assistant:o");
  EXPECT_EQ(turns(read(RecordFormat::kAlpaca, R"({"instruction":"i","input":"","output":"o"})").at(0)),
            "user:i|assistant:o");
  EXPECT_ERROR(read(RecordFormat::kAlpaca, R"({"instruction":"i"})"), "no 'output'");
  EXPECT_ERROR(read(RecordFormat::kAlpaca, R"({"output":"i"})"), "no 'instruction'");
  EXPECT_ERROR(read(RecordFormat::kAlpaca, R"({"instruction":"i","output":["a"]})"), "'output' must be text");
  EXPECT_ERROR(read(RecordFormat::kAlpaca, R"({"instruction":"i","output":"o","history":[["a"]]})"),
               "must be a list of [question, answer]");
}

TEST(RecordForm, PromptAndCompletion) {
  EXPECT_EQ(turns(read(RecordFormat::kPromptCompletion, R"({"prompt":"p","completion":"c"})").at(0)),
            "user:p|assistant:c");
  EXPECT_EQ(turns(read(RecordFormat::kPromptCompletion,
                       R"({"prompt":[{"role":"system","content":"s"},{"role":"user","content":"p"}],
        "completion":[{"role":"assistant","content":"c"}]})")
                      .at(0)),
            "system:s|user:p|assistant:c");
  const auto kto = read(RecordFormat::kPromptCompletion, R"({"prompt":"p","completion":"c","label":false})");
  EXPECT_TRUE(kto.at(0).rejected);
  EXPECT_TRUE(conversation_json(kto[0]).contains("rejected"));
  EXPECT_ERROR(read(RecordFormat::kPromptCompletion, R"({"prompt":"p","completion":3})"),
               "'completion' must be text or a list of messages, found number");
}

TEST(RecordForm, FeedbackOnOneAnswer) {
  for (const char* yes : {"true", "1", "\"true\"", "\"True\"", "\"1\""}) {
    const auto c =
        read(RecordFormat::kPromptCompletion, concat(R"({"prompt":"p","completion":"c","label":)", yes, "}"));
    EXPECT_TRUE(c.at(0).judged && !c[0].rejected) << yes;
    EXPECT_EQ(conversation_json(c[0])["rejected"], false);
    EXPECT_TRUE(parse_conversation(conversation_json(c[0])).judged);
  }
  for (const char* no : {"false", "0", "\"False\"", "\"0\""}) {
    const auto c =
        read(RecordFormat::kPromptCompletion, concat(R"({"prompt":"p","completion":"c","label":)", no, "}"));
    EXPECT_TRUE(c.at(0).judged && c[0].rejected) << no;
    const Conversation again = parse_conversation(conversation_json(c[0]));
    EXPECT_TRUE(again.judged && again.rejected && again.pair.empty());
  }
  EXPECT_FALSE(
      read(RecordFormat::kPromptCompletion, R"({"prompt":"p","completion":"c","label":null})")[0].judged);
  for (const char* bad : {"2", "\"perhaps\"", "[true]", "\"\"", "{}"})
    EXPECT_ERROR(
        read(RecordFormat::kPromptCompletion, concat(R"({"prompt":"p","completion":"c","label":)", bad, "}")),
        "'label' must be true or false, found ");
  const std::string fields = "fields: {user: q, assistant: a, label: good.value}";
  const auto mapped = read(RecordFormat::kFields, R"({"q":"x","a":"y","good":{"value":"0"}})", fields);
  EXPECT_TRUE(mapped.at(0).judged && mapped[0].rejected);
  EXPECT_ERROR(read(RecordFormat::kFields, R"({"q":"x","a":"y"})", fields), "no 'good.value'");
}

TEST(RecordForm, APairIsReadBackFromItsRecord) {
  const auto pair = read(RecordFormat::kPreference,
                         R"({"id":"7","tenant":"shop","customer":"c","tools":[{"type":"function"}],
      "prompt":[{"role":"user","content":"q"},{"role":"assistant","content":"x","weight":0.5},
      {"role":"user","content":"r"}],"chosen":"a","rejected":[{"role":"assistant","content":"b"},
      {"role":"user","content":"why"},{"role":"assistant","content":"d"}],"score":1})");
  const Json json = parse_json(pair_text(pair.at(0), pair.at(1)), "pair");
  EXPECT_EQ(json["id"], "7");
  const auto again = parse_conversations(json);
  ASSERT_EQ(again.size(), 2u);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(conversation_json(again[i]), conversation_json(pair[i]));
  EXPECT_EQ(common_messages(again[0], again[1]), 3u);
  EXPECT_EQ(conversation_json(parse_conversation(json)), conversation_json(pair[0]));
  EXPECT_EQ(read(RecordFormat::kMessages, json.dump()).size(), 2u);
  Json bad = json;
  bad["rejected_messages"] = bad["messages"];
  EXPECT_ERROR(parse_conversations(bad), "are the same");
  bad["rejected_messages"][0]["content"] = "another question";
  EXPECT_ERROR(parse_conversations(bad), "do not answer the same");
  bad["rejected_messages"] = 3;
  EXPECT_ERROR(parse_conversations(bad), "'rejected_messages'");
  bad = json;
  bad["rejected"] = true;
  EXPECT_ERROR(parse_conversations(bad), "'rejected' is true, but");
}

TEST(RecordForm, PreferencePairs) {
  const std::vector<std::string> records = {
      R"({"id":"7","prompt":"q","chosen":"a","rejected":"b","score":1})",
      R"({"id":"7","prompt":[{"role":"user","content":"q"}],"chosen":{"role":"assistant","content":"a"},
          "rejected":[{"role":"assistant","content":"b"}],"score":1})",
      R"({"id":"7","prompt":"q","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
          "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}],"score":1})",
      R"({"id":"7","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
          "rejected":[{"role":"user","content":"q"},{"role":"assistant","content":"b"}],"score":1})",
      R"({"id":"7","conversations":[{"from":"human","value":"q"}],"chosen":{"from":"gpt","value":"a"},
          "rejected":{"from":"gpt","value":"b"},"score":1})",
      R"({"id":"7","instruction":"q","chosen":"a","rejected":"b","score":1})"};
  for (const std::string& record : records) {
    const auto pair = read(RecordFormat::kPreference, record);
    ASSERT_EQ(pair.size(), 2u) << record;
    EXPECT_EQ(turns(pair[0]), "user:q|assistant:a") << record;
    EXPECT_EQ(turns(pair[1]), "user:q|assistant:b") << record;
    EXPECT_EQ(pair[0].id, "7#chosen");
    EXPECT_EQ(pair[1].id, "7#rejected");
    EXPECT_EQ(pair[0].pair, "7");
    EXPECT_EQ(pair[1].pair, "7");
    EXPECT_FALSE(pair[0].rejected);
    EXPECT_TRUE(pair[1].rejected);
    EXPECT_EQ(pair[1].meta.dump(), R"({"score":1})");
  }
  const auto unnamed = read(RecordFormat::kPreference, R"({"prompt":"q","chosen":"a","rejected":"b"})");
  EXPECT_TRUE(unnamed[0].pair.starts_with("sha256-"));
  EXPECT_NE(unnamed[0].pair,
            read(RecordFormat::kPreference, R"({"prompt":"q","chosen":"b","rejected":"a"})")[0].pair);
  EXPECT_ERROR(read(RecordFormat::kPreference, R"({"prompt":"q","chosen":"a","rejected":"a"})"),
               "are the same");
  EXPECT_ERROR(read(RecordFormat::kPreference, R"({"chosen":"a","rejected":"b"})"),
               "no 'prompt' that 'chosen'");
  EXPECT_ERROR(read(RecordFormat::kPreference,
                    R"({"chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
          "rejected":[{"role":"user","content":"r"},{"role":"assistant","content":"b"}]})"),
               "do not answer the same");
  EXPECT_ERROR(
      read(RecordFormat::kPreference,
           R"({"prompt":"p","chosen":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}],
          "rejected":[{"role":"user","content":"r"},{"role":"assistant","content":"b"}]})"),
      "begins with another question than 'prompt'");
}

TEST(RecordForm, FieldsOfOnesOwn) {
  const auto question =
      read(RecordFormat::kFields, R"({"q":"q","a":["x",{"t":"a"}],"s":"s","more":"m","who":{"n":"4"},
    "nr":12345678901234567890123,"when":"2026-02-17T09:00"})",
           "fields: {user: q, input: more, assistant: a.1.t, system: s, id: nr, period: when, "
           "customer: who.n}\ntenant: shop");
  EXPECT_EQ(turns(question.at(0)), "system:s|user:q\nm|assistant:a");
  EXPECT_EQ(question[0].id, "12345678901234567890123");
  EXPECT_EQ(question[0].period, "2026-02");
  EXPECT_EQ(question[0].customer, "4");
  EXPECT_EQ(question[0].tenant, "shop");
  EXPECT_EQ(question[0].meta.dump(), R"({"who":{"n":"4"}})");
  const auto lists = read(RecordFormat::kFields,
                          R"({"context":[{"who":"agent","say":"hi"},{"who":"api","result":{"b":1.50}},
       {"who":"customer","say":"q"},{"who":"log","x":1}],"reply":{"who":"agent","say":"a"}})",
                          "fields: {messages: [context, reply], role: who, content: [say, result], "
                          "roles: {agent: assistant, customer: user, api: tool, log: skip}}");
  EXPECT_EQ(turns(lists.at(0)), "assistant:hi|tool:{\"b\":1.50}|user:q|assistant:a");
  const auto pairs = read(RecordFormat::kFields, R"({"t":[["agent","hi"],["customer","q"]]})",
                          "fields: {messages: [t], role: '0', content: ['1'], roles: {agent: assistant, "
                          "customer: user}}");
  EXPECT_EQ(turns(pairs.at(0)), "assistant:hi|user:q");
  const auto transcript =
      read(RecordFormat::kFields,
           R"({"t":"user: hi: you\nand me\nassistant: None\ntool: 3\nassistant: ok\n\nbye\n"})",
           "fields: {transcript: t}\nnull_text: None");
  EXPECT_EQ(turns(transcript.at(0)), "user:hi: you\nand me|tool:3|assistant:ok\n\nbye");
  const auto preferred = read(RecordFormat::kFields, R"({"q":"q","good":"a","bad":"b"})",
                              "fields: {user: q, chosen: good, rejected: bad}");
  EXPECT_EQ(turns(preferred.at(1)), "user:q|assistant:b");
  EXPECT_ERROR(read(RecordFormat::kFields, R"({"t":"hello"})", "fields: {transcript: t}"),
               "begins without a speaker");
  EXPECT_ERROR(
      read(RecordFormat::kFields, R"({"t":[{"role":"bot","content":"x"}]})", "fields: {messages: [t]}"),
      "a speaker that 'fields.roles' does not name");
  EXPECT_ERROR(read(RecordFormat::kFields, R"({"q":"x"})", "fields: {user: q, assistant: a}"), "no 'a'");
  EXPECT_ERROR(read(RecordFormat::kFields, R"({"q":"x","a":"NULL"})",
                    "fields: {user: q, assistant: a}\nnull_text: 'NULL'"),
               "no 'a'");
  EXPECT_ERROR(read(RecordFormat::kFields, R"({"q":"x","a":"y","w":"May"})",
                    "fields: {user: q, assistant: a, period: w}"),
               "'w' must be YYYY-MM, or a date that begins so");
}

TEST(RecordForm, OfACsvFile) {
  const auto records = test::read_text("instruction,output,note\nq,\"a\nb\",n\n", "f.csv");
  const auto parsed = RecordParser().parse(records.at(0));
  EXPECT_EQ(parsed.reason, "") << parsed.text;
  EXPECT_EQ(turns(parsed.conversations.at(0)), "user:q|assistant:a\nb");
  EXPECT_EQ(parsed.conversations[0].meta.dump(), R"({"note":"n"})");
}

}  // namespace
}  // namespace decant
