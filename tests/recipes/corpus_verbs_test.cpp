// What can be asked of a corpus through the program: why a document is where it is, what is in a text, and to
// forget a customer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
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
  ASSERT_EQ(report.size(), 1U);
  EXPECT_EQ(report[0]["documents"], before.count(customer));
  EXPECT_TRUE(report[0]["found"].empty()) << report[0]["found"];
  EXPECT_GT(report[0]["scanned_files"], 5);
  std::string learned = report[0]["trained_on"].dump();
  for (const char* step : {"distill/student", "lora/acme", "export"})
    EXPECT_THAT(learned, ::testing::HasSubstr(step));
  EXPECT_EQ(conversations().count(customer), 0U);
  EXPECT_EQ(conversations().size(), before.size() - before.count(customer));

  // The corpus is done; the run goes on from it and the customer stays away.
  const Ran prepared = run_decant({"prepare", kRecipe, "--threads", "1"}, {scratch});
  EXPECT_EQ(prepared.status, 0) << prepared.err;
  EXPECT_EQ(prepared.out.substr(0, 13), "nothing to do") << prepared.err;
  EXPECT_EQ(conversations().count(customer), 0U);
  const Ran again = run_decant({"erase", kRecipe, "--customer", customer, "--threads", "1"}, {scratch});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.err, ::testing::HasSubstr("no corpus has a document of this customer"));
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
  ASSERT_EQ(report.size(), 2U);
  EXPECT_GT(report[0]["documents"], 0);
  EXPECT_EQ(report[1]["documents"], 0);
  EXPECT_GT(report[1]["scanned_files"], 5);  // looked at all the same
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
