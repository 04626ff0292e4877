// Tokenized corpora on disk: HDF5 shards of at most 64 MiB (DESIGN 3.2). Same input, same bytes; contiguous datasets, no times.
// Legend: T tokens in the shard, N documents, P packed rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/json.h"

namespace decant {

struct ShardDocument {
  std::string id;
  std::vector<uint32_t> tokens;
  std::vector<uint8_t> loss_weight;
};

struct ShardHeader {
  int64_t schema_version = 1;
  std::string tokenizer_sha256, template_sha256;
  int64_t sequence_length = 0;
};

// Packs documents best-fit-decreasing into rows of `sequence_length` tokens (stable ties), splits rows over shards and writes
// shard-00000.h5 ... and index.json (files with sha256, counts) into `folder`. Documents longer than a row must have been removed.
Json write_shards(const std::filesystem::path& folder, const ShardHeader& header,
                  const std::vector<ShardDocument>& documents);

// Rows of a folder of shards. Digests are compared before a file is opened; every offset is checked.
class ShardReader {
 public:
  explicit ShardReader(const std::filesystem::path& folder);
  ~ShardReader();
  const ShardHeader& header() const { return header_; }
  int64_t rows() const;
  int64_t tokens() const;
  std::vector<ShardDocument> row(int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  ShardHeader header_;
};

}  // namespace decant
