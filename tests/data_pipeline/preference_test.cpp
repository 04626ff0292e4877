// Judged answers through the whole corpus step (`corpus.preference`).
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "core/file.h"
#include "core/log.h"
#include "core/progress.h"
#include "data_pipeline/batch_source.h"
#include "data_pipeline/ledger.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/shard.h"
#include "tests/data_pipeline/byte_tokenizer.h"
#include "tests/data_pipeline/real_conversations.h"
#include "tests/support/expect_error.h"

namespace decant {
namespace {
namespace fs = std::filesystem;

struct Job {
  fs::path folder;
  CorpusConfig config;
  std::unique_ptr<ChatTemplate> chat_template = chat_template_from_text(chatml_template_text(), "test");

  explicit Job(fs::path where) : folder(std::move(where)) {
    set_log_level(LogLevel::kError);
    set_progress_quiet(true);
    config.inputs = {"in"};
    config.sequence_length = 256;
    config.max_bad_fraction = 1;
    config.held_out_fraction = 0;
    config.preference = Preference::kPairs;
    config.filter.presets = {};
    config.duplicates.near = false;
  }

  Json operator()(const std::string& out = "out") const {
    const test::ByteTokenizer tokenizer;
    return prepare_corpus(
        config, {corpus_files(config, folder), "2026-02", folder, &tokenizer, chat_template.get(), {}, {}},
        folder / out);
  }
};

std::string pair_line(const std::string& id, const std::string& customer, const Json& prompt,
                      const Json& chosen, const Json& rejected) {
  const Json json = {{"id", id},         {"tenant", "shop"}, {"customer", customer},
                     {"prompt", prompt}, {"chosen", chosen}, {"rejected", rejected}};
  return json.dump() + "\n";
}

struct Learned {
  DocumentRole role;
  int64_t pair;
  std::string text, under_loss;
};

std::string text_of(const std::vector<uint32_t>& tokens) {
  return test::ByteTokenizer().decode({tokens.begin(), tokens.end()}, false);
}

std::map<std::string, Learned> learned(const fs::path& shards) {
  std::map<std::string, Learned> documents;
  const ShardReader reader(shards);
  for (int64_t r = 0; r < reader.rows(); ++r)
    for (const ShardDocument& d : reader.row(r)) {
      std::vector<uint32_t> target;
      for (size_t t = 0; t < d.tokens.size(); ++t)
        if (d.loss_weight[t] > 0) target.push_back(d.tokens[t]);
      EXPECT_TRUE(
          documents.emplace(d.id, Learned{d.role, d.pair, text_of(d.tokens), text_of(target)}).second);
    }
  return documents;
}

TEST(Preference, BothAnswersAreDocumentsWithTheLossOnWhatDiffers) {
  Job run(test::scratch_folder());
  const Json chat = {{{"role", "user"}, {"content", "q"}},
                     {{"role", "assistant"}, {"content", "before"}},
                     {{"role", "user"}, {"content", "r"}}};
  std::string text = pair_line("1", "c1", "ask", "good", "bad") + pair_line("2", "c2", chat, "yes", "no");
  write_file(run.folder / "in/x.jsonl", text);
  text.clear();
  text += R"({"id":"3","tenant":"shop","prompt":"p","completion":"liked","label":true})"
          "\n";
  text += R"({"id":"4","tenant":"shop","prompt":[{"role":"user","content":"s"},)"
          R"({"role":"assistant","content":"earlier"},{"role":"user","content":"p"}],)"
          R"("completion":"disliked","label":false})"
          "\n";
  write_file(run.folder / "in/y.jsonl", text);
  write_file(run.folder / "in/z.jsonl",
             R"({"id":"5","tenant":"shop","messages":[{"role":"user","content":"q"},)"
             R"({"role":"assistant","content":"plain"}]})");
  const Json counts = run();
  EXPECT_EQ(counts["in"], 5);
  EXPECT_EQ(counts["kept"], 5);
  // Of each source, here a file, and each tenant; the sums are those of all.
  ASSERT_EQ(counts["sources"].size(), 3u);
  EXPECT_EQ(counts["sources"]["in/y.jsonl"]["train"], 2);
  for (const char* key : {"train", "held_out", "tokens", "train_tokens", "held_out_tokens", "target_tokens"})
    for (const char* kind : {"sources", "tenants"}) {
      int64_t sum = 0;
      for (const auto& [name, of] : counts[kind].items()) sum += of[key].get<int64_t>();
      EXPECT_EQ(sum, counts[key].get<int64_t>()) << kind << " " << key;
    }
  EXPECT_EQ(read_json(run.folder / "out/contract.json")["measures"]["sources"], counts["sources"]);
  EXPECT_THAT(read_file(run.folder / "out/report.html"), ::testing::HasSubstr("<td>in/y.jsonl</td>"));
  const fs::path shards = run.folder / "out/shards/train/shop";
  const auto documents = learned(shards);
  ASSERT_EQ(documents.size(), 7u);
  const auto is = [&](const std::string& id, DocumentRole role, const std::string& under_loss) {
    const Learned& d = documents.at(id);
    EXPECT_EQ(d.role, role) << id;
    EXPECT_EQ(d.under_loss, under_loss + "<|im_end|>") << id;
    return d.pair;
  };
  using enum DocumentRole;
  EXPECT_EQ(is("1#chosen", kChosen, "good"), is("1#rejected", kRejected, "bad"));
  EXPECT_EQ(is("2#chosen", kChosen, "yes"), is("2#rejected", kRejected, "no"));
  EXPECT_NE(documents.at("1#chosen").pair, documents.at("2#chosen").pair);
  EXPECT_THAT(documents.at("2#rejected").text, ::testing::HasSubstr("before"));
  EXPECT_EQ(is("3", kChosen, "liked"), -1);
  EXPECT_EQ(is("4", kRejected, "disliked"), -1);
  EXPECT_EQ(is("5", kPlain, "plain"), -1);
  EXPECT_EQ(ShardReader(shards).roles(), (RoleCounts{1, 3, 3, 2}));
  // A loss that knows no roles must not learn the rejected ones, and they are no text to be measured on.
  EXPECT_ERROR(open_batches(shards, {}, "", ""), "3 of 7 documents are answers that people rejected");
  int64_t measured = 0;
  for (const Batch& batch : read_all_batches(shards, 256)) measured += batch.document_starts.size(0) - 1;
  EXPECT_EQ(measured, 4);

  // With `chosen` the wanted answers are learned like any other, in shards as ever.
  run.config.preference = Preference::kChosen;
  const Json chosen = run();
  EXPECT_EQ(chosen["kept"], 4);
  EXPECT_EQ(chosen["dropped"].dump(), R"({"rejected_answer":3})");
  const auto plain = learned(shards);
  EXPECT_EQ(plain.at("2#chosen").under_loss, "before<|im_end|>yes<|im_end|>");
  EXPECT_EQ(plain.at("3").role, kPlain);
  EXPECT_EQ(ShardReader(shards).header().schema_version, 1);
}

TEST(Preference, APairHasOneFate) {
  Job run(test::scratch_folder());
  run.config.sequence_length = 128;
  const std::string half(60, 'x'),
      lone = R"({"id":"7#chosen","tenant":"shop","pair":"7","rejected":false,)"
             R"("messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})";
  std::string text = pair_line("1", "", "ask", "good", "bad");
  text += pair_line("2", "", "ask", "good", " bad ");                // the same when clean
  text += pair_line("3", "", "ask", "same", "same\u200b");           // its answers are
  text += pair_line("4", "", "long", half, half + "y");              // each fits, not both
  text += pair_line("5", "", "ask", "good", "worse");                // another pair
  text += pair_line("6", "", "ask", "good", "lost \x04 character");  // of which one cannot be tokenized
  text += pair_line("1", "", "ask", "another", "pair of that id");
  text += pair_line("8", "", "ask", Json::parse(R"([{"role":"assistant","content":"a"}])"),
                    Json::parse(R"([{"role":"assistant","content":"a"},{"role":"user","content":"b"},)"
                                R"({"role":"assistant","content":"c"}])"));
  text += pair_line("9", "", "ask", "good", "");
  write_file(run.folder / "in/x.jsonl", text);
  write_file(run.folder / "in/y.jsonl", lone);
  const Json counts = run();
  EXPECT_EQ(counts["in"], 10);
  EXPECT_EQ(counts["duplicate"], 1);
  EXPECT_EQ(counts["dropped"].dump(), R"({"half_pair":1})");
  EXPECT_EQ(counts["quarantined"].dump(),
            R"({"duplicate_id":1,"empty_message":1,"no_answer":1,"same_answers":1,"too_long":1})");
  EXPECT_EQ(counts["kept"], 3);  // control characters are removed from 6
  const auto entries = ledger_entries(run.folder / "out/ledger.sqlite", "4");
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_THAT(entries[0].detail, ::testing::MatchesRegex("[0-9]+ tokens, a row has 128"));
}

// Real answers, each against that of another conversation; half of the pairs have people's data in them.
TEST(Preference, RealConversationsAsPairs) {
  DECANT_NEEDS_SHARED("data/crosswoz");
  Job run(test::scratch_folder());
  run.config.sequence_length = 2048;
  run.config.held_out_fraction = 0.2;
  run.config.duplicates.near = true;
  std::string text;
  std::map<std::string, std::pair<std::string, std::string>> answers;
  for (const char* name : {"crosswoz", "taskmaster4"}) {
    auto conversations = test::real_conversations()[name];
    conversations.resize(std::min<size_t>(conversations.size(), 400));
    for (size_t i = 0; i < conversations.size(); ++i) {
      auto& messages = conversations[i].messages;
      const auto& others = conversations[(i + 7) % conversations.size()].messages;
      while (!messages.empty() && messages.back().role != "assistant") messages.pop_back();
      if (messages.size() < 2 || messages[messages.size() - 2].role != "user") continue;
      std::string better = messages.back().content, worse;
      for (const Message& m : others)
        if (m.role == "assistant") worse = m.content;
      if (i % 2 == 0) worse += " 请打13812345678";
      if (better == worse || worse.empty()) continue;
      Json prompt = Json::array();
      for (size_t m = 0; m + 1 < messages.size(); ++m)
        prompt.push_back({{"role", messages[m].role}, {"content", messages[m].content}});
      text += pair_line(concat(name, i), concat("c", i / 3), prompt, better, worse);
    }
  }
  write_file(run.folder / "in/x.jsonl", text);
  const Json counts = run();
  EXPECT_GT(counts["train"].get<int64_t>(), 300);
  EXPECT_GT(counts["held_out"].get<int64_t>(), 30);
  EXPECT_GT(counts["pii"]["mobile"].get<int64_t>(), 100);
  size_t seen = 0;
  for (const char* side : {"train", "held_out"}) {
    std::map<std::string, std::pair<std::string, std::string>> ends;  // by id: what is said after the prompt
    for (const Json& line : test::json_lines(run.folder / "out/conversations" / side / "shop.jsonl")) {
      EXPECT_EQ(line["rejected_messages"].dump().find("13812345678"), std::string::npos);
      ends[line["id"]] = {line["messages"].back()["content"], line["rejected_messages"].back()["content"]};
    }
    const auto documents = learned(run.folder / "out/shards" / side / "shop");
    EXPECT_EQ(documents.size(), 2 * ends.size());
    for (const auto& [id, end] : ends) {
      const Learned &chosen = documents.at(id + "#chosen"), &rejected = documents.at(id + "#rejected");
      EXPECT_EQ(chosen.pair, rejected.pair);
      EXPECT_EQ(chosen.under_loss, end.first + "<|im_end|>");
      EXPECT_EQ(rejected.under_loss, end.second + "<|im_end|>");
      // What stands before the answers is the same text.
      const std::string before = chosen.text.substr(0, chosen.text.rfind(end.first));
      EXPECT_EQ(rejected.text.substr(0, before.size()), before);
      ++seen;
    }
  }
  EXPECT_EQ(seen, counts["kept"].get<size_t>());

  // The conversations that were written are an input again, and give the same shards.
  run.config.inputs = {"out/conversations/train"};
  run.config.held_out_fraction = 0;
  run.config.replace_pii = false;
  const Json second = run("again");
  EXPECT_EQ(second["kept"], counts["train"]);
  const auto first_documents = learned(run.folder / "out/shards/train/shop"),
             second_documents = learned(run.folder / "again/shards/train/shop");
  for (const auto& [id, d] : first_documents) EXPECT_EQ(second_documents.at(id).under_loss, d.under_loss);
}

}  // namespace
}  // namespace decant
