// Random rows of 2,048 tokens a second from warm shards, as a loader reads them: usage: shard_bench FOLDER
// [ROWS]. Makes the shards in FOLDER where there are none (25,600 rows, 262 MB), touches every page, then
// copies tokens and weights of random rows into one buffer. Prints {"rows_per_second", "rows", "bytes"}.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "core/random.h"
#include "data_pipeline/shard.h"

namespace {

constexpr size_t kRow = 2048, kRows = 25600;

void make_shards(const std::filesystem::path& folder) {
  decant::ShardHeader header;
  header.tokenizer_sha256 = header.template_sha256 = std::string(64, '0');
  header.sequence_length = kRow;
  decant::ShardSource source;
  source.lengths.assign(kRows * 4, kRow / 4);
  source.id_bytes = 16;
  source.fetch = [](const std::vector<decant::ShardSource::Slot>& slots) {
    for (const auto& slot : slots) {
      for (size_t i = 0; i < kRow / 4; ++i)
        slot.tokens[i] = static_cast<uint32_t>(slot.document * 31 + i) % 150000;
      std::memset(slot.loss_weight, 255, kRow / 4);
      slot.loss_weight[0] = 0;
      const std::string id = std::to_string(slot.document);
      id.copy(slot.id, id.size());
    }
  };
  decant::pack_shards(folder, header, source);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) {
    std::fprintf(stderr, "usage: shard_bench FOLDER [ROWS]\n");
    return 2;
  }
  const std::filesystem::path folder = argv[1];
  const size_t count = argc > 2 ? std::stoul(argv[2]) : 2000000;
  if (!std::filesystem::exists(folder / "index.json")) make_shards(folder);
  const decant::ShardReader reader(folder);
  std::vector<uint32_t> tokens(kRow);
  std::vector<uint8_t> weights(kRow);
  const auto read = [&](int64_t index) {
    const decant::RowView row = reader.row_view(index);
    std::memcpy(tokens.data(), row.tokens.data(), row.tokens.size_bytes());
    std::memcpy(weights.data(), row.loss_weight.data(), row.loss_weight.size_bytes());
    return row.tokens.size_bytes() + row.loss_weight.size_bytes();
  };
  for (int64_t i = 0; i < reader.rows(); ++i) read(i);
  std::vector<int64_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = decant::philox(1, 2, i)[0] % reader.rows();
  uint64_t bytes = 0, sum = 0;
  const auto start = std::chrono::steady_clock::now();
  for (const int64_t index : order) {
    bytes += read(index);
    sum += tokens[static_cast<size_t>(index) % kRow];
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("{\"rows_per_second\": %.0f, \"rows\": %zu, \"bytes\": %llu, \"checksum\": %llu}\n",
              static_cast<double>(count) / seconds, count, static_cast<unsigned long long>(bytes),
              static_cast<unsigned long long>(sum));
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
