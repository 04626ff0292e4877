#include "core/tensor_file.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>

#include "core/error.h"
#include "core/json.h"

namespace decant {
namespace fs = std::filesystem;

namespace {

constexpr std::pair<std::string_view, at::ScalarType> kDtypes[] = {
    {"BOOL", at::kBool},
    {"U8", at::kByte},
    {"I8", at::kChar},
    {"I16", at::kShort},
    {"U16", at::kUInt16},
    {"I32", at::kInt},
    {"U32", at::kUInt32},
    {"I64", at::kLong},
    {"U64", at::kUInt64},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"F32", at::kFloat},
    {"F64", at::kDouble},
    {"C64", at::kComplexFloat},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
    {"F8_E4M3FNUZ", at::kFloat8_e4m3fnuz},
    {"F8_E5M2FNUZ", at::kFloat8_e5m2fnuz},
};

std::string dtype_of(const at::Tensor& tensor, const std::string& where) {
  for (const auto& [name, type] : kDtypes)
    if (type == tensor.scalar_type()) return std::string(name);
  fail(where, ": safetensors has no name for the dtype ", c10::toString(tensor.scalar_type()));
}

// A shard's name comes from the index, which may be hostile: it must be a plain file beside the index.
fs::path shard_path(const fs::path& index, const std::string& name) {
  check(!name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
            name.find('\0') == std::string::npos,
        index.string(), ": '", name, "' is not the name of a file in the same folder");
  return index.parent_path() / name;
}

struct Index {
  std::map<std::string, std::string> shard_of;  // tensor -> file
  bool has_total = false;
  uint64_t total = 0;
};

Index read_index(const fs::path& path) {
  const std::string where = path.string();
  const MappedFile file(path);
  const auto json = parse_json(file.bytes(), where);
  check(json.is_object(), where, ": expected an object, found ", json.type_name());
  check(json.contains("weight_map") && json["weight_map"].is_object(), where,
        ": 'weight_map' must be an object of tensor names and file names");
  Index index;
  for (const auto& [name, shard] : json["weight_map"].items()) {
    check(shard.is_string(), where, ": the file of '", name, "' must be a string, found ", shard.type_name());
    index.shard_of.emplace(name, shard.get<std::string>());
  }
  if (json.contains("metadata") && json["metadata"].is_object() && json["metadata"].contains("total_size")) {
    // Some writers store it as 1.2e10: a float is taken when it is a whole number.
    const auto& total = json["metadata"]["total_size"];
    index.has_total = true;
    if (total.is_number_unsigned()) {
      index.total = total.get<uint64_t>();
    } else {
      check(total.is_number_float() && total.get<double>() >= 0 && total.get<double>() < 9e18 &&
                total.get<double>() == static_cast<double>(static_cast<uint64_t>(total.get<double>())),
            where, ": 'metadata.total_size' must be a whole number, found ", total.dump());
      index.total = static_cast<uint64_t>(total.get<double>());
    }
  }
  return index;
}

TensorEntry entry_of(const std::string& name, const at::Tensor& tensor, const fs::path& file) {
  const std::string where = concat(file.string(), ": '", name, "'");
  check(tensor.defined(), where, " has no value");
  TensorEntry entry;
  entry.name = name;
  entry.dtype = dtype_of(tensor, where);
  entry.shape = tensor.sizes().vec();
  return entry;
}

uint64_t bytes_of(const at::Tensor& tensor) {
  return static_cast<uint64_t>(tensor.numel()) * tensor.element_size();
}

}  // namespace

TensorFile::TensorFile(const fs::path& path, const std::string& stem) {
  if (!fs::is_directory(path)) {
    files_.push_back(std::make_shared<SafetensorsFile>(path));
    for (const auto& entry : files_[0]->entries()) where_.emplace(entry.name, std::pair(size_t{0}, &entry));
    return;
  }
  const fs::path single = path / (stem + ".safetensors");
  const fs::path index_path = path / (stem + ".safetensors.index.json");
  const bool has_single = fs::exists(single);
  const bool has_index = fs::exists(index_path);
  check(has_single || has_index, path.string(), ": neither ", single.filename().string(), " nor ",
        index_path.filename().string(), " is in the folder");
  if (!has_index) {
    *this = TensorFile(single, stem);
    return;
  }
  const Index index = read_index(index_path);
  std::set<std::string> shards;
  for (const auto& [name, shard] : index.shard_of) shards.insert(shard);
  check(!shards.empty(), index_path.string(), ": 'weight_map' is empty");
  check(!has_single || shards.contains(single.filename().string()), path.string(), ": ",
        single.filename().string(),
        " lies beside an index that does not list it; remove the one that does not belong there");
  uint64_t total = 0;
  for (const auto& shard : shards) {
    const fs::path file = shard_path(index_path, shard);
    check(fs::exists(file), index_path.string(), ": the shard ", shard, " is missing from the folder");
    files_.push_back(std::make_shared<SafetensorsFile>(file));
    for (const auto& entry : files_.back()->entries()) {
      const auto listed = index.shard_of.find(entry.name);
      check(listed != index.shard_of.end(), file.string(), ": '", entry.name, "' is not listed in ",
            index_path.filename().string());
      check(listed->second == shard, file.string(), ": '", entry.name, "' is here, but the index says ",
            listed->second);
      where_.emplace(entry.name, std::pair(files_.size() - 1, &entry));
      total += entry.end - entry.begin;
    }
  }
  for (const auto& [name, shard] : index.shard_of)
    check(where_.contains(name), index_path.string(), ": '", name, "' is not in ", shard,
          " as the index says");
  check(!index.has_total || index.total == total, index_path.string(), ": 'metadata.total_size' is ",
        index.total, ", the shards hold ", total, " bytes of tensors");
}

std::vector<std::string> TensorFile::names() const {
  std::vector<std::string> names;
  names.reserve(where_.size());
  for (const auto& [name, place] : where_) names.push_back(name);
  return names;
}

bool TensorFile::contains(const std::string& name) const { return where_.contains(name); }

const TensorEntry& TensorFile::entry(const std::string& name) const {
  const auto found = where_.find(name);
  check(found != where_.end(), files_[0]->path().string(), ": has no tensor '", name, "'");
  return *found->second.second;
}

namespace {

// libtorch's type of an entry whose shape it can hold.
at::ScalarType type_of(const TensorEntry& entry, const fs::path& file) {
  // An empty tensor may have any sizes beside its zero; strides of large ones would overflow inside
  // libtorch.
  uint64_t product = 1;
  for (const int64_t size : entry.shape) {
    const auto factor = static_cast<uint64_t>(std::max<int64_t>(size, 1));
    check(product <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / factor / 16, file.string(),
          ": the shape of '", entry.name, "' is too large for memory");
    product *= factor;
  }
  for (const auto& [dtype, type] : kDtypes)
    if (dtype == entry.dtype) return type;
  fail(file.string(), ": '", entry.name, "' has the dtype ", entry.dtype, ", which libtorch cannot hold");
}

}  // namespace

at::Tensor TensorFile::load(const std::string& name) const {
  const TensorEntry& found = entry(name);
  const SafetensorsFile& file = *files_[where_.at(name).first];
  const auto type = type_of(found, file.path());
  at::Tensor tensor = at::empty(found.shape, at::TensorOptions().dtype(type));
  const std::string_view bytes = file.bytes(found);
  if (type == at::kBool) {  // any other byte than 0 and 1 in a bool is undefined behaviour
    const bool valid = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0 || c == 1; });
    check(valid, file.path().string(), ": '", name, "' is BOOL and holds bytes other than 0 and 1");
  }
  if (!bytes.empty()) std::memcpy(tensor.data_ptr(), bytes.data(), bytes.size());
  file.let_go(bytes);  // else a model that loads is in memory twice
  return tensor;
}

at::Tensor TensorFile::map(const std::string& name) const {
  const TensorEntry& found = entry(name);
  const auto file = files_[where_.at(name).first];
  const auto type = type_of(found, file->path());
  const std::string_view bytes = file->bytes(found);
  if (type == at::kBool || bytes.empty() ||
      reinterpret_cast<uintptr_t>(bytes.data()) % c10::elementSize(type) != 0)
    return load(name);
  return at::from_blob(
      const_cast<char*>(bytes.data()), found.shape, [file](void*) {}, at::TensorOptions().dtype(type));
}

const std::map<std::string, std::string>& TensorFile::metadata() const { return files_[0]->metadata(); }

std::vector<fs::path> TensorFile::files() const {
  std::vector<fs::path> paths;
  paths.reserve(files_.size());
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

void write_tensors(const fs::path& file, const NamedTensors& tensors,
                   std::map<std::string, std::string> metadata) {
  metadata["format"] = "pt";
  std::vector<TensorEntry> entries;
  std::map<std::string_view, const at::Tensor*> by_name;
  for (const auto& [name, tensor] : tensors) {
    entries.push_back(entry_of(name, tensor, file));
    by_name[name] = &tensor;
  }
  write_safetensors_file(
      file, std::move(entries), metadata, [&](const TensorEntry& entry, const auto& write) {
        const at::Tensor plain = by_name.at(entry.name)->detach().to(at::kCPU).contiguous();
        write({static_cast<const char*>(plain.const_data_ptr()), bytes_of(plain)});
      });
}

void write_sharded(const fs::path& folder, const NamedTensors& tensors, int64_t max_shard_bytes,
                   const std::string& stem) {
  check(max_shard_bytes > 0, folder.string(), ": the largest shard must be above 0 bytes, found ",
        max_shard_bytes);
  std::vector<NamedTensors> shards(1);
  uint64_t in_shard = 0, total = 0;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), folder.string(), ": '", name, "' has no value");
    const uint64_t bytes = bytes_of(tensor);
    if (!shards.back().empty() && in_shard + bytes > static_cast<uint64_t>(max_shard_bytes)) {
      shards.emplace_back();
      in_shard = 0;
    }
    shards.back().emplace_back(name, tensor);
    in_shard += bytes;
    total += bytes;
  }
  if (shards.size() == 1) {
    write_tensors(folder / (stem + ".safetensors"), tensors);
    return;
  }
  check(shards.size() <= 99999, folder.string(), ": ", shards.size(),
        " shards are more than names of 5 digits; ", "allow larger ones");
  Json index;
  index["metadata"]["total_size"] = total;
  index["weight_map"] = Json::object();
  std::map<std::string, std::string> shard_of;
  for (size_t i = 0; i < shards.size(); ++i) {
    char suffix[64];
    std::snprintf(suffix, sizeof suffix, "-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    write_tensors(folder / (stem + suffix), shards[i]);
    for (const auto& [name, tensor] : shards[i])
      check(shard_of.emplace(name, stem + suffix).second, folder.string(), ": '", name, "' is given twice");
  }
  index["weight_map"] = Json(nlohmann::json(shard_of));
  write_json(folder / (stem + ".safetensors.index.json"), index);
}

}  // namespace decant
