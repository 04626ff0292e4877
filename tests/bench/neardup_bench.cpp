// Near-duplicate removal on one thread.
//   neardup_bench CORPUS [--removed FILE] [--digits] [--months N [ROUNDS]]
//   neardup_bench --made N
// CORPUS holds JSON lines {"text": ...} or plain lines, one document each; it is read before the clock
// starts. Prints one JSON line: documents, bytes, MB/s of processor time, seconds by stage, pairs compared,
// documents removed and the peak memory. --removed writes "document keeper shared total" a line; --digits
// tells all numbers apart (as the peers do). --months puts the documents into an index of N months of one
// size and times month N + 1 with them and alone, from the texts to the committed run, ROUNDS times in turn.
// --made makes N documents of 12 to 40 words, one in ten a copy with one word changed, as they are added.
#include <sys/resource.h>
#include <tbb/global_control.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "core/random.h"
#include "data_pipeline/duplicate_index.h"
#include "data_pipeline/near_duplicates.h"

namespace {

double processor_seconds() {
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

double sorted_median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Seconds from texts to a committed run.
double time_month(const std::filesystem::path& folder, const std::string& period,
                  std::span<const std::string> texts, const decant::NearDuplicateConfig& config,
                  size_t& removed) {
  const double start = processor_seconds();
  decant::DuplicateIndex index(folder, "bench", config);
  decant::NearDuplicates near(config, folder);
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view part = texts[i];
    near.add(period + number(i), period, std::span(&part, 1));
  }
  const auto result = near.resolve(index.before(period));
  index.commit(period, near, result);
  removed = result.removed.size();
  return processor_seconds() - start;
}

void compare_months(const std::vector<std::string>& texts, size_t months, int rounds,
                    const decant::NearDuplicateConfig& config) {
  const auto folder =
      std::filesystem::temp_directory_path() / ("neardup_bench." + std::to_string(::getpid()));
  const size_t each = texts.size() / (months + 1);
  const auto period = [](size_t m) {
    return "20" + std::to_string(10 + m / 12) + (m % 12 < 9 ? "-0" : "-") + std::to_string(m % 12 + 1);
  };
  size_t with = 0, without = 0;
  for (size_t m = 0; m < months; ++m)
    time_month(folder / "index", period(m), std::span(texts).subspan(m * each, each), config, with);
  const auto last = std::span(texts).subspan(months * each, each);
  std::vector<double> alone, after, ratios;
  for (int round = -1; round < rounds; ++round) {  // the first writes, the others replace
    alone.push_back(time_month(folder / "alone", period(months), last, config, without));
    after.push_back(time_month(folder / "index", period(months), last, config, with));
    ratios.push_back(after.back() / alone.back());
    if (round < 0) alone.clear(), after.clear(), ratios.clear();
  }
  std::filesystem::remove_all(folder);
  std::printf(
      "{\"months\": %zu, \"documents_a_month\": %zu, \"alone_seconds\": %.3f, \"after_seconds\": %.3f, "
      "\"ratio\": "
      "%.3f, \"least_ratio\": %.3f, \"removed_alone\": %zu, \"removed_after\": %zu}\n",
      months, each, sorted_median(alone), sorted_median(after), sorted_median(ratios),
      *std::min_element(ratios.begin(), ratios.end()), without, with);
}

// Document i of --made: the same whenever it is asked for.
std::string made_text(size_t i) {
  const bool copy = i % 10 == 9;
  const size_t source = copy ? i - 5 : i;
  const auto draw = decant::philox(7, 1, source);
  const size_t words = 12 + draw[0] % 29;
  std::string text;
  for (size_t w = 0; w < words; ++w) {
    uint32_t n = decant::philox(8, source, w / 4)[w % 4] % 20000;
    if (copy && w == 0) n = static_cast<uint32_t>(i % 20000);
    for (text += ' '; n > 0 || text.back() == ' '; n /= 26) text += static_cast<char>('a' + n % 26);
  }
  return text;
}

}  // namespace

int main(int argc, char** argv) try {
  std::string corpus, removed_file;
  size_t months = 0, made = 0;
  int rounds = 5;
  decant::NearDuplicateConfig config;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--removed" && i + 1 < argc) {
      removed_file = argv[++i];
    } else if (argument == "--months" && i + 1 < argc) {
      months = std::stoul(argv[++i]);
      if (i + 1 < argc && argv[i + 1][0] != '-') rounds = std::stoi(argv[++i]);
    } else if (argument == "--made" && i + 1 < argc) {
      made = std::stoul(argv[++i]);
    } else if (argument == "--digits") {
      config.shingles.mask_digits = 0;
    } else {
      corpus = argument;
    }
  }
  if (corpus.empty() == (made == 0)) {
    std::fprintf(stderr,
                 "usage: neardup_bench CORPUS [--removed FILE] [--digits] [--months N [ROUNDS]]\n       "
                 "neardup_bench --made N\n");
    return 2;
  }
  const tbb::global_control one_thread(tbb::global_control::max_allowed_parallelism, 1);
  const auto texts = corpus.empty() ? std::vector<std::string>() : read_texts(corpus);
  if (months > 0) {
    compare_months(texts, months, rounds, config);
    return 0;
  }
  size_t bytes = 0;
  for (const auto& text : texts) bytes += text.size();

  const double start = processor_seconds();
  decant::NearDuplicates near(config, std::filesystem::temp_directory_path());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string_view part = texts[i];
    near.add(number(i), "", std::span(&part, 1));
  }
  for (size_t i = 0; i < made; ++i) {
    const std::string text = made_text(i);
    const std::string_view part = text;
    bytes += text.size();
    near.add(number(i), "", std::span(&part, 1));
  }
  const double added = processor_seconds();
  const auto result = near.resolve();
  const double end = processor_seconds();
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
      near.size(), bytes, static_cast<double>(bytes) / (end - start) / 1e6, added - start, end - added,
      static_cast<long long>(result.compared), result.removed.size(), static_cast<long long>(result.crowded),
      usage.ru_maxrss / 1024);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
