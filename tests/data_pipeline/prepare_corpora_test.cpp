// Real corpora end to end: nine sources in English and Chinese, made into two months by a hash of their ids,
// with an index of duplicates over both and a customer erased in between.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "data_pipeline/decisions.h"
#include "data_pipeline/erase_customer.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/record_parser.h"
#include "data_pipeline/record_reader.h"
#include "tests/data_pipeline/byte_tokenizer.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {
namespace fs = std::filesystem;

struct Real {
  const char *file, *name, *settings;
};
const std::vector<Real> kReal = {
    {"irc-ubuntu/irc_ubuntu_qa.jsonl", "irc", "fields: {id: id, user: question, assistant: answer}"},
    {"egret-wenda/egret_qa.jsonl", "egret", "fields: {id: id, user: question, assistant: answer}"},
    {"crosswoz/crosswoz_val.jsonl", "crosswoz", ""},
    {"taskmaster4/tm4_dialogs.jsonl", "taskmaster", ""},
    {"tau-bench/airline_few_shot.jsonl", "airline",
     "fields: {transcript: messages_display}\nnull_text: None"},
    {"tau-bench/retail_few_shot.jsonl", "retail", "fields: {transcript: messages_display}\nnull_text: None"},
    {"gsm8k/train.jsonl", "gsm8k", "fields: {user: question, assistant: answer}"},
    {"banking77/train.csv", "banking", "fields: {user: text, assistant: category}"},
    {"llama-factory/glaive_toolcall_zh_demo.json", "glaive", ""}};

// Every conversation of the sources as canonical records, a month by the hash of its id; the tenant is the
// source, the customer a hash of the id, so that one has several conversations.
void write_months(const fs::path& data, const fs::path& folder) {
  AtomicFile months[2] = {AtomicFile(folder / "in/2026-01.jsonl"), AtomicFile(folder / "in/2026-02.jsonl")};
  RecordParser parser;
  for (const Real& real : kReal) {
    SourceConfig source = read_config<SourceConfig>(
        parse_settings(std::string("paths: ['") + (data / real.file).string() + "']\n" + real.settings,
                       real.file),
        "source");
    CorpusReader reader(expand_sources({source}, "."));
    for (RawRecord raw; reader.next(raw);)
      for (Conversation& c : parser.parse(raw).conversations) {
        const uint64_t hash = xxh3_64(c.id);
        c.tenant = real.name;
        c.period = hash % 2 == 0 ? "2026-01" : "2026-02";
        c.customer = concat("customer-", real.name, "-", hash / 2 % 200);
        months[hash % 2].write(conversation_text(c) + "\n");
      }
  }
  for (AtomicFile& month : months) month.commit();
}

std::map<std::string, std::string> sides_of(const fs::path& corpus) {
  std::map<std::string, std::string> sides;  // tenant and customer
  for (const auto& entry : fs::recursive_directory_iterator(corpus / "conversations")) {
    if (!entry.is_regular_file()) continue;
    const std::string text = read_file(entry.path()), side = entry.path().parent_path().filename().string();
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      const Json c = parse_json(text.substr(at, end - at), "line");
      sides[c["tenant"].get<std::string>() + "/" + c["customer"].get<std::string>()] = side;
      at = end + 1;
    }
  }
  return sides;
}

std::vector<Conversation> read_conversations(const fs::path& path) {
  std::vector<Conversation> all;
  const std::string text = read_file(path);
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    all.push_back(parse_conversation(parse_json(text.substr(at, end - at), "line")));
  }
  return all;
}

std::map<std::string, std::string> documents_of(const fs::path& corpus) {
  std::map<std::string, std::string> sides;  // tenant and id
  for (const char* side : {"train", "held_out"})
    for (const auto& entry : fs::directory_iterator(corpus / "conversations" / side))
      for (const Conversation& c : read_conversations(entry.path())) sides[c.tenant + "/" + c.id] = side;
  return sides;
}

bool has_word(const std::string& text, const std::string& word) {
  const auto is_word = [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; };
  for (size_t at = 0; (at = text.find(word, at)) != std::string::npos; ++at) {
    const size_t end = at + word.size();
    if ((at == 0 || !is_word(text[at - 1])) && (end == text.size() || !is_word(text[end]))) return true;
  }
  return false;
}

TEST(PrepareCorpora, TwoMonthsWithAnErasureInBetween) {
  DECANT_NEEDS_SHARED("data/irc-ubuntu");
  set_log_level(LogLevel::kError);
  set_progress_quiet(true);
  const fs::path folder = test::scratch_folder();
  write_months(test::shared_folder() / "data", folder);
  CorpusConfig config;
  config.sequence_length = 4096;
  config.max_bad_fraction = 0.1;
  config.duplicates.index = "index";
  config.split.ledger = "index";
  config.mix.replay_from = {"2026-0*"};
  config.mix.replay = 0.25;
  config.mix.max_documents_per_customer = 40;
  config.mix.withdrawn.push_back({"sudo", "irc", "", "", "\\bsudo\\b"});
  const test::ByteTokenizer tokenizer;
  const auto chat_template = chat_template_from_text(chatml_template_text(), "test");
  const auto prepare = [&](const std::string& period, const Erasure& erasure) {
    config.inputs = {"in/" + period + ".jsonl"};
    const CorpusJob job{corpus_files(config, folder), period, folder, &tokenizer,
                        chat_template.get(),          {},     erasure};
    return prepare_corpus(config, job, folder / period);
  };
  const Json january = prepare("2026-01", {});
  EXPECT_GT(january["kept"].get<int64_t>(), 10000);
  EXPECT_EQ(january["tenants"].size(), kReal.size() - 1);  // ChatML cannot show glaive's tool calls
  EXPECT_GT(january["quarantined"]["not_renderable"].get<int64_t>(), 50);
  const auto sum = [](const Json& counts) {
    int64_t all = counts["kept"].get<int64_t>() + counts["duplicate"].get<int64_t>() +
                  counts["near_duplicate"].get<int64_t>();
    for (const char* kind : {"quarantined", "dropped"})
      for (const auto& [reason, n] : counts[kind].items()) all += n.get<int64_t>();
    return all;
  };
  EXPECT_EQ(sum(january), january["in"].get<int64_t>());
  const auto sides = sides_of(folder / "2026-01");
  EXPECT_GT(sides.size(), 800u);

  // A customer of the first month, gone before the second is made, and from it.
  const std::string secret = corpus_secret(config), gone = "customer-taskmaster-7";
  const fs::path corpus = folder / "2026-01";
  const CustomerTrace trace = find_customer(corpus / "store", secret, "", gone);
  const auto gone_documents = static_cast<int64_t>(trace.documents.size());
  EXPECT_GT(gone_documents, 2);
  const Json erased = prepare("2026-01", trace.erasure);
  EXPECT_EQ(erased["in"].get<int64_t>(), january["in"].get<int64_t>() - gone_documents);
  // Of the index, too: only what is the customer's alone is searched for, and that is nowhere.
  DuplicateIndex index(folder / "index", "taskmaster", config.duplicates.compare);
  erase_from_index(index, trace.ids_of("taskmaster"));
  const ErasureProof proof = prove_erased(trace, {corpus / "store"}, {corpus, folder / "index"});
  EXPECT_TRUE(proof.clean());
  EXPECT_GT(proof.report.bytes, 10000000u);
  EXPECT_GT(proof.traces, 100u);
  EXPECT_LT(proof.without_piece, trace.documents.size());

  const auto sides_of_erased = sides_of(corpus);
  const Json february = prepare("2026-02", trace.erasure);
  EXPECT_EQ(sum(february), february["in"].get<int64_t>());
  EXPECT_TRUE(find_customer(folder / "2026-02/store", secret, "", gone).documents.empty());
  EXPECT_TRUE(
      prove_erased(trace, {corpus / "store", folder / "2026-02/store"}, {folder / "2026-02"}).clean());
  // Adding a month moves nobody.
  size_t both = 0;
  for (const auto& [customer, side] : sides_of(folder / "2026-02")) {
    if (!sides.contains(customer)) continue;
    EXPECT_EQ(sides.at(customer), side) << customer;
    ++both;
  }
  EXPECT_GT(both, 500u);

  // A quarter of the month's tokens once more, of what January trained on, and never of what is gone.
  EXPECT_GT(february["replayed"].get<int64_t>(), 1000);
  const auto january_sides = documents_of(corpus);
  size_t replayed = 0;
  for (const auto& [document, side] : documents_of(folder / "2026-02")) {
    if (!january_sides.contains(document)) continue;
    EXPECT_EQ(side, "train");
    EXPECT_EQ(january_sides.at(document), "train") << document;
    ++replayed;
  }
  EXPECT_EQ(replayed, february["replayed"].get<size_t>());
  for (const auto& [tenant, of] : february["mix"]["tenants"].items()) {
    const auto again = of["replayed_tokens"].get<double>(), all = of["tokens"].get<double>();
    EXPECT_LE(again, 0.25 * (all - again)) << tenant;
    if (all - again > 200000) {  // else one document may be more than the quota
      EXPECT_GT(again, 0.2 * (all - again)) << tenant;
    }
  }
  EXPECT_GT(february["dropped"]["withdrawn:sudo"].get<int64_t>(), 50);
  for (const Conversation& c : read_conversations(folder / "2026-02/conversations/train/irc.jsonl"))
    for (const Message& message : c.messages) EXPECT_FALSE(has_word(message.content, "sudo")) << c.id;
  EXPECT_GT(february["canned_replies"]["crosswoz"]["replies"].get<int64_t>(), 3);

  // The first month anew, with what the second left in ledger and index: the same.
  EXPECT_EQ(prepare("2026-01", trace.erasure)["split"].dump(), erased["split"].dump());
  EXPECT_EQ(sides_of(folder / "2026-01"), sides_of_erased);
}

}  // namespace
}  // namespace decant
