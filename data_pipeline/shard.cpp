#include "data_pipeline/shard.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "data_pipeline/hdf5_image.h"
#include "data_pipeline/packing.h"

namespace decant {

namespace {

constexpr int64_t kPlainVersion = 1, kRoleVersion = 2;
constexpr size_t kMaxIdBytes = 1024;
constexpr uint64_t kHeadBytes = 64 << 10;  // what HDF5 adds to the datasets, generously
constexpr int64_t kMaxSequenceLength = int64_t{1} << 24;

using Type = Hdf5Dataset::Type;

// Columns of one shard. The machine is little endian (checked in write_shards), so vectors are the file's
// bytes.
struct Columns {
  std::vector<uint32_t> tokens;
  std::vector<uint8_t> loss_weight;
  std::vector<uint64_t> document_offsets = {0}, row_offsets = {0};
  std::string ids;
  std::vector<DocumentRole> roles;  // empty in a folder without
  std::vector<int64_t> pairs;
};

template <class T>
std::string_view bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string content_sha256(const std::vector<Hdf5Dataset>& datasets) {
  Sha256 digest;
  for (const auto& dataset : datasets) {
    const uint64_t size = dataset.bytes.size();
    digest.update({reinterpret_cast<const char*>(&size), sizeof size});
    digest.update(dataset.bytes);
  }
  return digest.hex();
}

std::string shard_bytes(const ShardHeader& header, const Columns& c, size_t id_bytes) {
  Hdf5Content content;
  content.datasets = {
      {"tokens", Type::kU32, c.tokens.size(), 0, bytes_of(c.tokens)},
      {"loss_weight", Type::kU8, c.loss_weight.size(), 0, bytes_of(c.loss_weight)},
      {"document_offsets", Type::kU64, c.document_offsets.size(), 0, bytes_of(c.document_offsets)},
      {"row_offsets", Type::kU64, c.row_offsets.size(), 0, bytes_of(c.row_offsets)},
      {"document_id", Type::kText, c.ids.size() / id_bytes, id_bytes, c.ids}};
  if (header.schema_version == kRoleVersion) {
    content.datasets.push_back({"document_role", Type::kU8, c.roles.size(), 0, bytes_of(c.roles)});
    content.datasets.push_back({"document_pair", Type::kI64, c.pairs.size(), 0, bytes_of(c.pairs)});
  }
  content.numbers = {{"schema_version", header.schema_version}, {"sequence_length", header.sequence_length}};
  content.texts = {{"tokenizer_sha256", header.tokenizer_sha256},
                   {"chat_template_sha256", header.template_sha256},
                   {"content_sha256", content_sha256(content.datasets)}};
  return hdf5_bytes(content);
}

std::string shard_name(size_t index) {
  std::string number = std::to_string(index);
  return "shard-" + std::string(5 - std::min<size_t>(number.size(), 5), '0') + number + ".h5";
}

void check_documents(const ShardHeader& header, const ShardSource& source) {
  const uint32_t one = 1;
  check(*reinterpret_cast<const uint8_t*>(&one) == 1,
        "shards can only be written on a little-endian machine");
  check(source.id_bytes >= 1 && source.id_bytes <= kMaxIdBytes, "shard: an id of ", source.id_bytes,
        " bytes; at most ", kMaxIdBytes, " are taken");
  for (size_t d = 0; d < source.lengths.size(); ++d)
    if (source.lengths[d] < 1 || source.lengths[d] > static_cast<uint64_t>(header.sequence_length))
      fail("shard: document ", d, " has ", source.lengths[d], " tokens, expected 1 to ",
           header.sequence_length);
}

// What is packed as one piece: a document, or the two of a pair.
struct Piece {
  size_t first = 0, documents = 1;
  int64_t pair = -1;  // its number in the folder
};

bool has_roles(const ShardSource& source) {
  return std::any_of(source.roles.begin(), source.roles.end(),
                     [](DocumentRole role) { return role != DocumentRole::kPlain; });
}

std::vector<Piece> pieces_of(const ShardSource& source, int64_t sequence_length) {
  const size_t documents = source.lengths.size();
  if (source.roles.size() != (source.roles.empty() ? 0 : documents) ||
      source.pairs.size() != (source.pairs.empty() ? 0 : documents) ||
      (source.roles.empty() && !source.pairs.empty()))
    throw std::logic_error("shard: roles or pairs for another number of documents");
  std::vector<Piece> pieces;
  int64_t pairs = 0;
  for (size_t d = 0; d < documents; d += pieces.back().documents) {
    Piece& piece = pieces.emplace_back(Piece{d});
    if (source.pairs.empty() || source.pairs[d] < 0) continue;
    check(source.roles[d] == DocumentRole::kChosen && d + 1 < documents &&
              source.pairs[d + 1] == source.pairs[d] && source.roles[d + 1] == DocumentRole::kRejected,
          "shard: document ", d,
          " of a pair is not followed by its other one: expected the chosen one, then ", "the rejected one");
    const int64_t tokens = int64_t{source.lengths[d]} + source.lengths[d + 1];
    check(tokens <= sequence_length, "shard: the pair of document ", d, " has ", tokens,
          " tokens, expected at most ", sequence_length);
    piece.documents = 2;
    piece.pair = pairs++;
  }
  return pieces;
}

// Documents of each row, those of a pair next to each other.
std::vector<std::vector<int64_t>> pack_rows(const ShardSource& source, const std::vector<Piece>& pieces,
                                            int64_t sequence_length) {
  std::vector<int64_t> lengths;
  for (const Piece& piece : pieces) {
    lengths.push_back(source.lengths[piece.first]);
    if (piece.documents == 2) lengths.back() += source.lengths[piece.first + 1];
  }
  auto rows = pack_best_fit(lengths, sequence_length);
  for (auto& row : rows) {
    std::vector<int64_t> documents;
    for (const int64_t p : row) {
      const Piece& piece = pieces[static_cast<size_t>(p)];
      for (size_t d = 0; d < piece.documents; ++d) documents.push_back(static_cast<int64_t>(piece.first + d));
    }
    row = std::move(documents);
  }
  return rows;
}

// The pair of each document as the folder numbers them.
std::vector<int64_t> pair_numbers(const std::vector<Piece>& pieces, size_t documents) {
  std::vector<int64_t> numbers(documents, -1);
  for (const Piece& piece : pieces)
    for (size_t d = 0; d < piece.documents; ++d) numbers[piece.first + d] = piece.pair;
  return numbers;
}

void count_role(DocumentRole role, int64_t pair, RoleCounts& counts) {
  switch (role) {
    case DocumentRole::kPlain:
      ++counts.plain;
      break;
    case DocumentRole::kChosen:
      ++counts.chosen;
      if (pair >= 0) ++counts.pairs;
      break;
    case DocumentRole::kRejected:
      ++counts.rejected;
      break;
  }
}

Json role_json(const RoleCounts& counts) {
  return {{"plain", counts.plain},
          {"chosen", counts.chosen},
          {"rejected", counts.rejected},
          {"pairs", counts.pairs}};
}

// Content of the documents of some rows, in the order of the rows.
Columns gather(const ShardSource& source, const std::vector<std::vector<int64_t>>& rows, size_t begin,
               size_t end, const std::vector<int64_t>& pairs) {
  Columns columns;
  std::vector<ShardSource::Slot> slots;
  for (size_t r = begin; r < end; ++r) {
    for (const int64_t d : rows[r]) {
      slots.push_back({static_cast<size_t>(d)});
      columns.document_offsets.push_back(columns.document_offsets.back() +
                                         source.lengths[slots.back().document]);
      if (pairs.empty()) continue;
      columns.roles.push_back(source.roles[slots.back().document]);
      columns.pairs.push_back(pairs[slots.back().document]);
    }
    columns.row_offsets.push_back(columns.document_offsets.back());
  }
  columns.tokens.resize(columns.document_offsets.back());
  columns.loss_weight.resize(columns.tokens.size());
  columns.ids.assign(slots.size() * source.id_bytes, '\0');
  for (size_t i = 0; i < slots.size(); ++i) {
    const uint64_t at = columns.document_offsets[i];
    slots[i].tokens = columns.tokens.data() + at;
    slots[i].loss_weight = columns.loss_weight.data() + at;
    slots[i].id = columns.ids.data() + i * source.id_bytes;
  }
  std::sort(slots.begin(), slots.end(), [](const auto& a, const auto& b) { return a.document < b.document; });
  source.fetch(slots);
  for (const auto& slot : slots)
    if (*slot.loss_weight != 0)
      fail("shard: document '", std::string(slot.id, strnlen(slot.id, source.id_bytes)),
           "' has a loss weight on its first token");
  return columns;
}

}  // namespace

const char* role_name(DocumentRole role) {
  constexpr std::array<const char*, 3> kNames = {"plain", "chosen", "rejected"};
  return kNames.at(static_cast<size_t>(role));
}

Json pack_shards(const std::filesystem::path& folder, const ShardHeader& given, const ShardSource& source,
                 uint64_t max_shard_bytes) {
  check_documents(given, source);
  const bool roles = has_roles(source);
  ShardHeader header = given;
  header.schema_version = roles ? kRoleVersion : kPlainVersion;
  const std::vector<Piece> pieces = pieces_of(source, header.sequence_length);
  const auto rows = pack_rows(source, pieces, header.sequence_length);
  const std::vector<int64_t> pairs =
      roles ? pair_numbers(pieces, source.lengths.size()) : std::vector<int64_t>();
  Json index = {{"schema_version", header.schema_version},
                {"tokenizer_sha256", header.tokenizer_sha256},
                {"chat_template_sha256", header.template_sha256},
                {"sequence_length", header.sequence_length},
                {"documents", source.lengths.size()},
                {"rows", rows.size()},
                {"tokens", 0},
                {"target_tokens", 0},
                {"target_bytes", source.target_bytes},
                {"shards", Json::array()}};
  if (roles) {
    RoleCounts counts;
    for (size_t d = 0; d < pairs.size(); ++d) count_role(source.roles[d], pairs[d], counts);
    index["roles"] = role_json(counts);
  }
  int64_t tokens = 0, target_tokens = 0;
  write_folder(folder, [&](const std::filesystem::path& temporary) {
    const auto write_rows = [&](size_t begin, size_t end) {
      if (begin == end) return;
      const Columns columns = gather(source, rows, begin, end, pairs);
      const std::string name = shard_name(index["shards"].size());
      const std::string file = shard_bytes(header, columns, source.id_bytes);
      write_file(temporary / name, file);
      index["shards"].push_back({{"file", name},
                                 {"sha256", sha256_hex(file)},
                                 {"bytes", file.size()},
                                 {"documents", columns.document_offsets.size() - 1},
                                 {"rows", columns.row_offsets.size() - 1},
                                 {"tokens", columns.tokens.size()}});
      tokens += static_cast<int64_t>(columns.tokens.size());
      target_tokens += std::count_if(columns.loss_weight.begin(), columns.loss_weight.end(),
                                     [](uint8_t w) { return w > 0; });
    };
    size_t begin = 0;
    uint64_t bytes = kHeadBytes;
    for (size_t r = 0; r < rows.size(); ++r) {
      uint64_t row_bytes = 8;
      for (const int64_t d : rows[r])
        row_bytes +=
            uint64_t{5} * source.lengths[static_cast<size_t>(d)] + 8 + source.id_bytes + (roles ? 9 : 0);
      if (bytes + row_bytes > max_shard_bytes) {
        write_rows(begin, r);
        begin = r;
        bytes = kHeadBytes;
      }
      bytes += row_bytes;
    }
    write_rows(begin, rows.size());
    index["tokens"] = tokens;
    index["target_tokens"] = target_tokens;
    write_json(temporary / "index.json", index);
  });
  return index;
}

Json write_shards(const std::filesystem::path& folder, const ShardHeader& header,
                  const std::vector<ShardDocument>& documents, uint64_t max_shard_bytes) {
  ShardSource source;
  for (const ShardDocument& d : documents) {
    check(d.tokens.size() == d.loss_weight.size(), "shard: document '", d.id, "' has ", d.tokens.size(),
          " tokens and ", d.loss_weight.size(), " weights");
    check(!d.tokens.empty() && d.tokens.size() <= static_cast<size_t>(header.sequence_length),
          "shard: document '", d.id, "' has ", d.tokens.size(), " tokens, expected 1 to ",
          header.sequence_length);
    check(d.id.size() <= kMaxIdBytes, "shard: an id of ", d.id.size(), " bytes; at most ", kMaxIdBytes,
          " are taken");
    source.lengths.push_back(static_cast<uint32_t>(d.tokens.size()));
    source.id_bytes = std::max(source.id_bytes, d.id.size());
    source.target_bytes += d.target_bytes;
    source.roles.push_back(d.role);
    source.pairs.push_back(d.pair);
  }
  source.fetch = [&](const std::vector<ShardSource::Slot>& slots) {
    for (const auto& slot : slots) {
      const ShardDocument& d = documents[slot.document];
      std::copy(d.tokens.begin(), d.tokens.end(), slot.tokens);
      std::copy(d.loss_weight.begin(), d.loss_weight.end(), slot.loss_weight);
      d.id.copy(slot.id, d.id.size());
    }
  };
  return pack_shards(folder, header, source, max_shard_bytes);
}

// --- reading
// ---------------------------------------------------------------------------------------------------

namespace {

// A column of numbers where it lies in the mapped file. What another program wrote need not be aligned there:
// that is copied once.
template <class T>
class Column {
 public:
  void set(std::string_view bytes) {
    const size_t count = bytes.size() / sizeof(T);
    if (reinterpret_cast<uintptr_t>(bytes.data()) % alignof(T) == 0) {
      values_ = {reinterpret_cast<const T*>(bytes.data()), count};
    } else {
      copy_ = std::make_unique<T[]>(count);
      std::memcpy(copy_.get(), bytes.data(), count * sizeof(T));
      values_ = {copy_.get(), count};
    }
  }
  size_t size() const { return values_.size(); }
  T operator[](size_t i) const { return values_[i]; }
  std::span<const T> range(size_t begin, size_t end) const { return values_.subspan(begin, end - begin); }

 private:
  std::span<const T> values_;
  std::unique_ptr<T[]> copy_;
};

struct Shard {
  MappedFile file;
  Column<uint32_t> tokens;
  Column<uint8_t> loss_weight;
  Column<uint64_t> document_offsets, row_offsets;
  std::string_view ids;
  size_t id_bytes = 0;
  Column<DocumentRole> roles;  // empty in a shard without
  Column<int64_t> pairs;
  std::vector<uint64_t> row_documents;  // first document of each row, and the end
  int64_t first_row = 0;
};

void check_offsets(const Column<uint64_t>& offsets, uint64_t last, const char* name,
                   const std::string& where) {
  check(offsets.size() >= 2 && offsets[0] == 0, where, ": '", name, "' must begin with 0 and have an end");
  for (size_t i = 1; i < offsets.size(); ++i)
    check(offsets[i] > offsets[i - 1], where, ": '", name, "' does not rise at entry ", i);
  check(offsets[offsets.size() - 1] == last, where, ": '", name, "' ends at ", offsets[offsets.size() - 1],
        ", expected the ", last, " tokens");
}

int64_t index_number(const Json& json, const char* key, const std::string& where) {
  const auto found = json.find(key);
  check(found != json.end() && found->is_number_unsigned() && found->get<uint64_t>() < (uint64_t{1} << 62),
        where, ": '", key, "' must be a whole number");
  return found->get<int64_t>();
}

std::string index_text(const Json& json, const char* key, const std::string& where) {
  const auto found = json.find(key);
  check(found != json.end() && found->is_string(), where, ": '", key, "' must be text");
  return found->get<std::string>();
}

// Every role is one, and the two documents of a pair stand next to each other in one row.
void check_roles(const Shard& shard, const std::string& where) {
  const size_t documents = shard.document_offsets.size() - 1;
  check(shard.roles.size() == documents && shard.pairs.size() == documents, where, ": ", shard.roles.size(),
        " roles and ", shard.pairs.size(), " pairs for ", documents, " documents");
  for (size_t row = 0; row + 1 < shard.row_documents.size(); ++row) {
    const size_t end = shard.row_documents[row + 1];
    for (size_t d = shard.row_documents[row]; d < end; ++d) {
      check(shard.roles[d] <= DocumentRole::kRejected, where, ": document ", d, " has the role ",
            static_cast<int>(shard.roles[d]), ", expected 0 to 2");
      if (shard.pairs[d] == -1) continue;
      check(shard.pairs[d] >= 0, where, ": document ", d, " has the pair ", shard.pairs[d],
            ", expected a number from 0, or -1 for none");
      check(shard.roles[d] == DocumentRole::kChosen && d + 1 < end && shard.pairs[d + 1] == shard.pairs[d] &&
                shard.roles[d + 1] == DocumentRole::kRejected,
            where, ": pair ", shard.pairs[d],
            " is not a chosen document and, after it in the same row, a rejected one");
      ++d;
    }
  }
}

// Of a folder: each pair has its own number, from 0.
void check_pair_numbers(const std::vector<Shard>& shards, int64_t pairs, const std::string& where) {
  std::vector<bool> seen(static_cast<size_t>(pairs));
  for (const Shard& shard : shards)
    for (size_t d = 0; d < shard.pairs.size(); ++d) {
      const int64_t pair = shard.pairs[d];
      if (pair < 0 || shard.roles[d] != DocumentRole::kChosen) continue;
      check(pair < pairs && !seen[static_cast<size_t>(pair)], where, ": its shards have ", pairs,
            " pairs, so their numbers are 0 to ", pairs - 1, ", each once; found ", pair,
            pair < pairs ? " twice" : "");
      seen[static_cast<size_t>(pair)] = true;
    }
}

Shard open_shard(const std::filesystem::path& path, const Json& entry, const ShardHeader& header,
                 const std::string& index) {
  const std::string where = path.string();
  Shard shard{.file = MappedFile(path)};
  const std::string digest = sha256_hex(shard.file.bytes());
  const std::string expected = index_text(entry, "sha256", index);
  check(digest == expected, where, ": the file is not the one that ", index, " names: sha256 expected ",
        expected, ", found ", digest, "; prepare the corpus again");
  Hdf5Content wanted;
  wanted.datasets = {{"tokens", Type::kU32},
                     {"loss_weight", Type::kU8},
                     {"document_offsets", Type::kU64},
                     {"row_offsets", Type::kU64},
                     {"document_id", Type::kText}};
  if (header.schema_version == kRoleVersion) {
    wanted.datasets.push_back({"document_role", Type::kU8});
    wanted.datasets.push_back({"document_pair", Type::kI64});
  }
  wanted.numbers = {{"schema_version", 0}, {"sequence_length", 0}};
  wanted.texts = {{"tokenizer_sha256", ""}, {"chat_template_sha256", ""}, {"content_sha256", ""}};
  const Hdf5Content found = read_hdf5(shard.file.bytes(), wanted, where);
  check(found.numbers[0].second == header.schema_version, where, ": schema version ", found.numbers[0].second,
        ", expected ", header.schema_version);
  check(found.numbers[1].second == header.sequence_length, where, ": sequence length ",
        found.numbers[1].second, ", expected ", header.sequence_length);
  check(found.texts[0].second == header.tokenizer_sha256, where, ": made with another tokenizer than ", index,
        " says");
  check(found.texts[1].second == header.template_sha256, where, ": made with another chat template than ",
        index, " says");
  check(found.texts[2].second == content_sha256(found.datasets), where,
        ": the content does not match content_sha256");

  shard.tokens.set(found.datasets[0].bytes);
  shard.loss_weight.set(found.datasets[1].bytes);
  shard.document_offsets.set(found.datasets[2].bytes);
  shard.row_offsets.set(found.datasets[3].bytes);
  shard.ids = found.datasets[4].bytes;
  shard.id_bytes = found.datasets[4].text_bytes;
  const uint64_t tokens = shard.tokens.size();
  check(shard.loss_weight.size() == tokens, where, ": ", shard.loss_weight.size(), " loss weights for ",
        tokens, " tokens");
  check_offsets(shard.document_offsets, tokens, "document_offsets", where);
  check_offsets(shard.row_offsets, tokens, "row_offsets", where);
  const uint64_t documents = shard.document_offsets.size() - 1, rows = shard.row_offsets.size() - 1;
  check(found.datasets[4].count == documents, where, ": ", found.datasets[4].count, " ids for ", documents,
        " documents");
  for (uint64_t d = 0, row = 0; d < documents; ++d) {
    const uint64_t start = shard.document_offsets[d];
    check(shard.loss_weight[start] == 0, where, ": document ", d, " has a loss weight on its first token");
    if (start == shard.row_offsets[row]) {
      shard.row_documents.push_back(d);
      ++row;
    }
  }
  check(shard.row_documents.size() == rows, where, ": a row does not begin at a document");
  shard.row_documents.push_back(documents);
  if (header.schema_version == kRoleVersion) {
    shard.roles.set(found.datasets[5].bytes);
    shard.pairs.set(found.datasets[6].bytes);
    check_roles(shard, where);
  }
  for (uint64_t r = 0; r < rows; ++r)
    check(shard.row_offsets[r + 1] - shard.row_offsets[r] <= static_cast<uint64_t>(header.sequence_length),
          where, ": row ", r, " is longer than the sequence length ", header.sequence_length);
  check(index_number(entry, "rows", index) == static_cast<int64_t>(rows) &&
            index_number(entry, "tokens", index) == static_cast<int64_t>(tokens),
        where, ": other counts of rows or tokens than in ", index);
  return shard;
}

}  // namespace

struct ShardReader::Impl {
  std::vector<Shard> shards;
  int64_t rows = 0, tokens = 0, documents = 0, target_bytes = 0;
  RoleCounts roles;

  const Shard& shard_of(int64_t index, size_t& row) const {
    check(index >= 0 && index < rows, "shards: row ", index, " asked for, there are ", rows);
    const auto after = std::upper_bound(shards.begin(), shards.end(), index,
                                        [](int64_t i, const Shard& s) { return i < s.first_row; });
    const Shard& shard = *std::prev(after);
    row = static_cast<size_t>(index - shard.first_row);
    return shard;
  }
};

ShardReader::ShardReader(const std::filesystem::path& folder) : impl_(std::make_unique<Impl>()) {
  const auto path = folder / "index.json";
  const std::string where = path.string();
  check(std::filesystem::exists(path), where, ": not found: ", folder.string(), " is no folder of shards");
  const Json index = read_json(path);
  check(index.is_object(), where, ": expected a JSON object");
  header_.schema_version = index_number(index, "schema_version", where);
  check(header_.schema_version == kPlainVersion || header_.schema_version == kRoleVersion, where,
        ": schema version ", header_.schema_version, ", this program reads ", kPlainVersion, " and ",
        kRoleVersion);
  header_.tokenizer_sha256 = index_text(index, "tokenizer_sha256", where);
  header_.template_sha256 = index_text(index, "chat_template_sha256", where);
  header_.sequence_length = index_number(index, "sequence_length", where);
  check(header_.sequence_length >= 1 && header_.sequence_length <= kMaxSequenceLength, where,
        ": 'sequence_length' must be 1 to ", kMaxSequenceLength);
  impl_->target_bytes = index_number(index, "target_bytes", where);
  const auto shards = index.find("shards");
  check(shards != index.end() && shards->is_array(), where, ": 'shards' must be a list");
  for (const Json& entry : *shards) {
    check(entry.is_object(), where, ": 'shards' holds something that is not an object");
    const std::string name = index_text(entry, "file", where);
    const bool plain = !name.empty() && name.find('/') == std::string::npos && name[0] != '.';
    check(plain, where, ": a shard's 'file' must be a plain file name");
    Shard shard = open_shard(folder / name, entry, header_, where);
    shard.first_row = impl_->rows;
    impl_->rows += static_cast<int64_t>(shard.row_offsets.size() - 1);
    impl_->tokens += static_cast<int64_t>(shard.tokens.size());
    impl_->documents += static_cast<int64_t>(shard.document_offsets.size() - 1);
    for (size_t d = 0; d < shard.roles.size(); ++d) count_role(shard.roles[d], shard.pairs[d], impl_->roles);
    if (shard.roles.size() == 0)
      impl_->roles.plain += static_cast<int64_t>(shard.document_offsets.size() - 1);
    impl_->shards.push_back(std::move(shard));
  }
  check(index_number(index, "rows", where) == impl_->rows &&
            index_number(index, "tokens", where) == impl_->tokens &&
            index_number(index, "documents", where) == impl_->documents,
        where, ": its counts are not the sum of its shards'");
  if (header_.schema_version != kRoleVersion) return;
  check(index.contains("roles") && index["roles"] == role_json(impl_->roles), where,
        ": 'roles' is not what its shards have, ", role_json(impl_->roles).dump());
  check_pair_numbers(impl_->shards, impl_->roles.pairs, where);
}

ShardReader::~ShardReader() = default;

int64_t ShardReader::rows() const { return impl_->rows; }
int64_t ShardReader::tokens() const { return impl_->tokens; }
int64_t ShardReader::documents() const { return impl_->documents; }
int64_t ShardReader::target_bytes() const { return impl_->target_bytes; }
const RoleCounts& ShardReader::roles() const { return impl_->roles; }

int64_t ShardReader::row_tokens(int64_t index) const {
  size_t row = 0;
  const Shard& shard = impl_->shard_of(index, row);
  return static_cast<int64_t>(shard.row_offsets[row + 1] - shard.row_offsets[row]);
}

RowView ShardReader::row_view(int64_t index) const {
  size_t row = 0;
  const Shard& shard = impl_->shard_of(index, row);
  const uint64_t begin = shard.row_offsets[row], end = shard.row_offsets[row + 1];
  const uint64_t first = shard.row_documents[row], last = shard.row_documents[row + 1];
  return {shard.tokens.range(begin, end),
          shard.loss_weight.range(begin, end),
          shard.document_offsets.range(first, last + 1),
          shard.ids.substr(first * shard.id_bytes, (last - first) * shard.id_bytes),
          shard.id_bytes,
          shard.roles.size() == 0 ? std::span<const DocumentRole>() : shard.roles.range(first, last),
          shard.pairs.size() == 0 ? std::span<const int64_t>() : shard.pairs.range(first, last)};
}

std::vector<ShardDocument> ShardReader::row(int64_t index) const {
  const RowView view = row_view(index);
  std::vector<ShardDocument> documents;
  for (size_t d = 0; d < view.documents(); ++d) {
    const uint64_t begin = view.document_offsets[d] - view.document_offsets[0];
    const uint64_t length = view.document_offsets[d + 1] - view.document_offsets[d];
    const auto tokens = view.tokens.subspan(begin, length);
    const auto weights = view.loss_weight.subspan(begin, length);
    documents.push_back({std::string(view.id(d)),
                         {tokens.begin(), tokens.end()},
                         {weights.begin(), weights.end()},
                         0,
                         view.role(d),
                         view.pair(d)});
  }
  return documents;
}

}  // namespace decant
