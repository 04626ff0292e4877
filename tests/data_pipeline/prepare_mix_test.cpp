// What the corpus step does from month to month: sides that stay, the mix of sources, replay of earlier
// months, canned replies, withdrawn answers.
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/random.h"
#include "data_pipeline/cluster_split.h"
#include "data_pipeline/erase_customer.h"
#include "data_pipeline/explain.h"
#include "data_pipeline/ledger.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/shard.h"
#include "data_pipeline/split.h"
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

std::string line_of(const std::string& id, const std::string& customer, const std::vector<std::string>& turns,
                    const std::string& tenant = "t", const Json& meta = Json()) {
  Json json = {{"id", id}, {"tenant", tenant}, {"customer", customer}, {"messages", Json::array()}};
  for (size_t i = 0; i < turns.size(); ++i)
    json["messages"].push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", turns[i]}});
  if (!meta.is_null()) json["meta"] = meta;
  return json.dump() + "\n";
}

// Words that say which document they are of, so that no two are near-duplicates.
std::string words(uint64_t seed, int64_t count = 12) {
  std::string text;
  for (int64_t i = 0; i < count; ++i) {
    const auto draw = philox(seed, 77, static_cast<uint64_t>(i));
    for (int k = 0; k < 5; ++k) text += static_cast<char>('a' + (draw[0] >> (5 * k)) % 26);
    text += i + 1 < count ? ' ' : '.';
  }
  return text;
}

// Whose document it is, of those that month_of() makes ("t/a-12").
std::string customer_of(const std::string& name) {
  return "customer" + std::to_string(std::stoull(name.substr(name.rfind('-') + 1)) * 7 % 60);
}

// Documents `from` to `to` of a month, of 60 customers and two tenants.
std::string month_of(const std::string& name, uint64_t from, uint64_t to) {
  std::string text;
  for (uint64_t i = from; i < to; ++i) {
    const std::string id = name + "-" + std::to_string(i);
    text +=
        line_of(id, customer_of(id), {words(xxh3_64(id)), words(xxh3_64(id, 1))}, i % 3 == 0 ? "red" : "t");
  }
  return text;
}

struct Months {
  fs::path folder;
  CorpusConfig config;
  std::unique_ptr<ChatTemplate> chat_template = chat_template_from_text(chatml_template_text(), "test");
  test::ByteTokenizer tokenizer;
  Erasure erasure;
  StoreLimits limits;

  explicit Months(fs::path where) : folder(std::move(where)) {
    set_log_level(LogLevel::kError);
    set_progress_quiet(true);
    config.sequence_length = 512;
    config.max_bad_fraction = 1;
    config.held_out_fraction = 0.2;
    config.filter.presets = {};
    config.duplicates.near = false;
  }

  CorpusJob job(const std::string& period) const {
    return {corpus_files(config, folder), period, folder, &tokenizer, chat_template.get(), limits, erasure};
  }
  // The month's files are those below in/<period>.
  Json operator()(const std::string& period, const std::string& out = "") {
    if (config.sources.empty()) config.inputs = {"in/" + period};
    return prepare_corpus(config, job(period), folder / "runs" / (out.empty() ? period : out));
  }
  fs::path corpus(const std::string& out) const { return folder / "runs" / out; }
  void write(const std::string& period, const std::string& text, const std::string& file = "x.jsonl") const {
    write_file(folder / "in" / period / file, text);
  }
};

std::vector<Json> lines(const fs::path& path) {
  std::vector<Json> rows;
  if (!fs::exists(path)) return rows;
  const std::string text = read_file(path);
  for (size_t at = 0, end; at < text.size(); at = end + 1) {
    end = text.find('\n', at);
    rows.push_back(parse_json(text.substr(at, end - at), path.string()));
  }
  return rows;
}

// Side of each conversation, "tenant/id".
std::map<std::string, std::string> sides_of(const fs::path& corpus) {
  std::map<std::string, std::string> sides;
  for (const char* side : {"train", "held_out"}) {
    if (!fs::is_directory(corpus / "conversations" / side)) continue;
    for (const auto& entry : fs::directory_iterator(corpus / "conversations" / side))
      for (const Json& c : lines(entry.path()))
        sides[c["tenant"].get<std::string>() + "/" + c["id"].get<std::string>()] = side;
  }
  return sides;
}

// How often each document stands in the shards of a side.
std::map<std::string, int> copies_of(const fs::path& corpus, const std::string& side = "train") {
  std::map<std::string, int> copies;
  for (const auto& entry : fs::directory_iterator(corpus / "shards" / side)) {
    const ShardReader reader(entry.path());
    for (int64_t r = 0; r < reader.rows(); ++r)
      for (const auto& d : reader.row(r)) ++copies[entry.path().filename().string() + "/" + d.id];
  }
  return copies;
}

std::map<std::string, fs::file_time_type> times_below(const fs::path& folder) {
  std::map<std::string, fs::file_time_type> times;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    times[entry.path().string()] = fs::last_write_time(entry.path());
  return times;
}

std::string why(const fs::path& corpus, const std::string& id) {
  std::string all;
  for (const LedgerEntry& e : ledger_entries(corpus / "ledger.sqlite", id))
    all += concat(e.fate, " ", e.stage, " ", e.reason, ": ", e.detail, "; ");
  return all;
}

// --- sides

TEST(PrepareSplit, WithoutALedgerSidesAreTheHashesOfCustomers) {
  Months run(test::scratch_folder());
  run.write("2026-01", month_of("a", 0, 400));
  run("2026-01");
  int seen = 0;
  for (const auto& [name, side] : sides_of(run.corpus("2026-01"))) {
    const std::string tenant = name.substr(0, name.find('/'));
    EXPECT_EQ(side == "held_out", is_held_out("decant", tenant, customer_of(name), "", 0.2)) << name;
    ++seen;
  }
  EXPECT_EQ(seen, 400);
  EXPECT_FALSE(fs::exists(run.folder / "sides"));
}

TEST(PrepareSplit, TheLedgerKeepsEverySideForEver) {
  Months run(test::scratch_folder());
  run.config.split.ledger = "sides";
  run.config.duplicates.near = true;
  run.config.duplicates.index = "index";
  run.write("2026-01", month_of("a", 0, 300));
  const Json january = run("2026-01");
  const auto before = sides_of(run.corpus("2026-01"));
  const auto bytes = files_below(run.corpus("2026-01"));
  EXPECT_GT(january["held_out"].get<int64_t>(), 20);
  EXPECT_TRUE(fs::exists(run.folder / "sides/t.split"));
  // No customer's name is in it.
  EXPECT_EQ(read_file(run.folder / "sides/t.split").find("customer"), std::string::npos);

  // The month once more, anew: the same bytes.
  EXPECT_EQ(run("2026-01", "again").dump(), january.dump());
  EXPECT_THAT(differing_files(run.corpus("again"), run.corpus("2026-01")), ::testing::IsEmpty());

  // Another month with another fraction; then the first again, with one more file.
  run.config.held_out_fraction = 0.6;
  run.write("2026-02", month_of("b", 0, 200) + line_of("new", "nobody before", {words(1), words(2)}));
  run("2026-02");
  for (const auto& [name, side] : sides_of(run.corpus("2026-02"))) {
    if (name == "t/new") continue;
    // Customers of January stay where they were, whatever the fraction is now.
    const bool held = is_held_out("decant", name.substr(0, name.find('/')), customer_of(name), "", 0.2);
    EXPECT_EQ(side == "held_out", held) << name;
  }
  run.write("2026-01", month_of("z", 0, 50), "y.jsonl");
  run("2026-01");
  const auto after = sides_of(run.corpus("2026-01"));
  EXPECT_EQ(before.size(), 300u);
  EXPECT_EQ(after.size(), 350u);
  for (const auto& [name, side] : before) EXPECT_EQ(after.at(name), side) << name;

  run.config.split_salt = "other";
  EXPECT_ERROR(run("2026-01"), "another salt");
}

TEST(PrepareSplit, ADocumentBetweenTheSidesIsLeftOutAndSaid) {
  Months run(test::scratch_folder());
  run.config.split.ledger = "sides";
  run.config.duplicates.near = true;
  run.config.held_out_fraction = 0.5;
  // A customer on either side, each with a document of their own.
  std::string held, train;
  for (int i = 0; held.empty() || train.empty(); ++i) {
    const std::string customer = "c" + std::to_string(i);
    (is_held_out("decant", "t", customer, "", 0.5) ? held : train) = customer;
  }
  const std::string question = words(1, 40), answer = words(2, 40);
  run.write("2026-01", line_of("m", held, {question, answer}) + line_of("x", train, {words(3), words(4)}));
  run("2026-01");
  EXPECT_EQ(sides_of(run.corpus("2026-01")).at("t/m"), "held_out");
  // A document with an earlier id takes its place, of a customer that is trained on.
  run.write("2026-01", line_of("a", train, {question, answer + " Bye."}), "y.jsonl");
  const Json counts = run("2026-01");
  EXPECT_EQ(counts["near_duplicate"], 1);
  EXPECT_EQ(counts["dropped"]["split_conflict"], 1) << counts["dropped"];
  EXPECT_EQ(counts["split"]["t"]["conflicts"], 1);
  EXPECT_EQ(
      why(run.corpus("2026-01"), "a"),
      "dropped split split_conflict: its customer or its near-duplicates are trained on and held out; ");
  EXPECT_THAT(explain_document(run.corpus("2026-01"), "a").at(1), ::testing::HasSubstr("split_conflict"));
  // Without a ledger nobody knows, and it is trained on.
  run.config.split.ledger = "";
  EXPECT_EQ(run("2026-01", "alone")["dropped"].dump(), "{}");
}

TEST(PrepareSplit, WhatComesBackIsWhereItsClusterWas) {
  Months run(test::scratch_folder());
  run.config.split.ledger = "sides";
  run.config.duplicates.near = true;
  run.config.duplicates.index = "index";
  run.config.held_out_fraction = 0.5;
  const std::string secret = corpus_secret(run.config);
  // Documents without customers: their own ids decide. One is on the other side than its twin would be.
  std::string held, train;
  for (int i = 0; held.empty() || train.empty(); ++i) {
    const std::string id = "d" + std::to_string(i);
    (is_held_out("decant", "t", "", id, 0.5) ? held : train) = id;
  }
  const std::string question = words(1, 40), answer = words(2, 40);
  run.write("2026-01", line_of(held, "", {question, answer}) + line_of("other", "c", {words(8), words(9)}) +
                           month_of("a", 0, 30));
  run("2026-01");
  ASSERT_EQ(sides_of(run.corpus("2026-01")).at("t/" + held), "held_out");
  run.write("2026-02", line_of(train, "", {question, answer + " Bye."}) + month_of("b", 0, 30));
  EXPECT_EQ(run("2026-02")["near_duplicate"], 1);
  // January's index forgets its keeper (as an erasure does), and February's document is kept.
  fs::remove_all(run.folder / "index");
  EXPECT_EQ(run("2026-02", "anew")["near_duplicate"], 0);
  EXPECT_EQ(sides_of(run.corpus("anew")).at("t/" + train), "held_out");
}

// --- mix

TEST(PrepareMix, CopiesCapsAndReasons) {
  Months run(test::scratch_folder());
  run.config.held_out_fraction = 0;
  run.config.replace_pii = false;
  run.write("2026-01", month_of("a", 0, 60), "tickets.jsonl");
  run.write("2026-01", month_of("f", 0, 60), "faq.jsonl");
  SourceConfig tickets, faq;
  tickets.name = "tickets", tickets.paths = {"in/2026-01/tickets.jsonl"};
  faq.name = "faq", faq.paths = {"in/2026-01/faq.jsonl"};
  run.config.sources = {tickets, faq};
  const Json plain = run("2026-01");
  EXPECT_EQ(plain["train"], 120);
  const auto store = times_below(run.corpus("2026-01") / "store");

  run.config.mix.sources["faq"].weight = 2;
  run.config.mix.sources["tickets"].weight = 0.5;
  const Json mixed = run("2026-01");
  EXPECT_EQ(times_below(run.corpus("2026-01") / "store"), store);
  int faqs = 0, others = 0;
  const auto copies = copies_of(run.corpus("2026-01"));
  for (const auto& [name, n] : copies) {
    const bool is_faq = name.find("/f-") != std::string::npos;
    EXPECT_EQ(n, is_faq ? 2 : 1) << name;
    ++(is_faq ? faqs : others);
  }
  EXPECT_EQ(faqs, 60);
  EXPECT_GT(others, 15);
  EXPECT_LT(others, 45);
  EXPECT_EQ(mixed["dropped"]["source_weight"], 60 - others);
  EXPECT_EQ(mixed["train"], faqs + others);
  const Json& table = mixed["mix"]["tenants"]["t"]["sources"];
  EXPECT_EQ(table["faq"]["documents"], 40);
  EXPECT_EQ(table["faq"]["copies"], 80);
  int64_t tokens = 0;
  for (const auto& [tenant, of] : mixed["mix"]["tenants"].items()) tokens += of["tokens"].get<int64_t>();
  EXPECT_EQ(mixed["train_tokens"], tokens);
  EXPECT_EQ(why(run.corpus("2026-01"), "f-1"), "altered mix copies: 2; ");
  const std::string page = read_file(run.corpus("2026-01") / "report.html");
  EXPECT_THAT(page,
              ::testing::HasSubstr("<td>t</td><td>faq</td><td class=\"n\">40</td><td class=\"n\">80</td>"));
  // Each conversation stands once in the list that people read.
  EXPECT_EQ(sides_of(run.corpus("2026-01")).size(), static_cast<size_t>(faqs + others));

  run.config.mix.sources.clear();
  run.config.mix.max_documents_per_customer = 1;
  const Json capped = run("2026-01");
  EXPECT_GT(capped["dropped"]["customer_cap"].get<int64_t>(), 20);
  EXPECT_EQ(capped["in"].get<int64_t>(),
            capped["kept"].get<int64_t>() + capped["dropped"]["customer_cap"].get<int64_t>());

  run.config.mix = {};
  run.config.mix.sources["fag"].weight = 2;
  EXPECT_ERROR(run("2026-01"), "'fag', which is no source of the corpus (did you mean 'faq'?)");
  const auto validated = [](const char* yaml) {
    read_config<CorpusConfig>(parse_settings(yaml, "r.yaml"), "corpus");
  };
  EXPECT_ERROR(validated("inputs: [a]\nmix: {sources: {b: {weight: 1}}}"), "there are inputs");
  EXPECT_ERROR(validated("inputs: [a]\nmix: {replay: 0.5}"), "'corpus.mix.replay_from': names no corpus");
  EXPECT_ERROR(validated("inputs: [a]\nsplit: {max_held_out_component: 0}"), "above 0");
}

TEST(PrepareMix, WithdrawnAndOutOfDate) {
  Months run(test::scratch_folder());
  std::string text = month_of("a", 0, 40);
  text += line_of("old", "customer1", {"how long", "You have 14 days to send it back."});
  text += line_of("held", "customer0", {"how long", "You have 14 days to send it back, dear."});
  text += line_of("until", "c", {words(1), words(2)}, "t", {{"valid_until", "2025-12"}});
  text += line_of("from", "c", {words(3), words(4)}, "t", {{"valid_from", "2026-02"}});
  text += line_of("ever", "c", {words(5), words(6)}, "t",
                  {{"valid_from", "2026-01"}, {"valid_until", "9999-12"}});
  run.write("2026-01", text);
  run("2026-01");
  const auto store = times_below(run.corpus("2026-01") / "store");
  run.config.mix.withdrawn.push_back({"returns", "", "2025-06", "14 days to send it back"});
  const Json counts = run("2026-01");
  EXPECT_EQ(times_below(run.corpus("2026-01") / "store"), store);
  EXPECT_EQ(counts["dropped"].dump(), R"({"expired":1,"not_yet_valid":1,"withdrawn:returns":2})");
  EXPECT_EQ(why(run.corpus("2026-01"), "old"), "dropped mix withdrawn:returns: ; ");
  EXPECT_TRUE(sides_of(run.corpus("2026-01")).contains("t/ever"));
}

// --- replay

struct TwoMonths : Months {
  explicit TwoMonths(const fs::path& where) : Months(where) {
    config.split.ledger = "sides";
    write("2026-01", month_of("a", 0, 300));
    write("2026-02", month_of("b", 0, 200));
    (*this)("2026-01");
    config.mix.replay_from = {"runs/20*"};
    config.mix.replay = 0.3;
  }
};

TEST(PrepareReplay, EarlierMonthsComeBackWithinTheirQuota) {
  TwoMonths run(test::scratch_folder());
  const auto january = sides_of(run.corpus("2026-01"));
  std::map<std::string, int> last;
  for (const double replay : {0.1, 0.3, 0.8}) {
    run.config.mix.replay = replay;
    const Json counts = run("2026-02");
    EXPECT_EQ(counts["in"], 200);
    EXPECT_EQ(counts["kept"], 200);
    const auto copies = copies_of(run.corpus("2026-02"));
    int64_t replayed = 0;
    for (const auto& [name, n] : copies) {
      EXPECT_EQ(n, 1) << name;
      if (name.find("/a-") == std::string::npos) continue;
      ++replayed;
      EXPECT_EQ(january.at(name), "train") << name;  // held-out stays held out
    }
    EXPECT_EQ(counts["replayed"], replayed);
    EXPECT_GT(replayed, 5);
    for (const auto& [name, n] : last) EXPECT_TRUE(copies.contains(name)) << name;  // more only adds
    for (const char* tenant : {"t", "red"}) {
      const Json& of = counts["mix"]["tenants"][tenant];
      const auto again = of["replayed_tokens"].get<double>();
      EXPECT_LE(again, replay * (of["tokens"].get<double>() - again));
      EXPECT_EQ(of["tokens"], counts["tenants"][tenant]["train_tokens"]);
    }
    last = copies;
  }
  for (const auto& [name, n] : copies_of(run.corpus("2026-02"), "held_out"))
    EXPECT_NE(name.substr(name.find('/') + 1, 2), "a-") << name;
  const auto sides = sides_of(run.corpus("2026-02"));
  std::string id;
  for (const auto& [name, side] : sides)
    if (name.starts_with("t/a-")) id = name.substr(2);
  EXPECT_EQ(why(run.corpus("2026-02"), id), "replayed mix replay: of 2026-01; ");
  EXPECT_THAT(explain_document(run.corpus("2026-02"), id).at(0),
              ::testing::HasSubstr("replayed, of 2026-01"));
  EXPECT_EQ(read_json(run.corpus("2026-02") / "lineage.json")["replayed_from"].size(), 1u);

  // A third month knows both; the second's replayed documents are January's, and come from there once.
  run.write("2026-03", month_of("c", 0, 200));
  run.config.mix.replay = 50;
  run("2026-03");
  int a = 0, b = 0;
  for (const auto& [name, n] : copies_of(run.corpus("2026-03"))) {
    EXPECT_EQ(n, 1) << name;
    a += name.find("/a-") != std::string::npos ? 1 : 0;
    b += name.find("/b-") != std::string::npos ? 1 : 0;
  }
  EXPECT_EQ(a,
            std::count_if(january.begin(), january.end(), [](const auto& s) { return s.second == "train"; }));
  EXPECT_GT(b, 100);
  run.config.mix.replay_months = 1;
  run("2026-03");
  for (const auto& [name, n] : copies_of(run.corpus("2026-03")))
    EXPECT_EQ(name.find("/a-"), std::string::npos) << name;
}

TEST(PrepareReplay, SameBytesWhateverTheOrderTheThreadsAndTheKills) {
  TwoMonths run(test::scratch_folder());
  run.limits = {4000, 20000};
  run.config.canned_replies.most = 5;
  for (int f = 0; f < 4; ++f) {
    std::string text = month_of("b" + std::to_string(f), 0, 60);
    for (int i = 0; i < 30; ++i)
      text += line_of(concat("s", f, "-", i), concat("x", i),
                      {words(9000 + 100 * static_cast<uint64_t>(f) + static_cast<uint64_t>(i)),
                       "Thank you for your patience.",
                       words(20000 + 100 * static_cast<uint64_t>(f) + static_cast<uint64_t>(i)),
                       words(30000 + 100 * static_cast<uint64_t>(f) + static_cast<uint64_t>(i))});
    run.write("2026-02", text, concat("f", f, ".jsonl"));
  }
  const auto ledger = files_below(run.folder / "sides");
  const auto restore = [&] {
    fs::remove_all(run.folder / "sides");
    for (const auto& [name, bytes] : ledger) write_file(run.folder / "sides" / name, bytes);
  };
  Json first;
  for (const size_t threads : {1, 2, 4}) {
    restore();
    const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, threads);
    tbb::task_arena arena(static_cast<int>(threads));
    const std::string out = "out" + std::to_string(threads);
    const Json counts = arena.execute([&] { return run("2026-02", out); });
    if (threads == 1) first = counts;
    EXPECT_EQ(counts.dump(), first.dump()) << threads;
    EXPECT_THAT(differing_files(run.corpus(out), run.corpus("out1")), ::testing::IsEmpty()) << threads;
  }
  EXPECT_GT(first["replayed"].get<int64_t>(), 10);
  EXPECT_GT(first["canned_replies"]["t"]["muted"].get<int64_t>(), 50);
  const auto sides = files_below(run.folder / "sides");

  // Killed at any moment, also between the ledger and the corpus.
  restore();
  EXPECT_GE(test::killed_until_done([&] { run("2026-02", "killed"); }), 3);
  EXPECT_EQ(run("2026-02", "killed").dump(), first.dump());
  EXPECT_THAT(differing_files(run.corpus("killed"), run.corpus("out1")), ::testing::IsEmpty());
  EXPECT_EQ(files_below(run.folder / "sides"), sides);

  // The order of the files.
  restore();
  const auto expected = sides_of(run.corpus("out1"));
  const auto copies = copies_of(run.corpus("out1"));
  SourceConfig source;
  for (const char* file : {"f2", "x", "f0", "f3", "f1"})
    source.paths.push_back(concat("in/2026-02/", file, ".jsonl"));
  run.config.sources = {source};
  run.config.inputs = {};
  run("2026-02", "turned");
  EXPECT_EQ(sides_of(run.corpus("turned")), expected);
  EXPECT_EQ(copies_of(run.corpus("turned")), copies);
}

TEST(PrepareReplay, WhatIsErasedWithdrawnOrHeldOutByNowDoesNotComeBack) {
  TwoMonths run(test::scratch_folder());
  run.config.mix.replay = 50;
  run("2026-02");
  const auto all = copies_of(run.corpus("2026-02"));
  std::string document;
  for (const auto& [name, n] : all)
    if (name.starts_with("t/a-")) document = name.substr(2);
  const std::string customer = customer_of(document);

  // Erased, though January still has them.
  run.erasure.customers.insert(customer_tag(corpus_secret(run.config), "t", customer));
  const Json erased = run("2026-02");
  EXPECT_GT(erased["mix"]["replay_left_out"]["erased"].get<int64_t>(), 1);
  for (const auto& [name, side] : sides_of(run.corpus("2026-02")))
    if (name.starts_with("t/")) {
      EXPECT_NE(customer_of(name), customer);
    }
  run.erasure = {};

  run.config.mix.withdrawn.push_back({"rule", "", "", "", "", {document}});
  const Json withdrawn = run("2026-02");
  EXPECT_EQ(withdrawn["mix"]["replay_left_out"]["withdrawn"], 1);
  EXPECT_FALSE(copies_of(run.corpus("2026-02")).contains("t/" + document));
  EXPECT_EQ(why(run.corpus("2026-02"), document), "not replayed mix withdrawn: of 2026-01; ");
  run.config.mix.withdrawn.clear();

  // Without a ledger, and with more held out than in January.
  run.config.split.ledger = "";
  run.config.held_out_fraction = 0.5;
  EXPECT_GT(run("2026-02")["mix"]["replay_left_out"]["held_out"].get<int64_t>(), 20);
  for (const auto& [name, n] : copies_of(run.corpus("2026-02"))) {
    EXPECT_FALSE(is_held_out("decant", name.substr(0, name.find('/')), customer_of(name), "", 0.5)) << name;
  }
}

TEST(PrepareReplay, OnlyFinishedCorporaOfTheSameModel) {
  TwoMonths run(test::scratch_folder());
  run("2026-02");
  const auto store = times_below(run.corpus("2026-02") / "store");
  run.config.mix.replay_from = {"nowhere"};
  EXPECT_ERROR(run("2026-02"), "'nowhere' is no folder");
  run.config.mix.replay_from = {"none*"};
  EXPECT_EQ(run("2026-02")["replayed"], 0);  // a first month
  EXPECT_EQ(times_below(run.corpus("2026-02") / "store"), store);
  run.config.mix.replay_from = {"in/*"};
  EXPECT_ERROR(run("2026-02"), "is no corpus of this version");
  run.config.mix.replay_from = {"runs/2026-01"};
  run.chat_template = plain_template();
  EXPECT_ERROR(run("2026-02"), "was made with another chat template");
  run.chat_template = chat_template_from_text(chatml_template_text(), "test");
  ::setenv("DECANT_PII_KEY", "secret", 1);
  EXPECT_ERROR(run("2026-02"), "was made with another key of the surrogates");
  ::unsetenv("DECANT_PII_KEY");
  const std::string lineage = read_file(run.corpus("2026-01") / "lineage.json");
  fs::remove(run.corpus("2026-01") / "lineage.json");
  EXPECT_ERROR(run("2026-02"), "is no finished corpus: it has no lineage.json");
  write_file(run.corpus("2026-01") / "lineage.json", lineage);
  Json other = parse_json(lineage, "lineage");
  other["store"]["blocks_sha256"] = "0";
  write_json(run.corpus("2026-01") / "lineage.json", other);
  EXPECT_ERROR(run("2026-02"), "is not whole");
  write_file(run.corpus("2026-01") / "lineage.json", lineage);
  EXPECT_GT(run("2026-02")["replayed"].get<int64_t>(), 0);
}

// --- canned replies

// Weights of a document of a shard, with the text of those under loss.
std::string learned(const ShardDocument& document, const Tokenizer& tokenizer) {
  std::vector<int64_t> ids;
  for (size_t t = 0; t < document.tokens.size(); ++t)
    if (document.loss_weight[t] > 0) ids.push_back(document.tokens[t]);
  return tokenizer.decode(ids, false);
}

TEST(PrepareReplies, BeyondTheCapTheyAreContext) {
  DECANT_NEEDS_SHARED("conformance/golden/tokenizer/smollm2.tokenizer.json.xz");
  const auto golden = test::shared_folder() / "conformance/golden";
  const auto tokenizer =
      tokenizer_from_json(test::unpacked(golden / "tokenizer/smollm2.tokenizer.json.xz"), "smollm2");
  const auto smol = chat_template_from_text(
      read_json(golden / "smollm2/tokenizer_cases.json")["chat_template"].get<std::string>(), "smollm2");
  Months run(test::scratch_folder());
  run.config.held_out_fraction = 0.2;
  run.config.canned_replies = {3, 4};
  const auto canned = [](int i) { return concat("Thank you! Your ticket number is ", 1000 + i, "."); };
  std::string text;
  for (int i = 0; i < 30; ++i) {
    const auto seed = 100 * static_cast<uint64_t>(i);
    text += line_of(concat("long-", i), concat("customer", i),
                    {words(seed), canned(i), words(seed + 1), concat("Answer ", words(seed + 2))});
    text += line_of(concat("only-", i), concat("customer", i), {words(seed + 3), canned(100 + i)});
  }
  run.write("2026-01", text);
  run.config.inputs = {"in/2026-01"};
  CorpusJob job = run.job("2026-01");
  job.tokenizer = tokenizer.get();
  job.chat_template = smol.get();
  const auto prepare = [&](const char* out) { return prepare_corpus(run.config, job, run.corpus(out)); };
  run.config.canned_replies.most = 0;
  const Json all = prepare("all");
  run.config.canned_replies.most = 4;
  const Json counts = prepare("capped");
  EXPECT_EQ(counts["in"], 60);
  const Json& replies = counts["canned_replies"]["t"];
  EXPECT_EQ(replies["replies"], 1);
  EXPECT_EQ(replies["list"][0]["count"], all["train"]);  // one in each conversation that is trained on
  EXPECT_EQ(replies["muted"].get<int64_t>(), all["train"].get<int64_t>() - 4);
  EXPECT_EQ(counts.dump().find("ticket"), std::string::npos);
  const auto list = lines(run.corpus("capped") / "canned_replies.jsonl");
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0]["tenant"], "t");
  EXPECT_EQ(list[0].dump().find("ticket"), std::string::npos);

  const auto documents = [&](const char* out, const char* side) {
    std::map<std::string, ShardDocument> found;
    const ShardReader reader(run.corpus(out) / "shards" / side / "t");
    for (int64_t r = 0; r < reader.rows(); ++r)
      for (auto& d : reader.row(r)) found[d.id] = d;
    return found;
  };
  const auto before = documents("all", "train"), after = documents("capped", "train");
  int said = 0, muted = 0, dropped = 0;
  int64_t target_tokens = 0;
  for (const auto& [id, d] : before) {
    EXPECT_THAT(learned(d, *tokenizer), ::testing::HasSubstr("ticket")) << id;
    if (!after.contains(id)) {
      EXPECT_TRUE(id.starts_with("only-"));
      EXPECT_EQ(
          why(run.corpus("capped"), id),
          "dropped mix canned_reply: every answer in it is a canned reply beyond canned_replies.most; ");
      ++dropped;
      continue;
    }
    const ShardDocument& now = after.at(id);
    EXPECT_EQ(now.tokens, d.tokens) << id;  // it stays as context
    target_tokens +=
        std::count_if(now.loss_weight.begin(), now.loss_weight.end(), [](auto w) { return w > 0; });
    const std::string text_now = learned(now, *tokenizer);
    if (text_now.find("ticket") != std::string::npos) {
      EXPECT_EQ(now.loss_weight, d.loss_weight) << id;
      ++said;
      continue;
    }
    ++muted;
    EXPECT_TRUE(id.starts_with("long-"));
    // Exactly the other answer and its end of turn.
    EXPECT_TRUE(text_now.starts_with("Answer ")) << text_now;
    EXPECT_TRUE(text_now.ends_with("<|im_end|>\n") || text_now.ends_with("<|im_end|>")) << text_now;
    EXPECT_EQ(why(run.corpus("capped"), id), "altered mix canned_reply: not learned from: message 1; ");
  }
  EXPECT_EQ(said, 4);
  EXPECT_GT(muted, 10);
  EXPECT_GT(dropped, 10);
  EXPECT_EQ(counts["dropped"]["canned_reply"], dropped);
  EXPECT_EQ(counts["train_target_tokens"], target_tokens);
  // Held-out documents are measured on as they are, and the list for people says what has no weight.
  const auto held = documents("all", "held_out"), held_after = documents("capped", "held_out");
  ASSERT_EQ(held.size(), held_after.size());
  for (const auto& [id, d] : held) EXPECT_EQ(held_after.at(id).loss_weight, d.loss_weight);
  int weights = 0;
  for (const Json& c : lines(run.corpus("capped") / "conversations/train/t.jsonl"))
    if (c["messages"][1].contains("weight")) {
      EXPECT_EQ(c["messages"][1]["weight"], 0);
      ++weights;
    }
  EXPECT_EQ(weights, muted);
  // A larger cap only adds, and the inputs are not read again.
  const auto store = times_below(run.corpus("capped") / "store");
  run.config.canned_replies.most = 9;
  EXPECT_EQ(prepare("capped")["canned_replies"]["t"]["muted"].get<int64_t>(),
            all["train"].get<int64_t>() - 9);
  EXPECT_EQ(times_below(run.corpus("capped") / "store"), store);
  const auto more = documents("capped", "train");
  for (const auto& [id, d] : after) {
    if (learned(d, *tokenizer).find("ticket") != std::string::npos) {
      EXPECT_THAT(learned(more.at(id), *tokenizer), ::testing::HasSubstr("ticket"));
    }
  }
}

TEST(PrepareReplies, ReplayedDocumentsKeepTheWeightsOfTheirMonth) {
  Months run(test::scratch_folder());
  run.config.held_out_fraction = 0;
  run.config.canned_replies = {3, 4};
  std::string text;
  for (uint64_t i = 0; i < 20; ++i)
    text += line_of(concat("a-", i), concat("c", i),
                    {words(i), "Thanks for waiting.", words(100 + i), words(200 + i)});
  run.write("2026-01", text);
  run.write("2026-02", month_of("b", 0, 50));
  run("2026-01");
  run.config.mix.replay_from = {"runs/2026-01"};
  run.config.mix.replay = 50;
  run.config.canned_replies.most = 0;
  run("2026-02");
  int said = 0, seen = 0;
  const ShardReader reader(run.corpus("2026-02") / "shards/train/t");
  for (int64_t r = 0; r < reader.rows(); ++r)
    for (const auto& d : reader.row(r)) {
      if (!d.id.starts_with("a-")) continue;
      ++seen;
      said += learned(d, run.tokenizer).find("Thanks") != std::string::npos ? 1 : 0;
    }
  EXPECT_EQ(seen, 20);
  EXPECT_EQ(said, 4);
}

}  // namespace
}  // namespace decant
