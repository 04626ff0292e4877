// Every public corpus beside the checkout is read with a few lines of configuration, every record of it.
#include <map>

#include "tests/data_pipeline/read_records.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {

struct Corpus {
  const char* file;
  const char* settings;
  size_t records;
  size_t messages;
};

TEST(Corpora, EveryRecordIsRead) {
  DECANT_NEEDS_SHARED("data");
  const std::vector<Corpus> corpora = {
      {"crosswoz/crosswoz_val.jsonl", "", 500, 8458},
      {"taskmaster4/tm4_dialogs.jsonl", "", 3710, 13915},
      {"taskmaster4/tm4_reward.jsonl",
       "fields: {messages: [context, generation], content: [text, api, response], roles: {agent: assistant, "
       "api: tool}}",
       1000, 6200},
      {"egret-wenda/egret_qa.jsonl", "fields: {user: question, assistant: answer, period: month}", 2592,
       5184},
      {"irc-ubuntu/irc_ubuntu_qa.jsonl", "fields: {user: question, assistant: answer, period: month}", 7530,
       15060},
      {"gsm8k/train.jsonl", "fields: {user: question, assistant: answer}", 7473, 14946},
      {"self-instruct/seed_tasks.jsonl",
       "fields: {user: instruction, input: instances.0.input, assistant: instances.0.output}", 175, 350},
      {"self-instruct/user_oriented_instructions.jsonl",
       "fields: {user: instruction, input: instances.0.input, assistant: instances.0.output}", 252, 504},
      {"tau-bench/airline_few_shot.jsonl", "fields: {transcript: messages_display}\nnull_text: None", 19,
       365},
      {"tau-bench/retail_few_shot.jsonl", "fields: {transcript: messages_display}\nnull_text: None", 69,
       1515},
      {"abcd/abcd_sample.json",
       "fields: {id: convo_id, messages: [original], role: '0', content: ['1'], roles: {agent: assistant, "
       "customer: user, action: tool}}",
       3, 72},
      {"abcd/abcd_sample.json",
       "fields: {id: convo_id, messages: [delexed], role: speaker, content: [text], roles: {agent: "
       "assistant, customer: user, action: skip}}",
       3, 63},
      {"llama-factory/glaive_toolcall_en_demo.json", "", 300, 1914},
      {"llama-factory/glaive_toolcall_zh_demo.json", "", 300, 1880},
      {"llama-factory/identity.json", "", 91, 182},
      {"banking77/train.csv", "fields: {user: text, assistant: category}", 10003, 20006},
      {"human-eval/HumanEval.jsonl.gz", "fields: {id: task_id, user: prompt, assistant: canonical_solution}",
       164, 328},
  };
  RecordParser parser;
  for (const Corpus& corpus : corpora) {
    const auto source = read_config<SourceConfig>(
        parse_settings(std::string("paths: [x]\n") + corpus.settings, corpus.file), "source");
    const auto records = test::read_all(test::shared_folder() / "data" / corpus.file, source);
    EXPECT_EQ(records.size(), corpus.records) << corpus.file;
    size_t messages = 0;
    std::map<std::string, int> bad;
    for (const RawRecord& record : records) {
      const ParsedRecord parsed = parser.parse(record);
      if (!parsed.reason.empty()) ++bad[parsed.reason + ": " + parsed.text];
      for (const Conversation& c : parsed.conversations) {
        messages += c.messages.size();
        EXPECT_FALSE(c.id.empty());
        EXPECT_EQ(c.source.byte_offset, record.source.byte_offset);
      }
    }
    EXPECT_EQ(bad, (std::map<std::string, int>{})) << corpus.file;
    EXPECT_EQ(messages, corpus.messages) << corpus.file;
  }
  EXPECT_EQ(corpora.size(), 17u);
}

}  // namespace
}  // namespace decant
