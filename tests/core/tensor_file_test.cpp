// Tensors on disk: files and folders, single and sharded.
#include "core/tensor_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "core/json.h"
#include "tests/support/expect_error.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

namespace fs = std::filesystem;
using test::scratch_folder;
using test::shared_folder;

const at::ScalarType kTypes[] = {at::kBool,
                                 at::kByte,
                                 at::kChar,
                                 at::kShort,
                                 at::kInt,
                                 at::kLong,
                                 at::kUInt16,
                                 at::kUInt32,
                                 at::kUInt64,
                                 at::kHalf,
                                 at::kBFloat16,
                                 at::kFloat,
                                 at::kDouble,
                                 at::kComplexFloat,
                                 at::kFloat8_e4m3fn,
                                 at::kFloat8_e5m2,
                                 at::kFloat8_e8m0fnu,
                                 at::kFloat8_e4m3fnuz,
                                 at::kFloat8_e5m2fnuz};

bool same_bytes(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.sizes() == b.sizes() &&
         (a.numel() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

TEST(TensorFile, EveryDtypeComesBackByteForByte) {
  const fs::path path = scratch_folder() / "x.safetensors";
  NamedTensors tensors;
  for (const auto type : kTypes) {
    at::Tensor bytes = at::arange(24, at::kByte);
    if (type == at::kBool) bytes = bytes.remainder(2);
    tensors.emplace_back(c10::toString(type), bytes.view(type).contiguous());
  }
  tensors.emplace_back("scalar", at::scalar_tensor(3.5, at::kFloat));
  tensors.emplace_back("empty", at::empty({0, 5}, at::kFloat));
  tensors.emplace_back("view", at::arange(12, at::kFloat).view({3, 4}).t());
  write_tensors(path, tensors, {{"made", "here"}});
  const TensorFile file(path);
  EXPECT_EQ(file.names().size(), std::size(kTypes) + 3);
  for (const auto& [name, tensor] : tensors)
    EXPECT_TRUE(same_bytes(file.load(name), tensor.contiguous())) << name;
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"format", "pt"}, {"made", "here"}}));
  EXPECT_ERROR(file.load("none"), "has no tensor 'none'");
}

TEST(TensorFile, LoadedTensorsAreCopies) {
  const fs::path path = scratch_folder() / "x.safetensors";
  write_tensors(path, {{"a", at::zeros({4})}});
  const TensorFile file(path);
  file.load("a").fill_(1);
  EXPECT_EQ(file.load("a").sum().item<float>(), 0);
}

TEST(TensorFile, ABoolThatIsNeitherZeroNorOneIsAnError) {
  const fs::path path = scratch_folder() / "x.safetensors";
  write_safetensors_file(path, {{"a", "BOOL", {1}}}, {},
                         [](const TensorEntry&, const auto& write) { write("\x02"); });
  EXPECT_ERROR(TensorFile(path).load("a"), "bytes other than 0 and 1");
}

TEST(TensorFile, ADtypeWithoutALibtorchTypeIsAnErrorOnLoading) {
  const fs::path path = scratch_folder() / "x.safetensors";
  write_safetensors_file(path, {{"a", "F4", {2}}}, {},
                         [](const TensorEntry&, const auto& write) { write("x"); });
  const TensorFile file(path);
  EXPECT_EQ(file.entry("a").dtype, "F4");
  EXPECT_ERROR(file.load("a"), "which libtorch cannot hold");
}

TEST(TensorFile, AnEmptyTensorOfAbsurdSizesIsAnErrorOnLoading) {
  const fs::path path = scratch_folder() / "x.safetensors";
  write_safetensors_file(path, {{"a", "U8", {0, int64_t{1} << 62}}}, {},
                         [](const TensorEntry&, const auto&) {});
  EXPECT_ERROR(TensorFile(path).load("a"), "too large for memory");
}

NamedTensors five() {
  NamedTensors tensors;
  for (int i = 0; i < 5; ++i) tensors.emplace_back("t" + std::to_string(i), at::full({10}, i, at::kFloat));
  return tensors;
}

TEST(TensorFileSharded, GreedyInTheGivenOrderWithAnIndex) {
  const fs::path folder = scratch_folder();
  auto tensors = five();
  tensors.insert(tensors.begin() + 2, {"big", at::ones({100})});
  write_sharded(folder, tensors, 80);
  EXPECT_TRUE(fs::exists(folder / "model-00001-of-00004.safetensors"));
  const Json index = read_json(folder / "model.safetensors.index.json");
  EXPECT_EQ(index["metadata"]["total_size"], 5 * 40 + 400);
  EXPECT_EQ(index["weight_map"]["t1"], "model-00001-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["big"], "model-00002-of-00004.safetensors");
  EXPECT_EQ(index["weight_map"]["t4"], "model-00004-of-00004.safetensors");
  const TensorFile file(folder);
  EXPECT_EQ(file.files().size(), 4U);
  EXPECT_EQ(file.names().size(), 6U);
  for (const auto& [name, tensor] : tensors) EXPECT_TRUE(same_bytes(file.load(name), tensor));
}

TEST(TensorFileSharded, WhatFitsIsOneFile) {
  const fs::path folder = scratch_folder();
  write_sharded(folder, five(), 200);
  EXPECT_TRUE(fs::exists(folder / "model.safetensors"));
  EXPECT_FALSE(fs::exists(folder / "model.safetensors.index.json"));
  EXPECT_EQ(TensorFile(folder).names().size(), 5U);
  EXPECT_ERROR(write_sharded(folder, five(), 0), "must be above 0");
}

class BrokenShards : public ::testing::Test {
 protected:
  void SetUp() override {
    folder = scratch_folder();
    write_sharded(folder, five(), 80);
    index = read_json(folder / "model.safetensors.index.json");
  }
  void refuses(const std::string& part) const {
    write_json(folder / "model.safetensors.index.json", index);
    EXPECT_ERROR(TensorFile{folder}, part);
  }
  fs::path folder;
  Json index;
};

TEST_F(BrokenShards, AMissingShard) {
  fs::remove(folder / "model-00002-of-00003.safetensors");
  refuses("the shard model-00002-of-00003.safetensors is missing");
}
TEST_F(BrokenShards, ATensorInAnotherShard) {
  index["weight_map"]["t0"] = "model-00002-of-00003.safetensors";
  refuses("'t0' is here, but the index says model-00002");
}
TEST_F(BrokenShards, AnUnlistedTensor) {
  index["weight_map"].erase("t0");
  refuses("'t0' is not listed in model.safetensors.index.json");
}
TEST_F(BrokenShards, AListedTensorThatIsNowhere) {
  index["weight_map"]["t9"] = "model-00002-of-00003.safetensors";
  refuses("'t9' is not in model-00002-of-00003.safetensors");
}
TEST_F(BrokenShards, AWrongTotal) {
  index["metadata"]["total_size"] = 199;
  refuses("'metadata.total_size' is 199, the shards hold 200");
  index["metadata"]["total_size"] = -200;
  refuses("must be a whole number");
  index["metadata"]["total_size"] = 200.5;
  refuses("must be a whole number");
}
TEST_F(BrokenShards, ATotalAsAFloatAndNoneAtAllAreRead) {
  index["metadata"]["total_size"] = 200.0;
  write_json(folder / "model.safetensors.index.json", index);
  EXPECT_EQ(TensorFile(folder).names().size(), 5U);
  index.erase("metadata");
  write_json(folder / "model.safetensors.index.json", index);
  EXPECT_EQ(TensorFile(folder).names().size(), 5U);
}
TEST_F(BrokenShards, AShardOutsideTheFolder) {
  index["weight_map"]["t0"] = "../model-00001-of-00003.safetensors";
  refuses("not the name of a file in the same folder");
  index["weight_map"]["t0"] = "";
  refuses("not the name of a file in the same folder");
  index["weight_map"]["t0"] = 3;
  refuses("must be a string");
}
TEST_F(BrokenShards, AnIndexWithoutItsMap) {
  index["weight_map"] = Json::object();
  refuses("'weight_map' is empty");
  index.erase("weight_map");
  refuses("'weight_map' must be an object");
}
TEST_F(BrokenShards, ASingleFileBesideAnIndexThatDoesNotListIt) {
  write_tensors(folder / "model.safetensors", five());
  refuses("lies beside an index that does not list it");
}
TEST_F(BrokenShards, AFolderWithNeither) {
  fs::remove(folder / "model.safetensors.index.json");
  EXPECT_ERROR(TensorFile{folder}, "neither model.safetensors nor model.safetensors.index.json");
}

// What the Python package wrote: read, written again, and the same bytes.
TEST(TensorFileGolden, RewritingKeepsEveryByteOfOfficialFiles) {
  DECANT_NEEDS_SHARED("conformance/golden");
  int seen = 0;
  for (const auto& found : fs::recursive_directory_iterator(shared_folder() / "conformance/golden")) {
    if (found.path().extension() != ".safetensors") continue;
    const TensorFile file(found.path());
    NamedTensors tensors;
    for (const auto& name : file.names()) tensors.emplace_back(name, file.load(name));
    if (!file.metadata().contains("format")) continue;
    const fs::path copy = scratch_folder() / "x.safetensors";
    write_tensors(copy, tensors, file.metadata());
    EXPECT_EQ(read_file(copy), read_file(found.path())) << found.path();
    ++seen;
  }
  EXPECT_GE(seen, 16);
}

TEST(TensorFileGolden, ShardsHoldTheTensorsOfTheSingleFile) {
  DECANT_NEEDS_SHARED("conformance/golden/models/llama3_sharded");
  const TensorFile sharded(shared_folder() / "conformance/golden/models/llama3_sharded");
  const TensorFile single(shared_folder() / "conformance/golden/models/llama3");
  ASSERT_EQ(sharded.names(), single.names());
  EXPECT_EQ(sharded.files().size(), 2U);
  for (const auto& name : single.names())
    EXPECT_TRUE(same_bytes(sharded.load(name), single.load(name))) << name;
}

}  // namespace
}  // namespace decant
