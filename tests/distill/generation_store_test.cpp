#include "distill/generation_store.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/file.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

TEST(GenerationStore, KeepsAnswersOverRestarts) {
  const auto path = test::scratch_folder() / "answers.jsonl";
  {
    GenerationStore store(path);
    store.add("b", Json{{"text", "two"}});
    store.add("a", Json{{"text", "one"}});
    EXPECT_ERROR(store.add("a", Json{}), "is there already");
  }
  GenerationStore store(path);
  ASSERT_EQ(store.size(), 2U);
  ASSERT_NE(store.find("a"), nullptr);
  EXPECT_EQ(store.find("a")->at("text"), "one");
  EXPECT_EQ(store.find("c"), nullptr);
}

TEST(GenerationStore, CutsATornLastLine) {
  const auto path = test::scratch_folder() / "answers.jsonl";
  { GenerationStore(path).add("a", Json{{"text", "one"}}); }
  const std::string whole = read_file(path);
  // A kill may tear the second line at any byte.
  const std::string second = R"({"key":"b","record":{"text":"two"}})";
  for (size_t length = 1; length <= second.size(); ++length) {
    std::ofstream(path, std::ios::binary) << whole << second.substr(0, length);
    GenerationStore store(path);
    EXPECT_EQ(store.size(), 1U) << length;
    store.add("b", Json{{"text", "two"}});
    EXPECT_EQ(read_file(path), whole + second + "\n");
  }
}

TEST(GenerationStore, FinishedBytesDoNotDependOnTheOrderOfArrival) {
  const auto folder = test::scratch_folder();
  const std::vector<std::string> order = {"c", "a", "b", "a"};
  std::string bytes;
  for (const auto& arrival :
       std::vector<std::vector<std::string>>{{"a", "b", "c"}, {"b", "c", "a"}, {"c", "a", "b"}}) {
    const auto path = folder / ("answers-" + arrival[0] + ".jsonl");
    for (const auto& key : arrival) GenerationStore(path).add(key, Json{{"text", "of " + key}});
    GenerationStore store(path);
    store.finish(order);
    if (bytes.empty()) bytes = read_file(path);
    EXPECT_EQ(read_file(path), bytes);
    store.add("d", Json{});  // the journal goes on after it
    EXPECT_EQ(GenerationStore(path).size(), 4U);
  }
  EXPECT_EQ(bytes.substr(0, 11), R"({"key":"c",)");
}

TEST(GenerationStore, RefusesForeignLinesAndGaps) {
  const auto path = test::scratch_folder() / "answers.jsonl";
  std::ofstream(path) << "{\"key\":\"a\",\"record\":1}\n[1]\n";
  EXPECT_ERROR(GenerationStore store(path), ":2: a line of the generation store must be an object");
  std::ofstream(path) << "{\"key\":\"a\",\"record\":1}\n{\"key\":\"a\",\"record\":1}\n";
  EXPECT_ERROR(GenerationStore store(path), "stands twice");
  std::ofstream(path) << "{\"key\":\"a\",\"record\":1}\n";
  GenerationStore store(path);
  EXPECT_ERROR(store.finish({"a", "b"}), "no answer under the key b");
  EXPECT_EQ(read_file(path), "{\"key\":\"a\",\"record\":1}\n");
}

}  // namespace
}  // namespace decant
