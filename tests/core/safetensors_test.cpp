// The safetensors container: each rule of the format has its own error, named as the official reader names
// it.
#include "core/safetensors.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::scratch_folder;

std::string length_of(uint64_t n) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(n >> (8 * i));
  return out;
}

std::string file_of(const std::string& header, const std::string& data = "") {
  return length_of(header.size()) + header + data;
}

fs::path put(const std::string& bytes, const std::string& name = "x.safetensors") {
  const fs::path path = scratch_folder() / name;
  write_file(path, bytes);
  return path;
}

void refuses(const std::string& bytes, const std::string& part) {
  const fs::path path = put(bytes);
  EXPECT_ERROR(SafetensorsFile{path}, part);
  EXPECT_ERROR(SafetensorsFile{path}, path.string());
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
}

TEST(Safetensors, ReadsWhatTheFormatDescribes) {
  const SafetensorsFile file(
      put(file_of(R"({"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"__metadata__":{"k":"v"},)"
                  R"("a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   )",
                  "01234567xyz")));
  ASSERT_EQ(file.entries().size(), 2U);
  EXPECT_EQ(file.entries()[0].name, "a");
  EXPECT_EQ(file.entries()[0].shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(file.bytes(*file.find("b")), "xyz");
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"k", "v"}}));
}

TEST(Safetensors, RankZeroEmptyTensorsAndNoTensorsAreFiles) {
  EXPECT_EQ(SafetensorsFile(put(file_of("{}"))).entries().size(), 0U);
  EXPECT_EQ(SafetensorsFile(put(file_of(R"({"__metadata__":{}})"))).entries().size(), 0U);
  EXPECT_EQ(SafetensorsFile(put(file_of(one("F32", "[]", "[0,4]"), "abcd"))).entries()[0].shape.size(), 0U);
  const SafetensorsFile empty(put(file_of(
      R"({"z":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},)"
      R"("c":{"dtype":"F32","shape":[2,0],"data_offsets":[4,4]}})",
      "abcd")));
  EXPECT_EQ(empty.entries().size(), 3U);
}

TEST(Safetensors, MetadataIsNotRequired) {  // "format": "pt" binds writers only
  EXPECT_TRUE(SafetensorsFile(put(file_of(one("U8", "[1]", "[0,1]"), "x"))).metadata().empty());
}

TEST(Safetensors, HeaderTooSmall) {
  refuses("", "begins with 8 bytes of header length, found 0 bytes");
  refuses("1234567", "found 7 bytes");
  refuses(length_of(0), "too small");
  refuses(length_of(1) + "{", "too small");
}

TEST(Safetensors, HeaderTooLarge) {
  refuses(length_of(100'000'001) + "{}", "above the format's limit of 100000000");
  refuses(length_of(~uint64_t{0}) + "{}", "above the format's limit");
  refuses("{\"a\":{\"dtype\"", "above the format's limit");  // JSON without the length
}

TEST(Safetensors, InvalidHeaderLength) {
  refuses(length_of(3) + "{}", "beyond the end of the file (10 bytes)");
  refuses(length_of(100'000'000) + "{}", "beyond the end of the file");
}

TEST(Safetensors, InvalidHeaderStart) {
  refuses(file_of(" {}"), "must begin with '{'");
  refuses(file_of("[]"), "must begin with '{'");
  refuses(file_of("\xEF\xBB\xBF{}"), "must begin with '{'");
}

TEST(Safetensors, InvalidHeaderEnd) {
  refuses(file_of("{}\n"), "must end with '}' and spaces only");
  refuses(file_of("{} \t "), "must end with '}' and spaces only");
  refuses(file_of("{} x"), "not valid JSON");
  refuses(file_of(std::string("{}\0", 3)), "not valid JSON: a NUL byte at offset 2");
}

TEST(Safetensors, InvalidHeaderUtf8) {
  for (const char* bad : {"\xFF", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF0\x80\x80\x80", "\x80", "\xE4\xB8", "\xF8\x88\x80\x80\x80"})
    refuses(file_of(R"({"__metadata__":{"k":")" + std::string(bad) + "\"}}"), "not valid UTF-8");
  EXPECT_EQ(SafetensorsFile(put(file_of(R"({"__metadata__":{"k":"é中😀"}})"))).metadata().at("k"), "é中😀");
}

TEST(Safetensors, InvalidHeaderDeserialization) {
  refuses(file_of("{\"a\":}"), "not valid JSON");
  refuses(file_of("{\"a\":{\"dtype\":\"F32\""), "not valid JSON");
  refuses(file_of("{\"a\":NaN}"), "not valid JSON");
  refuses(file_of(R"({"a":1})"), "expected an object with dtype, shape and data_offsets");
  refuses(file_of(R"({"a":{"shape":[1],"data_offsets":[0,4]}})"), "'dtype' is missing");
  refuses(file_of(R"({"a":{"dtype":"F32","data_offsets":[0,4]}})"), "'shape' is missing");
  refuses(file_of(R"({"a":{"dtype":"F32","shape":[1]}})"), "'data_offsets' is missing");
  refuses(file_of(R"({"a":{"dtype":1,"shape":[1],"data_offsets":[0,4]}})"), "'dtype' must be a string");
  refuses(file_of(one("F32", "1", "[0,4]"), "abcd"), "'shape' must be a list");
  refuses(file_of(one("F32", "[1.0]", "[0,4]"), "abcd"), "'shape' must hold whole numbers");
  refuses(file_of(one("F32", "[\"1\"]", "[0,4]"), "abcd"), "'shape' must hold whole numbers");
  refuses(file_of(one("F32", "[1]", "[0,4,4]"), "abcd"), "list of two numbers");
  refuses(file_of(one("F32", "[1]", "{}"), "abcd"), "list of two numbers");
}

TEST(Safetensors, NegativeNumbers) {
  refuses(file_of(one("F32", "[-1]", "[0,4]"), "abcd"), "'shape' must hold whole numbers from 0");
  refuses(file_of(one("F32", "[-1,-1]", "[0,4]"), "abcd"), "'shape' must hold whole numbers from 0");
  refuses(file_of(one("F32", "[1]", "[-4,0]"), "abcd"), "'data_offsets' must hold whole numbers from 0");
}

TEST(Safetensors, DuplicateKeys) {
  refuses(
      file_of(
          R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "x"),
      "'a' stands twice");
  refuses(file_of(R"({"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "x"),
          "'dtype' stands twice");
  refuses(file_of(R"({"__metadata__":{"k":"1","k":"2"}})"), "'k' stands twice");
}

TEST(Safetensors, MetadataHoldsStringsOnly) {
  refuses(file_of(R"({"__metadata__":{"k":1}})"), "the value of 'k' must be a string");
  refuses(file_of(R"({"__metadata__":{"k":null}})"), "the value of 'k' must be a string");
  refuses(file_of(R"({"__metadata__":{"k":{"a":"b"}}})"), "the value of 'k' must be a string");
  refuses(file_of(R"({"__metadata__":[]})"), "must be an object of strings");
}

TEST(Safetensors, UnknownDtype) {
  refuses(file_of(one("F33", "[1]", "[0,4]"), "abcd"), "unknown dtype 'F33'");
  refuses(file_of(one("f32", "[1]", "[0,4]"), "abcd"), "unknown dtype 'f32'");
  refuses(file_of(one("", "[1]", "[0,4]"), "abcd"), "unknown dtype ''");
}

TEST(Safetensors, EveryDtypeOfTheFormatHasItsSize) {
  const std::pair<const char*, int> bits[] = {
      {"BOOL", 8},        {"U8", 8},   {"I8", 8},      {"I16", 16},    {"U16", 16},    {"I32", 32},
      {"U32", 32},        {"I64", 64}, {"U64", 64},    {"F16", 16},    {"BF16", 16},   {"F32", 32},
      {"F64", 64},        {"C64", 64}, {"F8_E4M3", 8}, {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
      {"F8_E5M2FNUZ", 8}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6}};
  for (const auto& [name, size] : bits) {
    EXPECT_EQ(safetensors_dtype_bits(name), size) << name;
    const std::string bytes = std::to_string(4 * size / 8);
    const SafetensorsFile file(
        put(file_of(one(name, "[4]", "[0," + bytes + "]"), std::string(4 * size / 8, 'x'))));
    EXPECT_EQ(file.entries()[0].dtype, name);
  }
  EXPECT_EQ(std::size(bits), 22U);
}

TEST(Safetensors, ValidationOverflow) {
  refuses(file_of(one("F32", "[4294967296,4294967296]", "[0,0]")), "overflows 64 bits");
  refuses(file_of(one("F32", "[4611686018427387904,2]", "[0,0]")), "overflows 64 bits");
  refuses(file_of(one("F64", "[2305843009213693952]", "[0,0]")), "overflows 64 bits");
  refuses(file_of(one("F32", "[0,4294967296,4294967296]", "[0,0]")), "overflows 64 bits");
  refuses(file_of(one("F32", "[18446744073709551615]", "[0,4]"), "abcd"), "'shape' must hold whole numbers");
  refuses(file_of(one("F32", "[18446744073709551616]", "[0,4]"), "abcd"), "'shape' must hold whole numbers");
  refuses(file_of(one("U8", "[1]", "[18446744073709551614,18446744073709551615]"), "a"),
          "'data_offsets' must hold");
}

TEST(Safetensors, InvalidOffset) {
  refuses(file_of(one("F32", "[1]", "[4,0]"), "abcd"), "ends at 0 before it begins at 4");
  refuses(file_of(one("F32", "[1]", "[4,8]"), "abcdefgh"), "there is a hole before it");
  const auto two = [](const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":)" +
           b + "}}";
  };
  refuses(file_of(two("[3,5]"), "abcde"),
          "'b' begins at 3 of the data, expected 2: there is a hole before it");
  refuses(file_of(two("[1,3]"), "abc"), "'b' begins at 1 of the data, expected 2: it overlaps");
  refuses(file_of(two("[0,2]"), "ab"), "'b' begins at 0 of the data, expected 2: it overlaps");
  EXPECT_EQ(SafetensorsFile(put(file_of(two("[2,4]"), "abcd"))).entries().size(), 2U);
}

TEST(Safetensors, TensorInvalidInfo) {
  refuses(file_of(one("F32", "[2]", "[0,4]"), "abcd"), "need 8 bytes, data_offsets hold 4");
  refuses(file_of(one("F32", "[0]", "[0,4]"), "abcd"), "need 0 bytes, data_offsets hold 4");
  refuses(file_of(one("F32", "[1]", "[0,0]")), "need 4 bytes, data_offsets hold 0");
}

TEST(Safetensors, MisalignedSlice) {
  refuses(file_of(one("F4", "[3]", "[0,2]"), "ab"), "not a whole number of bytes");
  refuses(file_of(one("F6_E2M3", "[1]", "[0,1]"), "a"), "not a whole number of bytes");
}

TEST(Safetensors, MetadataIncompleteBuffer) {
  refuses(file_of(one("F32", "[1]", "[0,4]"), "abc"), "need 4 bytes of data, the file holds 3");
  refuses(file_of(one("F32", "[1]", "[0,4]"), "abcde"), "1 bytes follow the last tensor");
  refuses(file_of("{}", "x"), "1 bytes follow the last tensor");
}

TEST(Safetensors, DeepNestingIsAnError) {
  const std::string deep(100'000, '[');
  refuses(file_of("{\"a\":" + deep + "}"), "nested deeper than");
  refuses(file_of(R"({"a":{"dtype":"F32","shape":)" + deep + "}}"), "nested deeper than");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  refuses(file_of(objects), "nested deeper than");
}

TEST(Safetensors, ManyKeysAreReadInReasonableTime) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i)
    header += (i > 0 ? "," : "") + ("\"t" + std::to_string(i)) +
              R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  EXPECT_EQ(SafetensorsFile(put(file_of(header + "}"))).entries().size(), 100'000U);
}

TEST(Safetensors, NotAFile) {
  EXPECT_ERROR(SafetensorsFile{scratch_folder()}, "expected a file, found a folder");
  EXPECT_ERROR(SafetensorsFile{scratch_folder() / "none"}, "cannot open for reading");
}

// Every cut and every changed bit of a small file is a file or an Error, and never anything else.
TEST(Safetensors, CutsAndFlipsAreFilesOrErrors) {
  const std::string good =
      file_of(R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
              R"("b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}  )",
              "01234567xyz");
  const fs::path path = put(good);
  int errors = 0, files = 0;
  const auto attempt = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const SafetensorsFile file(path);
      size_t sum = 0;
      for (const auto& entry : file.entries())
        for (const char c : file.bytes(entry)) sum += static_cast<unsigned char>(c);
      EXPECT_GT(sum, 0U);
      ++files;
    } catch (const Error&) {
      ++errors;
    }
  };
  for (size_t length = 0; length < good.size(); ++length) attempt(good.substr(0, length));
  EXPECT_EQ(files, 0);
  EXPECT_EQ(errors, static_cast<int>(good.size()));
  for (size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      attempt(bad);
    }
  EXPECT_EQ(files + errors, static_cast<int>(good.size()) * 9);
  EXPECT_GT(files, 11 * 8);  // at least the data may change
}

TEST(SafetensorsWriter, WritesTheOfficialOrderAndPadding) {
  const fs::path path = scratch_folder() / "x.safetensors";
  std::vector<TensorEntry> entries = {
      {"b", "U8", {3}}, {"z", "BF16", {1}}, {"c", "F32", {2}}, {"a", "F32", {}}, {"e", "I64", {0}}};
  write_safetensors_file(path, entries, {{"k", "v"}}, [](const TensorEntry& entry, const auto& write) {
    for (uint64_t i = entry.begin; i < entry.end; ++i) write(entry.name);
  });
  const std::string bytes = read_file(path);
  const std::string header =
      R"({"__metadata__":{"k":"v"},"e":{"dtype":"I64","shape":[0],"data_offsets":[0,0]},)"
      R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"c":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
      R"("z":{"dtype":"BF16","shape":[1],"data_offsets":[12,14]},"b":{"dtype":"U8","shape":[3],"data_offsets":[14,17]}})";
  EXPECT_EQ(bytes.substr(8, header.size()), header);
  EXPECT_EQ(static_cast<unsigned char>(bytes[0]) % 8, 0);
  EXPECT_EQ(bytes.substr(bytes.size() - 17), "aaaacccccccczzbbb");
  EXPECT_EQ(SafetensorsFile(path).entries().size(), 5U);
}

TEST(SafetensorsWriter, AnEmptyFileIsTheOfficialOne) {
  const fs::path path = scratch_folder() / "x.safetensors";
  write_safetensors_file(path, {}, {}, [](const TensorEntry&, const auto&) {});
  EXPECT_EQ(read_file(path), length_of(8) + "{}      ");
}

TEST(SafetensorsWriter, RefusesWhatNoReaderTakes) {
  const fs::path path = scratch_folder() / "x.safetensors";
  const TensorWriter nothing = [](const TensorEntry&, const auto&) {};
  EXPECT_ERROR(write_safetensors_file(path, {{"__metadata__", "U8", {0}}}, {}, nothing),
               "cannot be the name of a tensor");
  EXPECT_ERROR(write_safetensors_file(path, {{"a", "U8", {0}}, {"a", "U8", {0}}}, {}, nothing),
               "is given twice");
  EXPECT_ERROR(write_safetensors_file(path, {{"a", "X8", {0}}}, {}, nothing), "unknown dtype");
  EXPECT_ERROR(write_safetensors_file(path, {{"a\xFF", "U8", {0}}}, {}, nothing), "not valid UTF-8");
  EXPECT_ERROR(write_safetensors_file(path, {{"a", "U8", {-1}}}, {}, nothing), "must not be negative");
  EXPECT_THROW(write_safetensors_file(path, {{"a", "U8", {2}}}, {}, nothing), std::logic_error);
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::is_empty(path.parent_path()));
}

TEST(SafetensorsWriter, NamesOfAllKindsComeBack) {
  const fs::path path = scratch_folder() / "x.safetensors";
  std::vector<TensorEntry> entries;
  for (const char* name : {"", "a\"b", "tab\tnew\n", "\x7f", "\xC3\xA9", "\x01"})
    entries.push_back({name, "U8", {1}});
  write_safetensors_file(path, entries, {{"k\"", "\n"}},
                         [](const TensorEntry&, const auto& write) { write("x"); });
  const SafetensorsFile file(path);
  for (const auto& entry : entries) EXPECT_NE(file.find(entry.name), nullptr);
  EXPECT_EQ(file.metadata().at("k\""), "\n");
}

}  // namespace
}  // namespace decant
