#include "data_pipeline/erase.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/file.h"
#include "core/random.h"
#include "data_pipeline/cluster_split.h"
#include "data_pipeline/erase_customer.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

Conversation talk(const std::string& id, const std::string& customer, const std::string& answer) {
  Conversation c;
  c.id = id;
  c.tenant = "shop";
  c.customer = customer;
  c.messages = {{"user", "question of " + id + " about something particular", nullptr},
                {"assistant", answer, nullptr}};
  return c;
}

const std::string kCanned = "感谢您的咨询，祝您生活愉快，再见！感谢您的咨询，祝您生活愉快，再见！";

TEST(Erase, WhichDocumentsAreTheCustomers) {
  ErasureRequest request{"shop", {"Ann Lee", "surrogate-1"}, {"13812345678", "ann@x.org", "沪A12345"}};
  const auto reason = [&](const Conversation& c) { return erasure_reason(c, request); };
  EXPECT_EQ(reason(talk("1", "Ann Lee", "x")), ErasureReason::kCustomer);
  EXPECT_EQ(reason(talk("1", " Ann Lee\u200b", "x")), ErasureReason::kCustomer);
  EXPECT_EQ(reason(talk("1", "surrogate-1", "x")), ErasureReason::kCustomer);
  EXPECT_EQ(reason(talk("1", "Ann Leeson", "x")), ErasureReason::kNone);
  Conversation other = talk("1", "Ann Lee", "x");
  other.tenant = "bank";
  EXPECT_EQ(reason(other), ErasureReason::kNone);
  for (const char* text : {"电话13812345678。", "138-1234-5678", "138 1234 5678", "１３８１２３４５６７８",
                           "mail ANN@X.org now", "车牌沪a12345吗"})
    EXPECT_EQ(reason(talk("1", "b", text)), ErasureReason::kValue) << text;
  for (const char* text :
       {"138123456789", "0013812345678", "13812345679", "joann@x.org", "ann@x.orgs", "138--12345678"})
    EXPECT_EQ(reason(talk("1", "b", text)), ErasureReason::kNone) << text;
  Conversation call = talk("1", "b", "x");
  call.messages[1].tool_calls = Json::array({{{"arguments", {{"phone", 13812345678}}}}});
  EXPECT_EQ(reason(call), ErasureReason::kValue);
  Conversation meta = talk("1", "", "x");
  meta.meta = {{"contact", {{"mail", "ann@x.org"}}}};
  EXPECT_EQ(reason(meta), ErasureReason::kValue);
}

// A folder with what is kept, and traces of what was erased.
class ErasedFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = test::scratch_folder();
    for (int i = 0; i < 50; ++i)
      kept_.push_back(talk("kept-" + std::to_string(i), "c" + std::to_string(i % 7), kCanned));
    erased_ = {talk("gone-1", "c77", "您的订单 20240301 \"已\" 在路上，\n预计三天内送达上海市浦东新区"),
               talk("gone-2", "c77", kCanned)};
    std::string lines;
    for (const auto& c : kept_) lines += conversation_text(c) + "\n";
    write_file(folder_ / "corpus" / "a.jsonl", lines);
    write_file(folder_ / "ledger.sqlite", std::string(5000, '\0') + "kept-3" + std::string(3, '\0'));
  }
  ErasureTraces traces() const {
    ErasureTraces traces({"shop", {"c77"}, {"13812345678"}});
    for (const auto& c : erased_) traces.add(c);
    for (const auto& c : kept_) traces.keep(c);
    return traces;
  }
  // Where traces are found after `bytes` were put into a file.
  std::vector<Leftover> planted(const std::string& bytes, const ErasureTraces& traces) const {
    write_file(folder_ / "planted", std::string(3000, 'x') + " " + bytes + " " + std::string(100, 'y'));
    const ErasureReport report = scan_for_traces(traces, {folder_});
    EXPECT_EQ(report.files, 3u);
    EXPECT_EQ(report.clean(), report.found == 0);
    return report.leftovers;
  }
  std::filesystem::path folder_;
  std::vector<Conversation> kept_, erased_;
};

TEST_F(ErasedFolder, NothingIsLeft) {
  const ErasureTraces all = traces();
  EXPECT_EQ(all.documents(), 2u);
  EXPECT_EQ(all.documents_without_piece(), 0u);
  const ErasureReport report = scan_for_traces(all, {folder_});
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(report.files, 2u);
  EXPECT_GT(report.bytes, 5000u);
  EXPECT_FALSE(scan_for_traces(all, {}).clean());
  EXPECT_ERROR(scan_for_traces(all, {folder_ / "none"}), "not there");
}

TEST_F(ErasedFolder, FindsWhatWasPlanted) {
  ErasureTraces all = traces();
  all.add_bytes(TraceKind::kHash, std::string("\x01\x00\xfe\x7f\x80", 5));
  const auto one = [&](const std::string& bytes, TraceKind kind, int64_t document) {
    const auto found = planted(bytes, all);
    ASSERT_FALSE(found.empty()) << bytes;
    EXPECT_EQ(found[0].file, (folder_ / "planted").string());
    EXPECT_GE(found[0].offset, 3000u);
    EXPECT_LE(found[0].offset, 3001 + bytes.size());
    EXPECT_EQ(found[0].kind, kind);
    EXPECT_EQ(found[0].document, document);
  };
  one("{\"customer\":\"c77\"}", TraceKind::kCustomer, -1);
  one("tel 13812345678,", TraceKind::kValue, -1);
  one("gone-2", TraceKind::kDocumentId, 1);
  one("gone-1#2", TraceKind::kDocumentId, 0);
  one("question of gone-1 about something particular", TraceKind::kText, 0);
  one(conversation_json(erased_[0])["messages"][1].dump(), TraceKind::kText, 0);
  one(std::string("\x01\x00\xfe\x7f\x80", 5), TraceKind::kHash, -1);
  one("{\"record\":\"{\\\"customer\\\": \\\"c77\\\"}\"}", TraceKind::kCustomer, -1);
  // gone-2's question in base64, whatever comes before it.
  one("eHF1ZXN0aW9uIG9mIGdvbmUtMiBhYm91dCBzb21ldGhpbmcgcGFydGljdWxhcg==", TraceKind::kText, 1);
  for (const std::string& harmless :
       {std::string("c77"), std::string("c770"), std::string("gone-22"), std::string("ungone-1"),
        std::string("0013812345678"), kCanned, std::string("\"c7\"")})
    EXPECT_TRUE(planted(harmless, all).empty()) << harmless;
}

TEST_F(ErasedFolder, FindsItAcrossThePiecesOfAStream) {
  const ErasureTraces all = traces();
  std::string stream(3 << 20, '.');
  const std::string trace = " gone-1 ";
  for (size_t at = (1 << 20) - 40; at < (1 << 20) + 8; at += 3) {
    std::string bytes = stream;
    bytes.replace(at, trace.size(), trace);
    ErasureReport report;
    TraceScanner scanner(all, "stream", report);
    for (size_t i = 0; i < bytes.size(); i += 700001) scanner.feed(std::string_view(bytes).substr(i, 700001));
    scanner.finish();
    ASSERT_EQ(report.found, 1u) << at;
    ASSERT_EQ(report.leftovers[0].offset, at + 1);
    ASSERT_EQ(report.bytes, bytes.size());
  }
  // In many small pieces, and at the very ends.
  ErasureReport report;
  TraceScanner scanner(all, "stream", report);
  const std::string bytes = "gone-1" + std::string(2 << 20, '.') + "gone-2";
  for (size_t i = 0; i < bytes.size(); i += 1013) scanner.feed(std::string_view(bytes).substr(i, 1013));
  scanner.finish();
  ASSERT_EQ(report.found, 2u);
  EXPECT_EQ(report.leftovers[0].offset, 0u);
  EXPECT_EQ(report.leftovers[1].offset, bytes.size() - 6);
}

TEST_F(ErasedFolder, CompressedFilesAreOpenedOrReported) {
  write_file(folder_ / "x.gz", "\x1f\x8b gone-1");
  const ErasureTraces all = traces();
  ErasureReport report = scan_for_traces(all, {folder_});
  EXPECT_FALSE(report.clean());
  EXPECT_EQ(report.unsearchable, std::vector<std::string>{(folder_ / "x.gz").string()});
  report = scan_for_traces(all, {folder_}, [](const auto&, const auto& feed) {
    feed("plain go");
    feed("ne-1 text");
    return true;
  });
  EXPECT_TRUE(report.unsearchable.empty());
  ASSERT_EQ(report.leftovers.size(), 1u);
  EXPECT_EQ(report.leftovers[0].offset, 6u);
}

TEST_F(ErasedFolder, ManyLeftoversAreCountedAndCapped) {
  std::string bytes;
  for (int i = 0; i < 1000; ++i) bytes += "gone-1 ";
  const ErasureTraces all = traces();
  write_file(folder_ / "many", bytes);
  const ErasureReport report = scan_for_traces(all, {folder_});
  EXPECT_EQ(report.found, 1000u);
  EXPECT_EQ(report.leftovers.size(), ErasureReport::kMaxLeftoversPerFile);
}

TEST(Erase, ShortKeysAreJsonValues) {
  const ErasureTraces traces({"shop", {"1001", "k", "12"}, {}});
  const auto found = [&](const std::string& bytes) {
    ErasureReport report;
    TraceScanner scanner(traces, "f", report);
    scanner.feed(bytes);
    scanner.finish();
    return report.found;
  };
  for (const char* bytes :
       {"{\"customer\":1001}", "{\"customer\": 1001, ", "[\"1001\"]", "{\"c\":\"k\"}", "[\"k\"]", "\"12\""})
    EXPECT_EQ(found(bytes), 1u) << bytes;
  for (const char* bytes : {"{\"n\":10012}", "1001 pieces", "\"ok\"", "{\"n\":12}", "k", "\"10011\""})
    EXPECT_EQ(found(bytes), 0u) << bytes;
}

TEST(Erase, ADocumentOfCannedTextOnlyIsCounted) {
  ErasureTraces traces({"shop", {"c77"}, {}});
  Conversation canned = talk("gone-1", "c77", kCanned), kept = talk("kept", "c1", kCanned);
  canned.messages[0].content = "短";
  traces.add(canned);
  EXPECT_EQ(traces.documents_without_piece(), 0u);
  traces.keep(kept);
  EXPECT_EQ(traces.documents_without_piece(), 1u);
}

TEST(Erase, WhatAKeptDocumentHoldsTooIsNotSearchedFor) {
  ErasureTraces traces({"shop", {"customer-77"}, {}});
  traces.add(talk("gone-1", "customer-77", kCanned));
  const size_t all = traces.size();
  EXPECT_FALSE(traces.keep(talk("kept", "c1", "nothing of theirs")));
  EXPECT_EQ(traces.size(), all);
  EXPECT_TRUE(traces.keep(talk("kept", "c1", "ask customer-77 about it")));
  EXPECT_LT(traces.size(), all);
  const auto found = [&](const std::string& bytes) {
    ErasureReport report;
    TraceScanner scanner(traces, "f", report);
    scanner.feed(bytes);
    scanner.finish();
    return report.found;
  };
  EXPECT_EQ(found("customer-77"), 0u);
  EXPECT_EQ(found("gone-1"), 1u);
  EXPECT_FALSE(traces.keep(talk("gone-1", "c1", "an id that is used twice")));
  EXPECT_EQ(found("gone-1"), 0u);
}

}  // namespace
}  // namespace decant
