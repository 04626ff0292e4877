// log.jsonl is one JSON object a line whatever the message holds; progress keeps quiet when told.
#include "core/log.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/file.h"
#include "core/json.h"
#include "core/progress.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

std::vector<Json> lines_of(const std::filesystem::path& path) {
  std::vector<Json> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(parse_json(line, path.string()));
  return lines;
}

TEST(Log, EveryLineOfTheFileIsJsonWithTheMessageEscaped) {
  const auto path = test::scratch_folder() / "run/log.jsonl";
  const std::vector<std::string> messages = {
      "plain",          "",   "quote \" backslash \\ newline \n tab \t",
      "%v %l {} {0} %", "é😀", std::string("nul \0 in", 8),
      "\x1b[31m"};
  open_log_file(path);
  ::testing::internal::CaptureStderr();
  for (const auto& message : messages) log_info(message);
  log_warning("w ", 1);
  log_debug("d");
  log_line(LogLevel::kError, "e");
  log_info("not utf-8 \xff.");
  const std::string screen = ::testing::internal::GetCapturedStderr();
  close_log_file();
  log_info("after");

  const auto lines = lines_of(path);
  ASSERT_EQ(lines.size(), messages.size() + 4);
  for (size_t i = 0; i < messages.size(); ++i) {
    EXPECT_EQ(lines[i]["message"], messages[i]);
    EXPECT_EQ(lines[i]["level"], "info");
  }
  const char* time = "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}[+-][0-9]{2}:[0-9]{2}";
  for (const auto& line : lines) {
    EXPECT_EQ(line.size(), 3U);
    EXPECT_THAT(line["time"].get<std::string>(), ::testing::MatchesRegex(time));
  }
  EXPECT_EQ(lines[messages.size()]["message"], "w 1");
  EXPECT_EQ(lines[messages.size()]["level"], "warning");
  EXPECT_EQ(lines[messages.size() + 1]["level"], "debug");
  EXPECT_EQ(lines[messages.size() + 2]["level"], "error");
  EXPECT_EQ(lines[messages.size() + 3]["message"], "not utf-8 \xef\xbf\xbd.");
  EXPECT_THAT(screen, ::testing::HasSubstr("plain\n"));
  EXPECT_THAT(screen, ::testing::HasSubstr("warning: w 1\n"));
  EXPECT_THAT(screen, ::testing::HasSubstr("error: e\n"));
  EXPECT_THAT(screen, ::testing::Not(::testing::HasSubstr("\nd\n")));

  open_log_file(path);  // appends
  log_info("again");
  close_log_file();
  EXPECT_EQ(lines_of(path).size(), messages.size() + 5);
}

TEST(Log, TheLevelHoldsForTheScreen) {
  ::testing::internal::CaptureStderr();
  set_log_level(LogLevel::kWarning);
  log_info("hidden");
  log_warning("seen");
  set_log_level(LogLevel::kDebug);
  log_debug("now seen");
  set_log_level(LogLevel::kInfo);
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "warning: seen\nnow seen\n");
}

TEST(Log, AFileThatCannotBeOpenedIsAnError) {
  const auto folder = test::scratch_folder();
  EXPECT_ERROR(open_log_file(folder), folder.string() + ": cannot open the log file: ");
}

TEST(Progress, EndsWithOnePlainLineElsewhereThanOnATerminal) {
  ::testing::internal::CaptureStderr();
  {
    Progress progress("train", 120, "tokens");
    for (int64_t done = 0; done <= 60; done += 10) progress.update(done, "loss 2.31");
  }
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, ::testing::MatchesRegex("train  60/120 tokens  [0-9.]+/s  ETA 0:00  loss 2\\.31\n"));
}

TEST(Progress, QuietOrUnusedPrintsNothing) {
  ::testing::internal::CaptureStderr();
  set_progress_quiet(true);
  { Progress("train", 0, "tokens").update(5, "x"); }
  set_progress_quiet(false);
  { Progress("train", 0, "tokens"); }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace decant
