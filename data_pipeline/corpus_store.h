// The store: what the first pass over the inputs left, document by document in their order, so that every
// later pass (decisions, packing, ledger, erasure) reads it and never the inputs.
//
// `<folder>/block-000000.bin` ... hold about 8 MiB of input each, written whole (temporary, fsync, rename): a
// killed pass goes on after the last block. A block has, little endian and without padding between:
//   head, names (tenants and reasons that appear here for the first time), rows, data
// A row has fixed width and holds all that decisions need; its document's bytes lie in the data:
//   id, JSON of the conversation, text of the reason, record as read, part lengths u32, tokens u32, weights
//   u8
// XXH3 of everything after the head is in the head. `store.json` is written last: inputs, documents, blocks.
// Files are read with pread, so that memory does not grow with the store.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "data_pipeline/canned_replies.h"
#include "data_pipeline/decontaminate.h"

namespace decant {

inline constexpr size_t kStorePiiKinds = 32;

// Where in the pipeline something happened to a document, in order.
enum class Stage : uint8_t {
  kRead,
  kNormalize,
  kReplace,
  kRender,
  kDeduplicate,
  kFilter,
  kDecontaminate,
  kSplit,
  kMix,
  kPack,
  kErase
};
const char* stage_name(Stage stage);

// Answers that people judged (shard.h has the documents' roles).
enum class JudgedAnswers : uint8_t {
  kNone,      // an ordinary document
  kChosen,    // one answer that is wanted
  kRejected,  // one that is not
  kPair,      // two documents, chosen and rejected, with one fate
};

// What decisions read of a document. Trivially copyable, written as it is.
struct StoreRow {
  std::array<uint64_t, 2> content_key{};   // equal for exact duplicates of a tenant
  std::array<uint64_t, 2> id_key{};        // of tenant and id
  std::array<uint64_t, 2> customer_key{};  // customer_tag of erasure.h; 0 where there is none
  uint64_t customer_hash = 0;              // the same whatever the secret of customer_key; 0: there is none
  double split_rank = 0;                   // in [0, 1): held out where it is less than the fraction
  uint64_t byte_offset = 0, line = 0;      // of the record in its file
  uint64_t facts = 0, data = 0;            // offsets in the block's
  uint64_t digest = 0;                     // XXH3 of the document's bytes there
  uint32_t file = 0;                       // index among the inputs
  uint32_t tenant = 0, reason = 0;         // names; reason 0: none
  uint32_t id_bytes = 0, json_bytes = 0, text_bytes = 0, record_bytes = 0;
  uint32_t parts = 0;  // shard documents: more than 1 of a pair, or where a conversation was cut at turns
  uint32_t tokens = 0, target_tokens = 0, target_bytes = 0;  // of all parts
  uint32_t longest_part = 0;                                 // tokens; of a pair both, since they share a row
  uint32_t messages = 0, merged = 0, trimmed = 0;
  uint32_t attribute_bytes = 0, band_keys = 0, shingles = 0, hits = 0, replies = 0;  // of the facts
  uint32_t content_bytes = 0;  // of all messages' text; of the record where it was too large to keep
  uint16_t period = 0;         // 12 * year + month - 1
  uint16_t valid_from = 0, valid_until = 0;    // months likewise, of its meta; 0: no limit
  Stage stage = Stage::kRead;                  // of the reason
  uint8_t record_cut : 1 = 0;                  // 1: it was too large
  uint8_t judged : 7 = 0;                      // JudgedAnswers
  std::array<char, 4> language{};              // ISO 639-1, padded with NUL
  std::array<uint32_t, kStorePiiKinds> pii{};  // replaced, by kind
};
static_assert(sizeof(StoreRow) == 328);  // no holes: every byte is written

inline JudgedAnswers judged_answers(const StoreRow& row) { return static_cast<JudgedAnswers>(row.judged); }

// One record on its way into the store. Of the row, what strings and vectors say is filled in by add().
struct StoredRecord {
  StoreRow row;
  std::string tenant, reason, text, id, json;
  std::string_view record;  // kept for the quarantine
  std::string attributes;
  std::vector<uint32_t> band_keys;
  DocumentScan hits;
  std::vector<ReplyKey> replies;
  std::vector<uint32_t> part_tokens, tokens;
  std::vector<uint8_t> loss_weight;
};

// A row with what decisions read beside it.
struct StoredFacts {
  const StoreRow& row;
  std::string_view id, attributes;
  std::string_view keys_hits_replies;

  std::vector<uint32_t> band_keys() const;
  DocumentScan hits() const;
  std::vector<ReplyKey> replies() const;
};

// What id_key is made by.
std::array<uint64_t, 2> store_key_of(const std::string& tenant, const std::string& text);

// Where reading goes on.
struct StorePosition {
  uint64_t file = 0, records = 0;  // records: of this file, already read
};

// Some records in a row, made by one thread; names count from 1 within the chunk.
struct StoreChunk {
  std::vector<StoreRow> rows;
  std::vector<std::string> names;
  std::string facts, data;
  StorePosition end;
  uint64_t input_bytes = 0;

  void add(const StoredRecord& record);

 private:
  std::map<std::string, uint32_t> name_index_;
  uint32_t name(const std::string& text);
};

class StoreWriter {
 public:
  // Goes on after the whole blocks that are in `folder`; Error when one of them is none. A block is written
  // and fsynced by a thread of its own while the next one is filled; what is wrong with it is an Error of the
  // next block or of finish().
  StoreWriter(const std::filesystem::path& folder, uint64_t block_bytes);
  const StorePosition& position() const { return position_; }
  uint64_t documents() const { return documents_; }
  void append(StoreChunk&& chunk);
  // The last block and store.json with `facts` beside the counts.
  void finish(Json facts);

 private:
  struct Block;
  void close_block();
  void finish_block();
  std::filesystem::path folder_;
  uint64_t block_bytes_, blocks_ = 0, documents_ = 0;
  StorePosition position_;
  std::vector<std::string> names_;
  std::map<std::string, uint32_t> name_index_;
  Json digests_ = Json::array();
  // Of the open block.
  std::vector<std::string> new_names_;
  std::vector<StoreRow> rows_;
  std::string facts_, data_;
  uint64_t input_bytes_ = 0;
  // The digest of the block that is being written; blocks are written one after the other. Last, so that its
  // end is waited for first.
  std::future<uint64_t> closing_;
};

// A document's bytes, read together.
class StoredDocument {
 public:
  std::string_view id() const { return part(0, row_.id_bytes); }
  std::string_view json() const { return part(row_.id_bytes, row_.json_bytes); }
  std::string_view text() const { return part(row_.id_bytes + row_.json_bytes, row_.text_bytes); }
  std::string_view record() const {
    return part(uint64_t{row_.id_bytes} + row_.json_bytes + row_.text_bytes, row_.record_bytes);
  }
  const StoreRow& row() const { return row_; }
  std::vector<uint32_t> part_tokens() const;  // one entry a part
  // Copies `count` tokens and weights from token `first`.
  void copy_tokens(uint64_t first, uint64_t count, uint32_t* tokens, uint8_t* loss_weight) const;

 private:
  friend class StoreReader;
  std::string_view part(uint64_t at, uint64_t size) const {
    return std::string_view(bytes_).substr(at, size);
  }
  uint64_t tokens_at() const;
  StoreRow row_;
  std::string bytes_;
};

// A finished store. Error when it is not whole or a block is damaged. Not thread-safe.
class StoreReader {
 public:
  explicit StoreReader(const std::filesystem::path& folder);
  ~StoreReader();
  StoreReader(const StoreReader&) = delete;
  StoreReader& operator=(const StoreReader&) = delete;
  uint64_t documents() const { return documents_; }
  const Json& facts() const { return facts_; }                                // store.json
  const std::string& name(uint32_t index) const { return names_.at(index); }  // 0 is ""
  const std::vector<std::string>& names() const { return names_; }
  size_t blocks() const { return blocks_.size(); }

  void each_row(const std::function<void(uint64_t index, const StoreRow&)>& work) const;
  void each_facts(const std::function<void(uint64_t index, const StoredFacts&)>& work) const;
  // Every document with its bytes, block by block; digests are compared.
  void each(const std::function<void(uint64_t index, const StoredDocument&)>& work) const;
  // One document; neighbours are cheapest in rising order.
  StoredDocument get(uint64_t index) const;
  // Files that were opened for reading stay open, some dozens of them, until the end or this call.
  void close_files() const;

 private:
  struct Block {
    std::filesystem::path path;
    uint64_t first = 0, rows = 0, rows_at = 0, facts_at = 0, fact_bytes = 0, data_at = 0, data_bytes = 0;
    uint64_t digest = 0;
  };
  const Block& block_of(uint64_t index) const;
  int open(size_t block) const;
  void read(size_t block, uint64_t at, char* to, uint64_t size) const;
  void check_row(const StoreRow& row, const Block& block) const;
  std::vector<Block> blocks_;
  std::vector<std::string> names_ = {""};
  uint64_t documents_ = 0;
  Json facts_;
  mutable std::map<size_t, int> open_files_;
};

// Removes rows for which `gone` says so, with their bytes, from every block; a block that has none is left
// alone. The store counts as unfinished until a StoreWriter finishes it (again). Returns how many blocks were
// rewritten. Works on an unfinished store, too, and a second time does nothing.
uint64_t remove_documents(const std::filesystem::path& folder,
                          const std::function<bool(const StoreRow&)>& gone);

// Whether `folder` holds a finished store.
bool store_is_finished(const std::filesystem::path& folder);

}  // namespace decant
