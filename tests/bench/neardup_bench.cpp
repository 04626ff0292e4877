// Near-duplicate removal on one thread: usage: neardup_bench CORPUS [--removed FILE] [--digits] [--months N]
// CORPUS holds JSON lines {"text": ...} or plain lines, one document each; it is read before the clock
// starts. Prints one JSON line: documents, bytes, MB/s of user time, seconds by stage, pairs compared,
// documents removed and the peak memory. --removed writes "document keeper shared total" a line; --digits
// tells numbers apart (as the peers do); --months N spreads the documents over an index of N earlier months
// and times the last one, with and without them.
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/near_duplicates.h"

namespace {

double user_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::vector<std::string> read_texts(const std::string& path) {
  const decant::MappedFile file(path);
  const std::string_view bytes = file.bytes();
  std::vector<std::string> texts;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = std::min(bytes.find('\n', at), bytes.size());
    const std::string_view line = bytes.substr(at, end - at);
    at = end + 1;
    if (line.starts_with('{')) {
      texts.push_back(decant::Json::parse(line).at("text").get<std::string>());
    } else if (!line.empty()) {
      texts.emplace_back(line);
    }
  }
  return texts;
}

std::string number(size_t i) {
  std::string digits = std::to_string(i);
  return std::string(9 - std::min<size_t>(digits.size(), 9), '0') + digits;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string corpus, removed_file;
  decant::NearDuplicateConfig config;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--removed" && i + 1 < argc) {
      removed_file = argv[++i];
    } else if (argument == "--digits") {
      config.shingles.mask_digits = 0;
    } else {
      corpus = argument;
    }
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "usage: neardup_bench CORPUS [--removed FILE] [--digits]\n");
    return 2;
  }
  const auto texts = read_texts(corpus);
  size_t bytes = 0;
  for (const auto& text : texts) bytes += text.size();

  const double start = user_seconds();
  decant::NearDuplicates near(config, std::filesystem::temp_directory_path());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view part = texts[i];
    near.add(number(i), "", std::span(&part, 1));
  }
  const double added = user_seconds();
  const auto result = near.resolve();
  const double end = user_seconds();
  if (!removed_file.empty()) {
    std::string lines;
    for (const auto& r : result.removed)
      lines += decant::concat(r.document, " ", r.keeper, " ", r.shared, " ", r.total, "\n");
    decant::write_file(removed_file, lines);
  }
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  std::printf(
      "{\"documents\": %zu, \"bytes\": %zu, \"mb_per_second\": %.2f, \"sketch_seconds\": %.3f, "
      "\"resolve_seconds\": "
      "%.3f, \"compared\": %lld, \"removed\": %zu, \"crowded\": %lld, \"peak_mib\": %ld}\n",
      texts.size(), bytes, static_cast<double>(bytes) / (end - start) / 1e6, added - start, end - added,
      static_cast<long long>(result.compared), result.removed.size(), static_cast<long long>(result.crowded),
      usage.ru_maxrss / 1024);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
