// GGUF as a hostile file: each rule of the format has its own error.
#include "core/gguf_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <string>

#include "core/safetensors.h"
#include "tests/support/expect_error.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using namespace test;  // NOLINT(google-build-using-namespace): the writer's small functions

fs::path put(const std::string& bytes) {
  const fs::path path = scratch_folder() / "x.gguf";
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

void refuses(const std::string& bytes, const std::string& part) {
  const fs::path path = put(bytes);
  EXPECT_ERROR(GgufFile{path}, part);
  EXPECT_ERROR(GgufFile{path}, path.string());
}

const std::string kData(64, 'd');

// Two tensors: "a" F32 [2, 3] (24 bytes, padded to 32) and "b" F16 [8] (16 bytes).
std::string small(uint32_t version = 3) {
  return gguf_pad(gguf_head(2, 3, version) + gguf_string("general.architecture", "llama") + gguf_u32("n", 7) +
                  gguf_array<uint64_t>("list", 10, {1, 2, uint64_t{1} << 53}) +
                  gguf_tensor("a", {3, 2}, 0, 0) + gguf_tensor("b", {8}, 1, 32)) +
         std::string(48, 'd');
}
std::string with_tensors(int64_t count, const std::string& tensors, const std::string& data = kData) {
  return gguf_pad(gguf_head(count, 0) + tensors) + data;
}
std::string with_values(int64_t count, const std::string& values) { return gguf_head(0, count) + values; }

TEST(Gguf, ReadsVersionsTwoAndThree) {
  for (const uint32_t version : {2U, 3U}) {
    const GgufFile gguf(put(small(version)));
    EXPECT_EQ(gguf.version(), version);
    EXPECT_EQ(gguf.text("general.architecture"), "llama");
    EXPECT_EQ(gguf.integer("n"), 7);
    EXPECT_EQ(gguf.numbers("list"), (std::vector<double>{1, 2, 9007199254740992.0}));
    ASSERT_EQ(gguf.tensors().size(), 2U);
    EXPECT_EQ(gguf.find("a")->shape, (std::vector<int64_t>{2, 3}));  // torch order
    EXPECT_EQ(gguf.find("a")->elements(), 6);
    EXPECT_EQ(gguf.bytes(*gguf.find("b")), std::string(16, 'd'));
    EXPECT_EQ(gguf.find("c"), nullptr);
  }
}

TEST(Gguf, EveryScalarTypeIsReadAndNamed) {
  const auto value = [](const std::string& key, uint32_t type, const std::string& bytes) {
    return gguf_text(key) + raw(type) + bytes;
  };
  const GgufFile gguf(put(
      with_values(12, value("u8", 0, raw<uint8_t>(255)) + value("i8", 1, raw<int8_t>(-128)) +
                          value("u16", 2, raw<uint16_t>(65535)) + value("i16", 3, raw<int16_t>(-3)) +
                          value("u32", 4, raw<uint32_t>(4294967295U)) + value("i32", 5, raw<int32_t>(-5)) +
                          value("f32", 6, raw<float>(0.5F)) + value("bool", 7, raw<uint8_t>(1)) +
                          value("string", 8, gguf_text(std::string("a\0b", 3))) +
                          value("u64", 10, raw<uint64_t>(uint64_t{1} << 62)) +
                          value("i64", 11, raw<int64_t>(INT64_MIN)) + value("f64", 12, raw<double>(1e300)))));
  EXPECT_EQ(gguf.integer("u8"), 255);
  EXPECT_EQ(gguf.integer("i8"), -128);
  EXPECT_EQ(gguf.integer("u16"), 65535);
  EXPECT_EQ(gguf.integer("i16"), -3);
  EXPECT_EQ(gguf.integer("u32"), 4294967295);
  EXPECT_EQ(gguf.integer("i32"), -5);
  EXPECT_EQ(gguf.number("f32"), 0.5);
  EXPECT_TRUE(gguf.boolean("bool"));
  EXPECT_EQ(gguf.text("string"), std::string("a\0b", 3));
  EXPECT_EQ(gguf.integer("u64"), int64_t{1} << 62);
  EXPECT_EQ(gguf.integer("i64"), INT64_MIN);
  EXPECT_EQ(gguf.number("f64"), 1e300);
  EXPECT_EQ(gguf.integer_or("none", 4), 4);
  EXPECT_EQ(gguf.number_or("none", 4.5), 4.5);
  EXPECT_TRUE(gguf.boolean_or("none", true));
  EXPECT_ERROR(gguf.integer("none"), "the metadata key 'none' is missing");
  EXPECT_ERROR(gguf.integer("f32"), "'f32' must be an integer, found f32");
  EXPECT_ERROR(gguf.number("u8"), "'u8' must be a float, found u8");
  EXPECT_ERROR(gguf.text("u8"), "'u8' must be a string, found u8");
  EXPECT_ERROR(gguf.boolean("u8"), "'u8' must be a bool, found u8");
  EXPECT_ERROR(gguf.strings("string"), "must be an array of strings, found string");
  EXPECT_ERROR(gguf.numbers("string"), "must be an array of numbers, found string");
}

TEST(Gguf, Magic) {
  refuses("", "does not begin with 'GGUF'");
  refuses("GGU", "does not begin with 'GGUF'");
  refuses("GGML" + small().substr(4), "does not begin with 'GGUF'");
}

TEST(Gguf, Version) {
  refuses(small(1), "version 1 is no longer read; convert the file");
  refuses(small(0), "version 0 is not known");
  refuses(small(4), "version 4 is not known, expected 2 or 3");
  refuses(small(0x03000000), "big-endian");
  refuses("GGUF", "the version at byte 4 needs 4 bytes, the file has 0 left");
}

TEST(Gguf, Counts) {
  refuses(gguf_head(-1, 0), "the number of tensors is negative");
  refuses(gguf_head(0, -1), "the number of metadata values is negative");
  refuses(gguf_head(INT64_MAX, 0) + kData, "tensors are more than the file can hold");
  refuses(gguf_head(0, INT64_MAX) + kData, "metadata values are more than the file can hold");
  refuses(gguf_head(4, 0) + kData, "4 tensors are more than the file can hold");
}

TEST(Gguf, Keys) {
  refuses(with_values(1, gguf_u32("", 1) + kData), "metadata key 0 is empty");
  refuses(with_values(2, gguf_u32("k", 1) + gguf_u32("k", 1)), "the metadata key 'k' stands twice");
}

TEST(Gguf, Strings) {
  refuses(with_values(1, raw<uint64_t>(~uint64_t{0}) + kData), "the format's limit is 1073741824");
  refuses(with_values(1, raw<uint64_t>((uint64_t{1} << 30) + 1) + kData), "the format's limit is 1073741824");
  refuses(with_values(1, raw<uint64_t>(uint64_t{1} << 30) + kData), "it is cut short or damaged");
}

TEST(Gguf, Values) {
  refuses(with_values(1, gguf_text("k") + raw<uint32_t>(13) + kData), "has the unknown type 13");
  refuses(with_values(1, gguf_text("k") + raw<uint32_t>(~0U) + kData), "has the unknown type");
  refuses(with_values(1, gguf_text("k") + raw<uint32_t>(7) + raw<uint8_t>(2)),
          "is a bool and holds 2, expected 0 or 1");
  refuses(with_values(1, gguf_array<uint8_t>("k", 7, {0, 1, 255})), "is a bool and holds 255");
}

TEST(Gguf, Arrays) {
  const std::string head = gguf_text("k") + raw<uint32_t>(9);
  refuses(with_values(1, head + raw<uint32_t>(9) + raw<uint64_t>(0) + kData), "is an array of arrays");
  refuses(with_values(1, head + raw<uint32_t>(13) + raw<uint64_t>(0)), "is an array of the unknown type 13");
  refuses(with_values(1, head + raw<uint32_t>(0) + raw<uint64_t>((uint64_t{1} << 30) + 1)),
          "the format's limit is 1073741824");
  refuses(with_values(1, head + raw<uint32_t>(0) + raw<uint64_t>(65) + kData),
          "more than the rest of the file can hold");
  refuses(with_values(1, head + raw<uint32_t>(8) + raw<uint64_t>(9) + kData),
          "more than the rest of the file can hold");
  refuses(with_values(1, gguf_array<uint64_t>("k", 10, {(uint64_t{1} << 53) + 1})), "beyond 2^53");
  refuses(with_values(1, gguf_array<int64_t>("k", 11, {INT64_MIN})), "beyond 2^53");
  const GgufFile gguf(
      put(with_values(2, gguf_array<int8_t>("k", 1, {-1, 2}) + gguf_strings("s", {"", "b"}))));
  EXPECT_EQ(gguf.numbers("k"), (std::vector<double>{-1, 2}));
  EXPECT_EQ(gguf.strings("s"), (std::vector<std::string>{"", "b"}));
  EXPECT_ERROR(gguf.strings("k"), "must be an array of strings, found an array of i8");
}

TEST(Gguf, Alignment) {
  for (const uint32_t alignment : {0U, 3U, 48U})
    refuses(with_values(1, gguf_u32("general.alignment", alignment)), "must be a power of two");
  refuses(with_values(1, gguf_text("general.alignment") + raw<uint32_t>(10) + raw<uint64_t>(32)),
          "must be a u32, found u64");
  const GgufFile gguf(put(gguf_pad(gguf_head(2, 1) + gguf_u32("general.alignment", 64) +
                                       gguf_tensor("a", {2}, 0, 0) + gguf_tensor("b", {2}, 0, 64),
                                   64) +
                          std::string(72, 'd')));
  EXPECT_EQ(gguf.find("b")->offset, 64U);
  refuses(with_tensors(1, gguf_tensor("a", {2}, 0, 0), ""), "it is cut short");
  std::string huge =
      gguf_head(1, 1) + gguf_u32("general.alignment", 1U << 31) + gguf_tensor("a", {2}, 0, 0) + kData;
  refuses(huge, "it is cut short");
}

TEST(Gguf, TensorNames) {
  EXPECT_EQ(GgufFile(put(with_tensors(1, gguf_tensor(std::string(63, 'n'), {1}, 0, 0)))).tensors().size(),
            1U);
  refuses(with_tensors(1, gguf_tensor(std::string(64, 'n'), {1}, 0, 0)),
          "names have at most 63 bytes, found 64");
  refuses(with_tensors(2, gguf_tensor("a", {1}, 0, 0) + gguf_tensor("a", {1}, 0, 32)),
          "tensor 'a' stands twice");
}

TEST(Gguf, TensorShapes) {
  EXPECT_EQ(GgufFile(put(with_tensors(1, gguf_tensor("a", {}, 0, 0)))).tensors()[0].elements(), 1);
  EXPECT_EQ(GgufFile(put(with_tensors(1, gguf_tensor("a", {2, 2, 2, 2}, 0, 0)))).tensors()[0].elements(), 16);
  refuses(with_tensors(1, gguf_tensor("a", {1, 1, 1, 1, 1}, 0, 0)),
          "has 5 dimensions, the format's limit is 4");
  refuses(with_tensors(1, gguf_tensor("a", {0}, 0, 0)), "dimension 0 must be positive, found 0");
  refuses(with_tensors(1, gguf_tensor("a", {2, -1}, 0, 0)), "dimension 1 must be positive, found -1");
  refuses(with_tensors(1, gguf_tensor("a", {int64_t{1} << 32, int64_t{1} << 32}, 0, 0)), "overflows 64 bits");
  refuses(with_tensors(1, gguf_tensor("a", {int64_t{1} << 31, int64_t{1} << 31, 4, 1}, 0, 0)),
          "overflows 64 bits");
  refuses(with_tensors(1, gguf_tensor("a", {int64_t{1} << 58}, 0, 0)), "it is cut short");
  refuses(with_tensors(1, gguf_tensor("a", {int64_t{1} << 59}, 28, 0)), "overflow 64 bits");
}

TEST(Gguf, TensorTypes) {
  for (const uint32_t type : {4U, 5U, 31U, 36U, 99U, ~0U})
    refuses(with_tensors(1, gguf_tensor("a", {256}, type, 0)), "unknown type");
  refuses(with_tensors(1, gguf_tensor("a", {33}, 2, 0)),
          "rows of 33 elements are not whole Q4_0 blocks of 32");
  refuses(with_tensors(1, gguf_tensor("a", {32, 8}, 12, 0)),
          "rows of 32 elements are not whole Q4_K blocks of 256");
}

TEST(Gguf, TensorOffsets) {
  refuses(with_tensors(1, gguf_tensor("a", {1}, 0, 32)), "lies at 32 of the data, expected 0");
  refuses(with_tensors(2, gguf_tensor("a", {9}, 0, 0) + gguf_tensor("b", {1}, 0, 32)),
          "lies at 32 of the data, expected 64");
  refuses(with_tensors(2, gguf_tensor("a", {1}, 0, 0) + gguf_tensor("b", {1}, 0, 4)),
          "lies at 4 of the data, expected 32");
  refuses(with_tensors(1, gguf_tensor("a", {1}, 0, ~uint64_t{0})), "expected 0");
}

TEST(Gguf, DataWithinTheFile) {
  EXPECT_EQ(GgufFile(put(with_tensors(1, gguf_tensor("a", {16}, 0, 0)))).tensors().size(), 1U);
  refuses(with_tensors(1, gguf_tensor("a", {17}, 0, 0)), "it is cut short");
  // The last tensor need not be padded; a file without tensors need not be padded at all.
  EXPECT_EQ(GgufFile(put(with_tensors(1, gguf_tensor("a", {1}, 0, 0), "abcd"))).tensors().size(), 1U);
  EXPECT_EQ(GgufFile(put(gguf_head(0, 0))).tensors().size(), 0U);
}

TEST(Gguf, ATypeThatIsNotDequantizedIsAnErrorThere) {
  const GgufFile gguf(put(with_tensors(1, gguf_tensor("a", {4}, 26, 0))));
  float out[4];
  EXPECT_ERROR(gguf.dequantize(*gguf.find("a"), out), "has the type I32, which is not read");
}

// Every cut and every changed bit of a small file is a file or an Error, and never anything else.
TEST(Gguf, CutsAndFlipsAreFilesOrErrors) {
  const std::string good = small();
  int errors = 0, files = 0;
  const fs::path path = put(good);
  const auto attempt = [&](const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const GgufFile gguf(path);
      for (const auto& tensor : gguf.tensors()) {
        std::vector<float> out(static_cast<size_t>(tensor.elements()));
        if (can_dequantize(tensor.type)) gguf.dequantize(tensor, out.data());
      }
      ++files;
    } catch (const Error&) {
      ++errors;
    }
  };
  for (size_t length = 0; length < good.size(); ++length) attempt(good.substr(0, length));
  EXPECT_EQ(files, 0);
  for (size_t i = 0; i < good.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
      attempt(bad);
    }
  EXPECT_EQ(files + errors, static_cast<int>(good.size()) * 9);
  EXPECT_GT(files, 48 * 8);
  EXPECT_GT(errors, static_cast<int>(good.size()) * 2);
}

TEST(GgmlBlocks, EveryHalfIsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const float value = half_to_float(static_cast<uint16_t>(bits));
    const int exponent = static_cast<int>(bits >> 10 & 31U);
    const int mantissa = static_cast<int>(bits & 1023U);
    if (exponent == 31) {
      EXPECT_EQ(mantissa == 0 ? std::isinf(value) : std::isnan(value), true) << bits;
    } else {
      const double expected =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      EXPECT_EQ(std::fabs(value), expected) << bits;
    }
    EXPECT_EQ(std::signbit(value), bits >= 32768) << bits;
  }
}

// ggml's own dequantize_row_*, bit for bit, through a GGUF of one tensor.
TEST(GgmlBlocksGolden, DequantizedValuesAreTheSameBits) {
  DECANT_NEEDS_SHARED("conformance/golden/ggml/ggml_quant.safetensors");
  const SafetensorsFile golden(shared_folder() / "conformance/golden/ggml/ggml_quant.safetensors");
  const std::map<std::string, uint32_t> types = {{"F16", 1},   {"Q4_0", 2}, {"Q4_1", 3},  {"Q5_0", 6},
                                                 {"Q5_1", 7},  {"Q8_0", 8}, {"Q4_K", 12}, {"Q5_K", 13},
                                                 {"Q6_K", 14}, {"BF16", 30}};
  for (const auto& [name, code] : types) {
    EXPECT_STREQ(ggml_type_name(code), name.c_str());
    const TensorEntry* packed = golden.find(name + ".bytes");
    const TensorEntry* expected = golden.find(name + ".dequant");
    ASSERT_TRUE(packed != nullptr && expected != nullptr) << name;
    const GgufFile gguf(
        put(with_tensors(1, gguf_tensor("a", {1024, 41}, code, 0), std::string(golden.bytes(*packed)))));
    std::vector<float> out(41 * 1024);
    gguf.dequantize(gguf.tensors()[0], out.data());
    EXPECT_EQ(std::memcmp(out.data(), golden.bytes(*expected).data(), out.size() * sizeof(float)), 0) << name;
  }
}

}  // namespace
}  // namespace decant
