#include "data_pipeline/prepare.h"

#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <cstdlib>
#include <map>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "data_pipeline/erase_customer.h"
#include "data_pipeline/explain.h"
#include "data_pipeline/ledger.h"
#include "data_pipeline/shard.h"
#include "tests/data_pipeline/byte_tokenizer.h"
#include "tests/data_pipeline/tokenizer_support.h"
#include "tests/support/expect_error.h"
#include "tests/support/folder_files.h"
#include "tests/support/killed_until_done.h"
#include "tests/support/shared.h"

namespace decant {
namespace {
namespace fs = std::filesystem;
using test::differing_files;
using test::files_below;

std::string line_of(const std::string& id, const std::string& tenant, const std::string& customer,
                    const std::string& question, const std::string& answer,
                    const std::string& period = "2026-01") {
  Json json = {{"id", id}, {"tenant", tenant}, {"period", period}, {"customer", customer}};
  json["messages"] = {{{"role", "user"}, {"content", question}},
                      {{"role", "assistant"}, {"content", answer}}};
  return json.dump() + "\n";
}

struct Job {
  fs::path folder;
  CorpusConfig config;
  std::unique_ptr<ChatTemplate> chat_template = chat_template_from_text(chatml_template_text(), "test");

  explicit Job(fs::path where) : folder(std::move(where)) {
    set_log_level(LogLevel::kError);
    set_progress_quiet(true);
    config.inputs = {"in"};
    config.sequence_length = 128;
    config.max_bad_fraction = 1;
    config.held_out_fraction = 0;
    config.filter.presets = {};  // texts here are short and made up: what is about them switches them on
    config.duplicates.near = false;
    config.canned_replies.most = 0;
  }
  StoreLimits limits;
  Erasure erasure;
  std::string period = "2026-02";

  Json operator()(const std::string& out = "out") const {
    const test::ByteTokenizer tokenizer;
    return prepare_corpus(
        config,
        {corpus_files(config, folder), period, folder, &tokenizer, chat_template.get(), limits, erasure},
        folder / out);
  }
};

std::vector<Json> lines(const fs::path& path) {
  std::vector<Json> rows;
  const std::string text = read_file(path);
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    rows.push_back(parse_json(text.substr(at, end - at), path.string()));
  }
  return rows;
}

TEST(Prepare, NothingIsLostWithoutAReason) {
  Job run(test::scratch_folder());
  std::string text = "\xef\xbb\xbf" + line_of("a", "shop", "c1", "q a@b.com", "a");
  text += line_of("a2", "shop", "c2", " q  a@b.com", "a", "2026-02");  // a duplicate but for white space
  text += "\r\n{\"id\":\"broken\n" + line_of("b", "Shop!", "c", "q", "a") + "{\"messages\":[\xc4\xe3]}\n";
  text +=
      line_of("c", "shop", "c", std::string(300, 'x'), "a") + line_of("d", "shop", "c", "lost \\u0004", "a");
  text += line_of("a", "shop", "c9", "same id", "other words") +
          "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}\n";
  text += R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[1]}]})";
  text += "\n" + line_of("e", "other", "", "电话13812345678", "好") + "{\"id\":";
  write_file(run.folder / "in/x.jsonl", text);
  const Json counts = run();
  EXPECT_EQ(counts["in"], 12);
  EXPECT_EQ(counts["duplicate"], 1);
  // The character of "lost" is a literal backslash sequence, so all of it has tokens: "d" is kept.
  EXPECT_EQ(
      counts["quarantined"].dump(),
      R"({"bad_tenant":1,"duplicate_id":1,"invalid_json":1,"invalid_utf8":1,"no_answer":1,"not_renderable":1,)"
      R"("too_long":1,"truncated":1})");
  EXPECT_EQ(counts["kept"], 3);
  int64_t replaced = 0;
  for (const auto& [kind, n] : counts["pii"].items()) replaced += n.get<int64_t>();
  EXPECT_EQ(replaced, 2);
  EXPECT_EQ(counts["pii"]["email"], 1);
  EXPECT_EQ(counts["pii"]["mobile"], 1);
  EXPECT_EQ(counts["tenants"]["shop"]["train"], 2);
  EXPECT_EQ(counts["tenants"]["other"]["train"], 1);

  int seen = 0;
  for (const Json& bad : lines(run.folder / "out/quarantine.jsonl")) {
    EXPECT_EQ(bad["file"], "in/x.jsonl");
    const auto offset = bad["byte_offset"].get<size_t>();
    if (bad.contains("record")) {
      const auto record = bad["record"].get<std::string>();
      EXPECT_EQ(text.substr(offset, record.size()), record);
    } else if (bad.contains("conversation")) {  // found by comparing: there is no record
      EXPECT_TRUE(bad["reason"] == "duplicate_id" || bad["reason"] == "too_long") << bad;
      EXPECT_EQ(bad["conversation"]["source"]["byte_offset"], offset);
    } else {
      EXPECT_EQ(bad["reason"], "invalid_utf8");
      EXPECT_EQ(bad["record_base64"], "eyJtZXNzYWdlcyI6W8TjXX0=");
    }
    EXPECT_EQ(std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(offset), '\n') + 1,
              bad["line"]);
    ++seen;
  }
  EXPECT_EQ(seen, 8);
  const auto duplicates = lines(run.folder / "out/duplicates.jsonl");
  ASSERT_EQ(duplicates.size(), 1u);
  EXPECT_EQ(duplicates[0]["id"], "a2");
  EXPECT_EQ(duplicates[0]["kept"], "a");

  const auto shop = lines(run.folder / "out/conversations/train/shop.jsonl");
  ASSERT_EQ(shop.size(), 2u);
  EXPECT_EQ(shop[0]["source"]["line"], 1);
  EXPECT_THAT(shop[0]["messages"][0]["content"].get<std::string>(),
              ::testing::MatchesRegex("q user-.*@example.invalid"));
  const ShardReader reader(run.folder / "out/shards/train/shop");
  EXPECT_EQ(reader.documents(), 2);
  EXPECT_EQ(reader.tokens(), counts["tenants"]["shop"]["tokens"].get<int64_t>());
}

TEST(Prepare, SplitAtTurnKeepsEveryTurnAndTheSystemMessage) {
  Job run(test::scratch_folder());
  Json json = {{"id", "long"}, {"messages", Json::array()}};
  json["messages"].push_back({{"role", "system"}, {"content", "S"}});
  for (int i = 0; i < 6; ++i) {
    json["messages"].push_back({{"role", "user"}, {"content", "question " + std::to_string(i)}});
    json["messages"].push_back({{"role", "assistant"}, {"content", "answer " + std::to_string(i)}});
  }
  write_file(run.folder / "in/x.jsonl", json.dump());
  EXPECT_ERROR(run(), "no conversation is left to train on");
  run.config.too_long = TooLong::kSplitAtTurn;
  const Json counts = run();
  EXPECT_EQ(counts["kept"], 1);
  const ShardReader reader(run.folder / "out/shards/train/default");
  std::set<std::string> ids;
  int answers = 0;
  for (int64_t r = 0; r < reader.rows(); ++r)
    for (const auto& d : reader.row(r)) {
      ids.insert(d.id);
      const std::string text = test::ByteTokenizer().decode({d.tokens.begin(), d.tokens.end()}, false);
      EXPECT_TRUE(text.starts_with("<|im_start|>system\nS<|im_end|>\n<|im_start|>user\n")) << text;
      for (size_t at = 0; (at = text.find("answer ", at)) != std::string::npos; ++at) ++answers;
    }
  EXPECT_EQ(answers, 6);
  EXPECT_GT(ids.size(), 1u);
  EXPECT_TRUE(ids.contains("long#1"));
  run.config.sequence_length = 20;
  EXPECT_ERROR(run(), "{\"too_long\":1} are quarantined");
}

TEST(Prepare, WhatTheTemplatesCannotShowIsNotLeftOut) {
  Job run(test::scratch_folder());
  const std::string chat = R"("messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a")";
  std::string text = "{" + chat + "}]}\n";
  text += "{\"tools\":[{\"type\":\"function\"}]," + chat + "}]}\n";
  text += "{" + chat + ",\"reasoning_content\":\"r\"}]}\n{" + chat + ",\"weight\":0.5}]}\n";
  write_file(run.folder / "in/x.jsonl", text);
  write_file(run.folder / "in/y.jsonl", R"({"prompt":"p","chosen":"c","rejected":"r"})");
  const Json counts = run();
  EXPECT_EQ(counts["in"], 6);
  EXPECT_EQ(counts["quarantined"].dump(), R"({"not_renderable":1})");  // ChatML has no reasoning
  EXPECT_EQ(counts["dropped"].dump(), R"({"rejected_answer":1})");
  EXPECT_EQ(counts["kept"], 4);
}

TEST(Prepare, ReadsEveryKindOfSource) {
  Job run(test::scratch_folder());
  run.config.inputs.clear();
  const auto read = [&](const std::string& sources) {
    run.config.sources =
        read_config<CorpusConfig>(parse_settings("sources:\n" + sources, "r.yaml"), "corpus").sources;
    return run();
  };
  write_file(run.folder / "a.csv", "question,answer,when\n\"q,1\",\"a\n1\",2026-01-05\nq2\n");
  write_file(run.folder / "b.json",
             R"([{"instruction":"i","output":"o"},{"instruction":"i"},{"instruction":])");
  const Json counts = read(
      "  - {paths: [a.csv], tenant: shop, fields: {user: question, assistant: answer, period: when}}\n"
      "  - {paths: [b.json]}\n");
  EXPECT_EQ(counts["kept"], 2);
  EXPECT_EQ(counts["quarantined"].dump(), R"({"bad_csv":1,"bad_record":1,"invalid_json":1})");
  const Json shop = lines(run.folder / "out/conversations/train/shop.jsonl").at(0);
  EXPECT_EQ(shop["period"], "2026-01");
  EXPECT_EQ(shop["messages"][1]["content"], "a\n1");
  EXPECT_EQ(shop["source"]["line"], 2);
}

TEST(Prepare, TooManyBadRecordsStopTheStep) {
  Job run(test::scratch_folder());
  run.config.max_bad_fraction = 0.2;
  std::string text;
  for (int i = 0; i < 8; ++i) text += line_of(std::to_string(i), "t", "c", "q" + std::to_string(i), "a");
  write_file(run.folder / "in/x.jsonl", text + "{}\n{}\n");
  EXPECT_EQ(run()["kept"], 8);  // exactly the fraction
  write_file(run.folder / "in/x.jsonl", text + "{}\n{}\n{\n");
  EXPECT_ERROR(run(),
               "corpus: 3 of 11 records are quarantined (bad_record 2, invalid_json 1), more than "
               "'max_bad_fraction' 0.2");
  EXPECT_EQ(lines(run.folder / "out/quarantine.jsonl").size(), 3u);
}

TEST(Prepare, Errors) {
  Job run(test::scratch_folder());
  EXPECT_ERROR(run(), "the input 'in' matches no file");
  write_file(run.folder / "in/x.jsonl", "\n\n");
  EXPECT_ERROR(run(), "corpus: empty: no record in 1 files");
  const auto validated = [](const char* yaml) {
    read_config<CorpusConfig>(parse_settings(yaml, "r.yaml"), "corpus");
  };
  validated("inputs: [a]");
  EXPECT_ERROR(validated("inputs: []"), "'corpus.inputs': name at least one");
  EXPECT_ERROR(validated("inputs: [a]\nmax_bad_fraction: 2"), "r.yaml:2");
  EXPECT_ERROR(validated("inputs: [a]\nheld_out_fraction: 1"), "less than 1, found 1");
  EXPECT_ERROR(validated("inputs: [a]\nsequence_length: 1"), "must be 2 to 1048576, found 1");
  EXPECT_ERROR(validated("inputs: [a]\ntemplate: qwen"), "must be model or plain, found 'qwen'");
}

std::string corpus(int from, int to) {
  std::string text;
  for (int i = from; i < to; ++i) {
    const std::string n = std::to_string(i);
    text += line_of("id" + n, i % 3 == 0 ? "red" : "blue", "customer" + std::to_string(i % 40),
                    "question " + n + " 1381234" + std::to_string(1000 + i % 50), "answer " + n);
  }
  return text + "{}\n";
}

TEST(Prepare, SameBytesForAnyThreadsAndFolder) {
  Job run(test::scratch_folder());
  run.config.held_out_fraction = 0.2;
  run.limits = {2000, 9000};  // many chunks and blocks
  write_file(run.folder / "in/x.jsonl", corpus(0, 400));
  write_file(run.folder / "in/y.jsonl", corpus(350, 500));
  Json first;
  for (const size_t threads : {1, 2, 4}) {
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    tbb::task_arena arena(static_cast<int>(threads));
    const std::string out = "out" + std::to_string(threads);
    const Json counts = arena.execute([&] { return run(out); });
    if (threads == 1) {
      first = counts;
      // Lists, ledger, decisions, key, contract, report, lineage, croissant and sides; key, facts and blocks
      // of the store; of two tenants on two sides conversations, index and shard.
      EXPECT_EQ(files_below(run.folder / out).size(), 12u + 2 + 10 + 4 * 3);
    }
    EXPECT_EQ(counts.dump(), first.dump()) << threads;
    EXPECT_THAT(differing_files(run.folder / out, run.folder / "out1"), ::testing::IsEmpty()) << threads;
  }
  Job moved(run.folder / "elsewhere");
  moved.config = run.config;
  moved.limits = run.limits;
  for (const char* file : {"in/x.jsonl", "in/y.jsonl"})
    write_file(moved.folder / file, read_file(run.folder / file));
  EXPECT_EQ(moved().dump(), first.dump());
  EXPECT_THAT(differing_files(moved.folder / "out", run.folder / "out1"), ::testing::IsEmpty());
}

std::set<std::string> kept_conversations(const fs::path& folder) {
  std::set<std::string> kept;
  for (const auto& entry : fs::recursive_directory_iterator(folder / "conversations")) {
    if (!entry.is_regular_file()) continue;
    const std::string side = entry.path().parent_path().filename().string();
    for (const Json& c : lines(entry.path())) EXPECT_TRUE(kept.insert(side + c.dump()).second);
  }
  return kept;
}

TEST(Prepare, TheOrderOfTheFilesChangesNothingThatIsKept) {
  Job run(test::scratch_folder());
  run.config.held_out_fraction = 0.2;
  // The same conversations under other ids, and other conversations under the same ids.
  for (int f = 0; f < 3; ++f) {
    std::string text;
    for (int i = 0; i < 60; ++i) {
      const std::string n = std::to_string(i);
      text += line_of(std::to_string(100 * ((f * 7 + i) % 3) + i), "t", "c" + n, "q" + n, "a" + n);
      text += line_of("same" + n, "t", "c" + n, "q" + n, concat("a of ", f));
    }
    write_file(run.folder / concat("in/", f, ".jsonl"), text);
  }
  run();
  const auto expected = kept_conversations(run.folder / "out");
  EXPECT_EQ(expected.size(), 120u);
  run.config.inputs = {"in/2.jsonl", "in/0.jsonl", "in/1.jsonl"};
  run();
  EXPECT_EQ(kept_conversations(run.folder / "out"), expected);
}

// A child process works, and dies at a random moment; the next goes on.
TEST(Prepare, KillsChangeNoByte) {
  Job run(test::scratch_folder());
  run.config.held_out_fraction = 0.2;
  run.limits = {4000, 20000};
  write_file(run.folder / "in/x.jsonl", corpus(0, 1500));
  EXPECT_GE(test::killed_until_done([&] { run("killed"); }), 3);
  EXPECT_EQ(run("killed").dump(), run("calm").dump());
  EXPECT_THAT(differing_files(run.folder / "killed", run.folder / "calm"), ::testing::IsEmpty());
}

std::map<std::string, fs::file_time_type> times_below(const fs::path& folder) {
  std::map<std::string, fs::file_time_type> times;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    times[entry.path().string()] = fs::last_write_time(entry.path());
  return times;
}

TEST(Prepare, AChangedThresholdDoesNotReadTheInputsAgain) {
  Job run(test::scratch_folder());
  write_file(run.folder / "in/x.jsonl", corpus(0, 200));
  run();
  const auto before = times_below(run.folder / "out/store");
  EXPECT_GE(before.size(), 3u);
  run.config.held_out_fraction = 0.5;
  const Json half = run();
  EXPECT_GT(half["held_out"].get<int64_t>(), 50);
  run.config.sequence_length = 20;
  EXPECT_ERROR(run(), "no conversation is left");
  EXPECT_EQ(times_below(run.folder / "out/store"), before);
  run.config.too_long = TooLong::kSplitAtTurn;  // now the row's length decides what is stored
  run.config.sequence_length = 100;
  run();
  EXPECT_NE(times_below(run.folder / "out/store"), before);
  const auto split = times_below(run.folder / "out/store");
  write_file(run.folder / "in/x.jsonl", corpus(0, 201));
  EXPECT_EQ(run()["in"], 202);
  EXPECT_NE(times_below(run.folder / "out/store"), split);
}

TEST(Prepare, ADamagedStoreIsSaid) {
  Job run(test::scratch_folder());
  run.limits = {1000, 4000};
  write_file(run.folder / "in/x.jsonl", corpus(0, 100));
  run();
  const fs::path block = run.folder / "out/store/block-000001.bin";
  const std::string bytes = read_file(block);
  const auto changed = [&](size_t at) {
    std::string other = bytes;
    other[at] = static_cast<char>(other[at] ^ 1);
    write_file(block, other);
    run.config.split_salt = "decant";
    run.config.held_out_fraction += 0.01;
    EXPECT_ERROR(run(), "the store is damaged");
  };
  for (const size_t at : {size_t{0}, size_t{9}, size_t{30}, bytes.size() / 2, bytes.size() - 1}) changed(at);
  write_file(block, bytes.substr(0, bytes.size() - 1));
  EXPECT_ERROR(run(), "block-000001.bin: not the block that its name says");
  write_file(block, bytes);
  run();
}

TEST(Prepare, TheLedgerTellsWhatHappened) {
  Job run(test::scratch_folder());
  std::string text = line_of("a", "shop", "c1", "q", "a") + line_of("b", "shop", "c2", "q", "a", "2026-02");
  text +=
      line_of("a", "shop", "c3", "other", "words", "2026-03") + line_of("c", "shop", "c", "13812345678", "x");
  text += R"({"id":"m","messages":[{"role":"user","content":"1"},{"role":"user","content":"2"},)"
          R"({"role":"assistant","content":"3"},{"role":"user","content":"bye"}]})"
          "\n{}\n" +
          line_of("long", "shop", "c", std::string(300, 'x'), "a");
  write_file(run.folder / "in/x.jsonl", text);
  run();
  const auto why = [&](const std::string& id) {
    std::string all;
    for (const LedgerEntry& e : ledger_entries(run.folder / "out/ledger.sqlite", id))
      all += concat(e.line, " ", e.fate, " ", e.stage, " ", e.reason, ": ", e.detail, "; ");
    return all;
  };
  EXPECT_EQ(why("a"),
            "3 quarantined deduplicate duplicate_id: another conversation of the tenant has this id; ");
  EXPECT_EQ(why("b"), "2 duplicate deduplicate exact: of a; ");
  EXPECT_EQ(why("c"), "4 altered pii pii_replaced: mobile 1; ");
  EXPECT_EQ(why("m"),
            "5 altered normalize merged_messages: 1 joined to the message before; "
            "5 altered normalize trimmed_messages: 1 after the last answer; ");
  EXPECT_EQ(why("long"), "7 quarantined pack too_long: 311 tokens, a row has 128; ");
  EXPECT_EQ(why(""), "6 quarantined read bad_record: no 'messages'; ");
  EXPECT_EQ(why("nobody"), "");
  const auto told = explain_document(run.folder / "out", "a");
  ASSERT_EQ(told.size(), 3u);
  EXPECT_EQ(told[0], "a of tenant shop, in/x.jsonl line 1 (byte 0): kept, train");
  EXPECT_THAT(told[1], ::testing::EndsWith(": quarantined"));
  EXPECT_EQ(told[2], "  deduplicate: duplicate_id, another conversation of the tenant has this id");
  EXPECT_ERROR(explain_document(run.folder / "out", "nobody"), "no document has the id 'nobody'");
  EXPECT_ERROR(ledger_entries(run.folder / "in/x.jsonl", "a"), "not a readable ledger");
}

TEST(Prepare, ABrokenContractIsAGateThatSaidNo) {
  Job run(test::scratch_folder());
  write_file(run.folder / "in/x.jsonl",
             corpus(0, 100) + line_of("long", "red", "c", std::string(300, 'x'), "a"));
  run("january");
  const Json january = read_json(run.folder / "january/contract.json");
  EXPECT_EQ(january["measures"]["kept"], 100);
  EXPECT_EQ(january["distributions"]["reason"].dump(), R"({"bad_record":1,"too_long":1})");
  EXPECT_EQ(january["samples"].size(), 20u);
  EXPECT_EQ(january["drift"], nullptr);
  const auto broken = [&](const std::string& yaml) -> std::string {
    const auto before = run.config.contract;
    run.config.contract = read_config<ContractConfig>(parse_settings(yaml, "r.yaml"), "corpus.contract");
    try {
      run();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), Exit::kGateSaidNo);
      run.config.contract = before;
      return e.what();
    }
    run.config.contract = before;
    return {};
  };
  EXPECT_EQ(broken("{}"), "");
  EXPECT_THAT(broken("min_supervised_share: 0.9"),
              ::testing::HasSubstr("min_supervised_share': expected at least 0.9, found 0."));
  EXPECT_THAT(broken("max_supervised_share: 0.1"), ::testing::HasSubstr("max_supervised_share"));
  EXPECT_THAT(broken("max_too_long_share: 0.009"),
              ::testing::HasSubstr("max_too_long_share': expected at most 0.009, found 0.0098"));
  EXPECT_EQ(broken("max_too_long_share: 0.01"), "");
  EXPECT_THAT(broken("max_dropped_token_share: 0"), ::testing::HasSubstr("max_dropped_token_share"));
  EXPECT_THAT(broken("min_language_share: {zh: 0.5}"),
              ::testing::HasSubstr("min_language_share.zh': expected at least 0.5, found 0.0"));
  EXPECT_THAT(broken("max_mean_tokens: 10"), ::testing::HasSubstr("max_mean_tokens"));
  EXPECT_THAT(broken("min_packing: 1"), ::testing::HasSubstr("min_packing"));
  EXPECT_EQ(broken("previous: january\nmax_drift: 0"), "");  // the same month again
  write_file(run.folder / "in/x.jsonl", corpus(0, 100) + line_of("new", "green", "c", "hello there", "a"));
  EXPECT_THAT(broken("previous: january\nmax_drift: 0.005"),
              ::testing::HasSubstr("max_drift.tenant': expected at most 0.005, found 0.0099"));
  run.config.contract.previous = "nowhere";
  EXPECT_ERROR(run(), "must name the corpus folder of an earlier month");
  const std::string page = read_file(run.folder / "january/report.html");
  size_t documents = 0;
  for (size_t at = 0; (at = page.find("<div class=\"doc\">", at)) != std::string::npos; ++at) ++documents;
  EXPECT_EQ(documents, 20u);
  EXPECT_THAT(page, ::testing::HasSubstr("<span style=\"background:rgba(40,160,60,0.5)\">"));
  EXPECT_THAT(page, ::testing::Not(::testing::HasSubstr("http")));  // nothing is fetched
}

TEST(Prepare, AnErasedCustomerLeavesNothingAndOnlyTheirTenantIsPackedAgain) {
  Job run(test::scratch_folder());
  run.config.held_out_fraction = 0.2;
  run.limits = {2000, 9000};
  std::string text = corpus(0, 300);
  text += line_of("mail-01", "blue", "ann@shop.com", "a question", "an answer");
  text += line_of("again-01", "blue", "ann@shop.com", "a question", "an answer", "2026-02");  // a duplicate
  text += line_of("late-01", "blue", "ann@shop.com", std::string(300, 'x'), "an answer");     // too long
  text += line_of("elsewhere", "red", "ann@shop.com", "in red", "an answer");
  text += "{\"customer\": \"ann@shop.com\", \"broken\n{\"customer\": \"joann@shop.com\", \"broken\n";
  write_file(run.folder / "in/x.jsonl", text);
  const Json before = run();
  const std::string secret = corpus_secret(run.config);
  const fs::path out = run.folder / "out";
  CustomerTrace trace = find_customer(out / "store", secret, "blue", "ann@shop.com");
  EXPECT_EQ(trace.documents.size(), 4u);
  EXPECT_EQ(trace.ids.size(), 3u);
  EXPECT_EQ(trace.erasure.customers.size(), 1u);
  EXPECT_EQ(trace.erasure.records.size(), 1u);
  const auto prove = [&] { return prove_erased(trace, {out / "store"}, {out}); };
  // In "red" there is a customer of that name, too, under another surrogate.
  const ErasureProof still = prove();
  EXPECT_EQ(still.still_stored, 4);
  EXPECT_EQ(still.naming, 0);
  std::set<std::string> files;
  for (const Leftover& left : still.report.leftovers) files.insert(fs::path(left.file).filename().string());
  for (const char* name :
       {"blue.jsonl", "duplicates.jsonl", "quarantine.jsonl", "ledger.sqlite", "document_id"})
    EXPECT_TRUE(files.contains(name)) << name;

  const auto times = times_below(out);
  run.erasure = trace.erasure;
  const Json after = run();
  EXPECT_EQ(after["in"], before["in"].get<int64_t>() - 4);
  EXPECT_EQ(after["tenants"]["red"].dump(), before["tenants"]["red"].dump());
  const ErasureProof proof = prove();
  EXPECT_TRUE(proof.clean());
  EXPECT_GT(proof.report.files, 10u);
  EXPECT_GT(proof.traces, 20u);
  EXPECT_EQ(find_customer(out / "store", secret, "red", "ann@shop.com").documents.size(), 1u);  // not joann
  // Whatever is put back is found, wherever.
  const std::string page = read_file(out / "report.html");
  for (const std::string& planted :
       {std::string("mail-01"), std::string(200, 'x'), std::string("again-01#2")}) {
    write_file(out / "report.html", page + "<p>" + planted + "</p>");
    EXPECT_FALSE(prove().clean()) << planted;
  }
  write_file(out / "report.html", page);
  const CustomerTrace again = read_trace(trace_json(trace));
  EXPECT_EQ(again.ids, trace.ids);
  EXPECT_EQ(again.customers, trace.customers);
  EXPECT_EQ(erasure_json(again.erasure), erasure_json(trace.erasure));
  ASSERT_EQ(again.documents.size(), 4u);
  EXPECT_EQ(again.documents[2].messages[0].content, std::string(300, 'x'));
  EXPECT_ERROR(read_trace(Json::object()), "no trace of a customer");
  size_t blocks = 0;
  for (const auto& [path, time] : times_below(out)) {
    const bool same = times.contains(path) && times.at(path) == time;
    if (path.find("/block-") != std::string::npos) blocks += same ? 1 : 0;
    if (path.find("red.jsonl") != std::string::npos || path.find("red/index.json") != std::string::npos) {
      EXPECT_TRUE(same) << path;
    }
  }
  EXPECT_GT(blocks, 4u);

  // The same as a corpus that never had them; and they do not come back when the inputs are read again.
  run("anew");
  for (const char* part : {"conversations", "shards"})
    EXPECT_THAT(differing_files(out / part, run.folder / "anew" / part), ::testing::IsEmpty());
  for (const char* list : {"quarantine.jsonl", "duplicates.jsonl"})
    EXPECT_EQ(read_file(out / list), read_file(run.folder / "anew" / list));
  run.config.split_salt = "other";
  EXPECT_EQ(run()["in"], after["in"]);
  // Less to erase: they are back.
  run.erasure = {};
  EXPECT_EQ(run()["in"], before["in"]);
  write_json(run.folder / "e.json", erasure_json(trace.erasure));
  EXPECT_TRUE(read_erasure(run.folder / "e.json").includes(trace.erasure));
  EXPECT_EQ(erasure_json(read_erasure(run.folder / "e.json")), erasure_json(trace.erasure));
  write_file(run.folder / "e.json", R"({"customers": ["no"], "records": []})");
  EXPECT_ERROR(read_erasure(run.folder / "e.json"), "32 hexadecimal digits");
}

TEST(Prepare, FiltersNearDuplicatesAndEvaluationSetsAreDecidedApart) {
  Job run(test::scratch_folder());
  const std::string words =
      "The parcel was sent to the old address although I changed it in my account last week";
  std::string text =
      line_of("good", "t", "c1", words, "We have asked the carrier to bring it to the new address.");
  text += line_of("near", "t", "c2", words, "We have asked the carrier to bring it to the new address!",
                  "2026-02");
  text += line_of("other", "u", "c3", words, "We have asked the carrier to bring it to the new address.");
  text += line_of(
      "leak", "t", "c4",
      "Question: a train leaves the town of Aville at nine and reaches Beetown at noon, how fast does it go?",
      "At the speed that the distance between the two towns gives.");
  text += line_of("digits", "t", "c5", "12345 67890 23456", "98765 43210 12345");
  write_file(run.folder / "in/x.jsonl", text);
  write_file(
      run.folder / "eval.jsonl",
      R"({"id":"e1","question":"A train leaves the town of Aville at nine and reaches Beetown at noon, how fast does it go?"})"
      "\n");
  run.config.sequence_length = 512;
  EXPECT_EQ(run()["kept"], 5);
  run.config.filter.presets = {"service"};
  run.config.duplicates.near = true;
  run.config.decontaminate.sets.push_back({"exam", "eval.jsonl"});
  const Json counts = run();
  EXPECT_EQ(counts["near_duplicate"], 1);
  EXPECT_EQ(counts["dropped"]["contaminated:exam"], 1) << counts["dropped"];
  EXPECT_EQ(counts["kept"], 2) << counts["dropped"];
  const auto duplicates = lines(run.folder / "out/duplicates.jsonl");
  ASSERT_EQ(duplicates.size(), 1u);
  EXPECT_EQ(duplicates[0]["id"], "near");
  EXPECT_EQ(duplicates[0]["kept"], "good");
  EXPECT_EQ(duplicates[0]["kind"], "near");
  const auto leak = explain_document(run.folder / "out", "leak");
  ASSERT_EQ(leak.size(), 2u);
  EXPECT_THAT(leak[1], ::testing::HasSubstr("contaminated:exam, message 0, bytes "));
  EXPECT_THAT(leak[1], ::testing::HasSubstr(" of the question of exam e1"));

  // Without reading the inputs again.
  const auto before = times_below(run.folder / "out/store");
  run.config.duplicates.compare.threshold = 1;
  run.config.filter.presets = {};
  const Json looser = run();
  EXPECT_EQ(looser["near_duplicate"], 0);
  EXPECT_EQ(looser["kept"], 4);
  EXPECT_EQ(times_below(run.folder / "out/store"), before);
}

TEST(Prepare, AnIndexKnowsEarlierMonths) {
  Job run(test::scratch_folder());
  run.config.duplicates.near = true;
  run.config.duplicates.index = "index";
  run.config.sequence_length = 512;
  const std::string words =
      "the parcel was sent to the old address although it had been changed a week before";
  write_file(run.folder / "in/x.jsonl",
             line_of("jan", "t", "c1", words, "Sorry for that, we sent it again."));
  run.period = "2026-01";
  EXPECT_EQ(run("january")["kept"], 1);
  write_file(run.folder / "in/x.jsonl",
             line_of("feb", "t", "c2", words, "Sorry for that, we sent it again!", "2026-02") +
                 line_of("new", "t", "c3", "how do I close the account of my late father",
                         "Please send us a copy of the certificate.", "2026-02"));
  run.period = "2026-02";
  const Json february = run("february");
  EXPECT_EQ(february["kept"], 1);
  EXPECT_EQ(february["near_duplicate"], 1);
  const auto duplicates = lines(run.folder / "february/duplicates.jsonl");
  ASSERT_EQ(duplicates.size(), 1u);
  EXPECT_EQ(duplicates[0]["kept"], nullptr);
  EXPECT_THAT(duplicates[0]["detail"].get<std::string>(), ::testing::EndsWith(" with jan of 2026-01"));
  EXPECT_EQ(run("february").dump(), february.dump());
  EXPECT_EQ(run("again").dump(), february.dump());  // a month is compared with the months before it only
}

TEST(Prepare, NoCustomerOnBothSidesAndNoneMoves) {
  Job run(test::scratch_folder());
  run.config.held_out_fraction = 0.3;
  const auto sides = [&] {
    std::map<std::string, std::set<std::string>> found;
    for (const char* side : {"train", "held_out"})
      for (const char* tenant : {"red", "blue"})
        for (const Json& c :
             lines(run.folder / "out/conversations" / side / (std::string(tenant) + ".jsonl")))
          found[std::string(tenant) + c["customer"].get<std::string>()].insert(side);
    return found;
  };
  write_file(run.folder / "in/x.jsonl", corpus(0, 200));
  run();
  const auto before = sides();
  write_file(run.folder / "in/x.jsonl", corpus(0, 500));
  run();
  const auto after = sides();
  EXPECT_EQ(before.size(), 80u);
  for (const auto& [customer, side] : before) {
    EXPECT_EQ(side.size(), 1u) << customer;
    EXPECT_EQ(after.at(customer), side) << customer;
  }
}

TEST(Prepare, ThePiiKeyDecidesTheSurrogates) {
  Job run(test::scratch_folder());
  run.config.pii_key_env = "DECANT_TEST_PII_KEY";
  write_file(run.folder / "in/x.jsonl", line_of("a", "t", "13812345678", "13812345678", "138-1234-5678"));
  run("public");
  ::setenv("DECANT_TEST_PII_KEY", "secret", 1);
  run("secret");
  ::unsetenv("DECANT_TEST_PII_KEY");
  const Json open = lines(run.folder / "public/conversations/train/t.jsonl")[0];
  const Json closed = lines(run.folder / "secret/conversations/train/t.jsonl")[0];
  EXPECT_EQ(open["customer"], open["messages"][0]["content"]);  // consistent
  EXPECT_NE(open["customer"], closed["customer"]);
  run.config.replace_pii = false;
  EXPECT_EQ(run("kept")["pii"]["mobile"], 0);
  EXPECT_EQ(lines(run.folder / "kept/conversations/train/t.jsonl")[0]["customer"], "13812345678");
}

// What planted.json says of the demo corpus, found by a tokenizer of bytes (so lengths and lost bytes are not
// compared).
TEST(Prepare, DemoCorpus) {
  Job run(test::scratch_folder());
  run.config.inputs = {fs::absolute("recipes/quickstart/corpus").string()};
  run.config.sequence_length = 1 << 20;
  const Json planted = read_json("recipes/quickstart/corpus/planted.json");
  const Json counts = run();
  EXPECT_EQ(counts["in"], 540);
  EXPECT_EQ(counts["duplicate"],
            13);  // the 12 planted, and a near-duplicate that differs in a doubled space only
  int64_t broken = 0;
  for (const auto& [reason, n] : counts["quarantined"].items()) broken += n.get<int64_t>();
  EXPECT_EQ(broken, 12);
  EXPECT_EQ(counts["kept"], 515);
  for (const char* kind : {"email", "mobile", "id_card"}) {
    int64_t expected = 0;
    for (const auto& [file, facts] : planted.items())
      expected += facts["people"][kind]["total"].get<int64_t>();
    EXPECT_EQ(counts["pii"][kind].get<int64_t>(), expected) << kind;
  }
}

// With everything on: every planted near-duplicate but one (its Jaccard similarity of words is below 0.8) and
// replies that are canned go, nothing else.
TEST(Prepare, DemoCorpusNearDuplicates) {
  Job run(test::scratch_folder());
  run.config.inputs = {fs::absolute("recipes/quickstart/corpus").string()};
  run.config.sequence_length = 1 << 20;
  run.config.filter = {};
  run.config.duplicates = {};
  run();
  std::map<std::string, std::string> planted;
  std::set<std::string> canned;
  const Json all = read_json("recipes/quickstart/corpus/planted.json");
  for (const auto& [file, facts] : all.items()) {
    if (facts["planted"].contains("near_duplicate"))
      for (const Json& p : facts["planted"]["near_duplicate"]) planted[p["id"]] = p["of"];
    if (facts["planted"].contains("canned_reply"))
      for (const Json& p : facts["planted"]["canned_reply"]) canned.insert(p["id"].get<std::string>());
  }
  size_t found = 0, other = 0;
  for (const Json& line : lines(run.folder / "out/duplicates.jsonl")) {
    if (line["kind"] != "near") continue;
    const auto id = line["id"].get<std::string>();
    if (planted.contains(id)) {
      EXPECT_EQ(line["kept"], planted[id]) << id;
      ++found;
    } else {
      other += canned.contains(id) ? 0 : 1;
    }
  }
  EXPECT_EQ(planted.size(), 16u);
  EXPECT_GE(found, 15u);
  EXPECT_LE(other, 4u);
  EXPECT_TRUE(lines(run.folder / "out/dropped.jsonl").empty());
}

// The same with the real tokenizer and template: too long and not representable are found, too.
TEST(Prepare, DemoCorpusWithSmolLm2) {
  DECANT_NEEDS_SHARED("conformance/golden/tokenizer/smollm2.tokenizer.json.xz");
  const auto golden = test::shared_folder() / "conformance/golden";
  const auto tokenizer =
      tokenizer_from_json(test::unpacked(golden / "tokenizer/smollm2.tokenizer.json.xz"), "smollm2");
  Job run(test::scratch_folder());
  run.config.inputs = {fs::absolute("recipes/quickstart/corpus").string()};
  run.config.sequence_length = 512;
  run.config.max_bad_fraction = 0.05;
  run.config.held_out_fraction = 0.1;
  const auto smol = chat_template_from_text(
      read_json(golden / "smollm2/tokenizer_cases.json")["chat_template"].get<std::string>(), "smollm2");
  const Json counts =
      prepare_corpus(run.config, run.folder, *tokenizer, *smol, "2026-10", run.folder / "out");
  std::set<std::string> expected, found;
  const Json planted = read_json("recipes/quickstart/corpus/planted.json");
  for (const auto& [file, facts] : planted.items())
    for (const char* kind : {"too_long", "not_representable"})
      if (facts["planted"].contains(kind))
        for (const Json& p : facts["planted"][kind])
          expected.insert(
              concat(kind, " ", fs::path(file).filename().string(), " ", p["line"].get<int64_t>()));
  for (const Json& bad : lines(run.folder / "out/quarantine.jsonl"))
    if (bad["reason"] == "too_long" || bad["reason"] == "not_representable")
      found.insert(concat(bad["reason"].get<std::string>(), " ",
                          fs::path(bad["file"].get<std::string>()).filename().string(), " ",
                          bad["line"].get<int64_t>()));
  EXPECT_EQ(expected.size(), 4u);
  EXPECT_EQ(found, expected);
  EXPECT_EQ(counts["kept"], 511);
  EXPECT_EQ(counts["train"].get<int64_t>() + counts["held_out"].get<int64_t>(), 511);
  EXPECT_GT(counts["held_out"].get<int64_t>(), 20);
}

}  // namespace
}  // namespace decant
