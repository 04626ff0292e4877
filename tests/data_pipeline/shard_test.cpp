#include "data_pipeline/shard.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "core/file.h"
#include "core/hash.h"
#include "core/random.h"
#include "data_pipeline/hdf5_image.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {
namespace fs = std::filesystem;

ShardHeader header_of(int64_t length = 64) {
  ShardHeader header;
  header.tokenizer_sha256 = sha256_hex("tokenizer");
  header.template_sha256 = sha256_hex("template");
  header.sequence_length = length;
  return header;
}

std::vector<ShardDocument> some_documents(size_t count, uint64_t seed = 1) {
  std::vector<ShardDocument> documents;
  for (size_t i = 0; i < count; ++i) {
    ShardDocument& d = documents.emplace_back();
    d.id = "doc-" + std::to_string(i);
    d.target_bytes = 3;
    const size_t length = 2 + philox(seed, 0, i)[0] % 60;
    for (size_t k = 0; k < length; ++k) {
      const auto bits = philox(seed, i + 1, k);
      d.tokens.push_back(bits[0]);
      d.loss_weight.push_back(k == 0 ? 0 : static_cast<uint8_t>(bits[1]));
    }
  }
  return documents;
}

void expect_all(const ShardReader& reader, const std::vector<ShardDocument>& documents) {
  std::map<std::string, const ShardDocument*> by_id;
  for (const auto& d : documents) by_id[d.id] = &d;
  size_t seen = 0;
  for (int64_t r = 0; r < reader.rows(); ++r) {
    int64_t length = 0;
    for (const auto& d : reader.row(r)) {
      ASSERT_TRUE(by_id.contains(d.id));
      EXPECT_EQ(d.tokens, by_id[d.id]->tokens);
      EXPECT_EQ(d.loss_weight, by_id[d.id]->loss_weight);
      length += static_cast<int64_t>(d.tokens.size());
      ++seen;
    }
    EXPECT_LE(length, reader.header().sequence_length);
    EXPECT_EQ(length, reader.row_tokens(r));
  }
  EXPECT_EQ(seen, documents.size());
}

TEST(Shard, RoundTripInOneAndInManyFiles) {
  const auto documents = some_documents(3000);
  for (const uint64_t most : {uint64_t{64} << 20, uint64_t{120} << 10}) {
    const auto folder = test::scratch_folder() / "shards";
    const Json index = write_shards(folder, header_of(), documents, most);
    EXPECT_EQ(index, read_json(folder / "index.json"));
    if (most < (1u << 20)) {
      EXPECT_GT(index["shards"].size(), 3u);
    } else {
      EXPECT_EQ(index["shards"].size(), 1u);
    }
    for (const Json& shard : index["shards"]) {
      const auto file = folder / shard["file"].get<std::string>();
      EXPECT_LE(fs::file_size(file), most);
      EXPECT_EQ(sha256_file(file), shard["sha256"].get<std::string>());
    }
    const ShardReader reader(folder);
    EXPECT_EQ(reader.header().tokenizer_sha256, header_of().tokenizer_sha256);
    EXPECT_EQ(reader.documents(), 3000);
    EXPECT_EQ(reader.target_bytes(), 9000);
    expect_all(reader, documents);
    EXPECT_ERROR(reader.row(reader.rows()), "asked for, there are");
    EXPECT_ERROR(reader.row(-1), "row -1 asked for");
  }
}

TEST(Shard, SameInputSameBytes) {
  const auto documents = some_documents(200);
  const auto folder = test::scratch_folder();
  write_shards(folder / "a", header_of(), documents);
  write_shards(folder / "deeper/b", header_of(), documents);
  for (const char* name : {"index.json", "shard-00000.h5"})
    EXPECT_EQ(read_file(folder / "a" / name), read_file(folder / "deeper/b" / name));
  // A process of its own, a second later by the clock.
  const pid_t child = ::fork();
  if (child == 0) {
    ::sleep(1);
    write_shards(folder / "c", header_of(), documents);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(read_file(folder / "a/shard-00000.h5"), read_file(folder / "c/shard-00000.h5"));
  write_shards(folder / "a", header_of(), some_documents(10));  // replaces the whole folder
  EXPECT_EQ(ShardReader(folder / "a").documents(), 10);
}

TEST(Shard, NoDocuments) {
  const auto folder = test::scratch_folder() / "none";
  write_shards(folder, header_of(), {});
  EXPECT_EQ(ShardReader(folder).rows(), 0);
  EXPECT_ERROR(ShardReader(folder).row(0), "there are 0");
}

TEST(Shard, WriterRefuses) {
  const auto folder = test::scratch_folder() / "x";
  const auto write = [&](ShardDocument d) { write_shards(folder, header_of(4), {std::move(d)}); };
  EXPECT_ERROR(write({"a", {1, 2}, {0}}), "document 'a' has 2 tokens and 1 weights");
  EXPECT_ERROR(write({"a", {}, {}}), "has 0 tokens, expected 1 to 4");
  EXPECT_ERROR(write({"a", {1, 2, 3, 4, 5}, {0, 0, 0, 0, 0}}), "has 5 tokens, expected 1 to 4");
  EXPECT_ERROR(write({"a", {1}, {9}}), "has a loss weight on its first token");
  EXPECT_FALSE(fs::exists(folder));
}

// Pairs, feedback of both kinds and plain documents, of lengths 2 to 31.
std::vector<ShardDocument> judged_documents(size_t count) {
  std::vector<ShardDocument> documents = some_documents(count, 7);
  for (ShardDocument& d : documents) {
    d.tokens.resize(std::min<size_t>(d.tokens.size(), 31));
    d.loss_weight.resize(d.tokens.size());
  }
  for (size_t i = 0; i < count; ++i) {
    if (i % 5 == 2) documents[i].role = DocumentRole::kChosen;
    if (i % 5 == 4) documents[i].role = DocumentRole::kRejected;
    if (i % 5 > 1 || i + 1 == count || i % 5 == 1) continue;
    documents[i].role = DocumentRole::kChosen;
    documents[i + 1].role = DocumentRole::kRejected;
    documents[i].pair = documents[i + 1].pair = static_cast<int64_t>(1000 + i);
  }
  return documents;
}

TEST(Shard, ThePartsOfAPairStayTogether) {
  const auto documents = judged_documents(2000);
  std::map<std::string, const ShardDocument*> by_id;
  for (const auto& d : documents) by_id[d.id] = &d;
  for (const uint64_t most : {uint64_t{64} << 20, uint64_t{120} << 10}) {
    const auto folder = test::scratch_folder() / "shards";
    const Json index = write_shards(folder, header_of(), documents, most);
    EXPECT_EQ(index["schema_version"], 2);
    EXPECT_EQ(index["roles"].dump(), R"({"plain":400,"chosen":800,"rejected":800,"pairs":400})");
    const ShardReader reader(folder);
    EXPECT_EQ(reader.roles(), (RoleCounts{400, 800, 800, 400}));
    expect_all(reader, documents);
    std::set<int64_t> pairs;
    for (int64_t r = 0; r < reader.rows(); ++r) {
      const RowView row = reader.row_view(r);
      for (size_t d = 0; d < row.documents(); ++d) {
        const ShardDocument& was = *by_id.at(std::string(row.id(d)));
        EXPECT_EQ(row.role(d), was.role);
        EXPECT_EQ(row.pair(d) >= 0, was.pair >= 0);
        if (row.pair(d) < 0 || row.role(d) != DocumentRole::kChosen) continue;
        EXPECT_TRUE(pairs.insert(row.pair(d)).second);
        ASSERT_LT(d + 1, row.documents());
        EXPECT_EQ(row.pair(d + 1), row.pair(d));
        EXPECT_EQ(by_id.at(std::string(row.id(d + 1)))->pair, was.pair);
      }
    }
    EXPECT_EQ(pairs.size(), 400u);
    EXPECT_EQ(*pairs.rbegin(), 399);
  }
}

TEST(Shard, WithoutRolesNothingChanges) {
  const auto folder = test::scratch_folder();
  const Json index = write_shards(folder / "a", header_of(), some_documents(50));
  EXPECT_EQ(index["schema_version"], 1);
  EXPECT_FALSE(index.contains("roles"));
  const ShardReader reader(folder / "a");
  EXPECT_EQ(reader.roles(), (RoleCounts{50, 0, 0, 0}));
  EXPECT_EQ(reader.row_view(0).role(0), DocumentRole::kPlain);
  EXPECT_EQ(reader.row_view(0).pair(0), -1);
  // The bytes that the program wrote before it knew roles.
  EXPECT_EQ(sha256_file(folder / "a/shard-00000.h5"),
            "c8e7a542f073bfb31a97af64216f7ff9fe6d98a5937a01d523a13622b5336e2a");
}

TEST(Shard, WriterRefusesHalfPairs) {
  const auto folder = test::scratch_folder() / "x";
  const auto document = [](DocumentRole role, int64_t pair, size_t length = 2) {
    return ShardDocument{"a", std::vector<uint32_t>(length, 1), std::vector<uint8_t>(length, 0), 0, role,
                         pair};
  };
  using enum DocumentRole;
  const auto write = [&](const std::vector<ShardDocument>& d) { write_shards(folder, header_of(4), d); };
  const char* half = "is not followed by its other one";
  EXPECT_ERROR(write({document(kChosen, 0)}), half);
  EXPECT_ERROR(write({document(kRejected, 0), document(kChosen, 0)}), half);
  EXPECT_ERROR(write({document(kChosen, 0), document(kRejected, 1)}), half);
  EXPECT_ERROR(write({document(kChosen, 0), document(kPlain, -1), document(kRejected, 0)}), half);
  EXPECT_ERROR(write({document(kChosen, 0, 3), document(kRejected, 0, 2)}),
               "the pair of document 0 has 5 tokens, expected at most 4");
  EXPECT_FALSE(fs::exists(folder));
}

// Replaces the shard by `bytes` and the index's digest with it: what an attacker who can write both files
// does.
void forge(const fs::path& folder, const std::string& bytes) {
  write_file(folder / "shard-00000.h5", bytes);
  Json index = read_json(folder / "index.json");
  index["shards"][0]["sha256"] = sha256_hex(bytes);
  write_json(folder / "index.json", index);
}

TEST(Shard, AChangedFileIsFoundByItsDigest) {
  const auto folder = test::scratch_folder() / "s";
  write_shards(folder, header_of(), some_documents(20));
  const std::string bytes = read_file(folder / "shard-00000.h5");
  for (const size_t at : {size_t{0}, bytes.size() / 2, bytes.size() - 1}) {
    std::string changed = bytes;
    changed[at] = static_cast<char>(changed[at] ^ 1);
    write_file(folder / "shard-00000.h5", changed);
    EXPECT_ERROR(ShardReader{folder}, "sha256 expected");
  }
  write_file(folder / "shard-00000.h5", bytes.substr(0, bytes.size() / 2));
  EXPECT_ERROR(ShardReader{folder}, "sha256 expected");
  fs::remove(folder / "shard-00000.h5");
  EXPECT_ERROR(ShardReader{folder}, "cannot open");
  fs::remove(folder / "index.json");
  EXPECT_ERROR(ShardReader{folder}, "is no folder of shards");
}

TEST(Shard, ForgedDigestAndTruncatedOrFlippedBytes) {
  const auto folder = test::scratch_folder() / "s";
  const auto documents = some_documents(6);
  write_shards(folder, header_of(), documents);
  const std::string bytes = read_file(folder / "shard-00000.h5");
  for (const size_t size : {size_t{0}, size_t{1}, size_t{100}, bytes.size() / 2, bytes.size() - 1}) {
    forge(folder, bytes.substr(0, size));
    EXPECT_THROW(ShardReader{folder}, Error) << size;
  }
  forge(folder, "not an HDF5 file at all");
  EXPECT_ERROR(ShardReader{folder}, "not a readable HDF5 file");
  // A flipped byte is refused, or stands where nothing is kept and the content is whole.
  int refused = 0;
  for (uint64_t n = 0; n < 300; ++n) {
    std::string changed = bytes;
    const auto bits = philox(4, 4, n);
    char& byte = changed[bits[0] % changed.size()];
    byte = static_cast<char>(byte ^ (1 << bits[1] % 8));
    forge(folder, changed);
    try {
      const ShardReader reader(folder);
      expect_all(reader, documents);
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 100);
}

// Content of a good shard, to be bent.
struct Forgery {
  std::vector<uint32_t> tokens = {1, 2, 3, 4, 5};
  std::vector<uint8_t> weights = {0, 255, 0, 255, 255};
  std::vector<uint64_t> documents = {0, 2, 5}, rows = {0, 5};
  std::string ids = "ab";
  int64_t id_count = 2, length = 64, version = 1;
  bool drop_rows = false, wide_weights = false;
  std::vector<uint8_t> roles = {1, 2};
  std::vector<int64_t> pairs = {0, 0};
  bool drop_roles = false;

  std::string bytes() const {
    const auto view = [](const auto& v) {
      return std::string_view(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(v[0]));
    };
    using Type = Hdf5Dataset::Type;
    Hdf5Content c;
    c.datasets = {{"tokens", Type::kU32, tokens.size(), 0, view(tokens)},
                  {"loss_weight", Type::kU8, weights.size(), 0, view(weights)},
                  {"document_offsets", Type::kU64, documents.size(), 0, view(documents)},
                  {"row_offsets", Type::kU64, rows.size(), 0, view(rows)},
                  {"document_id", Type::kText, static_cast<uint64_t>(id_count), 1, ids}};
    if (version == 2) {
      c.datasets.push_back({"document_role", Type::kU8, roles.size(), 0, view(roles)});
      c.datasets.push_back({"document_pair", Type::kI64, pairs.size(), 0, view(pairs)});
    }
    Sha256 digest;
    for (const auto& d : c.datasets) {
      const uint64_t size = d.bytes.size();
      digest.update({reinterpret_cast<const char*>(&size), 8});
      digest.update(d.bytes);
    }
    if (drop_rows) c.datasets.erase(c.datasets.begin() + 3);
    if (drop_roles) c.datasets.erase(c.datasets.begin() + 5);
    if (wide_weights) c.datasets[1] = {"loss_weight", Type::kU32, tokens.size(), 0, view(tokens)};
    c.numbers = {{"schema_version", version}, {"sequence_length", length}};
    c.texts = {{"tokenizer_sha256", header_of().tokenizer_sha256},
               {"chat_template_sha256", header_of().template_sha256},
               {"content_sha256", digest.hex()}};
    return hdf5_bytes(c);
  }
};

TEST(Shard, ForgedContent) {
  const auto folder = test::scratch_folder() / "s";
  write_shards(folder, header_of(), {{"a", {1, 2}, {0, 255}}, {"b", {3, 4, 5}, {0, 255, 255}}});
  const auto read = [&](const Forgery& f) {
    forge(folder, f.bytes());
    ShardReader reader(folder);
  };
  read({});
  EXPECT_ERROR(read({.weights = {0, 255, 0, 255}}), "4 loss weights for 5 tokens");
  EXPECT_ERROR(read({.weights = {1, 255, 0, 255, 255}}), "document 0 has a loss weight on its first token");
  EXPECT_ERROR(read({.documents = {0, 2, 6}}), "'document_offsets' ends at 6, expected the 5 tokens");
  EXPECT_ERROR(read({.documents = {0, 7, 5}}), "'document_offsets' does not rise at entry 2");
  EXPECT_ERROR(read({.documents = {0, 2, 2, 5}}), "does not rise at entry 2");
  EXPECT_ERROR(read({.documents = {1, 2, 5}}), "'document_offsets' must begin with 0");
  EXPECT_ERROR(read({.documents = {}}), "'document_offsets' must begin with 0");
  EXPECT_ERROR(read({.rows = {0, 1, 5}}), "a row does not begin at a document");
  EXPECT_ERROR(read({.rows = {0}}), "'row_offsets' must begin with 0");
  EXPECT_ERROR(read({.rows = {0, uint64_t{1} << 63}}), "'row_offsets' ends at");
  EXPECT_ERROR(read({.ids = "a", .id_count = 1}), "1 ids for 2 documents");
  EXPECT_ERROR(read({.length = 32}), "sequence length 32, expected 64");
  EXPECT_ERROR(read({.version = 2}), "schema version 2, expected 1");
  EXPECT_ERROR(read({.drop_rows = true}), "no dataset 'row_offsets'");
  EXPECT_ERROR(read({.wide_weights = true}), "dataset 'loss_weight' has another number type");
  EXPECT_ERROR(read({.rows = {0, 2, 5}}), "other counts of rows or tokens");
}

TEST(Shard, ForgedRoles) {
  const auto folder = test::scratch_folder() / "s";
  using enum DocumentRole;
  write_shards(folder, header_of(),
               {{"a", {1, 2}, {0, 255}, 0, kChosen, 5}, {"b", {3, 4, 5}, {0, 255, 255}, 0, kRejected, 5}});
  const Json index = read_json(folder / "index.json");
  const auto read = [&](Forgery f) {
    write_json(folder / "index.json", index);
    f.version = 2;
    forge(folder, f.bytes());
    ShardReader reader(folder);
    return reader.roles();
  };
  EXPECT_EQ(read({}), (RoleCounts{0, 1, 1, 1}));
  const char* half = "is not a chosen document and, after it in the same row, a rejected one";
  EXPECT_ERROR(read({.roles = {1, 3}}), half);
  EXPECT_ERROR(read({.roles = {3, 2}}), "document 0 has the role 3, expected 0 to 2");
  EXPECT_ERROR(read({.roles = {2, 1}}), half);
  EXPECT_ERROR(read({.roles = {0, 0}}), half);
  EXPECT_ERROR(read({.roles = {1}}), "1 roles and 2 pairs for 2 documents");
  EXPECT_ERROR(read({.roles = {}, .pairs = {}}), "0 roles and 0 pairs for 2 documents");
  EXPECT_ERROR(read({.pairs = {0, -1}}), half);
  EXPECT_ERROR(read({.pairs = {0, 1}}), half);
  EXPECT_ERROR(read({.pairs = {-1, 0}}), half);
  EXPECT_ERROR(read({.pairs = {-7, -7}}), "has the pair -7, expected a number from 0");
  EXPECT_ERROR(read({.pairs = {1, 1}}), "their numbers are 0 to 0, each once; found 1");
  EXPECT_ERROR(read({.pairs = {INT64_MAX, INT64_MAX}}), "each once; found 9223372036854775807");
  EXPECT_ERROR(read({.pairs = {-1, -1}}), R"('roles' is not what its shards have, {"plain":0)");
  EXPECT_ERROR(read({.drop_roles = true}), "no dataset 'document_role'");
  // A pair must not straddle rows.
  write_shards(folder, header_of(3),
               {{"a", {1, 2}, {0, 255}, 0, kChosen, -1}, {"b", {3, 4, 5}, {0, 255, 255}, 0, kRejected, -1}});
  Json rows = read_json(folder / "index.json");
  rows["roles"]["pairs"] = 1;
  Forgery split{.documents = {0, 2, 5}, .rows = {0, 2, 5}, .length = 3, .version = 2};
  write_json(folder / "index.json", rows);
  forge(folder, split.bytes());
  EXPECT_ERROR(ShardReader{folder}, half);
  // Roles that the index hides: a reader of version 1 would learn rejected answers.
  Json hidden = index;
  hidden["schema_version"] = 1;
  hidden.erase("roles");
  write_json(folder / "index.json", hidden);
  Forgery with_roles;
  with_roles.version = 2;
  forge(folder, with_roles.bytes());
  EXPECT_ERROR(ShardReader{folder}, "schema version 2, expected 1");
  // A number twice in two shards.
  const auto documents = judged_documents(600);
  const Json good = write_shards(folder, header_of(), documents, uint64_t{90} << 10);
  ASSERT_GT(good["shards"].size(), 1u);
  Json twice = good;
  twice["shards"][1] = twice["shards"][0];
  write_json(folder / "index.json", twice);
  EXPECT_THROW(ShardReader{folder}, Error);
}

TEST(Shard, ForgedIndex) {
  const auto folder = test::scratch_folder() / "s";
  write_shards(folder, header_of(), some_documents(4));
  const Json good = read_json(folder / "index.json");
  const auto read = [&](const char* pointer, const Json& value) {
    Json index = good;
    index[Json::json_pointer(pointer)] = value;
    write_json(folder / "index.json", index);
    ShardReader reader(folder);
  };
  EXPECT_ERROR(read("/schema_version", 9), "schema version 9, this program reads 1 and 2");
  EXPECT_ERROR(read("/sequence_length", 0), "'sequence_length' must be 1 to");
  EXPECT_ERROR(read("/sequence_length", -5), "'sequence_length' must be a whole number");
  EXPECT_ERROR(read("/shards/0/file", "../shard-00000.h5"), "must be a plain file name");
  EXPECT_ERROR(read("/shards/0/file", 3), "'file' must be text");
  EXPECT_ERROR(read("/shards", 3), "'shards' must be a list");
  EXPECT_ERROR(read("/tokens", 3), "its counts are not the sum of its shards'");
  EXPECT_ERROR(read("/tokenizer_sha256", "x"), "made with another tokenizer");
}

}  // namespace
}  // namespace decant
