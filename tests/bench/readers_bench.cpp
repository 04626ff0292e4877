// Reading speed on one thread: usage: readers_bench FILE [KEY=VALUE...]. Reads FILE to conversations in a few
// ways and prints, for each, MB of decoded text a second of user time, and the whole process's peak memory:
// {"raw": records only, "tree": parsed JSON, "conversation": the whole way, ...}. KEY=VALUE are settings of
// the source.
#include <sys/resource.h>

#include <cstdio>
#include <exception>
#include <functional>
#include <string>

#include "core/error.h"
#include "core/setting.h"
#include "data_pipeline/record_parser.h"
#include "data_pipeline/record_reader.h"

namespace {

rusage usage() {
  rusage now{};
  ::getrusage(RUSAGE_SELF, &now);
  return now;
}

double user_seconds() {
  const rusage now = usage();
  return static_cast<double>(now.ru_utime.tv_sec) + static_cast<double>(now.ru_utime.tv_usec) / 1e6;
}

}  // namespace

int main(int argc, char** argv) try {
  using namespace decant;
  if (argc < 2) {
    std::fprintf(stderr, "usage: readers_bench FILE [KEY=VALUE...]\n");
    return 2;
  }
  Setting settings = parse_settings("paths: [x]", "command line");
  for (int i = 2; i < argc; ++i) override_setting(settings, argv[i]);
  InputFile file{argv[1], "f"};
  file.source = std::make_shared<const SourceConfig>(read_config<SourceConfig>(settings, "source"));
  uint64_t bytes = 0, records = 0, bad = 0, messages = 0;
  const auto rate = [&](const std::function<void(const RawRecord&)>& work) {
    bytes = records = 0;
    const double start = user_seconds();
    auto reader = open_records(file);
    for (RawRecord record; reader->next(record);) {
      bytes += record.size;
      ++records;
      work(record);
    }
    return static_cast<double>(bytes) / 1e6 / (user_seconds() - start);
  };
  RecordParser parser;
  std::string reason, text;
  const double raw = rate([](const RawRecord&) {});
  const double tree = rate([&](const RawRecord& record) { (void)parser.tree(record, reason, text); });
  const double conversation = rate([&](const RawRecord& record) {
    const ParsedRecord parsed = parser.parse(record);
    bad += parsed.reason.empty() ? 0 : 1;
    for (const Conversation& c : parsed.conversations) messages += c.messages.size();
  });
  std::printf(
      "{\"raw\": %.0f, \"tree\": %.0f, \"conversation\": %.0f, \"bytes\": %llu, \"records\": %llu, \"bad\": "
      "%llu, "
      "\"messages\": %llu, \"peak_mib\": %ld}\n",
      raw, tree, conversation, static_cast<unsigned long long>(bytes),
      static_cast<unsigned long long>(records), static_cast<unsigned long long>(bad),
      static_cast<unsigned long long>(messages), usage().ru_maxrss / 1024);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
