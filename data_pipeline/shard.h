// Tokenized corpora on disk: HDF5 shards of at most 64 MiB (DESIGN 3.2). Same input, same bytes; contiguous
// datasets, no times.
//
// A file holds the contiguous datasets
//   tokens u32 [T], loss_weight u8 [T], document_offsets u64 [N+1], row_offsets u64 [P+1], document_id
//   fixed-length text [N]
// (both offsets count tokens; every row offset is a document offset; ids are padded with NUL), where answers
// were judged also
//   document_role u8 [N] (DocumentRole), document_pair i64 [N] (-1: none)
// and the attributes
//   schema_version (1, or 2 with roles), sequence_length (i64), tokenizer_sha256, chat_template_sha256,
//   content_sha256 (text; of the datasets' bytes in the order above, each preceded by its size as u64).
// index.json beside the files, written last, has their sha256 and the counts; it is what a reader opens.
// The two documents of a preference pair lie in one row, next to each other, the chosen one first, and have
// the same number; the pairs of a folder are numbered from 0.
// Legend: T tokens in the shard, N documents, P packed rows.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"

namespace decant {

// What people thought of a document's answer. A rejected one must never be learned as it stands.
enum class DocumentRole : uint8_t { kPlain = 0, kChosen = 1, kRejected = 2 };
const char* role_name(DocumentRole role);  // "plain", "chosen", "rejected"

struct ShardDocument {
  std::string id;
  std::vector<uint32_t> tokens;
  std::vector<uint8_t> loss_weight;
  int64_t target_bytes = 0;  // summed in index.json; not read back
  DocumentRole role = DocumentRole::kPlain;
  int64_t pair = -1;  // of two documents in a row, chosen then rejected: the same number; -1: judged alone
};

struct RoleCounts {
  int64_t plain = 0, chosen = 0, rejected = 0;  // documents
  int64_t pairs = 0;
  bool operator==(const RoleCounts&) const = default;
};

struct ShardHeader {
  int64_t schema_version = 1;
  std::string tokenizer_sha256, template_sha256;
  int64_t sequence_length = 0;
};

// Documents that lie elsewhere: their lengths are known, their content is fetched a shard at a time.
struct ShardSource {
  // Where one document's content goes: `length` tokens and weights, and its id (at most id_bytes, the rest
  // stays NUL).
  struct Slot {
    size_t document = 0;
    uint32_t* tokens = nullptr;
    uint8_t* loss_weight = nullptr;
    char* id = nullptr;
  };
  std::vector<uint32_t> lengths;  // tokens of each document
  size_t id_bytes = 1;            // of the longest id
  int64_t target_bytes = 0;
  std::vector<DocumentRole> roles;                      // of each document; empty: all plain
  std::vector<int64_t> pairs;                           // as ShardDocument::pair; empty: none
  std::function<void(const std::vector<Slot>&)> fetch;  // slots by rising document
};

// Packs documents best-fit-decreasing into rows of `sequence_length` tokens (stable ties), splits rows over
// shards and writes shard-00000.h5 ... and index.json (files with sha256, counts) into `folder`, which is
// replaced as a whole. Returns the index. Documents longer than a row, without tokens or with an id over 1024
// bytes, and pairs that are together longer than a row, must have been removed. Pairs are packed as one piece
// and numbered anew, in the order of the documents; roles are written when a document has one. Holds one
// shard in memory (about four times max_shard_bytes).
Json pack_shards(const std::filesystem::path& folder, const ShardHeader& header, const ShardSource& source,
                 uint64_t max_shard_bytes = 64ull << 20);
Json write_shards(const std::filesystem::path& folder, const ShardHeader& header,
                  const std::vector<ShardDocument>& documents, uint64_t max_shard_bytes = 64ull << 20);

// One row where it lies in the mapped file: document d of it is tokens [document_offsets[d],
// document_offsets[d + 1]) - document_offsets[0].
struct RowView {
  std::span<const uint32_t> tokens;
  std::span<const uint8_t> loss_weight;
  std::span<const uint64_t> document_offsets;
  std::string_view ids;  // id_bytes each, padded with NUL
  size_t id_bytes = 0;
  std::span<const DocumentRole> roles;  // empty in a shard without
  std::span<const int64_t> pairs;

  size_t documents() const { return document_offsets.size() - 1; }
  DocumentRole role(size_t document) const { return roles.empty() ? DocumentRole::kPlain : roles[document]; }
  int64_t pair(size_t document) const { return pairs.empty() ? -1 : pairs[document]; }
  std::string_view id(size_t document) const {
    const std::string_view padded = ids.substr(document * id_bytes, id_bytes);
    return padded.substr(0, padded.find('\0'));
  }
};

// Rows of a folder of shards, mapped. Digests are compared before a file is opened; every offset, role and
// pair is checked: both documents of a pair are there, in their places, and no number stands twice.
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
  const RoleCounts& roles() const;
  int64_t row_tokens(int64_t index) const;
  RowView row_view(int64_t index) const;  // nothing is copied; lives as long as the reader
  std::vector<ShardDocument> row(int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  ShardHeader header_;
};

}  // namespace decant
