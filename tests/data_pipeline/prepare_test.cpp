#include "data_pipeline/prepare.h"

#include <tbb/global_control.h>

#include <cstdlib>
#include <map>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "data_pipeline/shard.h"
#include "tests/data_pipeline/byte_tokenizer.h"
#include "tests/data_pipeline/tokenizer_support.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {
namespace fs = std::filesystem;

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
    config.inputs = {"in"};
    config.sequence_length = 128;
    config.max_bad_fraction = 1;
    config.held_out_fraction = 0;
  }
  Json operator()(const std::string& out = "out") const {
    return prepare_corpus(config, folder, test::ByteTokenizer(), *chat_template, "2026-02", folder / out);
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

std::map<std::string, std::string> files_below(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(folder).string()] = read_file(entry.path());
  return files;
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
  EXPECT_EQ(counts["pii"].dump(), R"({"email":1,"mobile":1,"id_card":0})");
  EXPECT_EQ(counts["tenants"]["shop"]["train"], 2);
  EXPECT_EQ(counts["tenants"]["other"]["train"], 1);

  int seen = 0;
  for (const Json& bad : lines(run.folder / "out/quarantine.jsonl")) {
    EXPECT_EQ(bad["file"], "in/x.jsonl");
    const auto offset = bad["byte_offset"].get<size_t>();
    if (bad.contains("record")) {
      const auto record = bad["record"].get<std::string>();
      EXPECT_EQ(text.substr(offset, record.size()), record);
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
  EXPECT_EQ(counts["quarantined"].dump(), R"({"not_renderable":5})");
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
  write_file(run.folder / "in/x.jsonl", corpus(0, 400));
  Json first;
  {
    const tbb::global_control one(tbb::global_control::max_allowed_parallelism, 1);
    first = run("one");
  }
  EXPECT_EQ(run("four").dump(), first.dump());
  Job moved(run.folder / "elsewhere");
  moved.config.held_out_fraction = 0.2;
  write_file(moved.folder / "in/x.jsonl", corpus(0, 400));
  EXPECT_EQ(moved("out").dump(), first.dump());
  const auto files = files_below(run.folder / "one");
  EXPECT_EQ(files.size(), 2u + 4 + 8);  // two lists, two tenants on two sides: conversations, index and shard
  EXPECT_EQ(files, files_below(run.folder / "four"));
  EXPECT_EQ(files, files_below(moved.folder / "out"));
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
