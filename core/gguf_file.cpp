#include "core/gguf_file.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <stdexcept>

#include "core/error.h"

namespace decant {

namespace {

constexpr uint64_t kMaxStringBytes = uint64_t{1} << 30;
constexpr uint64_t kMaxArrayElements = uint64_t{1} << 30;
constexpr uint64_t kMaxNameBytes = 63;
constexpr uint32_t kMaxDimensions = 4;

enum Type : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
  kTypes
};
constexpr const char* kTypeNames[kTypes] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                            "bool", "string", "array", "u64", "i64", "f64"};
// Bytes of one element; a string has at least its length.
constexpr uint64_t kTypeBytes[kTypes] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

// Reads forward through the file; every read is checked against its end.
class Cursor {
 public:
  Cursor(std::string_view bytes, std::string file) : bytes_(bytes), file_(std::move(file)) {}
  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  const std::string& file() const { return file_; }

  std::string_view take(uint64_t count, const std::string& what) {
    if (count > left())
      fail(file_, ": ", what, " at byte ", position_, " needs ", count, " bytes, the file has ", left(),
           " left; it is cut short or damaged");
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
  }
  template <class T>
  T number(const std::string& what) {
    T value{};
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view text(const std::string& what) {
    const auto length = number<uint64_t>(what);
    check(length <= kMaxStringBytes, file_, ": ", what, " has ", length, " bytes, the format's limit is ",
          kMaxStringBytes);
    return take(length, what);
  }

 private:
  std::string_view bytes_;
  std::string file_;
  uint64_t position_ = 0;
};

bool read_bool(Cursor& in, const std::string& what) {
  const auto byte = in.number<uint8_t>(what);
  check(byte <= 1, in.file(), ": ", what, " is a bool and holds ", static_cast<int>(byte),
        ", expected 0 or 1");
  return byte == 1;
}

GgufScalar read_scalar(Cursor& in, uint32_t type, const std::string& what) {
  switch (type) {
    case kU8:
      return static_cast<uint64_t>(in.number<uint8_t>(what));
    case kI8:
      return static_cast<int64_t>(in.number<int8_t>(what));
    case kU16:
      return static_cast<uint64_t>(in.number<uint16_t>(what));
    case kI16:
      return static_cast<int64_t>(in.number<int16_t>(what));
    case kU32:
      return static_cast<uint64_t>(in.number<uint32_t>(what));
    case kI32:
      return static_cast<int64_t>(in.number<int32_t>(what));
    case kU64:
      return in.number<uint64_t>(what);
    case kI64:
      return in.number<int64_t>(what);
    case kF32:
      return static_cast<double>(in.number<float>(what));
    case kF64:
      return in.number<double>(what);
    case kBool:
      return read_bool(in, what);
    case kString:
      return std::string(in.text(what));
    default:
      throw std::logic_error("gguf: not a scalar type");
  }
}

// Numbers of an array as double; integers that a double cannot hold are an error and not another number.
double as_double(const GgufScalar& scalar, const std::string& where) {
  constexpr int64_t kExact = int64_t{1} << 53;
  if (const auto* b = std::get_if<bool>(&scalar)) return *b ? 1 : 0;
  if (const auto* d = std::get_if<double>(&scalar)) return *d;
  if (const auto* i = std::get_if<int64_t>(&scalar)) {
    check(*i >= -kExact && *i <= kExact, where, " holds ", *i,
          "; integers beyond 2^53 in arrays are not read");
    return static_cast<double>(*i);
  }
  const uint64_t u = std::get<uint64_t>(scalar);
  check(u <= static_cast<uint64_t>(kExact), where, " holds ", u,
        "; integers beyond 2^53 in arrays are not read");
  return static_cast<double>(u);
}

GgufValue read_value(Cursor& in, const std::string& key) {
  const std::string what = "the value of '" + key + "'";
  const std::string where = in.file() + ": " + what;
  GgufValue value;
  value.type = in.number<uint32_t>("the type of '" + key + "'");
  check(value.type < kTypes, where, " has the unknown type ", value.type);
  if (value.type != kArray) {
    value.scalar = read_scalar(in, value.type, what);
    return value;
  }
  value.element_type = in.number<uint32_t>(what);
  check(value.element_type < kTypes, where, " is an array of the unknown type ", value.element_type);
  check(value.element_type != kArray, where, " is an array of arrays, which the format does not allow");
  const auto count = in.number<uint64_t>(what);
  check(count <= kMaxArrayElements, where, " has ", count, " elements, the format's limit is ",
        kMaxArrayElements);
  check(count <= in.left() / kTypeBytes[value.element_type], where, " has ", count,
        " elements, more than the rest of the file can hold; it is cut short or damaged");
  if (value.element_type == kString) {
    value.strings.reserve(count);
    for (uint64_t i = 0; i < count; ++i) value.strings.emplace_back(in.text(what));
  } else {
    value.numbers.reserve(count);
    for (uint64_t i = 0; i < count; ++i)
      value.numbers.push_back(as_double(read_scalar(in, value.element_type, what), where));
  }
  return value;
}

uint32_t read_version(Cursor& in) {
  const std::string& file = in.file();
  check(in.left() >= 4 && in.take(4, "the magic") == "GGUF", file,
        ": does not begin with 'GGUF'; this is not a GGUF file");
  const auto version = in.number<uint32_t>("the version");
  check(version == 0 || (version & 0xFFFFU) != 0, file, ": the version is ", version,
        "; this is a GGUF file of a big-endian machine, convert it for little-endian ones");
  check(version != 1, file, ": GGUF version 1 is no longer read; convert the file with a llama.cpp of today");
  check(version == 2 || version == 3, file, ": GGUF version ", version, " is not known, expected 2 or 3");
  return version;
}

uint64_t read_count(Cursor& in, const char* things, uint64_t least_bytes) {
  const auto count = in.number<int64_t>(concat("the number of ", things));
  check(count >= 0, in.file(), ": the number of ", things, " is negative: ", count);
  check(static_cast<uint64_t>(count) <= in.left() / least_bytes, in.file(), ": ", count, " ", things,
        " are more than the file can hold; it is cut short or damaged");
  return static_cast<uint64_t>(count);
}

uint64_t read_alignment(const GgufFile& gguf) {
  const GgufValue* value = gguf.find_value("general.alignment");
  if (value == nullptr) return 32;
  check(value->type == kU32, gguf.path().string(), ": 'general.alignment' must be a u32, found ",
        kTypeNames[value->type]);
  const uint64_t alignment = std::get<uint64_t>(value->scalar);
  check(std::has_single_bit(alignment), gguf.path().string(),
        ": 'general.alignment' must be a power of two, found ", alignment);
  return alignment;
}

GgufTensor read_tensor(Cursor& in) {
  GgufTensor tensor;
  tensor.name = in.text("the name of a tensor");
  const std::string where = in.file() + ": tensor '" + tensor.name.substr(0, kMaxNameBytes) + "'";
  const std::string what = "the description of '" + tensor.name.substr(0, kMaxNameBytes) + "'";
  check(tensor.name.size() <= kMaxNameBytes, where, ": names have at most ", kMaxNameBytes, " bytes, found ",
        tensor.name.size());
  const auto dimensions = in.number<uint32_t>(what);
  check(dimensions <= kMaxDimensions, where, ": has ", dimensions, " dimensions, the format's limit is ",
        kMaxDimensions);
  uint64_t elements = 1;
  tensor.shape.resize(dimensions);
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto size = in.number<int64_t>(what);
    check(size > 0, where, ": dimension ", i, " must be positive, found ", size);
    check(elements <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max() / 8 / size), where,
          ": the product of its dimensions overflows 64 bits");
    elements *= static_cast<uint64_t>(size);
    tensor.shape[dimensions - 1 - i] = size;  // the file has the innermost first
  }
  tensor.type = in.number<uint32_t>(what);
  const GgmlType* type = ggml_type(tensor.type);
  if (type == nullptr) fail(where, ": unknown type ", tensor.type);
  const int64_t row = dimensions > 0 ? tensor.shape.back() : 1;
  check(row % type->block_elements == 0, where, ": rows of ", row, " elements are not whole ", type->name,
        " blocks of ", type->block_elements);
  tensor.bytes = elements / static_cast<uint64_t>(type->block_elements) * type->block_bytes;
  tensor.offset = in.number<uint64_t>(what);
  return tensor;
}

uint64_t padded(uint64_t size, uint64_t alignment) { return (size + alignment - 1) / alignment * alignment; }

}  // namespace

int64_t GgufTensor::elements() const {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  const std::string file = path.string();
  Cursor in(file_.bytes(), file);
  version_ = read_version(in);
  const uint64_t tensors = read_count(in, "tensors", 24);
  const uint64_t values = read_count(in, "metadata values", 14);

  std::set<std::string> keys;
  for (uint64_t i = 0; i < values; ++i) {
    std::string key(in.text("a metadata key"));
    check(!key.empty(), file, ": metadata key ", i, " is empty");
    check(keys.insert(key).second, file, ": the metadata key '", key, "' stands twice");
    GgufValue value = read_value(in, key);
    metadata_.emplace_back(std::move(key), std::move(value));
  }
  const uint64_t alignment = read_alignment(*this);

  std::set<std::string> names;
  uint64_t end = 0;
  for (uint64_t i = 0; i < tensors; ++i) {
    const GgufTensor& tensor = tensors_.emplace_back(read_tensor(in));
    check(names.insert(tensor.name).second, file, ": tensor '", tensor.name, "' stands twice");
    check(tensor.offset == end, file, ": tensor '", tensor.name, "' lies at ", tensor.offset,
          " of the data, expected ", end, " (the sizes before it, each padded to ", alignment, ")");
    check(tensor.bytes <= std::numeric_limits<uint64_t>::max() / 4 - end, file,
          ": the tensors' sizes overflow 64 bits");
    end = padded(end + tensor.bytes, alignment);
  }
  const uint64_t begin = padded(in.position(), alignment);
  if (begin < file_.bytes().size()) data_ = file_.bytes().substr(begin);
  for (const auto& tensor : tensors_)
    check(tensor.offset <= data_.size() && tensor.bytes <= data_.size() - tensor.offset, file, ": tensor '",
          tensor.name, "' ends at byte ", begin + tensor.offset + tensor.bytes, ", the file has ",
          file_.bytes().size(), "; it is cut short");
}

const GgufTensor* GgufFile::find(std::string_view name) const {
  for (const auto& tensor : tensors_)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  for (const auto& [name, value] : metadata_)
    if (name == key) return &value;
  return nullptr;
}

namespace {

const GgufValue& expect_value(const GgufFile& gguf, std::string_view key) {
  const GgufValue* value = gguf.find_value(key);
  check(value != nullptr, gguf.path().string(), ": the metadata key '", key, "' is missing");
  return *value;
}

[[noreturn]] void wrong_type(const GgufFile& gguf, std::string_view key, const GgufValue& value,
                             const char* expected) {
  const std::string array =
      value.type == kArray ? concat("an array of ", kTypeNames[value.element_type]) : "";
  fail(gguf.path().string(), ": '", key, "' must be ", expected, ", found ",
       array.empty() ? kTypeNames[value.type] : array.c_str());
}

}  // namespace

std::string GgufFile::text(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kString) wrong_type(*this, key, value, "a string");
  return std::get<std::string>(value.scalar);
}

int64_t GgufFile::integer(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kArray) {
    if (const auto* i = std::get_if<int64_t>(&value.scalar)) return *i;
    if (const auto* u = std::get_if<uint64_t>(&value.scalar)) {
      check(*u <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max()), path().string(), ": '", key,
            "' is ", *u, ", too large");
      return static_cast<int64_t>(*u);
    }
  }
  wrong_type(*this, key, value, "an integer");
}

double GgufFile::number(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kF32 && value.type != kF64) wrong_type(*this, key, value, "a float");
  return std::get<double>(value.scalar);
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kBool) wrong_type(*this, key, value, "a bool");
  return std::get<bool>(value.scalar);
}

int64_t GgufFile::integer_or(std::string_view key, int64_t otherwise) const {
  return find_value(key) != nullptr ? integer(key) : otherwise;
}

double GgufFile::number_or(std::string_view key, double otherwise) const {
  return find_value(key) != nullptr ? number(key) : otherwise;
}

bool GgufFile::boolean_or(std::string_view key, bool otherwise) const {
  return find_value(key) != nullptr ? boolean(key) : otherwise;
}

const std::vector<std::string>& GgufFile::strings(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kArray || value.element_type != kString)
    wrong_type(*this, key, value, "an array of strings");
  return value.strings;
}

const std::vector<double>& GgufFile::numbers(std::string_view key) const {
  const GgufValue& value = expect_value(*this, key);
  if (value.type != kArray || value.element_type == kString)
    wrong_type(*this, key, value, "an array of numbers");
  return value.numbers;
}

std::string_view GgufFile::bytes(const GgufTensor& tensor) const {
  return data_.substr(tensor.offset, tensor.bytes);
}

void GgufFile::dequantize(const GgufTensor& tensor, float* out) const {
  check(can_dequantize(tensor.type), path().string(), ": tensor '", tensor.name, "' has the type ",
        ggml_type_name(tensor.type),
        ", which is not read; known are F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q4_K Q5_K Q6_K");
  dequantize_ggml(tensor.type, bytes(tensor).data(), tensor.elements(), out);
}

}  // namespace decant
