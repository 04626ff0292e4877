// The official safetensors library reads our file, and writes the same bytes for the same tensors.
#include <gtest/gtest.h>

#include <cstdlib>

#include "core/safetensors.h"
#include "tests/support/shared.h"

namespace decant {
namespace {

TEST(SafetensorsPeer, WritesTheSameBytes) {
  const char* peers = std::getenv("DECANT_PEERS");
  const std::string python = std::string(peers != nullptr ? peers : "") + "/bin/python";
  if (peers == nullptr || !std::filesystem::exists(python))
    GTEST_SKIP() << "set DECANT_PEERS to a virtual environment with safetensors";
  const auto folder = test::scratch_folder();
  // Every tensor's bytes count up from 1, so that order and place show.
  const std::vector<TensorEntry> entries = {{"z.weight", "F32", {2, 3}}, {"a", "U8", {3}},
                                            {"b", "I64", {2}},           {"a.half", "F16", {4}},
                                            {"scalar", "F64", {}},       {"empty", "F32", {0, 4}},
                                            {"\"quoted\" é", "F32", {1}}};
  const auto fill = [](const TensorEntry& entry, const std::function<void(std::string_view)>& write) {
    std::string bytes;
    for (uint64_t i = entry.begin; i < entry.end; ++i) bytes += static_cast<char>(i - entry.begin + 1);
    write(bytes);
  };
  write_safetensors_file(folder / "ours.safetensors", entries, {}, fill);
  write_file(folder / "peer.py", R"(import sys, numpy as np
from safetensors.numpy import load_file, save
def t(dtype, *shape):
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(bytes(range(1, count + 1)), dtype=dtype).reshape(shape)
want = {"z.weight": t("f4", 2, 3), "a": t("u1", 3), "b": t("i8", 2), "a.half": t("f2", 4), "scalar": t("f8"),
        "empty": t("f4", 0, 4), '"quoted" é': t("f4", 1)}
got = load_file(sys.argv[1])
assert got.keys() == want.keys(), got.keys()
for name, tensor in want.items():
    assert got[name].dtype == tensor.dtype and got[name].shape == tensor.shape, name
    assert got[name].tobytes() == tensor.tobytes(), name
open(sys.argv[2], "wb").write(save(want))
)");
  const std::string command = "'" + python + "' '" + (folder / "peer.py").string() + "' '" +
                              (folder / "ours.safetensors").string() + "' '" + (folder / "theirs").string() +
                              "' 2> '" + (folder / "err.txt").string() + "'";
  ASSERT_EQ(std::system(command.c_str()), 0) << read_file(folder / "err.txt");
  EXPECT_EQ(read_file(folder / "ours.safetensors"), read_file(folder / "theirs"));
}

}  // namespace
}  // namespace decant
