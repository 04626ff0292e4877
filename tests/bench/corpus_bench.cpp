// The whole corpus step on one input: usage: corpus_bench MODEL_FOLDER INPUT OUT [THREADS [KEY=VALUE ...]].
// OUT is removed first. Settings are those of a recipe's corpus section, and period=YYYY-MM (2026-01). Prints
// {"mb_per_second", "bytes", "seconds", "user_seconds", "peak_mb", "documents", "kept", "tokens"}; megabytes
// are those of the input as it is read (decompressed).
#include <sys/resource.h>
#include <tbb/global_control.h>
#include <tbb/task_arena.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <string>

#include "core/log.h"
#include "core/progress.h"
#include "data_pipeline/corpus_store.h"
#include "data_pipeline/prepare.h"
#include "data_pipeline/record_reader.h"

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::fprintf(stderr, "usage: corpus_bench MODEL_FOLDER INPUT OUT [THREADS [KEY=VALUE ...]]\n");
    return 2;
  }
  const int threads = argc > 4 ? std::stoi(argv[4]) : 1;
  std::string yaml = "inputs: ['" + std::string(argv[2]) + "']\nmax_bad_fraction: 1\n";
  std::string period = "2026-01";
  for (int i = 5; i < argc; ++i) {
    std::string setting = argv[i];
    if (setting.starts_with("period=")) {
      period = setting.substr(7);
      continue;
    }
    yaml += setting.replace(setting.find('='), 1, ": ") + "\n";
  }
  decant::set_log_level(decant::LogLevel::kError);
  decant::set_progress_quiet(true);
  const auto config =
      decant::read_config<decant::CorpusConfig>(decant::parse_settings(yaml, "arguments"), "corpus");
  std::filesystem::remove_all(argv[3]);
  const auto tokenizer = decant::load_tokenizer(argv[1]);
  const auto chat_template =
      config.template_name == "plain" ? decant::plain_template() : decant::load_chat_template(argv[1]);
  const decant::CorpusJob job{
      decant::corpus_files(config, "."), period, ".", tokenizer.get(), chat_template.get(), {}, {}};
  const tbb::global_control limit(tbb::global_control::max_allowed_parallelism, static_cast<size_t>(threads));
  tbb::task_arena arena(threads);
  const auto start = std::chrono::steady_clock::now();
  const decant::Json counts = arena.execute([&] { return decant::prepare_corpus(config, job, argv[3]); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  uint64_t bytes = 0;
  decant::CorpusReader reader(job.files);
  for (decant::RawRecord raw; reader.next(raw);) bytes += raw.size + 1;
  const double user =
      static_cast<double>(usage.ru_utime.tv_sec) + static_cast<double>(usage.ru_utime.tv_usec) / 1e6;
  std::printf(
      "{\"mb_per_second\": %.3f, \"bytes\": %llu, \"seconds\": %.2f, \"user_seconds\": %.2f, \"peak_mb\": "
      "%.0f, "
      "\"documents\": %lld, \"kept\": %lld, \"tokens\": %lld}\n",
      static_cast<double>(bytes) / seconds / 1e6, static_cast<unsigned long long>(bytes), seconds, user,
      static_cast<double>(usage.ru_maxrss) / 1024, static_cast<long long>(counts["in"].get<int64_t>()),
      static_cast<long long>(counts["kept"].get<int64_t>()),
      static_cast<long long>(counts["tokens"].get<int64_t>()));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
