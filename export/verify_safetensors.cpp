#include "export/verify_safetensors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>

#include "export/verify_bytes.h"
#include "export/verify_json.h"

namespace decant::verifying {
namespace {

struct DtypeName {
  const char* name;
  at::ScalarType type;
  uint64_t size;
};
constexpr DtypeName kDtypes[] = {{"BF16", at::kBFloat16, 2}, {"F16", at::kHalf, 2}, {"F32", at::kFloat, 4}};

}  // namespace

PlainFile read_plain_safetensors(const std::filesystem::path& path) {
  const std::string bytes = slurp(path);
  const std::string file = path.filename().string();
  expect(bytes.size() >= 8, file, ": truncated: ", bytes.size(), " bytes");
  Cursor cursor(bytes);
  const auto header_size = cursor.take<uint64_t>("header length");
  expect(header_size <= 100'000'000 && header_size <= cursor.left(), file, ": header of ", header_size,
         " bytes in a file of ", bytes.size());
  const std::string text(cursor.take_bytes(header_size, "header"));
  expect(text.starts_with('{'), file, ": the header does not begin with '{'");
  const Tree header = parse_tree(text, file + ": the header");
  const std::string_view data = std::string_view(bytes).substr(8 + header_size);
  expect(has(header, "__metadata__") && text_or(header.at("__metadata__"), "format", "", file) == "pt", file,
         ": __metadata__ has no \"format\": \"pt\", transformers refuses the file");

  PlainFile out;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    expect(has(entry, "dtype") && has(entry, "shape") && has(entry, "data_offsets") &&
               entry.at("shape").is_array() && entry.at("data_offsets").is_array() &&
               entry.at("data_offsets").size() == 2,
           file, ": the entry of ", name, " is incomplete");
    const std::string dtype = text_or(entry, "dtype", "", file);
    const auto* known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                     [&](const DtypeName& d) { return dtype == d.name; });
    expect(known != std::end(kDtypes), file, ": ", name, " has dtype ", dtype, ", not BF16, F16 or F32");
    std::vector<int64_t> shape;
    uint64_t elements = 1;
    for (const Tree& size : entry.at("shape")) {
      expect(size.is_number_unsigned() && size.get<uint64_t>() < (1ull << 31), file, ": ", name,
             " has a bad shape");
      shape.push_back(size.get<int64_t>());
      expect(size.get<uint64_t>() == 0 || elements <= (1ull << 40) / size.get<uint64_t>(), file, ": ", name,
             " is too large");
      elements *= size.get<uint64_t>();
    }
    expect(
        entry.at("data_offsets")[0].is_number_unsigned() && entry.at("data_offsets")[1].is_number_unsigned(),
        file, ": ", name, " has bad offsets");
    const auto begin = entry.at("data_offsets")[0].get<uint64_t>(),
               end = entry.at("data_offsets")[1].get<uint64_t>();
    expect(begin <= end && end <= data.size(), file, ": ", name, " ends at byte ", end, " of ", data.size(),
           " (the file is truncated or its header wrong)");
    expect(end - begin == elements * known->size, file, ": ", name, " has ", end - begin,
           " bytes, its shape and dtype ask for ", elements * known->size);
    ranges.emplace_back(begin, end);
    at::Tensor value = at::empty(shape, known->type);
    std::memcpy(value.data_ptr(), data.data() + begin, end - begin);
    value = value.to(at::kFloat);
    expect(at::isfinite(value).all().item<bool>(), file, ": ", name, " holds values that are not finite");
    out.tensors[name] = value;
    out.dtypes[name] = dtype;
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    expect(begin == at, file, ": hole or overlap at byte ", at, " of the data");
    at = end;
  }
  expect(at == data.size(), file, ": ", data.size() - at, " bytes after the last tensor");
  out.bytes = data.size();
  return out;
}

PlainFile read_plain_checkpoint(const std::filesystem::path& folder, const std::string& stem) {
  const auto single = folder / (stem + ".safetensors"),
             index_path = folder / (stem + ".safetensors.index.json");
  std::set<std::string> present;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".safetensors") present.insert(entry.path().filename().string());
  if (!std::filesystem::exists(index_path)) {
    expect(std::filesystem::exists(single), "neither ", single.filename().string(),
           " nor its index is there");
    expect(present.size() == 1, "beside ", single.filename().string(), " lies ", present.size() - 1,
           " more .safetensors file without an index");
    return read_plain_safetensors(single);
  }
  expect(!std::filesystem::exists(single), single.filename().string(),
         " and an index of shards are both there");
  const Tree index = read_tree(index_path);
  expect(has(index, "weight_map") && index.at("weight_map").is_object(), index_path.filename().string(),
         ": no weight_map");
  std::map<std::string, std::set<std::string>> listed;
  for (const auto& [tensor, shard] : index.at("weight_map").items()) {
    expect(shard.is_string(), index_path.filename().string(), ": the shard of ", tensor, " is not a text");
    listed[shard.get<std::string>()].insert(tensor);
  }
  PlainFile out;
  for (const auto& [shard, names] : listed) {
    expect(shard.find('/') == std::string::npos && present.contains(shard), "shard ", shard, " is missing");
    PlainFile part = read_plain_safetensors(folder / shard);
    for (const std::string& name : names)
      expect(part.tensors.contains(name), "the index is stale: ", name, " is not in ", shard);
    for (auto& [name, value] : part.tensors) {
      expect(names.contains(name), "the index is stale: ", shard, " holds ", name,
             ", which the index puts elsewhere or omits");
      out.tensors[name] = std::move(value);
      out.dtypes[name] = part.dtypes[name];
    }
    out.bytes += part.bytes;
    present.erase(shard);
  }
  expect(present.empty(), "the index is stale: it does not list ", present.empty() ? "" : *present.begin());
  const Tree metadata = has(index, "metadata") ? index.at("metadata") : Tree::object();
  const int64_t total = integer(metadata, "total_size", index_path.filename().string());
  expect(static_cast<uint64_t>(total) == out.bytes, "the index is stale: total_size ", total,
         ", the shards hold ", out.bytes);
  return out;
}

}  // namespace decant::verifying
