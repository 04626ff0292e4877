// What can be asked of a corpus through the program: why a document is where it is, what is in a text, and to
// forget a customer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/support/run_decant.h"
#include "tests/support/shared.h"

namespace decant::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const std::string kRecipe = fs::absolute("recipes/tiny/monthly.yaml").string();

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(Json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return lines;
}

TEST(Inspect, WhyADocumentIsWhereItIs) {
  const fs::path scratch = scratch_folder();
  const Ran prepared = run_decant({"prepare", kRecipe, "--threads", "1"}, {scratch});
  ASSERT_EQ(prepared.status, 0) << prepared.err;
  const Ran why = run_decant({"inspect", "runs/tiny/2026-10", "--why", "acme-000"}, {scratch});
  EXPECT_EQ(why.status, 0) << why.err;
  EXPECT_THAT(why.out, ::testing::HasSubstr("acme-000 of tenant acme, "));
  EXPECT_THAT(why.out, ::testing::HasSubstr(": kept, "));
  const Ran nobody = run_decant({"inspect", "runs/tiny/2026-10/corpus", "--why", "nobody"}, {scratch});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_THAT(nobody.err, ::testing::HasSubstr("no document has the id 'nobody'"));
}

TEST(Prepare, ABrokenContractIsExitStatusThree) {
  const fs::path scratch = scratch_folder();
  const Ran broken =
      run_decant({"prepare", kRecipe, "--threads", "1", "corpus.contract.min_packing=1"}, {scratch});
  EXPECT_EQ(broken.status, 3) << broken.err;
  EXPECT_THAT(broken.err, ::testing::HasSubstr("'corpus.contract.min_packing': expected at least 1"));
  EXPECT_TRUE(fs::exists(scratch / "runs/tiny/2026-10/corpus/report.html"));
}

TEST(Erase, ACustomerIsGoneAndWhatLearnedFromThemIsListed) {
  const fs::path scratch = scratch_folder();
  const Ran first = run_decant({"run", kRecipe, "--threads", "1"}, {scratch});
  ASSERT_EQ(first.status, 0) << first.err;
  const fs::path corpus = scratch / "runs/tiny/2026-10/corpus";
  const auto conversations = [&] {
    std::multiset<std::string> customers;
    for (const char* side : {"train", "held_out"})
      for (const Json& c : json_lines(slurp(corpus / "conversations" / side / "acme.jsonl")))
        customers.insert(c["customer"].get<std::string>());
    return customers;
  };
  std::string customer;  // one that was trained on
  for (const Json& c : json_lines(slurp(corpus / "conversations/train/acme.jsonl"))) customer = c["customer"];
  const auto before = conversations();
  ASSERT_GT(before.count(customer), 0U);

  const Ran erased = run_decant({"erase", kRecipe, "--customer", customer, "--threads", "1"}, {scratch});
  ASSERT_EQ(erased.status, 0) << erased.err;
  const auto report = json_lines(erased.out);
  ASSERT_EQ(report.size(), 2U);  // the month, and all together
  EXPECT_EQ(report[0]["documents"], before.count(customer));
  const Json& proof = report[1]["proof"];
  EXPECT_TRUE(proof["found"].empty()) << proof;
  EXPECT_GT(proof["files"], 20);
  EXPECT_GT(proof["traces"], 10);
  // Copies of the data are gone with it, models that learned from it are listed.
  EXPECT_THAT(report[0]["removed_steps"].dump(), ::testing::HasSubstr("distill/rows"));
  EXPECT_FALSE(fs::exists(scratch / "runs/tiny/2026-10/distill/rows"));
  EXPECT_FALSE(fs::exists(scratch / "runs/tiny/erasing.json"));
  std::string learned = report[1]["trained_on"].dump();
  for (const char* step : {"distill/student", "lora/acme", "export"})
    EXPECT_THAT(learned, ::testing::HasSubstr(step));
  EXPECT_EQ(conversations().count(customer), 0U);
  EXPECT_EQ(conversations().size(), before.size() - before.count(customer));

  // The corpus is done; the run goes on from it and the customer stays away.
  const Ran prepared = run_decant({"prepare", kRecipe, "--threads", "1"}, {scratch});
  EXPECT_EQ(prepared.status, 0) << prepared.err;
  EXPECT_EQ(prepared.out.substr(0, 13), "nothing to do") << prepared.err;
  EXPECT_EQ(conversations().count(customer), 0U);
  // A second erasure finds nothing left; another name is an error.
  const Ran again = run_decant({"erase", kRecipe, "--customer", customer, "--threads", "1"}, {scratch});
  EXPECT_EQ(again.status, 0) << again.err;
  const auto nothing = json_lines(again.out);
  ASSERT_EQ(nothing.size(), 1U);
  EXPECT_EQ(nothing[0]["documents"], 0);
  EXPECT_TRUE(nothing[0]["proof"]["found"].empty());
  const Ran nobody = run_decant({"erase", kRecipe, "--customer", "nobody-here", "--threads", "1"}, {scratch});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_THAT(nobody.err, ::testing::HasSubstr("no corpus has a document of this customer"));
}

// Two months of a shop with one index of duplicates; what ann asked in the first one, bob asks in the second.
class TwoMonths : public ::testing::Test {
 protected:
  void SetUp() override {
    scratch_ = scratch_folder();
    const std::vector<std::string> words = {"parcel", "invoice",  "refund",  "address", "courier", "voucher",
                                            "window", "delivery", "account", "letter",  "basket",  "garden"};
    const auto text = [&](int seed) {
      std::string out;
      for (int i = 0; i < 14; ++i) {
        seed = (seed * 7919 + 104729) % 1000003;
        out += words[static_cast<size_t>(seed) % words.size()] + std::to_string(seed % 97) + " ";
      }
      return out;
    };
    const auto line = [&](const std::string& id, const std::string& customer, int seed) {
      const Json json = {{"id", id},
                         {"tenant", "shop"},
                         {"customer", customer},
                         {"messages",
                          {{{"role", "user"}, {"content", "Please look at " + text(seed)}},
                           {{"role", "assistant"}, {"content", "We will see to " + text(seed + 1)}}}}};
      return json.dump() + "\n";
    };
    std::string october = line("ann-1", "customer-ann", 5000), november = line("bob-1", "customer-bob", 5000);
    for (int i = 0; i < 40; ++i) {
      october += line("o-" + std::to_string(i), "customer-" + std::to_string(i % 9), 10 + 3 * i);
      november += line("n-" + std::to_string(i), "customer-" + std::to_string(i % 9), 1000 + 3 * i);
    }
    spill(scratch_ / "2026-10.jsonl", october);
    spill(scratch_ / "2026-11.jsonl", november);
    spill(scratch_ / "ann.txt", line("ann-1", "customer-ann", 5000));
  }

  std::vector<std::string> verb(const std::string& name, const std::string& period,
                                std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {name,
                                      kRecipe,
                                      "--threads",
                                      "1",
                                      "period=" + period,
                                      "distill=null",
                                      "lora=null",
                                      "evaluate=null",
                                      "export=null",
                                      "corpus.inputs=[" + (scratch_ / (period + ".jsonl")).string() + "]",
                                      "corpus.sequence_length=512",
                                      "model.random.max_position_embeddings=512",
                                      "corpus.held_out_fraction=0.2",
                                      "corpus.duplicates.near=true",
                                      "corpus.duplicates.index=" + (scratch_ / "index").string()};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  void prepare() const {
    for (const char* period : {"2026-10", "2026-11"}) {
      const Ran ran = run_decant(verb("prepare", period), {scratch_});
      ASSERT_EQ(ran.status, 0) << ran.err;
    }
  }

  std::string learned(const std::string& period) const {
    std::string all;
    for (const auto& entry :
         fs::recursive_directory_iterator(scratch_ / "runs/tiny" / period / "corpus/conversations"))
      if (entry.is_regular_file()) all += slurp(entry.path());
    return all;
  }

  // Bytes of what a month is, but for times.
  std::map<std::string, std::string> bytes() const {
    std::map<std::string, std::string> files;
    for (const char* part : {"runs/tiny/2026-10/corpus", "runs/tiny/2026-11/corpus", "index"})
      for (const auto& entry : fs::recursive_directory_iterator(scratch_ / part))
        if (entry.is_regular_file()) files[entry.path().string()] = slurp(entry.path());
    return files;
  }

  fs::path scratch_;
};

TEST_F(TwoMonths, WhatWasDroppedAsACopyOfAnErasedDocumentComesBack) {
  prepare();
  EXPECT_THAT(learned("2026-10"), ::testing::HasSubstr("ann-1"));
  EXPECT_THAT(learned("2026-11"), ::testing::Not(::testing::HasSubstr("bob-1")));
  const auto erase = verb("erase", "2026-10", {"--customer", "customer-ann"});
  // A copy that is no output of ours: the proof says where it is, and what it searches for is kept until
  // then.
  const fs::path copy = scratch_ / "runs/tiny/2026-11/copy.txt";
  spill(copy, slurp(scratch_ / "ann.txt"));
  const Ran left = run_decant(erase, {scratch_});
  EXPECT_EQ(left.status, 1);
  EXPECT_THAT(left.err, ::testing::HasSubstr("something of the customer is left"));
  EXPECT_THAT(left.err, ::testing::HasSubstr("copy.txt, byte "));
  fs::remove(copy);
  const Ran erased = run_decant(erase, {scratch_});
  ASSERT_EQ(erased.status, 0) << erased.err;
  const auto report = json_lines(erased.out);
  ASSERT_EQ(report.size(), 3U) << erased.out;
  EXPECT_EQ(report[0]["documents"], 1);
  EXPECT_EQ(report[1]["documents"], 0);
  EXPECT_EQ(report[1]["readmitted"], 1);
  EXPECT_TRUE(report[2]["proof"]["found"].empty());
  EXPECT_THAT(learned("2026-10"), ::testing::Not(::testing::HasSubstr("ann-1")));
  EXPECT_THAT(learned("2026-11"), ::testing::HasSubstr("bob-1"));
  for (const auto& [file, content] : bytes()) EXPECT_EQ(content.find("ann-1"), std::string::npos) << file;
  const Ran again = run_decant(erase, {scratch_});
  EXPECT_EQ(again.status, 0) << again.err;
  EXPECT_EQ(json_lines(again.out).back()["documents"], 0);
}

TEST_F(TwoMonths, AKilledErasureIsEndedByTheNext) {
  prepare();
  const auto erase = verb("erase", "2026-10", {"--customer", "customer-ann"});
  const fs::path before = scratch_ / "before";
  const auto save = [&](const fs::path& to) {
    fs::remove_all(to);
    fs::create_directories(to);
    for (const char* part : {"runs", "index"})
      fs::copy(scratch_ / part, to / part, fs::copy_options::recursive);
  };
  const auto restore = [&] {
    for (const char* part : {"runs", "index"}) {
      fs::remove_all(scratch_ / part);
      fs::copy(before / part, scratch_ / part, fs::copy_options::recursive);
    }
  };
  save(before);
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_EQ(run_decant(erase, {scratch_}).status, 0);
  auto whole =
      std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  const auto expected = bytes();
  // Shorter waits after a run that ended first: the calm run may have met a moment when the machine was slow.
  for (int i = 1; i <= 8 && whole.count() > 9;) {
    restore();
    RunOptions options{scratch_};
    options.kill = whole * i / 9;
    const bool was_killed = run_decant(erase, options).status == 128 + SIGKILL;
    const Ran ran = run_decant(erase, {scratch_});
    ASSERT_EQ(ran.status, 0) << i << ran.err;
    const auto found = bytes();
    for (const auto& [file, content] : expected)
      EXPECT_TRUE(found.contains(file) && found.at(file) == content) << file << " after kill " << i;
    EXPECT_EQ(found.size(), expected.size());
    EXPECT_FALSE(fs::exists(scratch_ / "runs/tiny/erasing.json"));
    if (was_killed)
      ++i;
    else
      whole = whole * 3 / 4;
  }
  EXPECT_GT(whole.count(), 9);
}

// Two months, the second of which replays the first: a customer who is erased is gone from both, and from the
// ledger of the split.
TEST(Erase, ACustomerDoesNotComeBackByReplay) {
  const fs::path scratch = scratch_folder();
  const fs::path tiny = fs::absolute("recipes/tiny/corpus");
  const auto arguments = [&](const std::string& verb, const std::string& period, const std::string& tenant) {
    return std::vector<std::string>{verb,
                                    kRecipe,
                                    "--threads",
                                    "1",
                                    "period=" + period,
                                    "corpus.inputs=[" + (tiny / (tenant + ".jsonl")).string() + "]",
                                    "corpus.split.ledger=sides",
                                    "corpus.mix.replay_from=[runs/tiny/*/corpus]",
                                    "corpus.mix.replay_tokens=100000",
                                    "lora.tenants=[" + tenant + "]"};
  };
  for (const auto& [period, tenant] : {std::pair("2026-09", "acme"), std::pair("2026-10", "zen")}) {
    const Ran ran = run_decant(arguments("prepare", period, tenant), {scratch});
    ASSERT_EQ(ran.status, 0) << ran.err;
  }
  const fs::path september = scratch / "runs/tiny/2026-09/corpus",
                 october = scratch / "runs/tiny/2026-10/corpus";
  const auto lines = [&](const fs::path& corpus) {
    return json_lines(slurp(corpus / "conversations/train/acme.jsonl"));
  };
  ASSERT_EQ(lines(september), lines(october));  // all of it is replayed
  const std::string customer = lines(september).front()["customer"];
  const auto has = [&](const fs::path& corpus) {
    const auto all = lines(corpus);
    return std::any_of(all.begin(), all.end(), [&](const Json& c) { return c["customer"] == customer; });
  };
  const auto ledger = fs::file_size(scratch / "sides/acme.split");
  const Ran again = run_decant(arguments("prepare", "2026-10", "zen"), {scratch});
  EXPECT_EQ(again.out.substr(0, 13), "nothing to do") << again.err;

  auto erase = arguments("erase", "2026-10", "zen");
  erase.insert(erase.end(), {"--customer", customer});
  const Ran erased = run_decant(erase, {scratch});
  ASSERT_EQ(erased.status, 0) << erased.err;
  const auto report = json_lines(erased.out);
  ASSERT_EQ(report.size(), 3U);  // the months and the whole
  EXPECT_GT(report[0]["documents"], 0);
  EXPECT_EQ(report[1]["documents"], 0);
  EXPECT_GT(report[2]["proof"]["files"], 5);  // of both months
  EXPECT_EQ(report[2]["proof"]["found"], Json::array());
  EXPECT_FALSE(has(september));
  EXPECT_FALSE(has(october));
  EXPECT_EQ(lines(september), lines(october));
  EXPECT_FALSE(lines(october).empty());
  // The customer and each document are forgotten.
  EXPECT_EQ(fs::file_size(scratch / "sides/acme.split"),
            ledger - 8 * (1 + report[0]["documents"].get<uintmax_t>()));
}

TEST(Annotate, ALineALine) {
  const fs::path scratch = scratch_folder();
  RunOptions options{scratch};
  options.input =
      R"({"id":"a","messages":[{"role":"user","content":"call me: 13812345678, please"},{"role":"assistant","content":"We will call you tomorrow."}]})"
      "\n"
      R"({"id":"b","text":"你好，我的订单什么时候发货？"})"
      "\n"
      R"("The parcel was sent to the old address although I changed it in my account last week")"
      "\n"
      R"({"id":"d","text":"The parcel was sent to the old address although I changed it in my account last week."})"
      "\n{\n";
  const Ran ran = run_decant({"annotate"}, options);
  ASSERT_EQ(ran.status, 0) << ran.err;
  const auto lines = json_lines(ran.out);
  ASSERT_EQ(lines.size(), 5U);
  EXPECT_EQ(lines[0]["id"], "a");
  EXPECT_EQ(lines[0]["language"], "en");
  ASSERT_EQ(lines[0]["pii"].size(), 1U);
  EXPECT_EQ(lines[0]["pii"][0].dump(), R"({"begin":9,"end":20,"message":0,"type":"mobile"})");
  EXPECT_EQ(lines[0]["duplicate_root"], "a");
  EXPECT_TRUE(lines[0]["quality"].contains("dup_line_fraction"));
  EXPECT_EQ(lines[1]["language"], "zh");
  EXPECT_EQ(lines[2]["id"], "line-3");
  EXPECT_EQ(lines[3]["duplicate_root"], "line-3");
  EXPECT_EQ(lines[4]["id"], "line-5");
  EXPECT_TRUE(lines[4].contains("error"));
}

}  // namespace
}  // namespace decant::test
