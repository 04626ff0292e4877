#include "data_pipeline/corpus_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr std::array<char, 8> kMagic = {'d', 'e', 'c', 'a', 'n', 't', 'S', 'T'};
constexpr uint32_t kVersion = 2;
constexpr size_t kMaxOpenFiles = 64;
constexpr size_t kRowsAtOnce = 4096;

struct BlockHead {
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion, row_bytes = sizeof(StoreRow);
  uint64_t index = 0, rows = 0, name_bytes = 0, fact_bytes = 0, data_bytes = 0;
  StorePosition end;
  uint64_t digest = 0;
};

template <class T>
std::string_view bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const char*>(values), count * sizeof(T)};
}

uint64_t block_digest(std::string_view names, std::string_view rows, std::string_view facts,
                      std::string_view data) {
  return xxh3_64(data, xxh3_64(facts, xxh3_64(rows, xxh3_64(names))));
}

std::string block_name(uint64_t index) {
  const std::string number = std::to_string(index);
  return "block-" + std::string(6 - std::min<size_t>(number.size(), 6), '0') + number + ".bin";
}

std::string digest_text(uint64_t digest) {
  std::string bytes;
  for (int shift = 56; shift >= 0; shift -= 8) bytes += static_cast<char>(digest >> shift);
  return to_hex(bytes);
}

[[noreturn]] void damaged(const fs::path& path, const char* what) {
  fail(path.string(), ": ", what, ": the store is damaged; remove its folder and run the step again");
}

void append_number(std::string& out, uint32_t value) { out += bytes_of(&value, 1); }

// Appends the names of a block to `names`.
void read_names(std::string_view bytes, std::vector<std::string>& names, const fs::path& path) {
  for (size_t at = 0; at < bytes.size();) {
    uint32_t size = 0;
    if (bytes.size() - at < sizeof size) damaged(path, "names end early");
    std::memcpy(&size, bytes.data() + at, sizeof size);
    at += sizeof size;
    if (bytes.size() - at < size) damaged(path, "names end early");
    names.emplace_back(bytes.substr(at, size));
    at += size;
  }
}

// The head and the names of a block whose sizes agree with its file's.
BlockHead read_head(const fs::path& path, uint64_t index, std::vector<std::string>& names) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(path.string(), ": cannot be opened: ", std::strerror(errno));
  BlockHead head;
  std::string name_bytes;
  bool whole = ::pread(file, &head, sizeof head, 0) == static_cast<ssize_t>(sizeof head);
  const uint64_t size = fs::file_size(path);
  whole = whole && head.magic == kMagic && head.version == kVersion && head.row_bytes == sizeof(StoreRow) &&
          head.index == index && head.name_bytes <= size && head.fact_bytes <= size &&
          head.data_bytes <= size && head.rows <= size / sizeof(StoreRow) &&
          sizeof head + head.name_bytes + head.rows * sizeof(StoreRow) + head.fact_bytes + head.data_bytes ==
              size;
  if (whole) {
    name_bytes.resize(head.name_bytes);
    whole = ::pread(file, name_bytes.data(), name_bytes.size(), sizeof head) ==
            static_cast<ssize_t>(name_bytes.size());
  }
  ::close(file);
  if (!whole) damaged(path, "not the block that its name says");
  read_names(name_bytes, names, path);
  return head;
}

uint64_t bytes_of_document(const StoreRow& row) {
  const uint64_t lengths = row.parts > 1 ? uint64_t{4} * row.parts : 0;
  return uint64_t{row.id_bytes} + row.json_bytes + row.text_bytes + row.record_bytes + lengths +
         uint64_t{5} * row.tokens;
}

uint64_t bytes_of_facts(const StoreRow& row) {
  return uint64_t{row.id_bytes} + row.attribute_bytes + uint64_t{4} * row.band_keys +
         sizeof(NgramHit) * uint64_t{row.hits} + sizeof(ReplyKey) * uint64_t{row.replies};
}

StoredFacts facts_of(const StoreRow& row, std::string_view facts) {
  const std::string_view mine = facts.substr(row.facts, bytes_of_facts(row));
  return {row, mine.substr(0, row.id_bytes), mine.substr(row.id_bytes, row.attribute_bytes),
          mine.substr(uint64_t{row.id_bytes} + row.attribute_bytes)};
}

uint32_t narrow(uint64_t size) {
  if (size > UINT32_MAX) throw std::logic_error("store: a record of over 4 GiB");
  return static_cast<uint32_t>(size);
}

}  // namespace

const char* stage_name(Stage stage) {
  constexpr std::array<const char*, 11> kNames = {"read",        "normalize", "pii",           "render",
                                                  "deduplicate", "filter",    "decontaminate", "split",
                                                  "mix",         "pack",      "erase"};
  return kNames.at(static_cast<size_t>(stage));
}

std::array<uint64_t, 2> store_key_of(const std::string& tenant, const std::string& text) {
  const std::string key = tenant + '\0' + text;
  return {xxh3_64(key, 1), xxh3_64(key, 2)};
}

// --- chunks

uint32_t StoreChunk::name(const std::string& text) {
  if (text.empty()) return 0;
  const auto [place, added] = name_index_.try_emplace(text, static_cast<uint32_t>(names.size() + 1));
  if (added) names.push_back(text);
  return place->second;
}

void StoreChunk::add(const StoredRecord& r) {
  StoreRow row = r.row;
  row.tenant = name(r.tenant);
  row.reason = name(r.reason);
  row.data = data.size();
  row.id_bytes = narrow(r.id.size());
  row.json_bytes = narrow(r.json.size());
  row.text_bytes = narrow(r.text.size());
  row.record_bytes = narrow(r.record.size());
  row.parts = narrow(r.part_tokens.size());
  row.tokens = narrow(r.tokens.size());
  row.attribute_bytes = narrow(r.attributes.size());
  row.band_keys = narrow(r.band_keys.size());
  row.hits = narrow(r.hits.size());
  row.replies = narrow(r.replies.size());
  row.facts = facts.size();
  facts.append(r.id).append(r.attributes);
  facts += bytes_of(r.band_keys.data(), r.band_keys.size());
  facts += bytes_of(r.hits.data(), r.hits.size());
  facts += bytes_of(r.replies.data(), r.replies.size());
  row.longest_part =
      r.part_tokens.empty() ? 0 : *std::max_element(r.part_tokens.begin(), r.part_tokens.end());
  if (judged_answers(row) == JudgedAnswers::kPair) row.longest_part = row.tokens;
  data.append(r.id).append(r.json).append(r.text).append(r.record);
  if (row.parts > 1) data += bytes_of(r.part_tokens.data(), r.part_tokens.size());
  data += bytes_of(r.tokens.data(), r.tokens.size());
  data += bytes_of(r.loss_weight.data(), r.loss_weight.size());
  row.digest = xxh3_64(std::string_view(data).substr(row.data));
  rows.push_back(row);
}

// --- writing

StoreWriter::StoreWriter(const fs::path& folder, uint64_t block_bytes)
    : folder_(folder), block_bytes_(block_bytes) {
  fs::create_directories(folder_);
  remove_temporaries(folder_);
  for (; fs::exists(folder_ / block_name(blocks_)); ++blocks_) {
    std::vector<std::string> names;
    const BlockHead head = read_head(folder_ / block_name(blocks_), blocks_, names);
    for (const std::string& name : names) {
      names_.push_back(name);
      name_index_.emplace(name, static_cast<uint32_t>(names_.size()));
    }
    digests_.push_back(digest_text(head.digest));
    documents_ += head.rows;
    position_ = head.end;
  }
}

void StoreWriter::append(StoreChunk&& chunk) {
  std::vector<uint32_t> index = {0};
  for (const std::string& name : chunk.names) {
    const auto [place, added] = name_index_.try_emplace(name, static_cast<uint32_t>(names_.size() + 1));
    if (added) {
      names_.push_back(name);
      new_names_.push_back(name);
    }
    index.push_back(place->second);
  }
  for (StoreRow& row : chunk.rows) {
    row.tenant = index[row.tenant];
    row.reason = index[row.reason];
    row.facts += facts_.size();
    row.data += data_.size();
  }
  rows_.insert(rows_.end(), chunk.rows.begin(), chunk.rows.end());
  facts_ += chunk.facts;
  data_ += chunk.data;
  position_ = chunk.end;
  input_bytes_ += chunk.input_bytes;
  if (input_bytes_ >= block_bytes_) close_block();
}

// What a block is written from.
struct StoreWriter::Block {
  BlockHead head;
  std::filesystem::path path;
  std::string names;
  std::vector<StoreRow> rows;
  std::string facts, data;

  uint64_t write() {
    const std::string_view row_bytes = bytes_of(rows.data(), rows.size());
    head.digest = block_digest(names, row_bytes, facts, data);
    AtomicFile file(path);
    file.write(bytes_of(&head, 1));
    file.write(names);
    file.write(row_bytes);
    file.write(facts);
    file.write(data);
    file.commit();
    return head.digest;
  }
};

void StoreWriter::finish_block() {
  if (closing_.valid()) digests_.push_back(digest_text(closing_.get()));
}

void StoreWriter::close_block() {
  finish_block();
  if (rows_.empty()) return;
  auto block = std::make_shared<Block>();
  block->path = folder_ / block_name(blocks_);
  for (const std::string& name : new_names_) {
    append_number(block->names, narrow(name.size()));
    block->names += name;
  }
  block->rows = std::move(rows_);
  block->facts = std::move(facts_);
  block->data = std::move(data_);
  BlockHead& head = block->head;
  head.index = blocks_;
  head.rows = block->rows.size();
  head.name_bytes = block->names.size();
  head.fact_bytes = block->facts.size();
  head.data_bytes = block->data.size();
  head.end = position_;
  ++blocks_;
  documents_ += block->rows.size();
  rows_ = {};
  facts_ = {};
  data_ = {};
  rows_.reserve(head.rows);
  facts_.reserve(head.fact_bytes);
  data_.reserve(head.data_bytes);
  new_names_.clear();
  input_bytes_ = 0;
  closing_ = std::async(std::launch::async, [block] { return block->write(); });
}

void StoreWriter::finish(Json facts) {
  close_block();
  finish_block();
  facts["documents"] = documents_;
  facts["blocks"] = digests_;
  write_json(folder_ / "store.json", facts);
}

// --- reading

uint64_t StoredDocument::tokens_at() const {
  const uint64_t lengths = row_.parts > 1 ? uint64_t{4} * row_.parts : 0;
  return uint64_t{row_.id_bytes} + row_.json_bytes + row_.text_bytes + row_.record_bytes + lengths;
}

std::vector<uint32_t> StoredDocument::part_tokens() const {
  if (row_.parts <= 1) return std::vector<uint32_t>(row_.parts, row_.tokens);
  std::vector<uint32_t> lengths(row_.parts);
  std::memcpy(lengths.data(), bytes_.data() + tokens_at() - uint64_t{4} * row_.parts, lengths.size() * 4);
  return lengths;
}

void StoredDocument::copy_tokens(uint64_t first, uint64_t count, uint32_t* tokens,
                                 uint8_t* loss_weight) const {
  if (first > row_.tokens || count > row_.tokens - first)
    throw std::logic_error("store: tokens beyond a document's end");
  const char* at = bytes_.data() + tokens_at();
  std::memcpy(tokens, at + first * 4, count * 4);
  std::memcpy(loss_weight, at + uint64_t{row_.tokens} * 4 + first, count);
}

uint64_t remove_documents(const fs::path& folder, const std::function<bool(const StoreRow&)>& gone) {
  uint64_t rewritten = 0;
  std::vector<std::string> names;
  for (uint64_t b = 0; fs::exists(folder / block_name(b)); ++b) {
    const fs::path path = folder / block_name(b);
    BlockHead head = read_head(path, b, names);
    const std::string bytes = read_file(path);
    const std::string_view name_bytes = std::string_view(bytes).substr(sizeof head, head.name_bytes);
    std::vector<StoreRow> rows(head.rows);
    std::memcpy(rows.data(), bytes.data() + sizeof head + head.name_bytes, rows.size() * sizeof(StoreRow));
    const std::string_view data = std::string_view(bytes).substr(bytes.size() - head.data_bytes);
    const std::string_view facts =
        std::string_view(bytes).substr(bytes.size() - head.data_bytes - head.fact_bytes, head.fact_bytes);
    if (block_digest(name_bytes, bytes_of(rows.data(), rows.size()), facts, data) != head.digest)
      damaged(path, "its bytes do not have its digest");
    std::vector<StoreRow> left;
    std::string left_facts, left_data;
    for (StoreRow row : rows) {
      if (gone(row)) continue;
      const std::string_view document = data.substr(row.data, bytes_of_document(row));
      const std::string_view beside = facts.substr(row.facts, bytes_of_facts(row));
      row.facts = left_facts.size();
      row.data = left_data.size();
      left_facts += beside;
      left_data += document;
      left.push_back(row);
    }
    if (left.size() == rows.size()) continue;
    if (rewritten++ == 0) fs::remove(folder / "store.json");  // it names the blocks as they were
    const std::string_view row_bytes = bytes_of(left.data(), left.size());
    head.rows = left.size();
    head.fact_bytes = left_facts.size();
    head.data_bytes = left_data.size();
    head.digest = block_digest(name_bytes, row_bytes, left_facts, left_data);
    AtomicFile file(path);
    file.write(bytes_of(&head, 1));
    file.write(name_bytes);
    file.write(row_bytes);
    file.write(left_facts);
    file.write(left_data);
    file.commit();
  }
  return rewritten;
}

bool store_is_finished(const fs::path& folder) { return fs::is_regular_file(folder / "store.json"); }

StoreReader::StoreReader(const fs::path& folder) {
  check(store_is_finished(folder), (folder / "store.json").string(),
        ": not found: the first pass over the inputs did not end");
  facts_ = read_json(folder / "store.json");
  const auto digests = facts_.find("blocks");
  if (!facts_.is_object() || digests == facts_.end() || !digests->is_array())
    damaged(folder / "store.json", "no list of blocks");
  for (uint64_t b = 0; b < digests->size(); ++b) {
    Block block;
    block.path = folder / block_name(b);
    if (!fs::is_regular_file(block.path)) damaged(block.path, "not found");
    const BlockHead head = read_head(block.path, b, names_);
    if ((*digests)[b] != digest_text(head.digest)) damaged(block.path, "not the block that store.json names");
    block.first = documents_;
    block.rows = head.rows;
    block.rows_at = sizeof head + head.name_bytes;
    block.facts_at = block.rows_at + head.rows * sizeof(StoreRow);
    block.fact_bytes = head.fact_bytes;
    block.data_at = block.facts_at + head.fact_bytes;
    block.data_bytes = head.data_bytes;
    block.digest = head.digest;
    documents_ += head.rows;
    blocks_.push_back(std::move(block));
  }
}

StoreReader::~StoreReader() { close_files(); }

void StoreReader::close_files() const {
  for (const auto& [block, file] : open_files_) ::close(file);
  open_files_.clear();
}

int StoreReader::open(size_t block) const {
  if (const auto found = open_files_.find(block); found != open_files_.end()) return found->second;
  if (open_files_.size() >= kMaxOpenFiles) {  // reading goes forward: the lowest is the one that is done with
    ::close(open_files_.begin()->second);
    open_files_.erase(open_files_.begin());
  }
  const int file = ::open(blocks_[block].path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) fail(blocks_[block].path.string(), ": cannot be opened: ", std::strerror(errno));
  open_files_.emplace(block, file);
  return file;
}

void StoreReader::read(size_t block, uint64_t at, char* to, uint64_t size) const {
  const int file = open(block);
  while (size > 0) {
    const ssize_t got = ::pread(file, to, size, static_cast<off_t>(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) damaged(blocks_[block].path, "cannot be read to its end");
    to += got;
    at += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
}

void StoreReader::check_row(const StoreRow& row, const Block& block) const {
  const uint64_t bytes = bytes_of_document(row);
  const uint64_t facts = bytes_of_facts(row);
  if (bytes > block.data_bytes || row.data > block.data_bytes - bytes || facts > block.fact_bytes ||
      row.facts > block.fact_bytes - facts || row.tenant >= names_.size() || row.reason >= names_.size() ||
      judged_answers(row) > JudgedAnswers::kPair)
    damaged(block.path, "a row points beyond the data");
}

void StoreReader::each_row(const std::function<void(uint64_t, const StoreRow&)>& work) const {
  std::vector<StoreRow> rows;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    for (uint64_t first = 0; first < block.rows; first += rows.size()) {
      rows.resize(std::min<uint64_t>(kRowsAtOnce, block.rows - first));
      read(b, block.rows_at + first * sizeof(StoreRow), reinterpret_cast<char*>(rows.data()),
           rows.size() * sizeof(StoreRow));
      for (size_t i = 0; i < rows.size(); ++i) {
        check_row(rows[i], block);
        work(block.first + first + i, rows[i]);
      }
    }
  }
}

void StoreReader::each_facts(const std::function<void(uint64_t, const StoredFacts&)>& work) const {
  std::vector<StoreRow> rows;
  std::string facts;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    rows.resize(block.rows);
    facts.resize(block.fact_bytes);
    read(b, block.rows_at, reinterpret_cast<char*>(rows.data()), rows.size() * sizeof(StoreRow));
    read(b, block.facts_at, facts.data(), facts.size());
    for (size_t i = 0; i < rows.size(); ++i) {
      check_row(rows[i], block);
      work(block.first + i, facts_of(rows[i], facts));
    }
  }
}

std::vector<uint32_t> StoredFacts::band_keys() const {
  std::vector<uint32_t> keys(row.band_keys);
  std::memcpy(keys.data(), keys_hits_replies.data(), keys.size() * sizeof(uint32_t));
  return keys;
}

DocumentScan StoredFacts::hits() const {
  DocumentScan scan(row.hits);
  if (row.hits > 0)
    std::memcpy(scan.data(), keys_hits_replies.data() + row.band_keys * sizeof(uint32_t),
                scan.size() * sizeof(NgramHit));
  return scan;
}

std::vector<ReplyKey> StoredFacts::replies() const {
  std::vector<ReplyKey> keys(row.replies);
  if (row.replies > 0)
    std::memcpy(keys.data(),
                keys_hits_replies.data() + row.band_keys * sizeof(uint32_t) + row.hits * sizeof(NgramHit),
                keys.size() * sizeof(ReplyKey));
  return keys;
}

void StoreReader::each(const std::function<void(uint64_t, const StoredDocument&)>& work) const {
  std::string names, facts, data;
  std::vector<StoreRow> rows;
  StoredDocument document;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    names.resize(block.rows_at - sizeof(BlockHead));
    rows.resize(block.rows);
    facts.resize(block.fact_bytes);
    data.resize(block.data_bytes);
    read(b, sizeof(BlockHead), names.data(), names.size());
    read(b, block.rows_at, reinterpret_cast<char*>(rows.data()), rows.size() * sizeof(StoreRow));
    read(b, block.facts_at, facts.data(), facts.size());
    read(b, block.data_at, data.data(), data.size());
    if (block_digest(names, bytes_of(rows.data(), rows.size()), facts, data) != block.digest)
      damaged(block.path, "its bytes do not have its digest");
    for (size_t i = 0; i < rows.size(); ++i) {
      check_row(rows[i], block);
      document.row_ = rows[i];
      document.bytes_.assign(data, rows[i].data, bytes_of_document(rows[i]));
      work(block.first + i, document);
    }
  }
}

const StoreReader::Block& StoreReader::block_of(uint64_t index) const {
  if (index >= documents_) throw std::logic_error("store: a document beyond its end");
  const auto after = std::upper_bound(blocks_.begin(), blocks_.end(), index,
                                      [](uint64_t i, const Block& block) { return i < block.first; });
  return *std::prev(after);
}

StoredDocument StoreReader::get(uint64_t index) const {
  const Block& block = block_of(index);
  const auto b = static_cast<size_t>(&block - blocks_.data());
  StoredDocument document;
  read(b, block.rows_at + (index - block.first) * sizeof(StoreRow), reinterpret_cast<char*>(&document.row_),
       sizeof(StoreRow));
  check_row(document.row_, block);
  document.bytes_.resize(bytes_of_document(document.row_));
  read(b, block.data_at + document.row_.data, document.bytes_.data(), document.bytes_.size());
  return document;
}

}  // namespace decant
