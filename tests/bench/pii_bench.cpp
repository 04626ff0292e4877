// Speed of find_pii on one thread, and what it finds: usage: pii_bench [--list] FILE... Each line is a text.
// Prints {"mb_per_second" (user time), "bytes", "found": {kind: n}}; --list prints kind, score and span, a
// line each. pii_bench --spans FILE: each line is a JSON string; prints [[kind, text], ...] for each.
#include <sys/resource.h>

#include <cstdio>
#include <exception>
#include <fstream>
#include <string>
#include <string_view>

#include "core/file.h"
#include "core/json.h"
#include "data_pipeline/pii.h"

namespace {

double user_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<double>(usage.ru_utime.tv_sec) + 1e-6 * static_cast<double>(usage.ru_utime.tv_usec);
}

void print_spans(const char* path) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const auto text = decant::parse_json(line, path).get<std::string>();
    decant::Json spans = decant::Json::array();
    for (const auto& span : decant::find_pii(text))
      spans.push_back(
          {std::string(decant::pii_kind_name(span.kind)), text.substr(span.begin, span.end - span.begin)});
    std::printf("%s\n", spans.dump().c_str());
  }
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc == 3 && std::string_view(argv[1]) == "--spans") {
    print_spans(argv[2]);
    return 0;
  }
  const bool list = argc > 1 && std::string_view(argv[1]) == "--list";
  decant::PiiCounts counts;
  size_t bytes = 0;
  double seconds = 0;
  for (int arg = list ? 2 : 1; arg < argc; ++arg) {
    const std::string text = decant::read_file(argv[arg]);
    decant::find_pii("a");  // tables
    const double start = user_seconds();
    for (size_t at = 0; at < text.size();) {
      const size_t end = std::min(text.find('\n', at), text.size());
      const std::string_view line = std::string_view(text).substr(at, end - at);
      for (const auto& span : decant::find_pii(line)) {
        ++counts[span.kind];
        if (list)
          std::printf("%s\t%.2f\t%s\t...%s...\n", std::string(decant::pii_kind_name(span.kind)).c_str(),
                      span.score, std::string(line.substr(span.begin, span.end - span.begin)).c_str(),
                      std::string(line.substr(span.begin < 40 ? 0 : span.begin - 40, 120)).c_str());
      }
      at = end + 1;
    }
    seconds += user_seconds() - start;
    bytes += text.size();
  }
  std::printf("{\"mb_per_second\": %.1f, \"bytes\": %zu, \"found\": {",
              static_cast<double>(bytes) / seconds / 1e6, bytes);
  bool first = true;
  for (size_t kind = 0; kind < decant::kPiiKinds; ++kind) {
    const auto name = decant::pii_kind_name(static_cast<decant::PiiKind>(kind));
    std::printf("%s\"%s\": %lld", first ? "" : ", ", std::string(name).c_str(),
                static_cast<long long>(counts[static_cast<decant::PiiKind>(kind)]));
    first = false;
  }
  std::printf("}}\n");
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
