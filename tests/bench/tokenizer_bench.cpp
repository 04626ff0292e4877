// Tokenizing speed on one thread: usage: tokenizer_bench TOKENIZER DOCUMENTS [PASSES [REPEAT]]. DOCUMENTS has
// one JSON string a line. A fresh process (the piece cache starts empty) loads the tokenizer and encodes the
// documents, REPEAT times over in each of PASSES passes, in processor time. Prints one JSON object:
// mb_per_second of each pass, tokens of a pass, load_ms, load_mib (resident memory after loading), peak_mib
// (its highest while loading), ids_sha256 of the documents' ids (each as its count and its ids, 32 bits).
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <exception>
#include <fstream>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "data_pipeline/tokenizer.h"

namespace {

double processor_seconds() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

double status_mib(const std::string& key) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(key, 0) == 0) return std::strtod(line.c_str() + key.size(), nullptr) / 1024;
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  using decant::SpecialMode;
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER DOCUMENTS [PASSES [REPEAT]]\n");
    return 2;
  }
  const int passes = argc > 3 ? std::atoi(argv[3]) : 1, repeat = argc > 4 ? std::atoi(argv[4]) : 1;
  std::vector<std::string> documents;
  size_t bytes = 0;
  {
    std::ifstream in(argv[2]);
    for (std::string line; std::getline(in, line);) {
      documents.push_back(decant::parse_json(line, argv[2]).get<std::string>());
      bytes += documents.back().size();
    }
  }
  std::ofstream("/proc/self/clear_refs") << 5;  // the highest memory use counts from here
  const double before = status_mib("VmRSS:"), start = processor_seconds();
  const auto tokenizer = decant::load_tokenizer(argv[1]);
  const double load_seconds = processor_seconds() - start;
  decant::Json result = {{"load_ms", load_seconds * 1e3},
                         {"load_mib", status_mib("VmRSS:") - before},
                         {"peak_mib", status_mib("VmHWM:") - before},
                         {"bytes", bytes},
                         {"mb_per_second", decant::Json::array()}};
  std::vector<int64_t> ids;
  size_t tokens = 0;
  for (int pass = 0; pass < passes; ++pass) {
    tokens = 0;
    const double begin = processor_seconds();
    for (int i = 0; i < repeat; ++i)
      for (const std::string& document : documents) {
        ids.clear();
        tokenizer->encode(document, SpecialMode::kMatch, ids);
        tokens += ids.size();
      }
    result["mb_per_second"].push_back(static_cast<double>(bytes) * repeat / (processor_seconds() - begin) /
                                      1e6);
  }
  result["tokens"] = tokens;
  decant::Sha256 digest;
  for (const std::string& document : documents) {
    ids.clear();
    tokenizer->encode(document, SpecialMode::kMatch, ids);
    std::vector<uint32_t> row{static_cast<uint32_t>(ids.size())};
    for (const int64_t id : ids) row.push_back(static_cast<uint32_t>(id));
    digest.update({reinterpret_cast<const char*>(row.data()), row.size() * sizeof(uint32_t)});
  }
  result["ids_sha256"] = digest.hex();
  std::printf("%s\n", result.dump().c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
