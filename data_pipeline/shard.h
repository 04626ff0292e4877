// Tokenized corpora on disk: HDF5 shards of at most 64 MiB (DESIGN 3.2). Same input, same bytes; contiguous
// datasets, no times.
//
// A file holds the contiguous datasets
//   tokens u32 [T], loss_weight u8 [T], document_offsets u64 [N+1], row_offsets u64 [P+1], document_id
//   fixed-length text [N]
// (both offsets count tokens; every row offset is a document offset; ids are padded with NUL) and the
// attributes
//   schema_version, sequence_length (i64), tokenizer_sha256, chat_template_sha256, content_sha256 (text; of
//   the datasets' bytes in the order above, each preceded by its size as u64).
// index.json beside the files, written last, has their sha256 and the counts; it is what a reader opens.
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
  int64_t target_bytes = 0;  // summed in index.json; not read back
};

struct ShardHeader {
  int64_t schema_version = 1;
  std::string tokenizer_sha256, template_sha256;
  int64_t sequence_length = 0;
};

// Packs documents best-fit-decreasing into rows of `sequence_length` tokens (stable ties), splits rows over
// shards and writes shard-00000.h5 ... and index.json (files with sha256, counts) into `folder`, which is
// replaced as a whole. Returns the index. Documents longer than a row, without tokens or with an id over 1024
// bytes must have been removed.
Json write_shards(const std::filesystem::path& folder, const ShardHeader& header,
                  const std::vector<ShardDocument>& documents, uint64_t max_shard_bytes = 64ull << 20);

// Rows of a folder of shards, mapped. Digests are compared before a file is opened; every offset is checked.
// Thread-safe after construction.
class ShardReader {
 public:
  explicit ShardReader(const std::filesystem::path& folder);
  ~ShardReader();
  const ShardHeader& header() const { return header_; }
  int64_t rows() const;
  int64_t tokens() const;
  int64_t documents() const;
  int64_t target_bytes() const;  // bytes of people's text under loss
  int64_t row_tokens(int64_t index) const;
  std::vector<ShardDocument> row(int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  ShardHeader header_;
};

}  // namespace decant
