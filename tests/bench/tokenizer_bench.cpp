// Tokenizing speed on one thread: usage: tokenizer_bench TOKENIZER TEXT. Encodes the non-empty lines of TEXT
// once, in a fresh process (the piece cache starts empty), and prints {"mb_per_second", "bytes", "tokens"}.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "data_pipeline/tokenizer.h"

int main(int argc, char** argv) try {
  if (argc < 3) {
    std::fprintf(stderr, "usage: tokenizer_bench TOKENIZER TEXT\n");
    return 2;
  }
  const auto tokenizer = decant::load_tokenizer(argv[1]);
  const std::string text = decant::read_file(argv[2]);
  std::vector<std::string_view> lines;
  size_t bytes = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) lines.push_back(std::string_view(text).substr(at, end - at));
    bytes += end - at;
    at = end + 1;
  }
  size_t tokens = 0;
  std::vector<int64_t> ids;
  const auto start = std::chrono::steady_clock::now();
  for (const std::string_view line : lines) {
    ids.clear();
    tokenizer->encode(line, decant::SpecialMode::kMatch, ids);
    tokens += ids.size();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("{\"mb_per_second\": %.3f, \"bytes\": %zu, \"tokens\": %zu}\n",
              static_cast<double>(bytes) / seconds / 1e6, bytes, tokens);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
